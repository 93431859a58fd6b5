//! Looking at the roles, memberships, objects and rights that a server has.
//!
//! Runs inside the provisioner's transaction, under a search path of `pg_catalog` alone.

use std::collections::BTreeSet;

use super::acl::{CONNECT, Grantable, Known, Right};
use super::action::{OPTIONS_SINCE, literal};
use super::names::{Names, PREFIX};
use super::plan::{Membership, Objects, Observed, Role};
use super::service::Service;
use crate::grant::privilege::{Item, Privilege};
use crate::sql::Engine;
use crate::sql::access::{Object, Operation};
use crate::sql::name::QualifiedName;
use crate::time::Timestamp;
use crate::upstream::client::{self, Bounds, Row};
use crate::upstream::connect::Connection;
use crate::upstream::error::UpstreamError;

const SERVICE: &str = "SELECT rolname, rolsuper, rolcreaterole, current_database(), \
    (SELECT system_identifier FROM pg_control_system()) \
    FROM pg_roles WHERE rolname = current_user";

/// Who the service account is.
pub async fn service(connection: &mut Connection) -> Result<Service, UpstreamError> {
    let mut service = Service { server_version: connection.server_version, ..Service::default() };
    client::each_row(connection, SERVICE, Bounds::default(), |mut row| {
        service.name = row.text()?.into();
        service.superuser = is_true(&mut row)?;
        service.creates_roles = is_true(&mut row)?;
        service.database = row.text()?.into();
        service.cluster = row.text()?.into();
        Ok(())
    })
    .await?;
    Ok(service)
}

/// What a `ddl-owner` is at the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DdlOwner {
    /// There is no such role.
    Missing,
    /// It may do everything, which nobody may be led to.
    Superuser,
    /// A role that owns what it owns.
    Plain,
}

/// Looks at the `ddl-owner`.
pub async fn ddl_owner(
    connection: &mut Connection,
    owner: &str,
) -> Result<DdlOwner, UpstreamError> {
    let sql = format!("SELECT rolsuper FROM pg_roles WHERE rolname = {}", literal(owner));
    let mut found = DdlOwner::Missing;
    client::each_row(connection, &sql, Bounds::default(), |mut row| {
        found = if is_true(&mut row)? { DdlOwner::Superuser } else { DdlOwner::Plain };
        Ok(())
    })
    .await?;
    Ok(found)
}

/// Roles of ours, their memberships and settings.
pub async fn roles(
    connection: &mut Connection,
    service: &Service,
    names: &Names,
) -> Result<Observed, UpstreamError> {
    let mut observed = Observed { service: service.clone(), ..Observed::default() };
    // The prefix alone can use an index; the pattern says which of those are this database's.
    let ours = |column: &str| {
        format!("({column} ^@ {} AND {column} ~ {})", literal(PREFIX), literal(&names.pattern()))
    };
    let sql = format!(
        "SELECT rolname, rolcanlogin, \
         rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls, rolinherit, \
         CASE WHEN isfinite(rolvaliduntil) \
             THEN round(extract(epoch FROM rolvaliduntil)::numeric * 1000000)::bigint END, \
         EXISTS (SELECT FROM pg_stat_activity WHERE usesysid = r.oid) \
         FROM pg_roles r WHERE {}",
        ours("rolname")
    );
    client::each_row(connection, &sql, Bounds::default(), |mut row| {
        let name = row.text()?.to_owned();
        let (can_login, too_strong) = (is_true(&mut row)?, is_true(&mut row)?);
        let inherits = is_true(&mut row)?;
        let valid_until = row.field()?.and_then(|micros| micros.parse().ok());
        let role = Role {
            can_login,
            too_strong,
            inherits,
            valid_until: valid_until.map(Timestamp::from_micros),
            busy: is_true(&mut row)?,
            ..Role::default()
        };
        observed.roles.insert(name, role);
        Ok(())
    })
    .await?;
    let options = if service.server_version >= OPTIONS_SINCE {
        "a.inherit_option, a.set_option"
    } else {
        "m.rolinherit, true"
    };
    let sql = format!(
        "SELECT r.rolname, m.rolname, {options}, a.admin_option FROM pg_auth_members a \
         JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member \
         WHERE {} OR {} ORDER BY 1, 2, 5 DESC",
        ours("r.rolname"),
        ours("m.rolname")
    );
    client::each_row(connection, &sql, Bounds::default(), |mut row| {
        observed.members.push(Membership {
            role: row.text()?.to_owned(),
            member: row.text()?.to_owned(),
            inherit: is_true(&mut row)?,
            set: is_true(&mut row)?,
            admin: is_true(&mut row)?,
        });
        Ok(())
    })
    .await?;
    settings(connection, &mut observed, &ours("r.rolname")).await?;
    Ok(observed)
}

