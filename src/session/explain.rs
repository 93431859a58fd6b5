//! What statements would need and whether that is granted, without running them.

use std::sync::Arc;

use crate::grant::decide::{Decision, decide};
use crate::grant::snapshot::HeldGrants;
use crate::session::routing::Why;
use crate::session::site::Site;
use crate::sql::access::Access;
use crate::sql::statement::{Class, Statement};
use crate::time::Timestamp;

/// One thing that a statement needs. A statement that needs nothing has one with no access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// Which statement of the text, from 1.
    pub statement: usize,
    /// `SELECT`, `CREATE TABLE` …
    pub command: &'static str,
    /// How the audit stream classes it.
    pub class: Class,
    /// What is needed, in the privilege grammar.
    pub access: Option<String>,
    /// Grants that allow it, by name.
    pub grants: Vec<String>,
    /// The smallest privilege that is missing for it.
    pub missing: Option<String>,
}

impl Explained {
    /// Whether nothing is missing.
    pub const fn is_allowed(&self) -> bool {
        self.missing.is_none()
    }

    /// A line of the answer to `daypass.explain`.
    pub fn row(self) -> Vec<Option<String>> {
        let decision = match (self.is_allowed(), self.grants.as_slice()) {
            (false, _) => "not granted".into(),
            (true, []) => "needs no grant".into(),
            (true, grants) => format!("allowed by {}", grants.join(", ")),
        };
        vec![
            Some(format!("{}: {}", self.statement, self.command)),
            Some(self.class.word().into()),
            self.access,
            Some(decision),
            self.missing,
        ]
    }

    /// The line for what is refused whatever the grants say.
    pub fn refused(why: String) -> Vec<Option<String>> {
        vec![None, None, None, Some("refused".into()), Some(why)]
    }
}

/// The line of the answer to `daypass.route` for statements that would run there, for that reason.
pub fn routed(
    statements: &[Statement],
    (site, server, why): (Site, Option<Arc<str>>, Why),
) -> Vec<Option<String>> {
    let commands: Vec<_> = statements.iter().map(|statement| statement.command).collect();
    vec![
        Some(commands.join("; ")),
        Some(site.word().into()),
        server.map(|address| address.to_string()),
        Some(why.clause().into_owned()),
    ]
}

/// The line for what is refused wherever it would run.
pub fn unrouted(why: String) -> Vec<Option<String>> {
    vec![None, Some("refused".into()), None, Some(why)]
}

/// Explains a statement; `more` is what it needs beyond its own accesses.
pub fn explain(
    (number, statement): (usize, &Statement),
    more: &[Access],
    held: &HeldGrants,
    now: Timestamp,
) -> Vec<Explained> {
    let line = |access: Option<&Access>| {
        let (mut grants, mut missing) = (Vec::new(), None);
        match decide(access.into_iter(), held, now) {
            Decision::Allow(permit) => {
                grants = permit.grant_ids().iter().map(ToString::to_string).collect();
            }
            Decision::Deny(denial) => {
                let words: Vec<_> = denial.missing.iter().map(ToString::to_string).collect();
                missing = Some(words.join("; "));
            }
        }
        Explained {
            statement: number,
            command: statement.command,
            class: statement.class,
            access: access.map(ToString::to_string),
            grants,
            missing,
        }
    };
    let accesses = statement.accesses.iter().chain(more);
    let lines: Vec<_> = accesses.map(|access| line(Some(access))).collect();
    if lines.is_empty() { vec![line(None)] } else { lines }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::fixture::{at, grant};
    use crate::sql::catalog::{Catalog, Relation, RelationKind, Schema};
    use crate::sql::postgres::{ParseLimits, Scope, analyse};

    #[test]
    fn each_access_has_its_grant_or_what_is_missing() {
        let relation = Relation {
            kind: RelationKind::Table,
            columns: vec!["a".into(), "b".into()],
            ..Relation::default()
        };
        let relations = ["t", "u"].map(|name| (name.into(), relation.clone())).into();
        let mut catalog = Catalog::default();
        let public = Schema { relations, ..Schema::default() };
        catalog.schemas.insert("public".into(), Arc::new(public));
        let held = HeldGrants::new([
            Arc::new(grant("g_1", "SELECT (a) ON public.t", 0, 100)),
            Arc::new(grant("g_2", "INSERT ON public.u", 0, 100)),
        ]);
        let path = ["public".into()];
        let scope = Scope { catalog: &catalog, path: &path, parameters: &[] };
        let lines = |text: &str| {
            let analysis = analyse(text, &scope, &ParseLimits::default()).unwrap();
            let all = analysis.statements.iter().enumerate();
            let all = all.flat_map(|(n, statement)| explain((n + 1, statement), &[], &held, at(1)));
            all.map(|line| {
                let decision = line.missing.unwrap_or_else(|| line.grants.join(","));
                format!("{} {} {:?} {decision}", line.statement, line.command, line.access)
            })
            .collect::<Vec<_>>()
        };
        assert_eq!(
            lines("BEGIN; INSERT INTO u (a) SELECT a + b FROM t"),
            [
                "1 BEGIN None ",
                "2 INSERT Some(\"SELECT (a, b) ON public.t\") SELECT (b) ON public.t",
                "2 INSERT Some(\"INSERT (a) ON public.u\") g_2",
            ]
        );
    }
}
