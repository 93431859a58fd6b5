//! What DDL is about: new objects, existing ones by name, and expressions inside definitions.
//!
//! A new object takes CREATE on its schema, as the server asks. One that exists takes ADMIN on it, which
//! stands for owning it, where it is a relation or belongs to one; else ADMIN on its schema.

use std::rc::Rc;

use pg_raw_parse::Node;
use pg_raw_parse::nodes::RangeVar;
use pg_raw_parse::raw::ObjectType;

use super::functions::words;
use super::guarded::is_temporary_schema;
use super::needs::Target;
use super::walk::{Item, Walk, Walked, refuse_schema, refuse_temporary, undefined, unsupported};
use crate::sql::access::{Object, Operation};
use crate::sql::catalog::RelationKind;
use crate::sql::name::QualifiedName;

/// `RangeVar.relpersistence` of TEMP (RELPERSISTENCE_TEMP of pg_class.h).
const TEMPORARY: u8 = b't';

/// How the words of a name in DDL are to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// `[schema.]relation`.
    Relation,
    /// `[schema.]name` of a function, procedure or aggregate.
    Routine,
    /// `[schema.]name` of an operator.
    Operator,
    /// `[schema.]name` of a type or domain.
    Type,
    /// `[schema.]name` of something else that lives in a schema, and is not in the catalog.
    Other,
    /// `[schema.]relation.name`: columns, constraints, triggers, rules, policies.
    Member,
    /// Something that belongs to the database as a whole.
    Database,
}

/// How objects of a type are named.
pub(super) fn naming(object: ObjectType::Type) -> Naming {
    match object {
        ObjectType::OBJECT_TABLE
        | ObjectType::OBJECT_VIEW
        | ObjectType::OBJECT_MATVIEW
        | ObjectType::OBJECT_INDEX
        | ObjectType::OBJECT_SEQUENCE
        | ObjectType::OBJECT_FOREIGN_TABLE => Naming::Relation,
        ObjectType::OBJECT_AGGREGATE
        | ObjectType::OBJECT_FUNCTION
        | ObjectType::OBJECT_PROCEDURE
        | ObjectType::OBJECT_ROUTINE => Naming::Routine,
        ObjectType::OBJECT_OPERATOR => Naming::Operator,
        ObjectType::OBJECT_DOMAIN | ObjectType::OBJECT_TYPE => Naming::Type,
        ObjectType::OBJECT_COLLATION
        | ObjectType::OBJECT_CONVERSION
        | ObjectType::OBJECT_STATISTIC_EXT
        | ObjectType::OBJECT_TSCONFIGURATION
        | ObjectType::OBJECT_TSDICTIONARY
        | ObjectType::OBJECT_TSPARSER
        | ObjectType::OBJECT_TSTEMPLATE => Naming::Other,
        ObjectType::OBJECT_COLUMN
        | ObjectType::OBJECT_POLICY
        | ObjectType::OBJECT_RULE
        | ObjectType::OBJECT_TABCONSTRAINT
        | ObjectType::OBJECT_TRIGGER => Naming::Member,
        // Schemas, extensions, casts, languages, operator classes …, and whatever comes new.
        _ => Naming::Database,
    }
}

/// Whom a relation belongs to: the server has indexes, and sequences of columns, belong to their table's
/// owner.
fn owned(target: Target<'_>) -> Object {
    let relation = target.relation;
    match (relation.kind, &relation.table, &relation.owned_by) {
        _ if target.is_system() => Object::Database,
        (RelationKind::Index, Some(table), _) => Object::Relation(table.clone()),
        (RelationKind::Sequence, _, Some((owner, _))) => Object::Relation(owner.clone()),
        (RelationKind::Sequence, ..) => {
            Object::Sequence(QualifiedName::new(target.schema, target.name))
        }
        (RelationKind::Index | RelationKind::Toast, ..) => Object::Schema(target.schema.into()),
        (
            RelationKind::Table
            | RelationKind::View
            | RelationKind::MaterializedView
            | RelationKind::ForeignTable
            | RelationKind::Composite,
            ..,
        ) => Object::Relation(QualifiedName::new(target.schema, target.name)),
    }
}

impl<'t> Walk<'t> {
    /// A relation to be made.
    pub(super) fn created(&mut self, var: &'t RangeVar) -> Walked {
        self.creation(var).map(drop)
    }

