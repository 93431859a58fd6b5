//! The walk over FROM lists.

use std::rc::Rc;

use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{
    Alias, FuncCall, JoinExpr, JsonTable, JsonTableColumn, RangeFunction, RangeSubselect,
    RangeTableFunc, RangeTableSample, RangeVar,
};

use super::functions::words;
use super::names::output_name;
use super::nodes::{
    after_analysis, cluster_statements, database_definitions, json_expressions, pieces,
    plain_expressions, queries, role_statements, schema_definitions, session_statements,
};
use super::walk::{
    COLUMNS_MAX, COPY_COST, Item, ItemColumns, JoinColumn, Walk, Walked, at, unsupported,
};
use crate::sql::access::Operation;
use crate::sql::statement::NotUnderstood;

impl<'t> Walk<'t> {
    /// Puts a FROM list's items into this level.
    pub(super) fn read_from(&mut self, list: &'t NodeList) -> Walked {
        for node in list {
            let items = self.hidden(true, |walk| walk.read_item(node))?;
            self.level()?.items.extend(items);
        }
        Ok(())
    }

    /// Does a step with this level's items hidden, or visible for LATERAL.
    fn hidden<T>(&mut self, hidden: bool, step: impl FnOnce(&mut Self) -> Walked<T>) -> Walked<T> {
        let before = std::mem::replace(&mut self.level()?.hidden, hidden);
        let result = step(self);
        self.level()?.hidden = before;
        result
    }

