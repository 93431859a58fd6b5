//! What an operator should know of a server: what the service account lacks for the second lock, which accounts come
//! before ours, and what everybody may do there.

use std::collections::BTreeSet;
use std::time::Duration;

use super::names::{Names, PREFIX};
use super::observe::{self, Service, hex};
use super::plan::Identity;
use super::powers::split_grant;
use super::rights::{Right, SYSTEM, Verb, by_statement, escaped, quoted, statement};
use super::verifier::Plugin;
use crate::sql::mysql::Flavour;
use crate::upstream::client::Bounds;
use crate::upstream::connect::within;
use crate::upstream::error::UpstreamError;
use crate::upstream::lock::{Finding, Weight};
use crate::upstream::mysql::client;
use crate::upstream::mysql::connect::{Connection, connect};
use crate::upstream::mysql::login::Startup;
use crate::upstream::mysql::target::Target;

const DEADLINE: Duration = Duration::from_secs(20);

/// From which MariaDB on there is something that everybody has.
const PUBLIC_SINCE: u32 = 101_100;

/// Looks at a server as the service account. `names` are those of its accounts, where it has a second lock, and
/// `host` their host part.
///
/// # Errors
/// When the server cannot be asked.
pub async fn check(
    target: &Target,
    names: Option<&Names>,
    host: &str,
) -> Result<Vec<Finding>, UpstreamError> {
    let look = async {
        let mut connection = connect(target, &Startup::default()).await?;
        let flavour = observe::flavour(&connection);
        client::query(&mut connection, observe::session(flavour)).await?;
        let service = observe::service(&mut connection).await?;
        let mut findings = account(&service);
        databases(&mut connection, &service, &mut findings).await?;
        if sees_accounts(&service) {
            before_ours(&mut connection, names, host, &mut findings).await?;
            open_databases(&mut connection, &mut findings).await?;
        }
        match flavour {
            Flavour::MariaDb => of_mariadb(&mut connection, &service, &mut findings).await?,
            Flavour::MySql => of_mysql(&mut connection, &service, &mut findings).await?,
        }
        at_login(&mut connection, &mut findings).await?;
        findings.sort_by_key(|finding| finding.weight);
        Ok(findings)
    };
    within(DEADLINE, "looking at the server", look).await
}

/// What live grants allow, and the service account may not give. The SQL is for an administrator.
pub fn lacking(rights: &BTreeSet<Right>, service: &Service) -> Vec<Finding> {
    let name = service.identity.quoted();
    let finding = |group: &BTreeSet<Right>| {
        let sql = statement(Verb::Grant, &name, group, service.schema_names);
        Finding {
            weight: Weight::Error,
            says: format!("live grants allow what the service account {name} may not give"),
            mend: Some(format!("{sql} WITH GRANT OPTION;")),
        }
    };
    by_statement(rights.iter()).iter().map(finding).collect()
}

fn sees_accounts(service: &Service) -> bool {
    service.powers.has_on("SELECT", "mysql", service.schema_names)
}

fn account(service: &Service) -> Vec<Finding> {
    let name = service.identity.quoted();
    let mut findings = Vec::new();
    let mut lacks = |weight, has: bool, right: &str, on: &str, so: &str| {
        if !has {
            let says = format!("the service account {name} lacks {right} ON {on}: {so}");
            let mend = Some(format!("GRANT {right} ON {on} TO {name};"));
            findings.push(Finding { weight, says, mend });
        }
    };
    let has = |right| service.powers.has(right);
    let kills = match service.flavour {
        Flavour::MariaDb => "CONNECTION ADMIN",
        Flavour::MySql => "CONNECTION_ADMIN",
    };
    let error = Weight::Error;
    lacks(error, has("CREATE USER"), "CREATE USER", "*.*", "there can be no second lock");
    let sees = sees_accounts(service);
    lacks(error, sees, "SELECT", "`mysql`.*", "it does not see what accounts may do");
    lacks(
        error,
        has(kills) || has("SUPER"),
        kills,
        "*.*",
        "it cannot stop what others run when their grant ends",
    );
    lacks(
        Weight::Warning,
        has("PROCESS"),
        "PROCESS",
        "*.*",
        "it does not see which accounts are in use, so they are closed and never dropped",
    );
    findings
}

/// Databases on which the service account can give nobody anything.
async fn databases(
    connection: &mut Connection,
    service: &Service,
    findings: &mut Vec<Finding>,
) -> Result<(), UpstreamError> {
    let sql = "SELECT schema_name FROM information_schema.schemata ORDER BY 1";
    client::each_row(connection, sql, Bounds::default(), |mut row| {
        let database = row.text()?;
        let system = SYSTEM.iter().any(|it| database.eq_ignore_ascii_case(it));
        if system || service.powers.gives("SELECT", database, service.schema_names) {
            return Ok(());
        }
        let name = service.identity.quoted();
        let pattern = quoted(&escaped(database, service.schema_names));
        findings.push(Finding {
            weight: Weight::Error,
            says: format!(
                "the service account {name} may give nobody SELECT on database {database}"
            ),
            mend: Some(format!("GRANT ALL ON {pattern}.* TO {name} WITH GRANT OPTION;")),
        });
        Ok(())
    })
    .await
}

