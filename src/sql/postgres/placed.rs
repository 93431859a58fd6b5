//! Policy: where a statement may run. It may run anywhere when nothing in it is known to be otherwise, and all
//! that it calls, itself or through what it uses, is known to be the same at every server.
//!
//! The catalog says it of users' functions, types and relations ([`AtReplica`]); `replica.txt` of the server's own.

use std::collections::HashMap;
use std::sync::OnceLock;

use pg_raw_parse::Node;

use super::needs::Target;
use super::routines::runs_sql_in_a_string;
use super::settings;
use super::special::literal;
use super::walk::Walk;
use crate::sql::catalog::{
    AtReplica, Function, Language, Origin, RelationKind, TypeId, Volatility,
};
use crate::sql::name::QualifiedName;
use crate::sql::placement::{Placement, Rule};

const FUNCTIONS: &str = include_str!("replica.txt");

/// Numbers below are of what the server came with.
const FIRST_OF_USERS: TypeId = 16_384;

/// `json`, to which the functions that write it cast a value where somebody has made such a cast.
const JSON: TypeId = 114;

/// Relations of the server's own that tell of one server. All that begin with `pg_stat_` and `pg_statio_` do.
const ONE_SERVER: &[&str] = &[
    "pg_aios",
    "pg_available_extension_versions",
    "pg_available_extensions",
    "pg_backend_memory_contexts",
    "pg_config",
    "pg_cursors",
    "pg_dsm_registry_allocations",
    "pg_file_settings",
    "pg_hba_file_rules",
    "pg_ident_file_mappings",
    "pg_locks",
    "pg_prepared_statements",
    "pg_prepared_xacts",
    "pg_replication_origin_status",
    "pg_replication_slots",
    // The last value of each.
    "pg_sequences",
    "pg_settings",
    "pg_shmem_allocations",
    "pg_shmem_allocations_numa",
    "pg_wait_events",
];

/// Compiled functions of extensions that are volatile, and yet leave nothing and need nothing.
const EXTENSIONS_ANYWHERE: &[&str] = &[
    "gen_random_bytes",
    "gen_random_uuid",
    "gen_salt",
    "normal_rand",
    "uuid_generate_v1",
    "uuid_generate_v1mc",
    "uuid_generate_v4",
];

/// What a function of the server's own is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Anywhere,
    Writes,
    Server,
    State(&'static str),
    Home,
}

fn verdict(name: &str) -> Option<Verdict> {
    static VERDICTS: OnceLock<HashMap<&'static str, Verdict>> = OnceLock::new();
    VERDICTS.get_or_init(|| read(FUNCTIONS)).get(name).copied()
}

/// A line begins with the rule, and goes on in those that begin with a space.
fn read(list: &'static str) -> HashMap<&'static str, Verdict> {
    let mut verdicts = HashMap::new();
    let mut current = Verdict::Server;
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let names = match line.split_once(':') {
            Some((rule, names)) => {
                current = match rule.split_once(' ') {
                    Some(("state", noun)) => Verdict::State(noun),
                    Some(_) => Verdict::Server,
                    None => match rule {
                        "anywhere" => Verdict::Anywhere,
                        "writes" => Verdict::Writes,
                        "home" => Verdict::Home,
                        _ => Verdict::Server,
                    },
                };
                names
            }
            None => line,
        };
        verdicts.extend(names.split_whitespace().map(|name| (name, current)));
    }
    verdicts
}

/// Whether a function of the server's own is the same at every server.
fn runs_anywhere(name: &str, volatility: Volatility) -> bool {
    match verdict(name) {
        Some(verdict) => verdict == Verdict::Anywhere,
        None => volatility == Volatility::Immutable,
    }
}

/// Whether a function is known to change nothing and to mean the same at a replica, by what the server says of it;
/// `None` where that hangs on its body.
pub fn is_same_at_replica(name: &str, function: &Function) -> Option<bool> {
    let known = match (function.origin, function.language, function.volatility) {
        (Origin::Server, ..) => return Some(runs_anywhere(name, function.volatility)),
        // Only a superuser makes these; what one says of itself is what its author knew.
        (Origin::Extension, Language::Compiled, Volatility::Volatile) => {
            EXTENSIONS_ANYWHERE.contains(&name)
        }
        (_, _, Volatility::Volatile) => false,
        (_, Language::Compiled, _) => !runs_sql_in_a_string(name),
        (_, Language::Interpreted, _) => return if function.definer { Some(false) } else { None },
    };
    Some(known && !function.definer)
}

