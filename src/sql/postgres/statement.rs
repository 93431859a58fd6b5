//! Statements by kind: what each is called, how it is classed, and which part of the walk reads it.

use std::ops::Range;

use pg_raw_parse::nodes::RawStmt;
use pg_raw_parse::{Node, StmtList};

use super::Scope;
use super::nodes::{
    after_analysis, cluster_statements, database_definitions, from_items, json_expressions, pieces,
    plain_expressions, role_statements, schema_definitions, session_statements,
};
use super::prescan::{Literal, Measured, credentials_hint};
use super::walk::{Walk, Walked, unsupported, unsupported_hint};
use crate::sql::access::Object;
use crate::sql::placement::{Placement, Rule};
use crate::sql::statement::{Analysis, Class, Effect, NotUnderstood, Statement};

/// What a kind of statement says of itself, beside its accesses.
pub(super) struct Kind {
    /// The command tag's words.
    pub command: &'static str,
    /// How it is audited and routed.
    pub class: Class,
    /// What it does to the session.
    pub effect: Effect,
    /// Where it runs for its kind alone.
    pub placement: Placement,
    /// Whether definitions change.
    pub changes_catalog: bool,
    /// Whether unqualified names may mean something else afterwards.
    pub changes_path: bool,
    /// Whether its strings are credentials.
    pub credentials: bool,
    /// Whether it may undo changes of the path or of definitions that were made before this message.
    pub ends_transaction: bool,
}

impl Kind {
    /// A kind without any effect.
    pub(super) fn new(command: &'static str, class: Class) -> Self {
        Self {
            command,
            class,
            effect: Effect::None,
            placement: Placement::Primary(Rule::Command(command)),
            changes_catalog: false,
            changes_path: false,
            credentials: false,
            ends_transaction: false,
        }
    }

    /// A kind that does something to the session.
    pub(super) fn with(command: &'static str, class: Class, effect: Effect) -> Self {
        Self { effect, ..Self::new(command, class) }
    }

    /// The same, where it runs.
    pub(super) fn placed(self, placement: Placement) -> Self {
        Self { placement, ..self }
    }

    /// A kind that writes.
    pub(super) fn writing(command: &'static str) -> Self {
        Self::new(command, Class::Write).placed(Placement::Primary(Rule::Writes))
    }

    /// A kind that changes definitions.
    pub(super) fn ddl(command: &'static str) -> Self {
        Self { changes_catalog: true, class: Class::Ddl, ..Self::writing(command) }
    }

    /// A kind about roles and privileges.
    pub(super) fn role(command: &'static str) -> Self {
        Self { changes_catalog: true, class: Class::Role, ..Self::writing(command) }
    }
}

/// Reads every statement of a message.
pub(super) fn message(
    text: &str,
    tree: &StmtList,
    scope: &Scope<'_>,
    measured: &Measured,
) -> Result<Analysis, NotUnderstood> {
    let mut statements: Vec<Statement> = Vec::with_capacity(tree.len());
    // Set once names may mean something else than the scope says.
    let mut unsettled: Option<&'static str> = None;
    let missing = scope.path.iter().find(|name| !scope.catalog.schemas.contains_key(&***name));
    for raw in tree {
        let mut walk = Walk::new(scope);
        let walked = walk.statement(raw.stmt()).and_then(|kind| {
            walk.as_caller()?;
            walk.check_parameters()?;
            Ok(kind)
        });
        if let Some(schema) = missing
            && walk.resolved
        {
            // A schema that is newer than the snapshot may hold what a name means.
            return unsupported_hint(
                format!("The search path has the schema {schema}, which is not known here yet."),
                "Try again in a moment.",
            );
        }
        // These resolve names when they run, those of the statement that they stand for.
        let deferred = walked
            .as_ref()
            .is_ok_and(|kind| matches!(kind.effect, Effect::Execute(_) | Effect::Fetch(_)));
        if let Some(command) = unsettled
            && (walk.resolved || deferred)
        {
            return unsupported_hint(
                format!(
                    "After {command}, names may mean something else for the rest of the message."
                ),
                "Send the statements one by one.",
            );
        }
        let (kind, statement) = finish(text, raw, walk, walked?, measured);
        if kind.changes_path || kind.changes_catalog || kind.ends_transaction {
            unsettled = unsettled.or(Some(kind.command));
        }
        statements.push(statement);
    }
    let called = statements.iter().any(|s| matches!(s.effect, Effect::Call(_)));
    if called && statements.len() > 1 {
        return unsupported("A call on daypass stands alone in its message.");
    }
    Ok(Analysis { statements })
}

