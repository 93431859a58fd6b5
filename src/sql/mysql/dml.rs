//! INSERT, REPLACE, UPDATE, DELETE and LOAD DATA: what each column and table is used for.
//!
//! After `insert_precheck`, `multi_update_precheck` and `multi_delete_precheck` of `sql_parse.cc`.

use super::lexer::Kind;
use super::parser::{Parsed, Parser, unsupported};
use super::resolve::{Bound, Level, Resolver, Table, Use, is_called};
use super::tree::{ColumnName, Item, Joined, Mention, Mentions, Name, Query, SourceKind};
use crate::sql::access::{Object, Operation};
use crate::sql::name::QualifiedName;
use crate::sql::statement::NotUnderstood;

/// How an INSERT or its like treats rows that are there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Insert,
    Replace,
}

/// What an INSERT puts there.
struct Rows {
    /// SELECT.
    query: Option<Query>,
    /// What the values mention.
    values: Mentions,
    /// A row is `()`.
    empty: bool,
}

/// What LOAD DATA reads.
pub(super) struct Loaded {
    /// The client's file; `None` for one of the server.
    pub local: Option<Box<str>>,
}

impl Parser<'_> {
    /// `column = value, …`: each column, and what the values mention.
    fn assignments(&mut self) -> Parsed<(Vec<ColumnName>, Mentions)> {
        let mut values = Mentions::new();
        let columns = self.list(|it| {
            let column = it.column_name()?;
            if !it.eat_sign(b'=') && it.eat_kind(Kind::Assign).is_none() {
                return it.wrong();
            }
            it.expression(&mut values)?;
            Ok(column)
        })?;
        Ok((columns, values))
    }

    /// INSERT or REPLACE, behind its first word.
    pub(super) fn insert(&mut self, replace: bool, resolver: &mut Resolver<'_>) -> Parsed<()> {
        let verb = if replace { Verb::Replace } else { Verb::Insert };
        self.skip_words(&["LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE"]);
        self.eat("INTO");
        let name = self.table()?;
        if self.eat("PARTITION") {
            self.in_parentheses(Self::name)?;
        }
        let mut columns = None;
        if self.sign_at(0, b'(') && self.sign_at(1, b')') {
            self.at += 2;
            columns = Some(Vec::new());
        } else if self.sign_at(0, b'(')
            && !self.is_at(1, "SELECT")
            && !self.is_at(1, "WITH")
            && !self.sign_at(1, b'(')
        {
            columns = Some(self.in_parentheses(Self::column_name)?);
        }
        let mut level = Level::default();
        let (table, relation) = target(resolver, &name, None)?;
        level.tables.push(table);
        let Rows { query, values, empty } = self.rows(&mut columns)?;
        let mut row_alias = None;
        if !self.mariadb() && self.eat("AS") {
            row_alias = Some(self.name()?);
            if self.sign_at(0, b'(') {
                return unsupported("A row alias with columns is not read here.");
            }
        }
        let update =
            if self.eat("ON DUPLICATE KEY UPDATE") { Some(self.assignments()?) } else { None };
        let returning = if self.mariadb() { self.returning()? } else { None };
        // MariaDB asks one set of rights for every column that is named beside the update's own (its
        // `want_privilege`), MySQL what each is used for.
        let mut inserted = vec![Operation::Insert];
        if self.mariadb() {
            inserted.extend(update.is_some().then_some(Operation::Update));
            inserted.extend(returning.is_some().then_some(Operation::Select));
            level.reads.clone_from(&inserted);
        }
        let of_view = relation.as_ref().is_some_and(|it| resolver.view(it).is_some());
        if let Some(relation) = relation {
            let object = || Object::Relation(relation.clone());
            let needs = &mut resolver.needs;
            needs.any(Operation::Insert, object());
            if verb == Verb::Replace {
                needs.whole(Operation::Delete, object());
            }
            if update.is_some() {
                needs.any(Operation::Update, object());
            }
            // A row of defaults names no column to MariaDB, and all of them to MySQL.
            let unnamed = columns.as_ref().is_none_or(Vec::is_empty);
            if unnamed && !(empty && self.mariadb()) {
                for (column, _) in level.tables.iter().flat_map(|it| it.columns.iter().flatten()) {
                    for operation in &inserted {
                        needs.column(*operation, object(), column);
                    }
                }
            }
        }
        if let Some(query) = &query {
            resolver.query(query)?;
        }
        resolver.levels.push(level);
        for column in columns.iter().flatten() {
            resolver.column(column, Use::For(&inserted))?;
        }
        resolver.mentions(&values)?;
        if let Some((columns, values)) = update {
            let own = resolver.levels.last_mut().map(|it| std::mem::take(&mut it.reads));
            // Of a view MariaDB asks for INSERT of what is changed, too.
            let updated: &[Operation] = match (self.mariadb(), of_view) {
                (true, true) => &[Operation::Insert, Operation::Select, Operation::Update],
                (true, false) => &[Operation::Select, Operation::Update],
                (false, _) => &[Operation::Update],
            };
            for column in &columns {
                resolver.column(column, Use::For(updated))?;
            }
            self.updated(values, query.as_ref(), row_alias.as_deref(), resolver)?;
            if let (Some(level), Some(own)) = (resolver.levels.last_mut(), own) {
                level.reads = own;
            }
        }
        if let Some(items) = returning {
            self.returned(&items, resolver)?;
        }
        resolver.levels.pop();
        Ok(())
    }

    /// What an INSERT puts there; SET names its columns as well.
    fn rows(&mut self, columns: &mut Option<Vec<ColumnName>>) -> Parsed<Rows> {
        let mut query = None;
        let mut values = Mentions::new();
        let mut empty = false;
        if self.eat("SET") {
            let (set, found) = self.assignments()?;
            *columns = Some(set);
            values = found;
        } else if self.is("VALUES") && !self.is_at(1, "ROW") || self.is("VALUE") {
            self.at += 1;
            self.list(|it| {
                it.expect_sign(b'(')?;
                if it.eat_sign(b')') {
                    empty = true;
                    return Ok(());
                }
                it.list(|it| it.expression(&mut values))?;
                it.expect_sign(b')')
            })?;
        } else if self.begins_query() || self.sign_at(0, b'(') {
            query = Some(self.subquery()?);
        } else {
            return self.wrong();
        }
        Ok(Rows { query, values, empty })
    }

    /// The values of ON DUPLICATE KEY UPDATE: they see the table, and the tables of the query.
    fn updated(
        &self,
        values: Mentions,
        query: Option<&Query>,
        row_alias: Option<&str>,
        resolver: &mut Resolver<'_>,
    ) -> Parsed<()> {
        let mut kept = Mentions::new();
        for value in values {
            match value {
                Mention::Inserted(column) => {
                    let name = ColumnName { table: None, column };
                    resolver.column(&name, Use::Read)?;
                }
                Mention::Column(ColumnName { table: Some(table), column })
                    if table.database.is_none() && Some(&*table.name) == row_alias =>
                {
                    // The row that was to be inserted is no secret to who gives it, but MySQL asks for the column.
                    let name = ColumnName { table: None, column };
                    resolver.column(&name, Use::Read)?;
                }
                other => kept.push(other),
            }
        }
        if row_alias.is_some() && kept.iter().any(|it| matches!(it, Mention::Query(_))) {
            return unsupported("A sub-select beside a row alias is not read here.");
        }
        let Some(query) = query else { return resolver.mentions(&kept) };
        let [super::tree::Operand::Select(select)] = &*query.operands else {
            return resolver.mentions(&kept);
        };
        if !query.ctes.is_empty() {
            return unsupported("ON DUPLICATE KEY UPDATE behind WITH is not read here.");
        }
        // They see the query's tables as well; the scope of the inserted table stays around it.
        resolver.levels.push(Level::default());
        resolver.from(&select.from, &[])?;
        if let Some(level) = resolver.levels.last_mut() {
            level.reaches_out();
        }
        resolver.mentions(&kept)?;
        resolver.levels.pop();
        Ok(())
    }

    /// RETURNING and its list, of MariaDB.
    fn returning(&mut self) -> Parsed<Option<Query>> {
        if !self.eat("RETURNING") {
            return Ok(None);
        }
        let mut query = Query::default();
        self.returning_list(&mut query)?;
        Ok(Some(query))
    }

    fn returned(&self, query: &Query, resolver: &mut Resolver<'_>) -> Parsed<()> {
        for operand in &query.operands {
            let super::tree::Operand::Select(select) = operand else { continue };
            for item in &select.items {
                match item {
                    Item::Star => resolver.star_of_innermost()?,
                    Item::TableStar(_) => return unsupported("RETURNING takes * without a table."),
                    Item::Expression { mentions, .. } => resolver.mentions(mentions)?,
                }
            }
        }
        Ok(())
    }

    /// UPDATE, behind its first word; `with` holds its CTEs.
    pub(super) fn update(&mut self, with: &Query, resolver: &mut Resolver<'_>) -> Parsed<()> {
        self.skip_words(&["LOW_PRIORITY", "IGNORE"]);
        let from = self.sources()?;
        self.require("SET")?;
        let (columns, values) = self.assignments()?;
        let mut condition = Mentions::new();
        self.conditions(&mut condition)?;
        self.finish()?;
        resolver.with(with)?;
        resolver.levels.push(Level::default());
        let single = single(&from);
        match single {
            Some((name, alias)) => {
                let (table, relation) = target(resolver, name, alias)?;
                if let Some(relation) = relation {
                    resolver.needs.any(Operation::Update, Object::Relation(relation));
                }
                if let Some(level) = resolver.levels.last_mut() {
                    level.tables.push(table);
                }
            }
            // Each table is read; those that change are told by the columns.
            None => self.many(&from, &columns, resolver)?,
        }
        for column in &columns {
            resolver.column(column, Use::For(&[Operation::Update]))?;
        }
        resolver.mentions(&values)?;
        resolver.mentions(&condition)?;
        resolver.levels.pop();
        resolver.forget_ctes();
        Ok(())
    }

    /// The tables of a multi-table UPDATE: read, unless they are only written.
    fn many(
        &self,
        from: &[Joined],
        columns: &[ColumnName],
        resolver: &mut Resolver<'_>,
    ) -> Parsed<()> {
        resolver.updates = true;
        resolver.from(from, &[])?;
        resolver.updates = false;
        let Some(level) = resolver.levels.last() else { return Ok(()) };
        let is_written = |table: &Table| {
            columns.iter().any(|column| match &column.table {
                Some(name) => is_called(table, name),
                None => {
                    let known = table.columns.as_ref();
                    known.is_none_or(|list| list.iter().any(|(name, _)| *name == column.column))
                }
            })
        };
        let mut found = Vec::new();
        for table in &level.tables {
            if let Bound::Relation(relation) = &table.bound {
                found.push((relation.clone(), is_written(table)));
            }
        }
        for (relation, written) in found {
            if written && resolver.is_read_only(&relation) {
                return invoker(&relation);
            }
            let operation = if written { Operation::Update } else { Operation::Select };
            resolver.needs.any(operation, Object::Relation(relation));
        }
        Ok(())
    }

    /// DELETE, behind its first word.
    pub(super) fn delete(&mut self, with: &Query, resolver: &mut Resolver<'_>) -> Parsed<()> {
        self.skip_words(&["LOW_PRIORITY", "QUICK", "IGNORE"]);
        let mut targets = Vec::new();
        let mut from = Vec::new();
        let mut many = false;
        if self.eat("FROM") {
            let start = self.at;
            let name = self.delete_target()?;
            if self.sign_at(0, b',') || self.is("USING") {
                many = true;
                targets.push(name);
                while self.eat_sign(b',') {
                    targets.push(self.delete_target()?);
                }
                self.require("USING")?;
                from = self.sources()?;
            } else {
                self.at = start;
                from.extend(self.single_target()?);
            }
        } else {
            many = true;
            targets = self.list(Self::delete_target)?;
            self.require("FROM")?;
            from = self.sources()?;
        }
        let mut condition = Mentions::new();
        self.conditions(&mut condition)?;
        let returning = if self.mariadb() && !many { self.returning()? } else { None };
        self.finish()?;
        resolver.with(with)?;
        resolver.levels.push(Level::default());
        if many {
            resolver.from(&from, &[])?;
            for name in &targets {
                delete_from(resolver, name)?;
            }
        } else if let Some((name, alias)) = single(&from) {
            let (table, relation) = target(resolver, name, alias)?;
            if let Some(relation) = relation {
                resolver.needs.whole(Operation::Delete, Object::Relation(relation));
            }
            if let Some(level) = resolver.levels.last_mut() {
                level.tables.push(table);
            }
        } else {
            return self.wrong();
        }
        resolver.mentions(&condition)?;
        if let Some(items) = returning {
            self.returned(&items, resolver)?;
        }
        resolver.levels.pop();
        resolver.forget_ctes();
        Ok(())
    }

    /// `t`, `db.t`, `t.*`
    fn delete_target(&mut self) -> Parsed<Name> {
        let first = self.name()?;
        let first = self.folded(first)?;
        let mut name = Name { database: None, name: first };
        if self.sign_at(0, b'.') && !self.sign_at(1, b'*') {
            self.at += 1;
            let second = self.name()?;
            name = Name { database: Some(name.name), name: self.folded(second)? };
        }
        if self.sign_at(0, b'.') && self.sign_at(1, b'*') {
            self.at += 2;
        }
        Ok(name)
    }

    fn single_target(&mut self) -> Parsed<Vec<Joined>> {
        let list = self.sources()?;
        if single(&list).is_none() { self.wrong() } else { Ok(list) }
    }

    /// WHERE, ORDER BY and LIMIT.
    fn conditions(&mut self, found: &mut Mentions) -> Parsed<()> {
        if self.eat("WHERE") {
            self.expression(found)?;
        }
        if self.eat("ORDER BY") {
            for element in self.order()? {
                found.extend(element.mentions);
            }
        }
        if self.eat("LIMIT") {
            self.limit()?;
        }
        Ok(())
    }

    /// LOAD DATA and LOAD XML, behind their first two words.
    pub(super) fn load_data(&mut self, resolver: &mut Resolver<'_>) -> Parsed<Loaded> {
        self.skip_words(&["LOW_PRIORITY", "CONCURRENT"]);
        let local = self.eat("LOCAL");
        self.require("INFILE")?;
        let file = self.string()?;
        let replace = self.eat("REPLACE");
        if !replace {
            self.eat("IGNORE");
        }
        self.require("INTO TABLE")?;
        let name = self.table()?;
        if self.eat("PARTITION") {
            self.in_parentheses(Self::name)?;
        }
        if self.eat("CHARACTER SET") {
            self.character_set()?;
        }
        self.file_format()?;
        if self.eat("ROWS IDENTIFIED BY") {
            self.string()?;
        }
        if self.eat("IGNORE")
            && (self.eat_kind(Kind::Number).is_none() || !self.eat_any(&["LINES", "ROWS"]))
        {
            return self.wrong();
        }
        let mut columns = None;
        if self.sign_at(0, b'(') {
            let list = self.in_parentheses(|it| {
                if it.eat_kind(Kind::UserVariable).is_some() {
                    return Ok(None);
                }
                it.column_name().map(Some)
            })?;
            columns = Some(list);
        }
        let (set, values) = if self.eat("SET") { self.assignments()? } else { Default::default() };
        self.finish()?;
        let (table, relation) = target(resolver, &name, None)?;
        if !local {
            resolver.needs.whole(Operation::File, Object::Database);
        }
        if let Some(relation) = relation {
            let object = || Object::Relation(relation.clone());
            resolver.needs.any(Operation::Insert, object());
            if replace {
                resolver.needs.whole(Operation::Delete, object());
            }
            if columns.is_none() {
                for (column, _) in table.columns.iter().flatten() {
                    resolver.needs.column(Operation::Insert, object(), column);
                }
            }
        }
        let mut level = Level::default();
        level.tables.push(table);
        if self.mariadb() {
            level.reads.push(Operation::Insert);
        }
        resolver.levels.push(level);
        for column in columns.iter().flatten().flatten().chain(&set) {
            resolver.column(column, Use::For(&[Operation::Insert]))?;
        }
        resolver.mentions(&values)?;
        resolver.levels.pop();
        Ok(Loaded { local: local.then(|| file.into()) })
    }
}

