//! SHOW.

use super::lexer::Kind as TokenKind;
use super::parser::{Parsed, Parser, unsupported};
use super::resolve::{Bound, Level, Resolver, Table};
use super::statement::Kind;
use super::tree::Name;
use crate::sql::access::{Object, Operation};
use crate::sql::statement::Class;

/// What everybody may see, with LIKE or WHERE behind it.
const HARMLESS: [&str; 21] = [
    "VARIABLES",
    "STATUS",
    "DATABASES",
    "SCHEMAS",
    "ENGINES",
    "STORAGE ENGINES",
    "CHARACTER SET",
    "CHARSET",
    "COLLATION",
    "PLUGINS",
    "PRIVILEGES",
    "WARNINGS",
    "ERRORS",
    "CONTRIBUTORS",
    "AUTHORS",
    "FUNCTION STATUS",
    "PROCEDURE STATUS",
    "PACKAGE STATUS",
    "PACKAGE BODY STATUS",
    "PROFILES",
    "LOCALES",
];

impl Parser<'_> {
    /// SHOW, whatever of it.
    pub(super) fn show(&mut self, resolver: &mut Resolver<'_>) -> Parsed<Kind> {
        self.at += 1;
        self.shown(resolver)?;
        Ok(Kind::new("SHOW", Class::Read))
    }

    fn shown(&mut self, resolver: &mut Resolver<'_>) -> Parsed<()> {
        if self.eat("CREATE") {
            return self.show_create(resolver);
        }
        if self.are("COUNT")
            && self.sign_at(1, b'(')
            && self.sign_at(2, b'*')
            && self.sign_at(3, b')')
        {
            self.at += 4;
            resolver.needs.metadata();
            return if self.eat_any(&["WARNINGS", "ERRORS"]) { Ok(()) } else { self.wrong() };
        }
        let start = self.at;
        self.eat_any(&["GLOBAL", "SESSION", "LOCAL"]);
        if self.eat_any(&HARMLESS) {
            resolver.needs.metadata();
            return self.filter(resolver);
        }
        self.at = start;
        self.skip_words(&["FULL", "EXTENDED"]);
        if self.eat("TABLE STATUS") || self.eat_any(&["TABLES", "OPEN TABLES"]) {
            let database = self.of_database()?;
            let name = resolver.qualify(&Name { database, name: "".into() })?;
            resolver.enter(&name.schema);
            return self.filter(resolver);
        }
        if self.eat_any(&["COLUMNS", "FIELDS"]) {
            let name = self.of_table()?;
            self.seen(&name, resolver)?;
            return self.filter(resolver);
        }
        if self.eat_any(&["INDEX", "INDEXES", "KEYS"]) {
            let name = self.of_table()?;
            self.seen(&name, resolver)?;
            return self.filter(resolver);
        }
        if self.is_any(&["TRIGGERS", "EVENTS"]) {
            let needed = self.definitions_of();
            self.at += 1;
            let name = Name { database: self.of_database()?, name: "".into() };
            let database = resolver.qualify(&name)?.schema;
            resolver.needs.whole(needed, Object::Schema(database));
            return self.filter(resolver);
        }
        if self.eat("PROCESSLIST") {
            resolver.needs.whole(Operation::Process, Object::Database);
            return Ok(());
        }
        if self.is("GRANTS") {
            // They are the service account's, not the caller's.
            resolver.needs.admin(Object::Database);
            self.at = self.end;
            return Ok(());
        }
        if self.eat("ENGINE") {
            self.name()?;
            if !self.eat_any(&["STATUS", "MUTEX", "LOGS"]) {
                return self.wrong();
            }
            resolver.needs.whole(Operation::Process, Object::Database);
            return Ok(());
        }
        let replication =
            ["MASTER", "SLAVE", "REPLICA", "REPLICAS", "BINARY", "BINLOG", "RELAYLOG", "ALL"];
        if self.is_any(&replication) {
            resolver.needs.admin(Object::Database);
            self.at = self.end;
            return Ok(());
        }
        unsupported("This form of SHOW is not read here.")
    }

    /// `[LIKE 'pattern' | WHERE condition] [LIMIT n]`
    fn filter(&mut self, resolver: &mut Resolver<'_>) -> Parsed<()> {
        let mut found = Vec::new();
        if self.eat("LIKE") {
            if self.eat_kind(TokenKind::Text).is_none() {
                return self.wrong();
            }
        } else if self.eat("WHERE") {
            self.expression(&mut found)?;
        }
        if self.eat("LIMIT") {
            self.limit()?;
        }
        let mut level = Level::default();
        let (alias, database) = ("".into(), None);
        level.tables.push(Table { alias, database, bound: Bound::Free, columns: None });
        resolver.levels.push(level);
        resolver.mentions(&found)?;
        resolver.levels.pop();
        Ok(())
    }

    fn of_database(&mut self) -> Parsed<Option<Box<str>>> {
        if self.eat_any(&["FROM", "IN"]) {
            let name = self.name()?;
            return self.folded(name).map(Some);
        }
        Ok(None)
    }

    fn of_table(&mut self) -> Parsed<Name> {
        if !self.eat_any(&["FROM", "IN"]) {
            return self.wrong();
        }
        let mut name = self.table()?;
        if let Some(database) = self.of_database()? {
            name.database = Some(database);
        }
        Ok(name)
    }

    /// What showing triggers or events takes, whose word stands here. The body of a trigger is a definition as a
    /// view's is: the servers hide triggers from who may not make them, where this can only refuse, and a dump
    /// of what may be read asks for them.
    fn definitions_of(&self) -> Operation {
        if self.is_any(&["EVENTS", "EVENT"]) { Operation::Event } else { Operation::ShowView }
    }

    /// A table's columns or indexes are seen by whoever holds something on it.
    pub(super) fn seen(&mut self, name: &Name, resolver: &mut Resolver<'_>) -> Parsed<()> {
        match resolver.table(name, None)?.bound {
            // Of a view MySQL shows columns only to who may read some.
            Bound::Relation(relation) if !self.mariadb() && resolver.view(&relation).is_some() => {
                resolver.needs.any(Operation::Select, Object::Relation(relation));
            }
            Bound::Relation(relation) => resolver.needs.anything(Object::Relation(relation)),
            Bound::Partly(..) | Bound::Free => resolver.needs.metadata(),
        }
        Ok(())
    }

    fn show_create(&mut self, resolver: &mut Resolver<'_>) -> Parsed<()> {
        if self.eat_any(&["DATABASE", "SCHEMA"]) {
            self.eat("IF NOT EXISTS");
            let name = self.name()?;
            let name = self.folded(name)?;
            resolver.needs.anything(Object::Schema(name));
            return Ok(());
        }
        if self.eat_any(&["TABLE", "VIEW", "SEQUENCE"]) {
            let name = self.table()?;
            let table = resolver.table(&name, None)?;
            let Bound::Relation(relation) = table.bound else {
                resolver.needs.metadata();
                return Ok(());
            };
            let view = resolver.view(&relation).is_some();
            let object = Object::Relation(relation);
            if view {
                resolver.needs.any(Operation::Select, object.clone());
                resolver.needs.whole(Operation::ShowView, object);
            } else {
                resolver.needs.whole(Operation::Select, object);
            }
            return Ok(());
        }
        if self.is_any(&["TRIGGER", "EVENT"]) {
            let needed = self.definitions_of();
            self.at += 1;
            let name = self.table()?;
            let name = resolver.qualify(&name)?;
            resolver.needs.whole(needed, Object::Schema(name.schema));
            return Ok(());
        }
        // The bodies of routines are shown to who made them or to an administrator.
        resolver.needs.admin(Object::Database);
        self.at = self.end;
        Ok(())
    }
}
