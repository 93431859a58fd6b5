//! Calls: which functions a name may mean, and the rules of those whose arguments name something.

use pg_raw_parse::Node;
use pg_raw_parse::list::NodeList;
use pg_raw_parse::nodes::FuncCall;

use super::overload::{Argument, Candidate, Shape, resolve};
use super::routines::{connects, is_harmless, is_reaching, needs_execute};
use super::walk::{COPY_COST, Item, Walk, Walked, refuse_schema, undefined, unsupported};
use crate::sql::access::Object;
use crate::sql::catalog::Schema;

/// The words of a qualified name.
pub(super) fn words(list: &NodeList) -> Vec<&str> {
    list.iter().filter_map(Node::as_str).collect()
}

/// One argument.
const ONE: Shape = Shape { count: 1, variadic: false, named: false, any_count: false };

/// The arguments of a call, where they are written out.
#[derive(Clone, Copy)]
struct Call<'a, 't> {
    arguments: &'a [Node<'t>],
    shape: Shape,
}

/// How a call is written.
pub(super) fn shape(call: &FuncCall, any_count: bool) -> Shape {
    // What WITHIN GROUP orders by are arguments, too.
    let more = if call.agg_within_group { call.agg_order().len() } else { 0 };
    Shape {
        count: call.args().len() + more,
        variadic: call.func_variadic,
        named: call.args().iter().any(|argument| matches!(argument, Node::NamedArgExpr(_))),
        any_count,
    }
}

impl<'t> Walk<'t> {
    /// A function call: its name, its arguments and everything around them.
    pub(super) fn call(&mut self, call: &'t FuncCall) -> Walked {
        self.call_of(call, false)
    }

    /// The call of CALL.
    pub(super) fn call_procedure_itself(&mut self, call: &'t FuncCall) -> Walked {
        self.call_of(call, true)
    }

    fn call_of(&mut self, call: &'t FuncCall, any_count: bool) -> Walked {
        let names = words(call.funcname());
        let (arguments, shape) = self.arguments(call, any_count);
        self.call_by_names(&names, Call { arguments: &arguments, shape })?;
        for argument in arguments {
            self.argument(argument)?;
        }
        for key in call.agg_order() {
            self.sort_key(key)?;
        }
        self.part(call.agg_filter())?;
        if let Some(window) = call.over() {
            self.window(window)?;
        }
        Ok(())
    }

    /// The function of a call with one of its arguments alone.
    pub(super) fn call_each(&mut self, call: &'t FuncCall, argument: Node<'t>) -> Walked {
        self.call_by_names(&words(call.funcname()), Call { arguments: &[argument], shape: ONE })?;
        self.part(argument)
    }

