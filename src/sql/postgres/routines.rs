//! Policy: what the use of a function needs, by what the server says of it.

use std::collections::HashSet;
use std::sync::OnceLock;

use super::guarded::is_system_schema;
use super::walk::Walk;
use crate::sql::catalog::{Function, Language, Origin, Routine, RunsAs, Volatility};

/// `tests/analyser_functions.sql` makes these lists. The first two stand in for a catalog without functions.
const HARMLESS: &str = include_str!("functions.txt");
const REACHING: &str = include_str!("reaching.txt");
/// Functions of the server that reach outside a grant: files, large objects, other sessions, SQL in a
/// string, replication, WAL. A role without privileges may call many of them; through a service account
/// they would do what that account may, or show what others do.
const OUTSIDE: &str = include_str!("outside.txt");

/// Functions of extensions that run SQL in a string, though they are not volatile.
const EXTENSIONS_OUTSIDE: [&str; 4] = ["dblink", "crosstab", "connectby", "xpath_table"];

/// Compiled functions of extensions that are volatile and harmless: identifiers, random numbers, and
/// settings of the session's own searches.
const EXTENSIONS_HARMLESS: [&str; 8] = [
    "gen_random_bytes",
    "gen_random_uuid",
    "gen_salt",
    "normal_rand",
    "set_limit",
    "uuid_generate_v1",
    "uuid_generate_v1mc",
    "uuid_generate_v4",
];

type Names = HashSet<&'static str>;

fn set(cell: &'static OnceLock<Names>, text: &'static str) -> &'static Names {
    cell.get_or_init(|| text.lines().filter(|line| !line.is_empty()).collect())
}

/// Whether every `pg_catalog` function of that name is harmless.
pub(super) fn is_harmless(name: &str) -> bool {
    static NAMES: OnceLock<Names> = OnceLock::new();
    set(&NAMES, HARMLESS).contains(name)
}

/// Whether a `pg_catalog` function of that name reaches beyond the query.
pub(super) fn is_reaching(name: &str) -> bool {
    static NAMES: OnceLock<Names> = OnceLock::new();
    set(&NAMES, REACHING).contains(name)
}

fn is_outside(name: &str, function: &Function) -> bool {
    static NAMES: OnceLock<Names> = OnceLock::new();
    // ts_rewrite has an overload that takes a query as text, and one that takes none.
    set(&NAMES, OUTSIDE).contains(name) && (name != "ts_rewrite" || function.inputs.len() == 2)
}

/// Whether a function takes connection strings, so that a call's literals may hold passwords.
pub(super) fn connects(name: &str) -> bool {
    name.starts_with("dblink")
}

/// Whether a call needs EXECUTE in the grant.
///
/// PUBLIC may execute what needs nothing, by the server's own ACL. Beyond that: what reaches outside the
/// grant, what runs as its owner, and what somebody wrote that says it changes something.
///
/// Without a second lock, a body that somebody wrote runs with the service account's rights, where the server
/// would have checked the caller's. Bodies are not understood here, and what one says of itself (IMMUTABLE,
/// STABLE) is not checked by anybody: plpgsql runs a query in an IMMUTABLE function as in any other. So all of
/// them have to be in the grant. With a second lock the server checks inside of them, too.
pub(super) fn needs_execute(name: &str, function: &Function, runs_as: RunsAs) -> bool {
    if !function.public {
        return true;
    }
    let compiled = function.language == Language::Compiled;
    let held = runs_as == RunsAs::OwnRole;
    let harmless = match (function.origin, function.volatility) {
        (Origin::Server, _) => return is_outside(name, function),
        // Those come with software that a superuser chose, or that is marked as trusted.
        (Origin::Extension, Volatility::Immutable) => true,
        (Origin::User, Volatility::Immutable) | (_, Volatility::Stable) => compiled || held,
        (Origin::Extension, Volatility::Volatile) => {
            compiled && EXTENSIONS_HARMLESS.contains(&name)
        }
        (Origin::User, Volatility::Volatile) => false,
    };
    function.definer || !harmless || runs_sql_in_a_string(name)
}

/// Whether a function of an extension is one that runs SQL in a string, though it is not volatile.
pub(super) fn runs_sql_in_a_string(name: &str) -> bool {
    EXTENSIONS_OUTSIDE.iter().any(|start| name.starts_with(start))
}

impl<'t> Walk<'t> {
    /// What a call that the statement itself makes needs.
    pub(super) fn calls(&mut self, schema: &'t str, name: &'t str, function: &'t Function) {
        if !is_system_schema(schema) {
            self.uses_schema(schema);
        }
        self.runs(schema, name, function);
    }

    fn runs(&mut self, schema: &'t str, name: &'t str, function: &'t Function) {
        if self.inside > 0 {
            return;
        }
        self.parameters.called(function);
        if function.origin != Origin::Server && function.language != Language::Compiled {
            self.needs.user_code();
        }
        if needs_execute(name, function, self.scope.catalog.runs_as) {
            self.needs.execute(schema, name, &function.arguments);
        } else {
            self.needs.metadata();
        }
    }

