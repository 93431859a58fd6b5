//! Names to objects: what the mentions of a statement need, scope by scope, as the server resolves them.
//!
//! Where the server may look further than this can know (a temporary table's columns, an alias that is visible
//! in some clauses), what either reading needs is needed: never less.

use super::Scope;
use super::catalog::TableKind;
use super::guarded::{Reading, SYSTEM, reading};
use super::needs::Needs;
use super::parser::{Parsed, unsupported};
use super::placed::{Placed, TEMPORARY};
use super::same::{Same, same};
use super::tree::{
    ColumnName, Into, Item, Joined, Lock, Mention, Mentions, Name, Needed, Operand, Ordered, Query,
    Select, SourceKind,
};
use crate::sql::access::{Object, Operation, Reach};
use crate::sql::name::QualifiedName;
use crate::sql::placement::Rule;
use crate::sql::statement::NotUnderstood;

/// Names of columns; `None` where they are not known.
pub(super) type Names = Option<Vec<Box<str>>>;

/// What a table of a scope is.
pub(super) enum Bound {
    /// A table or view, whose columns need a privilege.
    Relation(QualifiedName),
    /// A table of the server's own, of which these columns need one.
    Partly(QualifiedName, &'static [&'static str]),
    /// Something whose columns need none.
    Free,
}

impl Bound {
    /// On what reading a column needs a privilege.
    fn guards(&self, column: &str) -> Option<Object> {
        match self {
            Self::Relation(relation) => Some(Object::Relation(relation.clone())),
            Self::Partly(relation, columns) if columns.contains(&column) => {
                Some(Object::Relation(relation.clone()))
            }
            Self::Partly(..) | Self::Free => None,
        }
    }
}

/// A table of a scope.
pub(super) struct Table {
    /// What it is called there.
    pub alias: Box<str>,
    /// The database that may stand before its name.
    pub database: Option<Box<str>>,
    /// What it is.
    pub bound: Bound,
    /// Its columns, and whether each is invisible.
    pub columns: Option<Vec<(Box<str>, bool)>>,
}

/// One scope of names.
#[derive(Default)]
pub(super) struct Level {
    /// Its tables.
    pub tables: Vec<Table>,
    /// Aliases of the select list.
    aliases: Vec<Box<str>>,
    /// They are visible now.
    shows_aliases: bool,
    /// The server sees some of the tables only: what is found here may also be found further out.
    partly: bool,
    /// What reading a column here takes, where that is not SELECT.
    pub reads: Vec<Operation>,
}

/// What a column is used for.
#[derive(Clone, Copy)]
pub(super) enum Use<'a> {
    /// It is read: SELECT, or what its scope says.
    Read,
    /// These, whatever its scope.
    For(&'a [Operation]),
}

impl Level {
    /// What reading a column takes.
    fn read_by(&self) -> &[Operation] {
        if self.reads.is_empty() { &[Operation::Select] } else { &self.reads }
    }

    /// What is found here may also be found further out.
    pub(super) fn reaches_out(&mut self) {
        self.partly = true;
    }
}

/// Gathers what a statement needs.
pub(super) struct Resolver<'a> {
    /// Where names are looked up.
    pub scope: &'a Scope<'a>,
    /// What was found.
    pub needs: Needs,
    /// From the outermost scope in.
    pub levels: Vec<Level>,
    pub(super) ctes: Vec<(Box<str>, Names)>,
    /// Names of CTEs that MariaDB sees before they stand there and MySQL does not.
    ahead: Vec<Box<str>>,
    /// Views between the statement and what is read now.
    pub(super) views: usize,
    /// The tables of FROM are those of an UPDATE, of which some may only be written.
    pub(super) updates: bool,
    /// What the statement shows is how views are made.
    pub explains: bool,
    /// Whether a name was looked up in the catalog.
    pub resolved: bool,
    /// What binds the statement to a server.
    pub placed: Placed,
}

