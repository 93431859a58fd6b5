//! Statements by kind: what each is called, how it is classed, and which part of the grammar reads it.

use super::Scope;
use super::lexer::{Kind as TokenKind, Tokens};
use super::parser::{Parsed, Parser, unsupported};
use super::resolve::Resolver;
use super::settings::ParseSettings;
use super::tree::Query;
use crate::sql::access::{Object, Operation};
use crate::sql::statement::{Analysis, Change, Class, Effect, NotUnderstood, Statement};

/// What a kind of statement says of itself, beside its accesses.
pub(super) struct Kind {
    /// The command's words.
    pub command: &'static str,
    /// How it is audited and routed.
    pub class: Class,
    /// What it does to the session.
    pub effect: Effect,
    /// Whether definitions change.
    pub changes_catalog: bool,
    /// Whether its strings are credentials.
    pub credentials: bool,
}

impl Kind {
    /// A kind without any effect.
    pub(super) fn new(command: &'static str, class: Class) -> Self {
        Self { command, class, effect: Effect::None, changes_catalog: false, credentials: false }
    }

    /// A kind that does something to the session.
    pub(super) fn with(command: &'static str, class: Class, effect: Effect) -> Self {
        Self { effect, ..Self::new(command, class) }
    }

    /// A kind that changes definitions.
    pub(super) fn ddl(command: &'static str) -> Self {
        Self { changes_catalog: true, ..Self::new(command, Class::Ddl) }
    }

    /// A kind about accounts and privileges.
    pub(super) fn role(command: &'static str) -> Self {
        Self { changes_catalog: true, credentials: true, ..Self::new(command, Class::Role) }
    }
}

/// Reads every statement of a message.
pub(super) fn message(tokens: &Tokens<'_>, scope: &Scope<'_>) -> Parsed<Analysis> {
    let mut statements: Vec<Statement> = Vec::new();
    let mut settings = scope.settings.clone();
    let mut unsettled: Option<&'static str> = None;
    let mut at = 0;
    while at < tokens.list.len() {
        if tokens.list.get(at).is_some_and(|it| it.kind == TokenKind::Sign(b';')) {
            at += 1;
            continue;
        }
        let end = end_of(tokens, at);
        let here = Scope { settings: &settings, ..*scope };
        if let Some(command) = unsettled {
            return Err(NotUnderstood::Unsupported {
                what: format!("After {command}, the rest of the message may mean something else."),
                hint: Some("Send the statements one by one.".into()),
            });
        }
        let (kind, statement) = one(tokens, at, end, &here, 0)?;
        match &statement.effect {
            Effect::UseDatabase(name) => settings.default_database = Some(name.clone()),
            Effect::Reading { .. }
            | Effect::Prepare(_)
            | Effect::Execute(_)
            | Effect::CreateTemporary(_)
            | Effect::DropTables(_) => unsettled = Some(kind),
            _ if statement.changes_catalog => unsettled = Some(kind),
            _ => {}
        }
        statements.push(statement);
        at = end;
    }
    let called = statements.iter().any(|s| matches!(s.effect, Effect::Call(_)));
    if called && statements.len() > 1 {
        return unsupported("A call on daypass stands alone in its message.");
    }
    Ok(Analysis { statements })
}

/// Where a statement ends: at its semicolon, or at the end of all when it holds a program.
fn end_of(tokens: &Tokens<'_>, start: usize) -> usize {
    let word = |at: usize| {
        let token = tokens.list.get(at).filter(|it| it.kind == TokenKind::Word);
        token.map(|it| tokens.name(it).to_ascii_uppercase())
    };
    let changes = word(start).is_some_and(|it| it == "CREATE" || it == "ALTER");
    let program = changes
        && (start + 1..tokens.list.len())
            .take_while(|at| {
                tokens.list.get(*at).is_some_and(|it| it.kind != TokenKind::Sign(b';'))
            })
            .take(24)
            .filter_map(word)
            .any(|it| matches!(&*it, "PROCEDURE" | "FUNCTION" | "TRIGGER" | "EVENT" | "PACKAGE"));
    let semicolon =
        |at: &usize| tokens.list.get(*at).is_some_and(|it| it.kind == TokenKind::Sign(b';'));
    if program {
        return tokens.list.len();
    }
    (start..tokens.list.len()).find(semicolon).unwrap_or(tokens.list.len())
}

