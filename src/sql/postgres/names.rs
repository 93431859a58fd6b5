//! What the server calls an output column that has no name of its own: FigureColname of parse_target.c.

use pg_raw_parse::Node;
use pg_raw_parse::nodes::{SelectStmt, TypeName};
use pg_raw_parse::raw::{
    A_Expr_Kind, JsonExprOp, MinMaxOp, SQLValueFunctionOp, SubLinkType, XmlExprOp,
};

use super::functions::words;
use super::nodes::{
    after_analysis, cluster_statements, database_definitions, from_items, json_expressions, pieces,
    plain_expressions, queries, role_statements, schema_definitions, session_statements,
};

/// The name of an output column; `None` when it depends on what a star expands to.
pub(super) fn output_name(node: Node<'_>) -> Option<&str> {
    match figure(node, 0) {
        Some((UNKNOWN, _)) => None,
        Some((name, _)) => Some(name),
        None => Some("?column?"),
    }
}

/// Stands for a name that is not known here. The server takes no empty names.
const UNKNOWN: &str = "";

/// How deep names are looked for. The walk has been down there before, so that this is never reached.
const DEPTH_MAX: usize = 400;

/// The name, and whether it is strong: a weak one gives way to a type's name in a cast.
fn figure(mut node: Node<'_>, mut depth: usize) -> Option<(&str, bool)> {
    let strong = |name| Some((name, true));
    // Types that a cast or a CASE around the current node would name, outermost first.
    let mut fallback = None;
    let found = loop {
        depth += 1;
        if depth > DEPTH_MAX {
            break None;
        }
        node = match node {
            Node::ColumnRef(reference) => break last(&words(reference.fields())),
            Node::A_Indirection(indirection) => {
                if let Some(name) = last(&words(indirection.indirection())) {
                    break Some(name);
                }
                indirection.arg()
            }
            Node::FuncCall(call) => break last(&words(call.funcname())),
            Node::A_Expr(expression) if expression.kind == A_Expr_Kind::AEXPR_NULLIF => {
                break strong("nullif");
            }
            Node::TypeCast(cast) => {
                fallback = fallback.or_else(|| cast.type_name().and_then(type_name));
                cast.arg()
            }
            Node::CollateClause(clause) => clause.arg(),
            Node::GroupingFunc(_) => break strong("grouping"),
            Node::MergeSupportFunc(_) => break strong("merge_action"),
            Node::SubLink(link) => match link.sub_link_type {
                SubLinkType::EXISTS_SUBLINK => break strong("exists"),
                SubLinkType::ARRAY_SUBLINK => break strong("array"),
                SubLinkType::EXPR_SUBLINK => {
                    break sub_select(link.subselect(), depth).map(|name| (name, true));
                }
                _ => break None,
            },
            Node::CaseExpr(case) => {
                fallback = fallback.or(Some("case"));
                case.defresult()
            }
            Node::A_ArrayExpr(_) => break strong("array"),
            Node::RowExpr(_) => break strong("row"),
            Node::CoalesceExpr(_) => break strong("coalesce"),
            Node::MinMaxExpr(minmax) => {
                break strong(if minmax.op == MinMaxOp::IS_GREATEST {
                    "greatest"
                } else {
                    "least"
                });
            }
            Node::SQLValueFunction(function) => break strong(value_function(function.op)),
            Node::XmlExpr(xml) => break xml_function(xml.op).map(|name| (name, true)),
            Node::XmlSerialize(_) => break strong("xmlserialize"),
            json_expressions!() => break json_function(node).map(|name| (name, true)),
            Node::None
            | Node::NodeList(_)
            | Node::NamedArgExpr(_)
            | Node::BoolExpr(_)
            | Node::CaseWhen(_)
            | Node::NullTest(_)
            | Node::BooleanTest(_)
            | Node::SetToDefault(_)
            | Node::CurrentOfExpr(_)
            | Node::ParamRef(_)
            | Node::A_Expr(_)
            | Node::A_Const(_)
            | Node::ResTarget(_)
            | Node::MultiAssignRef(_)
            | Node::SortBy(_)
            | Node::GroupingSet(_) => break None,
            queries!()
            | pieces!()
            | from_items!()
            | session_statements!()
            | schema_definitions!()
            | database_definitions!()
            | role_statements!()
            | cluster_statements!()
            | after_analysis!() => break None,
        };
    };
    match (found, fallback) {
        (Some((name, true)), _) => Some((name, true)),
        (_, Some(name)) => Some((name, false)),
        (found, None) => found,
    }
}

fn last<'t>(names: &[&'t str]) -> Option<(&'t str, bool)> {
    names.last().map(|name| (*name, true))
}

fn type_name(name: &TypeName) -> Option<&str> {
    name.names().iter().next_back().and_then(|name| name.sval())
}

