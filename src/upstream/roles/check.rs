//! What an operator should know of a database: what the service account lacks for the second lock, what
//! everybody may do there, and who has standing privileges.

use std::collections::{BTreeMap, BTreeSet};

use super::acl::Right;
use super::action::{self, Action, OPTIONS_SINCE, literal, name};
use super::names::{self, Names};
use super::observe;
use super::service::Service;
use crate::grant::privilege::{Item, Privilege};
use crate::sql::Engine;
use crate::sql::access::{Object, Operation};
use crate::sql::name::QualifiedName;
use crate::upstream::APPLICATION_NAME;
use crate::upstream::client::{self, Bounds, Row};
use crate::upstream::connect::{Connection, connect, within};
use crate::upstream::error::UpstreamError;
use crate::upstream::lock::{Finding, Weight};
use crate::upstream::login::Startup;
use crate::upstream::target::Target;

mod owner;
mod statements;

pub use statements::{Seen, Statements, statements};

const DEADLINE: std::time::Duration = std::time::Duration::from_secs(20);

/// User schemas.
const USERS: &str = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'";

/// What has privileges as relations have them, but for an extension's: those come and go with it, and what
/// it gives to whom is its own affair.
const RELATIONS: &str = "c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT EXISTS (SELECT FROM pg_depend e \
     WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')";

/// What a role may do without any grant of Daypass's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Standing {
    /// The role, which can log in.
    pub role: String,
    /// An attribute, or a privilege in the grammar of grants.
    pub privilege: String,
    /// The role that it has it through, when it is not its own.
    pub through: Option<String>,
}

async fn open(target: &Target) -> Result<(Connection, Service), UpstreamError> {
    const SESSION: &str = "SET search_path = pg_catalog, pg_temp; SET statement_timeout = '15s'";
    let startup = Startup { application_name: APPLICATION_NAME.into(), ..Startup::default() };
    let mut connection = connect(target, &startup).await?;
    client::query(&mut connection, SESSION).await?;
    let service = observe::service(&mut connection).await?;
    Ok((connection, service))
}

/// Looks at a database as the service account. `names` are those of its roles, where it has a second
/// lock; `ddl_owner` is the role as which owners' work is done, where one is named.
///
/// # Errors
/// When the server cannot be asked.
pub async fn check(
    target: &Target,
    names: Option<&Names>,
    ddl_owner: Option<&str>,
) -> Result<Vec<Finding>, UpstreamError> {
    let look = async {
        let (mut connection, service) = open(target).await?;
        let mut findings = account(&service);
        let joined = owners(&mut connection, &service, &mut findings).await?;
        schemas(&mut connection, &service, &mut findings).await?;
        everybody(&mut connection, &service, &mut findings).await?;
        defaults(&mut connection, &mut findings).await?;
        conflicts(&mut connection, names, &mut findings).await?;
        if let Some(owner) = ddl_owner {
            let gives = names.is_some();
            let joins = joined.contains(owner);
            findings.extend(owner::check(&mut connection, &service, owner, gives, joins).await?);
        }
        findings.sort_by_key(|finding| finding.weight);
        Ok(findings)
    };
    within(DEADLINE, "looking at the database", look).await
}

fn account(service: &Service) -> Vec<Finding> {
    let role = &service.name;
    if service.superuser {
        return vec![Finding {
            weight: Weight::Warning,
            says: format!("the service account {role} is a superuser, which it need not be"),
            mend: Some(format!("ALTER ROLE {} NOSUPERUSER CREATEROLE;", name(role))),
        }];
    }
    if service.creates_roles {
        return Vec::new();
    }
    vec![Finding {
        weight: Weight::Error,
        says: format!(
            "the service account {role} may not make roles, so there can be no second lock"
        ),
        mend: Some(format!("ALTER ROLE {} CREATEROLE;", name(role))),
    }]
}

/// What live grants allow, and the service account may not give. The SQL is for the objects' owner or a
/// superuser.
pub fn lacking(rights: &BTreeSet<Right>, target: &Target) -> Vec<Finding> {
    let service = Service {
        name: target.user.as_str().into(),
        database: target.database.as_str().into(),
        ..Service::default()
    };
    let statements = action::grants(&target.user, rights.iter());
    let findings = statements.map(|statement| {
        let count = match &statement {
            Action::Grant(rights) => rights.objects.len(),
            _ => 0,
        };
        let sql = statement.sql(&service, str::to_owned);
        Finding {
            weight: Weight::Error,
            says: format!(
                "live grants allow what the service account {} may not give, on {count} objects",
                target.user
            ),
            mend: Some(format!("{sql} WITH GRANT OPTION;")),
        }
    });
    findings.collect()
}

