//! What definitions do with the rights of whoever uses them: security-invoker views, policies, defaults.
//!
//! Their text is the server's own, written under a search path of `pg_catalog` alone, so that every other
//! name in it has its schema in front.

use pg_raw_parse::Node;
use pg_raw_parse::nodes::{RawStmt, SelectStmt};

use super::Scope;
use super::needs::Target;
use super::walk::{Item, Walk, Walked, unsupported};
use crate::sql::access::{Access, Columns, Object, Operation};
use crate::sql::catalog::TypeId;
use crate::sql::statement::NotUnderstood;

/// Numbers below are of what the server came with.
const FIRST_OF_USERS: TypeId = 16_384;

/// How deep definitions may stand in each other.
const INSIDE_MAX: u8 = 16;

/// A relation in use whose definition does something as its user.
pub(super) struct Use<'t> {
    target: Target<'t>,
    /// What the query of a security-invoker view needs.
    below: Vec<Access>,
}

impl<'t> Walk<'t> {
    /// A relation is used whose definition does something as its user.
    pub(super) fn used(&mut self, target: Target<'t>) -> Walked {
        let Some(definition) = &target.relation.definition else { return Ok(()) };
        if self.uses.iter().any(|known| same(known.target, target)) {
            return Ok(());
        }
        self.uses.push(Use { target, below: Vec::new() });
        let at = self.uses.len() - 1;
        if let Some(query) = &definition.invoker_query {
            let accesses = self.inside(target, query, false)?;
            self.needs.defined(accesses.clone());
            if let Some(used) = self.uses.get_mut(at) {
                used.below = accesses;
            }
        }
        for below in &definition.invokers_below {
            if let Some(below) = self.find(Some(&below.schema), &below.name)? {
                self.used(below)?;
            }
        }
        Ok(())
    }

    /// The conditions of row security of a command.
    fn policies(&mut self, target: Target<'t>, command: char) -> Walked {
        if target.relation.bypassed_row_security {
            // None of them runs: what the caller needs instead is gathered with the operation.
            return Ok(());
        }
        let definition = target.relation.definition.iter();
        for policy in definition.flat_map(|definition| &definition.policies) {
            if policy.commands.contains(command) {
                let text = format!("SELECT {}", policy.condition);
                let accesses = self.inside(target, &text, true)?;
                self.needs.defined(accesses);
            }
        }
        Ok(())
    }

    /// What a definition needs of the caller: a query, or a condition on the relation's own row.
    fn inside(
        &mut self,
        target: Target<'t>,
        text: &str,
        is_condition: bool,
    ) -> Walked<Vec<Access>> {
        if self.inside >= INSIDE_MAX {
            return Err(NotUnderstood::TooComplex {
                what: "Views and policies stand in each other too deep.".into(),
            });
        }
        self.pay(text.len())?;
        let not_read = || {
            unsupported(format!(
                "The definition of {}.{} is not understood here.",
                target.schema, target.name
            ))
        };
        let Ok(tree) = pg_raw_parse::parse(text) else { return not_read() };
        let path = [Box::from("pg_catalog")];
        let scope = Scope { catalog: self.scope.catalog, path: &path, parameters: &[] };
        let mut walk = Walk::new(&scope);
        walk.inside = self.inside + 1;
        let Some(Node::SelectStmt(select)) = tree.iter().next().map(RawStmt::stmt) else {
            return not_read();
        };
        let walked = if is_condition {
            walk.condition(target, select)
        } else {
            walk.query(Node::SelectStmt(select)).map(drop)
        };
        if walked.and_then(|()| walk.as_caller()).is_err() {
            return not_read();
        }
        let mut accesses = walk.needs.into_accesses();
        // USAGE of schemas was checked when the definition was made.
        accesses.retain(|access| {
            !matches!(access, Access::Privilege { object: Object::Schema(_), .. })
        });
        Ok(accesses)
    }

    /// A condition of a policy. Reading the columns of the relation itself needs nothing here.
    fn condition(&mut self, target: Target<'t>, select: &'t SelectStmt) -> Walked {
        self.in_level(|walk| {
            let names = target.relation.columns.iter().map(|column| &**column).collect();
            walk.level()?.items.push(Item::derived(target.name, names, false));
            select.target_list().iter().try_for_each(|entry| walk.part(entry.val()))
        })
    }

    /// What hangs on how relations are used, once that is known: policies, and writing below a
    /// security-invoker view as the caller, too.
    pub(super) fn as_caller(&mut self) -> Walked {
        for Use { target, below } in std::mem::take(&mut self.uses) {
            for (operation, command) in [
                (Operation::Select, 'r'),
                (Operation::Insert, 'a'),
                (Operation::Update, 'w'),
                (Operation::Delete, 'd'),
            ] {
                if !self.needs.has(operation, target) {
                    continue;
                }
                self.policies(target, command)?;
                if operation == Operation::Select {
                    continue;
                }
                let written = below.iter().filter_map(|access| match access {
                    Access::Privilege {
                        operation: Operation::Select,
                        object: object @ Object::Relation(_),
                        ..
                    } => Some(Access::Privilege {
                        operation,
                        object: object.clone(),
                        columns: Columns::Whole,
                    }),
                    _ => None,
                });
                self.needs.defined(written.collect());
            }
        }
        Ok(())
    }

    /// Sequences that defaults advance as the caller, of the columns that are not given.
    pub(super) fn defaults(&mut self, target: Target<'t>, given: impl Fn(&str) -> bool) -> Walked {
        let Some(definition) = &target.relation.definition else { return Ok(()) };
        for default in &definition.defaults {
            if default.column.as_deref().is_some_and(&given) {
                continue;
            }
            let found = match &default.sequence {
                Some(sequence) => self.find(Some(&sequence.schema), &sequence.name)?,
                None => None,
            };
            match found {
                Some(sequence) => self.needs.whole(Operation::Usage, sequence),
                // A name in a string: which sequence that is hangs on the path.
                None => self.admin_schema(target.schema),
            }
        }
        Ok(())
    }

    /// Casts that are applied without being asked for: where one of them calls a function that needs
    /// something, so does whatever uses a column of its type, or a function that takes it.
    pub(super) fn implicit_casts(&mut self, types: &[TypeId]) {
        for cast in self.scope.catalog.called_casts.iter().filter(|cast| cast.automatic) {
            // Of a type of users' and one of the server's, the users' tells whether the cast can occur.
            let users = |id: TypeId| id >= FIRST_OF_USERS;
            let both = users(cast.source) == users(cast.target);
            let tells = |id: TypeId| (both || users(id)) && types.contains(&id);
            if tells(cast.source) || tells(cast.target) {
                self.calls_routine(&cast.function);
            }
        }
    }
}

fn same(one: Target<'_>, other: Target<'_>) -> bool {
    one.schema == other.schema && one.name == other.name
}
