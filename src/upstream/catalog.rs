//! Loading a server's names, PostgreSQL 13 to 18.
//!
//! Every statement here runs under a search path of `pg_catalog` alone, so that unqualified names,
//! operators among them, can mean nothing of a user's making.

use std::collections::HashMap;
use std::sync::Arc;

use super::client::{self, Bounds, Row};
use super::connect::Connection;
use super::definitions;
use super::error::UpstreamError;
use super::fingerprint::{self, Fingerprint};
use crate::sql::catalog::{
    CalledCast, Catalog, Function, Language, Operator, Origin, Relation, RelationKind, Routine,
    Schema, Type, TypeKind, Volatility,
};
use crate::sql::name::QualifiedName;

/// One moment for all statements. Catalogs have no row-level security and no user code to run.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
    SELECT set_config('search_path', 'pg_catalog, pg_temp', true)";

/// Temporary schemas are a session's own affair, and come and go with sessions.
const SCHEMAS: &str = "SELECT oid, nspname, NOT EXISTS (SELECT FROM aclexplode(nspacl) \
        WHERE grantee = 0 AND privilege_type = 'USAGE') \
    FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_[0-9]'";

/// What stands in pg_toast only its owner may read, and nobody does by name.
///
/// The last column: a trigger, rule, default, check, policy, index or view of it calls a function or
/// operator that somebody made (the server's own have no rows in pg_depend), or one of a relation that
/// is read or written through it does: a partition or child, one whose foreign key acts, a view's.
const RELATIONS: &str = "WITH RECURSIVE through (upper, lower) AS ( \
        SELECT inhparent, inhrelid FROM pg_inherits \
        UNION ALL SELECT confrelid, conrelid FROM pg_constraint WHERE contype = 'f' \
            AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd')) \
        UNION ALL SELECT w.ev_class, d.refobjid FROM pg_depend d \
            JOIN pg_rewrite w ON w.oid = d.objid AND w.ev_class <> d.refobjid \
            WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass), \
    code (oid) AS ( \
        SELECT r.refobjid FROM pg_depend f \
            JOIN pg_depend r ON r.classid = f.classid AND r.objid = f.objid \
                AND r.deptype IN ('a', 'i') \
            WHERE f.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass) \
            AND f.classid IN ('pg_trigger'::regclass, 'pg_rewrite'::regclass, \
                'pg_attrdef'::regclass, 'pg_constraint'::regclass, 'pg_policy'::regclass, \
                'pg_class'::regclass) AND r.refclassid = 'pg_class'::regclass \
        UNION SELECT t.upper FROM code JOIN through t ON t.lower = code.oid) \
    SELECT c.oid, c.relnamespace, c.relname, c.relkind, \
    c.relrowsecurity AND (r.rolsuper OR r.rolbypassrls \
        OR (NOT c.relforcerowsecurity AND pg_has_role(r.oid, c.relowner, 'USAGE'))), \
    c.oid IN (SELECT oid FROM code) FROM pg_class c CROSS JOIN pg_roles r \
    WHERE r.rolname = current_user \
    AND c.relpersistence <> 't' AND c.relnamespace <> 'pg_toast'::regnamespace";

const COLUMNS: &str = "SELECT attrelid, attname, atttypid FROM pg_attribute \
    WHERE attnum > 0 AND NOT attisdropped AND attrelid IN (SELECT oid FROM pg_class \
        WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') AND relpersistence <> 't') \
    ORDER BY attrelid, attnum";

/// `serial` depends automatically on its column, an identity column's sequence internally.
const SEQUENCES: &str = "SELECT d.objid, d.refobjid, a.attname FROM pg_class s \
    JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.objsubid = 0 \
        AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i') \
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
    WHERE s.relkind = 'S'";