fn unknown_column<T>(name: &ColumnName) -> Parsed<T> {
    let mut shown = String::new();
    if let Some(table) = &name.table {
        if let Some(database) = &table.database {
            shown = format!("{database}.");
        }
        shown = format!("{shown}{}.", table.name);
    }
    Err(NotUnderstood::Undefined {
        sqlstate: "42S22",
        message: format!("Unknown column '{shown}{}'", name.column),
        position: None,
    })
}

impl<'a> Resolver<'a> {
    /// Has found nothing yet.
    pub(super) fn new(scope: &'a Scope<'a>) -> Self {
        Self {
            scope,
            needs: Needs::default(),
            levels: Vec::new(),
            ctes: Vec::new(),
            ahead: Vec::new(),
            views: 0,
            updates: false,
            explains: false,
            resolved: false,
            placed: Placed::default(),
        }
    }

    /// A name with its database.
    pub(super) fn qualify(&mut self, name: &Name) -> Parsed<QualifiedName> {
        let Some(database) = &name.database else {
            self.resolved = true;
            return match &self.scope.settings.default_database {
                Some(database) => self
                    .qualify(&Name { database: Some(database.clone()), name: name.name.clone() }),
                None => Err(NotUnderstood::Undefined {
                    sqlstate: "3D000",
                    message: "No database selected".into(),
                    position: None,
                }),
            };
        };
        let system = SYSTEM.into_iter().find(|it| database.eq_ignore_ascii_case(it));
        Ok(match system {
            Some(system) => QualifiedName::new(system, name.name.to_ascii_lowercase()),
            None => QualifiedName::new(database.clone(), name.name.clone()),
        })
    }

    /// A database is entered, or its tables are listed: by whoever holds something in it.
    pub(super) fn enter(&mut self, database: &str) {
        if database.eq_ignore_ascii_case("information_schema") {
            self.needs.metadata();
        } else {
            self.needs.anything(Object::Schema(database.into()));
        }
    }

    /// Whether a name is a temporary table of the session.
    pub(super) fn is_temporary(&self, name: &QualifiedName) -> bool {
        self.scope.temporary.contains(name)
    }

    /// Finds a table; a privilege on it is for the caller to ask.
    pub(super) fn table(&mut self, name: &Name, alias: Option<&str>) -> Parsed<Table> {
        self.resolved = true;
        let found = self.qualify(name)?;
        let alias: Box<str> = alias.unwrap_or(&name.name).into();
        let database = Some(found.schema.clone());
        if self.is_temporary(&found) {
            self.placed.primary(Rule::State(TEMPORARY));
            return Ok(Table { alias, database, bound: Bound::Free, columns: None });
        }
        let schema = self.scope.catalog.databases.get(&*found.schema);
        let known = schema.and_then(|it| it.tables.get(&*found.name));
        let columns = known.map(|table| {
            table.columns.iter().map(|it| (it.name.clone(), it.invisible)).collect::<Vec<_>>()
        });
        if let Some(TableKind::View(view)) = known.map(|table| &table.kind) {
            self.places_view(&found, view);
        }
        if SYSTEM.contains(&&*found.schema) {
            self.places_system(&found);
            let object = Object::Relation(found.clone());
            let flavour = self.scope.settings.server.flavour;
            let runs_as = self.scope.catalog.runs_as;
            let read = reading((&found.schema, &found.name), flavour, runs_as);
            let bound = match (read, &columns) {
                (Reading::Free, _) => {
                    self.needs.metadata();
                    Bound::Free
                }
                (Reading::Process, _) => {
                    self.needs.whole(Operation::Process, Object::Database);
                    Bound::Free
                }
                (_, None) => {
                    self.needs.whole(Operation::Select, object);
                    Bound::Free
                }
                (Reading::Definitions(guarded), Some(_)) => {
                    self.needs.metadata();
                    Bound::Partly(found, guarded)
                }
                (Reading::Select, Some(_)) => Bound::Relation(found),
            };
            return Ok(Table { alias, database, bound, columns });
        }
        if columns.is_none() {
            return Err(NotUnderstood::Undefined {
                sqlstate: "42S02",
                message: format!("Table '{}.{}' doesn't exist", found.schema, found.name),
                position: None,
            });
        }
        Ok(Table { alias, database, bound: Bound::Relation(found), columns })
    }

