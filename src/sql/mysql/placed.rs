//! Policy: where a statement may run. It may run anywhere when it only reads, and nothing in it or in the views that
//! it reads is known to be otherwise at a replica. Built-in functions are those of `words`, but for what is denied here;
//! stored and loadable ones run at the primary, since their bodies are not read.

use super::catalog::View;
use super::lexer::{Kind as TokenKind, Token, Tokens};
use super::resolve::Resolver;
use super::settings::Flavour;
use super::statement::Kind;
use super::tree::{Into, Query};
use crate::sql::name::QualifiedName;
use crate::sql::placement::{Placement, Rule};
use crate::sql::statement::{Class, Effect};

/// Views whose queries are read for one statement, at most.
const VIEWS_MAX: usize = 16;

/// What the statement before has left for this one: it runs where that ran.
pub const PREVIOUS: &str = "what the statement before it has left";
/// Settings that are not carried along.
pub const SETTINGS: &str = "settings that are not carried along";
/// SET TRANSACTION without SESSION.
pub const NEXT_TRANSACTION: &str = "settings of its next transaction";
/// Locks that are taken by name.
pub const LOCKS: &str = "locks by name";
/// Temporary tables.
pub const TEMPORARY: &str = "temporary tables";

const VARIABLES: &str = "user variables";
const SERVER: &str = "facts of its own about itself";

/// Functions that are built in, and mean something else at a replica.
const DENIED: &[(&str, &[&str])] = &[
    (LOCKS, &["get_lock", "is_free_lock", "is_used_lock", "release_all_locks", "release_lock"]),
    ("the last inserted id", &["last_insert_id"]),
    ("the number of its connection", &["connection_id", "ps_current_thread_id", "ps_thread_id"]),
    (
        SERVER,
        &[
            "icu_version",
            "load_file",
            "master_gtid_wait",
            "master_pos_wait",
            "roles_graphml",
            "source_pos_wait",
            "uuid_short",
            "validate_password_strength",
            "version",
            "wait_for_executed_gtid_set",
        ],
    ),
];

/// How a setting is written in SET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In quotes, or NULL.
    Text,
    /// As a number.
    Number,
}

/// Settings of a session that are the same wherever its reads run, in the order in which they are told to a
/// replica: that of a character set changes its collation.
const CARRIED: &[(&str, Form, Option<Flavour>)] = &[
    ("sql_mode", Form::Text, None),
    ("character_set_client", Form::Text, None),
    ("character_set_results", Form::Text, None),
    ("character_set_connection", Form::Text, None),
    ("collation_connection", Form::Text, None),
    ("time_zone", Form::Text, None),
    ("lc_time_names", Form::Text, None),
    ("tx_isolation", Form::Text, Some(Flavour::MariaDb)),
    ("transaction_isolation", Form::Text, Some(Flavour::MySql)),
    ("default_week_format", Form::Number, None),
    ("div_precision_increment", Form::Number, None),
    ("foreign_key_checks", Form::Number, None),
    ("group_concat_max_len", Form::Number, None),
    ("innodb_lock_wait_timeout", Form::Number, None),
    ("lock_wait_timeout", Form::Number, None),
    ("max_error_count", Form::Number, None),
    ("max_sort_length", Form::Number, None),
    ("net_read_timeout", Form::Number, None),
    ("net_write_timeout", Form::Number, None),
    ("sql_big_selects", Form::Number, None),
    ("sql_notes", Form::Number, None),
    ("sql_quote_show_create", Form::Number, None),
    ("sql_safe_updates", Form::Number, None),
    ("sql_select_limit", Form::Number, None),
    ("unique_checks", Form::Number, None),
    ("wait_timeout", Form::Number, None),
    ("max_statement_time", Form::Number, Some(Flavour::MariaDb)),
    ("max_recursive_iterations", Form::Number, Some(Flavour::MariaDb)),
    ("max_execution_time", Form::Number, Some(Flavour::MySql)),
    ("cte_max_recursion_depth", Form::Number, Some(Flavour::MySql)),
];

/// Settings that say nothing about reads.
const WITHOUT_READS: &[&str] = &["autocommit", "transaction_read_only", "tx_read_only"];

/// The settings that are carried along at a server of that kind.
pub fn carried(flavour: Flavour) -> impl Iterator<Item = (&'static str, Form)> {
    let here = move |(_, _, only): &&(&str, Form, Option<Flavour>)| {
        only.is_none_or(|only| only == flavour)
    };
    CARRIED.iter().filter(here).map(|(name, form, _)| (*name, *form))
}

