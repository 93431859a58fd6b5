//! What an account holds, as the server's own tables of rights say it.

use std::collections::BTreeSet;

use super::rights::{Place, Right, SchemaNames, unescaped};

use crate::sql::Engine;
use crate::sql::access::Operation;
use crate::sql::name::QualifiedName;
use crate::upstream::client::Bounds;
use crate::upstream::error::UpstreamError;
use crate::upstream::mysql::client;
use crate::upstream::mysql::connect::Connection;

/// Rights of one account. What comes to it by roles is not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Those that a grant can ask for.
    pub rights: BTreeSet<Right>,
    /// What none of ours may hold, as text: with GRANT OPTION, on a pattern of databases, of another kind.
    pub foreign: Vec<String>,
}

/// Reads what an account holds. Its name and host are the server's own spelling; the connection reads strings as
/// the catalog's does.
///
/// # Errors
/// When a statement fails, for want of SELECT on the database `mysql` say.
pub async fn held(
    connection: &mut Connection,
    user: &str,
    host: &str,
    names: SchemaNames,
) -> Result<Held, UpstreamError> {
    let grantee = hex(&format!("'{user}'@'{host}'"));
    let (user, host) = (hex(user), hex(host));
    let rows = |columns: &str, table: &str| {
        format!(
            "SELECT {columns}, privilege_type, is_grantable, '' FROM information_schema.{table} \
             WHERE grantee = {grantee}"
        )
    };
    let routines = format!(
        "SELECT db, routine_name, '', proc_priv, 'NO', routine_type FROM mysql.procs_priv \
         WHERE user = {user} AND host = {host}"
    );
    let parts = [
        rows("'', '', ''", "user_privileges"),
        rows("table_schema, '', ''", "schema_privileges"),
        rows("table_schema, table_name, ''", "table_privileges"),
        rows("table_schema, table_name, column_name", "column_privileges"),
        routines,
    ];
    let mut held = Held::default();
    for sql in &parts {
        client::each_row(connection, sql, Bounds::default(), |mut row| {
            let (schema, name, third) = (row.text()?, row.text()?, row.text()?);
            let (privileges, grantable) = (row.text()?, row.text()? == "YES");
            let place = match row.text()? {
                "" => place(schema, name, third, names),
                "FUNCTION" => Some(Place::Function(routine(schema, name))),
                "PROCEDURE" => Some(Place::Procedure(routine(schema, name))),
                _ => None,
            };
            for privilege in privileges.split(',').filter(|it| *it != "USAGE" && !it.is_empty()) {
                let operations = Operation::of(Engine::Mysql);
                let operation =
                    operations.iter().find(|it| it.to_string().eq_ignore_ascii_case(privilege));
                match (operation, &place) {
                    (Some(&operation), Some(place)) if !grantable => {
                        held.rights.insert(Right { place: place.clone(), operation });
                    }
                    _ => held.foreign.push(format!("{privilege} {schema} {name} {third}")),
                }
            }
            Ok(())
        })
        .await?;
    }
    Ok(held)
}

fn place(schema: &str, name: &str, third: &str, names: SchemaNames) -> Option<Place> {
    let qualified = || QualifiedName::new(schema, name);
    Some(match (schema, name, third) {
        ("", "", "") => Place::Global,
        (schema, "", "") => Place::Schema(unescaped(schema, names)?),
        (_, _, "") => Place::Table(qualified()),
        (_, _, column) => Place::Column(qualified(), column.to_lowercase().into()),
    })
}

fn routine(schema: &str, name: &str) -> QualifiedName {
    QualifiedName::new(schema, name.to_lowercase())
}

/// Text as a literal that no setting of a session reads otherwise.
fn hex(text: &str) -> String {
    let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("_utf8mb4 0x{digits}")
}
