//! A catalog while its rows arrive, whoever carries them.

use std::collections::HashMap;
use std::sync::Arc;

use super::client::Row;
use super::doubts::Doubts;
use super::error::UpstreamError;
use crate::sql::catalog::{
    AtReplica, CalledCast, Catalog, Definition, Function, Language, Mark, Operator, Origin,
    Relation, RelationKind, Routine, Schema, Type, TypeKind, Volatility,
};
use crate::sql::name::QualifiedName;

/// Takes the rows of one statement.
pub(super) type Take = fn(&mut Loading, Row<'_>) -> Result<(), UpstreamError>;

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
    /// The relations that indexes are on.
    tables: HashMap<Oid, Oid>,
    /// What inherits from a relation.
    pub children: HashMap<Oid, Vec<Oid>>,
    /// What is not known to be the same at a replica.
    pub doubts: Doubts,
    pub catalog: Catalog,
    /// Where the server stands; its horizon is 0 when nobody asks.
    pub mark: Mark,
    /// Relations that are as they were before.
    known: HashMap<Oid, (Oid, Box<str>, Relation)>,
    /// Their definitions then, for what cannot be written out now.
    pub kept: HashMap<Oid, Definition>,
    /// Something could not: it is read again before long.
    pub busy: bool,
    /// The relation whose columns come.
    columns_of: Oid,
}

impl Loading {
    pub fn schema(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let (oid, name) = (oid(&mut row)?, row.text()?);
        let schema = Schema { restricted: row.text()? == "t", ..Schema::default() };
        self.schemas.insert(oid, (name.into(), schema));
        Ok(())
    }

    /// One that has the relations of `known` at hand; those that still exist are taken over.
    pub fn since(known: Option<&Catalog>) -> Self {
        let mut loading = Self::default();
        let Some((catalog, mark)) = known.and_then(|known| Some((known, known.mark.as_ref()?)))
        else {
            return loading;
        };
        loading.tables.clone_from(&mark.tables);
        for (number, (schema, name)) in &mark.relations {
            let Some(in_schema) = mark.schemas.get(schema) else { continue };
            let Some(found) = catalog.relation(in_schema, name) else { continue };
            let relation = Relation {
                kind: found.kind,
                columns: found.columns.clone(),
                column_types: found.column_types.clone(),
                ..Relation::default()
            };
            loading.known.insert(*number, (*schema, name.clone(), relation));
            let of_text = |it: &&Definition| it.invoker_query.is_some() || !it.policies.is_empty();
            if let Some(definition) = found.definition.as_deref().filter(of_text) {
                loading.kept.insert(*number, definition.clone());
            }
        }
        loading
    }

    pub fn mark(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let number = |text: &str| format!("mark {text:?}");
        let (horizon, started) = (row.text()?, row.text()?);
        self.mark.horizon = horizon.parse().map_err(|_| UpstreamError::Catalog(number(horizon)))?;
        self.mark.started = started.parse().map_err(|_| UpstreamError::Catalog(number(started)))?;
        self.mark.database = oid(&mut row)?;
        Ok(())
    }

    pub fn existing(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        for number in row.text()?.split(' ') {
            let number = number_of(number)?;
            self.relations.extend(self.known.remove_entry(&number));
        }
        Ok(())
    }

    pub fn relation(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
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
        let table = number_of(row.text()?)?;
        if table != 0 {
            self.tables.insert(oid, table);
        }
        self.relations.insert(oid, (schema, name, Relation { kind, ..Relation::default() }));
        Ok(())
    }

    pub fn child(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let (parent, child) = (oid(&mut row)?, oid(&mut row)?);
        self.children.entry(parent).or_default().push(child);
        Ok(())
    }

    pub fn bypassed(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        if let Some((_, _, relation)) = self.relations.get_mut(&oid(&mut row)?) {
            relation.bypassed_row_security = true;
        }
        Ok(())
    }

    pub fn unlogged(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        if let Some((_, _, relation)) = self.relations.get_mut(&oid(&mut row)?) {
            relation.at_replica = AtReplica::Unlogged;
        }
        Ok(())
    }

    pub fn coded(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        if let Some((_, _, relation)) = self.relations.get_mut(&oid(&mut row)?) {
            relation.runs_code = true;
        }
        Ok(())
    }

    /// All columns of a relation come one after the other, those that were dropped without a name.
    pub fn column(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let number = oid(&mut row)?;
        let first = std::mem::replace(&mut self.columns_of, number) != number;
        let Some((_, _, relation)) = self.relations.get_mut(&number) else { return Ok(()) };
        if first {
            relation.columns.clear();
            relation.column_types.clear();
        }
        if let Some(name) = row.field()? {
            relation.columns.push(name.into());
            relation.column_types.push(oid(&mut row)?);
        }
        Ok(())
    }

    pub fn sequence(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let (sequence, owner, column) = (oid(&mut row)?, oid(&mut row)?, row.text()?.into());
        let Some(owner) = self.name(owner) else { return Ok(()) };
        if let Some((_, _, relation)) = self.relations.get_mut(&sequence) {
            relation.owned_by = Some((owner, column));
        }
        Ok(())
    }

