//! Statements about the session: transactions, settings, prepared statements, cursors, COPY, locks, calls.

use pg_raw_parse::nodes::{
    CallStmt, CopyStmt, CreateTableAsStmt, ExplainStmt, IntoClause, LockStmt, PrepareStmt,
    SelectStmt, TransactionStmt, TruncateStmt, VariableSetStmt, VariableShowStmt,
};
use pg_raw_parse::raw::{DiscardMode, DropBehavior, TransactionStmtKind, VariableSetKind};
use pg_raw_parse::{ConstValue, Node};

use super::functions::words;
use super::nodes::{
    after_analysis, cluster_statements, database_definitions, from_items, json_expressions, pieces,
    plain_expressions, queries, role_statements, schema_definitions,
};
use super::settings;
use super::statement::Kind;
use super::walk::{Item, ItemColumns, Walk, Walked, unsupported, unsupported_hint};
use crate::sql::access::{Object, Operation};
use crate::sql::placement::{Placement, Rule, TransactionMode};
use crate::sql::statement::{Argument, Call, Class, Effect};

/// Bit of `DeclareCursorStmt.options` for WITH HOLD (CURSOR_OPT_HOLD of parsenodes.h).
const CURSOR_HOLD: i32 = 0x0020;

/// `LockStmt.mode` of ACCESS SHARE (AccessShareLock of lockdefs.h).
const ACCESS_SHARE: i32 = 1;

/// A standby prepares statements as the primary does, and they stay where they were prepared.
const PREPARED: Placement = Placement::Home(Rule::State("statements prepared by SQL"));
/// What a cursor keeps beyond its transaction stays where it was declared.
const HELD: Placement = Placement::Home(Rule::State("cursors WITH HOLD"));

/// Where something runs that may run there, unless its body is bound elsewhere.
fn in_place_of(body: Placement, place: Placement) -> Placement {
    match body {
        Placement::Anywhere | Placement::Session => place,
        bound @ (Placement::Home(_) | Placement::Primary(_)) => bound,
    }
}

/// About something that the session has at the primary.
fn only_here(command: &'static str, what: &'static str) -> Kind {
    Kind::new(command, Class::Misc).placed(Placement::Primary(Rule::State(what)))
}

/// Whether EXPLAIN runs the statement, as the server reads its options (ExplainQuery, defGetBoolean): the last
/// one counts. A value that is not understood here counts as yes.
fn analyses(explain: &ExplainStmt) -> bool {
    let mut analyses = false;
    for option in explain.options() {
        if option.defname() == Some("analyze") {
            let value = option.arg();
            let off = matches!(value, Node::Integer(number) if number.ival == 0)
                || value.as_str().is_some_and(|text| {
                    ["false", "off"].iter().any(|off| text.eq_ignore_ascii_case(off))
                });
            analyses = !off;
        }
    }
    analyses
}

