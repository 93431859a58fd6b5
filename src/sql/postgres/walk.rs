//! The state of a walk over one statement: what it needs so far, which names are visible, how deep it is.

use std::rc::Rc;

use pg_raw_parse::nodes::RangeVar;

use super::Scope;
use super::guarded::{is_system_schema, is_temporary_schema};
use super::invoked::Use;
use super::needs::{Needs, Target};
use super::parameters::Parameters;
use super::placed::Placed;
use crate::sql::access::{Object, Operation};
use crate::sql::catalog::{RelationKind, Schema};
use crate::sql::statement::{Deferred, NotUnderstood};

/// The result of a step of the walk.
pub(super) type Walked<T = ()> = Result<T, NotUnderstood>;

/// How deep expressions, queries and FROM items may nest together. A level costs at most some 16 kB of
/// stack in a debug build, so that this fits the 8 MiB that the calling thread promises.
const DEPTH_MAX: usize = 320;

/// How many names one statement may compare, so that wide tables times many references cannot stall
/// the thread. At about a nanosecond each.
const FUEL: u64 = 100_000_000;

/// How many columns the FROM list of a query may join.
pub(super) const COLUMNS_MAX: usize = 20_000;

/// How many columns a query may return: the server refuses more (MaxTupleAttributeNumber).
pub(super) const OUTPUT_MAX: usize = 1664;

/// What copying a column's name costs beside comparing it: this bounds the memory, too.
pub(super) const COPY_COST: usize = 128;

/// Refuses a construct without a rule.
pub(super) fn unsupported<T>(what: impl Into<String>) -> Walked<T> {
    Err(NotUnderstood::Unsupported { what: what.into(), hint: None })
}

/// Refuses a construct, with what to do instead.
pub(super) fn unsupported_hint<T>(what: impl Into<String>, hint: impl Into<String>) -> Walked<T> {
    Err(NotUnderstood::Unsupported { what: what.into(), hint: Some(hint.into()) })
}

/// A name that the server would not find either.
pub(super) fn undefined<T>(sqlstate: &'static str, message: impl Into<String>) -> Walked<T> {
    Err(NotUnderstood::Undefined { sqlstate, message: message.into(), position: None })
}

/// Says where a name that is not there stands: at the node whose reading failed. In bytes from 1, of a text that
/// [`placed`] knows.
pub(super) fn at<T>(location: i32, result: Walked<T>) -> Walked<T> {
    result.map_err(|why| match why {
        NotUnderstood::Undefined { sqlstate, message, position: None } => {
            let position = u32::try_from(location).ok().map(|at| at.saturating_add(1));
            NotUnderstood::Undefined { sqlstate, message, position }
        }
        other => other,
    })
}

/// The same with its place counted in characters, as the server counts.
pub(super) fn placed(text: &str, why: NotUnderstood) -> NotUnderstood {
    match why {
        NotUnderstood::Undefined { sqlstate, message, position: Some(bytes) } => {
            let before = usize::try_from(bytes - 1).ok().and_then(|bytes| text.get(..bytes));
            let characters = before.and_then(|before| u32::try_from(before.chars().count()).ok());
            let position = characters.map(|before| before.saturating_add(1));
            NotUnderstood::Undefined { sqlstate, message, position }
        }
        other => other,
    }
}

/// Columns of a query, a function or another source that is not a relation.
#[derive(Clone, Debug, Default)]
pub(super) struct Output<'t> {
    /// The names that are known, in order.
    pub names: Vec<&'t str>,
    /// Whether there may be columns whose names are not known here.
    pub open: bool,
    /// Relations of the query's FROM list, which FOR UPDATE around it locks too.
    pub relations: Vec<Target<'t>>,
}

/// A column of a join: its name, and the column of a relation that stands behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct JoinColumn<'t> {
    /// The name.
    pub name: &'t str,
    /// What reading it reads beyond what the join has read already.
    pub reads: Option<(Target<'t>, &'t str)>,
}

