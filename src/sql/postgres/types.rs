//! Operators and types by name, and what their use needs.

use pg_raw_parse::nodes::TypeName;

use super::needs::Target;
use super::walk::{Walk, Walked, undefined, unsupported};
use crate::sql::access::{Object, Operation};

impl<'t> Walk<'t> {
    /// An operator by its possibly qualified name.
    pub(super) fn operator(&mut self, names: &[&str]) -> Walked {
        match names {
            [name] => {
                // Which operator is meant depends on the types of its operands, which are not known
                // here. One that users made runs their function, in the name of the service account.
                let own = self.path().any(|(schema, objects)| {
                    schema != "pg_catalog" && objects.operators.contains(*name)
                });
                if own {
                    self.needs.admin(Object::Database);
                }
                Ok(())
            }
            ["pg_catalog", _] => Ok(()),
            [schema, _] => {
                self.schema(schema)?;
                self.needs.admin(Object::Database);
                Ok(())
            }
            _ => unsupported("An operator's name has too many parts."),
        }
    }

    /// A type by name, as a cast or a column definition uses it.
    ///
    /// Types need nothing of their own: only a superuser makes a base type, an enum has no code, and a
    /// domain's checks run just the same when a row is inserted that has a column of it. Names are
    /// resolved all the same, so that one that the catalog does not have is refused here.
    pub(super) fn type_name(&mut self, name: &'t TypeName) -> Walked {
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
                Some(_) => Ok(()),
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
