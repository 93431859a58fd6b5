//! What stands between a `ddl-owner` and its work.

use super::super::action::{OPTIONS_SINCE, literal, name};
use super::super::observe::{self, DdlOwner};
use super::super::plan::Service;
use super::{Finding, USERS, Weight};
use crate::upstream::client::{self, Bounds};
use crate::upstream::connect::Connection;
use crate::upstream::error::UpstreamError;

/// Looks at the `ddl-owner`. `gives`: the service account makes roles of its own members of it, instead of
/// becoming it itself.
pub(super) async fn check(
    connection: &mut Connection,
    service: &Service,
    owner: &str,
    gives: bool,
) -> Result<Vec<Finding>, UpstreamError> {
    let mut findings = Vec::new();
    match observe::ddl_owner(connection, owner).await? {
        DdlOwner::Plain => (),
        DdlOwner::Missing => {
            findings.push(Finding {
                weight: Weight::Error,
                says: format!("there is no role {owner}, the ddl-owner"),
                mend: Some(format!("CREATE ROLE {} NOLOGIN;", name(owner))),
            });
            return Ok(findings);
        }
        DdlOwner::Superuser => findings.push(Finding {
            weight: Weight::Error,
            says: format!("the ddl-owner {owner} is a superuser, whom nobody may be led to"),
            mend: Some(format!("ALTER ROLE {} NOSUPERUSER;", name(owner))),
        }),
    }
    membership(connection, service, owner, gives, &mut findings).await?;
    others(connection, owner, &mut findings).await?;
    schemas(connection, owner, &mut findings).await?;
    Ok(findings)
}

/// Whether the service account may do with the owner what it has to.
async fn membership(
    connection: &mut Connection,
    service: &Service,
    owner: &str,
    gives: bool,
    findings: &mut Vec<Finding>,
) -> Result<(), UpstreamError> {
    let options = service.server_version >= OPTIONS_SINCE;
    // Until 16 whoever may make roles may make members of any role that is no superuser.
    let (needs, with) = match (gives, options) {
        (true, false) => return Ok(()),
        (true, true) => ("MEMBER WITH ADMIN OPTION", " WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"),
        (false, true) => ("SET", " WITH INHERIT FALSE, SET TRUE"),
        (false, false) => ("MEMBER", ""),
    };
    let sql = format!("SELECT pg_has_role({}, {})", literal(owner), literal(needs));
    let mut may = false;
    client::each_row(connection, &sql, Bounds::default(), |mut row| {
        may = row.text()? == "t";
        Ok(())
    })
    .await?;
    if !may {
        let account = &service.name;
        let what = if gives { "lead principals to" } else { "become" };
        findings.push(Finding {
            weight: Weight::Error,
            says: format!("the service account {account} may not {what} the ddl-owner {owner}"),
            mend: Some(format!("GRANT {} TO {}{with};", name(owner), name(account))),
        });
    }
    Ok(())
}

/// Relations that belong to somebody else, whom the owner is no member of: it cannot change them.
async fn others(
    connection: &mut Connection,
    owner: &str,
    findings: &mut Vec<Finding>,
) -> Result<(), UpstreamError> {
    let sql = format!(
        "SELECT pg_get_userbyid(c.relowner), count(*), min(format('%I.%I', n.nspname, c.relname)) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND {USERS} \
         AND NOT pg_has_role({}, c.relowner, 'USAGE') GROUP BY 1 ORDER BY 1",
        literal(owner)
    );
    client::each_row(connection, &sql, Bounds::default(), |mut row| {
        let (other, count, first) = (row.text()?, row.text()?, row.text()?);
        findings.push(Finding {
            weight: Weight::Warning,
            says: format!(
                "the ddl-owner {owner} cannot change {count} relations of {other}, {first} among them"
            ),
            mend: Some(format!("REASSIGN OWNED BY {} TO {};", name(other), name(owner))),
        });
        Ok(())
    })
    .await
}

/// Schemas in which the owner can make nothing.
async fn schemas(
    connection: &mut Connection,
    owner: &str,
    findings: &mut Vec<Finding>,
) -> Result<(), UpstreamError> {
    let sql = format!(
        "SELECT n.nspname FROM pg_namespace n WHERE {USERS} \
         AND NOT (has_schema_privilege({0}, n.oid, 'CREATE') \
             AND has_schema_privilege({0}, n.oid, 'USAGE')) ORDER BY 1",
        literal(owner)
    );
    client::each_row(connection, &sql, Bounds::default(), |mut row| {
        let schema = row.text()?;
        findings.push(Finding {
            weight: Weight::Warning,
            says: format!("the ddl-owner {owner} can make nothing in schema {schema}"),
            mend: Some(format!(
                "GRANT CREATE, USAGE ON SCHEMA {} TO {};",
                name(schema),
                name(owner)
            )),
        });
        Ok(())
    })
    .await
}