    /// A query, in the scopes there are: the names of its columns.
    pub(super) fn query(&mut self, query: &Query) -> Parsed<Names> {
        let (ctes, ahead) = (self.ctes.len(), self.ahead.len());
        let updates = std::mem::take(&mut self.updates);
        self.with(query)?;
        self.places_query(query);
        if query.into == Into::File {
            self.needs.whole(Operation::File, Object::Database);
        }
        let only = query.operands.len() == 1;
        let mut names: Option<Names> = None;
        for operand in &query.operands {
            let found = match operand {
                Operand::Select(select) => {
                    let tail = if only { &*query.order } else { &[] };
                    self.select(select, tail, &query.locks)?
                }
                Operand::Nested(nested) => self.query(nested)?,
                Operand::Table(name) => {
                    let mut level = Level::default();
                    self.source(name, None, &mut level, &query.locks)?;
                    self.levels.push(level);
                    let found = self.star(None)?;
                    self.levels.pop();
                    found
                }
                Operand::Values(mentions) => {
                    self.mentions(mentions)?;
                    None
                }
            };
            names.get_or_insert(found);
        }
        let names = names.flatten();
        if !matches!((only, query.operands.first()), (true, Some(Operand::Select(_)))) {
            let mut level = Level::default();
            let columns =
                names.as_ref().map(|it| it.iter().map(|it| (it.clone(), false)).collect());
            level.tables.push(Table {
                alias: "".into(),
                database: None,
                bound: Bound::Free,
                columns,
            });
            self.levels.push(level);
            for element in &query.order {
                self.mentions(&element.mentions)?;
            }
            self.levels.pop();
        }
        self.ctes.truncate(ctes);
        self.ahead.truncate(ahead);
        self.updates = updates;
        Ok(names)
    }

    /// WITH: its queries, and their names for what follows. The caller drops these.
    pub(super) fn with(&mut self, query: &Query) -> Parsed<()> {
        for (n, cte) in query.ctes.iter().enumerate() {
            let ahead = self.ahead.len();
            if query.recursive {
                let later = query.ctes.iter().skip(n + 1).map(|it| it.name.clone());
                self.ahead.extend(later);
            }
            let listed = (!cte.columns.is_empty()).then(|| cte.columns.clone());
            let before = self.ctes.len();
            if query.recursive {
                self.ctes.push((cte.name.clone(), listed.clone()));
            }
            let levels = std::mem::take(&mut self.levels);
            let names = self.query(&cte.query);
            self.levels = levels;
            self.ctes.truncate(before);
            self.ahead.truncate(ahead);
            self.ctes.push((cte.name.clone(), listed.or(names?)));
        }
        Ok(())
    }

    /// How many CTEs are known, to come back to.
    pub(super) fn forget_ctes(&mut self) {
        self.ctes.clear();
    }

    fn select(&mut self, select: &Select, order: &[Ordered], locks: &[Lock]) -> Parsed<Names> {
        self.levels.push(Level::default());
        let result = self.select_in(select, order, locks);
        self.levels.pop();
        result
    }

