//! Reads the grammar of privileges. No recursion, bounded by [`BYTES_MAX`].

use std::collections::BTreeSet;

use super::error::{BYTES_MAX, ParseError, ParseErrorKind};
use super::{Item, Level, Privilege, Quote, normalise_arguments, operation_fits};
use crate::sql::Engine;
use crate::sql::access::{Object, Operation};
use crate::sql::name::QualifiedName;

/// How names are read.
#[derive(Clone, Copy)]
struct Dialect {
    quote: Quote,
    fold: bool,
    limit: Limit,
    /// Whose operations there are; `None` for both engines'.
    engine: Option<Engine>,
}

#[derive(Clone, Copy)]
enum Limit {
    None,
    Bytes63,
    Characters64,
}

impl Dialect {
    const STORED: Self =
        Self { quote: Quote::Double, fold: true, limit: Limit::None, engine: None };

    const fn of(engine: Engine) -> Self {
        let (quote, fold, limit) = match engine {
            Engine::Postgres => (Quote::Double, true, Limit::Bytes63),
            Engine::Mysql => (Quote::Backtick, false, Limit::Characters64),
        };
        Self { quote, fold, limit, engine: Some(engine) }
    }
}

/// Reads one privilege of a grant on the database `database`.
///
/// # Errors
/// With the position and a sentence that says what to write instead.
pub fn parse(text: &str, engine: Engine, database: &str) -> Result<Privilege, ParseError> {
    let mut cursor = Cursor::new(text, Dialect::of(engine), Some(database))?;
    let privilege = cursor.privilege()?;
    cursor.end("the end of the privilege")?;
    Ok(privilege)
}

/// Reads one or more privileges with `;` between them, as `CALL daypass.request('…; …')` gives them.
///
/// # Errors
/// As [`parse`].
pub fn parse_list(
    text: &str,
    engine: Engine,
    database: &str,
) -> Result<Vec<Privilege>, ParseError> {
    let mut cursor = Cursor::new(text, Dialect::of(engine), Some(database))?;
    let mut privileges = vec![cursor.privilege()?];
    while cursor.eat(';') {
        if cursor.peek().is_none() {
            break;
        }
        privileges.push(cursor.privilege()?);
    }
    cursor.end("';' or the end")?;
    Ok(privileges)
}

/// Reads what [`Privilege::stored`] wrote.
///
/// # Errors
/// As [`parse`].
pub fn parse_stored(text: &str) -> Result<Privilege, ParseError> {
    let mut cursor = Cursor::new(text, Dialect::STORED, None)?;
    let privilege = cursor.privilege()?;
    cursor.end("the end of the privilege")?;
    Ok(privilege)
}

/// Beyond ASCII everything is a letter, as for the engines, but for control characters: no name that is
/// shown may have them.
fn is_letter_beyond(c: char) -> bool {
    !c.is_ascii() && !c.is_control()
}

/// A name, and whether it was quoted: only bare ones can be key words.
struct Word {
    text: Box<str>,
    /// As written, for key words and messages.
    written: Box<str>,
    quoted: bool,
    at: usize,
}

impl Word {
    fn is(&self, keyword: &str) -> bool {
        !self.quoted && self.written.eq_ignore_ascii_case(keyword)
    }
}

