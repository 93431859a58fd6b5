//! The types of expressions, where they can be told without more than a look: literals, casts, columns.

use pg_raw_parse::nodes::{A_Expr, FuncCall, TypeName};
use pg_raw_parse::raw::{A_Expr_Kind, SubLinkType};
use pg_raw_parse::{ConstValue, Node};

use super::functions::words;
use super::nodes::{
    after_analysis, cluster_statements, database_definitions, from_items, json_expressions, pieces,
    queries, role_statements, schema_definitions, session_statements,
};
use super::overload::Argument;
use super::walk::{Item, ItemColumns, Walk};
use crate::sql::catalog::{TypeId, TypeKind};

/// How deep types are looked for: enough for what is written by hand.
const DEPTH_MAX: usize = 6;

const BOOL: TypeId = 16;
const INT8: TypeId = 20;
const INT4: TypeId = 23;
const NUMERIC: TypeId = 1700;

impl<'t> Walk<'t> {
    /// The type of an argument of a function or operator.
    pub(super) fn argument_type(&mut self, node: Node<'t>) -> Argument {
        self.type_below(node, 0)
    }

    fn type_below(&mut self, mut node: Node<'t>, depth: usize) -> Argument {
        if depth > DEPTH_MAX {
            return Argument::Unknown;
        }
        loop {
            node = match node {
                Node::A_Const(constant) => {
                    return match constant.val() {
                        None | Some(ConstValue::String(_)) => Argument::Literal,
                        Some(ConstValue::Integer(_)) => Argument::Type(INT4),
                        Some(ConstValue::Float(text)) if text.parse::<i64>().is_ok() => {
                            Argument::Type(INT8)
                        }
                        Some(ConstValue::Float(_)) => Argument::Type(NUMERIC),
                        Some(ConstValue::Boolean(_)) => Argument::Type(BOOL),
                        Some(_) => Argument::Unknown,
                    };
                }
                Node::TypeCast(cast) => {
                    let id = cast.type_name().and_then(|name| self.type_id(name));
                    return id.map_or(Argument::Unknown, Argument::Type);
                }
                Node::CollateClause(clause) => clause.arg(),
                Node::BoolExpr(_) | Node::NullTest(_) | Node::BooleanTest(_) => {
                    return Argument::Type(BOOL);
                }
                Node::SubLink(link) => {
                    return match link.sub_link_type {
                        SubLinkType::EXISTS_SUBLINK
                        | SubLinkType::ANY_SUBLINK
                        | SubLinkType::ALL_SUBLINK => Argument::Type(BOOL),
                        _ => Argument::Unknown,
                    };
                }
                Node::ColumnRef(reference) => {
                    let names = words(reference.fields());
                    if names.len() != reference.fields().len() {
                        return Argument::Unknown;
                    }
                    return match self.column_type(&names) {
                        Some(id) if id != 0 => Argument::Type(id),
                        _ => Argument::Unknown,
                    };
                }
                Node::CoalesceExpr(coalesce) => {
                    return self.common_type(coalesce.args().iter(), depth);
                }
                Node::MinMaxExpr(minmax) => return self.common_type(minmax.args().iter(), depth),
                Node::CaseExpr(case) => {
                    let results = case.args().iter().filter_map(|when| {
                        let Node::CaseWhen(when) = when else { return None };
                        Some(when.result())
                    });
                    return self.common_type(results.chain([case.defresult()]), depth);
                }
                Node::A_Expr(expression) => return self.operation_type(expression, depth),
                Node::FuncCall(call) => return self.call_type(call),
                Node::ParamRef(parameter) => return self.parameter_type(parameter.number),
                Node::None
                | Node::NodeList(_)
                | Node::A_ArrayExpr(_)
                | Node::A_Indirection(_)
                | Node::CaseWhen(_)
                | Node::CurrentOfExpr(_)
                | Node::GroupingFunc(_)
                | Node::GroupingSet(_)
                | Node::MergeSupportFunc(_)
                | Node::MultiAssignRef(_)
                | Node::NamedArgExpr(_)
                | Node::ResTarget(_)
                | Node::RowExpr(_)
                | Node::SQLValueFunction(_)
                | Node::SetToDefault(_)
                | Node::SortBy(_)
                | Node::XmlExpr(_)
                | Node::XmlSerialize(_)
                | json_expressions!()
                | queries!()
                | pieces!()
                | from_items!()
                | session_statements!()
                | schema_definitions!()
                | database_definitions!()
                | role_statements!()
                | cluster_statements!()
                | after_analysis!() => return Argument::Unknown,
            };
        }
    }

    /// The type that several values share; literals become what the others are.
    fn common_type(&mut self, nodes: impl Iterator<Item = Node<'t>>, depth: usize) -> Argument {
        let mut common = Argument::Literal;
        for node in nodes.filter(|node| !matches!(node, Node::None)) {
            match (self.type_below(node, depth + 1), common) {
                (Argument::Literal, _) => {}
                (found, Argument::Literal) => common = found,
                (found, _) if found == common => {}
                _ => return Argument::Unknown,
            }
        }
        if common == Argument::Literal { Argument::Unknown } else { common }
    }