    /// One FROM item, as the items that names see of it.
    pub(super) fn read_item(&mut self, node: Node<'t>) -> Walked<Vec<Item<'t>>> {
        self.nested(|walk| match node {
            Node::RangeVar(var) => walk.table(var).map(|item| vec![item]),
            Node::JoinExpr(join) => walk.join(join),
            Node::RangeSubselect(subselect) => walk.subselect(subselect).map(|item| vec![item]),
            Node::RangeFunction(function) => walk.function(function).map(|item| vec![item]),
            Node::RangeTableFunc(table) => walk.xml_table(table).map(|item| vec![item]),
            Node::JsonTable(table) => walk.json_table(table).map(|item| vec![item]),
            Node::RangeTableSample(sample) => walk.sample(sample),
            Node::None
            | Node::NodeList(_)
            | plain_expressions!()
            | json_expressions!()
            | pieces!()
            | queries!()
            | session_statements!()
            | schema_definitions!()
            | database_definitions!()
            | role_statements!()
            | cluster_statements!()
            | after_analysis!() => unsupported("A FROM list holds something without a rule."),
        })
    }

    /// A table, a view or a CTE by name.
    fn table(&mut self, var: &'t RangeVar) -> Walked<Item<'t>> {
        let name = var.relname().unwrap_or_default();
        let (alias, renamed) = alias(var.alias());
        let shown = alias.unwrap_or(name);
        if var.schemaname().is_none()
            && let Some(cte) = self.find_cte(name)?
        {
            let names = if renamed.is_empty() {
                cte.names
            } else {
                self.pay(cte.names.len().saturating_mul(COPY_COST))?;
                rename(&cte.names, &renamed)
            };
            return Ok(Item::derived(shown, names, cte.open));
        }
        let target = at(var.location, self.relation(var))?;
        self.needs.any_column(Operation::Select, target);
        Ok(Item {
            name: shown,
            columns: ItemColumns::Relation { target, renamed: renamed.into() },
            qualified: alias.is_none(),
            by_name: true,
            by_column: true,
            locks: Rc::from([target]),
        })
    }

    fn subselect(&mut self, subselect: &'t RangeSubselect) -> Walked<Item<'t>> {
        let output = self.hidden(!subselect.lateral, |walk| walk.query(subselect.subquery()))?;
        let (name, renamed) = alias(subselect.alias());
        let names = output.renamed(&renamed);
        let mut item = Item::derived(name.unwrap_or_default(), names, output.open);
        item.locks = output.relations.into();
        Ok(item)
    }

    /// A function, which is always LATERAL. What columns it returns is not known, unless it says so.
    fn function(&mut self, function: &'t RangeFunction) -> Walked<Item<'t>> {
        let mut names: Vec<&'t str> = Vec::new();
        let mut open = false;
        self.hidden(false, |walk| {
            for entry in function.functions() {
                let Node::NodeList(entry) = entry else {
                    walk.part(entry)?;
                    open = true;
                    continue;
                };
                match entry.get(0).unwrap_or(Node::None) {
                    Node::FuncCall(call) if unnests_each(call) => {
                        call.args().iter().try_for_each(|array| walk.call_each(call, array))?;
                    }
                    one => walk.part(one)?,
                }
                let definitions = entry.get(1).and_then(|list| list.as_node_list());
                open |= definitions.is_none_or(NodeList::is_empty);
                for definition in definitions.into_iter().flatten() {
                    names.extend(walk.definition(definition)?);
                }
            }
            if !function.coldeflist().is_empty() {
                open = false;
                for definition in function.coldeflist() {
                    names.extend(walk.definition(Node::ColumnDef(definition))?);
                }
            }
            Ok(())
        })?;
        if function.ordinality {
            names.push("ordinality");
        }
        let (name, renamed) = alias(function.alias());
        let names = rename(&names, &renamed);
        // Without an alias it is called like its first function.
        let first = function.functions().first().and_then(|entry| entry.as_node_list());
        let own = first.and_then(NodeList::first).and_then(output_name).unwrap_or_default();
        Ok(Item::derived(name.unwrap_or(own), names, open))
    }

    fn definition(&mut self, definition: Node<'t>) -> Walked<Option<&'t str>> {
        let Node::ColumnDef(definition) = definition else {
            return unsupported("A column definition list holds something without a rule.");
        };
        if let Some(name) = definition.type_name() {
            self.type_name(name)?;
        }
        Ok(definition.colname())
    }

    fn xml_table(&mut self, table: &'t RangeTableFunc) -> Walked<Item<'t>> {
        let mut names = Vec::new();
        self.hidden(false, |walk| {
            walk.part(table.docexpr())?;
            walk.part(table.rowexpr())?;
            walk.parts(table.namespaces())?;
            for column in table.columns() {
                if let Some(name) = column.type_name() {
                    walk.type_name(name)?;
                }
                walk.part(column.colexpr())?;
                walk.part(column.coldefexpr())?;
                names.extend(column.colname());
            }
            Ok(())
        })?;
        let (name, renamed) = alias(table.alias());
        Ok(Item::derived(name.unwrap_or("xmltable"), rename(&names, &renamed), false))
    }

    fn json_table(&mut self, table: &'t JsonTable) -> Walked<Item<'t>> {
        let mut names = Vec::new();
        self.hidden(false, |walk| {
            walk.json_value(table.context_item())?;
            walk.parts(table.passing())?;
            if let Some(path) = table.pathspec() {
                walk.part(path.string())?;
            }
            if let Some(behavior) = table.on_error() {
                walk.part(behavior.expr())?;
            }
            for column in table.columns() {
                walk.json_column(column, &mut names)?;
            }
            Ok(())
        })?;
        let (name, renamed) = alias(table.alias());
        Ok(Item::derived(name.unwrap_or("json_table"), rename(&names, &renamed), false))
    }

    fn json_column(&mut self, column: &'t JsonTableColumn, names: &mut Vec<&'t str>) -> Walked {
        self.nested(|walk| {
            if let Some(name) = column.type_name() {
                walk.type_name(name)?;
            }
            if let Some(path) = column.pathspec() {
                walk.part(path.string())?;
            }
            for behavior in [column.on_empty(), column.on_error()].into_iter().flatten() {
                walk.part(behavior.expr())?;
            }
            let nested = column.columns();
            if nested.is_empty() {
                names.extend(column.name());
            }
            for column in nested {
                match column {
                    Node::JsonTableColumn(column) => walk.json_column(column, names)?,
                    other => walk.part(other)?,
                }
            }
            Ok(())
        })
    }

    fn sample(&mut self, sample: &'t RangeTableSample) -> Walked<Vec<Item<'t>>> {
        let items = self.read_item(sample.relation())?;
        match words(sample.method()).as_slice() {
            ["bernoulli" | "system"] | ["pg_catalog", "bernoulli" | "system"] => {}
            _ => {
                return unsupported(
                    "Only the sampling methods BERNOULLI and SYSTEM are supported.",
                );
            }
        }
        self.parts(sample.args())?;
        self.part(sample.repeatable())?;
        Ok(items)
    }

    fn join(&mut self, join: &'t JoinExpr) -> Walked<Vec<Item<'t>>> {
        let mut left = self.read_item(join.larg())?;
        // The left side is what LATERAL on the right may see, beside the items before the join.
        let before = self.level()?.items.len();
        self.level()?.items.extend(left.iter().cloned());
        let right = self.read_item(join.rarg());
        self.level()?.items.truncate(before);
        let mut right = right?;

        let (left_columns, left_open) = columns(&left);
        let (right_columns, right_open) = columns(&right);
        self.pay((left_columns.len() + right_columns.len()).saturating_mul(COPY_COST))?;
        let merged = self.merged(join, (&left_columns, left_open), (&right_columns, right_open))?;
        let mut all = Vec::new();
        for name in &merged {
            let side = [&left_columns, &right_columns].into_iter().flatten();
            let column = side.copied().find(|column| column.name == *name);
            all.push(column.unwrap_or(JoinColumn { name, reads: None }));
        }
        let using = all.clone();
        let rest = left_columns.iter().chain(&right_columns);
        all.extend(rest.filter(|column| !merged.contains(&column.name)));
        if all.len() > COLUMNS_MAX {
            return Err(NotUnderstood::TooComplex {
                what: format!("A join has more than {COLUMNS_MAX} columns."),
            });
        }

        let mut items = std::mem::take(&mut left);
        items.append(&mut right);
        if !matches!(join.quals(), Node::None) {
            // ON sees both sides of its join and the levels around, but no sibling of the join.
            let around = std::mem::replace(&mut self.level()?.items, items);
            self.hidden(false, |walk| walk.part(join.quals()))?;
            items = std::mem::replace(&mut self.level()?.items, around);
        }
        let (name, renamed) = alias(join.alias());
        for item in &mut items {
            item.by_column = false;
            item.by_name &= name.is_none();
        }
        if let Some(using_alias) = join.join_using_alias() {
            let (name, _) = alias(Some(using_alias));
            let mut item = Item::derived(name.unwrap_or_default(), Rc::default(), false);
            item.columns = ItemColumns::Join { columns: using.into(), open: false };
            item.by_column = false;
            items.push(item);
        }
        for (column, name) in all.iter_mut().zip(renamed) {
            column.name = name;
        }
        let open = left_open || right_open;
        let mut item = Item::derived(name.unwrap_or_default(), Rc::default(), open);
        item.columns = ItemColumns::Join { columns: all.into(), open };
        items.push(item);
        Ok(items)
    }

    /// The columns that USING or NATURAL merge; comparing them reads both sides.
    fn merged(
        &mut self,
        join: &'t JoinExpr,
        (left, left_open): (&[JoinColumn<'t>], bool),
        (right, right_open): (&[JoinColumn<'t>], bool),
    ) -> Walked<Vec<&'t str>> {
        let mut names: Vec<&'t str> = join.using_clause().iter().filter_map(|n| n.sval()).collect();
        if join.is_natural {
            self.pay(left.len().saturating_mul(right.len()))?;
            let both = left.iter().filter(|l| right.iter().any(|r| r.name == l.name));
            names.extend(both.map(|column| column.name));
            if left_open || right_open {
                // Which columns are common is not known: all may be.
                for column in left.iter().chain(right) {
                    self.read_join_column(column);
                }
            }
        }
        if !names.is_empty() || join.is_natural {
            self.operator(&["="], None, None)?;
        }
        self.pay(names.len().saturating_mul(left.len() + right.len()))?;
        for name in &names {
            for column in left.iter().chain(right).filter(|column| column.name == *name) {
                self.read_join_column(column);
            }
        }
        Ok(names)
    }

    fn read_join_column(&mut self, column: &JoinColumn<'t>) {
        if let Some((target, column)) = column.reads {
            self.needs.column(Operation::Select, target, column);
        }
    }
}

/// The columns that items show to a join around them.
fn columns<'t>(items: &[Item<'t>]) -> (Vec<JoinColumn<'t>>, bool) {
    let visible = items.iter().filter(|item| item.by_column);
    let open = visible.clone().any(|item| item.columns.is_open());
    (visible.flat_map(|item| item.columns.all()).collect(), open)
}

/// Whether the server makes a call of each argument: `unnest(a, b)` is `unnest(a), unnest(b)` (transformRangeFunction).
fn unnests_each(call: &FuncCall) -> bool {
    words(call.funcname()) == ["unnest"]
        && call.args().len() > 1
        && call.agg_order().is_empty()
        && matches!(call.agg_filter(), Node::None)
        && call.over().is_none()
        && !call.agg_star
        && !call.agg_distinct
        && !call.func_variadic
}

/// An alias and the column names that it gives.
pub(super) fn alias(alias: Option<&Alias>) -> (Option<&str>, Vec<&str>) {
    match alias {
        Some(alias) => (alias.aliasname(), words(alias.colnames())),
        None => (None, Vec::new()),
    }
}

/// Gives the first columns other names.
fn rename<'t>(names: &[&'t str], renamed: &[&'t str]) -> Rc<[&'t str]> {
    renamed.iter().chain(names.iter().skip(renamed.len())).copied().collect()
}
