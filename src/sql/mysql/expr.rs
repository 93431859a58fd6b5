//! Expressions: what they mention. Operators are read, and forgotten.

use super::lexer::Kind;
use super::parser::{Parsed, Parser, unsupported};
use super::tree::{ColumnName, Into, Mention, Mentions, Name, Needed, Query};
use super::words::{is_bare, is_builtin, is_called, is_glued, is_reserved, is_type, is_unit};

/// Operators that are words, between two operands.
const BETWEEN: [&str; 18] = [
    "AND",
    "OR",
    "XOR",
    "DIV",
    "MOD",
    "LIKE",
    "REGEXP",
    "RLIKE",
    "IN",
    "BETWEEN",
    "SOUNDS LIKE",
    "ESCAPE",
    "NOT LIKE",
    "NOT REGEXP",
    "NOT RLIKE",
    "NOT IN",
    "NOT BETWEEN",
    "MEMBER OF",
];

/// What may follow IS.
const TESTS: [&str; 4] = ["NULL", "TRUE", "FALSE", "UNKNOWN"];

impl Parser<'_> {
    /// Adds what an expression mentions.
    pub(super) fn expression(&mut self, found: &mut Mentions) -> Parsed<()> {
        self.deeper(|it| it.operands(found))
    }

    /// What an expression mentions.
    pub(super) fn mentions(&mut self) -> Parsed<Mentions> {
        let mut found = Mentions::new();
        self.expression(&mut found)?;
        Ok(found)
    }

    /// Operands with operators between, as a flat list whatever binds tighter.
    fn operands(&mut self, found: &mut Mentions) -> Parsed<()> {
        let mut intervals = 0_usize;
        loop {
            loop {
                let sign = matches!(self.kind(), Some(Kind::Sign(b'-' | b'+' | b'!' | b'~')));
                if sign {
                    self.at += 1;
                } else if self.is("INTERVAL") && !self.sign_at(1, b'(') {
                    self.at += 1;
                    intervals += 1;
                } else if self.is_any(&["ALL", "ANY", "SOME"]) && self.sign_at(1, b'(') {
                    self.at += 1;
                } else if !self.eat_any(&["NOT", "BINARY"]) {
                    break;
                }
            }
            // `INTERVAL (1) DAY` and `INTERVAL(1, 2)` look alike until they end.
            intervals += usize::from(self.is("INTERVAL"));
            self.operand(found)?;
            loop {
                if self.eat("COLLATE") {
                    self.character_set()?;
                } else if self.eat("IS") {
                    self.eat("NOT");
                    if !self.eat_any(&TESTS) {
                        return self.wrong();
                    }
                } else if intervals > 0 && self.unit() {
                    intervals -= 1;
                } else {
                    break;
                }
            }
            if !self.operator() {
                return Ok(());
            }
        }
    }

    /// Takes an operator between two operands.
    fn operator(&mut self) -> bool {
        let sign = match self.token(0) {
            Some(token) => match token.kind {
                Kind::Sign(sign) => matches!(
                    sign,
                    b'+' | b'-' | b'*' | b'/' | b'%' | b'=' | b'<' | b'>' | b'|' | b'&' | b'^'
                ),
                Kind::Operator => self.tokens.bytes(token) != b"*/",
                Kind::Assign => true,
                _ => false,
            },
            None => return false,
        };
        if sign {
            self.at += 1;
            return true;
        }
        self.eat_any(&BETWEEN)
    }

    /// The word here, in lower case, when it has no quotes.
    pub(super) fn word(&self) -> Option<String> {
        let token = self.token(0).filter(|token| token.kind == Kind::Word)?;
        Some(self.tokens.name(token).to_ascii_lowercase())
    }

    fn unit(&mut self) -> bool {
        let found = self.word().is_some_and(|word| is_unit(&word));
        self.at += usize::from(found);
        found
    }

    /// The name of a character set or collation.
    pub(super) fn character_set(&mut self) -> Parsed<()> {
        match self.kind() {
            Some(Kind::Word | Kind::Quoted | Kind::Text) => {
                self.at += 1;
                Ok(())
            }
            _ => self.wrong(),
        }
    }

    fn operand(&mut self, found: &mut Mentions) -> Parsed<()> {
        match self.kind() {
            Some(Kind::Text) => {
                while self.eat_kind(Kind::Text).is_some() {}
                Ok(())
            }
            Some(Kind::Number | Kind::Parameter | Kind::UserVariable) => {
                self.at += 1;
                Ok(())
            }
            Some(Kind::SystemVariable) => self.system_variable().map(drop),
            Some(Kind::Sign(b'(')) => self.parenthesis(found),
            Some(Kind::Sign(b'{')) => {
                // ODBC's `{d '2026-01-01'}`.
                self.at += 1;
                if !self.eat_any(&["D", "T", "TS"]) || self.eat_kind(Kind::Text).is_none() {
                    return self.wrong();
                }
                self.expect_sign(b'}')
            }
            // `.table.column` is of the default database.
            Some(Kind::Sign(b'.')) if self.name_at(1) && self.sign_at(2, b'.') => {
                self.at += 1;
                self.column_name().map(|name| found.push(Mention::Column(name)))
            }
            Some(Kind::Word) => self.word_operand(found),
            Some(Kind::Quoted) => self.column_or_call(found),
            _ => self.wrong(),
        }
    }

    /// `@@[scope.]name`: the scope and the name, in lower case.
    pub(super) fn system_variable(&mut self) -> Parsed<(Option<Box<str>>, Box<str>)> {
        if self.eat_kind(Kind::SystemVariable).is_none() {
            return self.wrong();
        }
        let mut parts: Vec<Box<str>> = Vec::new();
        loop {
            let Some(token) = self.token(0) else { return self.wrong() };
            if !matches!(token.kind, Kind::Word | Kind::Dotted | Kind::Quoted) {
                return self.wrong();
            }
            parts.push(self.tokens.name(token).to_lowercase().into());
            self.at += 1;
            if parts.len() > 2 || !self.eat_sign(b'.') {
                break;
            }
        }
        let scopes = ["global", "session", "local", "persist", "persist_only"];
        let scoped = parts.first().is_some_and(|it| scopes.contains(&&**it)) && parts.len() > 1;
        let scope = if scoped { Some(parts.remove(0)) } else { None };
        Ok((scope, parts.join(".").into()))
    }

    /// A sub-select, a row, or an expression.
    fn parenthesis(&mut self, found: &mut Mentions) -> Parsed<()> {
        self.expect_sign(b'(')?;
        if self.begins_query() {
            let query = self.subquery()?;
            found.push(Mention::Query(Box::new(query)));
            return self.expect_sign(b')');
        }
        self.list(|it| it.expression(found))?;
        // `((SELECT …) UNION SELECT …)`: what came first was an operand.
        if self.is_any(&["UNION", "EXCEPT", "INTERSECT"]) {
            let mut rest = Query::default();
            self.more_operands(&mut rest)?;
            self.tail(&mut rest)?;
            found.push(Mention::Query(Box::new(without_into(rest)?)));
        }
        self.expect_sign(b')')
    }

    /// A query inside a statement: its rows go nowhere else.
    pub(super) fn subquery(&mut self) -> Parsed<Query> {
        let query = self.query()?;
        without_into(query)
    }

    fn word_operand(&mut self, found: &mut Mentions) -> Parsed<()> {
        let Some(word) = self.word() else { return self.wrong() };
        let called = self.sign_at(1, b'(');
        match &*word {
            "case" => return self.deeper(|it| it.case(found)),
            "exists" => {
                self.at += 1;
                return self.parenthesis(found);
            }
            "match" => return self.full_text(found),
            "row" if called => {
                self.at += 1;
                return self.parenthesis(found);
            }
            "interval" if called => {
                self.at += 1;
                return self.parenthesis(found);
            }
            "values" if called => {
                self.at += 2;
                let name = self.name()?;
                let column =
                    if self.eat_sign(b'.') { self.column()? } else { name.to_lowercase().into() };
                found.push(Mention::Inserted(column));
                return self.expect_sign(b')');
            }
            "default" => {
                self.at += 1;
                if !called {
                    return Ok(());
                }
                self.at += 1;
                let column = self.column_name()?;
                found.push(Mention::Default(column));
                return self.expect_sign(b')');
            }
            "date" | "time" | "timestamp"
                if self.token(1).is_some_and(|it| it.kind == Kind::Text) =>
            {
                self.at += 2;
                return Ok(());
            }
            "next" | "previous" if self.is_at(1, "VALUE") && self.is_at(2, "FOR") => {
                self.at += 3;
                let name = self.table()?;
                found.push(Mention::Sequence { name, advances: word == "next" });
                return Ok(());
            }
            _ => {}
        }
        let literal = self.token(1).is_some_and(|it| matches!(it.kind, Kind::Text | Kind::Number));
        if word.starts_with('_') && literal {
            // A character set's name before a literal.
            self.at += 2;
            while self.eat_kind(Kind::Text).is_some() {}
            return Ok(());
        }
        if is_bare(&word) && !called {
            // To MySQL it is a name like any other.
            if self.mariadb() || word != "current_role" {
                self.at += 1;
                return Ok(());
            }
        }
        self.column_or_call(found)
    }

    /// `CASE [x] WHEN y THEN z … [ELSE w] END`
    fn case(&mut self, found: &mut Mentions) -> Parsed<()> {
        self.require("CASE")?;
        if !self.is("WHEN") {
            self.expression(found)?;
        }
        while self.eat("WHEN") {
            self.expression(found)?;
            self.require("THEN")?;
            self.expression(found)?;
        }
        if self.eat("ELSE") {
            self.expression(found)?;
        }
        self.require("END")
    }

    /// `MATCH (columns) AGAINST (text mode)`
    fn full_text(&mut self, found: &mut Mentions) -> Parsed<()> {
        self.require("MATCH")?;
        if self.sign_at(0, b'(') {
            self.parenthesis(found)?;
        } else {
            self.list(|it| it.column_or_call(found))?;
        }
        self.require("AGAINST")?;
        self.expect_sign(b'(')?;
        // `IN` would be taken for an operator.
        self.operand(found)?;
        self.eat("IN NATURAL LANGUAGE MODE");
        self.eat("IN BOOLEAN MODE");
        self.eat("WITH QUERY EXPANSION");
        self.expect_sign(b')')
    }

    /// `[[database.]table.]column`
    pub(super) fn column_name(&mut self) -> Parsed<ColumnName> {
        let first = self.name()?;
        if !self.eat_sign(b'.') {
            return Ok(ColumnName { table: None, column: first.to_lowercase().into() });
        }
        let second = self.name()?;
        let first = self.folded(first)?;
        if !self.eat_sign(b'.') {
            let table = Name { database: None, name: first };
            return Ok(ColumnName { table: Some(table), column: second.to_lowercase().into() });
        }
        let third = self.column()?;
        let table = Name { database: Some(first), name: self.folded(second)? };
        Ok(ColumnName { table: Some(table), column: third })
    }

    fn column_or_call(&mut self, found: &mut Mentions) -> Parsed<()> {
        let Some(first) = self.token(0) else { return self.wrong() };
        let text = self.tokens.name(first);
        let quoted = first.kind == Kind::Quoted;
        if self.sign_at(1, b'(') {
            let reserved = !quoted && is_reserved(&text, self.settings.server.flavour);
            if reserved && !is_called(&text) && !is_bare(&text) {
                return self.wrong();
            }
            let spaced = self.token(1).is_some_and(|it| it.spaced);
            return self.call(&text.to_lowercase(), spaced || quoted, found);
        }
        // `database.function(`
        let dotted = self.sign_at(1, b'.') && self.sign_at(3, b'(');
        if dotted {
            let name = self.routine()?;
            found.push(Mention::Function(name));
            return self.arguments("", found);
        }
        let column = self.column_name()?;
        if self.sign_at(0, b'(') {
            return self.wrong();
        }
        found.push(Mention::Column(column));
        Ok(())
    }

    fn call(&mut self, name: &str, spaced: bool, found: &mut Mentions) -> Parsed<()> {
        self.at += 1;
        let apart = spaced && is_glued(name) && !self.settings.sql_mode.ignore_space;
        match name {
            "nextval" | "lastval" | "setval" if self.mariadb() => {
                self.expect_sign(b'(')?;
                let sequence = self.table()?;
                found.push(Mention::Sequence { name: sequence, advances: name != "lastval" });
                while self.eat_sign(b',') {
                    self.expression(found)?;
                }
                return self.expect_sign(b')');
            }
            "load_file" => found.push(Mention::Reads(Needed::File)),
            _ if apart || !is_builtin(name) => {
                let name = Name { database: None, name: name.into() };
                found.push(Mention::Function(name));
            }
            _ => {}
        }
        self.arguments(name, found)
    }

    /// `( … )` of a function, with the key words that some take, and what may follow.
    fn arguments(&mut self, function: &str, found: &mut Mentions) -> Parsed<()> {
        self.expect_sign(b'(')?;
        self.eat("DISTINCT");
        match function {
            "count" if self.eat_sign(b'*') => {}
            "trim" => {
                self.skip_words(&["BOTH", "LEADING", "TRAILING"]);
            }
            "extract" | "timestampadd" | "timestampdiff"
                if !self.unit() || !(self.eat("FROM") || self.eat_sign(b',')) =>
            {
                return self.wrong();
            }
            "get_format" => {
                if !self.eat_any(&["DATE", "TIME", "DATETIME", "TIMESTAMP"]) {
                    return self.wrong();
                }
                self.expect_sign(b',')?;
            }
            _ => {}
        }
        while !self.sign_at(0, b')') {
            if self.eat("FROM") || self.eat("FOR") {
                if !matches!(function, "trim" | "substring" | "substr" | "mid" | "extract") {
                    return self.wrong();
                }
                self.expression(found)?;
            } else if self.eat("USING") {
                self.character_set()?;
            } else if self.eat("AS") || self.eat("RETURNING") {
                self.cast_type()?;
            } else if self.eat("ORDER BY") {
                self.ordered_into(found)?;
            } else if self.eat("SEPARATOR") {
                if self.eat_kind(Kind::Text).is_none() {
                    return self.wrong();
                }
            } else if self.eat("LIMIT") {
                self.limit()?;
            } else if self.eat_sign(b',') {
                if function == "convert" {
                    self.cast_type()?;
                }
            } else {
                self.expression(found)?;
                if !self.argument_ends() {
                    return self.wrong();
                }
            }
        }
        self.expect_sign(b')')?;
        self.eat_any(&["RESPECT NULLS", "IGNORE NULLS"]);
        if self.eat("OVER") {
            if self.sign_at(0, b'(') {
                return self.window(found);
            }
            self.name()?;
        }
        Ok(())
    }

    fn argument_ends(&self) -> bool {
        let words = ["FROM", "FOR", "USING", "AS", "RETURNING", "ORDER", "SEPARATOR", "LIMIT"];
        self.sign_at(0, b')') || self.sign_at(0, b',') || self.is_any(&words)
    }

    /// A type as CAST takes it.
    fn cast_type(&mut self) -> Parsed<()> {
        let start = self.at;
        while let Some(word) = self.word().filter(|word| is_type(word)) {
            self.at += 1;
            if matches!(&*word, "collate" | "charset") {
                self.character_set()?;
            }
            if word == "set" && !self.sign_at(0, b')') {
                self.character_set()?;
            }
            if self.eat_sign(b'(') {
                self.list(|it| match it.eat_kind(Kind::Number) {
                    Some(_) => Ok(()),
                    None => it.wrong(),
                })?;
                self.expect_sign(b')')?;
            }
        }
        if self.at == start { self.wrong() } else { Ok(()) }
    }

    /// `( [name] [PARTITION BY …] [ORDER BY …] [frame] )`
    pub(super) fn window(&mut self, found: &mut Mentions) -> Parsed<()> {
        self.expect_sign(b'(')?;
        if self.name_at(0) && !self.is_any(&["ROWS", "RANGE", "GROUPS"]) {
            self.name()?;
        }
        if self.eat("PARTITION BY") {
            self.list(|it| it.expression(found))?;
        }
        if self.eat("ORDER BY") {
            self.ordered_into(found)?;
        }
        if self.eat_any(&["ROWS", "RANGE"]) {
            let between = self.eat("BETWEEN");
            self.frame_bound(found)?;
            if between {
                self.require("AND")?;
                self.frame_bound(found)?;
            }
        }
        self.expect_sign(b')')
    }

    fn frame_bound(&mut self, found: &mut Mentions) -> Parsed<()> {
        if self.eat_any(&["CURRENT ROW", "UNBOUNDED PRECEDING", "UNBOUNDED FOLLOWING"]) {
            return Ok(());
        }
        // An operand, for AND belongs to BETWEEN.
        let interval = self.eat("INTERVAL");
        self.operand(found)?;
        if interval && !self.unit() {
            return self.wrong();
        }
        if self.eat_any(&["PRECEDING", "FOLLOWING"]) { Ok(()) } else { self.wrong() }
    }

    fn ordered_into(&mut self, found: &mut Mentions) -> Parsed<()> {
        self.list(|it| {
            it.expression(found)?;
            it.eat_any(&["ASC", "DESC"]);
            Ok(())
        })?;
        Ok(())
    }
}

fn without_into(query: Query) -> Parsed<Query> {
    if query.into == Into::Client {
        Ok(query)
    } else {
        unsupported("INTO stands at the end of a statement's own query only.")
    }
}