impl<'t> Walk<'t> {
    /// A statement about the session.
    pub(super) fn session(&mut self, node: Node<'t>) -> Walked<Kind> {
        match node {
            Node::TransactionStmt(transaction) => transaction_kind(transaction),
            Node::VariableSetStmt(set) => set_kind(set),
            Node::VariableShowStmt(show) => self.show(show),
            Node::PrepareStmt(prepare) => self.prepare(prepare),
            Node::ExecuteStmt(execute) => {
                self.parts(execute.params())?;
                let name = execute.name().unwrap_or_default().into();
                Ok(Kind::with("EXECUTE", Class::Misc, Effect::Execute(name)).placed(PREPARED))
            }
            Node::DeallocateStmt(deallocate) => {
                let name = deallocate.name().filter(|_| !deallocate.isall).map(Box::from);
                let effect = Effect::Deallocate(name);
                Ok(Kind::with("DEALLOCATE", Class::Misc, effect).placed(PREPARED))
            }
            Node::DeclareCursorStmt(declare) => {
                let body = self.optimizable(declare.query())?;
                self.nothing_deferred("DECLARE")?;
                let hold = declare.options & CURSOR_HOLD != 0;
                let effect = Effect::Declare {
                    cursor: declare.portalname().unwrap_or_default().into(),
                    hold,
                };
                // It ends with the transaction, unless held.
                let place = if hold { HELD } else { Placement::Session };
                let placement = in_place_of(body.placement, place);
                Ok(Kind::with("DECLARE CURSOR", body.class, effect).placed(placement))
            }
            Node::FetchStmt(fetch) => {
                let name = fetch.portalname().unwrap_or_default().into();
                let command = if fetch.ismove { "MOVE" } else { "FETCH" };
                let kind = Kind::with(command, Class::Misc, Effect::Fetch(name));
                Ok(kind.placed(Placement::Session))
            }
            Node::ClosePortalStmt(close) => {
                let name = close.portalname().map(Box::from);
                let kind = Kind::with("CLOSE CURSOR", Class::Misc, Effect::CloseCursor(name));
                Ok(kind.placed(Placement::Session))
            }
            Node::DiscardStmt(discard) => Ok(match discard.target {
                DiscardMode::DISCARD_ALL => Kind {
                    changes_path: true,
                    ..Kind::with("DISCARD ALL", Class::Misc, Effect::DiscardAll)
                        .placed(Placement::Home(Rule::State("what it discards")))
                },
                DiscardMode::DISCARD_PLANS => {
                    Kind::new("DISCARD PLANS", Class::Misc).placed(Placement::Session)
                }
                DiscardMode::DISCARD_SEQUENCES => only_here("DISCARD SEQUENCES", "sequence values"),
                _ => Kind { changes_path: true, ..only_here("DISCARD TEMP", "temporary tables") },
            }),
            // Messages between sessions of one database: for everyone who may work in it at all.
            Node::ListenStmt(_) => Ok(self.harmless(only_here("LISTEN", "notifications"))),
            Node::UnlistenStmt(_) => Ok(self.harmless(only_here("UNLISTEN", "notifications"))),
            Node::NotifyStmt(_) => Ok(self.harmless(only_here("NOTIFY", "notifications"))),
            Node::ConstraintsSetStmt(_) => {
                let kind = Kind::new("SET CONSTRAINTS", Class::Misc);
                Ok(self.harmless(kind.placed(Placement::Session)))
            }
            Node::ExplainStmt(explain) => self.explain(explain),
            Node::CopyStmt(copy) => self.copy(copy),
            Node::TruncateStmt(truncate) => self.truncate(truncate),
            Node::LockStmt(lock) => self.lock_table(lock),
            Node::CallStmt(call) => self.call_procedure(call),
            Node::DoStmt(_) => {
                // Its body is not understood, so that it may do whatever the service account may.
                self.needs.admin(Object::Database);
                Ok(Kind {
                    changes_catalog: true,
                    changes_path: true,
                    ..Kind::new("DO", Class::Function)
                })
            }
            Node::CreateTableAsStmt(create) => self.create_as(create),
            Node::None
            | Node::NodeList(_)
            | plain_expressions!()
            | json_expressions!()
            | pieces!()
            | from_items!()
            | queries!()
            | schema_definitions!()
            | database_definitions!()
            | role_statements!()
            | cluster_statements!()
            | after_analysis!() => unsupported("A statement of this kind is not supported."),
        }
    }

    fn harmless(&mut self, kind: Kind) -> Kind {
        self.needs.metadata();
        kind
    }

    fn show(&mut self, show: &'t VariableShowStmt) -> Walked<Kind> {
        let name = show.name().unwrap_or_default().to_ascii_lowercase();
        if name == "all" {
            return unsupported_hint(
                "SHOW ALL is not supported: the service account may see more than its users should.",
                "Show one setting, or read pg_settings.",
            );
        }
        if !settings::may_show(&name) {
            return unsupported(format!("The setting {name} may not be read."));
        }
        if !settings::is_public(&name) {
            self.needs.metadata();
        }
        let kind = Kind::with("SHOW", Class::Misc, Effect::Show { name: name.into() });
        Ok(kind.placed(Placement::Session))
    }

