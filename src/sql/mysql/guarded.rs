//! The server's own databases: what of them everybody may read.

use super::settings::Flavour;
use crate::sql::catalog::RunsAs;

/// Databases whose names have no case, and whose tables are the server's.
pub(super) const SYSTEM: [&str; 4] = ["information_schema", "performance_schema", "mysql", "sys"];

/// Tables of `information_schema` that name what there is, and no more. The rest shows definitions, other
/// sessions or accounts as the service account sees them, and takes a privilege.
const NAMES: [&str; 27] = [
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
    "global_variables",
    "key_column_usage",
    "key_caches",
    "keywords",
    "parameters",
    "partitions",
    "plugins",
    "referential_constraints",
    "routine_libraries",
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
const STATUS: [&str; 2] = ["global_status", "session_status"];
/// And those that MySQL alone has.
const VARIABLES: [&str; 2] = ["global_variables", "session_variables"];

/// Tables of `information_schema` of which everybody may read all but these columns, which hold definitions.
const DEFINITIONS: [(&str, &[&str]); 5] = [
    ("events", &["event_definition"]),
    ("libraries", &["library_definition"]),
    ("routines", &["routine_definition"]),
    ("triggers", &["action_condition", "action_statement"]),
    ("views", &["view_definition"]),
];

/// What reading a table of the server's own takes.
pub(super) enum Reading {
    /// Nothing.
    Free,
    /// PROCESS.
    Process,
    /// SELECT on these columns; nothing for the others.
    Definitions(&'static [&'static str]),
    /// SELECT.
    Select,
}

/// Tables of `information_schema` that the server refuses to whoever lacks PROCESS, or shows nothing of; the rest it
/// shows in part.
fn is_of_process(table: &str) -> bool {
    table.starts_with("innodb_")
}

/// What reading a table of one of [`SYSTEM`] takes.
pub(super) fn reading(
    (database, table): (&str, &str),
    flavour: Flavour,
    runs_as: RunsAs,
) -> Reading {
    let open = match database {
        "information_schema" => NAMES.contains(&table),
        "performance_schema" => {
            let of_mysql = flavour == Flavour::MySql && VARIABLES.contains(&table);
            STATUS.contains(&table) || of_mysql
        }
        _ => false,
    };
    if open {
        return Reading::Free;
    }
    match (database, table) {
        ("information_schema", "files") => match flavour {
            // It has nothing in it, and lets everybody read that.
            Flavour::MariaDb => Reading::Free,
            Flavour::MySql => Reading::Process,
        },
        ("information_schema", _) if is_of_process(table) => Reading::Process,
        // Each account sees what it may.
        ("information_schema", _) if runs_as == RunsAs::OwnRole => Reading::Free,
        ("information_schema", _) => {
            let found = DEFINITIONS.iter().find(|(name, _)| *name == table);
            found.map_or(Reading::Select, |(_, columns)| Reading::Definitions(columns))
        }
        _ => Reading::Select,
    }
}