fn one(
    tokens: &Tokens<'_>,
    start: usize,
    end: usize,
    scope: &Scope<'_>,
    depth: usize,
) -> Parsed<(&'static str, Statement)> {
    let mut parser = Parser { tokens, at: start, end, settings: scope.settings, depth };
    let mut resolver = Resolver::new(scope);
    let kind = parser.statement(&mut resolver)?;
    parser.finish()?;
    let list = tokens.list.get(start..end).unwrap_or_default();
    let texts =
        || list.iter().filter(|it| it.kind == TokenKind::Text).map(super::lexer::Token::range);
    let literals = if kind.credentials {
        Vec::new()
    } else {
        let literal =
            |it: &&super::lexer::Token| matches!(it.kind, TokenKind::Text | TokenKind::Number);
        list.iter().filter(literal).map(super::lexer::Token::range).collect()
    };
    let from = list.first().map_or(0, |it| it.start);
    let to = list.last().map_or(from, |it| it.end);
    let changes_path = matches!(kind.effect, Effect::UseDatabase(_));
    let placement = resolver.placement(&kind, tokens, list);
    let statement = Statement {
        span: from..to,
        command: kind.command,
        class: kind.class,
        accesses: resolver.needs.finish(),
        deferred: Box::default(),
        placement,
        effect: kind.effect,
        credentials: if kind.credentials { texts().collect() } else { Vec::new() },
        literals,
        changes_catalog: kind.changes_catalog,
        changes_path,
    };
    Ok((kind.command, statement))
}

/// Analyses one statement that stands in a string of another, into the same needs.
fn nested(text: &str, settings: &ParseSettings, resolver: &mut Resolver<'_>) -> Parsed<Kind> {
    let tokens = super::lexer::tokens(text.as_bytes(), settings, &super::ParseLimits::default())?;
    let mut end = tokens.list.len();
    if tokens.list.last().is_some_and(|it| it.kind == TokenKind::Sign(b';')) {
        end -= 1;
    }
    let mut parser =
        Parser { tokens: &tokens, at: 0, end, settings, depth: super::parser::DEPTH_MAX / 2 };
    if parser.is_any(&["PREPARE", "EXECUTE", "DEALLOCATE", "CREATE", "ALTER"]) {
        return not_from_string();
    }
    let kind = parser.statement(resolver)?;
    parser.finish()?;
    if kind.credentials { not_from_string() } else { Ok(kind) }
}

fn not_from_string<T>() -> Parsed<T> {
    unsupported("Such a statement is not prepared from a string here.")
}