    fn select_in(&mut self, select: &Select, order: &[Ordered], locks: &[Lock]) -> Parsed<Names> {
        self.from(&select.from, locks)?;
        let mut names = Some(Vec::new());
        let mut aliases = Vec::new();
        for item in &select.items {
            let found = match item {
                Item::Star => self.star(None)?,
                Item::TableStar(table) => self.star(Some(table))?,
                Item::Expression { mentions, name, aliased } => {
                    self.mentions(mentions)?;
                    if let (Some(name), true) = (name, *aliased) {
                        aliases.push(name.clone());
                    }
                    Some(vec![name.clone().unwrap_or_default()])
                }
            };
            names = names.zip(found).map(|(mut all, more)| {
                all.extend(more);
                all
            });
        }
        self.mentions(&select.condition)?;
        if let Some(level) = self.levels.last_mut() {
            level.aliases = aliases;
            level.shows_aliases = true;
        }
        for element in select.group.iter() {
            self.mentions(&element.mentions)?;
        }
        self.mentions(&select.having)?;
        for element in order {
            let alias = match (&*element.mentions, element.bare, self.levels.last()) {
                ([Mention::Column(column)], true, Some(level)) => {
                    level.aliases.contains(&column.column)
                }
                _ => false,
            };
            if !alias {
                self.mentions(&element.mentions)?;
            }
        }
        Ok(names)
    }

    /// Tables of FROM, into the innermost scope, and the conditions of their joins.
    pub(super) fn from(&mut self, list: &[Joined], locks: &[Lock]) -> Parsed<()> {
        for joined in list {
            let start = self.bound();
            for source in &joined.sources {
                let before = self.bound();
                match &source.kind {
                    SourceKind::Table { name, alias } => {
                        let Some(mut level) = self.levels.pop() else { continue };
                        let bound = self.source(name, alias.as_deref(), &mut level, locks);
                        self.levels.push(level);
                        bound?;
                    }
                    SourceKind::Derived { query, alias, columns, lateral } => {
                        let hidden = if *lateral { None } else { self.levels.pop() };
                        let names = self.query(query);
                        self.levels.extend(hidden);
                        let names = names?;
                        let names = if columns.is_empty() { names } else { Some(columns.clone()) };
                        self.bind_free(alias.as_deref().unwrap_or_default(), names);
                    }
                    SourceKind::Json { mentions, alias } => {
                        self.mentions(mentions)?;
                        self.bind_free(alias, None);
                    }
                    SourceKind::Nested(list) => self.from(list, locks)?,
                }
                if source.natural {
                    self.natural(start, before)?;
                }
                for column in &source.using {
                    self.using(column, start)?;
                }
            }
            if let Some(level) = self.levels.last_mut() {
                level.partly = true;
            }
            let read = self.mentions(&joined.on);
            if let Some(level) = self.levels.last_mut() {
                level.partly = false;
            }
            read?;
        }
        Ok(())
    }

    fn bound(&self) -> usize {
        self.levels.last().map_or(0, |level| level.tables.len())
    }

    fn bind_free(&mut self, alias: &str, names: Names) {
        let columns = names.map(|it| it.into_iter().map(|name| (name, false)).collect());
        if let Some(level) = self.levels.last_mut() {
            level.tables.push(Table {
                alias: alias.into(),
                database: None,
                bound: Bound::Free,
                columns,
            });
        }
    }

    /// A name in FROM: a CTE, or a table that is read.
    fn source(
        &mut self,
        name: &Name,
        alias: Option<&str>,
        level: &mut Level,
        locks: &[Lock],
    ) -> Parsed<()> {
        if name.database.is_none() {
            let alias: Box<str> = alias.unwrap_or(&name.name).into();
            let known = self.ctes.iter().rev().find(|(known, _)| *known == name.name);
            if let Some((_, names)) = known {
                let columns =
                    names.as_ref().map(|it| it.iter().map(|name| (name.clone(), false)).collect());
                level.tables.push(Table { alias, database: None, bound: Bound::Free, columns });
                return Ok(());
            }
            if self.ahead.contains(&name.name) {
                return unsupported("A common table expression is named before it stands there.");
            }
        }
        let table = self.table(name, alias)?;
        if let Bound::Relation(relation) = &table.bound {
            let relation = relation.clone();
            let object = || Object::Relation(relation.clone());
            if !self.updates {
                self.needs.any(Operation::Select, object());
            }
            // MySQL asks for one of these, and MariaDB for none.
            let mysql = self.scope.settings.server.flavour == super::Flavour::MySql;
            if mysql && locks.iter().any(|lock| lock.is_for_update_of(&table.alias)) {
                const LOCKING: (Operation, &[Operation]) =
                    (Operation::Update, &[Operation::Delete, Operation::LockTables]);
                self.needs.one_of(LOCKING, object(), Reach::Any);
            }
            self.through(&relation)?;
        }
        level.tables.push(table);
        Ok(())
    }

