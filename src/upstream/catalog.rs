//! Loading a server's names, PostgreSQL 13 to 18.
//!
//! Every statement here runs under a search path of `pg_catalog` alone, so that unqualified names,
//! operators among them, can mean nothing of a user's making.

use std::collections::HashMap;
use std::sync::Arc;

use super::client::{self, Bounds, Row};
use super::connect::Connection;
use super::error::UpstreamError;
use super::fingerprint::{self, Fingerprint};
use crate::sql::catalog::{Catalog, Function, Relation, RelationKind, Schema, TypeKind};
use crate::sql::name::QualifiedName;

/// One moment for all statements. Catalogs have no row-level security and no user code to run.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
    SELECT set_config('search_path', 'pg_catalog, pg_temp', true)";

/// Temporary schemas are a session's own affair, and come and go with sessions.
const SCHEMAS: &str =
    "SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_[0-9]'";

/// What stands in pg_toast only its owner may read, and nobody does by name.
const RELATIONS: &str = "SELECT c.oid, c.relnamespace, c.relname, c.relkind, \
    c.relrowsecurity AND (r.rolsuper OR r.rolbypassrls \
        OR (NOT c.relforcerowsecurity AND pg_has_role(r.oid, c.relowner, 'USAGE'))), \
    false FROM pg_class c CROSS JOIN pg_roles r WHERE r.rolname = current_user \
    AND c.relpersistence <> 't' AND c.relnamespace <> 'pg_toast'::regnamespace";

const COLUMNS: &str = "SELECT attrelid, attname FROM pg_attribute \
    WHERE attnum > 0 AND NOT attisdropped AND attrelid IN (SELECT oid FROM pg_class \
        WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') AND relpersistence <> 't') \
    ORDER BY attrelid, attnum";

/// `serial` depends automatically on its column, an identity column's sequence internally.
const SEQUENCES: &str = "SELECT d.objid, d.refobjid, a.attname FROM pg_class s \
    JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.objsubid = 0 \
        AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i') \
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
    WHERE s.relkind = 'S'";

const FUNCTIONS: &str = "SELECT pronamespace, proname, oidvectortypes(proargtypes) FROM pg_proc \
    WHERE pronamespace NOT IN (SELECT oid FROM pg_namespace \
        WHERE nspname IN ('pg_catalog', 'information_schema', 'pg_toast')) ORDER BY oid";

const OPERATORS: &str = "SELECT DISTINCT oprnamespace, oprname FROM pg_operator \
    WHERE oprnamespace NOT IN (SELECT oid FROM pg_namespace \
        WHERE nspname IN ('pg_catalog', 'information_schema', 'pg_toast'))";

/// A row type belongs to a relation of another kind than `c`; an array is some type's `typarray`.
const TYPES: &str = "SELECT typnamespace, typname, typtype FROM pg_type t \
    WHERE (typrelid = 0 OR EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND relkind = 'c')) \
    AND oid NOT IN (SELECT typarray FROM pg_type)";

/// Whether everybody may make temporary objects.
const TEMPORARY: &str = "SELECT has_database_privilege('public', current_database(), 'TEMPORARY')";

/// The schema with the temporary objects of the session that asks, once it has one.
const OWN_SCHEMA: &str = "SELECT oid, nspname FROM pg_namespace WHERE oid = pg_my_temp_schema()";

/// Its relations. A policy on one would be of its own making.
const OWN_RELATIONS: &str = "SELECT oid, relnamespace, relname, relkind, false, \
    (relhasrules AND relkind <> 'v') OR EXISTS (SELECT FROM pg_trigger t \
        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) \
    FROM pg_class c WHERE relnamespace = pg_my_temp_schema()";

const OWN_COLUMNS: &str = "SELECT attrelid, attname FROM pg_attribute \
    WHERE attnum > 0 AND NOT attisdropped AND attrelid IN (SELECT oid FROM pg_class \
        WHERE relkind <> 'i' AND relnamespace = pg_my_temp_schema()) \
    ORDER BY attrelid, attnum";

const OWN_TYPES: &str = "SELECT typnamespace, typname, typtype FROM pg_type \
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
    (TEMPORARY, Loading::temporary),
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

type Oid = u32;

/// A catalog by number, while its parts arrive.
#[derive(Default)]
pub(super) struct Loading {
    public_temporary: bool,
    schemas: HashMap<Oid, (Box<str>, Schema)>,
    relations: HashMap<Oid, (Oid, Box<str>, Relation)>,
}

impl Loading {
    fn schema(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let (oid, name) = (oid(&mut row)?, row.text()?);
        self.schemas.insert(oid, (name.into(), Schema::default()));
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
        let relation = Relation {
            kind,
            columns: Vec::new(),
            owned_by: None,
            bypassed_row_security,
            runs_code,
        };
        self.relations.insert(oid, (schema, name, relation));
        Ok(())
    }

    fn column(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        if let Some((_, _, relation)) = self.relations.get_mut(&oid(&mut row)?) {
            relation.columns.push(row.text()?.into());
        }
        Ok(())
    }

    fn sequence(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let (sequence, owner, column) = (oid(&mut row)?, oid(&mut row)?, row.text()?.into());
        let Some((schema, name, _)) = self.relations.get(&owner) else { return Ok(()) };
        let Some((schema, _)) = self.schemas.get(schema) else { return Ok(()) };
        let owner = QualifiedName::new(schema.clone(), name.clone());
        if let Some((_, _, relation)) = self.relations.get_mut(&sequence) {
            relation.owned_by = Some((owner, column));
        }
        Ok(())
    }

    fn function(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let Some(schema) = self.schema_of(&mut row)? else { return Ok(()) };
        let overloads = schema.functions.entry(row.text()?.into()).or_default();
        overloads.push(Function { arguments: row.text()?.into() });
        Ok(())
    }

    fn operator(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let Some(schema) = self.schema_of(&mut row)? else { return Ok(()) };
        schema.operators.insert(row.text()?.into());
        Ok(())
    }

    fn type_(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let Some(schema) = self.schema_of(&mut row)? else { return Ok(()) };
        let name = row.text()?.into();
        let kind = match row.text()? {
            "b" | "r" | "m" => TypeKind::Base,
            "e" => TypeKind::Enum,
            "d" => TypeKind::Domain,
            "c" => TypeKind::Composite,
            "p" => TypeKind::Pseudo,
            other => return Err(UpstreamError::Catalog(format!("typtype {other:?}"))),
        };
        schema.types.insert(name, kind);
        Ok(())
    }

    fn temporary(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        self.public_temporary = row.text()? == "t";
        Ok(())
    }

    /// The schema that the next field names by number; `None` for a temporary one.
    fn schema_of(&mut self, row: &mut Row<'_>) -> Result<Option<&mut Schema>, UpstreamError> {
        Ok(self.schemas.get_mut(&oid(row)?).map(|(_, schema)| schema))
    }

    pub(super) fn finish(mut self, server_version: u32) -> Catalog {
        for (_, (schema, name, relation)) in self.relations {
            if let Some((_, schema)) = self.schemas.get_mut(&schema) {
                schema.relations.insert(name, relation);
            }
        }
        let schemas = self.schemas.into_values().map(|(name, schema)| (name, Arc::new(schema)));
        Catalog {
            version: 0,
            server_version,
            schemas: schemas.collect(),
            public_temporary: self.public_temporary,
        }
    }
}

fn oid(row: &mut Row<'_>) -> Result<Oid, UpstreamError> {
    let text = row.text()?;
    text.parse().map_err(|_| UpstreamError::Catalog(format!("object number {text:?}")))
}
