//! A generator of statements over the objects of the ground: kinds, objects, columns, nesting, aliases, quoting.

use super::random::Random;
use crate::support::Product;

/// A table or view, its database and its columns.
type Source = (&'static str, &'static str, &'static [&'static str]);

const SOURCES: [Source; 19] = [
    ("shop", "t1", &["a", "b", "c", "d"]),
    ("shop", "t1", &["a", "b", "c", "d"]),
    ("shop", "t2", &["c", "d", "e"]),
    ("shop", "t2", &["c", "d", "e"]),
    ("shop", "t3", &["c", "x"]),
    ("shop", "allowed", &["a", "b"]),
    ("shop", "secret", &["d", "token"]),
    ("shop", "wide", &["id", "a", "b", "c", "d", "e"]),
    ("shop", "parent", &["id", "k"]),
    ("shop", "child", &["id", "parent"]),
    ("shop", "made", &["a", "b", "c"]),
    ("shop", "parts", &["a", "b"]),
    ("shop", "order", &["select", "a`b", "qty"]),
    ("shop", "Mixed", &["Id", "Name"]),
    ("crm", "orders", &["id", "total", "status"]),
    ("crm", "t1", &["z"]),
    ("closed", "vault", &["k", "v"]),
    ("shop", "v_open", &["a", "b"]),
    ("shop", "v_join", &["a", "token"]),
];

const VIEWS: [Source; 6] = [
    ("shop", "v_secret", &["d"]),
    ("shop", "v_invoker", &["d"]),
    ("shop", "v_over", &["d"]),
    ("shop", "v_over_invoker", &["d"]),
    ("shop", "v_deep", &["d"]),
    ("crm", "v_orders", &["id", "total"]),
];

/// Those whose rows are changed.
const TARGETS: [Source; 14] = [
    ("shop", "t1", &["a", "b", "c", "d"]),
    ("shop", "t2", &["c", "d", "e"]),
    ("shop", "secret", &["d", "token"]),
    ("shop", "wide", &["id", "a", "b", "c", "d", "e"]),
    ("shop", "child", &["id", "parent"]),
    ("shop", "parent", &["id", "k"]),
    ("shop", "made", &["a", "c"]),
    ("shop", "parts", &["a", "b"]),
    ("shop", "logged", &["a"]),
    ("shop", "order", &["select", "a`b", "qty"]),
    ("crm", "orders", &["id", "total", "status"]),
    ("crm", "t1", &["z"]),
    ("shop", "v_open", &["a", "b"]),
    ("shop", "v_secret", &["d"]),
];

/// A table of a scope: what it is called there, and its columns as they are written.
type Scope = Vec<(String, Vec<String>)>;

/// Random statements, from a fixed seed.
pub struct Generator {
    random: Random,
    product: Product,
    aliases: usize,
}

