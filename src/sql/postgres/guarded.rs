//! Which system relations need a grant of their own, and which are harmless knowledge.

/// Relations of `pg_catalog` and `information_schema` that hold secrets, data of tables, or other
/// people's activity. Through one shared service account the server masks nothing of this.
const GUARDED: &[&str] = &[
    // Secrets: password verifiers, connection strings, options of user mappings.
    "_pg_user_mappings",
    "pg_authid",
    "pg_shadow",
    "pg_subscription",
    "pg_user_mapping",
    "pg_user_mappings",
    "user_mapping_options",
    // Data of tables: samples of columns, large objects.
    "pg_largeobject",
    "pg_statistic",
    "pg_statistic_ext_data",
    "pg_stats",
    "pg_stats_ext",
    "pg_stats_ext_exprs",
    // Configuration with paths, addresses and commands. (pg_settings is not here although a superuser
    // reads primary_conninfo in it: pgAdmin, DBeaver and \dconfig need it. The second lock hides that.)
    "pg_config",
    "pg_file_settings",
    "pg_hba_file_rules",
    "pg_ident_file_mappings",
    // What the server's own ACL keeps from PUBLIC: parts of information_schema's views.
    "_pg_foreign_data_wrappers",
    "_pg_foreign_servers",
    "_pg_foreign_table_columns",
    "_pg_foreign_tables",
    "sql_parts",
    "transforms",
    // Other people's activity. pg_locks shows who works on which table, so it is here too, although
    // PUBLIC may read it in PostgreSQL.
    "pg_aios",
    "pg_backend_memory_contexts",
    "pg_locks",
    "pg_prepared_xacts",
    "pg_replication_origin_status",
    "pg_replication_slots",
    "pg_shmem_allocations",
    "pg_shmem_allocations_numa",
    "pg_dsm_registry_allocations",
    "pg_stat_activity",
    "pg_stat_gssapi",
    "pg_stat_replication",
    "pg_stat_replication_slots",
    "pg_stat_ssl",
    "pg_stat_statements",
    "pg_stat_statements_info",
    "pg_stat_subscription",
    "pg_stat_subscription_stats",
    "pg_stat_wal_receiver",
];

/// Guarded relations that PUBLIC may read but for these columns: pg_dump counts subscriptions.
const SECRET_COLUMNS: &[(&str, &[&str])] = &[("pg_subscription", &["subconninfo"])];

/// Whether a column of a guarded relation is harmless knowledge; `None` is any column.
pub(super) fn is_open_column(relation: &str, column: Option<&str>) -> bool {
    SECRET_COLUMNS
        .iter()
        .any(|(known, secret)| *known == relation && column.is_none_or(|c| !secret.contains(&c)))
}

/// Whether a schema belongs to the server and not to its users.
pub(super) fn is_system_schema(schema: &str) -> bool {
    matches!(schema, "pg_catalog" | "information_schema" | "pg_toast")
        || schema.starts_with("pg_toast_temp_")
}

/// Whether a schema holds temporary objects.
pub(super) fn is_temporary_schema(schema: &str) -> bool {
    schema == "pg_temp" || schema.starts_with("pg_temp_")
}

/// Whether reading a system relation needs a SELECT privilege on it, and not just any live grant.
pub(super) fn is_guarded(schema: &str, relation: &str) -> bool {
    // TOAST tables hold the long values of other tables.
    schema.starts_with("pg_toast")
        || GUARDED.contains(&relation)
        || relation.starts_with("pg_stat_progress_")
}

#[cfg(test)]
mod tests {
    use super::is_guarded;

    #[test]
    fn tools_keep_their_catalogs() {
        for harmless in
            ["pg_class", "pg_attribute", "pg_roles", "pg_database", "pg_settings", "pg_namespace"]
        {
            assert!(!is_guarded("pg_catalog", harmless), "{harmless}");
        }
        assert!(is_guarded("pg_catalog", "pg_authid"));
        assert!(is_guarded("pg_catalog", "pg_stat_progress_vacuum"));
        assert!(is_guarded("information_schema", "transforms"));
        assert!(is_guarded("pg_toast", "pg_toast_16384"));
    }
}
