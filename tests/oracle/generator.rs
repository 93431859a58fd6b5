//! A generator of statements over the objects of `analyser_schema.sql`.

#[path = "random.rs"]
mod random;

pub use random::Random;

/// Random statements over the schema, from a fixed seed.
pub struct Generator(Random);

impl Generator {
    /// The same seed makes the same statements.
    pub const fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    fn below(&mut self, end: usize) -> usize {
        self.0.below(end)
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        self.0.pick(list)
    }

    /// A source, its alias and its columns.
    fn source(&mut self, depth: usize, n: usize) -> (String, String, Vec<&'static str>) {
        let alias = format!("s{n}");
        match self.below(if depth == 0 { 8 } else { 11 }) {
            8 => (format!("calls {alias}"), alias, vec!["one", "a"]),
            9 => (format!("secured {alias}"), alias, vec!["a", "b"]),
            10 => (
                format!("rows from (open(1), closed_one(2)) {alias} (p, q)"),
                alias,
                vec!["p", "q"],
            ),
            0 => (format!("t1 as {alias}"), alias, vec!["a", "b", "c", "d"]),
            1 => (format!("only t2 {alias}"), alias, vec!["c", "d", "e"]),
            2 => (format!("t4 as {alias} (id, k)"), alias, vec!["id", "k"]),
            3 => (format!("v {alias}"), alias, vec!["id", "salary"]),
            4 => (format!("app.orders {alias}"), alias, vec!["id", "total", "status"]),
            5 if depth > 0 => {
                (format!("({}) {alias}", self.query(depth - 1, &[])), alias, vec!["p", "q"])
            }
            5 | 6 => (format!("(table t4) as {alias} (p)"), alias, vec!["p", "a"]),
            _ => {
                let sub = self.query(depth.saturating_sub(1), &[]);
                (format!("(with w as ({sub}) select q, p from w) {alias}"), alias, vec!["q", "p"])
            }
        }
    }

