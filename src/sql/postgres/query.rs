//! The walk over queries: WITH, SELECT, VALUES, set operations.

use std::rc::Rc;
use std::sync::OnceLock;

use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{
    CommonTableExpr, LockingClause, ResTarget, SelectStmt, SortBy, WithClause,
};
use pg_raw_parse::raw::{A_Expr_Kind, SetOperation};

use super::functions::words;
use super::names::{is_star, output_name};
use super::nodes::{
    after_analysis, cluster_statements, database_definitions, from_items, json_expressions, pieces,
    plain_expressions, role_statements, schema_definitions, session_statements,
};
use super::special::literal;
use super::walk::{Cte, Item, ItemColumns, Output, Walk, Walked, unsupported};
use crate::sql::placement::Rule;
use crate::sql::statement::NotUnderstood;

/// `column1`, `column2` …: what VALUES calls its columns. No list of the server is longer.
fn values_names() -> &'static [String] {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    NAMES.get_or_init(|| (1..=1664).map(|n| format!("column{n}")).collect())
}

impl<'t> Walk<'t> {
    /// A query or a statement that changes rows, in a level of its own.
    pub(super) fn query(&mut self, node: Node<'t>) -> Walked<Output<'t>> {
        self.nested(|walk| {
            walk.in_level(|walk| match node {
                Node::SelectStmt(select) => {
                    if select.into_clause().is_some() && !std::mem::take(&mut walk.takes_into) {
                        return unsupported("SELECT INTO stands where the server takes none.");
                    }
                    walk.select(select)
                }
                Node::InsertStmt(insert) => walk.writes().insert(insert),
                Node::UpdateStmt(update) => walk.writes().update(update),
                Node::DeleteStmt(delete) => walk.writes().delete(delete),
                Node::MergeStmt(merge) => walk.writes().merge(merge),
                Node::None
                | Node::NodeList(_)
                | plain_expressions!()
                | json_expressions!()
                | pieces!()
                | from_items!()
                | session_statements!()
                | schema_definitions!()
                | database_definitions!()
                | role_statements!()
                | cluster_statements!()
                | after_analysis!() => unsupported("A query of this kind is not supported."),
            })
        })
    }

    fn writes(&mut self) -> &mut Self {
        self.placed.primary(Rule::Writes);
        self
    }

    /// The CTEs of a WITH clause, visible in this level from here on.
    pub(super) fn with(&mut self, clause: Option<&'t WithClause>) -> Walked {
        let Some(clause) = clause else { return Ok(()) };
        if clause.recursive {
            // All see each other and themselves. What their columns are is known only afterwards;
            // until then they may have any.
            for cte in clause.ctes() {
                let names = words(cte.aliascolnames()).into();
                let name = cte.ctename().unwrap_or_default();
                self.level()?.ctes.push(Cte { name, names, open: true });
            }
        }
        for cte in clause.ctes() {
            let found = self.cte(cte)?;
            // In a recursive clause this hides the open entry of the same name.
            self.level()?.ctes.push(found);
        }
        Ok(())
    }

    fn cte(&mut self, cte: &'t CommonTableExpr) -> Walked<Cte<'t>> {
        let output = self.query(cte.ctequery())?;
        let aliases = words(cte.aliascolnames());
        let mut names = output.renamed(&aliases).to_vec();
        if let Some(search) = cte.search_clause() {
            names.extend(search.search_seq_column());
        }
        if let Some(cycle) = cte.cycle_clause() {
            self.part(cycle.cycle_mark_value())?;
            self.part(cycle.cycle_mark_default())?;
            // Marks are compared with `<>`.
            self.operator(&["<>"], None, None)?;
            names.extend(cycle.cycle_mark_column());
            names.extend(cycle.cycle_path_column());
        }
        Ok(Cte { name: cte.ctename().unwrap_or_default(), names: names.into(), open: output.open })
    }

    /// The CTE of that name which is visible here.
    pub(super) fn find_cte(&mut self, name: &str) -> Walked<Option<Cte<'t>>> {
        let visible = self.levels.iter().map(|level| level.ctes.len() + 1).sum();
        self.pay(visible)?;
        let mut levels = self.levels.iter().rev();
        Ok(levels.find_map(|level| level.ctes.iter().rev().find(|cte| cte.name == name)).cloned())
    }

    /// A SELECT; the caller has made its level.
    pub(super) fn select(&mut self, select: &'t SelectStmt) -> Walked<Output<'t>> {
        self.with(select.with_clause())?;
        let output = if select.op != SetOperation::SETOP_NONE {
            self.set_operation(select)?
        } else if select.values_lists().is_empty() {
            self.plain(select)?
        } else {
            self.values(select.values_lists())?
        };
        for key in select.sort_clause() {
            self.query_key(key, &output)?;
        }
        self.part(select.limit_offset())?;
        self.part(select.limit_count())?;
        for clause in select.locking_clause() {
            self.locking(clause)?;
        }
        Ok(output)
    }

    fn values(&mut self, rows: &'t NodeList) -> Walked<Output<'t>> {
        let mut width = 0;
        for row in rows {
            if let Node::NodeList(values) = row {
                width = width.max(values.len());
            }
            self.part(row)?;
        }
        let names: Vec<&'t str> = values_names().iter().take(width).map(String::as_str).collect();
        if names.len() < width {
            return Err(NotUnderstood::TooComplex {
                what: "A VALUES list has more than 1664 columns.".into(),
            });
        }
        self.level()?.items.push(Item::derived("*VALUES*", names.clone().into(), false));
        Ok(Output { names, ..Output::default() })
    }

    /// The left arms of a chain are followed in a loop: `a UNION b UNION …` is as deep as it is long.
    fn set_operation(&mut self, select: &'t SelectStmt) -> Walked<Output<'t>> {
        let mut rights = Vec::new();
        let mut left = select;
        loop {
            rights.extend(left.rarg());
            let Some(next) = left.larg() else { break };
            let chain = next.op != SetOperation::SETOP_NONE
                && next.with_clause().is_none()
                && next.sort_clause().is_empty()
                && next.locking_clause().is_empty()
                && matches!((next.limit_offset(), next.limit_count()), (Node::None, Node::None));
            left = next;
            if !chain {
                break;
            }
        }
        let mut output = self.query(Node::SelectStmt(left))?;
        for right in rights.into_iter().rev() {
            self.query(Node::SelectStmt(right))?;
        }
        // The result's columns are all that ORDER BY sees; locks do not reach through.
        output.relations = Vec::new();
        let item = Item::derived("", output.names.clone().into(), output.open);
        self.level()?.items.push(item);
        Ok(output)
    }

    fn plain(&mut self, select: &'t SelectStmt) -> Walked<Output<'t>> {
        self.read_from(select.from_clause())?;
        let mut output = Output::default();
        let pinned = self.pinned(select)?;
        let outer = std::mem::replace(&mut self.pinned_setting, pinned);
        for target in select.target_list() {
            self.target(target, &mut output)?;
        }
        self.pinned_setting = outer;
        self.part(select.where_clause())?;
        self.part(select.having_clause())?;
        for item in select.group_clause() {
            self.group_item(item, &output)?;
        }
        for key in select.distinct_clause() {
            self.key(key, &output)?;
        }
        for window in select.window_clause() {
            match window {
                Node::WindowDef(window) => self.window(window)?,
                other => self.part(other)?,
            }
        }
        if let Some(level) = self.levels.last() {
            output.relations = level.items.iter().flat_map(|item| &*item.locks).copied().collect();
        }
        Ok(output)
    }

    /// The setting that `FROM pg_settings WHERE name = 'setting'` leaves: the only row's.
    fn pinned(&mut self, select: &'t SelectStmt) -> Walked<Option<&'t str>> {
        let Node::A_Expr(test) = select.where_clause() else { return Ok(None) };
        let [Node::RangeVar(var)] = select.from_clause().iter().collect::<Vec<_>>()[..] else {
            return Ok(None);
        };
        let is_settings = var.relname() == Some("pg_settings")
            && self
                .find(var.schemaname(), "pg_settings")?
                .is_some_and(|target| target.schema == "pg_catalog")
            && self.find_cte("pg_settings")?.is_none();
        let Node::ColumnRef(column) = test.lexpr() else { return Ok(None) };
        let is_name = test.kind == A_Expr_Kind::AEXPR_OP
            && words(test.name()) == ["="]
            && words(column.fields()) == ["name"]
            && !self.path().any(|(_, objects)| objects.operators.contains_key("="));
        Ok(if is_settings && is_name { literal(test.rexpr()) } else { None })
    }

    /// One entry of a target list or of RETURNING.
    pub(super) fn target(&mut self, target: &'t ResTarget, output: &mut Output<'t>) -> Walked {
        if is_star(target.val()) {
            if let Node::ColumnRef(reference) = target.val() {
                return self.star(reference, output);
            }
            // `(value).*`: its columns' names are not known here.
            output.open = true;
            return self.part(target.val());
        }
        self.part(target.val())?;
        match target.name().or_else(|| output_name(target.val())) {
            Some(name) => self.extend(output, std::iter::once(name)),
            None => {
                output.open = true;
                Ok(())
            }
        }
    }

    /// A GROUP BY item: a column of the FROM list goes before an output name here.
    fn group_item(&mut self, node: Node<'t>, output: &Output<'t>) -> Walked {
        match node {
            Node::GroupingSet(set) => self.nested(|walk| {
                set.content().iter().try_for_each(|item| walk.group_item(item, output))
            }),
            Node::RowExpr(row) => self.nested(|walk| {
                row.args().iter().try_for_each(|item| walk.group_item(item, output))
            }),
            Node::NodeList(list) => {
                self.nested(|walk| list.iter().try_for_each(|item| walk.group_item(item, output)))
            }
            Node::ColumnRef(reference) => {
                if let [name] = words(reference.fields()).as_slice()
                    && reference.fields().len() == 1
                    && self.find_column(name, true)? == Some(true)
                {
                    return Ok(());
                }
                self.key(node, output)
            }
            other => self.part(other),
        }
    }

    /// An ORDER BY entry of a query.
    fn query_key(&mut self, key: &'t SortBy, output: &Output<'t>) -> Walked {
        let operator = words(key.use_op());
        if !operator.is_empty() {
            self.operator(&operator, None, None)?;
        }
        self.key(key.node(), output)
    }

    /// A key that an output name may stand for: that column has been read already.
    fn key(&mut self, node: Node<'t>, output: &Output<'t>) -> Walked {
        if let Node::ColumnRef(reference) = node
            && let [name] = words(reference.fields()).as_slice()
            && reference.fields().len() == 1
        {
            self.pay(output.names.len())?;
            if output.names.contains(name) {
                return Ok(());
            }
            if output.open {
                // It may be an output name that is not known here; if it is a column, it is read.
                self.find_column(name, false)?;
                return Ok(());
            }
        }
        self.part(node)
    }

    /// FOR UPDATE and its kin.
    fn locking(&mut self, clause: &'t LockingClause) -> Walked {
        self.placed.primary(Rule::Locks);
        let count = self.level()?.items.len();
        self.pay(count.saturating_mul(1 + clause.locked_rels().len()))?;
        let Some(level) = self.levels.last() else { return Ok(()) };
        let items = &level.items;
        if clause.locked_rels().is_empty() {
            let all: Vec<_> = items.iter().flat_map(|item| &*item.locks).copied().collect();
            self.lock(&all);
            return Ok(());
        }
        let mut locked = Vec::new();
        for relation in clause.locked_rels() {
            let Node::RangeVar(var) = relation else {
                return unsupported("FOR UPDATE OF names something that is no relation.");
            };
            let name = var.relname().unwrap_or_default();
            // A name that is not there is the server's error.
            let named = items.iter().filter(|item| item.name == name);
            locked.extend(named.flat_map(|item| &*item.locks).copied());
        }
        self.lock(&locked);
        Ok(())
    }
}

impl<'t> Item<'t> {
    /// An item that is no relation, reached by its name and by its columns.
    pub(super) fn derived(name: &'t str, names: Rc<[&'t str]>, open: bool) -> Self {
        Item {
            name,
            columns: ItemColumns::Derived { names, open },
            qualified: false,
            by_name: !name.is_empty(),
            by_column: true,
            locks: Rc::default(),
        }
    }
}