    /// A relation to be made, and the schema that it goes to; `None` for a temporary one.
    pub(super) fn creation(&mut self, var: &'t RangeVar) -> Walked<Option<&'t str>> {
        if self.is_temporary(var) {
            self.touch_temporary();
            self.makes_temporary = true;
            return Ok(None);
        }
        let schema = match var.schemaname() {
            Some(schema) => self.schema(schema)?.0,
            None => self.creation_schema()?,
        };
        self.create_in(schema);
        Ok(Some(schema))
    }

    /// A tablespace that is named: CREATE on it is no privilege of grants.
    pub(super) fn tablespace(&mut self, name: Option<&str>) {
        if name.is_some_and(|name| !name.is_empty()) {
            self.needs.admin(Object::Database);
        }
    }

    /// Whether a relation to be made is to be a temporary one.
    pub(super) fn is_temporary(&self, var: &RangeVar) -> bool {
        var.relpersistence.to_ne_bytes() == [TEMPORARY]
            || var.schemaname().is_some_and(|schema| self.is_own_temporary(schema))
    }

    /// Whether DDL is about a temporary relation: refused when what it defines would be used again and
    /// again without a grant.
    pub(super) fn check_deferred(&self) -> Walked {
        if self.temporary && self.needs.defers() {
            return unsupported(
                "A temporary table's definition calls only built-in functions, and no sequences.",
            );
        }
        Ok(())
    }

    /// A relation that is to be changed or dropped.
    pub(super) fn altered(
        &mut self,
        var: &'t RangeVar,
        missing_ok: bool,
    ) -> Walked<Option<Target<'t>>> {
        let name = var.relname().unwrap_or_default();
        self.altered_name(var.schemaname(), name, missing_ok)
    }