struct Cursor<'a> {
    text: &'a str,
    /// Byte offset, always at a character's start.
    at: usize,
    dialect: Dialect,
    database: Option<&'a str>,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str, dialect: Dialect, database: Option<&'a str>) -> Result<Self, ParseError> {
        let cursor = Self { text, at: 0, dialect, database };
        // What is stored was short enough once, in whichever form it came.
        if database.is_some() && text.len() > BYTES_MAX {
            return Err(cursor.wrong(ParseErrorKind::TooLong, 0));
        }
        Ok(cursor)
    }

    fn wrong(&self, kind: ParseErrorKind, at: usize) -> ParseError {
        let before = self.text.get(..at).unwrap_or(self.text);
        ParseError { position: before.chars().count() + 1, kind }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    /// The next character that is no white space, with the cursor on it.
    fn peek(&mut self) -> Option<char> {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        self.rest().chars().next()
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at += wanted.len_utf8();
        }
        found
    }

    fn expected(&mut self, expected: &'static str) -> ParseError {
        self.peek();
        let mut found: String = self.rest().chars().take(20).collect();
        if found.is_empty() {
            found.push_str("the end");
        } else {
            found = format!("{found:?}");
        }
        self.wrong(ParseErrorKind::Expected { expected, found: found.into() }, self.at)
    }

    fn end(&mut self, expected: &'static str) -> Result<(), ParseError> {
        if self.peek().is_none() { Ok(()) } else { Err(self.expected(expected)) }
    }

    fn word(&mut self, expected: &'static str) -> Result<Word, ParseError> {
        let first = self.peek();
        let at = self.at;
        let mark = self.dialect.quote.mark();
        match first {
            Some(c) if c == mark => self.quoted(mark, at),
            Some('"' | '`') => Err(self.wrong(ParseErrorKind::WrongQuote(mark), at)),
            Some(c) if self.starts_name(c) => {
                let rest = self.rest();
                let length = rest
                    .find(|c: char| {
                        !(c.is_ascii_alphanumeric() || c == '_' || c == '$' || is_letter_beyond(c))
                    })
                    .unwrap_or(rest.len());
                let written: Box<str> = rest.get(..length).unwrap_or(rest).into();
                self.at += length;
                let text = if self.dialect.fold {
                    written.to_ascii_lowercase().into()
                } else {
                    written.clone()
                };
                self.check_length(&text, at)?;
                Ok(Word { text, written, quoted: false, at })
            }
            _ => Err(self.expected(expected)),
        }
    }

    /// PostgreSQL: letter or underscore; MySQL: a digit as well, as long as not all are.
    fn starts_name(&self, c: char) -> bool {
        let digits = self.rest().chars().take_while(char::is_ascii_digit).count();
        let after = self.rest().chars().nth(digits);
        c.is_ascii_alphabetic()
            || c == '_'
            || is_letter_beyond(c)
            || (!self.dialect.fold
                && (c == '$'
                    || (digits > 0
                        && after.is_some_and(|c| c.is_ascii_alphabetic() || c == '_' || c == '$'))))
    }

    fn quoted(&mut self, mark: char, at: usize) -> Result<Word, ParseError> {
        self.at += mark.len_utf8();
        let mut name = String::new();
        let mut chars = self.rest().char_indices().peekable();
        let length = loop {
            match chars.next() {
                None => return Err(self.wrong(ParseErrorKind::Unterminated, at)),
                Some((end, c)) if c == mark => {
                    if chars.next_if(|(_, c)| *c == mark).is_none() {
                        break end + mark.len_utf8();
                    }
                    name.push(mark);
                }
                Some((_, c)) if c.is_control() => {
                    return Err(self.wrong(ParseErrorKind::BadName, at));
                }
                Some((_, c)) => name.push(c),
            }
        };
        self.at += length;
        if name.is_empty() {
            return Err(self.wrong(ParseErrorKind::BadName, at));
        }
        self.check_length(&name, at)?;
        let written = self.text.get(at..self.at).unwrap_or_default().into();
        Ok(Word { text: name.into(), written, quoted: true, at })
    }

    fn check_length(&self, name: &str, at: usize) -> Result<(), ParseError> {
        let limit = match self.dialect.limit {
            Limit::Bytes63 if name.len() > 63 => "63 bytes",
            Limit::Characters64 if name.chars().count() > 64 => "64 characters",
            Limit::None | Limit::Bytes63 | Limit::Characters64 => return Ok(()),
        };
        Err(self.wrong(ParseErrorKind::NameTooLong(limit), at))
    }

    fn privilege(&mut self) -> Result<Privilege, ParseError> {
        let mut items = Vec::new();
        loop {
            items.push(self.item()?);
            if !self.eat(',') {
                break;
            }
        }
        let on = self.word("',' or ON")?;
        if !on.is("ON") {
            self.at = on.at;
            return Err(self.expected("',' or ON"));
        }
        let object = self.object()?;
        for (item, at) in &items {
            self.check_fit(item, *at, &object)?;
        }
        Ok(Privilege::new(items.into_iter().map(|(item, _)| item), object))
    }

    fn item(&mut self) -> Result<(Item, usize), ParseError> {
        let word = self.word("a level or an operation")?;
        let at = word.at;
        if let Some(level) = Level::ALL.into_iter().find(|level| word.is(level.keyword())) {
            if self.peek() == Some('(') {
                return Err(self.wrong(ParseErrorKind::NoColumns(level.keyword()), self.at));
            }
            return Ok((Item::Level(level), at));
        }
        let Some(operation) = self.operation(&word) else {
            let kind = if word.is("MERGE") {
                ParseErrorKind::Merge
            } else if word.is("ALL") {
                ParseErrorKind::All
            } else if let Some(whole) = self.operations().find(|it| word.is(first_word(*it))) {
                return Err(self.expected(whole.keyword()));
            } else {
                ParseErrorKind::UnknownItem(word.written)
            };
            return Err(self.wrong(kind, at));
        };
        if self.peek() != Some('(') {
            return Ok((Item::Operation(operation, None), at));
        }
        if !operation.takes_columns() {
            return Err(self.wrong(ParseErrorKind::NoColumns(operation.keyword()), self.at));
        }
        self.eat('(');
        let mut columns = BTreeSet::new();
        loop {
            let column = self.word("a column")?.text;
            // MySQL tells columns apart without regard to case, whatever it does with tables.
            let folded = self.dialect.engine == Some(Engine::Mysql);
            columns.insert(if folded { column.to_lowercase().into() } else { column });
            if self.eat(')') {
                break;
            }
            if !self.eat(',') {
                return Err(self.expected("',' or ')'"));
            }
        }
        Ok((Item::Operation(operation, Some(columns)), at))
    }

    /// Those of the engine, or of both.
    fn operations(&self) -> impl Iterator<Item = Operation> + use<> {
        let engine = self.dialect.engine;
        [Engine::Postgres, Engine::Mysql]
            .into_iter()
            .filter(move |known| engine.is_none_or(|only| only == *known))
            .flat_map(|engine| Operation::of(engine).iter().copied())
    }

    /// The operation that begins with this word, with the cursor behind its last: the longest counts. When there
    /// is none, the cursor is at the word that should have gone on.
    fn operation(&mut self, first: &Word) -> Option<Operation> {
        let known = self.operations();
        let start = self.at;
        let mut best: Option<(Operation, usize)> = None;
        let mut furthest = start;
        for operation in known {
            self.at = start;
            let mut words = operation.keyword().split(' ');
            if !words.next().is_some_and(|keyword| first.is(keyword)) {
                continue;
            }
            let fits = words.all(|keyword| {
                furthest = furthest.max(self.at);
                self.word("").is_ok_and(|word| word.is(keyword))
            });
            if fits && best.is_none_or(|(_, end)| self.at > end) {
                best = Some((operation, self.at));
            }
        }
        self.at = best.map_or(furthest, |(_, end)| end);
        best.map(|(operation, _)| operation)
    }

    fn object(&mut self) -> Result<Object, ParseError> {
        let word = self.word("DATABASE, SCHEMA, TABLE, SEQUENCE, FUNCTION or a relation")?;
        // `schema.orders` is a relation of a schema of that name.
        if self.peek() == Some('.') {
            return Ok(Object::Relation(self.after_schema(word)?));
        }
        if word.is("DATABASE") {
            if !matches!(self.peek(), None | Some(';')) {
                let named = self.word("the database's name")?;
                self.check_database(&named)?;
            }
            return Ok(Object::Database);
        }
        if word.is("SCHEMA") {
            let schema = self.word("a schema's name")?;
            if self.peek() == Some('.') {
                return Err(self.wrong(ParseErrorKind::TooManyParts, self.at));
            }
            return Ok(Object::Schema(schema.text));
        }
        if word.is("TABLE") {
            return self.qualified("a relation's name").map(Object::Relation);
        }
        if word.is("SEQUENCE") {
            return self.qualified("a sequence's name").map(Object::Sequence);
        }
        if word.is("FUNCTION") {
            let name = self.qualified("a function's name")?;
            // MySQL has one function of a name, whatever its arguments.
            let mysql = self.dialect.engine == Some(Engine::Mysql);
            let arguments =
                if mysql && self.peek() != Some('(') { "".into() } else { self.arguments()? };
            if mysql && !arguments.is_empty() {
                let why = "a function of MySQL is named without the types of its arguments";
                return Err(self.wrong(ParseErrorKind::Arguments(why), self.at));
            }
            return Ok(Object::Function { name, arguments });
        }
        if word.is("PROCEDURE") && self.dialect.engine != Some(Engine::Postgres) {
            return self.qualified("a procedure's name").map(Object::Procedure);
        }
        match self.peek() {
            None | Some(';') => Err(self.unqualified(word)),
            Some(_) => {
                let at = word.at;
                Err(self.wrong(ParseErrorKind::UnknownObject(word.written), at))
            }
        }
    }

    fn check_database(&self, named: &Word) -> Result<(), ParseError> {
        match self.database {
            Some(own) if *own == *named.text || *own == *named.written => Ok(()),
            own => {
                let kind = ParseErrorKind::OtherDatabase {
                    named: named.written.clone(),
                    own: own.unwrap_or_default().into(),
                };
                Err(self.wrong(kind, named.at))
            }
        }
    }

    fn unqualified(&self, word: Word) -> ParseError {
        let (container, example) = match self.dialect.quote {
            Quote::Double => ("schema", "public"),
            Quote::Backtick => ("database", self.database.unwrap_or("database")),
        };
        let kind =
            ParseErrorKind::Unqualified { name: word.written, container, example: example.into() };
        self.wrong(kind, word.at)
    }

    fn qualified(&mut self, expected: &'static str) -> Result<QualifiedName, ParseError> {
        let word = self.word(expected)?;
        if self.peek() == Some('.') { self.after_schema(word) } else { Err(self.unqualified(word)) }
    }

    fn after_schema(&mut self, schema: Word) -> Result<QualifiedName, ParseError> {
        self.eat('.');
        let name = self.word("a name after the schema")?;
        if self.peek() == Some('.') {
            return Err(self.wrong(ParseErrorKind::TooManyParts, schema.at));
        }
        Ok(QualifiedName { schema: schema.text, name: name.text })
    }

    /// `(types)`, up to the parenthesis that closes it.
    fn arguments(&mut self) -> Result<Box<str>, ParseError> {
        if !self.eat('(') {
            return Err(self.expected("'(' and the types of the function's arguments"));
        }
        let at = self.at;
        let mut depth = 1_u32;
        let mut in_name = false;
        for (offset, c) in self.rest().char_indices() {
            match c {
                '"' => in_name = !in_name,
                '(' if !in_name => depth = depth.saturating_add(1),
                ')' if !in_name => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                let types = self.rest().get(..offset).unwrap_or_default();
                let arguments = normalise_arguments(types)
                    .map_err(|why| self.wrong(ParseErrorKind::Arguments(why), at))?;
                self.at += offset + 1;
                return Ok(arguments);
            }
        }
        self.at = self.text.len();
        Err(self.expected("')'"))
    }

    fn check_fit(&self, item: &Item, at: usize, object: &Object) -> Result<(), ParseError> {
        let kind = kind_of(object);
        let (word, fits, instead) = match item {
            Item::Level(level) => (level.keyword(), level.fits(object), instead_of_level(object)),
            Item::Operation(operation, columns) => {
                let fits = operation_fits(self.dialect.engine, *operation, object);
                if fits && columns.is_some() && !matches!(object, Object::Relation(_)) {
                    return Err(self.wrong(ParseErrorKind::ColumnsOf(kind), at));
                }
                (operation.keyword(), fits, applies_to(*operation))
            }
        };
        if fits {
            return Ok(());
        }
        let kind = ParseErrorKind::DoesNotFit { item: word, object: kind, instead };
        Err(self.wrong(kind, at))
    }
}

