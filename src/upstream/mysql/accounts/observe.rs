//! What a server has of accounts, as its own tables say it.

use std::collections::{BTreeMap, HashSet};

use super::described;
use super::names::{Names, PREFIX};
use super::plan::{Account, Identity};
use super::powers::Powers;
use super::rights::{Held, Place, Right, SchemaNames, unescaped};
use super::verifier::Plugin;
use crate::sql::Engine;
use crate::sql::access::Operation;
use crate::sql::mysql::Flavour;
use crate::sql::name::QualifiedName;
use crate::upstream::client::Bounds;
use crate::upstream::error::UpstreamError;
use crate::upstream::mysql::client::{self, Row};
use crate::upstream::mysql::connect::Connection;

/// The service account, and what it may do where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name, and the host part of the account that it was let in as.
    pub identity: Identity,
    /// Which server.
    pub flavour: Flavour,
    /// How names of databases are read in a GRANT.
    pub schema_names: SchemaNames,
    /// Names of databases and tables are kept in lower case.
    pub folds: bool,
    /// How accounts prove their password.
    pub plugin: Plugin,
    /// What it may do.
    pub powers: Powers,
}

/// Nothing that the server may have set for every session changes how our statements are read, cuts their results
/// short, or has them wait for ever. On MariaDB a GRANT would make an account that has just gone.
pub const fn session(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::MariaDb => {
            "SET NAMES utf8mb4, SESSION sql_mode = 'NO_AUTO_CREATE_USER', \
             SESSION sql_select_limit = 18446744073709551615, SESSION lock_wait_timeout = 5, \
             SESSION max_statement_time = 0"
        }
        Flavour::MySql => {
            "SET NAMES utf8mb4, SESSION sql_mode = '', \
             SESSION sql_select_limit = 18446744073709551615, SESSION lock_wait_timeout = 5, \
             SESSION max_execution_time = 0"
        }
    }
}

/// Which server a connection leads to.
pub fn flavour(connection: &Connection) -> Flavour {
    if connection.greeting.is_mariadb() { Flavour::MariaDb } else { Flavour::MySql }
}

/// Reads what there is to know of the server and our account there.
///
/// # Errors
/// When a statement fails.
pub async fn service(connection: &mut Connection) -> Result<Service, UpstreamError> {
    let flavour = flavour(connection);
    let facts = match flavour {
        Flavour::MySql => {
            "SELECT CURRENT_USER(), @@GLOBAL.lower_case_table_names, \
             0 /*!80016 + @@GLOBAL.partial_revokes */, 0"
        }
        Flavour::MariaDb => {
            "SELECT CURRENT_USER(), @@GLOBAL.lower_case_table_names, 0, COUNT(*) \
             FROM information_schema.plugins \
             WHERE plugin_name = 'ed25519' AND plugin_status = 'ACTIVE'"
        }
    };
    let mut found = None;
    client::each_row(connection, facts, Bounds::default(), |mut row| {
        let (user, folds) = (row.text()?.to_owned(), row.text()? != "0");
        found = Some((user, folds, row.text()? != "0", row.text()? != "0"));
        Ok(())
    })
    .await?;
    let Some((user, folds, literal, ed25519)) = found else {
        return Err(UpstreamError::Catalog("no settings".to_owned()));
    };
    let (user, host) = user.rsplit_once('@').unwrap_or((&user, ""));
    Ok(Service {
        identity: Identity { user: user.to_owned(), host: host.to_owned() },
        flavour,
        schema_names: if literal { SchemaNames::Literal } else { SchemaNames::Patterns },
        folds,
        plugin: match (flavour, ed25519) {
            (Flavour::MySql, _) => Plugin::CachingSha2,
            (Flavour::MariaDb, true) => Plugin::Ed25519,
            (Flavour::MariaDb, false) => Plugin::Native,
        },
        powers: powers(connection, flavour).await?,
    })
}

/// What the service account may do, by itself and through roles that its sessions have.
async fn powers(connection: &mut Connection, flavour: Flavour) -> Result<Powers, UpstreamError> {
    let show = match flavour {
        // With the roles of the session in it.
        Flavour::MariaDb => "SHOW GRANTS".to_owned(),
        Flavour::MySql => {
            let roles = client::query(connection, "SELECT CURRENT_ROLE()").await?;
            match roles.into_iter().flatten().flatten().next() {
                Some(roles) if roles != "NONE" => {
                    format!("SHOW GRANTS FOR CURRENT_USER() USING {roles}")
                }
                _ => "SHOW GRANTS FOR CURRENT_USER()".to_owned(),
            }
        }
    };
    let lines = client::query(connection, &show).await?;
    let lines: Vec<_> = lines.into_iter().flatten().flatten().collect();
    Ok(Powers::read(lines.iter().map(String::as_str)))
}