    /// A relation that is to be changed, with all that inherits from it unless ONLY says otherwise.
    pub(super) fn altered_with_children(
        &mut self,
        var: &'t RangeVar,
        missing_ok: bool,
    ) -> Walked<Option<Target<'t>>> {
        let target = self.altered(var, missing_ok)?;
        if let Some(target) = target {
            for child in self.children(target, var)? {
                self.needs.admin(owned(child));
            }
        }
        Ok(target)
    }

    /// What inherits from a relation, directly or not; nothing when ONLY says so. One that is temporary is
    /// the session's own.
    pub(super) fn children(
        &mut self,
        target: Target<'t>,
        var: &RangeVar,
    ) -> Walked<Vec<Target<'t>>> {
        let catalog = self.scope.catalog;
        let mut found: Vec<Target<'t>> = Vec::new();
        let mut waiting = if var.inh { vec![target] } else { Vec::new() };
        while let Some(parent) = waiting.pop() {
            self.pay(parent.relation.children.len())?;
            for name in &parent.relation.children {
                let Some((schema, objects)) = catalog.schemas.get_key_value(&name.schema) else {
                    continue;
                };
                let Some((name, relation)) = objects.relations.get_key_value(&name.name) else {
                    continue;
                };
                let child = Target { schema, name, relation };
                self.pay(found.len())?;
                let known =
                    found.iter().any(|it| it.schema == child.schema && it.name == child.name);
                if !known && !child.is_temporary() {
                    found.push(child);
                    waiting.push(child);
                }
            }
        }
        Ok(found)
    }

    /// Takes what the owner of a relation may.
    pub(super) fn owned(&mut self, target: Target<'t>) {
        self.needs.admin(owned(target));
    }

    /// A relation whose storage or statistics are tended. From 17 on that is a privilege; before, its owner
    /// does it.
    pub(super) fn maintained(&mut self, var: &'t RangeVar) -> Walked {
        const MAINTAIN_SINCE: u32 = 170_000;
        if self.scope.catalog.server_version < MAINTAIN_SINCE {
            return self.altered_with_children(var, false).map(drop);
        }
        let name = var.relname().unwrap_or_default();
        let Some(target) = self.located(var.schemaname(), name, false)? else { return Ok(()) };
        let children = self.children(target, var)?;
        for target in [target].into_iter().chain(children) {
            let table = match &target.relation.table {
                Some(table) => self.find(Some(&table.schema), &table.name)?,
                None => Some(target),
            };
            match table.filter(|it| !matches!(it.relation.kind, RelationKind::Index)) {
                Some(table) => self.needs.whole(Operation::Maintain, table),
                None => self.needs.admin(owned(target)),
            }
        }
        Ok(())
    }

    fn altered_name(
        &mut self,
        schema: Option<&str>,
        name: &str,
        missing_ok: bool,
    ) -> Walked<Option<Target<'t>>> {
        let target = self.located(schema, name, missing_ok)?;
        if let Some(target) = target.filter(|it| !it.is_temporary()) {
            self.needs.admin(owned(target));
        }
        Ok(target)
    }

    /// A relation in DDL. Of what is not there only its schema can be asked for.
    fn located(
        &mut self,
        schema: Option<&str>,
        name: &str,
        missing_ok: bool,
    ) -> Walked<Option<Target<'t>>> {
        if let Some(schema) = schema
            && missing_ok
            && !self.has_schema(schema)?
        {
            self.missing(schema);
            return Ok(None);
        }
        if let Some(target) = self.find(schema, name)? {
            if target.is_temporary() {
                self.touch_temporary();
            }
            return Ok(Some(target));
        }
        if !missing_ok {
            let shown = schema.map(|schema| format!("{schema}.{name}"));
            let shown = shown.as_deref().unwrap_or(name);
            return undefined("42P01", format!("relation \"{shown}\" does not exist"));
        }
        match schema {
            Some(schema) => self.missing(schema),
            None => {
                let schema = self.creation_schema()?;
                self.admin_schema(schema);
            }
        }
        Ok(None)
    }

    /// DDL on what is not there, in a schema that may not be there either.
    fn missing(&mut self, schema: &str) {
        if self.is_own_temporary(schema) {
            self.touch_temporary();
        } else {
            self.admin_schema(schema);
        }
    }

    /// An object by the words of its name, as DROP, COMMENT and ALTER give it.
    pub(super) fn object(&mut self, naming: Naming, node: Node<'t>, missing_ok: bool) -> Walked {
        if naming == Naming::Database {
            self.needs.admin(Object::Database);
            return Ok(());
        }
        let mut names = match node {
            Node::NodeList(list) => words(list),
            Node::ObjectWithArgs(object) => words(object.objname()),
            Node::TypeName(name) => name.names().iter().filter_map(|name| name.sval()).collect(),
            Node::RangeVar(var) => {
                let mut names: Vec<&'t str> = var.schemaname().into_iter().collect();
                names.extend(var.relname());
                names
            }
            Node::String(name) => name.sval().into_iter().collect(),
            _ => return unsupported("A definition names its object in a way without a rule."),
        };
        if naming == Naming::Member {
            names.pop();
        }
        match (naming, names.as_slice()) {
            (Naming::Relation | Naming::Member, [name]) => {
                self.altered_name(None, name, missing_ok).map(drop)
            }
            (Naming::Relation | Naming::Member, [schema, name] | [_, schema, name]) => {
                self.altered_name(Some(schema), name, missing_ok).map(drop)
            }
            _ => self.other(naming, &names, missing_ok),
        }
    }

    /// Something that is no relation and belongs to none.
    pub(super) fn other(&mut self, naming: Naming, names: &[&'t str], missing_ok: bool) -> Walked {
        match names {
            [name] => {
                self.altered_other(naming, name);
                Ok(())
            }
            [schema, _] | [_, schema, _] => self.named_schema(schema, missing_ok),
            _ => unsupported("An object's name has too many parts."),
        }
    }

    /// A schema that is named in DDL.
    pub(super) fn named_schema(&mut self, schema: &str, missing_ok: bool) -> Walked {
        if missing_ok {
            refuse_schema(schema)?;
            self.resolved = true;
            self.admin_schema(schema);
            return Ok(());
        }
        refuse_schema(schema)?;
        let (schema, _) = self.schema(schema)?;
        self.admin_schema(schema);
        Ok(())
    }

    /// An unqualified name of something that is no relation: whichever schema of the path has it. Not all
    /// kinds are in the catalog, so that what is not found may be in any of them.
    fn altered_other(&mut self, naming: Naming, name: &str) {
        let having: Vec<&'t str> = self
            .path()
            .filter(|(schema, _)| !is_temporary_schema(schema))
            .filter(|(_, objects)| match naming {
                Naming::Routine => objects.functions.contains_key(name),
                Naming::Operator => objects.operators.contains_key(name),
                Naming::Type => objects.types.contains_key(name),
                _ => false,
            })
            .map(|(schema, _)| schema)
            .collect();
        let all: Vec<&'t str> = self
            .path()
            .map(|(schema, _)| schema)
            .filter(|schema| *schema != "pg_catalog" && !is_temporary_schema(schema))
            .collect();
        for schema in if having.is_empty() { all } else { having } {
            self.admin_schema(schema);
        }
        if self.needs.is_empty() {
            self.needs.admin(Object::Database);
        }
    }

    /// The schema that an object is moved to.
    pub(super) fn moved_to(&mut self, schema: &str) -> Walked {
        refuse_schema(schema)?;
        let (schema, _) = self.schema(schema)?;
        self.create_in(schema);
        Ok(())
    }

    /// The schema that a new object of this name goes to.
    pub(super) fn created_name(&mut self, names: &[&'t str]) -> Walked {
        let schema = match names {
            [_] => self.creation_schema()?,
            [schema, _] | [_, schema, _] if self.is_own_temporary(schema) => {
                return refuse_temporary();
            }
            [schema, _] | [_, schema, _] => self.schema(schema)?.0,
            _ => return unsupported("An object's name has too many parts."),
        };
        self.create_in(schema);
        Ok(())
    }

    /// Does a step where names may be columns of the relation that a definition is about. Reading those
    /// takes nothing beyond the ADMIN that the definition takes, so that any name is a column here.
    pub(super) fn in_definition(
        &mut self,
        name: &'t str,
        step: impl FnOnce(&mut Self) -> Walked,
    ) -> Walked {
        self.in_level(|walk| {
            walk.level()?.items.push(Item::derived(name, Rc::default(), true));
            step(walk)
        })
    }
}