    /// What a parameter names is read from Bind, and these run later.
    fn nothing_deferred(&self, command: &str) -> Walked {
        if self.deferred.is_empty() {
            return Ok(());
        }
        unsupported_hint(
            format!(
                "{command} takes no parameter that names a sequence, a setting or another object."
            ),
            "Name it in the statement, or use the extended protocol.",
        )
    }

    fn prepare(&mut self, prepare: &'t PrepareStmt) -> Walked<Kind> {
        self.declare_parameters(prepare)?;
        let body = self.optimizable(prepare.query())?;
        self.nothing_deferred("PREPARE")?;
        let name = prepare.name().unwrap_or_default().into();
        let placement = in_place_of(body.placement, PREPARED);
        Ok(Kind::with("PREPARE", body.class, Effect::Prepare(name)).placed(placement))
    }

    /// Plain EXPLAIN needs what the statement needs, as in the server; EXPLAIN ANALYZE runs it, too.
    fn explain(&mut self, explain: &'t ExplainStmt) -> Walked<Kind> {
        let body = self.nested(|walk| walk.optimizable(explain.query()))?;
        // DECLARE below EXPLAIN declares nothing.
        let effect = match body.effect {
            Effect::Execute(name) => Effect::Execute(name),
            _ => Effect::None,
        };
        // What it took says something of the server where it ran.
        let placement = if analyses(explain) {
            in_place_of(body.placement, Placement::Session)
        } else {
            body.placement
        };
        Ok(Kind { command: "EXPLAIN", effect, placement, ..body })
    }

    fn copy(&mut self, copy: &'t CopyStmt) -> Walked<Kind> {
        if copy.is_program || copy.filename().is_some() {
            return unsupported_hint(
                "COPY with files or programs of the server is not supported.",
                "Use COPY … TO STDOUT or FROM STDIN (\\copy in psql).",
            );
        }
        let Some(var) = copy.relation() else {
            let body = self.optimizable(copy.query())?;
            let kind = Kind::with("COPY", body.class, Effect::CopyOut);
            return Ok(kind.placed(body.placement));
        };
        let target = self.relation(var)?;
        let operation = if copy.is_from { Operation::Insert } else { Operation::Select };
        if copy.attlist().is_empty() {
            self.needs.all_columns(operation, target);
        }
        for column in words(copy.attlist()) {
            self.target_column(operation, target, column)?;
        }
        let listed = words(copy.attlist());
        if copy.is_from && !listed.is_empty() {
            self.defaults(target, |column| listed.contains(&column))?;
        }
        self.in_level(|walk| {
            walk.level()?.items.push(Item {
                name: target.name,
                columns: ItemColumns::Relation { target, renamed: std::rc::Rc::default() },
                qualified: true,
                by_name: true,
                by_column: true,
                locks: std::rc::Rc::default(),
            });
            walk.part(copy.where_clause())
        })?;
        Ok(if copy.is_from {
            Kind { effect: Effect::CopyIn, ..Kind::writing("COPY") }
        } else {
            Kind::with("COPY", Class::Read, Effect::CopyOut).placed(Placement::Anywhere)
        })
    }

    fn truncate(&mut self, truncate: &'t TruncateStmt) -> Walked<Kind> {
        for relation in truncate.relations() {
            let Node::RangeVar(var) = relation else {
                return unsupported("TRUNCATE names something that is no relation.");
            };
            let target = self.relation(var)?;
            self.needs.whole(Operation::Truncate, target);
            if truncate.restart_seqs {
                // Restarting a sequence takes its owner, who is the table's.
                self.altered_with_children(var, false)?;
            }
        }
        if truncate.behavior == DropBehavior::DROP_CASCADE {
            // Which tables refer to these is not known here; they may be in any schema.
            self.needs.admin(Object::Database);
        }
        Ok(Kind::writing("TRUNCATE TABLE"))
    }

    fn lock_table(&mut self, lock: &'t LockStmt) -> Walked<Kind> {
        // The server takes any one of several privileges for the stronger modes; UPDATE is the usual one.
        let operation =
            if lock.mode == ACCESS_SHARE { Operation::Select } else { Operation::Update };
        for relation in lock.relations() {
            let Node::RangeVar(var) = relation else {
                return unsupported("LOCK TABLE names something that is no relation.");
            };
            let target = self.relation(var)?;
            self.needs.whole(operation, target);
        }
        Ok(Kind::new("LOCK TABLE", Class::Misc).placed(Placement::Primary(Rule::Locks)))
    }

