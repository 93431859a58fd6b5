//! Transactions, CALL, KILL, LOCK TABLES, HANDLER and EXPLAIN.

use super::lexer::Kind as TokenKind;
use super::parser::{Parsed, Parser, unsupported};
use super::resolve::{Bound, Level, Resolver};
use super::statement::Kind;
use crate::sql::access::{Object, Operation};
use crate::sql::placement::TransactionMode;
use crate::sql::statement::{Argument, Call, Class, Effect, NotUnderstood};

impl Parser<'_> {
    /// BEGIN and its relatives.
    pub(super) fn transaction(&mut self, resolver: &mut Resolver<'_>) -> Parsed<Kind> {
        let _ = resolver;
        let misc = |command, effect| Ok(Kind::with(command, Class::Misc, effect));
        if self.eat("BEGIN") {
            self.eat("WORK");
            return misc("BEGIN", Effect::Begin(TransactionMode::default()));
        }
        if self.eat("START") {
            if !self.eat("TRANSACTION") {
                return self.everything("START", Kind::ddl, resolver);
            }
            let mut mode = TransactionMode::default();
            if !self.done() {
                self.list(|it| {
                    if it.eat("READ ONLY") {
                        mode.read_only = true;
                        return Ok(());
                    }
                    let words = ["READ WRITE", "WITH CONSISTENT SNAPSHOT"];
                    if it.eat_any(&words) { Ok(()) } else { it.wrong() }
                })?;
            }
            return misc("START TRANSACTION", Effect::Begin(mode));
        }
        if self.eat("COMMIT") {
            self.chain()?;
            return misc("COMMIT", Effect::Commit);
        }
        if self.eat("ROLLBACK") {
            self.eat("WORK");
            if self.eat("TO") {
                self.eat("SAVEPOINT");
                let name = self.column()?;
                return misc("ROLLBACK TO SAVEPOINT", Effect::RollbackTo(name));
            }
            self.chain()?;
            return misc("ROLLBACK", Effect::Rollback);
        }
        if self.eat("SAVEPOINT") {
            let name = self.column()?;
            return misc("SAVEPOINT", Effect::Savepoint(name));
        }
        if self.eat("RELEASE SAVEPOINT") {
            let name = self.column()?;
            return misc("RELEASE SAVEPOINT", Effect::Release(name));
        }
        self.require("XA")?;
        if self.eat("RECOVER") {
            if self.mariadb() {
                resolver.needs.whole(Operation::Process, Object::Database);
            } else {
                // MySQL's own privilege for it, XA_RECOVER_ADMIN, is none that can be granted here.
                resolver.needs.admin(Object::Database);
            }
            if self.eat("CONVERT") {
                self.require("XID")?;
            } else if self.eat("FORMAT") {
                self.eat_sign(b'=');
                self.string()?;
            }
            return Ok(Kind::new("XA", Class::Misc));
        }
        if !self.eat_any(&["START", "BEGIN", "END", "PREPARE", "COMMIT", "ROLLBACK"]) {
            return self.wrong();
        }
        self.list(|it| match it.kind() {
            Some(TokenKind::Text | TokenKind::Number) => {
                it.at += 1;
                Ok(())
            }
            _ => it.wrong(),
        })?;
        self.eat_any(&["JOIN", "RESUME", "ONE PHASE", "SUSPEND FOR MIGRATE", "SUSPEND"]);
        Ok(Kind::new("XA", Class::Misc))
    }

    /// `[WORK] [AND [NO] CHAIN] [[NO] RELEASE]`
    fn chain(&mut self) -> Parsed<()> {
        self.eat("WORK");
        self.eat_any(&["AND CHAIN", "AND NO CHAIN"]);
        self.eat_any(&["NO RELEASE", "RELEASE"]);
        Ok(())
    }

    /// CALL.
    pub(super) fn call_statement(&mut self, resolver: &mut Resolver<'_>) -> Parsed<Kind> {
        self.at += 1;
        let name = self.routine()?;
        if name.database.as_deref() == Some("daypass") {
            return self.own_call(name.name);
        }
        let mut found = Vec::new();
        if self.eat_sign(b'(') && !self.eat_sign(b')') {
            self.list(|it| it.expression(&mut found))?;
            self.expect_sign(b')')?;
        }
        resolver.mentions(&found)?;
        let found = resolver.qualify(&name)?;
        let database = resolver.scope.catalog.databases.get(&*found.schema);
        let Some(routine) = database.and_then(|it| it.procedures.get(&*found.name)) else {
            return Err(NotUnderstood::Undefined {
                sqlstate: "42000",
                message: format!("PROCEDURE {}.{} does not exist", found.schema, found.name),
                position: None,
            });
        };
        resolver.invokes(routine.security);
        resolver.needs.whole(Operation::Execute, Object::Procedure(found));
        Ok(Kind::new("CALL", Class::Function))
    }

    fn own_call(&mut self, name: Box<str>) -> Parsed<Kind> {
        let mut arguments = Vec::new();
        if self.eat_sign(b'(') && !self.eat_sign(b')') {
            arguments = self.list(|it| {
                if it.eat("NULL") {
                    return Ok(Argument::Null);
                }
                if let Some(number) = it.eat_kind(TokenKind::Number) {
                    let text = String::from_utf8_lossy(it.tokens.bytes(number)).into_owned();
                    return Ok(Argument::Literal(text.into()));
                }
                it.string().map(|text| Argument::Literal(text.into()))
            })?;
            self.expect_sign(b')')?;
        }
        let call = Effect::Call(Call { name, arguments });
        Ok(Kind::with("CALL", Class::Function, call))
    }

    /// `KILL [HARD | SOFT] [CONNECTION | QUERY] number`
    pub(super) fn kill(&mut self, resolver: &mut Resolver<'_>) -> Parsed<Kind> {
        let _ = resolver;
        self.at += 1;
        self.eat_any(&["HARD", "SOFT"]);
        let query = self.eat("QUERY");
        if !query {
            self.eat("CONNECTION");
        }
        let Some(number) = self.eat_kind(TokenKind::Number) else {
            return unsupported("KILL is read with the number of a connection.");
        };
        let digits = std::str::from_utf8(self.tokens.bytes(number)).unwrap_or_default();
        let Ok(connection) = digits.parse() else {
            return unsupported("KILL is read with the number of a connection.");
        };
        Ok(Kind::with("KILL", Class::Misc, Effect::Kill { connection, query }))
    }

    /// LOCK TABLES and UNLOCK TABLES.
    pub(super) fn lock_tables(&mut self, resolver: &mut Resolver<'_>) -> Parsed<Kind> {
        let unlock = self.eat("UNLOCK");
        if !unlock {
            self.require("LOCK")?;
        }
        if !self.eat_any(&["TABLES", "TABLE"]) {
            return unsupported("LOCK is read as LOCK TABLES only.");
        }
        if unlock {
            return Ok(Kind::new("UNLOCK TABLES", Class::Misc));
        }
        self.list(|it| {
            let name = it.table()?;
            let alias = it.alias_before_lock()?;
            if it.eat("READ") {
                it.eat("LOCAL");
            } else {
                it.eat_any(&["LOW_PRIORITY", "CONCURRENT"]);
                it.require("WRITE")?;
            }
            let table = resolver.table(&name, alias.as_deref())?;
            if let Bound::Relation(relation) = table.bound {
                let schema = Object::Schema(relation.schema.clone());
                resolver.needs.whole(Operation::LockTables, schema);
                resolver.through(&relation)?;
                resolver.needs.any(Operation::Select, Object::Relation(relation));
            }
            Ok(())
        })?;
        if self.eat_any(&["NOWAIT", "WAIT"]) {
            self.eat_kind(TokenKind::Number);
        }
        Ok(Kind::new("LOCK TABLES", Class::Misc))
    }

    fn alias_before_lock(&mut self) -> Parsed<Option<Box<str>>> {
        if self.is_any(&["READ", "WRITE", "LOW_PRIORITY", "CONCURRENT"]) {
            return Ok(None);
        }
        self.alias()
    }

    /// HANDLER, whose table is named each time.
    pub(super) fn handler(&mut self, resolver: &mut Resolver<'_>) -> Parsed<Kind> {
        self.at += 1;
        let name = self.table()?;
        let table = resolver.table(&name, None)?;
        if let Bound::Relation(relation) | Bound::Partly(relation, _) = &table.bound {
            let object = Object::Relation(relation.clone());
            if self.is("OPEN") {
                resolver.needs.any(Operation::Select, object);
            } else {
                resolver.needs.whole(Operation::Select, object);
            }
        }
        if self.eat_any(&["OPEN", "CLOSE"]) {
            if !self.done() {
                return unsupported("HANDLER is read without an alias.");
            }
            return Ok(Kind::new("HANDLER", Class::Read));
        }
        self.require("READ")?;
        let mut found = Vec::new();
        if !self.eat_any(&["FIRST", "NEXT"]) {
            self.name()?;
            let compared = [b'=', b'<', b'>'].into_iter().any(|sign| self.eat_sign(sign))
                || self.eat_kind(TokenKind::Operator).is_some();
            if compared {
                self.in_parentheses(|it| it.expression(&mut found))?;
            } else if !self.eat_any(&["FIRST", "NEXT", "PREV", "LAST"]) {
                return self.wrong();
            }
        }
        if self.eat("WHERE") {
            self.expression(&mut found)?;
        }
        if self.eat("LIMIT") {
            self.limit()?;
        }
        let mut level = Level::default();
        level.tables.push(table);
        resolver.levels.push(level);
        resolver.mentions(&found)?;
        resolver.levels.pop();
        Ok(Kind::new("HANDLER", Class::Read))
    }

    /// EXPLAIN, DESCRIBE and DESC.
    pub(super) fn explain(&mut self, resolver: &mut Resolver<'_>) -> Parsed<Kind> {
        self.at += 1;
        if self.eat("FOR CONNECTION") {
            resolver.needs.whole(Operation::Process, Object::Database);
            self.eat_kind(TokenKind::Number);
            return Ok(Kind::new("EXPLAIN", Class::Read));
        }
        self.explain_options()?;
        let words = ["SELECT", "WITH", "INSERT", "REPLACE", "UPDATE", "DELETE", "TABLE", "VALUES"];
        if self.is_any(&words) || self.sign_at(0, b'(') {
            return self.explained("EXPLAIN", resolver);
        }
        let name = self.table()?;
        if !self.done() && self.eat_kind(TokenKind::Text).is_none() {
            self.name()?;
        }
        self.seen(&name, resolver)?;
        Ok(Kind::new("DESCRIBE", Class::Read))
    }

    /// `[EXTENDED | PARTITIONS | ANALYZE] [FORMAT = word]`
    pub(super) fn explain_options(&mut self) -> Parsed<()> {
        loop {
            if self.is("FORMAT") && self.sign_at(1, b'=') {
                self.at += 2;
                self.character_set()?;
            } else if !self.eat_any(&["EXTENDED", "PARTITIONS", "ANALYZE"]) {
                return Ok(());
            }
        }
    }

    /// The statement behind EXPLAIN or ANALYZE: it needs what it would need, and views show how they are made.
    pub(super) fn explained(
        &mut self,
        command: &'static str,
        resolver: &mut Resolver<'_>,
    ) -> Parsed<Kind> {
        resolver.explains = true;
        let inner = self.statement(resolver)?;
        resolver.explains = false;
        Ok(Kind::new(command, inner.class))
    }
}