/// An aggregate says nothing of volatility itself: its parts count. (Whether they run as their owner
/// does, too.) Whether PUBLIC may execute goes by the ACL, and without one it may.
const FUNCTIONS: &str = "SELECT p.oid, p.pronamespace, p.proname, oidvectortypes(p.proargtypes), \
    p.proargtypes, p.pronargdefaults, p.provariadic, p.prorettype, \
    coalesce(a.volatility, p.provolatile::text), l.lanname IN ('internal', 'c'), \
    CASE WHEN p.oid < 16384 THEN 's' WHEN p.oid IN (SELECT objid FROM pg_depend \
        WHERE classid = 'pg_proc'::regclass AND deptype = 'e') THEN 'e' ELSE 'u' END, \
    coalesce(a.definer, p.prosecdef), \
    p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) \
        WHERE grantee = 0 AND privilege_type = 'EXECUTE') \
    FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang \
    LEFT JOIN (SELECT aggfnoid, bool_or(f.prosecdef) AS definer, \
            CASE WHEN bool_or(f.provolatile = 'v') THEN 'v' \
                WHEN bool_or(f.provolatile = 's') THEN 's' ELSE 'i' END AS volatility \
        FROM pg_aggregate JOIN pg_proc f ON f.oid IN (aggtransfn, aggfinalfn, aggcombinefn, \
            aggserialfn, aggdeserialfn, aggmtransfn, aggminvtransfn, aggmfinalfn) \
        WHERE aggfnoid >= 16384 GROUP BY aggfnoid) a ON a.aggfnoid = p.oid ORDER BY p.oid";

/// Those of the server call functions that PUBLIC may execute, as long as nobody has changed that.
const OPERATORS: &str = "SELECT o.oprnamespace, o.oprname, o.oprleft, o.oprright, \
    p.pronamespace, p.proname, oidvectortypes(p.proargtypes) \
    FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode \
    WHERE o.oid >= 16384 OR (p.proacl IS NOT NULL AND NOT EXISTS (SELECT FROM aclexplode(p.proacl) \
        WHERE grantee = 0 AND privilege_type = 'EXECUTE'))";

const CASTS: &str = "SELECT c.castsource, c.casttarget, c.castcontext, \
    p.pronamespace, p.proname, oidvectortypes(p.proargtypes) \
    FROM pg_cast c LEFT JOIN pg_proc p ON p.oid = c.castfunc AND (p.oid >= 16384 OR \
        (p.proacl IS NOT NULL AND NOT EXISTS (SELECT FROM aclexplode(p.proacl) \
            WHERE grantee = 0 AND privilege_type = 'EXECUTE'))) ORDER BY 1, 2";

/// A row type belongs to a relation of another kind than `c`; an array is some type's `typarray`.
const TYPES: &str = "SELECT t.oid, t.typnamespace, t.typname, t.typtype, t.typcategory, \
    t.typispreferred, e.oid, t.typbasetype \
    FROM pg_type t LEFT JOIN pg_type e ON e.typarray = t.oid \
    LEFT JOIN pg_class c ON c.oid = coalesce(e.typrelid, t.typrelid) \
    WHERE c.oid IS NULL OR c.relkind = 'c'";

/// Whether everybody may make temporary objects.
const TEMPORARY: &str = "SELECT has_database_privilege('public', current_database(), 'TEMPORARY')";

/// The schema with the temporary objects of the session that asks, once it has one.
const OWN_SCHEMA: &str =
    "SELECT oid, nspname, false FROM pg_namespace WHERE oid = pg_my_temp_schema()";

/// Its relations. A policy on one would be of its own making.
const OWN_RELATIONS: &str = "SELECT oid, relnamespace, relname, relkind, false, \
    (relhasrules AND relkind <> 'v') OR EXISTS (SELECT FROM pg_trigger t \
        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) \
    FROM pg_class c WHERE relnamespace = pg_my_temp_schema()";

const OWN_COLUMNS: &str = "SELECT attrelid, attname, atttypid FROM pg_attribute \
    WHERE attnum > 0 AND NOT attisdropped AND attrelid IN (SELECT oid FROM pg_class \
        WHERE relkind <> 'i' AND relnamespace = pg_my_temp_schema()) \
    ORDER BY attrelid, attnum";

const OWN_TYPES: &str = "SELECT oid, typnamespace, typname, typtype, typcategory, typispreferred, \
    NULL, typbasetype FROM pg_type \
    WHERE typnamespace = pg_my_temp_schema() AND typrelid = 0 AND typcategory <> 'A'";

/// What is read, in this order: each statement, and who takes its rows.
pub(super) const PARTS: &[(&str, Take)] = &[
    (SCHEMAS, Loading::schema),
    (RELATIONS, Loading::relation),
    (COLUMNS, Loading::column),
    (SEQUENCES, Loading::sequence),
    (FUNCTIONS, Loading::function),
    (OPERATORS, Loading::operator),
    (TYPES, Loading::type_),
    (CASTS, Loading::cast),
    (TEMPORARY, Loading::temporary),
    (definitions::CLOSED, definitions::closed),
    (definitions::DEFAULTS, definitions::default),
    (definitions::INVOKERS, definitions::invoker),
    (definitions::POLICIES, definitions::policy),
    (definitions::BELOW, definitions::below),
];