    fn call_procedure(&mut self, call: &'t CallStmt) -> Walked<Kind> {
        let Some(function) = call.funccall() else { return unsupported("CALL names nothing.") };
        let names = words(function.funcname());
        if let ["daypass", name] = names.as_slice() {
            let arguments = function.args().iter().map(argument).collect::<Walked<Vec<_>>>()?;
            let plain = function.agg_order().is_empty()
                && !function.agg_star
                && !function.agg_distinct
                && !function.func_variadic
                && function.over().is_none()
                && matches!(function.agg_filter(), Node::None);
            if !plain {
                return unsupported("A call on daypass takes a plain list of arguments.");
            }
            let call = Call { name: name.to_ascii_lowercase().into(), arguments };
            // The server never sees it.
            let kind = Kind::with("CALL", Class::Misc, Effect::Call(call));
            return Ok(kind.placed(Placement::Session));
        }
        // A procedure may do anything, transaction control included.
        self.call_procedure_itself(function)?;
        self.needs.admin(Object::Database);
        Ok(Kind {
            changes_catalog: true,
            changes_path: true,
            ends_transaction: true,
            ..Kind::new("CALL", Class::Function)
        })
    }

    /// CREATE TABLE AS and CREATE MATERIALIZED VIEW.
    fn create_as(&mut self, create: &'t CreateTableAsStmt) -> Walked<Kind> {
        let body = self.optimizable(create.query())?;
        if let Some(into) = create.into() {
            self.new_table(into)?;
        }
        let effect = match body.effect {
            Effect::Execute(name) => Effect::Execute(name),
            _ => Effect::None,
        };
        Ok(Kind { effect, ..Kind::ddl("CREATE TABLE AS") })
    }

    /// SELECT INTO.
    pub(super) fn select_into(
        &mut self,
        select: &'t SelectStmt,
        leftmost: &'t SelectStmt,
        into: &'t IntoClause,
    ) -> Walked<Kind> {
        debug_assert!(leftmost.into_clause().is_some());
        self.takes_into = true;
        self.query(Node::SelectStmt(select))?;
        self.new_table(into)?;
        Ok(Kind::ddl("SELECT INTO"))
    }

    fn new_table(&mut self, into: &'t IntoClause) -> Walked {
        match into.rel() {
            Some(var) => {
                self.tablespace(into.table_space_name());
                self.created(var)
            }
            None => unsupported("A new table has no name."),
        }
    }
}

/// An argument of a call on daypass.
fn argument(node: Node<'_>) -> Walked<Argument> {
    let mut node = node;
    let mut negative = false;
    loop {
        match node {
            // '30 min'::interval and the like: the words are what counts.
            Node::TypeCast(cast) => node = cast.arg(),
            Node::A_Expr(minus)
                if !negative
                    && matches!(minus.lexpr(), Node::None)
                    && words(minus.name()) == ["-"] =>
            {
                negative = true;
                node = minus.rexpr();
            }
            _ => break,
        }
    }
    let refused = || unsupported("A call on daypass takes literals and parameters only.");
    match node {
        Node::ParamRef(parameter) if !negative => match u16::try_from(parameter.number) {
            Ok(number) if number > 0 => Ok(Argument::Parameter(number)),
            _ => refused(),
        },
        Node::A_Const(constant) => {
            let text = match constant.val() {
                None if !negative => return Ok(Argument::Null),
                Some(ConstValue::Integer(number)) => number.to_string(),
                Some(ConstValue::Float(number)) => number.to_string(),
                Some(ConstValue::String(text)) if !negative => text.to_string(),
                Some(ConstValue::Boolean(value)) if !negative => value.to_string(),
                _ => return refused(),
            };
            let sign = if negative { "-" } else { "" };
            Ok(Argument::Literal(format!("{sign}{text}").into()))
        }
        _ => refused(),
    }
}