fn follows(name: &str) -> bool {
    CARRIED.iter().any(|(known, ..)| *known == name) || name == "transaction_isolation"
}

/// Whether what binds a statement leaves something in the session, for the next ones, too.
pub fn leaves(rule: &Rule) -> bool {
    match rule {
        Rule::Function(_) => true,
        Rule::State(what) => [LOCKS, TEMPORARY, SETTINGS, NEXT_TRANSACTION].contains(what),
        _ => false,
    }
}

fn keep(kept: &mut Option<Rule>, rule: Rule) {
    if kept.as_ref().is_none_or(|kept| leaves(&rule) && !leaves(kept)) {
        *kept = Some(rule);
    }
}

/// What binds a statement, gathered while it is read. The first of each counts, but for one that binds the session.
#[derive(Default)]
pub(super) struct Placed {
    primary: Option<Rule>,
    home: Option<Rule>,
    /// Views that were read so far.
    views: usize,
}

impl Placed {
    /// It runs at the primary.
    pub(super) fn primary(&mut self, rule: Rule) {
        keep(&mut self.primary, rule);
    }

    fn home(&mut self, rule: Rule) {
        keep(&mut self.home, rule);
    }

    /// A setting of the session is changed, or of the server. `next`: it may be that of the next transaction only.
    pub(super) fn sets(&mut self, name: &str, global: bool, next: bool) {
        let of_transaction = name.starts_with("transaction_") || name.starts_with("tx_");
        if global {
            self.primary(Rule::Writes);
        } else if next && of_transaction {
            self.home(Rule::State(NEXT_TRANSACTION));
        } else if !follows(name) && !WITHOUT_READS.contains(&name) {
            self.home(Rule::State(SETTINGS));
        }
    }

    /// What words and signs say, wherever in the statement they stand.
    fn tokens(&mut self, tokens: &Tokens<'_>, list: &[Token]) {
        for (at, token) in list.iter().enumerate() {
            let behind = list.get(at + 1).map(|it| it.kind);
            match token.kind {
                TokenKind::UserVariable | TokenKind::Assign => {
                    self.primary(Rule::State(VARIABLES));
                }
                TokenKind::SystemVariable => {
                    self.variable(tokens, list.get(at + 1..).unwrap_or_default());
                }
                TokenKind::Word | TokenKind::Quoted | TokenKind::Dotted => {
                    let name = tokens.name(token).to_ascii_lowercase();
                    if behind == Some(TokenKind::Sign(b'(')) {
                        self.called(&name);
                    } else if token.kind == TokenKind::Word {
                        self.word(&name);
                    }
                }
                _ => (),
            }
        }
    }

    fn word(&mut self, word: &str) {
        match word {
            "sql_calc_found_rows" => self.primary(Rule::State(PREVIOUS)),
            "procedure" => self.primary(Rule::Command("PROCEDURE")),
            "connection" => self.primary(Rule::State("what runs there")),
            _ => (),
        }
    }

    fn called(&mut self, name: &str) {
        if matches!(name, "found_rows" | "row_count") {
            self.home(Rule::State(PREVIOUS));
        }
        for (noun, names) in DENIED {
            if names.contains(&name) {
                self.primary(Rule::State(noun));
            }
        }
    }

    /// `@@[scope.]name`: those that are carried along are the same everywhere.
    fn variable(&mut self, tokens: &Tokens<'_>, behind: &[Token]) {
        let part = |at: usize| {
            let token = behind.get(at)?;
            let named =
                matches!(token.kind, TokenKind::Word | TokenKind::Quoted | TokenKind::Dotted);
            named.then(|| tokens.name(token).to_ascii_lowercase())
        };
        let dotted = behind.get(1).is_some_and(|it| it.kind == TokenKind::Sign(b'.'));
        let name = match (part(0), dotted) {
            (Some(scope), true) if scope == "session" || scope == "local" => part(2),
            (name, false) => name,
            (_, true) => None,
        };
        match name.as_deref() {
            Some("warning_count" | "error_count") => self.home(Rule::State(PREVIOUS)),
            Some(name) if follows(name) || name == "autocommit" => (),
            _ => self.primary(Rule::State(SERVER)),
        }
    }
}

