//! The walk over statements that change rows: INSERT, UPDATE, DELETE, MERGE.

use std::rc::Rc;

use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{
    DeleteStmt, InsertStmt, MergeStmt, OnConflictClause, RangeVar, ResTarget, ReturningClause,
    UpdateStmt,
};
use pg_raw_parse::raw::{CmdType, OnConflictAction, ReturningOptionKind};

use super::from::alias;
use super::needs::Target;
use super::walk::{Item, ItemColumns, Output, Walk, Walked, at, unsupported};
use crate::sql::access::Operation;

impl<'t> Walk<'t> {
    /// The relation that a statement changes: never a CTE, whatever its name.
    fn changed(&mut self, var: Option<&'t RangeVar>) -> Walked<(Target<'t>, Item<'t>)> {
        let Some(var) = var else { return unsupported("A statement names no relation.") };
        let target = at(var.location, self.relation(var))?;
        let (alias, renamed) = alias(var.alias());
        let item = Item {
            name: alias.unwrap_or(target.name),
            columns: ItemColumns::Relation { target, renamed: renamed.into() },
            qualified: alias.is_none(),
            by_name: true,
            by_column: true,
            locks: Rc::default(),
        };
        Ok((target, item))
    }

    /// INSERT; the caller has made its level.
    pub(super) fn insert(&mut self, insert: &'t InsertStmt) -> Walked<Output<'t>> {
        self.with(insert.with_clause())?;
        let (target, item) = self.changed(insert.relation())?;
        self.needs.any_column(Operation::Insert, target);
        let source = insert.select_stmt();
        let width = match source {
            // DEFAULT VALUES: no column is named.
            Node::None => Some(0),
            source => {
                let output = self.query(source)?;
                if output.open { None } else { Some(output.names.len()) }
            }
        };
        if insert.cols().is_empty() {
            // As many columns as there are values, from the left; the server names the others nowhere.
            let columns = target.relation.columns.iter();
            for column in columns.take(width.unwrap_or(usize::MAX)) {
                self.needs.column(Operation::Insert, target, column);
            }
        }
        for column in insert.cols() {
            let Node::ResTarget(column) = column else {
                return unsupported("A column list holds something without a rule.");
            };
            self.assigned(Operation::Insert, target, column)?;
        }
        self.insert_defaults(target, insert.cols(), width, |at| is_default(source, at))?;
        if let Some(conflict) = insert.on_conflict_clause() {
            self.conflict(conflict, target, &item)?;
        }
        self.level()?.items = vec![item];
        self.returning(insert.returning_clause(), target)
    }

    /// The defaults of the columns that a row is added without.
    fn insert_defaults(
        &mut self,
        target: Target<'t>,
        columns: &'t NodeList,
        width: Option<usize>,
        is_default: impl Fn(usize) -> bool,
    ) -> Walked {
        if target.relation.definition.is_none() {
            return Ok(());
        }
        let named = columns.iter().filter_map(|column| match column {
            Node::ResTarget(column) => column.name(),
            _ => None,
        });
        let named: Vec<&str> = if columns.is_empty() {
            let columns = target.relation.columns.iter().map(|column| &**column);
            columns.take(width.unwrap_or(0)).collect()
        } else {
            named.collect()
        };
        let given = |column: &str| {
            let at = named.iter().position(|name| *name == column);
            at.is_some_and(|at| !is_default(at))
        };
        self.defaults(target, given)
    }

    /// A column that a statement assigns to, with its subscripts.
    fn assigned(&mut self, operation: Operation, target: Target<'t>, to: &'t ResTarget) -> Walked {
        let is_default = match to.val() {
            Node::SetToDefault(_) => true,
            // `(a, b) = (DEFAULT, 1)`
            Node::MultiAssignRef(assign) => matches!(assign.source(), Node::RowExpr(row)
                if row.args().iter().any(|value| matches!(value, Node::SetToDefault(_)))),
            _ => false,
        };
        if is_default {
            self.defaults(target, |column| Some(column) != to.name())?;
        }
        self.subscripts(to.indirection())?;
        at(to.location, self.target_column(operation, target, to.name().unwrap_or_default()))
    }

    fn conflict(
        &mut self,
        conflict: &'t OnConflictClause,
        target: Target<'t>,
        item: &Item<'t>,
    ) -> Walked {
        self.level()?.items = vec![item.clone()];
        if let Some(infer) = conflict.infer() {
            for element in infer.index_elems() {
                match element {
                    // The columns of the arbiter index are read.
                    Node::IndexElem(element) => {
                        if let Some(name) = element.name() {
                            self.target_column(Operation::Select, target, name)?;
                        }
                        self.part(element.expr())?;
                    }
                    other => self.part(other)?,
                }
            }
            self.part(infer.where_clause())?;
            if infer.conname().is_some() {
                // Which columns the constraint has is not known here, so that all are asked for.
                self.needs.all_columns(Operation::Select, target);
            }
        }
        if conflict.action == OnConflictAction::ONCONFLICT_UPDATE {
            self.needs.any_column(Operation::Update, target);
            // Reading a column of `excluded` takes SELECT on the target's column of that name.
            let excluded = Item {
                name: "excluded",
                columns: ItemColumns::Relation { target, renamed: Rc::default() },
                qualified: false,
                by_name: true,
                by_column: false,
                locks: Rc::default(),
            };
            self.level()?.items.push(excluded);
            for assignment in conflict.target_list() {
                self.assigned(Operation::Update, target, assignment)?;
                self.part(assignment.val())?;
            }
            self.part(conflict.where_clause())?;
        }
        Ok(())
    }

    /// UPDATE; the caller has made its level.
    pub(super) fn update(&mut self, update: &'t UpdateStmt) -> Walked<Output<'t>> {
        self.with(update.with_clause())?;
        let (target, item) = self.changed(update.relation())?;
        self.needs.any_column(Operation::Update, target);
        self.level()?.items.push(item);
        self.read_from(update.from_clause())?;
        for assignment in update.target_list() {
            self.assigned(Operation::Update, target, assignment)?;
            self.part(assignment.val())?;
        }
        self.part(update.where_clause())?;
        self.returning(update.returning_clause(), target)
    }

    /// DELETE; the caller has made its level.
    pub(super) fn delete(&mut self, delete: &'t DeleteStmt) -> Walked<Output<'t>> {
        self.with(delete.with_clause())?;
        let (target, item) = self.changed(delete.relation())?;
        self.needs.whole(Operation::Delete, target);
        self.level()?.items.push(item);
        self.read_from(delete.using_clause())?;
        self.part(delete.where_clause())?;
        self.returning(delete.returning_clause(), target)
    }

    /// MERGE; the caller has made its level.
    pub(super) fn merge(&mut self, merge: &'t MergeStmt) -> Walked<Output<'t>> {
        self.with(merge.with_clause())?;
        let (target, item) = self.changed(merge.relation())?;
        // Even when no action changes anything, matching tells something of the target's rows.
        self.needs.any_column(Operation::Select, target);
        self.level()?.items.push(item);
        let list = self.merge_source(merge.source_relation())?;
        self.level()?.items.extend(list);
        self.part(merge.join_condition())?;
        for clause in merge.merge_when_clauses() {
            self.part(clause.condition())?;
            match clause.command_type {
                CmdType::CMD_INSERT => {
                    self.needs.any_column(Operation::Insert, target);
                    self.merge_insert(target, clause.target_list(), clause.values())?;
                }
                CmdType::CMD_UPDATE => {
                    self.needs.any_column(Operation::Update, target);
                    for assignment in clause.target_list() {
                        let Node::ResTarget(assignment) = assignment else {
                            return unsupported("MERGE assigns to something without a rule.");
                        };
                        self.assigned(Operation::Update, target, assignment)?;
                        self.part(assignment.val())?;
                    }
                }
                CmdType::CMD_DELETE => self.needs.whole(Operation::Delete, target),
                CmdType::CMD_NOTHING => {}
                _ => return unsupported("MERGE has an action without a rule."),
            }
        }
        self.returning(merge.returning_clause(), target)
    }

    /// The source does not see the target.
    fn merge_source(&mut self, source: Node<'t>) -> Walked<Vec<Item<'t>>> {
        let target = std::mem::take(&mut self.level()?.items);
        self.level()?.hidden = true;
        let items = self.read_item(source)?;
        let level = self.level()?;
        level.hidden = false;
        level.items = target;
        Ok(items)
    }

    fn merge_insert(
        &mut self,
        target: Target<'t>,
        columns: &'t NodeList,
        values: &'t NodeList,
    ) -> Walked {
        if columns.is_empty() {
            for column in target.relation.columns.iter().take(values.len()) {
                self.needs.column(Operation::Insert, target, column);
            }
        }
        for column in columns {
            let Node::ResTarget(column) = column else {
                return unsupported("MERGE inserts into something without a rule.");
            };
            self.assigned(Operation::Insert, target, column)?;
        }
        self.insert_defaults(target, columns, Some(values.len()), |at| {
            matches!(values.get(at), Some(Node::SetToDefault(_)))
        })?;
        self.parts(values)
    }

    /// RETURNING, which reads columns and may name the old and the new row.
    fn returning(
        &mut self,
        clause: Option<&'t ReturningClause>,
        target: Target<'t>,
    ) -> Walked<Output<'t>> {
        let mut output = Output::default();
        let Some(clause) = clause else { return Ok(output) };
        let (mut old, mut new) = ("old", "new");
        for option in clause.options() {
            let name = option.value().unwrap_or_default();
            match option.option {
                ReturningOptionKind::RETURNING_OPTION_OLD => old = name,
                ReturningOptionKind::RETURNING_OPTION_NEW => new = name,
                _ => return unsupported("RETURNING has an option without a rule."),
            }
        }
        for name in [old, new] {
            let level = self.level()?;
            // A FROM item of that name goes first.
            if !level.items.iter().any(|item| item.by_name && item.name == name) {
                level.items.push(Item {
                    name,
                    columns: ItemColumns::Relation { target, renamed: Rc::default() },
                    qualified: false,
                    by_name: true,
                    by_column: false,
                    locks: Rc::default(),
                });
            }
        }
        for entry in clause.exprs() {
            match entry {
                Node::ResTarget(entry) => self.target(entry, &mut output)?,
                other => self.part(other)?,
            }
        }
        Ok(output)
    }
}

/// Whether a row of VALUES leaves the column at that place to its default.
fn is_default(source: Node<'_>, at: usize) -> bool {
    let Node::SelectStmt(select) = source else { return false };
    select.values_lists().iter().any(|row| {
        row.as_node_list().is_some_and(|row| matches!(row.get(at), Some(Node::SetToDefault(_))))
    })
}