    /// The server's own comparisons, and arithmetic of whole numbers.
    fn operation_type(&mut self, expression: &'t A_Expr, depth: usize) -> Argument {
        let names = words(expression.name());
        let [name] = names.as_slice() else { return Argument::Unknown };
        let users = self.path().any(|(_, objects)| objects.operators.contains_key(*name));
        if expression.kind != A_Expr_Kind::AEXPR_OP || users {
            return Argument::Unknown;
        }
        match *name {
            "=" | "<>" | "<" | ">" | "<=" | ">=" => Argument::Type(BOOL),
            "+" | "-" | "*" | "/" | "%" => {
                let whole = Argument::Type(INT4);
                let sides = [expression.lexpr(), expression.rexpr()];
                if sides.into_iter().all(|side| self.type_below(side, depth + 1) == whole) {
                    whole
                } else {
                    Argument::Unknown
                }
            }
            _ => Argument::Unknown,
        }
    }

    /// What every function of that name and so many arguments returns.
    fn call_type(&mut self, call: &'t FuncCall) -> Argument {
        let names = words(call.funcname());
        let (_, shape) = self.arguments(call, false);
        let (schema, name) = match names.as_slice() {
            [name] => (None, *name),
            [schema, name] => (Some(*schema), *name),
            _ => return Argument::Unknown,
        };
        let catalog = self.scope.catalog;
        let path = self.path().filter(|(own, _)| schema.is_none_or(|schema| schema == *own));
        let mut schemas: Vec<_> = path.map(|(_, objects)| objects).collect();
        if let (true, Some(schema)) = (schemas.is_empty(), schema) {
            schemas.extend(catalog.schemas.get(schema).map(|objects| &**objects));
        }
        let overloads = schemas.iter().filter_map(|objects| objects.functions.get(name)).flatten();
        let mut results =
            overloads.filter(|function| function.takes(shape)).map(|function| function.result);
        let Some(first) = results.next() else { return Argument::Unknown };
        let plain = catalog.types.get(&first).is_some_and(|found| found.kind != TypeKind::Pseudo);
        if plain && results.all(|result| result == first) {
            Argument::Type(first)
        } else {
            Argument::Unknown
        }
    }

    /// The number of a type by name; `None` when it is not known or a row type.
    pub(super) fn type_id(&mut self, name: &TypeName) -> Option<TypeId> {
        let names: Vec<&str> = name.names().iter().filter_map(|name| name.sval()).collect();
        if name.pct_type || name.setof {
            return None;
        }
        let element = match names.as_slice() {
            [schema, name] | [_, schema, name] => {
                self.scope.catalog.schemas.get(*schema)?.type_ids.get(*name).copied()
            }
            // A row type that comes first in the path has no number here.
            [name] => self
                .path()
                .find(|(_, objects)| {
                    objects.type_ids.contains_key(*name) || objects.relations.contains_key(*name)
                })
                .and_then(|(_, objects)| objects.type_ids.get(*name).copied()),
            _ => None,
        }?;
        if name.array_bounds().is_empty() {
            return Some(element);
        }
        let types = &self.scope.catalog.types;
        self.pay(types.len()).ok()?;
        types.iter().find(|(_, found)| found.element == element).map(|(id, _)| *id)
    }

    /// The type of the column that a reference names, when that is a column of a relation beyond doubt.
    fn column_type(&mut self, names: &[&str]) -> Option<TypeId> {
        let (relation, column) = match names {
            [column] => (None, *column),
            [relation, column] => (Some(*relation), *column),
            _ => return None,
        };
        let mut cost = 0;
        let mut found = None;
        for level in self.levels.iter().rev().filter(|level| !level.hidden) {
            let mut seen = level.items.iter().filter(|item| match relation {
                Some(relation) => item.by_name && item.name == relation,
                None => item.by_column && has(item, column),
            });
            cost += level.items.iter().map(|item| item.columns.cost()).sum::<usize>();
            if let Some(item) = seen.next() {
                if seen.next().is_none() {
                    found = of(item, column);
                }
                break;
            }
        }
        self.pay(cost).ok()?;
        found
    }
}

/// Whether an item has a column of that name, or may have.
fn has(item: &Item<'_>, column: &str) -> bool {
    match &item.columns {
        ItemColumns::Relation { .. } => of(item, column).is_some(),
        ItemColumns::Derived { names, open } => *open || names.contains(&column),
        ItemColumns::Join { columns, open } => *open || columns.iter().any(|c| c.name == column),
    }
}

fn of(item: &Item<'_>, column: &str) -> Option<TypeId> {
    let ItemColumns::Relation { target, renamed } = &item.columns else { return None };
    let columns = target.relation.columns.iter().map(|column| &**column).enumerate();
    let mut names = columns.map(|(at, own)| renamed.get(at).copied().unwrap_or(own));
    let at = names.position(|name| name == column)?;
    target.relation.column_types.get(at).copied()
}