impl Resolver<'_> {
    /// A query is read: whether it locks, and where its rows go.
    pub(super) fn places_query(&mut self, query: &Query) {
        if !query.locks.is_empty() {
            self.placed.primary(Rule::Locks);
        }
        if query.into != Into::Client {
            self.placed.primary(Rule::Writes);
        }
    }

    /// A relation is named.
    pub(super) fn places_system(&mut self, name: &QualifiedName) {
        self.placed.primary(Rule::Relation(name.clone(), "about one server"));
    }

    /// A view is read, and what it stands on.
    pub(super) fn places_view(&mut self, name: &QualifiedName, view: &View) {
        let read = match view.query.as_deref() {
            Some(query) if self.placed.views < VIEWS_MAX => self.view_is_same(query),
            _ => false,
        };
        if !read {
            let what = "a view of something that is not known to mean the same at a replica";
            self.placed.primary(Rule::Relation(name.clone(), what));
        }
    }

    fn view_is_same(&mut self, query: &str) -> bool {
        self.placed.views += 1;
        let mut inner = Resolver::new(self.scope);
        inner.placed.views = self.placed.views;
        inner.views = self.views;
        let read = super::with_view(query, self.scope, |query, tokens| {
            inner.placed.tokens(tokens, &tokens.list);
            inner.query(query).map(drop)
        });
        self.placed.views = inner.placed.views;
        read.is_ok() && inner.placed.primary.is_none() && inner.placed.home.is_none()
    }

    /// Where a statement may run, all of it read.
    pub(super) fn placement(
        &mut self,
        kind: &Kind,
        tokens: &Tokens<'_>,
        list: &[Token],
    ) -> Placement {
        self.placed.tokens(tokens, list);
        let by_kind = by_kind(kind, tokens, list);
        match (by_kind, &self.placed.primary, &self.placed.home) {
            (Placement::Primary(_), _, Some(rule)) if leaves(rule) => {
                Placement::Primary(rule.clone())
            }
            (_, Some(primary), Some(rule)) if leaves(rule) && !leaves(primary) => {
                Placement::Primary(rule.clone())
            }
            (kind @ Placement::Primary(_), None, _) => kind,
            (_, Some(rule), _) => Placement::Primary(rule.clone()),
            (kind @ Placement::Home(_), ..) => kind,
            (_, None, Some(rule)) => Placement::Home(rule.clone()),
            (kind, None, None) => kind,
        }
    }
}

/// Where a statement would run for its kind alone.
fn by_kind(kind: &Kind, tokens: &Tokens<'_>, list: &[Token]) -> Placement {
    let word = |at: usize| {
        let token = list.get(at).filter(|token| token.kind == TokenKind::Word);
        token.map(|token| tokens.name(token).to_ascii_lowercase()).unwrap_or_default()
    };
    // SET STATEMENT … FOR SELECT is called SELECT, too.
    let reads = kind.class == Class::Read
        && matches!(kind.effect, Effect::None)
        && !kind.changes_catalog
        && word(0) != "set";
    match (kind.command, &kind.effect) {
        ("SELECT" | "EXPLAIN" | "DESCRIBE", _) if reads => Placement::Anywhere,
        ("SHOW", _) if reads => shown([&word(1), &word(2)]),
        (_, Effect::Call(_) | Effect::Kill { .. }) => Placement::Session,
        ("BEGIN" | "START TRANSACTION" | "COMMIT" | "ROLLBACK" | "SAVEPOINT", _)
        | ("ROLLBACK TO SAVEPOINT" | "RELEASE SAVEPOINT" | "SET" | "USE", _) => Placement::Session,
        _ if matches!(kind.class, Class::Write | Class::Ddl | Class::Role) => {
            Placement::Primary(Rule::Writes)
        }
        _ => Placement::Primary(Rule::Command(kind.command)),
    }
}

/// SHOW of definitions, of the session, or of the server.
fn shown([first, second]: [&str; 2]) -> Placement {
    match first {
        "full" | "extended" if matches!(second, "tables" | "columns" | "fields") => {
            Placement::Anywhere
        }
        "columns" | "fields" | "tables" | "databases" | "schemas" | "index" | "indexes"
        | "keys" => Placement::Anywhere,
        "create" if matches!(second, "table" | "view" | "database" | "schema") => {
            Placement::Anywhere
        }
        "warnings" | "errors" | "count" => Placement::Home(Rule::State(PREVIOUS)),
        "variables" | "session" | "local" => Placement::Session,
        _ => Placement::Primary(Rule::Command("SHOW")),
    }
}
