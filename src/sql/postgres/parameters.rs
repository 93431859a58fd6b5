//! Parameters by their types: what Parse or PREPARE declares tells overloads apart.
//!
//! The server leaves parameters of the type `void` out of a call's arguments (ParseFuncOrColumn of
//! parse_func.c, for JDBC's output parameters), so that `f($1, $2)` may be a call with one argument. Where
//! that is declared it is done here, too. A parameter without a declared type may become one as well, by what
//! stands beside it; where that could be, the statement is refused.

use std::collections::BTreeSet;

use pg_raw_parse::Node;
use pg_raw_parse::nodes::{FuncCall, PrepareStmt};

use super::functions::shape;
use super::overload::{Argument, Candidate, Shape};
use super::walk::{Walk, Walked, unsupported, unsupported_hint};
use crate::sql::catalog::{Function, TypeId, TypeKind};

/// A literal's type while it has none; of a parameter, the same as no declaration.
const UNKNOWN: TypeId = 705;
const VOID: TypeId = 2278;

/// The parameters of a statement.
#[derive(Default)]
pub(super) struct Parameters {
    /// Their types, where they are declared.
    declared: Vec<TypeId>,
    /// Those that are arguments of a call as they are.
    arguments: BTreeSet<i32>,
    /// Those that stand elsewhere, where they may be given a type.
    elsewhere: BTreeSet<i32>,
    /// Something in the statement is of the type `void`.
    void: bool,
}

impl Parameters {
    /// With these types.
    pub(super) fn new(declared: &[TypeId]) -> Self {
        Self { declared: declared.into(), ..Self::default() }
    }

    fn declared(&self, number: i32) -> Option<TypeId> {
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        self.declared.get(at).copied().filter(|id| *id != 0 && *id != UNKNOWN)
    }

    /// One stands where an expression may.
    pub(super) fn seen(&mut self, number: i32) {
        self.elsewhere.insert(number);
    }

    /// A function is called that may return `void`.
    pub(super) fn called(&mut self, function: &Function) {
        self.void |= function.result == VOID;
    }
}

impl<'t> Walk<'t> {
    /// What is known of a parameter's type.
    pub(super) fn parameter_type(&self, number: i32) -> Argument {
        self.parameters.declared(number).map_or(Argument::Unknown, Argument::Type)
    }

    /// The types of PREPARE.
    pub(super) fn declare_parameters(&mut self, prepare: &'t PrepareStmt) -> Walked {
        let mut declared = Vec::new();
        for name in prepare.argtypes() {
            self.type_name(name)?;
            let names: Vec<&str> = name.names().iter().filter_map(|name| name.sval()).collect();
            let id = if is_void(&names) { Some(VOID) } else { self.type_id(name) };
            declared.push(id.unwrap_or(0));
        }
        self.parameters = Parameters::new(&declared);
        Ok(())
    }

    /// The arguments of a call as the server counts them, and its shape.
    pub(super) fn arguments(&self, call: &'t FuncCall, any_count: bool) -> (Vec<Node<'t>>, Shape) {
        let mut shape = shape(call, any_count);
        let left_out = |node: &Node<'_>| match node {
            Node::ParamRef(parameter) => {
                self.parameters.declared(parameter.number) == Some(VOID) && !call.agg_within_group
            }
            _ => false,
        };
        let arguments: Vec<_> = call.args().iter().filter(|node| !left_out(node)).collect();
        shape.count = shape.count.saturating_sub(call.args().len() - arguments.len());
        (arguments, shape)
    }

    /// Reads an argument of a call.
    pub(super) fn argument(&mut self, node: Node<'t>) -> Walked {
        if let Node::ParamRef(parameter) = node {
            self.parameters.arguments.insert(parameter.number);
            return Ok(());
        }
        self.part(node)
    }

    /// A call that may mean one of these. An argument whose type hangs on the others may become what they are.
    pub(super) fn call_gives_types(
        &mut self,
        candidates: &[Candidate<'t>],
        arguments: &[Node<'t>],
    ) {
        let pseudo = |id: &TypeId| {
            let found = self.scope.catalog.types.get(id);
            found.is_some_and(|found| found.kind == TypeKind::Pseudo)
        };
        let open = candidates.iter().any(|found| found.function.inputs.iter().any(pseudo));
        for node in arguments.iter().filter(|_| open) {
            if let Node::ParamRef(parameter) = node {
                self.parameters.seen(parameter.number);
            }
        }
        for candidate in candidates {
            self.parameters.called(candidate.function);
        }
    }

    /// A cast, which may make a parameter one that calls leave out.
    pub(super) fn cast_gives_type(&mut self, names: &[&str], mut value: Node<'t>) -> Walked {
        if !is_void(names) {
            return Ok(());
        }
        self.parameters.void = true;
        while let Node::CollateClause(clause) = value {
            value = clause.arg();
        }
        if matches!(value, Node::ParamRef(_)) {
            return unsupported("A parameter cannot be cast to void.");
        }
        Ok(())
    }

    /// Refuses a statement in which the server may leave out an argument that is counted here.
    pub(super) fn check_parameters(&self) -> Walked {
        let Parameters { arguments, elsewhere, void, .. } = &self.parameters;
        let mut both = arguments.intersection(elsewhere);
        let open = both.find(|number| self.parameters.declared(**number).is_none());
        match open {
            Some(number) if *void => unsupported_hint(
                format!(
                    "The type of ${number} hangs on what stands beside it, and may become void, which \
                     calls leave out."
                ),
                format!("Cast it where it is an argument: ${number}::text."),
            ),
            _ => Ok(()),
        }
    }
}

/// Whether a type's name may be that of `void`.
fn is_void(names: &[&str]) -> bool {
    matches!(names, ["void"] | ["pg_catalog", "void"] | [_, "pg_catalog", "void"])
}
