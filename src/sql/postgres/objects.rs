//! Which schemas DDL touches: new objects, existing ones by name, and expressions inside definitions.

use std::rc::Rc;

use pg_raw_parse::Node;
use pg_raw_parse::nodes::RangeVar;
use pg_raw_parse::raw::ObjectType;

use super::functions::words;
use super::guarded::is_temporary_schema;
use super::needs::Target;
use super::walk::{Item, Walk, Walked, refuse_schema, refuse_temporary, undefined, unsupported};
use crate::sql::access::Object;

/// `RangeVar.relpersistence` of TEMP (RELPERSISTENCE_TEMP of pg_class.h).
const TEMPORARY: u8 = b't';

/// How the words of a name in DDL are to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// `[schema.]relation`.
    Relation,
    /// `[schema.]name` of something else that lives in a schema.
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
        | ObjectType::OBJECT_COLLATION
        | ObjectType::OBJECT_CONVERSION
        | ObjectType::OBJECT_DOMAIN
        | ObjectType::OBJECT_FUNCTION
        | ObjectType::OBJECT_OPERATOR
        | ObjectType::OBJECT_PROCEDURE
        | ObjectType::OBJECT_ROUTINE
        | ObjectType::OBJECT_STATISTIC_EXT
        | ObjectType::OBJECT_TSCONFIGURATION
        | ObjectType::OBJECT_TSDICTIONARY
        | ObjectType::OBJECT_TSPARSER
        | ObjectType::OBJECT_TSTEMPLATE
        | ObjectType::OBJECT_TYPE => Naming::Other,
        ObjectType::OBJECT_COLUMN
        | ObjectType::OBJECT_POLICY
        | ObjectType::OBJECT_RULE
        | ObjectType::OBJECT_TABCONSTRAINT
        | ObjectType::OBJECT_TRIGGER => Naming::Member,
        // Schemas, extensions, casts, languages, operator classes …, and whatever comes new.
        _ => Naming::Database,
    }
}

impl<'t> Walk<'t> {
    /// A relation to be made.
    pub(super) fn created(&mut self, var: &'t RangeVar) -> Walked {
        if self.is_temporary(var) {
            self.touch_temporary();
            self.makes_temporary = true;
            return Ok(());
        }
        let schema = match var.schemaname() {
            Some(schema) => self.schema(schema)?.0,
            None => self.creation_schema()?,
        };
        self.admin_schema(schema);
        Ok(())
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

    fn altered_name(
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
                return Ok(Some(target));
            }
            self.admin_schema(target.schema);
            return Ok(Some(target));
        }
        if !missing_ok {
            return undefined("42P01", format!("relation \"{name}\" does not exist"));
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
            (_, [name]) => self.altered_other(name),
            (_, [schema, _] | [_, schema, _]) => self.named_schema(schema, missing_ok),
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
    fn altered_other(&mut self, name: &str) -> Walked {
        let having: Vec<&'t str> = self
            .path()
            .filter(|(schema, _)| !is_temporary_schema(schema))
            .filter(|(_, objects)| {
                objects.functions.contains_key(name)
                    || objects.types.contains_key(name)
                    || objects.operators.contains_key(name)
                    || objects.relations.contains_key(name)
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
        self.admin_schema(schema);
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
