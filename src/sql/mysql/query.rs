//! SELECT, VALUES, TABLE, WITH and what stands in FROM.

use super::lexer::Kind;
use super::parser::{Parsed, Parser, unsupported};
use super::tree::{
    Cte, Into, Item, Joined, Lock, Mention, Mentions, Name, Operand, Ordered, Query, Select,
    Source, SourceKind,
};

/// What may stand behind SELECT, in any order.
const OPTIONS: [&str; 10] = [
    "ALL",
    "DISTINCT",
    "DISTINCTROW",
    "HIGH_PRIORITY",
    "STRAIGHT_JOIN",
    "SQL_SMALL_RESULT",
    "SQL_BIG_RESULT",
    "SQL_BUFFER_RESULT",
    "SQL_NO_CACHE",
    "SQL_CALC_FOUND_ROWS",
];

/// What parentheses in FROM hold.
enum Held {
    Query(Query),
    Sources(Vec<Joined>),
}

impl Parser<'_> {
    /// Whether a query begins here, but for its parentheses.
    pub(super) fn begins_query(&self) -> bool {
        let values = self.is("VALUES") && (self.is_at(1, "ROW") || self.mariadb());
        self.is_any(&["SELECT", "WITH"]) || self.is("TABLE") || values
    }

    /// A whole query.
    pub(super) fn query(&mut self) -> Parsed<Query> {
        self.deeper(|it| {
            let mut query = Query::default();
            it.with(&mut query)?;
            it.operands_of(&mut query)?;
            it.tail(&mut query)?;
            Ok(query)
        })
    }

    /// WITH, when it stands here.
    pub(super) fn with(&mut self, query: &mut Query) -> Parsed<()> {
        if !self.eat("WITH") {
            return Ok(());
        }
        query.recursive = self.eat("RECURSIVE");
        query.ctes = self.list(|it| {
            let name = it.name()?;
            let name = it.folded(name)?;
            let columns =
                if it.sign_at(0, b'(') { it.in_parentheses(Self::column)? } else { Vec::new() };
            it.require("AS")?;
            it.expect_sign(b'(')?;
            let query = it.subquery()?;
            it.expect_sign(b')')?;
            if it.is("CYCLE") {
                return unsupported("CYCLE is not read here.");
            }
            Ok(Cte { name, columns, query })
        })?;
        Ok(())
    }

    fn operands_of(&mut self, query: &mut Query) -> Parsed<()> {
        self.operand_of(query)?;
        self.more_operands(query)
    }

    /// `UNION …`, as often as it stands here.
    pub(super) fn more_operands(&mut self, query: &mut Query) -> Parsed<()> {
        while self.eat_any(&["UNION", "EXCEPT", "INTERSECT"]) {
            self.eat_any(&["ALL", "DISTINCT"]);
            self.operand_of(query)?;
        }
        Ok(())
    }

    fn operand_of(&mut self, query: &mut Query) -> Parsed<()> {
        let operand = if self.eat_sign(b'(') {
            let nested = self.query()?;
            self.expect_sign(b')')?;
            if nested.into != Into::Client {
                return unsupported("INTO stands at the end of a statement's own query only.");
            }
            Operand::Nested(Box::new(nested))
        } else if self.eat("SELECT") {
            Operand::Select(Box::new(self.select(query)?))
        } else if self.eat("VALUES") {
            let mut found = Mentions::new();
            self.list(|it| {
                it.eat("ROW");
                it.in_parentheses(|it| it.expression(&mut found)).map(drop)
            })?;
            Operand::Values(found)
        } else if self.is("TABLE") && !self.mariadb() {
            self.at += 1;
            Operand::Table(self.table()?)
        } else {
            return self.wrong();
        };
        query.operands.push(operand);
        Ok(())
    }

    fn select(&mut self, query: &mut Query) -> Parsed<Select> {
        self.skip_words(&OPTIONS);
        if self.mariadb() {
            self.eat("SQL_CACHE");
            self.skip_words(&OPTIONS);
        }
        let mut select = Select { items: self.list(Self::item)?, ..Select::default() };
        self.into(query)?;
        if self.eat("FROM") {
            if !self.eat("DUAL") {
                select.from = self.sources()?;
            }
            if self.eat("WHERE") {
                self.expression(&mut select.condition)?;
            }
            if self.eat("GROUP BY") {
                select.group = self.list(|it| {
                    let element = it.ordered()?;
                    it.eat_any(&["ASC", "DESC"]);
                    Ok(element)
                })?;
                self.eat("WITH ROLLUP");
            }
        } else if self.eat("WHERE") {
            self.expression(&mut select.condition)?;
        }
        if self.eat("HAVING") {
            self.expression(&mut select.having)?;
        }
        if self.eat("WINDOW") {
            self.list(|it| {
                it.name()?;
                it.require("AS")?;
                it.window(&mut select.having)
            })?;
        }
        Ok(select)
    }

    /// The list of RETURNING, as the list of a SELECT without tables.
    pub(super) fn returning_list(&mut self, query: &mut Query) -> Parsed<()> {
        let select = Select { items: self.list(Self::item)?, ..Select::default() };
        query.operands.push(Operand::Select(Box::new(select)));
        Ok(())
    }

    fn item(&mut self) -> Parsed<Item> {
        if self.eat_sign(b'*') {
            return Ok(Item::Star);
        }
        let star_after = |dot: usize| self.sign_at(dot, b'.') && self.sign_at(dot + 1, b'*');
        if self.name_at(0) && star_after(1) {
            let name = self.name()?;
            let name = Name { database: None, name: self.folded(name)? };
            self.at += 2;
            return Ok(Item::TableStar(name));
        }
        if self.name_at(0) && self.sign_at(1, b'.') && self.name_at(2) && star_after(3) {
            let name = self.table()?;
            self.at += 2;
            return Ok(Item::TableStar(name));
        }
        let mentions = self.element()?;
        let alias = self.eat("AS");
        let named = if alias || self.name_at(0) || self.kind() == Some(Kind::Text) {
            match self.eat_kind(Kind::Text) {
                Some(text) => {
                    let Some(value) = self.tokens.value(text) else {
                        return unsupported("An alias is not plain text.");
                    };
                    Some(value.to_lowercase().into())
                }
                None => Some(self.column()?),
            }
        } else {
            None
        };
        let aliased = named.is_some();
        let name = named.or_else(|| match (&*mentions.mentions, mentions.bare) {
            ([Mention::Column(column)], true) => Some(column.column.clone()),
            _ => None,
        });
        Ok(Item::Expression { mentions: mentions.mentions, name, aliased })
    }

    /// An expression, and whether it is a bare column.
    fn element(&mut self) -> Parsed<Ordered> {
        let start = self.at;
        let mentions = self.mentions()?;
        let length = self.at - start;
        let bare = matches!(&*mentions, [Mention::Column(column)] if length == match &column.table {
            None => 1,
            Some(Name { database: None, .. }) => 3,
            Some(_) => 5,
        });
        Ok(Ordered { mentions, bare })
    }

    /// An element of ORDER BY or GROUP BY, without its direction.
    fn ordered(&mut self) -> Parsed<Ordered> {
        let mut element = self.element()?;
        element.bare &= matches!(&*element.mentions, [Mention::Column(it)] if it.table.is_none());
        Ok(element)
    }

    /// What stands behind the last operand.
    pub(super) fn tail(&mut self, query: &mut Query) -> Parsed<()> {
        if self.eat("ORDER BY") {
            query.order = self.order()?;
        }
        if self.eat("LIMIT") {
            self.limit()?;
        }
        if self.eat("OFFSET") || self.is("FETCH") {
            return unsupported("OFFSET and FETCH without LIMIT are not read here.");
        }
        if self.mariadb() && self.eat("PROCEDURE ANALYSE") {
            // It says what the result is like, and takes limits.
            self.expect_sign(b'(')?;
            while !self.eat_sign(b')') {
                if self.eat_kind(Kind::Number).is_none() && !self.eat_sign(b',') {
                    return self.wrong();
                }
            }
        }
        self.into(query)?;
        loop {
            let lock = if self.eat("FOR UPDATE") {
                Lock::Update(self.locked()?)
            } else if self.eat("FOR SHARE") {
                self.locked()?;
                Lock::Share
            } else if self.eat("LOCK IN SHARE MODE") {
                Lock::Share
            } else {
                break;
            };
            if self.eat("WAIT") && self.eat_kind(Kind::Number).is_none() {
                return self.wrong();
            }
            self.eat_any(&["NOWAIT", "SKIP LOCKED"]);
            if !query.locks.contains(&lock) {
                query.locks.push(lock);
            }
        }
        self.into(query)
    }

    /// `[OF table, …]`, of MySQL.
    fn locked(&mut self) -> Parsed<Vec<Box<str>>> {
        if self.mariadb() || !self.eat("OF") {
            return Ok(Vec::new());
        }
        self.list(|it| {
            let name = it.name()?;
            it.folded(name)
        })
    }

    /// The elements of ORDER BY.
    pub(super) fn order(&mut self) -> Parsed<Vec<Ordered>> {
        self.list(|it| {
            let element = it.ordered()?;
            it.eat_any(&["ASC", "DESC"]);
            Ok(element)
        })
    }

    /// What stands behind LIMIT.
    pub(super) fn limit(&mut self) -> Parsed<()> {
        self.list(|it| match it.kind() {
            Some(Kind::Number | Kind::Parameter) => {
                it.at += 1;
                Ok(())
            }
            _ => it.wrong(),
        })?;
        if self.eat("OFFSET") {
            return self.limit();
        }
        Ok(())
    }

    fn into(&mut self, query: &mut Query) -> Parsed<()> {
        if !self.eat("INTO") {
            return Ok(());
        }
        if query.into != Into::Client {
            return self.wrong();
        }
        if self.eat_any(&["OUTFILE", "DUMPFILE"]) {
            self.string()?;
            if self.eat("CHARACTER SET") {
                self.character_set()?;
            }
            self.file_format()?;
            query.into = Into::File;
            return Ok(());
        }
        self.list(|it| match it.eat_kind(Kind::UserVariable) {
            Some(_) => Ok(()),
            None => it.wrong(),
        })?;
        query.into = Into::Variables;
        Ok(())
    }

    /// FIELDS and LINES, as OUTFILE and LOAD DATA have them.
    pub(super) fn file_format(&mut self) -> Parsed<()> {
        let words = ["TERMINATED", "ENCLOSED", "ESCAPED", "STARTING", "OPTIONALLY ENCLOSED"];
        while self.eat_any(&["FIELDS", "COLUMNS", "LINES"]) {
            while self.eat_any(&words) {
                self.require("BY")?;
                if !matches!(self.kind(), Some(Kind::Text | Kind::Number)) {
                    return self.wrong();
                }
                self.at += 1;
            }
        }
        Ok(())
    }

    /// What stands behind FROM.
    pub(super) fn sources(&mut self) -> Parsed<Vec<Joined>> {
        self.list(Self::joined)
    }

    fn joined(&mut self) -> Parsed<Joined> {
        let first = self.deeper(Self::source)?;
        self.joins(first)
    }

    /// The joins behind a first table.
    fn joins(&mut self, first: SourceKind) -> Parsed<Joined> {
        let mut joined = Joined::default();
        joined.sources.push(Source { kind: first, natural: false, using: Vec::new() });
        loop {
            let natural = self.eat("NATURAL");
            let outer = self.eat_any(&["LEFT", "RIGHT"]);
            if outer {
                self.eat("OUTER");
            }
            let words: &[&str] = match (natural, outer) {
                (_, true) => &["JOIN"],
                (true, false) => &["JOIN", "INNER JOIN"],
                (false, false) => &["JOIN", "INNER JOIN", "CROSS JOIN", "STRAIGHT_JOIN"],
            };
            if !self.eat_any(words) {
                if natural || outer {
                    return self.wrong();
                }
                return Ok(joined);
            }
            let kind = self.deeper(Self::source)?;
            joined.sources.push(Source { kind, natural, using: Vec::new() });
            loop {
                if self.eat("ON") {
                    self.expression(&mut joined.on)?;
                } else if self.eat("USING") {
                    let using = self.in_parentheses(Self::column)?;
                    if let Some(last) = joined.sources.last_mut() {
                        last.using.extend(using);
                    }
                } else {
                    break;
                }
            }
        }
    }

    fn source(&mut self) -> Parsed<SourceKind> {
        if self.sign_at(0, b'(') {
            return match self.held()? {
                Held::Query(query) => self.derived(query, false),
                Held::Sources(list) => Ok(SourceKind::Nested(list)),
            };
        }
        // `{oj …}` of ODBC: the word is any, and stands for nothing.
        if self.eat_sign(b'{') {
            self.name()?;
            let joined = self.deeper(Self::joined)?;
            self.expect_sign(b'}')?;
            return Ok(SourceKind::Nested(vec![joined]));
        }
        if !self.mariadb() && self.eat("LATERAL") {
            self.expect_sign(b'(')?;
            let query = self.subquery()?;
            self.expect_sign(b')')?;
            return self.derived(query, true);
        }
        if self.is("JSON_TABLE") && self.sign_at(1, b'(') {
            return self.json_table();
        }
        let name = self.table()?;
        if self.sign_at(0, b'(') {
            return self.wrong();
        }
        if self.eat("PARTITION") {
            self.in_parentheses(Self::name)?;
        }
        if self.is("FOR") && self.is_at(1, "SYSTEM_TIME") {
            self.at += 2;
            self.system_time()?;
        }
        let alias = self.alias()?;
        self.index_hints()?;
        Ok(SourceKind::Table { name, alias })
    }

    /// `FOR SYSTEM_TIME …` of MariaDB's versioned tables, with literals only.
    fn system_time(&mut self) -> Parsed<()> {
        if self.eat("ALL") {
            return Ok(());
        }
        let mut found = Mentions::new();
        if self.eat("AS OF") {
            self.eat("TRANSACTION");
            self.mentions().map(|it| found.extend(it))?;
        } else {
            return unsupported("FOR SYSTEM_TIME is read with ALL and AS OF only.");
        }
        if found.is_empty() {
            Ok(())
        } else {
            unsupported("FOR SYSTEM_TIME is read with literals only.")
        }
    }

    /// `[AS] alias`, as compared.
    pub(super) fn alias(&mut self) -> Parsed<Option<Box<str>>> {
        if self.eat("AS") || self.name_at(0) {
            let name = self.name()?;
            return self.folded(name).map(Some);
        }
        Ok(None)
    }

    fn index_hints(&mut self) -> Parsed<()> {
        while self.is_any(&["USE", "FORCE", "IGNORE"])
            && (self.is_at(1, "INDEX") || self.is_at(1, "KEY"))
        {
            self.at += 2;
            if self.eat("FOR") && !self.eat_any(&["JOIN", "ORDER BY", "GROUP BY"]) {
                return self.wrong();
            }
            self.expect_sign(b'(')?;
            if !self.sign_at(0, b')') {
                self.list(|it| if it.eat("PRIMARY") { Ok(()) } else { it.name().map(drop) })?;
            }
            self.expect_sign(b')')?;
            self.eat_sign(b',');
        }
        Ok(())
    }

    fn derived(&mut self, query: Query, lateral: bool) -> Parsed<SourceKind> {
        let alias = self.alias()?;
        let columns = if alias.is_some() && self.sign_at(0, b'(') {
            self.in_parentheses(Self::column)?
        } else {
            Vec::new()
        };
        Ok(SourceKind::Derived { query: Box::new(query), alias, columns, lateral })
    }

    /// Parentheses in FROM: a query, or tables; nothing is read twice.
    fn held(&mut self) -> Parsed<Held> {
        self.deeper(|it| {
            it.expect_sign(b'(')?;
            if it.begins_query() {
                let query = it.subquery()?;
                it.expect_sign(b')')?;
                return Ok(Held::Query(query));
            }
            let held = if it.sign_at(0, b'(') { Some(it.held()?) } else { None };
            let first = match held {
                None => it.joined()?,
                Some(Held::Query(query)) => {
                    let words = ["UNION", "EXCEPT", "INTERSECT", "ORDER", "LIMIT"];
                    if it.sign_at(0, b')') || it.is_any(&words) {
                        let nested = Operand::Nested(Box::new(query));
                        let mut query = Query { operands: vec![nested], ..Query::default() };
                        it.more_operands(&mut query)?;
                        it.tail(&mut query)?;
                        it.expect_sign(b')')?;
                        if query.into != Into::Client {
                            return unsupported(
                                "INTO stands at the end of a statement's own query only.",
                            );
                        }
                        return Ok(Held::Query(query));
                    }
                    let first = it.derived(query, false)?;
                    it.joins(first)?
                }
                Some(Held::Sources(list)) => it.joins(SourceKind::Nested(list))?,
            };
            let mut list = vec![first];
            while it.eat_sign(b',') {
                list.push(it.joined()?);
            }
            it.expect_sign(b')')?;
            Ok(Held::Sources(list))
        })
    }

    /// `JSON_TABLE(document, 'path' COLUMNS (…)) [AS] alias`
    fn json_table(&mut self) -> Parsed<SourceKind> {
        self.at += 2;
        let mut mentions = Mentions::new();
        self.expression(&mut mentions)?;
        self.expect_sign(b',')?;
        self.string()?;
        self.require("COLUMNS")?;
        // Names, types, paths and literals, in parentheses that close.
        let mut depth = 0_usize;
        loop {
            let Some(token) = self.token(0) else { return self.wrong() };
            match token.kind {
                Kind::Sign(b'(') => depth += 1,
                Kind::Sign(b')') => depth -= 1,
                Kind::Sign(b',') | Kind::Word | Kind::Quoted | Kind::Text | Kind::Number => {}
                _ => return self.wrong(),
            }
            if self.begins_query() {
                return self.wrong();
            }
            self.at += 1;
            if depth == 0 {
                break;
            }
        }
        self.expect_sign(b')')?;
        match self.alias()? {
            Some(alias) => Ok(SourceKind::Json { mentions, alias }),
            None => self.wrong(),
        }
    }
}