    fn value(&mut self, depth: usize, scope: &[(String, Vec<&'static str>)]) -> String {
        let column = |this: &mut Self| {
            if scope.is_empty() {
                return "7".to_string();
            }
            let (alias, columns) = &scope[this.below(scope.len())];
            let column = columns[this.below(columns.len())];
            if this.below(5) == 0 { column.to_string() } else { format!("{alias}.{column}") }
        };
        match self.below(if depth == 0 { 5 } else { 18 }) {
            0 => "1".into(),
            1..=3 => column(self),
            4 => format!("coalesce({}, 1)", column(self)),
            5 => format!("({} + {})", self.value(depth - 1, scope), self.value(depth - 1, scope)),
            6 => {
                let (first, rest) = (self.value(depth - 1, scope), self.value(depth - 1, scope));
                format!("case when {first} > 1 then {rest} else 0 end")
            }
            7 => format!("(select max(p) from ({}) z)", self.query(depth - 1, scope)),
            8 => format!("add({}, 1)", self.value(depth - 1, scope)),
            9 => {
                let function = self.pick(&[
                    "open",
                    "closed_one",
                    "mixed",
                    "app.f",
                    "closed.f",
                    "closed.g",
                    "abs",
                    "volatile() +",
                ]);
                format!("{function}({})", self.value(depth - 1, scope))
            }
            10 => {
                let text = self.pick(&["lower", "closed_text", "mixed", "pg_catalog.upper"]);
                format!("length({text}({}::text)::text)", self.value(depth - 1, scope))
            }
            11 => {
                let aggregate = self.pick(&["total", "max", "count", "count(distinct", "sum"]);
                let close = if aggregate.ends_with("distinct") { ")" } else { "" };
                let open = if close.is_empty() { "(" } else { " " };
                let inner = self.value(depth - 1, scope);
                format!("(select {aggregate}{open}{inner}) {close}from t4)")
                    .replace(") )from", ") from")
            }
            12 | 13 => {
                let operator = self.pick(&[
                    "===",
                    "operator(app.===)",
                    "operator(public.===)",
                    "=",
                    "operator(pg_catalog.<)",
                ]);
                let (left, right) = (self.value(depth - 1, scope), self.value(depth - 1, scope));
                format!("({left} {operator} {right})::int")
            }
            14 => format!("(@@@ {})", self.value(depth - 1, scope)),
            15 => {
                let domain = self.pick(&["guarded", "plain", "int8", "mood::int"]);
                let value = if domain == "mood::int" {
                    "'ok'".into()
                } else {
                    self.value(depth - 1, scope)
                };
                format!("{value}::{domain}::int")
            }
            16 => format!("mixed('{}')", self.pick(&["1", "{1}", "x"])),
            _ => match scope.get(self.below(scope.len().max(1))) {
                Some((alias, _)) => format!("length({alias}::text)"),
                None => "2".into(),
            },
        }
    }

    /// A query of two columns, p and q, that may refer to the scopes around it.
    fn query(&mut self, depth: usize, outer: &[(String, Vec<&'static str>)]) -> String {
        let base = outer.len() * 10 + depth * 3;
        let (first, alias, columns) = self.source(depth, base);
        let mut scope = vec![(alias.clone(), columns)];
        let mut from = first;
        if self.below(2) == 0 {
            let (second, other, columns) = self.source(depth, base + 1);
            let join =
                self.pick(&["join", "left join", "full join", "cross join", "natural join", ","]);
            from = match join {
                "natural join" | "cross join" | "," => format!("{from} {join} {second}"),
                join => format!(
                    "{from} {join} {second} on {alias}.{} = {other}.{}",
                    scope[0].1[0], columns[0]
                ),
            };
            scope.push((other, columns));
        }
        scope.extend(outer.iter().cloned());
        let depth = depth.saturating_sub(1);
        let (p, q) = (self.value(depth, &scope), self.value(depth, &scope));
        let filter = match self.below(3) {
            0 => format!(" where {} > {}", self.value(depth, &scope), self.value(depth, &scope)),
            1 => format!(" where exists (select from t2 where t2.e = {})", self.value(0, &scope)),
            _ => String::new(),
        };
        let tail =
            self.pick(&["", "", " order by p", " order by q, p + 1", " limit 3", " group by p, q"]);
        let union = if self.below(6) == 0 {
            format!("(select {p} as p, {q} as q from {from}{filter}) union ")
        } else {
            String::new()
        };
        if !union.is_empty() {
            return format!("{union}select 1, 2");
        }
        format!("select {p} as p, {q} as q from {from}{filter}{tail}")
    }

    /// The next statement.
    pub fn statement(&mut self) -> String {
        let target = [("t1".to_string(), vec!["a", "b", "c", "d"])];
        match self.below(12) {
            8 => format!(
                "insert into {} {}",
                self.pick(&["serials (x)", "serials (id)", "serials", "writes", "writes (x)"]),
                self.pick(&["values (1)", "values (default)", "select 50", "select id from t4"])
            ),
            9 => format!(
                "insert into {} values ({}, {})",
                self.pick(&["checked", "indexed", "secured", "secured (b, a)", "checked (k, l)"]),
                self.value(1, &[]),
                self.pick(&["1", "default", "3"])
            ),
            10 => format!(
                "update {} set {} = {}",
                self.pick(&["checked", "indexed", "secured", "serials", "writes", "made"]),
                self.pick(&["id", "k", "a", "b"]),
                self.value(1, &[])
            ),
            11 => format!(
                "delete from {} where {} > {}",
                self.pick(&["checked", "indexed", "secured", "serials", "calls"]),
                self.pick(&["id", "k", "a", "one"]),
                self.value(1, &[])
            ),
            0 => format!(
                "update t1 set {} = {} where {} > 1",
                self.pick(&["a", "b", "(c, d)"]).replace("(c, d)", "c"),
                self.value(2, &target),
                self.value(1, &target)
            ),
            1 => format!(
                "delete from t1 where {} = {}{}",
                self.value(1, &target),
                self.value(2, &target),
                self.pick(&["", " returning b", " returning t1"])
            ),
            2 => format!(
                "insert into t2 (d, c) {}{}",
                self.query(1, &[]),
                self.pick(&["", " returning *", " returning e"])
            ),
            3 => format!(
                "with n as (update t1 set a = {} returning b as p, c as q) select p from n",
                self.value(1, &target)
            ),
            _ => self.query(2, &[]),
        }
    }
}