    /// Columns that both sides of a NATURAL join have are read.
    fn natural(&mut self, start: usize, middle: usize) -> Parsed<()> {
        let Some(level) = self.levels.last() else { return Ok(()) };
        let left = level.tables.get(start..middle).unwrap_or_default();
        let right = level.tables.get(middle..).unwrap_or_default();
        let mut common = Vec::new();
        for (name, _) in right.iter().flat_map(|table| table.columns.iter().flatten()) {
            let has = |table: &Table| match &table.columns {
                Some(columns) => columns.iter().any(|(other, _)| same(name, other) != Same::No),
                None => true,
            };
            if left.iter().any(has) {
                common.push(name.clone());
            }
        }
        if right.iter().any(|table| table.columns.is_none()) {
            let names = left.iter().flat_map(|table| table.columns.iter().flatten());
            common.extend(names.map(|(name, _)| name.clone()));
        }
        for name in common {
            self.using(&name, start)?;
        }
        Ok(())
    }

    fn using(&mut self, column: &str, start: usize) -> Parsed<()> {
        let Some(level) = self.levels.last() else { return Ok(()) };
        let mut found = false;
        for table in level.tables.get(start..).unwrap_or_default() {
            let Some(columns) = &table.columns else {
                found = true;
                continue;
            };
            for (name, _) in columns.iter().filter(|(name, _)| same(name, column) != Same::No) {
                found = true;
                if let Some(object) = table.bound.guards(name) {
                    self.needs.column(Operation::Select, object, name);
                }
            }
        }
        let name = ColumnName { table: None, column: column.into() };
        if found { Ok(()) } else { unknown_column(&name) }
    }

    /// `*` or `t.*` in the innermost scope.
    fn star(&mut self, wanted: Option<&Name>) -> Parsed<Names> {
        let Some(level) = self.levels.last() else { return Ok(None) };
        let mut names = Some(Vec::new());
        let mut found = false;
        for table in &level.tables {
            if wanted.is_some_and(|name| !is_called(table, name)) {
                continue;
            }
            found = true;
            let Some(columns) = &table.columns else {
                names = None;
                continue;
            };
            for (column, _) in columns.iter().filter(|(_, invisible)| !invisible) {
                if let Some(object) = table.bound.guards(column) {
                    for operation in level.read_by() {
                        self.needs.column(*operation, object.clone(), column);
                    }
                }
                if let Some(names) = &mut names {
                    names.push(column.clone());
                }
            }
        }
        if found || wanted.is_none() {
            return Ok(names);
        }
        let shown = wanted.map(|it| it.name.clone()).unwrap_or_default();
        Err(NotUnderstood::Undefined {
            sqlstate: "42S02",
            message: format!("Unknown table '{shown}'"),
            position: None,
        })
    }

    /// `*` of the innermost scope.
    pub(super) fn star_of_innermost(&mut self) -> Parsed<()> {
        self.star(None).map(drop)
    }

    /// What expressions mention.
    pub(super) fn mentions(&mut self, mentions: &Mentions) -> Parsed<()> {
        for mention in mentions {
            match mention {
                Mention::Column(name) | Mention::Default(name) => {
                    self.column(name, Use::Read)?;
                }
                // Elsewhere than in ON DUPLICATE KEY UPDATE it is NULL.
                Mention::Inserted(column) => {
                    let name = ColumnName { table: None, column: column.clone() };
                    self.column(&name, Use::Read)?;
                }
                Mention::Query(query) => {
                    self.query(query)?;
                }
                Mention::Function(name) => self.function(name)?,
                // Without the right the server answers NULL.
                Mention::Reads(Needed::File) if self.is_own_account() => self.needs.metadata(),
                Mention::Reads(Needed::File) => self.needs.whole(Operation::File, Object::Database),
                Mention::Sequence { name, advances } => {
                    let rule = if *advances { Rule::Writes } else { Rule::State("a sequence") };
                    self.placed.primary(rule);
                    let table = self.table(name, None)?;
                    if let Bound::Relation(relation) = table.bound {
                        let object = Object::Relation(relation);
                        if *advances {
                            self.needs.whole(Operation::Insert, object.clone());
                        }
                        self.needs.whole(Operation::Select, object);
                    }
                }
            }
        }
        Ok(())
    }

