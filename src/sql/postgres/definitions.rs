//! The pieces of definitions: columns, constraints, defaults, partitions, and the relations they name.

use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{ColumnDef, Constraint, IndexElem, RangeVar};

use super::functions::words;
use super::objects::Naming;
use super::walk::{Walk, Walked, unsupported};
use crate::sql::access::Operation;

impl<'t> Walk<'t> {
    /// Does a step with an optional part.
    pub(super) fn opt<T>(
        &mut self,
        part: Option<&'t T>,
        step: impl FnOnce(&mut Self, &'t T) -> Walked,
    ) -> Walked {
        part.map_or(Ok(()), |part| step(self, part))
    }

    pub(super) fn changed_relation(&mut self, var: &'t RangeVar, missing_ok: bool) -> Walked {
        self.altered(var, missing_ok).map(drop)
    }

    pub(super) fn definition_parts(&mut self, name: &'t str, list: &'t NodeList) -> Walked {
        self.in_definition(name, |walk| list.iter().try_for_each(|node| walk.definition_node(node)))
    }

    pub(super) fn index_element(&mut self, element: &'t IndexElem) -> Walked {
        self.part(element.expr())
    }

    /// OWNED BY of a sequence's options.
    pub(super) fn owned_by(&mut self, options: &'t NodeList) -> Walked {
        for option in options {
            let Node::DefElem(option) = option else { continue };
            if option.defname() == Some("owned_by")
                && let Node::NodeList(names) = option.arg()
                && words(names) != ["none"]
            {
                self.object(Naming::Member, option.arg(), false)?;
            }
        }
        Ok(())
    }

    /// A piece of a definition: a column, a constraint, an expression, another relation's name.
    pub(super) fn definition_node(&mut self, node: Node<'t>) -> Walked {
        match node {
            Node::None
            | Node::DefElem(_)
            | Node::RoleSpec(_)
            | Node::Integer(_)
            | Node::String(_)
            | Node::Float(_)
            | Node::Boolean(_)
            | Node::ATAlterConstraint(_)
            | Node::ReplicaIdentityStmt(_) => Ok(()),
            Node::NodeList(list) => {
                self.nested(|walk| list.iter().try_for_each(|node| walk.definition_node(node)))
            }
            Node::ColumnDef(column) => self.column_def(column),
            Node::Constraint(constraint) => self.constraint(constraint),
            // A parent or partition.
            Node::RangeVar(var) => self.changed_relation(var, false),
            Node::PartitionCmd(command) => {
                self.opt(command.name(), |walk, var| walk.changed_relation(var, false))?;
                self.definition_node(command.bound().into())
            }
            Node::PartitionBoundSpec(bound) => {
                for list in [bound.listdatums(), bound.lowerdatums(), bound.upperdatums()] {
                    for datum in list {
                        match datum {
                            Node::PartitionRangeDatum(datum) => self.part(datum.value())?,
                            other => self.part(other)?,
                        }
                    }
                }
                Ok(())
            }
            Node::TableLikeClause(like) => self.opt(like.relation(), |walk, var| {
                let source = walk.relation(var)?;
                walk.needs.whole(Operation::Select, source);
                Ok(())
            }),
            Node::TypeName(name) => self.type_name(name),
            Node::IndexElem(element) => self.index_element(element),
            Node::StatsElem(element) => self.part(element.expr()),
            other => self.part(other),
        }
    }

    pub(super) fn column_def(&mut self, column: &'t ColumnDef) -> Walked {
        if let Some(name) = column.type_name()
            && !is_serial(column)
        {
            self.type_name(name)?;
        }
        self.part(column.raw_default())?;
        column.constraints().iter().try_for_each(|node| self.definition_node(node))
    }

    pub(super) fn constraint(&mut self, constraint: &'t Constraint) -> Walked {
        self.part(constraint.raw_expr())?;
        self.part(constraint.where_clause())?;
        self.tablespace(constraint.indexspace());
        for exclusion in constraint.exclusions() {
            // A pair: what is compared, and the operator's name.
            let pair = exclusion.as_node_list();
            match pair.and_then(|pair| pair.get(0)) {
                Some(Node::IndexElem(element)) => self.index_element(element)?,
                _ => return unsupported("An exclusion constraint holds something without a rule."),
            }
            if let Some(operator) = pair.and_then(|pair| pair.get(1)).and_then(|n| n.as_node_list())
            {
                self.operator(&words(operator), None, None)?;
            }
        }
        if let Some(table) = constraint.pktable() {
            // Without a list these are the columns of the primary key, which is not known here. A table
            // may refer to itself while it is made.
            if let Some(target) =
                self.find(table.schemaname(), table.relname().unwrap_or_default())?
            {
                let columns = words(constraint.pk_attrs());
                if columns.is_empty() {
                    self.needs.whole(Operation::References, target);
                }
                for column in columns {
                    self.target_column(Operation::References, target, column)?;
                }
            }
        }
        Ok(())
    }
}

/// Whether a column is of `serial` or its like, which is no type but a sequence beside the table.
pub(super) fn is_serial(column: &ColumnDef) -> bool {
    let serial = ["smallserial", "serial", "bigserial", "serial2", "serial4", "serial8"];
    let names = column.type_name().map(|name| name.names());
    names.is_some_and(|names| {
        let mut names = names.iter().filter_map(|name| name.sval());
        names.next().is_some_and(|name| serial.contains(&name)) && names.next().is_none()
    })
}
