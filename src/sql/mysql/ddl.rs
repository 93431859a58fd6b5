//! Definitions: CREATE, ALTER, DROP, RENAME, TRUNCATE and the upkeep of tables.
//!
//! What stands in a table's parentheses is scanned, not parsed: nothing in it can reach another table but
//! what is looked for here, since the server takes no stored function or sub-select in defaults, checks and
//! generated columns.

use super::lexer::Kind as TokenKind;
use super::parser::{Parsed, Parser, unsupported};
use super::programs::Definer;
use super::resolve::{Bound, Resolver};
use super::statement::Kind;
use super::tree::Name;
use crate::sql::access::{Object, Operation};
use crate::sql::name::QualifiedName;
use crate::sql::statement::Effect;

/// Storage engines that keep their rows in this server, each table's its own.
const ENGINES: [&str; 9] =
    ["innodb", "myisam", "aria", "memory", "heap", "archive", "csv", "blackhole", "rocksdb"];

/// What would reach elsewhere: other tables, other servers, files; or move a sequence.
const REACHING: [&str; 10] = [
    "TABLE",
    "UNION",
    "CONNECTION",
    "DIRECTORY",
    "SELECT",
    "NEXTVAL",
    "LASTVAL",
    "SETVAL",
    "EXCHANGE",
    "TABLESPACE",
];