/// Whether a relation of the server's own tells of one server.
pub fn tells_of_one_server(relation: &str) -> bool {
    relation.starts_with("pg_stat_")
        || relation.starts_with("pg_statio_")
        || ONE_SERVER.binary_search(&relation).is_ok()
}

/// What binds a statement, gathered while it is walked. The first of each counts: one is enough.
#[derive(Default)]
pub(super) struct Placed {
    primary: Option<Rule>,
    home: Option<Rule>,
}

impl Placed {
    /// It runs at the primary.
    pub(super) fn primary(&mut self, rule: Rule) {
        self.primary.get_or_insert(rule);
    }

    /// It runs where the session is at home.
    fn home(&mut self, rule: Rule) {
        self.home.get_or_insert(rule);
    }

    /// Where a statement runs that would run there for its kind alone.
    pub(super) fn settle(&self, kind: Placement) -> Placement {
        match (kind, &self.primary, &self.home) {
            (kind @ Placement::Primary(_), ..) => kind,
            (_, Some(rule), _) => Placement::Primary(rule.clone()),
            (kind @ Placement::Home(_), ..) => kind,
            (_, None, Some(rule)) => Placement::Home(rule.clone()),
            (kind, None, None) => kind,
        }
    }
}

impl<'t> Walk<'t> {
    /// A function may be called.
    pub(super) fn places_call(
        &mut self,
        schema: &str,
        name: &str,
        function: &Function,
        arguments: &[Node<'t>],
    ) {
        if function.origin == Origin::Server {
            self.places_listed(name, function.at_replica, arguments);
        } else if !function.at_replica {
            self.placed.primary(Rule::Function(format!("{schema}.{name}").into()));
        }
        // Values become of these types.
        for input in &function.inputs {
            self.places_type(*input);
        }
    }

    /// A function of the server's own may be called, by name.
    pub(super) fn places_listed(&mut self, name: &str, at_replica: bool, arguments: &[Node<'t>]) {
        let verdict = match verdict(name) {
            Some(verdict) => verdict,
            None if at_replica => Verdict::Anywhere,
            None => Verdict::Server,
        };
        match verdict {
            Verdict::Anywhere if name == "current_setting" && !follows_session(arguments) => {
                self.placed.primary(Rule::Function(name.into()));
            }
            Verdict::Anywhere => {
                if name.contains("json") {
                    self.places_json();
                }
            }
            Verdict::Writes => self.placed.primary(Rule::Writes),
            Verdict::Server => self.placed.primary(Rule::Function(name.into())),
            Verdict::State(noun) => self.placed.primary(Rule::State(noun)),
            Verdict::Home => self.placed.home(Rule::State("a seed of random()")),
        }
    }

    /// A function is called of which the catalog knows nothing.
    pub(super) fn places_unknown(&mut self, name: &QualifiedName) {
        self.placed.primary(Rule::Function(name.to_string().into()));
    }

    /// JSON is written.
    pub(super) fn places_json(&mut self) {
        let catalog = self.scope.catalog;
        for cast in catalog.called_casts.iter().filter(|cast| cast.target == JSON) {
            if !catalog.routine(&cast.function).is_some_and(|function| function.at_replica) {
                self.places_unknown(&cast.function.name);
            }
        }
    }

    /// A relation is read.
    pub(super) fn places_relation(&mut self, target: Target<'t>) {
        let name = || QualifiedName::new(target.schema, target.name);
        let what = match (target.relation.kind, target.relation.at_replica) {
            _ if target.is_temporary() => {
                self.placed.primary(Rule::State("temporary tables"));
                return;
            }
            (RelationKind::Sequence, _) => "a sequence",
            (_, AtReplica::Unlogged) => "not in the log, or a part of it is not",
            (_, AtReplica::Foreign) => "at another server, or a part of it is",
            (_, AtReplica::Unsure) => {
                "defined by something that is not known to mean the same at a replica"
            }
            (_, AtReplica::Same) if target.is_system() && tells_of_one_server(target.name) => {
                "about one server"
            }
            (_, AtReplica::Same) => return,
        };
        self.placed.primary(Rule::Relation(name(), what));
    }

    /// A value is made of a type that has a name in the statement.
    pub(super) fn places_named_type(&mut self, schema: &str, name: &str) {
        let Some(objects) = self.scope.catalog.schemas.get(schema) else { return };
        let element = name.trim_start_matches('_');
        for name in [name, element] {
            if let Some(id) = objects.type_ids.get(name) {
                self.places_type(*id);
            }
            if let Some(relation) = objects.relations.get(name) {
                // A row type.
                for column in &relation.column_types {
                    self.places_type(*column);
                }
            }
        }
    }

    /// A value is made of a type: by its input, by a domain's checks.
    pub(super) fn places_type(&mut self, id: TypeId) {
        let types = &self.scope.catalog.types;
        let mut open = id;
        // Elements of arrays, and what is below domains.
        for _ in 0..32 {
            if open < FIRST_OF_USERS {
                return;
            }
            let Some(found) = types.get(&open) else {
                // A row type: which columns it has is not known by its number.
                if types.values().any(|found| !found.at_replica) {
                    self.placed.primary(Rule::Function("what a row type's columns check".into()));
                }
                return;
            };
            if !found.at_replica {
                let name = self.type_called(open);
                self.places_unknown(&name);
                return;
            }
            open = if found.base == 0 { found.element } else { found.base };
        }
    }

    /// The name of a type.
    fn type_called(&self, id: TypeId) -> QualifiedName {
        let mut schemas = self.scope.catalog.schemas.iter();
        let found = schemas.find_map(|(schema, objects)| {
            let (name, _) = objects.type_ids.iter().find(|(_, known)| **known == id)?;
            Some(QualifiedName::new(schema.clone(), name.clone()))
        });
        found.unwrap_or_else(|| QualifiedName::new("pg_catalog", id.to_string()))
    }

    /// Where the statement may run, its kind and all of its tree known.
    pub(super) fn placement(&mut self, kind: Placement) -> Placement {
        for declared in self.scope.parameters {
            self.places_type(*declared);
        }
        if self.needs.writes() {
            self.placed.primary(Rule::Writes);
        }
        self.placed.settle(kind)
    }
}

/// Whether a setting is one that the session has wherever it is: SET carries it along, and
/// what a transaction is differs by the server.
fn follows_session(arguments: &[Node<'_>]) -> bool {
    let name = arguments.first().and_then(|name| literal(*name));
    name.is_some_and(|name| {
        let name = name.to_ascii_lowercase();
        settings::is_harmless(&name) && !name.starts_with("transaction_")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_in_order() {
        assert!(ONE_SERVER.is_sorted());
        let mut names: Vec<&str> = FUNCTIONS
            .lines()
            .filter(|line| !line.starts_with('#'))
            .flat_map(|line| {
                line.split_once(':').map_or(line, |(_, names)| names).split_whitespace()
            })
            .collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "a name stands twice");
        let rules: Vec<&str> = FUNCTIONS
            .lines()
            .filter(|line| !line.starts_with(['#', ' ']))
            .filter_map(|line| line.split([':', ' ']).next())
            .collect();
        assert!(rules.iter().all(|rule| {
            matches!(*rule, "" | "anywhere" | "writes" | "server" | "state" | "home")
        }));
    }

    #[test]
    fn what_is_in_no_list_is_as_its_volatility_says() {
        assert!(runs_anywhere("lower", Volatility::Immutable));
        assert!(!runs_anywhere("lower", Volatility::Stable));
        assert!(!runs_anywhere("pg_walfile_name", Volatility::Immutable));
        assert!(runs_anywhere("random", Volatility::Volatile));
        assert!(!runs_anywhere("setseed", Volatility::Volatile));
    }
}