async fn settings(
    connection: &mut Connection,
    observed: &mut Observed,
    ours: &str,
) -> Result<(), UpstreamError> {
    let sql = format!(
        "SELECT r.rolname, s.setdatabase <> 0, c.setting FROM pg_db_role_setting s \
         JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) AS c (setting) \
         WHERE (s.setdatabase = 0 OR s.setdatabase = \
             (SELECT oid FROM pg_database WHERE datname = current_database())) \
         AND (r.rolname = current_user OR {ours})"
    );
    client::each_row(connection, &sql, Bounds::default(), |mut row| {
        let (name, in_database) = (row.text()?, is_true(&mut row)?);
        let Some((setting, value)) = row.text()?.split_once('=') else { return Ok(()) };
        let settings = match observed.roles.get_mut(name) {
            Some(role) => &mut role.settings,
            None => &mut observed.settings,
        };
        settings.insert((in_database, setting.into()), value.into());
        Ok(())
    })
    .await
}

/// The words that aclexplode has for a right, as statics.
fn keyword(word: &str) -> Option<&'static str> {
    let operation = Operation::of(Engine::Postgres)
        .iter()
        .copied()
        .map(Operation::keyword)
        .find(|it| *it == word);
    operation.or_else(|| [CONNECT, "TEMPORARY"].into_iter().find(|it| *it == word))
}

/// What the service account may give of an object (all of it for an owner, else what it was given so),
/// and what everybody may. `kind` is acldefault's letter.
fn reach(owner: &str, acl: &str, kind: &str) -> String {
    format!(
        "(SELECT string_agg(x.privilege_type, ',') \
         FROM aclexplode(coalesce({acl}, acldefault({kind}, {owner}))) x WHERE x.grantee = 0), \
         CASE WHEN pg_has_role({owner}, 'USAGE') THEN NULL ELSE coalesce((SELECT \
         string_agg(DISTINCT x.privilege_type, ',') FROM aclexplode({acl}) x \
         WHERE CASE WHEN x.is_grantable THEN pg_has_role(x.grantee, 'USAGE') END), '') END"
    )
}

fn read_reach(row: &mut Row<'_>) -> Result<(Grantable, Vec<Box<str>>), UpstreamError> {
    let list = |words: &str| words.split(',').filter(|it| !it.is_empty()).map(Box::from).collect();
    let public = row.field()?.map_or_else(Vec::new, list);
    Ok((row.field()?.map_or(Grantable::All, |words| Grantable::Only(list(words))), public))
}