    /// A stored function, as an expression calls it.
    fn function(&mut self, name: &Name) -> Parsed<()> {
        let loadable = name.database.is_none() && self.scope.catalog.loadable.contains(&*name.name);
        if loadable {
            return unsupported(format!(
                "{} is a loadable function, which is not called here.",
                name.name
            ));
        }
        let found = self.qualify(name)?;
        self.resolved = true;
        let database = self.scope.catalog.databases.get(&*found.schema);
        let Some(routine) = database.and_then(|it| it.functions.get(&*found.name)) else {
            return Err(NotUnderstood::Undefined {
                sqlstate: "42000",
                message: format!("FUNCTION {}.{} does not exist", found.schema, found.name),
                position: None,
            });
        };
        self.invokes(routine.security);
        self.placed.primary(Rule::Function(found.to_string().into()));
        let object = Object::Function { name: found, arguments: "".into() };
        self.needs.whole(Operation::Execute, object);
        Ok(())
    }

    /// A column, from the innermost scope out.
    pub(super) fn column(&mut self, name: &ColumnName, used: Use<'_>) -> Parsed<()> {
        let mut known = false;
        for level in self.levels.iter().rev() {
            let mut settled = false;
            for table in &level.tables {
                if name.table.as_ref().is_some_and(|wanted| !is_called(table, wanted)) {
                    continue;
                }
                let Some(columns) = &table.columns else {
                    known = true;
                    continue;
                };
                for (column, _) in columns {
                    let same = same(column, &name.column);
                    if same == Same::No {
                        continue;
                    }
                    known = true;
                    settled |= same == Same::Yes;
                    let Some(object) = table.bound.guards(column) else { continue };
                    let operations = match used {
                        Use::For(operations) => operations,
                        Use::Read => level.read_by(),
                    };
                    for operation in operations {
                        self.needs.column(*operation, object.clone(), column);
                    }
                }
            }
            known |=
                level.shows_aliases && name.table.is_none() && level.aliases.contains(&name.column);
            let free = level.tables.iter().any(|table| table.columns.is_none());
            if settled && !level.partly && !free {
                return Ok(());
            }
        }
        if !known && &*name.column == "_rowid" {
            return self.row_number(name);
        }
        if known { Ok(()) } else { unknown_column(name) }
    }

    /// `_rowid` is another name of a key's column. The servers look for a right on a column called so: on no other.
    fn row_number(&mut self, name: &ColumnName) -> Parsed<()> {
        let Some(level) = self.levels.last() else { return unknown_column(name) };
        for table in &level.tables {
            if name.table.as_ref().is_some_and(|wanted| !is_called(table, wanted)) {
                continue;
            }
            match &table.bound {
                Bound::Relation(relation) => {
                    let object = Object::Relation(relation.clone());
                    self.needs.whole(Operation::Select, object);
                }
                Bound::Partly(..) | Bound::Free => return unknown_column(name),
            }
        }
        Ok(())
    }
}

/// Whether a table of a scope is called so.
pub(super) fn is_called(table: &Table, name: &Name) -> bool {
    let database = match (&name.database, &table.database) {
        (Some(wanted), Some(own)) => wanted.eq_ignore_ascii_case(own),
        (Some(_), None) => false,
        (None, _) => true,
    };
    database && table.alias == name.name
}
