//! Operators and types by name, and what their use needs.

use pg_raw_parse::Node;
use pg_raw_parse::nodes::{TypeCast, TypeName};

use super::needs::Target;
use super::overload::{Argument, may_become};
use super::rivals::Rivals;
use super::special::names_objects;
use super::walk::{Walk, Walked, at, undefined, unsupported};
use crate::sql::access::Operation;
use crate::sql::catalog::{Operator, Routine, TypeId};

impl<'t> Walk<'t> {
    /// An operator by its possibly qualified name, and its operands where they are written out. Operators
    /// of the server call functions that PUBLIC may execute; of others, those that the operands fit count.
    pub(super) fn operator(
        &mut self,
        names: &[&str],
        left: Option<Node<'t>>,
        right: Option<Node<'t>>,
    ) -> Walked {
        match names {
            [name] => {
                for (_, objects) in self.path() {
                    if let Some(overloads) = objects.operators.get(*name) {
                        self.operators(Some(name), overloads, left, right)?;
                    }
                }
                Ok(())
            }
            [schema, name] => {
                let (schema, objects) = self.schema(schema)?;
                if schema == "pg_catalog" && objects.operators.is_empty() {
                    return Ok(());
                }
                self.uses_schema(schema);
                match objects.operators.get(*name) {
                    Some(overloads) => self.operators(None, overloads, left, right),
                    None if schema == "pg_catalog" => Ok(()),
                    None => undefined("42883", format!("operator does not exist: {schema}.{name}")),
                }
            }
            _ => unsupported("An operator's name has too many parts."),
        }
    }