/// Reads the accounts with a name of ours, whatever their host.
///
/// # Errors
/// When a statement fails, for want of SELECT on the database `mysql` say.
pub async fn accounts(
    connection: &mut Connection,
    service: &Service,
    names: &Names,
) -> Result<BTreeMap<Identity, (Account, Proof)>, UpstreamError> {
    let mut accounts = BTreeMap::new();
    let columns = match service.flavour {
        Flavour::MariaDb => "priv, '', '', '', '', '', '', '', '' FROM mysql.global_priv",
        Flavour::MySql => {
            "plugin, authentication_string, account_locked, password_expired, \
             password_lifetime, ssl_type, \
             max_questions + max_updates + max_connections + max_user_connections, \
             user_attributes, '' FROM mysql.user"
        }
    };
    let sql = format!("SELECT user, host, {columns} WHERE user LIKE {}", ours());
    client::each_row(connection, &sql, Bounds::default(), |mut row| {
        let identity = Identity { user: row.text()?.to_owned(), host: row.text()?.to_owned() };
        if names.is_ours(&identity.user) {
            let described = match service.flavour {
                Flavour::MariaDb => described::mariadb(row.text()?),
                Flavour::MySql => mysql(row)?,
            };
            let account = Account {
                locked: described.locked,
                fits: described.plain,
                strange: described.strange,
                ..Account::default()
            };
            let proof = Proof { plugin: described.plugin, verifier: described.verifier };
            accounts.insert(identity, (account, proof));
        }
        Ok(())
    })
    .await?;
    let mut rights =
        all_held(connection, &format!("LIKE {}", like("'")), service.schema_names).await?;
    for (identity, (account, _)) in &mut accounts {
        // Each account has a line, without any right, too, where all can be seen.
        account.held = rights.remove(identity).ok_or_else(|| unseen(service))?;
    }
    for identity in tied(connection, service.flavour).await? {
        if let Some((account, _)) = accounts.get_mut(&identity) {
            account.strange = true;
        }
    }
    let busy = busy(connection, service).await?;
    for (identity, (account, _)) in &mut accounts {
        account.busy = busy.as_ref().is_none_or(|busy| busy.contains(&identity.user));
    }
    Ok(accounts)
}

/// How an account proves its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// By which plugin.
    pub plugin: String,
    /// What the server keeps for it.
    pub verifier: String,
}

fn mysql(mut row: Row<'_>) -> Result<described::Described, UpstreamError> {
    let columns = described::Columns {
        plugin: row.text()?,
        verifier: row.value()?.unwrap_or_default(),
        locked: row.text()? == "Y",
        expired: row.text()? == "Y",
        lifetime: row.value()?,
        ssl: row.text()?,
        limits: row.text()?,
        attributes: row.value()?,
    };
    Ok(described::mysql(&columns))
}

/// That rights of others cannot be seen.
pub fn unseen(service: &Service) -> UpstreamError {
    let name = service.identity.quoted();
    let why = format!(
        "the service account {name} does not see what others may do: GRANT SELECT ON `mysql`.* TO {name}, or write \
         second-lock = \"none\""
    );
    UpstreamError::Roles(why.into())
}

/// Accounts with a name of ours that are a role of another, have one, or stand for another.
async fn tied(
    connection: &mut Connection,
    flavour: Flavour,
) -> Result<Vec<Identity>, UpstreamError> {
    let ours = ours();
    let roles = match flavour {
        Flavour::MariaDb => {
            format!("SELECT user, host FROM mysql.roles_mapping WHERE user LIKE {ours}")
        }
        Flavour::MySql => format!(
            "SELECT from_user, from_host FROM mysql.role_edges WHERE from_user LIKE {ours} \
             UNION SELECT to_user, to_host FROM mysql.role_edges WHERE to_user LIKE {ours}"
        ),
    };
    let sql = format!(
        "{roles} UNION SELECT user, host FROM mysql.proxies_priv WHERE user LIKE {ours} \
         UNION SELECT proxied_user, proxied_host FROM mysql.proxies_priv \
         WHERE proxied_user LIKE {ours}"
    );
    let mut found = Vec::new();
    client::each_row(connection, &sql, Bounds::default(), |mut row| {
        found.push(Identity { user: row.text()?.to_owned(), host: row.text()?.to_owned() });
        Ok(())
    })
    .await?;
    Ok(found)
}