/// The objects that sets of privileges may be about, and what our roles hold.
pub async fn objects(
    connection: &mut Connection,
    names: &Names,
    sets: &[&[Privilege]],
) -> Result<Objects, UpstreamError> {
    let mut objects = Objects::default();
    let scope = scope(sets);
    let bounds = Bounds::default();
    let sql = format!(
        "SELECT {} FROM pg_database WHERE datname = current_database()",
        reach("datdba", "datacl", "'d'")
    );
    client::each_row(connection, &sql, bounds, |mut row| {
        objects.know(Object::Database, None, read_reach(&mut row)?);
        Ok(())
    })
    .await?;
    let sql = format!(
        "SELECT nspname, {} FROM pg_namespace WHERE {scope}",
        reach("nspowner", "nspacl", "'n'")
    );
    client::each_row(connection, &sql, bounds, |mut row| {
        let object = Object::Schema(row.text()?.into());
        objects.know(object, None, read_reach(&mut row)?);
        Ok(())
    })
    .await?;
    relations(connection, &mut objects, &scope).await?;
    columns(connection, &mut objects, sets).await?;
    let sql = format!(
        "SELECT nspname, proname, oidvectortypes(proargtypes), {} FROM pg_proc p \
         JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {scope}",
        reach("proowner", "proacl", "'f'")
    );
    client::each_row(connection, &sql, bounds, |mut row| {
        let name = QualifiedName::new(row.text()?, row.text()?);
        let object = Object::Function { name, arguments: row.text()?.into() };
        objects.know(object, None, read_reach(&mut row)?);
        Ok(())
    })
    .await?;
    held(connection, &mut objects, names).await?;
    Ok(objects)
}

impl Objects {
    fn know(
        &mut self,
        object: Object,
        owner: Option<QualifiedName>,
        (grantable, public): (Grantable, Vec<Box<str>>),
    ) {
        self.known.push(Known { object, owner, columns: BTreeSet::new(), grantable, public });
    }
}

/// User schemas, and system schemas that privileges name. Temporary ones are a session's own affair.
fn scope(sets: &[&[Privilege]]) -> String {
    let named = sets.iter().copied().flatten().filter_map(|it| it.object.schema());
    let named: BTreeSet<_> = named.filter(|it| super::acl::is_system(it)).map(literal).collect();
    let user = "(nspname !~ '^pg_(toast|temp)' \
                AND nspname NOT IN ('pg_catalog', 'information_schema'))";
    match named.into_iter().collect::<Vec<_>>().join(", ") {
        names if names.is_empty() => user.into(),
        names => format!("({user} OR nspname IN ({names}))"),
    }
}

async fn relations(
    connection: &mut Connection,
    objects: &mut Objects,
    scope: &str,
) -> Result<(), UpstreamError> {
    let sql = format!(
        "SELECT n.nspname, c.relname, c.relkind, o.schema, o.name, {} FROM pg_class c \
         JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN LATERAL ( \
             SELECT tn.nspname AS schema, t.relname AS name FROM pg_depend d \
             JOIN pg_class t ON t.oid = d.refobjid JOIN pg_namespace tn ON tn.oid = t.relnamespace \
             WHERE c.relkind = 'S' AND d.classid = 'pg_class'::regclass AND d.objid = c.oid \
             AND d.objsubid = 0 AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 \
             AND d.deptype IN ('a', 'i') LIMIT 1) o ON true \
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND c.relpersistence <> 't' AND {}",
        reach("c.relowner", "c.relacl", "CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\""),
        scope.replace("nspname", "n.nspname")
    );
    client::each_row(connection, &sql, Bounds::default(), |mut row| {
        let name = QualifiedName::new(row.text()?, row.text()?);
        let is_sequence = row.text()? == "S";
        let owner = (row.field()?, row.field()?);
        let owner = match owner {
            (Some(schema), Some(name)) => Some(QualifiedName::new(schema, name)),
            _ => None,
        };
        let object = if is_sequence { Object::Sequence(name) } else { Object::Relation(name) };
        let reach = read_reach(&mut row)?;
        objects.know(object, owner, reach);
        Ok(())
    })
    .await
}