/// The table that a statement changes.
fn target(
    resolver: &mut Resolver<'_>,
    name: &Name,
    alias: Option<&str>,
) -> Parsed<(Table, Option<QualifiedName>)> {
    let table = resolver.table(name, alias)?;
    let relation = match &table.bound {
        Bound::Relation(relation) => relation.clone(),
        Bound::Partly(..) | Bound::Free => {
            let found = resolver.qualify(name)?;
            if !resolver.is_temporary(&found) {
                return unsupported(format!("The server's own table {found} is not changed here."));
            }
            return Ok((table, None));
        }
    };
    if resolver.is_read_only(&relation) {
        return invoker(&relation);
    }
    if resolver.explains {
        resolver.through(&relation)?;
    }
    Ok((table, Some(relation)))
}

fn invoker<T>(view: &QualifiedName) -> Parsed<T> {
    unsupported(format!(
        "The view {view} has the rights of whoever uses it: it is read here, and not changed."
    ))
}

/// A table of a multi-table DELETE, named by its alias or name in FROM.
fn delete_from(resolver: &mut Resolver<'_>, name: &Name) -> Parsed<()> {
    let Some(level) = resolver.levels.last() else { return Ok(()) };
    let mut found = None;
    for table in level.tables.iter().filter(|table| is_called(table, name)) {
        found = Some(match &table.bound {
            Bound::Relation(relation) => Some(relation.clone()),
            Bound::Partly(..) | Bound::Free => None,
        });
    }
    match found {
        Some(Some(relation)) => {
            if resolver.is_read_only(&relation) {
                return invoker(&relation);
            }
            resolver.needs.whole(Operation::Delete, Object::Relation(relation));
            Ok(())
        }
        Some(None) => {
            let qualified = resolver.qualify(name)?;
            if resolver.is_temporary(&qualified) {
                return Ok(());
            }
            unsupported("Rows are deleted from a table only.")
        }
        None => Err(NotUnderstood::Undefined {
            sqlstate: "42S02",
            message: format!("Unknown table '{}' in MULTI DELETE", name.name),
            position: None,
        }),
    }
}

/// The only table of a list, when it is but one.
fn single(from: &[Joined]) -> Option<(&Name, Option<&str>)> {
    let [Joined { sources, .. }] = from else { return None };
    let [source] = &**sources else { return None };
    match &source.kind {
        SourceKind::Table { name, alias } => Some((name, alias.as_deref())),
        _ => None,
    }
}
