//! The simulated server's names: relations in `app`, `public` and the session's own `pg_temp_3`, through
//! transactions and savepoints, and what they come to as a catalog.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::sql::catalog::{Catalog, Relation, RelationKind, Schema};
use crate::wire::postgres::reply;

pub(super) const TEMPORARY: &str = "pg_temp_3";

/// Number of a schema, as rows of catalogs have it.
const SCHEMAS: [(&str, &str); 3] = [("pg_catalog", "1"), ("app", "2"), ("public", "3")];

/// What there is at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    /// By schema and name: its number.
    relations: BTreeMap<(String, String), u32>,
    /// The session has a schema for temporary objects.
    temporary: bool,
    /// It has taken the role of the `ddl-owner`.
    owner: bool,
}

/// A relation that a text has been resolved to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Resolved {
    pub(super) schema: String,
    pub(super) name: String,
    number: u32,
    path: Vec<&'static str>,
}

#[derive(Debug, Default)]
pub(super) struct Names {
    now: State,
    /// What it was when the open transaction began.
    before: Option<State>,
    savepoints: Vec<State>,
    /// Temporary relations that the end of their transaction drops.
    on_commit: Vec<String>,
    next: u32,
}

impl Names {
    /// `public.t0` to `public.t4`.
    pub(super) fn new() -> Self {
        let mut names = Self::default();
        for n in 0..5 {
            names.create("public", &format!("t{n}"));
        }
        names
    }

    /// Whether the session has something temporary.
    pub(super) fn has_temporary(&self) -> bool {
        self.now.relations.keys().any(|(schema, _)| schema == TEMPORARY)
    }

    fn create(&mut self, schema: &str, name: &str) {
        self.next += 1;
        self.now.temporary |= schema == TEMPORARY;
        self.now.relations.insert((schema.to_owned(), name.to_owned()), self.next);
    }

    /// What others see as a catalog; its version is the caller's to give.
    pub(super) fn catalog(&self, version: u64) -> Arc<Catalog> {
        let state = self.before.as_ref().unwrap_or(&self.now);
        let schema = |wanted: &str| {
            let relations = state.relations.keys().filter(|(schema, _)| *schema == *wanted);
            let relation = || Relation {
                kind: RelationKind::Table,
                columns: vec!["a".into(), "b".into()],
                ..Relation::default()
            };
            let relations = relations.map(|(_, name)| (name.as_str().into(), relation())).collect();
            (Box::from(wanted), Arc::new(Schema { relations, ..Schema::default() }))
        };
        Arc::new(Catalog {
            version,
            server_version: 150_018,
            schemas: SCHEMAS.iter().map(|(name, _)| schema(name)).collect(),
            public_temporary: true,
            ..Catalog::default()
        })
    }

    /// Takes the role of the `ddl-owner`, or lets go of it.
    pub(super) fn set_owner(&mut self, owner: bool) {
        self.begin();
        self.now.owner = owner;
    }

    /// Whether what runs now runs as the `ddl-owner`.
    pub(super) fn is_owner(&self) -> bool {
        self.now.owner
    }