    pub fn function(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let (number, schema_number) = (oid(&mut row)?, oid(&mut row)?);
        let Some((schema, objects)) = self.schemas.get_mut(&schema_number) else { return Ok(()) };
        let name: Box<str> = row.text()?.into();
        let arguments: Box<str> = row.text()?.into();
        let mut inputs = Vec::new();
        for input in row.text()?.split_ascii_whitespace() {
            inputs.push(number_of(input)?);
        }
        let defaults = oid(&mut row)?;
        let mut function = Function {
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
            at_replica: false,
        };
        let words = row.field()?;
        let overloads = objects.functions.entry(name.clone()).or_default();
        let place = (schema_number, &*name, overloads.len());
        function.at_replica = self.doubts.function(number, place, &function, words);
        if !function.public {
            let name = QualifiedName::new(schema.clone(), name);
            self.closed.insert(number, Routine { name, arguments });
        }
        overloads.push(function);
        Ok(())
    }

    pub fn operator(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let (schema, name) = (oid(&mut row)?, row.text()?.into());
        let (left, right) = (oid(&mut row)?, oid(&mut row)?);
        let Some(function) = self.routine(&mut row)? else { return Ok(()) };
        let Some((_, schema)) = self.schemas.get_mut(&schema) else { return Ok(()) };
        let overloads = schema.operators.entry(name).or_default();
        overloads.push(Operator { left, right, function });
        Ok(())
    }

    pub fn cast(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        let (source, target, context) = (oid(&mut row)?, oid(&mut row)?, row.text()?);
        if let Some(function) = self.routine(&mut row)? {
            let automatic = context != "e";
            let cast = CalledCast { source, target, automatic, function };
            self.catalog.called_casts.push(cast);
        }
        self.catalog.casts.insert((source, target), context == "i");
        Ok(())
    }

    pub fn type_(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
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
        // Until it is doubted for what it uses.
        let at_replica = true;
        let found =
            Type { kind, category, preferred, element, base, checks: Vec::new(), at_replica };
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

    pub fn temporary(&mut self, mut row: Row<'_>) -> Result<(), UpstreamError> {
        self.catalog.public_temporary = row.text()? == "t";
        Ok(())
    }

    /// Names what indexes are on and what inherits from a relation: renaming one writes no other anew.
    fn relate(&mut self) {
        self.tables.retain(|index, _| self.relations.contains_key(index));
        let tables: Vec<_> =
            self.tables.iter().map(|(index, table)| (*index, self.name(*table))).collect();
        for (index, table) in tables {
            if let Some((_, _, relation)) = self.relations.get_mut(&index) {
                relation.table = table;
            }
        }
        for (parent, children) in std::mem::take(&mut self.children) {
            let is_index =
                |(_, _, relation): &(_, _, Relation)| relation.kind == RelationKind::Index;
            if self.relations.get(&parent).is_none_or(is_index) {
                continue;
            }
            let children = children.into_iter().filter_map(|child| self.name(child)).collect();
            if let Some((_, _, relation)) = self.relations.get_mut(&parent) {
                relation.children = children;
            }
        }
    }

    /// The catalog, once every part has come.
    pub fn finish(mut self, server_version: u32) -> Catalog {
        self.relate();
        let mut mark = self.mark;
        for (oid, (schema_oid, name, mut relation)) in self.relations {
            if let Some((in_schema, schema)) = self.schemas.get_mut(&schema_oid) {
                if relation.kind == RelationKind::Sequence {
                    let name = QualifiedName::new(in_schema.clone(), name.clone());
                    self.catalog.sequences.insert(oid, name);
                }
                if mark.horizon != 0 {
                    mark.relations.insert(oid, (schema_oid, name.clone()));
                }
                relation.columns.shrink_to_fit();
                relation.column_types.shrink_to_fit();
                schema.relations.insert(name, relation);
            }
        }
        let known = (mark.horizon != 0).then(|| {
            let schemas = self.schemas.iter();
            mark.schemas = schemas.map(|(number, (name, _))| (*number, name.clone())).collect();
            mark.tables = self.tables;
            mark.closed = self.closed.into_keys().collect();
            mark.closed.sort_unstable();
            mark.calling.sort_unstable();
            mark.calling.dedup();
            mark.doubted.sort_unstable();
            mark.doubted.dedup();
            Arc::new(mark)
        });
        let schemas = self.schemas.into_values().map(|(name, schema)| (name, Arc::new(schema)));
        Catalog { server_version, schemas: schemas.collect(), mark: known, ..self.catalog }
    }
}

pub(super) fn oid(row: &mut Row<'_>) -> Result<Oid, UpstreamError> {
    number_of(row.text()?)
}

fn number_of(text: &str) -> Result<Oid, UpstreamError> {
    text.parse().map_err(|_| UpstreamError::Catalog(format!("object number {text:?}")))
}