/// Names of accounts that have a session; `None` when the service account does not see others'.
async fn busy(
    connection: &mut Connection,
    service: &Service,
) -> Result<Option<HashSet<String>>, UpstreamError> {
    if !service.powers.has("PROCESS") {
        return Ok(None);
    }
    let mut busy = HashSet::new();
    client::each_row(connection, "SHOW PROCESSLIST", Bounds::default(), |mut row| {
        let (_, user) = (row.value()?, row.value()?);
        busy.extend(user.map(str::to_owned));
        Ok(())
    })
    .await?;
    Ok(Some(busy))
}

/// Accounts of ours whose rights a view, routine, trigger or event runs with.
///
/// # Errors
/// When a statement fails.
pub async fn definers(connection: &mut Connection) -> Result<HashSet<Identity>, UpstreamError> {
    let mut found = HashSet::new();
    for table in ["views", "routines", "triggers", "events"] {
        let sql = format!(
            "SELECT DISTINCT definer FROM information_schema.{table} WHERE definer LIKE {}",
            ours()
        );
        client::each_row(connection, &sql, Bounds::default(), |mut row| {
            if let Some((user, host)) = row.text()?.rsplit_once('@') {
                found.insert(Identity { user: user.to_owned(), host: host.to_owned() });
            }
            Ok(())
        })
        .await?;
    }
    Ok(found)
}

/// Reads what an account holds. Its name and host are the server's own spelling; the connection reads strings as
/// [`session`] has it.
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
    let held = all_held(connection, &format!("= {grantee}"), names).await?;
    Ok(held.into_values().next().unwrap_or_default())
}

/// What accounts hold whose name as a grantee is so.
async fn all_held(
    connection: &mut Connection,
    condition: &str,
    names: SchemaNames,
) -> Result<BTreeMap<Identity, Held>, UpstreamError> {
    let rows = |columns: &str, table: &str| {
        format!(
            "SELECT grantee, {columns}, privilege_type, is_grantable, '' \
             FROM information_schema.{table} WHERE grantee {condition}"
        )
    };
    let routines = format!(
        "SELECT * FROM (SELECT CONCAT('''', user, '''@''', host, '''') AS grantee, db, routine_name, '', \
         proc_priv, 'NO', routine_type FROM mysql.procs_priv) priv WHERE grantee {condition}"
    );
    let parts = [
        rows("'', '', ''", "user_privileges"),
        rows("table_schema, '', ''", "schema_privileges"),
        rows("table_schema, table_name, ''", "table_privileges"),
        rows("table_schema, table_name, column_name", "column_privileges"),
        routines,
    ];
    let mut all: BTreeMap<Identity, Held> = BTreeMap::new();
    for sql in &parts {
        client::each_row(connection, sql, Bounds::default(), |mut row| {
            let identity = grantee(row.text()?);
            take(all.entry(identity).or_default(), row, names)
        })
        .await?;
    }
    Ok(all)
}

fn take(held: &mut Held, mut row: Row<'_>, names: SchemaNames) -> Result<(), UpstreamError> {
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
        let operation = operations.iter().find(|it| it.to_string().eq_ignore_ascii_case(privilege));
        match (operation, &place) {
            (Some(&operation), Some(place)) if !grantable => {
                held.rights.insert(Right { place: place.clone(), operation });
            }
            _ => held.foreign.push(format!("{privilege} {schema} {name} {third}")),
        }
    }
    Ok(())
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

/// `'user'@'host'` as `information_schema` writes it: nothing in it is escaped. Names of ours have no quotes.
fn grantee(text: &str) -> Identity {
    let (user, host) = text.split_once("'@'").unwrap_or((text, ""));
    let user = user.strip_prefix('\'').unwrap_or(user);
    let host = host.strip_suffix('\'').unwrap_or(host);
    Identity { user: user.to_owned(), host: host.to_owned() }
}

/// A pattern for LIKE that matches the names of our accounts.
fn ours() -> String {
    like("")
}

fn like(before: &str) -> String {
    hex(&format!("{before}{}%", PREFIX.replace('_', "\\_")))
}

/// Text as a literal that no setting of a session reads otherwise.
pub fn hex(text: &str) -> String {
    let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("_utf8mb4 0x{digits}")
}