    fn operators(
        &mut self,
        bare: Option<&str>,
        overloads: &'t [Operator],
        left: Option<Node<'t>>,
        right: Option<Node<'t>>,
    ) -> Walked {
        self.pay(overloads.len())?;
        let absent = |node: Option<Node<'t>>| matches!(node, Some(Node::None));
        let mut known = |node: Option<Node<'t>>| match node {
            Some(node) => self.argument_type(node),
            None => Argument::Unknown,
        };
        let (is_prefix, is_postfix) = (absent(left), absent(right));
        let (left, right) = (known(left), known(right));
        let catalog = self.scope.catalog;
        // A name with its schema means what is in that schema only.
        let rivals = bare.map(|name| Rivals::new(catalog, name, left, right));
        let may_be =
            |operator: &&Operator| rivals.as_ref().is_none_or(|rivals| rivals.may_be(operator));
        for operator in overloads.iter().filter(may_be) {
            let arity = (operator.left == 0) == is_prefix && (operator.right == 0) == is_postfix;
            let fits = (is_prefix || may_become(catalog, left, operator.left))
                && (is_postfix || may_become(catalog, right, operator.right));
            if arity && fits {
                self.implicit_casts(&[operator.left, operator.right]);
                self.calls_routine(&operator.function);
            }
        }
        Ok(())
    }

    /// A cast: its value is walked by whoever calls this.
    pub(super) fn cast(&mut self, cast: &'t TypeCast) -> Walked {
        let Some(name) = cast.type_name() else { return Ok(()) };
        self.type_name(name)?;
        let names: Vec<&str> = name.names().iter().filter_map(|name| name.sval()).collect();
        self.cast_gives_type(&names, cast.arg())?;
        if names_objects(&names) {
            self.names_object(cast.arg())?;
        }
        self.cast_to(name, cast.arg());
        Ok(())
    }

    /// What making a value of a type of users' runs: the checks of a domain, the function of a cast.
    fn cast_to(&mut self, name: &'t TypeName, value: Node<'t>) {
        let catalog = self.scope.catalog;
        let Some(id) = self.type_id(name) else {
            // A row type, or not known: casts to those are made by nobody but users.
            let rows = |id: &TypeId| !catalog.types.contains_key(id);
            for cast in catalog.called_casts.iter().filter(|cast| rows(&cast.target)) {
                self.calls_routine(&cast.function);
            }
            return;
        };
        self.makes(id, Some(value));
    }

    /// The same, where the type is known.
    fn makes(&mut self, id: TypeId, value: Option<Node<'t>>) {
        let catalog = self.scope.catalog;
        let mut open = Some(id);
        // Elements of arrays, and what is below domains.
        for _ in 0..32 {
            let Some(found) = open.and_then(|id| catalog.types.get(&id)) else { break };
            for Routine { name, arguments } in &found.checks {
                self.needs.execute(&name.schema, &name.name, arguments);
            }
            open = [found.base, found.element].into_iter().find(|id| *id != 0);
        }
        if catalog.called_casts.is_empty() {
            return;
        }
        let from = value.map_or(Argument::Unknown, |value| self.argument_type(value));
        for cast in &catalog.called_casts {
            let fits = from != Argument::Literal && may_become(catalog, from, cast.source);
            if fits
                && (cast.target == id
                    || catalog.types.get(&id).is_some_and(|t| t.base != 0 || t.element != 0))
            {
                self.calls_routine(&cast.function);
            }
        }
    }

    /// `type(value)`, which is `value::type`; whether the name is that of a type.
    pub(super) fn casts_by_call(&mut self, name: &str, value: Option<Node<'t>>) -> Walked<bool> {
        let Some(schema) = self.type_in_path(name) else { return Ok(false) };
        self.places_named_type(schema, name);
        if let Some(value) = value {
            self.cast_gives_type(&[name], value)?;
        }
        if names_objects(&[name])
            && let Some(value) = value
        {
            self.names_object(value)?;
        }
        let objects = self.scope.catalog.schemas.get(schema);
        if let Some(id) = objects.and_then(|objects| objects.type_ids.get(name)) {
            self.makes(*id, value);
        }
        Ok(true)
    }

    /// A type by name, as a cast or a column definition uses it.
    ///
    /// Types need nothing of their own: only a superuser makes a base type, and an enum has no code. Names
    /// are resolved all the same, so that one that the catalog does not have is refused here.
    pub(super) fn type_name(&mut self, name: &'t TypeName) -> Walked {
        at(name.location, self.named_type(name))
    }

    fn named_type(&mut self, name: &'t TypeName) -> Walked {
        for modifier in name.typmods() {
            self.part(modifier)?;
        }
        let names: Vec<&'t str> = name.names().iter().filter_map(|name| name.sval()).collect();
        if name.pct_type {
            return unsupported("The type of a column (%TYPE) is not supported here.");
        }
        match names.as_slice() {
            [schema, name] | [_, schema, name] => {
                if *schema == "pg_catalog" {
                    return Ok(());
                }
                let (schema, objects) = self.schema(schema)?;
                self.uses_schema(schema);
                self.places_named_type(schema, name);
                let element = name.trim_start_matches('_');
                let known = [*name, element].iter().any(|name| {
                    objects.types.contains_key(*name) || objects.relations.contains_key(*name)
                });
                if known {
                    return Ok(());
                }
                undefined("42704", format!("type \"{schema}.{name}\" does not exist"))
            }
            [name] => match self.type_in_path(name) {
                Some(schema) => {
                    self.places_named_type(schema, name);
                    Ok(())
                }
                None => undefined("42704", format!("type \"{name}\" does not exist")),
            },
            _ => unsupported("A type's name has too many parts."),
        }
    }

    /// The schema of the path that has the type, a row type or an array of either.
    pub(super) fn type_in_path(&mut self, name: &str) -> Option<&'t str> {
        let element = name.trim_start_matches('_');
        self.path()
            .find(|(_, objects)| {
                [name, element].iter().any(|name| {
                    objects.types.contains_key(*name) || objects.relations.contains_key(*name)
                })
            })
            .map(|(schema, _)| schema)
    }

    /// Relations that a lock clause reaches.
    pub(super) fn lock(&mut self, targets: &[Target<'t>]) {
        for target in targets {
            self.needs.any_column(Operation::Select, *target);
            self.needs.any_column(Operation::Update, *target);
        }
    }
}
