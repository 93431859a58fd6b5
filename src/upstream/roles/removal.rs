//! What keeps a role of ours from being dropped: rights and objects in any database of the cluster, which
//! only somebody else, or a hole in the first lock, can have given it.

use super::action::{OPTIONS_SINCE, literal, name};
use super::service::Service;
use crate::upstream::APPLICATION_NAME;
use crate::upstream::client;
use crate::upstream::connect::{Connection, connect};
use crate::upstream::error::UpstreamError;
use crate::upstream::login::Startup;
use crate::upstream::target::Target;

/// Takes from a role everything that it holds or owns, database by database. What it owned is the
/// service account's afterwards: nobody's data is lost.
///
/// # Errors
/// When one of the databases lets the service account do less than that.
pub(super) async fn dispossess(
    connection: &mut Connection,
    target: &Target,
    service: &Service,
    role: &str,
) -> Result<(), UpstreamError> {
    let sql = format!(
        "SELECT datname FROM pg_database WHERE datallowconn AND (datname = current_database() \
         OR oid IN (SELECT dbid FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass \
             AND refobjid = (SELECT oid FROM pg_roles WHERE rolname = {})))",
        literal(role)
    );
    let databases = client::query(connection, &sql).await?;
    if !service.superuser {
        let options = service.server_version >= OPTIONS_SINCE;
        let inherits = if options { " WITH INHERIT TRUE, SET FALSE" } else { "" };
        let sql = format!("GRANT {} TO {}{inherits}", name(role), name(&service.name));
        client::query(connection, &sql).await?;
    }
    let sql = format!(
        "SET lock_timeout = '1s'; REASSIGN OWNED BY {0} TO {1}; DROP OWNED BY {0}",
        name(role),
        name(&service.name)
    );
    for database in databases.into_iter().flatten().flatten() {
        let startup = Startup { application_name: APPLICATION_NAME.into(), ..Startup::default() };
        let mut there = connect(&Target { database, ..target.clone() }, &startup).await?;
        client::query(&mut there, &sql).await?;
    }
    Ok(())
}