fn transaction_kind(transaction: &TransactionStmt) -> Walked<Kind> {
    let name = || Box::<str>::from(transaction.savepoint_name().unwrap_or_default());
    let mode = || transaction_mode(transaction);
    let goes_on =
        |command, effect| Ok(Kind::with(command, Class::Misc, effect).placed(Placement::Session));
    let begins = |command| goes_on(command, Effect::Begin(mode()));
    let ends = |command, effect| Ok(Kind { ends_transaction: true, ..goes_on(command, effect)? });
    match transaction.kind {
        TransactionStmtKind::TRANS_STMT_BEGIN => begins("BEGIN"),
        TransactionStmtKind::TRANS_STMT_START => begins("START TRANSACTION"),
        TransactionStmtKind::TRANS_STMT_COMMIT => ends("COMMIT", Effect::Commit),
        TransactionStmtKind::TRANS_STMT_ROLLBACK => ends("ROLLBACK", Effect::Rollback),
        TransactionStmtKind::TRANS_STMT_SAVEPOINT => {
            goes_on("SAVEPOINT", Effect::Savepoint(name()))
        }
        TransactionStmtKind::TRANS_STMT_RELEASE => goes_on("RELEASE", Effect::Release(name())),
        TransactionStmtKind::TRANS_STMT_ROLLBACK_TO => ends("ROLLBACK", Effect::RollbackTo(name())),
        _ => unsupported("Two-phase transactions are not supported."),
    }
}

/// What its options say; of two of a kind the last one counts (utility.c, TRANS_STMT_START).
fn transaction_mode(transaction: &TransactionStmt) -> TransactionMode {
    let mut mode = TransactionMode::default();
    for option in transaction.options() {
        let Node::DefElem(option) = option else { continue };
        let Node::A_Const(value) = option.arg() else { continue };
        match (option.defname(), value.val()) {
            (Some("transaction_read_only"), Some(ConstValue::Integer(on))) => {
                mode.read_only = on != 0;
            }
            (Some("transaction_isolation"), Some(ConstValue::String(level))) => {
                mode.serializable = *level == *"serializable";
            }
            _ => (),
        }
    }
    mode
}

fn set_kind(set: &VariableSetStmt) -> Walked<Kind> {
    let kind = |command, name: &str| Kind {
        changes_path: matches!(name, "search_path" | "all"),
        ..Kind::with(command, Class::Misc, Effect::Set { name: name.into() })
            .placed(Placement::Session)
    };
    let name = set.name().unwrap_or_default().to_ascii_lowercase();
    match set.kind {
        VariableSetKind::VAR_RESET_ALL => Ok(kind("RESET", "all")),
        VariableSetKind::VAR_RESET => {
            settings::check_set(&name, None)?;
            Ok(kind("RESET", &name))
        }
        VariableSetKind::VAR_SET_DEFAULT => {
            settings::check_set(&name, None)?;
            Ok(kind("SET", &name))
        }
        VariableSetKind::VAR_SET_VALUE => {
            let values: Vec<String> = set.args().iter().filter_map(value).collect();
            let values: Vec<&str> = if values.len() == set.args().len() {
                values.iter().map(String::as_str).collect()
            } else {
                Vec::new()
            };
            settings::check_set(&name, Some(&values))?;
            Ok(kind("SET", &name))
        }
        // SET TRANSACTION, SET SESSION CHARACTERISTICS: isolation, READ ONLY and DEFERRABLE only.
        // A snapshot of another session shows nothing that this one may not see.
        VariableSetKind::VAR_SET_MULTI if name == "transaction snapshot" => {
            let primary = Placement::Primary(Rule::State("snapshots for other sessions"));
            Ok(kind("SET", &name).placed(primary))
        }
        VariableSetKind::VAR_SET_MULTI => Ok(kind("SET", &name)),
        // SET … FROM CURRENT is for functions.
        _ => unsupported("SET … FROM CURRENT stands where the server takes none."),
    }
}

/// A value of SET as text.
fn value(node: Node<'_>) -> Option<String> {
    match node {
        Node::A_Const(constant) => constant.val().map(|value| value.to_string()),
        _ => None,
    }
}