impl Parser<'_> {
    /// CREATE, ALTER and DROP.
    pub(super) fn definition(&mut self, resolver: &mut Resolver<'_>) -> Parsed<Kind> {
        if self.eat("CREATE") {
            return self.create(resolver);
        }
        if self.eat("ALTER") {
            return self.alter(resolver);
        }
        self.require("DROP")?;
        self.drop_statement(resolver)
    }

    fn create(&mut self, resolver: &mut Resolver<'_>) -> Parsed<Kind> {
        let replace = self.eat("OR REPLACE");
        if self.is("TEMPORARY") || self.is("TABLE") {
            return self.create_table(replace, resolver);
        }
        if self.eat("SEQUENCE") {
            self.eat("IF NOT EXISTS");
            let name = self.table()?;
            let name = resolver.qualify(&name)?;
            on(resolver, &name, &[Operation::Create]);
            if replace {
                on(resolver, &name, &[Operation::Drop]);
            }
            self.body(resolver, false)?;
            return Ok(Kind::ddl("CREATE SEQUENCE"));
        }
        if !replace && self.eat_any(&["DATABASE", "SCHEMA"]) {
            self.eat("IF NOT EXISTS");
            let name = self.name()?;
            let name = self.folded(name)?;
            resolver.needs.whole(Operation::Create, Object::Schema(name));
            self.body(resolver, false)?;
            return Ok(Kind::ddl("CREATE DATABASE"));
        }
        let start = self.at;
        self.eat_any(&["UNIQUE", "FULLTEXT", "SPATIAL"]);
        if self.eat("INDEX") {
            self.eat("IF NOT EXISTS");
            self.name()?;
            if self.eat("USING") {
                self.name()?;
            }
            self.require("ON")?;
            let name = self.table()?;
            self.existing(&name, &[Operation::Index], resolver)?;
            self.body(resolver, false)?;
            return Ok(Kind::ddl("CREATE INDEX"));
        }
        self.at = start;
        if let Some(kind) = self.view_definition(replace, resolver)? {
            return Ok(kind);
        }
        self.at = start;
        if let Some(kind) = self.create_program(replace, resolver)? {
            return Ok(kind);
        }
        self.at = start;
        let role = self.is_any(&["USER", "ROLE"]);
        self.everything("CREATE", if role { Kind::role } else { Kind::ddl }, resolver)
    }

    /// `[ALGORITHM = …] [SQL SECURITY …] VIEW …`; `None` when it is no view.
    fn view_definition(
        &mut self,
        replace: bool,
        resolver: &mut Resolver<'_>,
    ) -> Parsed<Option<Kind>> {
        let mut definer = false;
        loop {
            if self.eat("ALGORITHM") {
                self.expect_sign(b'=')?;
                if !self.eat_any(&["UNDEFINED", "MERGE", "TEMPTABLE"]) {
                    return self.wrong();
                }
            } else if self.eat("SQL SECURITY") {
                if !self.eat_any(&["DEFINER", "INVOKER"]) {
                    return self.wrong();
                }
            } else {
                match self.definer()? {
                    Definer::Unsaid => break,
                    // That is the service account.
                    Definer::CurrentUser if resolver.is_own_account() => {}
                    Definer::CurrentUser | Definer::Other => definer = true,
                }
            }
        }
        if !self.eat("VIEW") {
            return Ok(None);
        }
        self.eat("IF NOT EXISTS");
        let name = self.table()?;
        let name = resolver.qualify(&name)?;
        on(resolver, &name, &[Operation::CreateView]);
        if replace {
            on(resolver, &name, &[Operation::Drop]);
            guarded_by_definer(self, resolver, &name);
        }
        if definer {
            resolver.needs.admin(Object::Database);
        }
        if self.sign_at(0, b'(') && !self.begins_query() {
            self.in_parentheses(Self::column)?;
        }
        self.require("AS")?;
        let query = self.subquery()?;
        resolver.query(&query)?;
        if self.eat("WITH") {
            self.eat_any(&["CASCADED", "LOCAL"]);
            self.require("CHECK OPTION")?;
        }
        Ok(Some(Kind::ddl("CREATE VIEW")))
    }

    fn create_table(&mut self, replace: bool, resolver: &mut Resolver<'_>) -> Parsed<Kind> {
        let temporary = self.eat("TEMPORARY");
        self.require("TABLE")?;
        self.eat("IF NOT EXISTS");
        let name = self.table()?;
        let name = resolver.qualify(&name)?;
        if temporary {
            let schema = Object::Schema(name.schema.clone());
            resolver.needs.whole(Operation::CreateTemporaryTables, schema);
        } else {
            on(resolver, &name, &[Operation::Create]);
            if replace {
                on(resolver, &name, &[Operation::Drop]);
            }
        }
        let in_parentheses = self.sign_at(0, b'(') && self.is_at(1, "LIKE");
        if in_parentheses || self.is("LIKE") {
            self.at += if in_parentheses { 2 } else { 1 };
            let source = self.table()?;
            if let Bound::Relation(relation) = resolver.table(&source, None)?.bound {
                resolver.needs.any(Operation::Select, Object::Relation(relation));
            }
            if in_parentheses {
                self.expect_sign(b')')?;
            }
        } else {
            self.body(resolver, true)?;
            self.eat_any(&["IGNORE", "REPLACE"]);
            self.eat("AS");
            if !self.done() {
                let query = self.subquery()?;
                resolver.query(&query)?;
                if !temporary {
                    on(resolver, &name, &[Operation::Insert]);
                }
            }
        }
        let kind = Kind::ddl("CREATE TABLE");
        Ok(if temporary { Kind { effect: Effect::CreateTemporary(name), ..kind } } else { kind })
    }

    /// Scans to the end, or to the query of CREATE TABLE … SELECT.
    fn body(&mut self, resolver: &mut Resolver<'_>, query: bool) -> Parsed<()> {
        let mut depth = 0_usize;
        while !self.done() {
            if query && depth == 0 {
                let at_query =
                    |ahead| ["SELECT", "WITH", "TABLE"].iter().any(|word| self.is_at(ahead, word));
                let as_query = self.is("AS") || self.is("IGNORE") || self.is("REPLACE");
                if at_query(0) && !self.is_at(1, "SYSTEM") || as_query {
                    return Ok(());
                }
                if self.sign_at(0, b'(') && (at_query(1) || self.sign_at(1, b'(') && at_query(2)) {
                    return Ok(());
                }
            }
            if self.eat("REFERENCES") {
                let name = self.table()?;
                let name = resolver.qualify(&name)?;
                on(resolver, &name, &[Operation::References]);
                continue;
            }
            if self.eat("ENGINE") {
                self.eat_sign(b'=');
                let known = self.token(0).is_some_and(|token| {
                    let name = match token.kind {
                        TokenKind::Text => self.tokens.value(token).unwrap_or_default(),
                        _ => self.tokens.name(token).into_owned(),
                    };
                    ENGINES.contains(&&*name.to_ascii_lowercase())
                });
                if !known {
                    return unsupported("A table of this storage engine is not made here.");
                }
                self.at += 1;
                continue;
            }
            // It is the table's own.
            if self.eat_any(&["DISCARD TABLESPACE", "IMPORT TABLESPACE"]) {
                continue;
            }
            if self.is_any(&REACHING) || self.is("NEXT") && self.is_at(1, "VALUE") {
                return unsupported(
                    "A table's definition reaches elsewhere in a way that is not read here.",
                );
            }
            match self.kind() {
                Some(TokenKind::Sign(b'(')) => depth += 1,
                Some(TokenKind::Sign(b')')) => match depth.checked_sub(1) {
                    Some(less) => depth = less,
                    None => return self.wrong(),
                },
                _ => {}
            }
            self.at += 1;
        }
        if depth == 0 { Ok(()) } else { self.wrong() }
    }

    fn alter(&mut self, resolver: &mut Resolver<'_>) -> Parsed<Kind> {
        let start = self.at;
        self.eat("ONLINE");
        self.eat("IGNORE");
        if self.eat("TABLE") {
            self.eat("IF EXISTS");
            let name = self.table()?;
            // It is DROP that both servers ask for then, and nothing else.
            if !self.are("TRUNCATE PARTITION") {
                self.existing(&name, &[Operation::Alter], resolver)?;
            }
            self.alterations(&name, resolver)?;
            return Ok(Kind::ddl("ALTER TABLE"));
        }
        self.at = start;
        if self.eat_any(&["DATABASE", "SCHEMA"]) {
            let name = self.name()?;
            let name = self.folded(name)?;
            resolver.needs.whole(Operation::Alter, Object::Schema(name));
            self.body(resolver, false)?;
            return Ok(Kind::ddl("ALTER DATABASE"));
        }
        if let Some(kind) = self.view_definition(true, resolver)? {
            // The view stays with whoever made it, so that others would lend themselves their rights.
            resolver.needs.admin(Object::Database);
            return Ok(Kind { command: "ALTER VIEW", ..kind });
        }
        self.at = start;
        if let Some(kind) = self.alter_routine(resolver)? {
            return Ok(kind);
        }
        let role = self.is("USER");
        self.everything("ALTER", if role { Kind::role } else { Kind::ddl }, resolver)
    }

    /// What ALTER TABLE does, beside what its definitions refer to.
    fn alterations(&mut self, name: &Name, resolver: &mut Resolver<'_>) -> Parsed<()> {
        let start = self.at;
        let mut depth = 0_usize;
        while !self.done() {
            match self.kind() {
                Some(TokenKind::Sign(b'(')) => depth += 1,
                Some(TokenKind::Sign(b')')) => depth = depth.saturating_sub(1),
                _ => {}
            }
            // `RENAME [TO] name`, but for those of columns and indexes.
            if depth == 0 && self.is("RENAME") {
                let inside = ["COLUMN", "INDEX", "KEY"].iter().any(|word| self.is_at(1, word));
                if !inside {
                    self.at += 1;
                    self.eat_any(&["TO", "AS"]);
                    self.eat_sign(b'=');
                    let new = self.table()?;
                    let new = resolver.qualify(&new)?;
                    on(resolver, &new, &[Operation::Create, Operation::Insert]);
                    self.existing(name, &[Operation::Drop], resolver)?;
                    continue;
                }
            }
            let partitions = ["DROP", "TRUNCATE"].iter().any(|word| self.is(word));
            if partitions && self.is_at(1, "PARTITION") {
                self.existing(name, &[Operation::Drop], resolver)?;
            }
            let upkeep = ["ANALYZE", "CHECK", "OPTIMIZE", "REPAIR", "REBUILD"];
            if self.is_any(&upkeep) && self.is_at(1, "PARTITION") {
                self.existing(name, &[Operation::Select, Operation::Insert], resolver)?;
            }
            if self.is("CONVERT") && !self.is_at(1, "TO") || self.are("CONVERT TO TABLE") {
                return unsupported("CONVERT of a partition is not read here.");
            }
            self.at += 1;
        }
        self.at = start;
        self.body(resolver, false)
    }

    fn drop_statement(&mut self, resolver: &mut Resolver<'_>) -> Parsed<Kind> {
        let start = self.at;
        let temporary = self.eat("TEMPORARY");
        if self.eat_any(&["TABLES", "TABLE", "SEQUENCE"]) {
            self.eat("IF EXISTS");
            let names = self.list(Self::table)?;
            let mut dropped = Vec::new();
            for name in &names {
                let name = resolver.qualify(name)?;
                if !temporary && !resolver.is_temporary(&name) {
                    on(resolver, &name, &[Operation::Drop]);
                }
                dropped.push(name);
            }
            if self.eat("WAIT") {
                self.eat_kind(TokenKind::Number);
            }
            self.eat_any(&["NOWAIT", "RESTRICT", "CASCADE"]);
            resolver.needs.metadata();
            let kind = Kind::ddl("DROP TABLE");
            return Ok(Kind { effect: Effect::DropTables(dropped.into()), ..kind });
        }
        self.at = start;
        if self.eat("VIEW") {
            self.eat("IF EXISTS");
            for name in self.list(Self::table)? {
                let name = resolver.qualify(&name)?;
                on(resolver, &name, &[Operation::Drop]);
                guarded_by_definer(self, resolver, &name);
            }
            self.eat_any(&["RESTRICT", "CASCADE"]);
            return Ok(Kind::ddl("DROP VIEW"));
        }
        if self.eat("INDEX") {
            self.eat("IF EXISTS");
            if !self.eat("PRIMARY") {
                self.name()?;
            }
            self.require("ON")?;
            let name = self.table()?;
            self.existing(&name, &[Operation::Index], resolver)?;
            self.body(resolver, false)?;
            return Ok(Kind::ddl("DROP INDEX"));
        }
        if self.eat_any(&["DATABASE", "SCHEMA"]) {
            self.eat("IF EXISTS");
            let name = self.name()?;
            let name = self.folded(name)?;
            resolver.needs.whole(Operation::Drop, Object::Schema(name));
            return Ok(Kind::ddl("DROP DATABASE"));
        }
        if self.eat("PREPARE") {
            let name = self.column()?;
            let effect = Effect::Deallocate(Some(name));
            return Ok(Kind { changes_catalog: false, effect, ..Kind::ddl("DEALLOCATE PREPARE") });
        }
        if self.is_any(&["FUNCTION", "PROCEDURE"]) {
            let function = self.is("FUNCTION");
            self.at += 1;
            self.eat("IF EXISTS");
            let name = self.routine()?;
            if function && resolver.scope.catalog.loadable.contains(&*name.name) {
                resolver.needs.admin(Object::Database);
            }
            if !self.mariadb() && !resolver.is_own_account() {
                // MySQL guards what accounts with SYSTEM_USER made, and whose a routine is is not known here.
                resolver.needs.admin(Object::Database);
            }
            let name = resolver.qualify(&name)?;
            let object = if function {
                Object::Function { name, arguments: "".into() }
            } else {
                Object::Procedure(name)
            };
            resolver.needs.whole(Operation::AlterRoutine, object);
            return Ok(Kind::ddl("DROP ROUTINE"));
        }
        if let Some(kind) = self.drop_program(resolver)? {
            return Ok(kind);
        }
        let role = self.is_any(&["USER", "ROLE"]);
        self.everything("DROP", if role { Kind::role } else { Kind::ddl }, resolver)
    }

    /// Operations on a table that has to be there.
    fn existing(
        &self,
        name: &Name,
        operations: &[Operation],
        resolver: &mut Resolver<'_>,
    ) -> Parsed<()> {
        if let Bound::Relation(relation) = resolver.table(name, None)?.bound {
            on(resolver, &relation, operations);
        }
        Ok(())
    }

    /// ANALYZE, CHECK, CHECKSUM, OPTIMIZE and REPAIR TABLE, TRUNCATE, RENAME and FLUSH.
    pub(super) fn maintenance(&mut self, resolver: &mut Resolver<'_>) -> Parsed<Kind> {
        if self.eat("TRUNCATE") {
            self.eat("TABLE");
            let name = self.table()?;
            self.existing(&name, &[Operation::Drop], resolver)?;
            return Ok(Kind::new("TRUNCATE TABLE", crate::sql::statement::Class::Write));
        }
        if self.eat("RENAME") {
            if !self.eat_any(&["TABLES", "TABLE"]) {
                return self.everything("RENAME USER", Kind::role, resolver);
            }
            self.eat("IF EXISTS");
            self.list(|it| {
                let old = it.table()?;
                it.require("TO")?;
                let new = it.table()?;
                let (old, new) = (resolver.qualify(&old)?, resolver.qualify(&new)?);
                on(resolver, &old, &[Operation::Alter, Operation::Drop]);
                on(resolver, &new, &[Operation::Create, Operation::Insert]);
                Ok(())
            })?;
            return Ok(Kind::ddl("RENAME TABLE"));
        }
        if self.eat("FLUSH") {
            self.skip_words(&["NO_WRITE_TO_BINLOG", "LOCAL"]);
            resolver.needs.whole(Operation::Reload, Object::Database);
            if self.eat_any(&["TABLES", "TABLE"]) {
                return self.flush_tables(resolver);
            }
            self.at += 1;
            if !self.done() {
                resolver.needs.admin(Object::Database);
                self.at = self.end;
            }
            return Ok(Kind::new("FLUSH", crate::sql::statement::Class::Misc));
        }
        // On the table or on any column of it; for CHECK anything is enough to both servers.
        let needed: &[Operation] = if self.is("CHECK") {
            &[]
        } else if self.is("CHECKSUM") {
            &[Operation::Select]
        } else {
            &[Operation::Select, Operation::Insert]
        };
        let analyze = self.is("ANALYZE");
        self.at += 1;
        self.skip_words(&["NO_WRITE_TO_BINLOG", "LOCAL"]);
        if !self.eat_any(&["TABLES", "TABLE"]) {
            if !analyze || !self.mariadb() {
                return unsupported("This form of upkeep is read for tables only.");
            }
            self.explain_options()?;
            return self.explained("ANALYZE", resolver);
        }
        self.list(|it| {
            let name = it.table()?;
            let Bound::Relation(relation) = resolver.table(&name, None)?.bound else {
                return Ok(());
            };
            resolver.through(&relation)?;
            let object = Object::Relation(relation);
            if needed.is_empty() {
                resolver.needs.anything(object.clone());
            }
            for operation in needed {
                resolver.needs.any(*operation, object.clone());
            }
            Ok(())
        })?;
        // Options and names of columns; nothing that a query could stand in.
        while !self.done() {
            if self.begins_query() {
                return self.wrong();
            }
            self.at += 1;
        }
        resolver.needs.metadata();
        Ok(Kind::new("TABLE MAINTENANCE", crate::sql::statement::Class::Misc))
    }
}

