//! Which settings a session may change and see.

use super::walk::{Walked, unsupported, unsupported_hint};

/// Settings that change only how this session's own statements run or how its results look.
/// Sorted; everything else is refused.
const HARMLESS: &[&str] = &[
    "application_name",
    "array_nulls",
    "backend_flush_after",
    "bytea_output",
    "check_function_bodies",
    "client_connection_check_interval",
    "client_encoding",
    "client_min_messages",
    "constraint_exclusion",
    "cpu_index_tuple_cost",
    "cpu_operator_cost",
    "cpu_tuple_cost",
    "cursor_tuple_fraction",
    "datestyle",
    "debug_parallel_query",
    "default_statistics_target",
    "default_text_search_config",
    "default_toast_compression",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "effective_cache_size",
    "effective_io_concurrency",
    "escape_string_warning",
    "extra_float_digits",
    "force_parallel_mode",
    "from_collapse_limit",
    "gin_fuzzy_search_limit",
    "hash_mem_multiplier",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "intervalstyle",
    "join_collapse_limit",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "lock_timeout",
    "logical_decoding_work_mem",
    "maintenance_io_concurrency",
    "maintenance_work_mem",
    "max_parallel_maintenance_workers",
    "max_parallel_workers",
    "max_parallel_workers_per_gather",
    "min_parallel_index_scan_size",
    "min_parallel_table_scan_size",
    "parallel_leader_participation",
    "parallel_setup_cost",
    "parallel_tuple_cost",
    "plan_cache_mode",
    "quote_all_identifiers",
    "random_page_cost",
    "recursive_worktable_factor",
    "restrict_nonsystem_relation_kind",
    "row_security",
    "search_path",
    "seed",
    "seq_page_cost",
    "standard_conforming_strings",
    "statement_timeout",
    "stats_fetch_consistency",
    "synchronize_seqscans",
    "synchronous_commit",
    "temp_buffers",
    "timezone",
    "timezone_abbreviations",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_read_only",
    "transaction_timeout",
    "work_mem",
    "xmlbinary",
    "xmloption",
];

/// Settings whose values are secrets, paths, addresses or commands.
const HIDDEN: &[&str] = &[
    "archive_cleanup_command",
    "archive_command",
    "archive_library",
    "config_file",
    "data_directory",
    "dynamic_library_path",
    "extension_control_path",
    "external_pid_file",
    "hba_file",
    "ident_file",
    "krb_server_keyfile",
    "local_preload_libraries",
    "log_directory",
    "log_filename",
    "primary_conninfo",
    "primary_slot_name",
    "promote_trigger_file",
    "recovery_end_command",
    "recovery_init_sync_method",
    "restore_command",
    "session_preload_libraries",
    "shared_preload_libraries",
    "stats_temp_directory",
    "synchronous_standby_names",
    "synchronized_standby_slots",
    "unix_socket_directories",
];

/// Whether a setting may be changed, whatever to.
pub(super) fn is_harmless(name: &str) -> bool {
    HARMLESS.binary_search(&name).is_ok()
        || name.starts_with("enable_")
        || name.starts_with("geqo")
        // Not jit_provider and jit_debugging_support, which load code and write files.
        || matches!(name, "jit" | "jit_above_cost" | "jit_inline_above_cost"
            | "jit_optimize_above_cost" | "jit_expressions" | "jit_tuple_deforming")
}

/// Whether a setting's value may be shown to any holder of a live grant.
pub(super) fn may_show(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    // Settings of extensions and applications often carry keys.
    !name.contains('.')
        && !name.starts_with("ssl")
        && !name.starts_with("oauth")
        && !HIDDEN.contains(&name.as_str())
}

/// Whether a session without a live grant may see a setting: those that it may change, and those
/// that the server reports to every client anyway.
pub(super) fn is_public(name: &str) -> bool {
    is_harmless(name)
        || matches!(
            name,
            "server_version"
                | "server_version_num"
                | "server_encoding"
                | "is_superuser"
                | "integer_datetimes"
                | "in_hot_standby"
                | "session_authorization"
        )
}

/// Checks that a setting, lower-case, may be set.
///
/// `values` are the literals that it is set to, `None` when it goes back to its default (which is
/// what the proxy opened the session with), an empty list when they are not literals.
pub(super) fn check_set(name: &str, values: Option<&[&str]>) -> Walked {
    if matches!(name, "role" | "session_authorization") {
        return unsupported_hint(
            "Roles are not changed inside a session.",
            "Request the privileges that are missing: CALL daypass.request(…).",
        );
    }
    if name.starts_with("daypass.") {
        return unsupported("Settings of Daypass are not changed by statements.");
    }
    if !is_harmless(name) {
        return unsupported(format!("The setting {name} may not be changed here."));
    }
    let Some(values) = values else { return Ok(()) };
    let is = |wanted: &[&str]| match values {
        [value] => wanted.contains(&value.to_ascii_lowercase().as_str()),
        _ => false,
    };
    match name {
        // What text means must stay what the analysis takes it to mean.
        "client_encoding" if !is(&["utf8", "utf-8", "unicode", "utf_8"]) => unsupported_hint(
            "Only the client encoding UTF8 is supported.",
            "SET client_encoding TO 'UTF8'",
        ),
        "standard_conforming_strings" if !is(&["on", "true", "yes", "1", "t", "y"]) => {
            unsupported("standard_conforming_strings stays on: the analysis depends on it.")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{HARMLESS, check_set, is_harmless, may_show};

    #[test]
    fn the_list_is_sorted_and_safe() {
        assert!(HARMLESS.is_sorted());
        for name in [
            "role",
            "session_authorization",
            "session_replication_role",
            "a.b",
            "daypass.x",
            "local_preload_libraries",
            "lo_compat_privileges",
            "log_statement",
            "allow_system_table_mods",
            "jit_provider",
            "default_tablespace",
            "temp_tablespaces",
            "password_encryption",
            "zero_damaged_pages",
            "ignore_system_indexes",
            "plpgsql.extra_errors",
            "backslash_quote",
        ] {
            assert!(!is_harmless(name), "{name}");
            assert!(check_set(name, None).is_err(), "{name}");
        }
        assert!(check_set("client_encoding", Some(&["UTF8"])).is_ok());
        assert!(check_set("client_encoding", Some(&["gbk"])).is_err());
        assert!(check_set("client_encoding", Some(&[])).is_err());
        assert!(check_set("standard_conforming_strings", Some(&["off"])).is_err());
        // Off makes the server refuse where it would filter, so that pg_dump never misses rows unseen.
        assert!(check_set("row_security", Some(&["off"])).is_ok());
        assert!(may_show("server_version") && !may_show("SSL_key_file") && !may_show("app.jwt"));
    }
}
