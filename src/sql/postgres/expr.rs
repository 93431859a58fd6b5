//! The walk over expressions.

use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::{
    A_Expr, JsonAggConstructor, JsonFuncExpr, JsonOutput, JsonValueExpr, SortBy, SubLink,
    WindowDef, XmlExpr,
};
use pg_raw_parse::raw::{A_Expr_Kind, SubLinkType};

use super::columns::Reference;
use super::functions::words;
use super::nodes::{
    after_analysis, cluster_statements, database_definitions, from_items, json_expressions, pieces,
    plain_expressions, queries, role_statements, schema_definitions, session_statements,
};
use super::walk::{Walk, Walked, at, unsupported};

impl<'t> Walk<'t> {
    /// Walks an expression, one level deeper. Nothing is an expression too: an absent clause.
    pub(super) fn part(&mut self, node: Node<'t>) -> Walked {
        match node {
            Node::None | Node::A_Const(_) => Ok(()),
            Node::ParamRef(parameter) => {
                self.parameters.seen(parameter.number);
                Ok(())
            }
            node => self.nested(|walk| walk.expression(node)),
        }
    }

    /// Walks a list of expressions.
    pub(super) fn parts(&mut self, list: &'t NodeList) -> Walked {
        list.iter().try_for_each(|node| self.part(node))
    }

    /// The loop follows the left operand, so that chains like `a || b || …` take no depth however
    /// long they are; every other operand is a level of its own.
    fn expression(&mut self, mut node: Node<'t>) -> Walked {
        loop {
            node = match node {
                Node::A_Expr(expression) => {
                    self.operation(expression)?;
                    self.part(expression.rexpr())?;
                    expression.lexpr()
                }
                Node::TypeCast(cast) => {
                    self.cast(cast)?;
                    cast.arg()
                }
                Node::CollateClause(clause) => clause.arg(),
                Node::NullTest(test) => test.arg(),
                Node::BooleanTest(test) => test.arg(),
                Node::NamedArgExpr(argument) => argument.arg(),
                Node::ResTarget(target) => {
                    self.subscripts(target.indirection())?;
                    target.val()
                }
                Node::A_Indirection(indirection) => {
                    return self.indirection(indirection.arg(), indirection.indirection());
                }
                Node::SortBy(key) => return self.sort_key(key),
                Node::CurrentOfExpr(_)
                | Node::None
                | Node::A_Const(_)
                | Node::SQLValueFunction(_)
                | Node::MergeSupportFunc(_)
                | Node::SetToDefault(_) => return Ok(()),
                Node::ParamRef(parameter) => {
                    self.parameters.seen(parameter.number);
                    return Ok(());
                }
                Node::BoolExpr(expression) => return self.parts(expression.args()),
                Node::NodeList(list) => return self.parts(list),
                Node::A_ArrayExpr(array) => return self.parts(array.elements()),
                Node::RowExpr(row) => return self.parts(row.args()),
                Node::CoalesceExpr(coalesce) => return self.parts(coalesce.args()),
                Node::MinMaxExpr(minmax) => return self.parts(minmax.args()),
                Node::GroupingFunc(grouping) => return self.parts(grouping.args()),
                Node::GroupingSet(set) => return self.parts(set.content()),
                Node::ColumnRef(reference) => {
                    return at(reference.location, self.column_ref(reference).map(drop));
                }
                Node::FuncCall(call) => return at(call.location, self.call(call)),
                Node::SubLink(link) => return self.sub_link(link),
                Node::CaseExpr(case) => {
                    if !matches!(case.arg(), Node::None) {
                        // CASE x WHEN y compares them as x = y.
                        self.operator(&["="], Some(case.arg()), None)?;
                    }
                    self.part(case.arg())?;
                    self.parts(case.args())?;
                    case.defresult()
                }
                Node::CaseWhen(when) => {
                    self.part(when.expr())?;
                    when.result()
                }
                // One source for all columns of `(a, b) = (…)`: walked with the first of them.
                Node::MultiAssignRef(assign) if assign.colno > 1 => return Ok(()),
                Node::MultiAssignRef(assign) => assign.source(),
                Node::XmlExpr(xml) => return self.xml(xml),
                Node::XmlSerialize(serialize) => {
                    if let Some(name) = serialize.type_name() {
                        self.type_name(name)?;
                    }
                    serialize.expr()
                }
                json_expressions!() => return self.json(node),
                queries!() => return self.query(node).map(drop),
                pieces!()
                | from_items!()
                | session_statements!()
                | schema_definitions!()
                | database_definitions!()
                | role_statements!()
                | cluster_statements!()
                | after_analysis!() => {
                    return unsupported("The statement holds something that is no expression.");
                }
            };
        }
    }