/// Relations whose privileges the service account cannot give away, by their owner. It is made a member of
/// that one, which is told; of a superuser it is not, but given each of them to pass on.
async fn owners(
    connection: &mut Connection,
    service: &Service,
    findings: &mut Vec<Finding>,
) -> Result<BTreeSet<String>, UpstreamError> {
    let account = name(&service.name);
    let sql = format!(
        "SELECT r.rolname, count(*), min(format('%I.%I', n.nspname, c.relname)), \
             CASE WHEN r.rolsuper THEN string_agg(format('GRANT ALL ON %s %I.%I TO %s WITH GRANT OPTION;', \
             CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.nspname, c.relname, {}::text), \
             E'\\n' ORDER BY n.nspname, c.relname) END \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_roles r ON r.oid = c.relowner WHERE {RELATIONS} AND {USERS} \
         AND NOT pg_has_role(c.relowner, 'USAGE') \
         AND NOT has_table_privilege(c.oid, 'SELECT WITH GRANT OPTION') \
         GROUP BY r.rolname, r.rolsuper ORDER BY 1",
        literal(&account)
    );
    let mut joined = BTreeSet::new();
    client::each_row(connection, &sql, Bounds::default(), |mut row| {
        let (owner, count, first) = (row.text()?, row.text()?, row.text()?);
        let each = row.field()?.map(str::to_owned);
        if each.is_none() {
            joined.insert(owner.to_owned());
        }
        let inherits =
            if service.server_version >= OPTIONS_SINCE { " WITH INHERIT TRUE" } else { "" };
        let member = || format!("GRANT {} TO {account}{inherits};", name(owner));
        findings.push(Finding {
            weight: Weight::Error,
            says: format!(
                "the service account {} may give nobody privileges on {count} relations of {owner}, \
                 {first} among them",
                service.name
            ),
            mend: Some(each.unwrap_or_else(member)),
        });
        Ok(())
    })
    .await?;
    Ok(joined)
}

/// Schemas that the service account cannot let anybody into.
async fn schemas(
    connection: &mut Connection,
    service: &Service,
    findings: &mut Vec<Finding>,
) -> Result<(), UpstreamError> {
    let sql = format!(
        "SELECT n.nspname FROM pg_namespace n WHERE {USERS} AND NOT pg_has_role(n.nspowner, 'USAGE') \
         AND NOT has_schema_privilege(n.oid, 'USAGE WITH GRANT OPTION') AND NOT EXISTS (SELECT \
             FROM aclexplode(n.nspacl) x WHERE x.grantee = 0 AND x.privilege_type = 'USAGE') \
         ORDER BY 1"
    );
    client::each_row(connection, &sql, Bounds::default(), |mut row| {
        let schema = row.text()?;
        let (quoted, account) = (name(schema), name(&service.name));
        findings.push(Finding {
            weight: Weight::Error,
            says: format!(
                "the service account {} may let nobody into schema {schema}",
                service.name
            ),
            mend: Some(format!("GRANT USAGE ON SCHEMA {quoted} TO {account} WITH GRANT OPTION;")),
        });
        Ok(())
    })
    .await
}

