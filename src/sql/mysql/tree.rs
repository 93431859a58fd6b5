//! A statement as far as it matters to what it needs: names and their scopes. Operators and their order are
//! not kept, since nothing that a statement needs hangs on them; so a chain of a hundred thousand terms is a
//! list, not a tree.

/// A table's name as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// The database, when there is one.
    pub database: Option<Box<str>>,
    /// The name inside it.
    pub name: Box<str>,
}

/// A column as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ColumnName {
    /// Database and table in front.
    pub table: Option<Name>,
    /// In lower case.
    pub column: Box<str>,
}

/// What an expression mentions, in order.
#[derive(Debug)]
pub(super) enum Mention {
    /// A column.
    Column(ColumnName),
    /// `VALUES(column)`: what an INSERT would have put there.
    Inserted(Box<str>),
    /// `DEFAULT(column)`.
    Default(ColumnName),
    /// A sub-select.
    Query(Box<Query>),
    /// A call of a function that is not built in.
    Function(Name),
    /// A built-in function that needs something.
    Reads(Needed),
    /// `NEXTVAL(s)`, `NEXT VALUE FOR s`: inserts; `LASTVAL(s)`: selects.
    Sequence {
        /// Which.
        name: Name,
        /// It is moved on.
        advances: bool,
    },
}

/// What a built-in function needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needed {
    /// `LOAD_FILE`.
    File,
}

/// What an expression, or several, mention.
pub(super) type Mentions = Vec<Mention>;

/// A query: set operations of its operands.
#[derive(Debug, Default)]
pub(super) struct Query {
    /// WITH.
    pub ctes: Vec<Cte>,
    /// WITH RECURSIVE.
    pub recursive: bool,
    /// At least one.
    pub operands: Vec<Operand>,
    /// ORDER BY of the whole.
    pub order: Vec<Ordered>,
    /// FOR UPDATE, FOR SHARE, LOCK IN SHARE MODE, once each.
    pub locks: Vec<Lock>,
    /// INTO.
    pub into: Into,
}

/// One term of WITH.
#[derive(Debug)]
pub(super) struct Cte {
    /// Its name, as compared.
    pub name: Box<str>,
    /// Its columns' names; empty when its query names them.
    pub columns: Vec<Box<str>>,
    /// What it is.
    pub query: Query,
}

/// One operand of a set operation.
#[derive(Debug)]
pub(super) enum Operand {
    /// SELECT.
    Select(Box<Select>),
    /// `TABLE t`.
    Table(Name),
    /// VALUES.
    Values(Mentions),
    /// A query in parentheses.
    Nested(Box<Query>),
}

/// A row lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lock {
    /// FOR UPDATE, and of which tables by what they are called; of all where none is named.
    Update(Vec<Box<str>>),
    /// FOR SHARE, LOCK IN SHARE MODE.
    Share,
}

impl Lock {
    /// Whether rows of a table are to be changed that is called so.
    pub(super) fn is_for_update_of(&self, alias: &str) -> bool {
        match self {
            Self::Update(tables) => tables.is_empty() || tables.iter().any(|it| **it == *alias),
            Self::Share => false,
        }
    }
}

/// Where a query's rows go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Into {
    /// To the client.
    #[default]
    Client,
    /// To user variables.
    Variables,
    /// OUTFILE, DUMPFILE.
    File,
}

/// One element of ORDER BY or GROUP BY.
#[derive(Debug)]
pub(super) struct Ordered {
    /// What it mentions.
    pub mentions: Mentions,
    /// It is a bare column, which may be an alias of the select list.
    pub bare: bool,
}

/// SELECT.
#[derive(Debug, Default)]
pub(super) struct Select {
    /// The select list.
    pub items: Vec<Item>,
    /// FROM: elements between commas.
    pub from: Vec<Joined>,
    /// WHERE.
    pub condition: Mentions,
    /// GROUP BY.
    pub group: Vec<Ordered>,
    /// HAVING and WINDOW.
    pub having: Mentions,
}

/// One element of a select list.
#[derive(Debug)]
pub(super) enum Item {
    /// `*`
    Star,
    /// `t.*`
    TableStar(Name),
    /// An expression.
    Expression {
        /// What it mentions.
        mentions: Mentions,
        /// Its alias, or the name of the bare column that it is; in lower case.
        name: Option<Box<str>>,
        /// Whether that is an alias.
        aliased: bool,
    },
}

/// Tables joined to each other.
#[derive(Debug, Default)]
pub(super) struct Joined {
    /// In order; conditions belong to the join with those before.
    pub sources: Vec<Source>,
    /// ON, of all of them.
    pub on: Mentions,
}

/// One table of a join, and how it is joined to those before.
#[derive(Debug)]
pub(super) struct Source {
    /// What it is.
    pub kind: SourceKind,
    /// NATURAL.
    pub natural: bool,
    /// USING.
    pub using: Vec<Box<str>>,
}

/// What stands in FROM.
#[derive(Debug)]
pub(super) enum SourceKind {
    /// A table, a view or a CTE.
    Table {
        /// Which.
        name: Name,
        /// What it is called.
        alias: Option<Box<str>>,
    },
    /// A sub-select.
    Derived {
        /// Which.
        query: Box<Query>,
        /// What it is called.
        alias: Option<Box<str>>,
        /// Its columns' names.
        columns: Vec<Box<str>>,
        /// It sees the tables before it.
        lateral: bool,
    },
    /// JSON_TABLE.
    Json {
        /// What its arguments mention.
        mentions: Mentions,
        /// What it is called.
        alias: Box<str>,
    },
    /// Parentheses.
    Nested(Vec<Joined>),
}
