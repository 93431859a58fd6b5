//! What stands between a `ddl-owner` and its work.

use super::super::action::{OPTIONS_SINCE, literal, name};
use super::super::observe::{self, DdlOwner};
use super::super::service::Service;
use super::{Finding, RELATIONS, USERS, Weight};
use crate::upstream::client::{self, Bounds};
use crate::upstream::connect::Connection;
use crate::upstream::error::UpstreamError;

/// Looks at the `ddl-owner`. `gives`: the service account makes roles of its own members of it, instead of
/// becoming it itself. `joins`: it was found already that it is to be a member, for what the owner has.
pub(super) async fn check(
    connection: &mut Connection,
    service: &Service,
    owner: &str,
    gives: bool,
    joins: bool,
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
    findings.extend(membership(connection, service, owner, gives, joins).await?);
    others(connection, owner, &mut findings).await?;
    schemas(connection, owner, &mut findings).await?;
    Ok(findings)
}

/// Whether the service account may do with the owner what it has to. What else it has of the owner is left to
/// it: a second GRANT takes back what it does not repeat.
async fn membership(
    connection: &mut Connection,
    service: &Service,
    owner: &str,
    gives: bool,
    joins: bool,
) -> Result<Option<Finding>, UpstreamError> {
    let options = service.server_version >= OPTIONS_SINCE;
    // Until 16 whoever may make roles may make members of any role that is no superuser.
    let (needs, with, alone) = match (gives, options) {
        (true, false) => return Ok(None),
        (true, true) => ("MEMBER WITH ADMIN OPTION", " WITH ADMIN TRUE", ", SET FALSE"),
        (false, true) => ("SET", " WITH SET TRUE", ""),
        (false, false) => ("MEMBER", "", ""),
    };
    let sql = format!(
        "SELECT pg_has_role({0}, {1}), pg_has_role({0}, 'USAGE')",
        literal(owner),
        literal(needs)
    );
    let (mut may, mut inherits) = (false, joins);
    client::each_row(connection, &sql, Bounds::default(), |mut row| {
        may = row.text()? == "t";
        inherits |= row.text()? == "t";
        Ok(())
    })
    .await?;
    if may {
        return Ok(None);
    }
    let rest = match (options, inherits) {
        (false, _) => String::new(),
        (true, true) => ", INHERIT TRUE".to_owned(),
        (true, false) => format!(", INHERIT FALSE{alone}"),
    };
    let account = &service.name;
    let what = if gives { "lead principals to" } else { "become" };
    Ok(Some(Finding {
        weight: Weight::Error,
        says: format!("the service account {account} may not {what} the ddl-owner {owner}"),
        mend: Some(format!("GRANT {} TO {}{with}{rest};", name(owner), name(account))),
    }))
}

/// Relations that belong to somebody else, whom the owner is no member of: it cannot change them. Sequences
/// of columns belong to whom their table does.
async fn others(
    connection: &mut Connection,
    owner: &str,
    findings: &mut Vec<Finding>,
) -> Result<(), UpstreamError> {
    let sql = format!(
        "SELECT pg_get_userbyid(c.relowner), count(*), min(format('%I.%I', n.nspname, c.relname)), \
             string_agg(format('ALTER TABLE %I.%I OWNER TO %s;', n.nspname, c.relname, {1}::text), \
             E'\\n' ORDER BY n.nspname, c.relname) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {RELATIONS} AND {USERS} \
         AND NOT (c.relkind = 'S' AND EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid \
             AND d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass \
             AND d.deptype IN ('a', 'i'))) \
         AND NOT pg_has_role({0}, c.relowner, 'USAGE') GROUP BY 1 ORDER BY 1",
        literal(owner),
        literal(&name(owner))
    );
    client::each_row(connection, &sql, Bounds::default(), |mut row| {
        let (other, count, first, each) = (row.text()?, row.text()?, row.text()?, row.text()?);
        findings.push(Finding {
            weight: Weight::Warning,
            says: format!(
                "the ddl-owner {owner} cannot change {count} relations of {other}, {first} among them"
            ),
            mend: Some(each.to_owned()),
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
