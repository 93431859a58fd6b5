//! SHOW.

use super::lexer::Kind as TokenKind;
use super::needs::ON_TABLE;
use super::parser::{Parsed, Parser, unsupported};
use super::resolve::{Bound, Level, Resolver, Table};
use super::statement::Kind;
use super::tree::Name;
use crate::sql::access::{Object, Operation, Reach};
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
            let events = self.is("EVENTS");
            self.at += 1;
            let name = Name { database: self.of_database()?, name: "".into() };
            let database = resolver.qualify(&name)?.schema;
            if events {
                resolver.needs.whole(Operation::Event, Object::Schema(database));
            } else {
                resolver.triggers(database);
            }
            return self.filter(resolver);
        }
        if self.eat_any(&["PROCESSLIST", "USER_STATISTICS", "CLIENT_STATISTICS"]) {
            // Its own alone to whoever lacks it.
            if resolver.is_own_account() {
                resolver.needs.metadata();
            } else {
                resolver.needs.whole(Operation::Process, Object::Database);
            }
            return Ok(());
        }
        if self.eat("GRANTS") {
            let own = self.done() || self.eat("FOR CURRENT_USER");
            if own && self.eat_sign(b'(') {
                self.expect_sign(b')')?;
            }
            if own && self.done() && resolver.is_own_account() {
                resolver.needs.metadata();
            } else {
                // They are the service account's, or somebody else's.
                resolver.needs.admin(Object::Database);
            }
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

    /// A table's columns or indexes are seen by whoever holds something on it.
    pub(super) fn seen(&mut self, name: &Name, resolver: &mut Resolver<'_>) -> Parsed<()> {
        match resolver.table(name, None)?.bound {
            // Of a view MySQL shows columns only to who may read some.
            Bound::Relation(relation) if !self.mariadb() && resolver.view(&relation).is_some() => {
                resolver.needs.one_of(ON_TABLE, Object::Relation(relation), Reach::Any);
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
        let as_view = self.is("VIEW");
        if self.eat_any(&["TABLE", "VIEW", "SEQUENCE"]) {
            let name = self.table()?;
            let table = resolver.table(&name, None)?;
            let Bound::Relation(relation) = table.bound else {
                resolver.needs.metadata();
                return Ok(());
            };
            let view = resolver.view(&relation).is_some();
            let object = Object::Relation(relation);
            match (view, as_view) {
                (false, false) => resolver.needs.one_of(ON_TABLE, object, Reach::Whole),
                (false, true) => resolver.needs.whole(Operation::Select, object),
                (true, _) => {
                    if as_view {
                        resolver.needs.any(Operation::Select, object.clone());
                    }
                    resolver.needs.whole(Operation::ShowView, object);
                }
            }
            return Ok(());
        }
        if self.eat("TRIGGER") {
            let name = self.table()?;
            if resolver.is_own_account() {
                let table = resolver.trigger(&name)?;
                resolver.needs.whole(Operation::Trigger, Object::Relation(table));
            } else {
                let name = resolver.qualify(&name)?;
                resolver.needs.whole(Operation::ShowView, Object::Schema(name.schema));
            }
            return Ok(());
        }
        if self.eat("EVENT") {
            let name = self.table()?;
            let name = resolver.qualify(&name)?;
            resolver.needs.whole(Operation::Event, Object::Schema(name.schema));
            return Ok(());
        }
        if resolver.is_own_account() && self.eat_any(&["FUNCTION", "PROCEDURE"]) {
            // Of others' routines it shows no body, and none at all of those on which nothing is held.
            self.routine()?;
            resolver.needs.metadata();
            return Ok(());
        }
        // The bodies of routines are shown to who made them or to an administrator.
        resolver.needs.admin(Object::Database);
        self.at = self.end;
        Ok(())
    }
}