impl Parser<'_> {
    /// `FLUSH TABLES [table, …] [WITH READ LOCK | FOR EXPORT]`
    fn flush_tables(&mut self, resolver: &mut Resolver<'_>) -> Parsed<Kind> {
        let mut names = Vec::new();
        if !self.done() && !self.are("WITH READ LOCK") {
            names = self.list(Self::table)?;
        }
        let locks = self.eat("WITH READ LOCK") || !names.is_empty() && self.eat("FOR EXPORT");
        for name in names.iter().filter(|_| locks) {
            if let Bound::Relation(relation) = resolver.table(name, None)?.bound {
                let schema = Object::Schema(relation.schema.clone());
                resolver.needs.whole(Operation::LockTables, schema);
                resolver.through(&relation)?;
                resolver.needs.any(Operation::Select, Object::Relation(relation));
            }
        }
        Ok(Kind::new("FLUSH", crate::sql::statement::Class::Misc))
    }
}

/// MySQL lets only SYSTEM_USER drop a view whose definer has that, and whose a view is is not known here.
fn guarded_by_definer(parser: &Parser<'_>, resolver: &mut Resolver<'_>, name: &QualifiedName) {
    if !parser.mariadb() && !resolver.is_own_account() && resolver.view(name).is_some() {
        resolver.needs.admin(Object::Database);
    }
}

fn on(resolver: &mut Resolver<'_>, name: &QualifiedName, operations: &[Operation]) {
    for operation in operations {
        resolver.needs.whole(*operation, Object::Relation(name.clone()));
    }
}