    fn call_by_names(&mut self, names: &[&'t str], call: Call<'_, 't>) -> Walked {
        match names {
            [name] => self.call_bare(name, call),
            [schema, name] | [_, schema, name] => self.call_qualified(schema, name, call),
            _ => unsupported("A function's name has too many parts."),
        }
    }

    fn call_qualified(&mut self, schema: &'t str, name: &'t str, call: Call<'_, 't>) -> Walked {
        refuse_schema(schema)?;
        self.connects |= connects(name);
        let knows = self.scope.catalog.knows_functions();
        match schema {
            "pg_catalog" if !knows => self.call_listed(name, call.arguments),
            // Helpers of its views; pgjdbc calls _pg_expandarray.
            "information_schema" if !knows && name.starts_with("_pg_") => {
                self.places_listed(name, true, call.arguments);
                self.needs.metadata();
                Ok(())
            }
            _ => {
                let (schema, objects) = self.schema(schema)?;
                if self.call_among(&[(schema, objects)], name, call)? {
                    return Ok(());
                }
                undefined("42883", format!("function {schema}.{name} does not exist"))
            }
        }
    }

    /// An unqualified call. Overload resolution spans the whole path.
    fn call_bare(&mut self, name: &'t str, call: Call<'_, 't>) -> Walked {
        self.connects |= connects(name);
        let path: Vec<_> =
            self.path().filter(|(_, objects)| objects.functions.contains_key(name)).collect();
        let found = self.call_among(&path, name, call)?;
        if !self.scope.catalog.knows_functions() && (is_harmless(name) || is_reaching(name)) {
            return self.call_listed(name, call.arguments);
        }
        // `column(row)` is `row.column`, and `type(value)` is `value::type`, when no function fits.
        if call.shape.count == 1 {
            if self.casts_by_call(name, call.arguments.first().copied())? || found {
                return Ok(());
            }
            if let [Node::ColumnRef(reference)] = call.arguments
                && self.is_field_of(reference, name)?
            {
                return Ok(());
            }
        }
        if found {
            return Ok(());
        }
        undefined("42883", format!("function {name} does not exist"))
    }

    /// Asks for what the functions of that name that the call may mean need; whether there are any.
    fn call_among(
        &mut self,
        schemas: &[(&'t str, &'t Schema)],
        name: &str,
        call: Call<'_, 't>,
    ) -> Walked<bool> {
        let mut candidates: Vec<Candidate<'t>> = Vec::new();
        let (mut costs, mut compared) = (false, 0);
        let runs_as = self.scope.catalog.runs_as;
        for (schema, objects) in schemas {
            let Some((name, overloads)) = objects.functions.get_key_value(name) else { continue };
            compared += overloads.len();
            for function in overloads.iter().filter(|function| function.takes(call.shape)) {
                costs |= *schema != "pg_catalog" || needs_execute(name, function, runs_as);
                candidates.push(Candidate { schema, name, function });
            }
        }
        self.pay(compared)?;
        if candidates.is_empty() {
            return Ok(false);
        }
        if costs && candidates.len() > 1 {
            self.pay(candidates.len().saturating_mul(COPY_COST))?;
            let types: Vec<Argument> =
                call.arguments.iter().map(|node| self.argument_type(*node)).collect();
            let all = candidates.clone();
            candidates = resolve(self.scope.catalog, candidates, &types, call.shape);
            if candidates.is_empty() {
                // None fits as far as is known here; the server has the last word.
                candidates = all;
            }
        }
        self.call_gives_types(&candidates, call.arguments);
        if !self.scope.catalog.called_casts.is_empty() {
            for candidate in &candidates {
                self.implicit_casts(&candidate.function.inputs);
            }
        }
        // A rule of its own goes by name, and all of the server's overloads share it.
        let mut ruled = None;
        for Candidate { schema, name, function } in candidates {
            self.places_call(schema, name, function, call.arguments);
            let ruled = match (schema, ruled) {
                ("pg_catalog", None) => *ruled.insert(self.call_special(name, call.arguments)?),
                ("pg_catalog", Some(ruled)) => ruled,
                _ => false,
            };
            if !ruled || needs_execute(name, function, runs_as) {
                self.calls(schema, name, function);
            }
        }
        Ok(true)
    }

    /// Whether `name(reference)` may be the column `name` of a FROM item's row.
    fn is_field_of(
        &mut self,
        reference: &'t pg_raw_parse::nodes::ColumnRef,
        name: &'t str,
    ) -> Walked<bool> {
        let names = words(reference.fields());
        let item = match names.as_slice() {
            [relation] => self.item(None, relation),
            [schema, relation] => self.item(Some(schema), relation),
            _ => return Ok(false),
        };
        match item {
            Ok(item) if self.pay(item.columns.cost().saturating_mul(COPY_COST)).is_err() => {
                Ok(false)
            }
            Ok(item) => Ok(item.columns.is_open()
                || item.columns.all().iter().any(|column| column.name == name)),
            Err(_) => Ok(false),
        }
    }

    /// Whether a function of that name can be called with one argument and without a schema.
    pub(super) fn call_exists(&mut self, name: &str) -> bool {
        let listed = !self.scope.catalog.knows_functions();
        (listed && (is_harmless(name) || is_reaching(name)))
            || self.path().any(|(_, objects)| {
                let mut overloads = objects.functions.get(name).into_iter().flatten();
                overloads.any(|function| function.takes(ONE))
            })
    }

    /// A call in the form `value.name`, whose argument has been read.
    pub(super) fn call_by_name(&mut self, name: &'t str) -> Walked {
        self.call_bare(name, Call { arguments: &[], shape: ONE })
    }

    /// `value.name`, where the columns of the value are not known: a column, or else a call.
    pub(super) fn unknown_field(&mut self, name: &'t str) -> Walked {
        if self.call_exists(name) { self.call_by_name(name) } else { Ok(()) }
    }

    /// `(value).name`, where the value may be the row of a known FROM item.
    pub(super) fn field(&mut self, row: Option<&Item<'t>>, name: &'t str) -> Walked {
        match row {
            Some(item) => self.read_field(item, name),
            None => self.unknown_field(name),
        }
    }

    /// A function of the server, by the committed lists: its catalog could not be read.
    fn call_listed(&mut self, name: &'t str, arguments: &[Node<'t>]) -> Walked {
        self.places_listed(name, is_harmless(name), arguments);
        if self.call_special(name, arguments)? {
            return Ok(());
        }
        if is_harmless(name) {
            self.needs.metadata();
            return Ok(());
        }
        // Files, programs, other sessions, large objects, SQL in a string …: what the service
        // account may do, not what a relation's privilege covers.
        if is_reaching(name) {
            self.needs.admin(Object::Database);
            return Ok(());
        }
        undefined("42883", format!("function pg_catalog.{name} does not exist"))
    }
}