fn must_be_quoted(name: &str) -> bool {
    matches!(name, "order" | "select") || name.contains('`')
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

impl Generator {
    /// The same seed makes the same statements.
    pub const fn new(seed: u64, product: Product) -> Self {
        Self { random: Random::new(seed), product, aliases: 0 }
    }

    fn below(&mut self, end: usize) -> usize {
        self.random.below(end)
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        self.random.pick(list)
    }

    /// A name, in quotes or not.
    fn name(&mut self, name: &str) -> String {
        if must_be_quoted(name) || self.below(6) == 0 { quoted(name) } else { name.to_owned() }
    }

    /// A column, whose case does not count.
    fn column(&mut self, name: &str) -> String {
        let name = if self.below(12) == 0 { name.to_uppercase() } else { name.to_owned() };
        self.name(&name)
    }

    /// A table as it is written.
    fn table(&mut self, (database, name, _): Source) -> String {
        let table = self.name(name);
        let database = self.name(database);
        match self.below(if database.contains("shop") { 8 } else { 3 }) {
            0 => format!("{database} . {table}"),
            1 | 2 => format!("{database}.{table}"),
            _ => table,
        }
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        // Now and then a name that is also a table's.
        match self.below(14) {
            0 => "secret".to_owned(),
            1 => "t1".to_owned(),
            2 => "`s 1`".to_owned(),
            _ => format!("s{}", self.aliases),
        }
    }

    fn source_of(&mut self) -> Source {
        if self.below(5) == 0 {
            VIEWS[self.below(VIEWS.len())]
        } else {
            SOURCES[self.below(SOURCES.len())]
        }
    }

    /// A source of a FROM, and what it brings into scope.
    fn source(&mut self, depth: usize, outer: &Scope) -> (String, (String, Vec<String>)) {
        let kind = self.below(if depth == 0 { 6 } else { 10 });
        if kind < 6 {
            let source = self.source_of();
            let columns = source.2.iter().map(|it| (*it).to_owned()).collect();
            let table = self.table(source);
            if self.below(3) == 0 {
                return (table, (self.name(source.1), columns));
            }
            let alias = self.alias();
            let word = self.pick(&["", "as "]);
            return (format!("{table} {word}{alias}"), (alias, columns));
        }
        let alias = self.alias();
        let columns = vec!["p".to_owned(), "q".to_owned()];
        let text = match kind {
            6 | 7 => format!("({}) {alias}", self.query(depth - 1, &Scope::new())),
            8 => {
                let query = self.query(depth - 1, &Scope::new());
                format!("(with w as ({query}) select q, p from w) as {alias}")
            }
            _ => {
                let _ = outer;
                let (one, other) =
                    (self.query(depth - 1, &Scope::new()), self.query(0, &Scope::new()));
                format!("(({one}) union all ({other})) {alias}")
            }
        };
        (text, (alias, columns))
    }

    fn read(&mut self, scope: &Scope) -> String {
        if scope.is_empty() {
            return "7".to_owned();
        }
        let (alias, columns) = scope[self.below(scope.len())].clone();
        let column = columns[self.below(columns.len())].clone();
        let column = self.column(&column);
        match self.below(6) {
            0 => column,
            1 => format!("{alias} . {column}"),
            _ => format!("{alias}.{column}"),
        }
    }

    /// An expression.
    fn value(&mut self, depth: usize, scope: &Scope) -> String {
        match self.below(if depth == 0 { 5 } else { 20 }) {
            0 => self
                .pick(&["1", "'x'", "\"y\"", "null", "x'41'", "@v", "_utf8mb4'z'", "now()"])
                .to_owned(),
            1..=3 => self.read(scope),
            4 => format!("coalesce({}, 1)", self.read(scope)),
            5 => format!("({} + {})", self.value(depth - 1, scope), self.value(depth - 1, scope)),
            6 => {
                let (first, rest) = (self.value(depth - 1, scope), self.value(depth - 1, scope));
                format!("case when {first} > 1 then {rest} else 0 end")
            }
            7 => format!("(select max(p) from ({}) z)", self.query(depth - 1, &Scope::new())),
            8 => format!("(select p from ({}) z limit 1)", self.query(depth - 1, &Scope::new())),
            9 => {
                let function = self.pick(&["f", "shop.f", "`f`", "abs", "hex", "shop . f"]);
                format!("{function}({})", self.value(depth - 1, scope))
            }
            10 => self.pick(&["peek()", "shop.peek()", "database()", "version()"]).to_owned(),
            11 => format!("exists ({})", self.query(depth - 1, scope)),
            12 => {
                let source = self.source_of();
                let (table, column) = (self.table(source), source.2[self.below(source.2.len())]);
                let column = self.column(column);
                let value = self.value(depth - 1, scope);
                format!("({value} in (select {column} from {table}))")
            }
            13 => {
                let (one, other) = (self.value(depth - 1, scope), self.value(depth - 1, scope));
                let sign =
                    self.pick(&["=", "<>", "<=>", "like", "between 0 and", ">", "&&", "xor", "or"]);
                format!("({one} {sign} {other})")
            }
            14 => format!("cast({} as char)", self.value(depth - 1, scope)),
            15 => format!("if({}, {}, 2)", self.value(depth - 1, scope), self.read(scope)),
            16 => {
                format!("concat({}, 'it''s', {})", self.read(scope), self.value(depth - 1, scope))
            }
            17 => format!("(select count(*) from {})", {
                let source = self.source_of();
                self.table(source)
            }),
            18 => format!("not {}", self.read(scope)),
            _ => format!("({} is null)", self.value(depth - 1, scope)),
        }
    }

    /// A query of two columns, p and q, that may refer to the scope around it.
    fn query(&mut self, depth: usize, outer: &Scope) -> String {
        let (mut from, first) = self.source(depth, outer);
        let mut own: Scope = vec![first];
        if self.below(5) < 2 {
            let (second, other) = self.source(depth, outer);
            if other.0 != own[0].0 {
                let join = self.pick(&[
                    "join",
                    "left join",
                    "right join",
                    "cross join",
                    ",",
                    "straight_join",
                    "natural join",
                ]);
                from = match join {
                    "cross join" | "," | "natural join" => format!("{from} {join} {second}"),
                    join => {
                        let (left, right) = (own[0].1[0].clone(), other.1[0].clone());
                        let (left, right) = (self.column(&left), self.column(&right));
                        format!(
                            "{from} {join} {second} on {}.{left} = {}.{right}",
                            own[0].0, other.0
                        )
                    }
                };
                own.push(other);
            }
        }
        let mut scope = own;
        scope.extend(outer.iter().cloned());
        let depth = depth.saturating_sub(1);
        let (p, q) = (self.value(depth, &scope), self.value(depth, &scope));
        let filter = match self.below(4) {
            0 => format!(" where {} > {}", self.value(depth, &scope), self.value(depth, &scope)),
            1 => format!(" where {}", self.value(depth, &scope)),
            _ => String::new(),
        };
        let tail = match self.below(9) {
            0 => " order by p".to_owned(),
            1 => format!(" order by {} desc", self.read(&scope)),
            2 => " limit 3".to_owned(),
            3 => format!(" group by p, q having count({}) > 0", self.read(&scope)),
            _ => String::new(),
        };
        let options = self.pick(&[
            "",
            "",
            "",
            "",
            "distinct ",
            "sql_no_cache ",
            "high_priority ",
            "straight_join ",
        ]);
        format!("select {options}{p} as p, {q} as q from {from}{filter}{tail}")
    }

    /// A query as a statement of its own.
    fn select(&mut self) -> String {
        let scope = Scope::new();
        match self.below(14) {
            0 => {
                let source = self.source_of();
                let count = self.pick(&["*", "count(*)", "1"]);
                format!("select {count} from {}", self.table(source))
            }
            1 => {
                let (from, (alias, _)) = self.source(1, &scope);
                format!("select {alias}.* from {from}")
            }
            2 => {
                let lock = self.pick(&["for update", "lock in share mode"]);
                format!("{} {lock}", self.query(1, &scope))
            }
            3 => {
                format!("({}) union ({}) order by 1", self.query(1, &scope), self.query(1, &scope))
            }
            4 => format!("select p into @v from ({}) z limit 1", self.query(1, &scope)),
            5 => {
                let (inner, name) =
                    (self.query(1, &scope), self.pick(&["w", "secret", "t1", "t2"]));
                let source = self.table(SOURCES[0]);
                format!("with {name} (p, q) as ({inner}) select p, q from {name}, {source} as o")
            }
            6 => format!("explain {}", self.query(1, &scope)),
            7 => {
                let inner = self.query(1, &scope);
                if self.product == Product::Mysql {
                    let source = self.source_of();
                    let table = self.table(source);
                    return match self.below(2) {
                        0 => format!("table {table}"),
                        _ => format!("select 1 from (table {table}) z, lateral ({inner}) l"),
                    };
                }
                let kind = self.pick(&["except", "intersect", "union all"]);
                format!("{inner} {kind} {}", self.query(1, &scope))
                    .replace(" limit 3", "")
                    .replace(" order by p", "")
            }
            _ => self.query(2, &scope),
        }
    }

    fn target(&mut self) -> (Source, String, Vec<String>) {
        let source = TARGETS[self.below(TARGETS.len())];
        let table = self.table(source);
        let columns = source.2.iter().map(|it| (*it).to_owned()).collect();
        (source, table, columns)
    }

    fn insert(&mut self) -> String {
        let (source, table, columns) = self.target();
        let verb = self.pick(&[
            "insert into",
            "insert into",
            "insert ignore into",
            "insert",
            "replace into",
            "insert high_priority into",
        ]);
        let some: Vec<String> =
            columns.iter().filter(|_| self.random.below(3) > 0).cloned().collect();
        let some = if some.is_empty() { columns.clone() } else { some };
        let list: Vec<_> = some.iter().map(|it| self.column(it)).collect();
        let own: Scope = vec![(quoted(source.1), columns)];
        let mut text = match self.below(5) {
            0 => {
                let sets: Vec<_> = list
                    .iter()
                    .map(|it| format!("{it} = {}", self.value(1, &Scope::new())))
                    .collect();
                format!("{verb} {table} set {}", sets.join(", "))
            }
            1 => {
                let sources: Vec<_> = list.iter().map(|_| "p").collect();
                format!(
                    "{verb} {table} ({}) select {} from ({}) z",
                    list.join(", "),
                    sources.join(", "),
                    self.query(1, &Scope::new())
                )
            }
            2 if self.below(2) == 0 => {
                format!("{verb} {table} values ({})", vec!["default"; source.2.len()].join(", "))
            }
            _ => {
                let values: Vec<_> = list.iter().map(|_| self.value(1, &Scope::new())).collect();
                format!("{verb} {table} ({}) values ({})", list.join(", "), values.join(", "))
            }
        };
        if !verb.starts_with("replace") && self.below(4) == 0 {
            let column = own[0].1[self.below(own[0].1.len())].clone();
            let column = self.column(&column);
            let value = match self.below(3) {
                0 => format!("values({column})"),
                1 => self.read(&own),
                _ => self.value(1, &Scope::new()),
            };
            text = format!("{text} on duplicate key update {column} = {value}");
        } else if self.product == Product::MariaDb && self.below(5) == 0 {
            let shown = self.read(&own);
            let shown = self.pick(&["*", "1", &shown]).to_owned();
            text = format!("{text} returning {shown}");
        }
        text
    }

    fn update(&mut self) -> String {
        let (source, table, columns) = self.target();
        let set = columns[self.below(columns.len())].clone();
        let options = self.pick(&["", "", "", "ignore ", "low_priority "]);
        if self.below(3) == 0 {
            let alias = self.alias();
            let (other, brought) = self.source(1, &Scope::new());
            let set = self.column(&set);
            let scope: Scope = vec![(alias.clone(), columns), brought];
            let (value, filter) = (self.value(1, &scope), self.value(1, &scope));
            let join = self.pick(&[",", "join", "left join"]);
            let on = if join == "left join" { " on true" } else { "" };
            return format!(
                "update {options}{table} {alias} {join} {other}{on} set {alias}.{set} = {value} where {filter}"
            );
        }
        let (alias, called) = if self.below(3) == 0 {
            let alias = self.alias();
            (format!(" as {alias}"), alias)
        } else {
            (String::new(), self.name(source.1))
        };
        let set = self.column(&set);
        let scope: Scope = vec![(called, columns)];
        let value = self.value(2, &scope);
        let filter = match self.below(3) {
            0 => String::new(),
            1 => format!(" where {}", self.value(2, &scope)),
            _ => format!(" where {} = 1 order by {} limit 1", self.read(&scope), self.read(&scope)),
        };
        format!("update {options}{table}{alias} set {set} = {value}{filter}")
    }

    fn delete(&mut self) -> String {
        let (source, table, columns) = self.target();
        let scope: Scope = vec![(self.name(source.1), columns.clone())];
        match self.below(6) {
            0 => format!("delete from {table}"),
            1 => {
                let alias = self.alias();
                let (other, brought) = self.source(1, &Scope::new());
                let scope: Scope = vec![(alias.clone(), columns), brought];
                let filter = self.value(1, &scope);
                match self.below(2) {
                    0 => format!("delete {alias} from {table} {alias}, {other} where {filter}"),
                    _ => format!(
                        "delete from {alias} using {table} as {alias}, {other} where {filter}"
                    ),
                }
            }
            2 if self.product == Product::MariaDb => {
                format!(
                    "delete from {table} where {} returning {}",
                    self.value(1, &scope),
                    self.read(&scope)
                )
            }
            3 => format!("delete quick from {table} order by {} limit 1", self.read(&scope)),
            _ => format!("delete from {table} where {}", self.value(2, &scope)),
        }
    }

    /// Something about a table, or a query inside something else.
    fn other(&mut self) -> String {
        let source = self.source_of();
        let table = self.table(source);
        let column = source.2[self.below(source.2.len())];
        let column = self.column(column);
        let query = self.query(1, &Scope::new());
        match self.below(20) {
            0 => format!("describe {table}"),
            1 => format!("show columns from {table}"),
            2 => format!("show create table {table}"),
            3 => format!("show index from {table}"),
            4 => format!("explain {table} {column}"),
            5 => format!("set @x = (select max(p) from ({query}) z)"),
            6 => format!("do (select max(p) from ({query}) z)"),
            7 => format!("explain {}", self.update()),
            8 => format!("explain {}", self.delete()),
            9 => format!(
                "lock tables {table} {}",
                self.pick(&["read", "write", "as x read", "read local"])
            ),
            10 => format!("handler {table} open"),
            11 => format!("check table {table}"),
            12 => {
                format!("call {}", self.pick(&["p(1, 2)", "shop.p_read()", "crm.q(1)", "p_read"]))
            }
            13 => format!("prepare s from '{}'", query.replace('\'', "''")),
            14 if self.product == Product::MariaDb => {
                format!("execute immediate '{}'", query.replace('\'', "''"))
            }
            15 => format!("show create view {table}"),
            16 => format!("load data local infile 'x' into table {table} ({column})"),
            17 if self.product == Product::MariaDb => format!("analyze {query}"),
            18 if self.product == Product::MariaDb => {
                format!("set statement max_statement_time = 3 for {query}")
            }
            _ => format!(
                "select {column}, (select 1 from ({query}) z limit 1) from {table} where 1 in (1, 2)"
            ),
        }
    }

    /// A definition.
    fn definition(&mut self) -> String {
        let (_, table, columns) = self.target();
        let column = columns[self.below(columns.len())].clone();
        let column = self.column(&column);
        let query = self.query(1, &Scope::new());
        match self.below(15) {
            0 => format!("create table n as {query}"),
            1 => format!("create table n like {table}"),
            2 => format!("create temporary table n as {query}"),
            3 => format!("create view w as {query}"),
            4 => format!("create or replace view v_open as {query}"),
            5 => format!("alter table {table} add column fresh int"),
            6 => format!("create index i on {table} ({column})"),
            7 => format!("drop table {table}"),
            8 => format!("truncate table {table}"),
            9 => format!("rename table {table} to t9"),
            10 => format!("alter table {table} rename to n"),
            11 => format!(
                "create table n (a int primary key, b int, foreign key (b) references {table} ({column}))"
            ),
            12 => format!(
                "drop view {}",
                self.pick(&["v_open", "v_secret, v_over", "if exists v_join"])
            ),
            13 => format!("alter table {table} drop column {column}"),
            _ => format!("create trigger stamp before insert on {table} for each row set @n = 1"),
        }
    }

    /// The next statement.
    pub fn statement(&mut self) -> String {
        self.aliases = 0;
        match self.below(26) {
            0..=3 => self.insert(),
            4..=7 => self.update(),
            8..=10 => self.delete(),
            11..=14 => self.other(),
            15 => self.definition(),
            _ => self.select(),
        }
    }
}