    /// The schemas that are searched.
    pub(super) fn path(&self) -> Vec<&'static str> {
        let temporary = self.now.temporary.then_some(TEMPORARY);
        // Another role may see other schemas first.
        let rest = if self.now.owner {
            ["pg_catalog", "public", "app"]
        } else {
            ["pg_catalog", "app", "public"]
        };
        temporary.into_iter().chain(rest).collect()
    }

    /// The relation that a text names.
    pub(super) fn resolve(&self, text: &str) -> Result<Option<Resolved>, &'static str> {
        let Some(name) = (0..5).map(|n| format!("t{n}")).find(|name| text.contains(&**name)) else {
            return if text.contains("missing") { Err("42P01") } else { Ok(None) };
        };
        let path = self.path();
        let named = if text.contains("app.") { vec!["app"] } else { path.clone() };
        let found = named.iter().find_map(|schema| {
            let key = ((*schema).to_owned(), name.clone());
            let number = *self.now.relations.get(&key)?;
            Some(Resolved { schema: key.0, name: key.1, number, path: path.clone() })
        });
        found.map(Some).ok_or("42P01")
    }

    /// What a prepared statement stands for when it is bound. As the real one, it looks names up again only
    /// when the path has changed or the relation is gone.
    pub(super) fn revalidate(
        &self,
        text: &str,
        known: Option<Resolved>,
    ) -> Result<Option<Resolved>, &'static str> {
        match known {
            Some(known)
                if known.path == self.path()
                    && self.now.relations.values().any(|number| *number == known.number) =>
            {
                Ok(Some(known))
            }
            Some(_) => self.resolve(text),
            None => Ok(None),
        }
    }

    /// A transaction begins, by a word of the client's or by the first statement of a message.
    pub(super) fn begin(&mut self) {
        if self.before.is_none() {
            self.before = Some(self.now.clone());
        }
    }

    pub(super) fn commit(&mut self) {
        self.before = None;
        self.savepoints.clear();
        for name in std::mem::take(&mut self.on_commit) {
            self.now.relations.remove(&(TEMPORARY.to_owned(), name));
        }
    }

    pub(super) fn rollback(&mut self) {
        if let Some(before) = self.before.take() {
            self.now = before;
        }
        self.savepoints.clear();
        self.on_commit.clear();
    }

    pub(super) fn savepoint(&mut self) {
        self.savepoints.push(self.now.clone());
    }

    /// Back to the last savepoint; false when there is none.
    pub(super) fn rollback_to(&mut self) -> bool {
        let Some(state) = self.savepoints.last() else { return false };
        self.now = state.clone();
        let temporary = |name: &String| (TEMPORARY.to_owned(), name.clone());
        self.on_commit.retain(|name| state.relations.contains_key(&temporary(name)));
        true
    }

    /// A definition; the schema that it is about.
    pub(super) fn define(&mut self, text: &str) -> Result<String, &'static str> {
        let words: Vec<_> = text.split([' ', '(']).collect();
        match words.as_slice() {
            ["CREATE", "TEMP", "TABLE", name, ..] => {
                if self.now.relations.contains_key(&(TEMPORARY.to_owned(), (*name).to_owned())) {
                    return Err("42P07");
                }
                self.create(TEMPORARY, name);
                if text.ends_with("DROP") {
                    self.on_commit.push((*name).to_owned());
                }
                Ok(TEMPORARY.to_owned())
            }
            ["CREATE", "TABLE", name, ..] => {
                let name = name.strip_prefix("app.").unwrap();
                if self.now.relations.contains_key(&("app".to_owned(), name.to_owned())) {
                    return Err("42P07");
                }
                self.create("app", name);
                Ok("app".to_owned())
            }
            ["DISCARD", "TEMP"] => {
                self.now.relations.retain(|(schema, _), _| schema != TEMPORARY);
                Ok(TEMPORARY.to_owned())
            }
            _ => {
                let found = self.resolve(text)?.unwrap();
                self.now.relations.remove(&(found.schema.clone(), found.name));
                Ok(found.schema)
            }
        }
    }

    /// The rows for a statement of the proxy's own: none for what is not simulated.
    pub(super) fn answer(&self, sql: &str, out: &mut Vec<u8>) {
        let mut row = |values: &[&str]| {
            let values: Vec<_> = values.iter().map(|value| Some((*value).to_owned())).collect();
            reply::data_row(out, &values);
        };
        let own = sql.contains("pg_my_temp_schema");
        let number = |schema: &str| {
            SCHEMAS.iter().find(|(name, _)| *name == schema).map_or("9", |(_, number)| number)
        };
        let relations = self.now.relations.iter();
        let relations = relations.filter(|((schema, _), _)| (schema == TEMPORARY) == own);
        if sql.contains("current_schemas") {
            self.path().into_iter().for_each(|schema| row(&[schema]));
        } else if sql.contains("transaction_isolation") {
            row(&["read committed"]);
        } else if sql.contains("has_database_privilege") {
            row(&["t"]);
        } else if sql.contains("oid, nspname") {
            if !own {
                SCHEMAS.iter().for_each(|(name, number)| row(&[number, name, "f"]));
            } else if self.now.temporary {
                row(&["9", TEMPORARY, "f"]);
            }
        } else if sql.starts_with("SELECT c.oid, relnamespace, relname, relkind") {
            for ((schema, name), oid) in relations {
                row(&[&oid.to_string(), number(schema), name, "r", "0"]);
            }
        } else if sql.contains("SELECT attrelid, ") {
            for (_, oid) in relations {
                row(&[&oid.to_string(), "a", "23"]);
                row(&[&oid.to_string(), "b", "23"]);
            }
        }
    }
}