/// What everybody may: no role of ours can be narrower.
async fn everybody(
    connection: &mut Connection,
    service: &Service,
    findings: &mut Vec<Finding>,
) -> Result<(), UpstreamError> {
    let sql = format!(
        "SELECT string_agg(DISTINCT x.privilege_type, ', '), 'DATABASE', \
             quote_ident(d.datname) FROM pg_database d, \
             aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) x \
             WHERE d.datname = {} AND x.grantee = 0 AND x.privilege_type <> 'CONNECT' GROUP BY 3 \
         UNION ALL SELECT string_agg(DISTINCT x.privilege_type, ', '), 'SCHEMA', \
             quote_ident(n.nspname) FROM pg_namespace n, aclexplode(n.nspacl) x \
             WHERE {USERS} AND x.grantee = 0 AND x.privilege_type <> 'USAGE' GROUP BY 3 \
         UNION ALL SELECT string_agg(DISTINCT x.privilege_type, ', '), \
             CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, \
             format('%I.%I', n.nspname, c.relname) FROM pg_class c \
             JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(c.relacl) x \
             WHERE {USERS} AND x.grantee = 0 GROUP BY 2, 3 \
         UNION ALL SELECT 'EXECUTE', 'ROUTINE', format('%I.%I(%s)', n.nspname, p.proname, \
             oidvectortypes(p.proargtypes)) FROM pg_proc p \
             JOIN pg_namespace n ON n.oid = p.pronamespace, \
             aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x \
             WHERE {USERS} AND p.prosecdef AND x.grantee = 0 ORDER BY 2, 3",
        literal(&service.database)
    );
    client::each_row(connection, &sql, Bounds::default(), |mut row| {
        let (privileges, kind, object) = (row.text()?, row.text()?, row.text()?);
        let as_owner = if kind == "ROUTINE" { ", which runs with its owner's rights" } else { "" };
        findings.push(Finding {
            weight: Weight::Warning,
            says: format!(
                "everybody has {privileges} on {} {object}{as_owner}",
                kind.to_lowercase()
            ),
            mend: Some(format!("REVOKE {privileges} ON {kind} {object} FROM PUBLIC;")),
        });
        Ok(())
    })
    .await
}

/// What everybody will have on what is made later.
async fn defaults(
    connection: &mut Connection,
    findings: &mut Vec<Finding>,
) -> Result<(), UpstreamError> {
    let sql = "SELECT string_agg(DISTINCT x.privilege_type, ', '), k.word, r.rolname, n.nspname \
         FROM pg_default_acl d JOIN pg_roles r ON r.oid = d.defaclrole \
         JOIN (VALUES ('r', 'TABLES'), ('S', 'SEQUENCES'), ('n', 'SCHEMAS')) k (kind, word) \
             ON k.kind = d.defaclobjtype::text \
         LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace, aclexplode(d.defaclacl) x \
         WHERE x.grantee = 0 GROUP BY 2, 3, 4 ORDER BY 3, 4, 2";
    client::each_row(connection, sql, Bounds::default(), |mut row| {
        let (privileges, kind, maker) = (row.text()?, row.text()?, row.text()?);
        let schema = row.field()?;
        let said = schema.map(|schema| format!(" in schema {schema}")).unwrap_or_default();
        let within = schema.map(|it| format!(" IN SCHEMA {}", name(it))).unwrap_or_default();
        findings.push(Finding {
            weight: Weight::Warning,
            says: format!(
                "everybody gets {privileges} on {} that {maker} makes{said}",
                kind.to_lowercase()
            ),
            mend: Some(format!(
                "ALTER DEFAULT PRIVILEGES FOR ROLE {}{within} REVOKE {privileges} ON {kind} FROM PUBLIC;",
                name(maker)
            )),
        });
        Ok(())
    })
    .await
}

/// Roles that are named as ours are and that no live entry of this database keeps.
async fn conflicts(
    connection: &mut Connection,
    names: Option<&Names>,
    findings: &mut Vec<Finding>,
) -> Result<(), UpstreamError> {
    let sql = format!(
        "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname ~ {} \
         AND rolname <> current_user ORDER BY 1",
        literal(&names::any())
    );
    client::each_row(connection, &sql, Bounds::default(), |mut row| {
        let (role, can_login) = (row.text()?, row.text()? == "t");
        if names.is_some_and(|names| names.is_ours(role)) {
            return Ok(());
        }
        let state = if can_login { ", and can log in" } else { "" };
        findings.push(Finding {
            weight: Weight::Note,
            says: format!(
                "role {role} is not of this entry and key{state}: it belongs to another database or \
                 proxy, or was left when role-key-file was replaced"
            ),
            mend: None,
        });
        Ok(())
    })
    .await
}

/// What roles that can log in may do without a grant, other than our own and the service account.
/// Superusers are listed as that alone.
///
/// # Errors
/// When the server cannot be asked.
pub async fn standing(target: &Target) -> Result<Vec<Standing>, UpstreamError> {
    let look = async {
        let (mut connection, service) = open(target).await?;
        let mut found = Vec::new();
        attributes(&mut connection, &service, &mut found).await?;
        privileges(&mut connection, &service, &mut found).await?;
        found.sort();
        Ok(found)
    };
    within(DEADLINE, "looking at the database", look).await
}