/// Accounts that somebody who logs in as ours may be taken for: the server looks for the most specific host first, and
/// for the name only then.
async fn before_ours(
    connection: &mut Connection,
    names: Option<&Names>,
    host: &str,
    findings: &mut Vec<Finding>,
) -> Result<(), UpstreamError> {
    let sql = format!(
        "SELECT user, host FROM mysql.user WHERE user = '' OR user LIKE {} ORDER BY 1, 2",
        hex(&format!("{}%", PREFIX.replace('_', "\\_")))
    );
    client::each_row(connection, &sql, Bounds::default(), |mut row| {
        let found = Identity { user: row.text()?.to_owned(), host: row.text()?.to_owned() };
        let whose = found.quoted();
        let mend = Some(format!("DROP USER {whose};"));
        let from = &found.host;
        let finding = if found.user.is_empty() && *from == *host {
            let says = format!("anybody may log in from {from} by the anonymous account {whose}");
            Finding { weight: Weight::Warning, says, mend }
        } else if found.user.is_empty() {
            let says = format!(
                "the anonymous account {whose} comes before ours for whoever logs in from {from}"
            );
            Finding { weight: Weight::Error, says, mend }
        } else if !names.is_some_and(|names| names.is_ours(&found.user)) {
            let says = format!(
                "account {whose} is not of this entry and key: it belongs to another database or proxy, or was left \
                 when role-key-file was replaced"
            );
            Finding { weight: Weight::Note, says, mend: None }
        } else if *from == *host {
            return Ok(());
        } else {
            let says = format!(
                "account {whose} comes before the one of that name from {host}; it is dropped at the next look"
            );
            Finding { weight: Weight::Error, says, mend }
        };
        findings.push(finding);
        Ok(())
    })
    .await
}

/// Rights on databases that are nobody's are everybody's.
async fn open_databases(
    connection: &mut Connection,
    findings: &mut Vec<Finding>,
) -> Result<(), UpstreamError> {
    let sql = "SELECT db, host FROM mysql.db WHERE user = '' ORDER BY 1, 2";
    client::each_row(connection, sql, Bounds::default(), |mut row| {
        let (database, host) = (row.text()?, row.text()?);
        findings.push(Finding {
            weight: Weight::Warning,
            says: format!("everybody from {host} has rights on database {database}"),
            mend: Some(format!(
                "DELETE FROM mysql.db WHERE user = '' AND db = {} AND host = {}; FLUSH PRIVILEGES;",
                hex(database),
                hex(host)
            )),
        });
        Ok(())
    })
    .await
}

async fn of_mariadb(
    connection: &mut Connection,
    service: &Service,
    findings: &mut Vec<Finding>,
) -> Result<(), UpstreamError> {
    if connection.greeting.version_number() >= PUBLIC_SINCE && sees_accounts(service) {
        let lines = match client::query(connection, "SHOW GRANTS FOR PUBLIC").await {
            // Nobody has given it anything yet.
            Err(UpstreamError::MysqlFailed { .. }) => Vec::new(),
            result => result?,
        };
        for line in lines.iter().flatten().flatten() {
            let Some((rights, place, _)) = split_grant(line) else { continue };
            findings.push(Finding {
                weight: Weight::Warning,
                says: format!("everybody has {rights} on {place}"),
                mend: Some(format!("REVOKE {rights} ON {place} FROM PUBLIC;")),
            });
        }
    }
    let validated = "SELECT COUNT(*) FROM information_schema.plugins \
        WHERE plugin_type = 'PASSWORD VALIDATION' AND plugin_status = 'ACTIVE' \
        AND @@GLOBAL.strict_password_validation";
    if first(connection, validated).await? != "0" {
        findings.push(Finding {
            weight: Weight::Error,
            says: "the server takes no password that it has not seen in clear, so there can be no second lock"
                .to_owned(),
            mend: Some("SET GLOBAL strict_password_validation = OFF;".to_owned()),
        });
    }
    if service.plugin == Plugin::Native {
        findings.push(Finding {
            weight: Weight::Note,
            says: "accounts prove their passwords by mysql_native_password, for want of ed25519"
                .to_owned(),
            mend: Some("INSTALL SONAME 'auth_ed25519';".to_owned()),
        });
    }
    Ok(())
}

async fn of_mysql(
    connection: &mut Connection,
    service: &Service,
    findings: &mut Vec<Finding>,
) -> Result<(), UpstreamError> {
    const LOADABLE: &str = "performance_schema.user_defined_functions";
    let sql = format!("SELECT udf_name FROM {LOADABLE} LIMIT 0");
    match client::query(connection, &sql).await {
        Ok(_) => {}
        Err(UpstreamError::MysqlFailed { .. }) => {
            let name = service.identity.quoted();
            findings.push(Finding {
                weight: Weight::Error,
                says: format!(
                    "the service account {name} lacks SELECT ON {LOADABLE}: no names can be read"
                ),
                mend: Some(format!("GRANT SELECT ON {LOADABLE} TO {name};")),
            });
        }
        Err(error) => return Err(error),
    }
    let roles = first(connection, "SELECT @@GLOBAL.mandatory_roles").await?;
    if !roles.is_empty() {
        findings.push(Finding {
            weight: Weight::Warning,
            says: format!("everybody has the roles {roles}"),
            mend: Some("SET PERSIST mandatory_roles = '';".to_owned()),
        });
    }
    Ok(())
}

/// What the server runs at logins of accounts that may not do everything.
async fn at_login(
    connection: &mut Connection,
    findings: &mut Vec<Finding>,
) -> Result<(), UpstreamError> {
    if !first(connection, "SELECT @@GLOBAL.init_connect").await?.is_empty() {
        findings.push(Finding {
            weight: Weight::Note,
            says: "init_connect runs at the beginning of every session of our accounts".to_owned(),
            mend: None,
        });
    }
    Ok(())
}

async fn first(connection: &mut Connection, sql: &str) -> Result<String, UpstreamError> {
    let rows = client::query(connection, sql).await?;
    Ok(rows.into_iter().flatten().flatten().next().unwrap_or_default())
}
