//! The server's own databases: what of them everybody may read.

/// Databases whose names have no case, and whose tables are the server's.
pub(super) const SYSTEM: [&str; 4] = ["information_schema", "performance_schema", "mysql", "sys"];

/// Tables of `information_schema` that name what there is, and no more. The rest shows definitions, other
/// sessions or accounts as the service account sees them, and takes a privilege.
const NAMES: [&str; 26] = [
    "applicable_roles",
    "character_sets",
    "check_constraints",
    "collation_character_set_applicability",
    "collations",
    "column_statistics",
    "columns",
    "columns_extensions",
    "enabled_roles",
    "engines",
    "files",
    "global_variables",
    "key_column_usage",
    "key_caches",
    "keywords",
    "partitions",
    "plugins",
    "referential_constraints",
    "schemata",
    "session_variables",
    "sql_functions",
    "statistics",
    "system_variables",
    "table_constraints",
    "tables",
    "st_geometry_columns",
];

/// Tables of `performance_schema` that the server lets everybody read.
const SETTINGS: [&str; 4] =
    ["global_status", "global_variables", "session_status", "session_variables"];

/// Whether everybody may read a table of the server's own.
pub(super) fn is_public(database: &str, table: &str) -> bool {
    match database {
        "information_schema" => NAMES.contains(&table),
        "performance_schema" => SETTINGS.contains(&table),
        _ => false,
    }
}