/// People and applications: roles that can log in, and neither ours nor the service account.
fn people(service: &Service) -> String {
    format!(
        "SELECT oid, rolname, rolsuper FROM pg_roles WHERE rolcanlogin AND rolname !~ {} \
         AND rolname <> {}",
        literal(&names::any()),
        literal(&service.name)
    )
}

async fn attributes(
    connection: &mut Connection,
    service: &Service,
    found: &mut Vec<Standing>,
) -> Result<(), UpstreamError> {
    let sql = format!(
        "SELECT p.rolname, a.attribute FROM ({}) p JOIN pg_roles r ON r.oid = p.oid, LATERAL (VALUES \
         ('SUPERUSER', r.rolsuper), ('CREATEROLE', r.rolcreaterole AND NOT r.rolsuper), \
         ('CREATEDB', r.rolcreatedb AND NOT r.rolsuper), \
         ('REPLICATION', r.rolreplication AND NOT r.rolsuper), \
         ('BYPASSRLS', r.rolbypassrls AND NOT r.rolsuper)) a (attribute, holds) WHERE a.holds",
        people(service)
    );
    client::each_row(connection, &sql, Bounds::default(), |mut row| {
        let (role, privilege) = (row.text()?.to_owned(), row.text()?.to_owned());
        found.push(Standing { role, privilege, through: None });
        Ok(())
    })
    .await
}

type Held = BTreeMap<(String, Option<String>, Object), Vec<Item>>;

async fn privileges(
    connection: &mut Connection,
    service: &Service,
    found: &mut Vec<Standing>,
) -> Result<(), UpstreamError> {
    // An owner has what acldefault says when nothing was ever granted.
    let sql = format!(
        "WITH RECURSIVE people AS ({}), reach (person, role) AS ( \
             SELECT oid, oid FROM people WHERE NOT rolsuper \
             UNION SELECT r.person, m.roleid FROM reach r JOIN pg_auth_members m ON m.member = r.role \
         ), acl AS ( \
             SELECT 'r' AS kind, n.nspname, c.relname, '' AS detail, x.grantee, x.privilege_type \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, \
                 aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) x \
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND {USERS} \
             UNION ALL SELECT 'c', n.nspname, c.relname, a.attname, x.grantee, x.privilege_type \
             FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
             JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(a.attacl) x \
             WHERE NOT a.attisdropped AND {USERS} \
             UNION ALL SELECT 'S', n.nspname, c.relname, '', x.grantee, x.privilege_type \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, \
                 aclexplode(coalesce(c.relacl, acldefault('s', c.relowner))) x \
             WHERE c.relkind = 'S' AND {USERS} \
             UNION ALL SELECT 'f', n.nspname, p.proname, oidvectortypes(p.proargtypes), x.grantee, \
                 x.privilege_type FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace, \
                 aclexplode(p.proacl) x WHERE {USERS} \
         ) SELECT DISTINCT p.rolname, CASE WHEN r.role <> p.oid THEN pg_get_userbyid(r.role) END, \
             acl.kind, acl.nspname, acl.relname, acl.detail, acl.privilege_type \
         FROM people p JOIN reach r ON r.person = p.oid JOIN acl ON acl.grantee = r.role",
        people(service)
    );
    let mut held = Held::new();
    client::each_row(connection, &sql, Bounds::default(), |row| add(&mut held, row)).await?;
    for ((role, through, object), items) in held {
        let privilege = Privilege::new(items, object).to_string();
        found.push(Standing { role, privilege, through });
    }
    Ok(())
}

fn add(held: &mut Held, mut row: Row<'_>) -> Result<(), UpstreamError> {
    let role = row.text()?.to_owned();
    let through = row.field()?.map(str::to_owned);
    let kind = row.text()?;
    let qualified = QualifiedName::new(row.text()?, row.text()?);
    let (detail, word) = (row.text()?, row.text()?);
    let object = match kind {
        "S" => Object::Sequence(qualified),
        "f" => Object::Function { name: qualified, arguments: detail.into() },
        _ => Object::Relation(qualified),
    };
    let operation = Operation::of(Engine::Postgres).iter().copied().find(|it| it.keyword() == word);
    let Some(operation) = operation else { return Ok(()) };
    let columns = (kind == "c").then(|| [detail.into()].into());
    let items = held.entry((role, through, object)).or_default();
    items.push(Item::Operation(operation, columns));
    Ok(())
}
