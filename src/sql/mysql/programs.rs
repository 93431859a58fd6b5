//! Triggers, routines and events. Their bodies are not read: what one does, the server does as whoever made it.

use super::lexer::Kind as TokenKind;
use super::parser::{Parsed, Parser};
use super::resolve::Resolver;
use super::statement::Kind;
use crate::sql::access::{Object, Operation};
use crate::sql::name::QualifiedName;

/// Whose something is that is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Definer {
    /// Nobody is named.
    Unsaid,
    /// Whoever makes it.
    CurrentUser,
    /// Somebody else, or a role.
    Other,
}

impl Parser<'_> {
    /// `[DEFINER = account]`
    pub(super) fn definer(&mut self) -> Parsed<Definer> {
        if !self.is("DEFINER") || !self.sign_at(1, b'=') {
            return Ok(Definer::Unsaid);
        }
        self.at += 2;
        if self.eat("CURRENT_USER") {
            if self.eat_sign(b'(') {
                self.expect_sign(b')')?;
            }
            return Ok(Definer::CurrentUser);
        }
        if self.eat("CURRENT_ROLE") {
            if self.eat_sign(b'(') {
                self.expect_sign(b')')?;
            }
        } else {
            self.at += 1;
            self.eat_kind(TokenKind::UserVariable);
        }
        Ok(Definer::Other)
    }

    /// CREATE of a trigger, routine or event by an account of the principal's own, which the server holds to what that
    /// may do, in the body too. `None` when it is something else, or would be made as the service account.
    pub(super) fn create_program(
        &mut self,
        replace: bool,
        resolver: &mut Resolver<'_>,
    ) -> Parsed<Option<Kind>> {
        let made_as_caller = self.definer()? != Definer::Other && resolver.is_own_account();
        let start = self.at;
        self.eat("AGGREGATE");
        let loadable = (0..self.end - self.at).any(|ahead| self.is_at(ahead, "SONAME"));
        if !made_as_caller || loadable {
            return Ok(None);
        }
        let function = self.is("FUNCTION");
        if self.eat_any(&["FUNCTION", "PROCEDURE"]) {
            self.eat("IF NOT EXISTS");
            let name = self.routine()?;
            let name = resolver.qualify(&name)?;
            let schema = Object::Schema(name.schema.clone());
            resolver.needs.whole(Operation::CreateRoutine, schema);
            if replace {
                resolver.needs.whole(Operation::AlterRoutine, routine(function, name));
            }
            return Ok(self.unread("CREATE ROUTINE"));
        }
        if self.eat("TRIGGER") {
            self.eat("IF NOT EXISTS");
            self.table()?;
            if !self.eat_any(&["BEFORE", "AFTER"]) || !self.eat_any(&["INSERT", "UPDATE", "DELETE"])
            {
                return self.wrong();
            }
            self.require("ON")?;
            let table = self.table()?;
            let table = resolver.qualify(&table)?;
            resolver.needs.whole(Operation::Trigger, Object::Relation(table));
            return Ok(self.unread("CREATE TRIGGER"));
        }
        if self.eat("EVENT") {
            self.eat("IF NOT EXISTS");
            let name = self.table()?;
            let name = resolver.qualify(&name)?;
            resolver.needs.whole(Operation::Event, Object::Schema(name.schema));
            return Ok(self.unread("CREATE EVENT"));
        }
        self.at = start;
        Ok(None)
    }

    /// The rest is a body.
    fn unread(&mut self, command: &'static str) -> Option<Kind> {
        self.at = self.end;
        Some(Kind::ddl(command))
    }

    /// ALTER FUNCTION and ALTER PROCEDURE, which change no body. `None` when it is something else, or MySQL guards
    /// what accounts with SYSTEM_USER made: whose a routine is is not known here.
    pub(super) fn alter_routine(&mut self, resolver: &mut Resolver<'_>) -> Parsed<Option<Kind>> {
        let function = self.is("FUNCTION");
        let checked = self.mariadb() || resolver.is_own_account();
        if !checked || !self.eat_any(&["FUNCTION", "PROCEDURE"]) {
            return Ok(None);
        }
        let name = self.routine()?;
        if function && resolver.scope.catalog.loadable.contains(&*name.name) {
            resolver.needs.admin(Object::Database);
        }
        let name = resolver.qualify(&name)?;
        resolver.needs.whole(Operation::AlterRoutine, routine(function, name));
        Ok(self.unread("ALTER ROUTINE"))
    }

    /// DROP TRIGGER and DROP EVENT, likewise.
    pub(super) fn drop_program(&mut self, resolver: &mut Resolver<'_>) -> Parsed<Option<Kind>> {
        if !self.mariadb() && !resolver.is_own_account() {
            return Ok(None);
        }
        if self.eat("TRIGGER") {
            self.eat("IF EXISTS");
            let name = self.table()?;
            let table = resolver.trigger(&name)?;
            resolver.needs.whole(Operation::Trigger, Object::Relation(table));
            return Ok(Some(Kind::ddl("DROP TRIGGER")));
        }
        if self.eat("EVENT") {
            self.eat("IF EXISTS");
            let name = self.table()?;
            let name = resolver.qualify(&name)?;
            resolver.needs.whole(Operation::Event, Object::Schema(name.schema));
            return Ok(Some(Kind::ddl("DROP EVENT")));
        }
        Ok(None)
    }
}

fn routine(function: bool, name: QualifiedName) -> Object {
    if function { Object::Function { name, arguments: "".into() } } else { Object::Procedure(name) }
}