    /// The operators behind an operator expression.
    fn operation(&mut self, expression: &'t A_Expr) -> Walked {
        match expression.kind {
            // These spell their operator as a word.
            A_Expr_Kind::AEXPR_BETWEEN
            | A_Expr_Kind::AEXPR_NOT_BETWEEN
            | A_Expr_Kind::AEXPR_BETWEEN_SYM
            | A_Expr_Kind::AEXPR_NOT_BETWEEN_SYM => {
                for name in ["<", "<=", ">", ">="] {
                    self.operator(&[name], Some(expression.lexpr()), None)?;
                }
                Ok(())
            }
            // One operand, as the grammar has it, is what a single operand is compared with.
            A_Expr_Kind::AEXPR_OP => {
                let names = words(expression.name());
                let operand = |node| match node {
                    // Rows are compared column by column.
                    Node::RowExpr(_) => None,
                    node => Some(node),
                };
                self.operator(&names, operand(expression.lexpr()), operand(expression.rexpr()))
            }
            // A list, an array or several values stand on the right. `<>` is the negator of `=` wherever
            // DISTINCT FROM uses it.
            _ => {
                let names = words(expression.name());
                self.operator(
                    &names,
                    Some(expression.lexpr()).filter(|l| !matches!(l, Node::RowExpr(_))),
                    None,
                )
            }
        }
    }

    fn sub_link(&mut self, link: &'t SubLink) -> Walked {
        match link.sub_link_type {
            SubLinkType::ALL_SUBLINK | SubLinkType::ANY_SUBLINK => {
                let names = words(link.oper_name());
                let names = if names.is_empty() { &["="][..] } else { &names };
                // Rows are compared column by column.
                let left = Some(link.testexpr()).filter(|left| !matches!(left, Node::RowExpr(_)));
                self.operator(names, left, None)?;
            }
            _ => {}
        }
        self.part(link.testexpr())?;
        self.query(link.subselect()).map(drop)
    }

    /// `(value)[1].field`.
    fn indirection(&mut self, value: Node<'t>, path: &'t NodeList) -> Walked {
        let mut row = None;
        if let Node::ColumnRef(reference) = value {
            if let Reference::Row(item) = self.column_ref(reference)? {
                row = Some(item);
            }
        } else {
            self.part(value)?;
        }
        for step in path {
            match step {
                Node::String(name) => {
                    self.field(row.take().as_ref(), name.sval().unwrap_or_default())?;
                }
                Node::A_Indices(indices) => {
                    row = None;
                    self.part(indices.lidx())?;
                    self.part(indices.uidx())?;
                }
                Node::A_Star(_) => {}
                other => self.part(other)?,
            }
        }
        Ok(())
    }

    /// The subscripts of an assignment's target: `SET a[i] = …`. Field names need nothing.
    pub(super) fn subscripts(&mut self, path: &'t NodeList) -> Walked {
        for step in path {
            match step {
                Node::A_Indices(indices) => {
                    self.part(indices.lidx())?;
                    self.part(indices.uidx())?;
                }
                Node::String(_) | Node::A_Star(_) => {}
                other => self.part(other)?,
            }
        }
        Ok(())
    }

    /// A sort key of an expression, not of a query: no output names here.
    pub(super) fn sort_key(&mut self, key: &'t SortBy) -> Walked {
        let operator = words(key.use_op());
        if !operator.is_empty() {
            self.operator(&operator, Some(key.node()), Some(key.node()))?;
        }
        self.part(key.node())
    }