impl Parser<'_> {
    /// Any statement.
    pub(super) fn statement(&mut self, resolver: &mut Resolver<'_>) -> Parsed<Kind> {
        if self.sign_at(0, b'(') || self.begins_query() && !self.is("WITH") {
            return self.read_query(resolver);
        }
        let Some(word) = self.word() else { return self.wrong() };
        match &*word {
            "with" => self.with_statement(resolver),
            "insert" | "replace" => {
                self.at += 1;
                let replace = word == "replace";
                self.insert(replace, resolver)?;
                Ok(Kind::new(if replace { "REPLACE" } else { "INSERT" }, Class::Write))
            }
            "update" => {
                self.at += 1;
                self.update(&Query::default(), resolver)?;
                Ok(Kind::new("UPDATE", Class::Write))
            }
            "delete" => {
                self.at += 1;
                self.delete(&Query::default(), resolver)?;
                Ok(Kind::new("DELETE", Class::Write))
            }
            "load" => {
                self.at += 1;
                if !self.eat_any(&["DATA", "XML"]) {
                    return unsupported("LOAD is read as LOAD DATA and LOAD XML only.");
                }
                let loaded = self.load_data(resolver)?;
                let effect = loaded.local.map_or(Effect::None, Effect::LoadLocal);
                Ok(Kind::with("LOAD DATA", Class::Write, effect))
            }
            "do" => {
                self.at += 1;
                let mut found = Vec::new();
                self.list(|it| it.expression(&mut found))?;
                resolver.mentions(&found)?;
                Ok(Kind::new("DO", Class::Function))
            }
            "call" => self.call_statement(resolver),
            "explain" | "describe" | "desc" => self.explain(resolver),
            "show" => self.show(resolver),
            "begin" | "start" | "commit" | "rollback" | "savepoint" | "release" | "xa" => {
                self.transaction(resolver)
            }
            "set" => self.set(resolver),
            "help" => {
                self.at += 1;
                if self.eat_kind(TokenKind::Text).is_none() {
                    self.name()?;
                }
                resolver.needs.metadata();
                Ok(Kind::new("HELP", Class::Read))
            }
            "use" => {
                self.at += 1;
                let name = self.name()?;
                let name = self.folded(name)?;
                resolver.enter(&name);
                Ok(Kind::with("USE", Class::Misc, Effect::UseDatabase(name)))
            }
            "lock" | "unlock" => self.lock_tables(resolver),
            "handler" => self.handler(resolver),
            "kill" => self.kill(resolver),
            "prepare" => self.prepare(resolver),
            "execute" => self.execute(resolver),
            "deallocate" => {
                self.at += 1;
                self.require("PREPARE")?;
                let name = self.column()?;
                Ok(Kind::with("DEALLOCATE PREPARE", Class::Misc, Effect::Deallocate(Some(name))))
            }
            "analyze" | "check" | "checksum" | "optimize" | "repair" | "truncate" | "rename"
            | "flush" => self.maintenance(resolver),
            "create" | "alter" | "drop" => self.definition(resolver),
            "grant" | "revoke" => self.everything("GRANT", Kind::role, resolver),
            "reset" if self.mariadb() && self.eat("RESET QUERY CACHE") => {
                resolver.needs.whole(Operation::Reload, Object::Database);
                Ok(Kind::new("RESET", Class::Misc))
            }
            "reset" | "purge" | "change" | "stop" | "install" | "uninstall" | "shutdown"
            | "restart" | "clone" | "cache" | "import" => {
                self.everything("ADMINISTER", Kind::ddl, resolver)
            }
            _ => unsupported(format!(
                "A statement that begins with {} is not read here.",
                word.to_ascii_uppercase()
            )),
        }
    }

    /// A statement that only ADMIN on the whole server covers; the rest of it is not read.
    pub(super) fn everything(
        &mut self,
        command: &'static str,
        kind: fn(&'static str) -> Kind,
        resolver: &mut Resolver<'_>,
    ) -> Parsed<Kind> {
        resolver.needs.admin(Object::Database);
        self.at = self.end;
        Ok(kind(command))
    }

    /// A query whose rows the client gets.
    pub(super) fn read_query(&mut self, resolver: &mut Resolver<'_>) -> Parsed<Kind> {
        let query = self.query()?;
        self.finish()?;
        resolver.needs.metadata();
        resolver.query(&query)?;
        Ok(Kind::new("SELECT", Class::Read))
    }

    fn with_statement(&mut self, resolver: &mut Resolver<'_>) -> Parsed<Kind> {
        let start = self.at;
        let mut with = Query::default();
        self.with(&mut with)?;
        if self.eat("UPDATE") {
            self.update(&with, resolver)?;
            return Ok(Kind::new("UPDATE", Class::Write));
        }
        if self.eat("DELETE") {
            self.delete(&with, resolver)?;
            return Ok(Kind::new("DELETE", Class::Write));
        }
        self.at = start;
        self.read_query(resolver)
    }

    fn prepare(&mut self, resolver: &mut Resolver<'_>) -> Parsed<Kind> {
        self.at += 1;
        let name = self.column()?;
        self.require("FROM")?;
        if self.kind() != Some(TokenKind::Text) {
            return unsupported("PREPARE is read from a string only, not from a variable.");
        }
        let text = self.string()?;
        let inner = nested(&text, self.settings, resolver)?;
        if !matches!(inner.effect, Effect::None) {
            return not_from_string();
        }
        Ok(Kind::with("PREPARE", Class::Misc, Effect::Prepare(name)))
    }

    fn execute(&mut self, resolver: &mut Resolver<'_>) -> Parsed<Kind> {
        self.at += 1;
        if self.eat("IMMEDIATE") {
            if self.kind() != Some(TokenKind::Text) {
                return unsupported("EXECUTE IMMEDIATE is read from a string only.");
            }
            let text = self.string()?;
            let inner = nested(&text, self.settings, resolver)?;
            if !matches!(inner.effect, Effect::None | Effect::DropTables(_)) {
                return not_from_string();
            }
            self.using_values(resolver)?;
            return Ok(Kind { command: "EXECUTE IMMEDIATE", ..inner });
        }
        let name = self.column()?;
        self.using_values(resolver)?;
        Ok(Kind::with("EXECUTE", Class::Misc, Effect::Execute(name)))
    }

    fn using_values(&mut self, resolver: &mut Resolver<'_>) -> Parsed<()> {
        if self.eat("USING") {
            let mut found = Vec::new();
            self.list(|it| it.expression(&mut found))?;
            resolver.mentions(&found)?;
        }
        Ok(())
    }
}

/// SET of nothing that changes how text is read.
pub(super) const UNCHANGED: (Change, Change) = (Change::Stays, Change::Stays);