/// The columns of a FROM item.
#[derive(Clone, Debug)]
pub(super) enum ItemColumns<'t> {
    /// A relation; the first columns may have been renamed.
    Relation { target: Target<'t>, renamed: Rc<[&'t str]> },
    /// A subquery, CTE or function: reading it needs nothing beyond what it needed itself.
    Derived { names: Rc<[&'t str]>, open: bool },
    /// A join.
    Join { columns: Rc<[JoinColumn<'t>]>, open: bool },
}

/// A FROM item as names see it.
#[derive(Clone, Debug)]
pub(super) struct Item<'t> {
    /// The alias or name; empty when there is none.
    pub name: &'t str,
    /// What it holds.
    pub columns: ItemColumns<'t>,
    /// Whether `schema.name.column` reaches it: a relation without an alias.
    pub qualified: bool,
    /// Whether `name.column` reaches it.
    pub by_name: bool,
    /// Whether `column` alone reaches it.
    pub by_column: bool,
    /// Relations that FOR UPDATE locks through it.
    pub locks: Rc<[Target<'t>]>,
}

/// A common table expression.
#[derive(Clone, Debug)]
pub(super) struct Cte<'t> {
    /// Its name.
    pub name: &'t str,
    /// Its columns.
    pub names: Rc<[&'t str]>,
    /// Whether there may be more.
    pub open: bool,
}

/// What one query level makes visible.
#[derive(Clone, Debug, Default)]
pub(super) struct Level<'t> {
    /// FROM items.
    pub items: Vec<Item<'t>>,
    /// CTEs, later ones hiding earlier ones.
    pub ctes: Vec<Cte<'t>>,
    /// While its FROM list is read, a level's items are seen by LATERAL items only.
    pub hidden: bool,
}

/// The walk over one statement.
pub(super) struct Walk<'t> {
    /// What names mean.
    pub scope: &'t Scope<'t>,
    /// What is needed so far.
    pub needs: Needs<'t>,
    /// Query levels, the innermost last.
    pub levels: Vec<Level<'t>>,
    /// Whether a name has been looked up in the catalog.
    pub resolved: bool,
    /// Whether a function was called that takes connection strings.
    pub connects: bool,
    /// Whether `set_config` sets what names mean.
    pub sets_path: bool,
    /// What hangs on parameters.
    pub deferred: Vec<Deferred>,
    /// Its parameters.
    pub parameters: Parameters,
    /// The one setting whose name the column `name` holds here.
    pub pinned_setting: Option<&'t str>,
    /// How many definitions this walk is inside of. Functions that those call are known beforehand.
    pub inside: u8,
    /// Relations in use whose definitions do something as their user.
    pub uses: Vec<Use<'t>>,
    /// Whether a temporary object of the session's own is made, changed or dropped.
    pub temporary: bool,
    /// Whether one is made.
    pub makes_temporary: bool,
    /// Whether one is read or written.
    pub reads_temporary: bool,
    /// Whether the next SELECT with INTO is the one whose INTO has been read.
    pub takes_into: bool,
    /// What binds it to a server.
    pub placed: Placed,
    depth: usize,
    fuel: u64,
}

impl<'t> Walk<'t> {
    /// Begins a statement.
    pub(super) fn new(scope: &'t Scope<'t>) -> Self {
        Self {
            scope,
            needs: Needs::default(),
            levels: Vec::new(),
            resolved: false,
            connects: false,
            sets_path: false,
            deferred: Vec::new(),
            parameters: Parameters::new(scope.parameters),
            pinned_setting: None,
            inside: 0,
            uses: Vec::new(),
            temporary: false,
            makes_temporary: false,
            reads_temporary: false,
            takes_into: false,
            placed: Placed::default(),
            depth: 0,
            fuel: FUEL,
        }
    }

    /// Does one nested step, within the depth that the stack allows.
    pub(super) fn nested<T>(&mut self, step: impl FnOnce(&mut Self) -> Walked<T>) -> Walked<T> {
        if self.depth >= DEPTH_MAX {
            return Err(NotUnderstood::TooComplex {
                what: format!("The statement nests deeper than {DEPTH_MAX} levels."),
            });
        }
        self.depth += 1;
        let result = step(self);
        self.depth -= 1;
        result
    }

    /// Does one step in a query level of its own.
    pub(super) fn in_level<T>(&mut self, step: impl FnOnce(&mut Self) -> Walked<T>) -> Walked<T> {
        self.levels.push(Level::default());
        let result = step(self);
        self.levels.pop();
        result
    }

    /// Pays for comparing `names` names.
    pub(super) fn pay(&mut self, names: usize) -> Walked {
        let cost = u64::try_from(names).unwrap_or(u64::MAX);
        match self.fuel.checked_sub(cost) {
            Some(left) => {
                self.fuel = left;
                Ok(())
            }
            None => Err(NotUnderstood::TooComplex {
                what: "The statement refers to too many columns too often.".into(),
            }),
        }
    }

    /// The innermost level.
    pub(super) fn level(&mut self) -> Walked<&mut Level<'t>> {
        // Every caller stands inside `in_level`; without one there is nothing to see.
        match self.levels.last_mut() {
            Some(level) => Ok(level),
            None => unsupported("A part of a query stands outside every query."),
        }
    }

    /// The schema with the session's own temporary objects, once it has one.
    fn temporary_schema(&self) -> Option<&'t str> {
        self.scope.path.iter().map(|name| &**name).find(|name| is_temporary_schema(name))
    }

    /// The schema that a name in a statement means: `pg_temp` is the session's own, which `None` is as
    /// long as it has none. Those that are not for statements are refused.
    fn schema_name<'n>(&self, name: &'n str) -> Walked<Option<&'n str>>
    where
        't: 'n,
    {
        let own = self.temporary_schema();
        if name == "pg_temp" || Some(name) == own {
            return Ok(own);
        }
        refuse_schema(name)?;
        Ok(Some(name))
    }

    /// Whether a schema in a statement is the one for the session's own temporary objects.
    pub(super) fn is_own_temporary(&self, name: &str) -> bool {
        name == "pg_temp" || Some(name) == self.temporary_schema()
    }

    /// Something is done to a temporary object of the session's own: it may do all with those.
    pub(super) fn touch_temporary(&mut self) {
        self.resolved = true;
        self.temporary = true;
        self.needs.metadata();
    }

    /// The schema of that name, refusing those that are not for statements.
    pub(super) fn schema(&mut self, name: &str) -> Walked<(&'t str, &'t Schema)> {
        self.resolved = true;
        let name = self.schema_name(name)?.unwrap_or(name);
        match self.scope.catalog.schemas.get_key_value(name) {
            Some((name, schema)) => Ok((name, &**schema)),
            None => undefined("3F000", format!("schema \"{name}\" does not exist")),
        }
    }

    /// Whether there is a schema of that name, refusing those that are not for statements.
    pub(super) fn has_schema(&mut self, name: &str) -> Walked<bool> {
        self.resolved = true;
        let name = self.schema_name(name)?;
        Ok(name.is_some_and(|name| self.scope.catalog.schemas.contains_key(name)))
    }

    /// The schemas that unqualified names are looked up in, in order.
    pub(super) fn path(&mut self) -> impl Iterator<Item = (&'t str, &'t Schema)> + use<'t> {
        self.resolved = true;
        let scope = self.scope;
        scope.path.iter().filter_map(move |name| {
            scope.catalog.schemas.get_key_value(&**name).map(|(name, schema)| (&**name, &**schema))
        })
    }

    /// The schema that an unqualified CREATE goes to.
    pub(super) fn creation_schema(&mut self) -> Walked<&'t str> {
        self.path()
            .map(|(name, _)| name)
            .find(|name| *name != "pg_catalog" && !is_temporary_schema(name))
            .map_or_else(|| undefined("3F000", "no schema has been selected to create in"), Ok)
    }

    /// Looks a relation up, without asking for anything.
    pub(super) fn find(&mut self, schema: Option<&str>, name: &str) -> Walked<Option<Target<'t>>> {
        let found = if let Some(schema) = schema {
            let (schema, objects) = self.schema(schema)?;
            objects.relations.get_key_value(name).map(|found| (schema, found))
        } else {
            self.path().find_map(|(schema, objects)| {
                objects.relations.get_key_value(name).map(|found| (schema, found))
            })
        };
        Ok(found.map(|(schema, (name, relation))| Target { schema, name, relation }))
    }

    /// The relation that a statement reads or writes.
    pub(super) fn relation(&mut self, var: &'t RangeVar) -> Walked<Target<'t>> {
        let name = var.relname().unwrap_or_default();
        let found = match var.schemaname() {
            // The server names the relation, not the schema, when it opens one to read or change it.
            Some(schema) if !self.has_schema(schema)? => None,
            schema => self.find(schema, name)?,
        };
        let Some(target) = found else {
            return undefined(
                "42P01",
                match var.schemaname() {
                    Some(schema) => format!("relation \"{schema}.{name}\" does not exist"),
                    None => format!("relation \"{name}\" does not exist"),
                },
            );
        };
        if matches!(target.relation.kind, RelationKind::Index | RelationKind::Composite) {
            return undefined("42809", format!("cannot open relation \"{name}\""));
        }
        if target.is_temporary() {
            refuse_code(target)?;
            self.reads_temporary = true;
        }
        self.places_relation(target);
        if target.relation.definition.is_some() {
            self.used(target)?;
        }
        if !target.is_system() {
            self.implicit_casts(&target.relation.column_types);
        }
        Ok(target)
    }

    /// An operation on a column by name, as INSERT and UPDATE name their targets.
    pub(super) fn target_column(
        &mut self,
        operation: Operation,
        target: Target<'t>,
        column: &str,
    ) -> Walked {
        self.pay(target.relation.columns.len())?;
        match target.column(column) {
            Some(column) => {
                self.needs.column(operation, target, column);
                Ok(())
            }
            None => undefined(
                "42703",
                format!("column \"{column}\" of relation \"{}\" does not exist", target.name),
            ),
        }
    }

    /// A new object in a schema.
    pub(super) fn create_in(&mut self, schema: &str) {
        if is_system_schema(schema) {
            self.needs.admin(Object::Database);
        } else if !is_temporary_schema(schema) {
            self.needs.create(Object::Schema(schema.into()));
        }
    }

    /// DDL on what is in a schema, and whose owner is not known here.
    pub(super) fn admin_schema(&mut self, schema: &str) {
        // What belongs to the server, and what is in no schema, takes the whole database.
        let object =
            if is_system_schema(schema) { Object::Database } else { Object::Schema(schema.into()) };
        self.needs.admin(object);
    }
}

/// Refuses the schemas that no statement may name.
pub(super) fn refuse_schema(name: &str) -> Walked {
    if name == "daypass" {
        return unsupported_hint(
            "The schema daypass is not in the database: only CALL daypass.… reaches it.",
            "CALL daypass.help() lists what can be called.",
        );
    }
    if is_temporary_schema(name) {
        return refuse_temporary();
    }
    Ok(())
}

/// Refuses temporary objects of other kinds than tables and sequences, and those of other sessions.
pub(super) fn refuse_temporary<T>() -> Walked<T> {
    unsupported_hint(
        "Only temporary tables and sequences are supported, and only the session's own.",
        "Use a common table expression (WITH …) or a temporary table.",
    )
}

/// Refuses what would run in the service account's name whenever it is used, long after the grant has
/// ended under which it was made: a temporary object needs no grant.
fn refuse_code(target: Target<'_>) -> Walked {
    let plain = matches!(target.relation.kind, RelationKind::Table | RelationKind::Sequence);
    if plain && !target.relation.runs_code { Ok(()) } else { refuse_temporary() }
}