    /// A window, inline or of the WINDOW clause.
    pub(super) fn window(&mut self, window: &'t WindowDef) -> Walked {
        self.parts(window.partition_clause())?;
        for key in window.order_clause() {
            self.sort_key(key)?;
        }
        self.part(window.start_offset())?;
        self.part(window.end_offset())
    }

    fn xml(&mut self, xml: &'t XmlExpr) -> Walked {
        self.parts(xml.named_args())?;
        self.parts(xml.args())
    }

    fn json(&mut self, node: Node<'t>) -> Walked {
        self.places_json();
        match node {
            Node::JsonValueExpr(value) => self.json_value(Some(value)),
            Node::JsonIsPredicate(predicate) => self.part(predicate.expr()),
            Node::JsonBehavior(behavior) => self.part(behavior.expr()),
            Node::JsonArgument(argument) => self.json_value(argument.val()),
            Node::JsonFuncExpr(call) => self.json_function(call),
            Node::JsonKeyValue(pair) => {
                self.part(pair.key())?;
                self.json_value(pair.value())
            }
            Node::JsonParseExpr(parse) => {
                self.json_output(parse.output())?;
                self.json_value(parse.expr())
            }
            Node::JsonScalarExpr(scalar) => {
                self.json_output(scalar.output())?;
                self.part(scalar.expr())
            }
            Node::JsonSerializeExpr(serialize) => {
                self.json_output(serialize.output())?;
                self.json_value(serialize.expr())
            }
            Node::JsonObjectConstructor(object) => {
                self.json_output(object.output())?;
                object.exprs().iter().try_for_each(|pair| self.part(Node::JsonKeyValue(pair)))
            }
            Node::JsonArrayConstructor(array) => {
                self.json_output(array.output())?;
                array.exprs().iter().try_for_each(|value| self.json_value(Some(value)))
            }
            Node::JsonArrayQueryConstructor(array) => {
                self.json_output(array.output())?;
                self.query(array.query()).map(drop)
            }
            Node::JsonAggConstructor(constructor) => self.json_aggregate(Some(constructor)),
            Node::JsonObjectAgg(object) => {
                self.json_aggregate(object.constructor())?;
                self.part(object.arg().into())
            }
            Node::JsonArrayAgg(array) => {
                self.json_aggregate(array.constructor())?;
                self.json_value(array.arg())
            }
            Node::None
            | Node::NodeList(_)
            | plain_expressions!()
            | queries!()
            | pieces!()
            | from_items!()
            | session_statements!()
            | schema_definitions!()
            | database_definitions!()
            | role_statements!()
            | cluster_statements!()
            | after_analysis!() => unsupported("The statement holds something that is no JSON."),
        }
    }

    /// `value FORMAT JSON`.
    pub(super) fn json_value(&mut self, value: Option<&'t JsonValueExpr>) -> Walked {
        match value {
            Some(value) => self.part(value.raw_expr()),
            None => Ok(()),
        }
    }

    fn json_output(&mut self, output: Option<&'t JsonOutput>) -> Walked {
        match output.and_then(JsonOutput::type_name) {
            Some(name) => self.type_name(name),
            None => Ok(()),
        }
    }

    fn json_aggregate(&mut self, constructor: Option<&'t JsonAggConstructor>) -> Walked {
        let Some(constructor) = constructor else { return Ok(()) };
        self.json_output(constructor.output())?;
        self.part(constructor.agg_filter())?;
        self.parts(constructor.agg_order())?;
        match constructor.over() {
            Some(window) => self.window(window),
            None => Ok(()),
        }
    }

    fn json_function(&mut self, call: &'t JsonFuncExpr) -> Walked {
        self.json_value(call.context_item())?;
        self.part(call.pathspec())?;
        self.parts(call.passing())?;
        self.json_output(call.output())?;
        for behavior in [call.on_empty(), call.on_error()].into_iter().flatten() {
            self.part(behavior.expr())?;
        }
        Ok(())
    }
}