/// Columns of the relations of which single columns are granted.
async fn columns(
    connection: &mut Connection,
    objects: &mut Objects,
    sets: &[&[Privilege]],
) -> Result<(), UpstreamError> {
    let by_column =
        |it: &&Privilege| it.items.iter().any(|item| matches!(item, Item::Operation(_, Some(_))));
    let relations: BTreeSet<_> = sets
        .iter()
        .copied()
        .flatten()
        .filter(by_column)
        .filter_map(|it| match &it.object {
            Object::Relation(name) => {
                Some(format!("({}, {})", literal(&name.schema), literal(&name.name)))
            }
            _ => None,
        })
        .collect();
    if relations.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "SELECT n.nspname, c.relname, a.attname FROM pg_attribute a \
         JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE a.attnum > 0 AND NOT a.attisdropped AND (n.nspname, c.relname) IN ({})",
        relations.into_iter().collect::<Vec<_>>().join(", ")
    );
    client::each_row(connection, &sql, Bounds::default(), |mut row| {
        let object = Object::Relation(QualifiedName::new(row.text()?, row.text()?));
        let column = row.text()?;
        if let Some(known) = objects.known.iter_mut().find(|known| known.object == object) {
            known.columns.insert(column.into());
        }
        Ok(())
    })
    .await
}

/// What our roles hold, wherever it is in this database.
async fn held(
    connection: &mut Connection,
    objects: &mut Objects,
    names: &Names,
) -> Result<(), UpstreamError> {
    let sql = format!(
        "WITH ours AS (SELECT oid, rolname FROM pg_roles WHERE rolname ~ {}) \
         SELECT o.rolname, a.privilege_type, a.kind, a.schema, a.name, a.detail FROM ours o JOIN ( \
         SELECT x.grantee, x.privilege_type, 'd' AS kind, NULL AS schema, NULL AS name, NULL AS detail \
             FROM pg_database, aclexplode(datacl) x WHERE datname = current_database() \
         UNION ALL SELECT x.grantee, x.privilege_type, 'n', nspname, NULL, NULL \
             FROM pg_namespace, aclexplode(nspacl) x \
         UNION ALL SELECT x.grantee, x.privilege_type, CASE relkind WHEN 'S' THEN 'S' ELSE 'r' END, \
             nspname, relname, NULL FROM pg_class c \
             JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(relacl) x \
         UNION ALL SELECT x.grantee, x.privilege_type, 'c', nspname, relname, attname \
             FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid \
             JOIN pg_namespace n ON n.oid = c.relnamespace, aclexplode(attacl) x \
             WHERE NOT attisdropped \
         UNION ALL SELECT x.grantee, x.privilege_type, 'f', nspname, proname, \
             oidvectortypes(proargtypes) FROM pg_proc p \
             JOIN pg_namespace n ON n.oid = p.pronamespace, aclexplode(proacl) x \
         ) a ON a.grantee = o.oid",
        literal(&names.pattern())
    );
    client::each_row(connection, &sql, Bounds::default(), |mut row| {
        let role = row.text()?.to_owned();
        let (word, kind) = (row.text()?, row.text()?);
        let (schema, name) = (row.field()?.unwrap_or_default(), row.field()?.unwrap_or_default());
        let detail = row.field()?.unwrap_or_default();
        let qualified = QualifiedName::new(schema, name);
        let object = match kind {
            "d" => Object::Database,
            "n" => Object::Schema(schema.into()),
            "S" => Object::Sequence(qualified),
            "f" => Object::Function { name: qualified, arguments: detail.into() },
            _ => Object::Relation(qualified),
        };
        let Some(keyword) = keyword(word) else {
            return Err(UpstreamError::Catalog(format!("privilege {word:?}")));
        };
        let column = (kind == "c").then(|| detail.into());
        objects.held.entry(role).or_default().insert(Right { object, keyword, column });
        Ok(())
    })
    .await
}

fn is_true(row: &mut Row<'_>) -> Result<bool, UpstreamError> {
    Ok(row.text()? == "t")
}