/// All but one operation are one word.
fn first_word(operation: Operation) -> &'static str {
    operation.keyword().split(' ').next().unwrap_or_default()
}

const fn kind_of(object: &Object) -> &'static str {
    match object {
        Object::Database => "a database",
        Object::Schema(_) => "a schema",
        Object::Relation(_) => "a relation",
        Object::Sequence(_) => "a sequence",
        Object::Function { .. } => "a function",
        Object::Procedure(_) => "a procedure",
    }
}

const fn instead_of_level(object: &Object) -> &'static str {
    match object {
        Object::Function { .. } | Object::Procedure(_) => "relations and schemas: write EXECUTE",
        _ => "relations and schemas: write SELECT, USAGE or UPDATE",
    }
}

const fn applies_to(operation: Operation) -> &'static str {
    match operation {
        Operation::Execute => "functions, schemas and databases",
        Operation::Usage => "sequences and schemas",
        Operation::Create => "schemas and databases",
        Operation::Select | Operation::Update => "relations, sequences, schemas and databases",
        Operation::Insert
        | Operation::Delete
        | Operation::Truncate
        | Operation::References
        | Operation::Trigger
        | Operation::Maintain
        | Operation::BypassRowSecurity
        | Operation::Drop
        | Operation::Alter
        | Operation::Index
        | Operation::CreateView
        | Operation::ShowView => "relations, schemas and databases",
        Operation::CreateRoutine
        | Operation::CreateTemporaryTables
        | Operation::LockTables
        | Operation::Event => "schemas and databases",
        Operation::AlterRoutine => "functions, procedures, schemas and databases",
        Operation::File | Operation::Process | Operation::Reload => "databases",
    }
}