    /// The function behind an operator or a cast of the statement's own.
    pub(super) fn calls_routine(&mut self, routine: &'t Routine) {
        let name = &routine.name;
        match self.scope.catalog.routine(routine) {
            Some(function) => {
                self.places_call(&name.schema, &name.name, function, &[]);
                self.runs(&name.schema, &name.name, function);
            }
            None => {
                self.places_unknown(name);
                self.needs.execute(&name.schema, &name.name, &routine.arguments);
            }
        }
    }

    /// USAGE of a schema, where PUBLIC does not have it.
    pub(super) fn uses_schema(&mut self, schema: &str) {
        if let Some((name, objects)) = self.scope.catalog.schemas.get_key_value(schema)
            && objects.restricted
            && !is_system_schema(name)
        {
            self.needs.usage(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{is_harmless, is_reaching, needs_execute};
    use crate::sql::catalog::{Function, Language, Origin, RunsAs, Volatility};

    #[test]
    fn what_a_function_says_of_itself_counts_where_the_server_checks_its_body() {
        use Language::{Compiled, Interpreted};
        use Origin::{Extension, User};
        use Volatility::{Immutable, Stable, Volatile};
        // Language, origin, volatility: without a second lock, with one.
        for (language, origin, volatility, alone, held) in [
            (Interpreted, User, Immutable, true, false),
            (Interpreted, User, Stable, true, false),
            (Interpreted, User, Volatile, true, true),
            (Compiled, User, Immutable, false, false),
            (Compiled, User, Stable, false, false),
            (Compiled, User, Volatile, true, true),
            (Interpreted, Extension, Immutable, false, false),
            (Interpreted, Extension, Stable, true, false),
            (Interpreted, Extension, Volatile, true, true),
            (Compiled, Extension, Volatile, true, true),
        ] {
            let function =
                Function { language, origin, volatility, public: true, ..Function::default() };
            let found = [RunsAs::Other, RunsAs::OwnRole]
                .map(|runs_as| needs_execute("f", &function, runs_as));
            assert_eq!(found, [alone, held], "{language:?} {origin:?} {volatility:?}");
            // What runs as its owner, and what PUBLIC may not execute, has to be granted in any case.
            for function in [
                Function { definer: true, ..function.clone() },
                Function { public: false, ..function.clone() },
            ] {
                assert!(needs_execute("f", &function, RunsAs::OwnRole), "{function:?}");
            }
        }
        let crosstab =
            Function { origin: Extension, volatility: Stable, public: true, ..Function::default() };
        assert!(needs_execute("crosstab", &crosstab, RunsAs::OwnRole));
    }

    #[test]
    fn the_dangerous_are_not_harmless() {
        for name in [
            "pg_read_file",
            "pg_read_binary_file",
            "pg_ls_dir",
            "pg_stat_file",
            "pg_ls_waldir",
            "lo_import",
            "lo_export",
            "lo_create",
            "lo_unlink",
            "lo_get",
            "lo_put",
            "loread",
            "lowrite",
            "lo_open",
            "query_to_xml",
            "cursor_to_xml",
            "table_to_xml",
            "schema_to_xml",
            "database_to_xml",
            "query_to_xml_and_xmlschema",
            "table_to_xmlschema",
            "ts_stat",
            "ts_rewrite",
            "set_config",
            "current_setting",
            "nextval",
            "currval",
            "setval",
            "lastval",
            "pg_terminate_backend",
            "pg_cancel_backend",
            "pg_reload_conf",
            "pg_rotate_logfile",
            "pg_promote",
            "pg_switch_wal",
            "pg_create_restore_point",
            "pg_advisory_lock",
            "pg_try_advisory_xact_lock_shared",
            "pg_stat_get_activity",
            "pg_stat_get_backend_activity",
            "pg_stat_get_wal_senders",
            "pg_stat_reset",
            "pg_stat_get_wal_receiver",
            "pg_logical_emit_message",
            "pg_lock_status",
            "pg_logical_slot_get_changes",
            "pg_create_logical_replication_slot",
            "pg_export_snapshot",
            "pg_hba_file_rules",
            "pg_show_all_file_settings",
            "pg_config",
            "pg_control_system",
            "pg_current_logfile",
            "binary_upgrade_set_next_pg_authid_oid",
            "pg_prepared_xact",
            "pg_replication_origin_create",
            "pg_import_system_collations",
            "pg_restore_relation_stats",
            "brin_summarize_range",
            "pg_get_shmem_allocations",
            "pg_show_all_settings",
            "pg_log_standby_snapshot",
            "pg_file_write",
            "pg_backup_start",
            "pg_nextoid",
            "currtid2",
            "pg_get_sequence_data",
        ] {
            assert!(!is_harmless(name), "{name}");
            assert!(is_reaching(name), "{name}");
        }
        for name in [
            "lower",
            "now",
            "version",
            "count",
            "pg_sleep",
            "gen_random_uuid",
            "pg_get_viewdef",
            "has_table_privilege",
            "pg_relation_size",
            "generate_series",
            "jsonb_agg",
            "array_agg",
            "rank",
            "percentile_cont",
            "pg_table_is_visible",
            "format_type",
            "like_escape",
            "timezone",
        ] {
            assert!(is_harmless(name), "{name}");
            assert!(!is_reaching(name), "{name}");
        }
    }
}