/// The first output column of a sub-select.
fn sub_select(node: Node<'_>, depth: usize) -> Option<&str> {
    let Node::SelectStmt(select) = node else { return None };
    let mut select: &SelectStmt = select;
    while let Some(left) = select.larg() {
        select = left;
    }
    if !select.values_lists().is_empty() {
        return Some("column1");
    }
    let target = select.target_list().first()?;
    match target.name() {
        Some(name) => Some(name),
        None if depth > DEPTH_MAX => Some(UNKNOWN),
        None if is_star(target.val()) => Some(UNKNOWN),
        None => Some(figure(target.val(), depth).map_or("?column?", |(name, _)| name)),
    }
}

/// Whether a target list's entry stands for several columns.
pub(super) fn is_star(node: Node<'_>) -> bool {
    let fields = match node {
        Node::ColumnRef(reference) => reference.fields(),
        Node::A_Indirection(indirection) => indirection.indirection(),
        _ => return false,
    };
    matches!(fields.iter().next_back(), Some(Node::A_Star(_)))
}

fn value_function(op: SQLValueFunctionOp::Type) -> &'static str {
    match op {
        SQLValueFunctionOp::SVFOP_CURRENT_DATE => "current_date",
        SQLValueFunctionOp::SVFOP_CURRENT_TIME | SQLValueFunctionOp::SVFOP_CURRENT_TIME_N => {
            "current_time"
        }
        SQLValueFunctionOp::SVFOP_CURRENT_TIMESTAMP
        | SQLValueFunctionOp::SVFOP_CURRENT_TIMESTAMP_N => "current_timestamp",
        SQLValueFunctionOp::SVFOP_LOCALTIME | SQLValueFunctionOp::SVFOP_LOCALTIME_N => "localtime",
        SQLValueFunctionOp::SVFOP_LOCALTIMESTAMP | SQLValueFunctionOp::SVFOP_LOCALTIMESTAMP_N => {
            "localtimestamp"
        }
        SQLValueFunctionOp::SVFOP_CURRENT_ROLE => "current_role",
        SQLValueFunctionOp::SVFOP_CURRENT_USER => "current_user",
        SQLValueFunctionOp::SVFOP_USER => "user",
        SQLValueFunctionOp::SVFOP_SESSION_USER => "session_user",
        SQLValueFunctionOp::SVFOP_CURRENT_CATALOG => "current_catalog",
        SQLValueFunctionOp::SVFOP_CURRENT_SCHEMA => "current_schema",
        _ => "?column?",
    }
}

fn xml_function(op: XmlExprOp::Type) -> Option<&'static str> {
    match op {
        XmlExprOp::IS_XMLCONCAT => Some("xmlconcat"),
        XmlExprOp::IS_XMLELEMENT => Some("xmlelement"),
        XmlExprOp::IS_XMLFOREST => Some("xmlforest"),
        XmlExprOp::IS_XMLPARSE => Some("xmlparse"),
        XmlExprOp::IS_XMLPI => Some("xmlpi"),
        XmlExprOp::IS_XMLROOT => Some("xmlroot"),
        XmlExprOp::IS_XMLSERIALIZE => Some("xmlserialize"),
        _ => None,
    }
}

fn json_function(node: Node<'_>) -> Option<&'static str> {
    match node {
        Node::JsonParseExpr(_) => Some("json"),
        Node::JsonScalarExpr(_) => Some("json_scalar"),
        Node::JsonSerializeExpr(_) => Some("json_serialize"),
        Node::JsonObjectConstructor(_) => Some("json_object"),
        Node::JsonArrayConstructor(_) | Node::JsonArrayQueryConstructor(_) => Some("json_array"),
        Node::JsonObjectAgg(_) => Some("json_objectagg"),
        Node::JsonArrayAgg(_) => Some("json_arrayagg"),
        Node::JsonFuncExpr(call) => match call.op {
            JsonExprOp::JSON_EXISTS_OP => Some("json_exists"),
            JsonExprOp::JSON_QUERY_OP => Some("json_query"),
            JsonExprOp::JSON_VALUE_OP => Some("json_value"),
            _ => None,
        },
        Node::None
        | Node::NodeList(_)
        | Node::JsonValueExpr(_)
        | Node::JsonIsPredicate(_)
        | Node::JsonBehavior(_)
        | Node::JsonArgument(_)
        | Node::JsonKeyValue(_)
        | Node::JsonAggConstructor(_)
        | plain_expressions!()
        | queries!()
        | pieces!()
        | from_items!()
        | session_statements!()
        | schema_definitions!()
        | database_definitions!()
        | role_statements!()
        | cluster_statements!()
        | after_analysis!() => None,
    }
}