fn finish(
    text: &str,
    raw: &RawStmt,
    mut walk: Walk<'_>,
    mut kind: Kind,
    measured: &Measured,
) -> (Kind, Statement) {
    let span = span(text, raw);
    if walk.needs.runs_user_code() || walk.needs.uses_code() || walk.sets_path {
        // A function, also a trigger's, may contain SET search_path or set_config().
        kind.changes_path = true;
    }
    if walk.makes_temporary && !walk.scope.catalog.public_temporary {
        walk.needs.admin(Object::Database);
    }
    if walk.temporary {
        // The first one puts its schema into the path, and any may hide another relation.
        kind.changes_path = true;
        kind.changes_catalog &= walk.needs.defines();
    }
    let hide_all = kind.credentials || walk.connects;
    let first = measured.literals.partition_point(|literal| literal.range.start < span.start);
    let inside = |literal: &&Literal| literal.range.end <= span.end;
    let mut literals = Vec::new();
    let mut credentials = Vec::new();
    for literal in measured.literals.iter().skip(first).take_while(inside) {
        literals.push(literal.range.clone());
        let body = text.get(literal.range.clone()).unwrap_or_default();
        // The body of a function or DO block may set a password, as may a statement that is to be explained.
        let code = matches!(kind.class, Class::Function | Class::Ddl | Class::Role)
            || matches!(kind.effect, Effect::Call(_));
        let body_hides = code && credentials_hint(body);
        if literal.text && (hide_all || body_hides) {
            credentials.push(literal.range.clone());
        }
    }
    let placement = walk.placement(kind.placement.clone());
    let statement = Statement {
        span,
        command: kind.command,
        class: kind.class,
        accesses: walk.needs.into_accesses().into(),
        deferred: walk.deferred.into(),
        placement,
        effect: std::mem::replace(&mut kind.effect, Effect::None),
        credentials,
        literals,
        changes_catalog: kind.changes_catalog,
        changes_path: kind.changes_path,
    };
    (kind, statement)
}

/// Where a statement stands, without the white space around it.
fn span(text: &str, raw: &RawStmt) -> Range<usize> {
    let start = usize::try_from(raw.stmt_location).unwrap_or(0);
    let length = usize::try_from(raw.stmt_len).unwrap_or(0);
    let end = if length == 0 { text.len() } else { start.saturating_add(length).min(text.len()) };
    let Some(inside) = text.get(start..end) else { return 0..text.len() };
    let trimmed = inside.trim_start();
    let start = end - trimmed.len();
    // Only the last statement has no length; a semicolon cannot follow it.
    let trimmed = trimmed.trim_end().trim_end_matches(';').trim_end();
    start..start + trimmed.len()
}

impl<'t> Walk<'t> {
    /// A statement that stands on its own.
    pub(super) fn statement(&mut self, node: Node<'t>) -> Walked<Kind> {
        match node {
            Node::SelectStmt(_)
            | Node::InsertStmt(_)
            | Node::UpdateStmt(_)
            | Node::DeleteStmt(_)
            | Node::MergeStmt(_) => self.optimizable(node),
            session_statements!() => self.session(node),
            schema_definitions!() => self.schema_definition(node),
            database_definitions!() => self.database_definition(node),
            role_statements!() => self.role(node),
            cluster_statements!() => unsupported(
                "Statements about other databases, tablespaces, subscriptions, libraries or the \
                 server as a whole are not supported.",
            ),
            Node::None
            | Node::NodeList(_)
            | plain_expressions!()
            | json_expressions!()
            | pieces!()
            | from_items!()
            | after_analysis!() => unsupported("A statement of this kind is not supported."),
        }
    }

    /// SELECT, INSERT, UPDATE, DELETE, MERGE: what EXPLAIN, PREPARE and cursors take, too.
    pub(super) fn optimizable(&mut self, node: Node<'t>) -> Walked<Kind> {
        let kind = match node {
            Node::SelectStmt(select) => {
                let mut leftmost = select;
                while let Some(left) = leftmost.larg() {
                    leftmost = left;
                }
                if let Some(into) = leftmost.into_clause() {
                    return self.select_into(select, leftmost, into);
                }
                self.query(node)?;
                Kind::new("SELECT", self.select_class()).placed(Placement::Anywhere)
            }
            Node::InsertStmt(_) => self.changing(node, "INSERT")?,
            Node::UpdateStmt(_) => self.changing(node, "UPDATE")?,
            Node::DeleteStmt(_) => self.changing(node, "DELETE")?,
            Node::MergeStmt(_) => self.changing(node, "MERGE")?,
            other => return self.statement(other),
        };
        if self.needs.is_empty() {
            // SELECT 1: harmless, but no business of someone without any grant.
            self.needs.metadata();
        }
        Ok(kind)
    }

    /// A SELECT may lock rows, write through a CTE, advance a sequence or call what may write.
    pub(super) fn select_class(&self) -> Class {
        if self.needs.writes() {
            Class::Write
        } else if self.needs.calls() {
            Class::Function
        } else {
            Class::Read
        }
    }

    fn changing(&mut self, node: Node<'t>, command: &'static str) -> Walked<Kind> {
        self.query(node)?;
        Ok(Kind::writing(command))
    }
}