/// What a session's own connection adds: its temporary objects.
pub(super) const OWN_PARTS: &[(&str, Take)] = &[
    (OWN_SCHEMA, Loading::schema),
    (OWN_RELATIONS, Loading::relation),
    (OWN_COLUMNS, Loading::column),
    (OWN_TYPES, Loading::type_),
];

pub(super) type Take = fn(&mut Loading, Row<'_>) -> Result<(), UpstreamError>;

/// Catalog and fingerprint of one moment. The version is 0, for whoever keeps the catalog to set.
///
/// # Errors
/// When a statement fails or its result cannot be understood. The connection is of no more use then.
pub async fn load(connection: &mut Connection) -> Result<(Catalog, Fingerprint), UpstreamError> {
    client::query(connection, BEGIN).await?;
    let fingerprint = fingerprint::take(connection).await?;
    let mut loading = Loading::default();
    for (sql, take) in PARTS {
        let take = |row: Row<'_>| take(&mut loading, row);
        client::each_row(connection, sql, Bounds::default(), take).await?;
    }
    client::query(connection, "COMMIT").await?;
    Ok((loading.finish(connection.server_version), fingerprint))
}

pub(super) type Oid = u32;

/// A catalog by number, while its parts arrive.
#[derive(Default)]
pub(super) struct Loading {
    pub schemas: HashMap<Oid, (Box<str>, Schema)>,
    pub relations: HashMap<Oid, (Oid, Box<str>, Relation)>,
    /// Functions that PUBLIC may not execute.
    pub closed: HashMap<Oid, Routine>,
    /// Which relations a view reads itself.
    pub below: HashMap<Oid, Vec<Oid>>,
    pub catalog: Catalog,
}

impl Loading {
    fn schema(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let (oid, name) = (oid(&mut row)?, row.text()?);
        let schema = Schema { restricted: row.text()? == "t", ..Schema::default() };
        self.schemas.insert(oid, (name.into(), schema));
        Ok(())
    }

    fn relation(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let (oid, schema, name) = (oid(&mut row)?, oid(&mut row)?, row.text()?.into());
        let kind = match row.text()? {
            "r" | "p" => RelationKind::Table,
            "v" => RelationKind::View,
            "m" => RelationKind::MaterializedView,
            "f" => RelationKind::ForeignTable,
            "S" => RelationKind::Sequence,
            "i" | "I" => RelationKind::Index,
            "c" => RelationKind::Composite,
            "t" => RelationKind::Toast,
            other => return Err(UpstreamError::Catalog(format!("relkind {other:?}"))),
        };
        let bypassed_row_security = row.text()? == "t";
        let runs_code = row.text()? == "t";
        let relation = Relation { kind, bypassed_row_security, runs_code, ..Relation::default() };
        self.relations.insert(oid, (schema, name, relation));
        Ok(())
    }

    fn column(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        if let Some((_, _, relation)) = self.relations.get_mut(&oid(&mut row)?) {
            relation.columns.push(row.text()?.into());
            relation.column_types.push(oid(&mut row)?);
        }
        Ok(())
    }

    fn sequence(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let (sequence, owner, column) = (oid(&mut row)?, oid(&mut row)?, row.text()?.into());
        let Some(owner) = self.name(owner) else { return Ok(()) };
        if let Some((_, _, relation)) = self.relations.get_mut(&sequence) {
            relation.owned_by = Some((owner, column));
        }
        Ok(())
    }

    fn function(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let number = oid(&mut row)?;
        let Some((schema, objects)) = self.schemas.get_mut(&oid(&mut row)?) else { return Ok(()) };
        let name: Box<str> = row.text()?.into();
        let arguments: Box<str> = row.text()?.into();
        let mut inputs = Vec::new();
        for input in row.text()?.split_ascii_whitespace() {
            inputs.push(number_of(input)?);
        }
        let defaults = oid(&mut row)?;
        let function = Function {
            arguments: arguments.clone(),
            inputs: inputs.into(),
            defaults: u16::try_from(defaults).unwrap_or(u16::MAX),
            variadic: oid(&mut row)?,
            result: oid(&mut row)?,
            volatility: match row.text()? {
                "i" => Volatility::Immutable,
                "s" => Volatility::Stable,
                _ => Volatility::Volatile,
            },
            language: match row.text()? {
                "t" => Language::Compiled,
                _ => Language::Interpreted,
            },
            origin: match row.text()? {
                "s" => Origin::Server,
                "e" => Origin::Extension,
                _ => Origin::User,
            },
            definer: row.text()? == "t",
            public: row.text()? == "t",
        };
        if !function.public {
            let name = QualifiedName::new(schema.clone(), name.clone());
            self.closed.insert(number, Routine { name, arguments });
        }
        objects.functions.entry(name).or_default().push(function);
        Ok(())
    }

    fn operator(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let (schema, name) = (oid(&mut row)?, row.text()?.into());
        let (left, right) = (oid(&mut row)?, oid(&mut row)?);
        let Some(function) = self.routine(&mut row)? else { return Ok(()) };
        let Some((_, schema)) = self.schemas.get_mut(&schema) else { return Ok(()) };
        let overloads = schema.operators.entry(name).or_default();
        overloads.push(Operator { left, right, function });
        Ok(())
    }

    fn cast(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let (source, target, context) = (oid(&mut row)?, oid(&mut row)?, row.text()?);
        if let Some(function) = self.routine(&mut row)? {
            let automatic = context != "e";
            let cast = CalledCast { source, target, automatic, function };
            self.catalog.called_casts.push(cast);
        }
        self.catalog.casts.insert((source, target), context == "i");
        Ok(())
    }

    fn type_(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let number = oid(&mut row)?;
        let Some((_, schema)) = self.schemas.get_mut(&oid(&mut row)?) else { return Ok(()) };
        let name: Box<str> = row.text()?.into();
        let kind = match row.text()? {
            "b" | "r" | "m" => TypeKind::Base,
            "e" => TypeKind::Enum,
            "d" => TypeKind::Domain,
            "c" => TypeKind::Composite,
            "p" => TypeKind::Pseudo,
            other => return Err(UpstreamError::Catalog(format!("typtype {other:?}"))),
        };
        let category = row.text()?.chars().next().unwrap_or('X');
        let preferred = row.text()? == "t";
        let element = row.field()?.map(number_of).transpose()?;
        let base = oid(&mut row)?;
        schema.type_ids.insert(name.clone(), number);
        if element.is_none() {
            schema.types.insert(name, kind);
        }
        let element = element.unwrap_or(0);
        let found = Type { kind, category, preferred, element, base, checks: Vec::new() };
        self.catalog.types.insert(number, found);
        Ok(())
    }

    /// A function by schema number, name and arguments; `None` when there is none, or a temporary one.
    fn routine(&self, row: &mut Row<'_>) -> Result<Option<Routine>, UpstreamError> {
        let (schema, name, arguments) = (row.field()?, row.field()?, row.field()?);
        let (Some(schema), Some(name), Some(arguments)) = (schema, name, arguments) else {
            return Ok(None);
        };
        let Some((schema, _)) = self.schemas.get(&number_of(schema)?) else { return Ok(None) };
        let name = QualifiedName::new(schema.clone(), name);
        Ok(Some(Routine { name, arguments: arguments.into() }))
    }

    /// The name of a relation.
    pub fn name(&self, relation: Oid) -> Option<QualifiedName> {
        let (schema, name, _) = self.relations.get(&relation)?;
        let (schema, _) = self.schemas.get(schema)?;
        Some(QualifiedName::new(schema.clone(), name.clone()))
    }

    fn temporary(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        self.catalog.public_temporary = row.text()? == "t";
        Ok(())
    }

    pub(super) fn finish(mut self, server_version: u32) -> Catalog {
        definitions::propagate(&mut self);
        for (oid, (schema, name, mut relation)) in self.relations {
            if let Some((in_schema, schema)) = self.schemas.get_mut(&schema) {
                if relation.kind == RelationKind::Sequence {
                    let name = QualifiedName::new(in_schema.clone(), name.clone());
                    self.catalog.sequences.insert(oid, name);
                }
                relation.columns.shrink_to_fit();
                relation.column_types.shrink_to_fit();
                schema.relations.insert(name, relation);
            }
        }
        let schemas = self.schemas.into_values().map(|(name, schema)| (name, Arc::new(schema)));
        Catalog { server_version, schemas: schemas.collect(), ..self.catalog }
    }
}

pub(super) fn oid(row: &mut Row<'_>) -> Result<Oid, UpstreamError> {
    number_of(row.text()?)
}

fn number_of(text: &str) -> Result<Oid, UpstreamError> {
    text.parse().map_err(|_| UpstreamError::Catalog(format!("object number {text:?}")))
}
