//! Where the statements of a grant may run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::GrantError;
use super::privilege::{Item, Level, Privilege};
use crate::sql::access::{Object, Operation};

/// Where the statements that rest on a grant may run.
///
/// Only the proxy holds to it: the second lock's role or account has the privileges of such a grant at the
/// primary, too, since a server cannot tell by which way a statement came to its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// At the primary, or at a replica that is far enough.
    #[default]
    Any,
    /// At replicas, never at the primary.
    ReplicaOnly,
}

/// A word for no route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a route is any or replica-only")]
pub struct UnknownRoute;

impl Route {
    /// The word for it, where there is anything to say.
    pub const fn bound(self) -> Option<&'static str> {
        match self {
            Self::Any => None,
            Self::ReplicaOnly => Some("replica-only"),
        }
    }

    /// Whether such a grant may hold these privileges.
    pub(super) fn check(self, privileges: &[Privilege]) -> Result<(), GrantError> {
        match self {
            Self::Any => Ok(()),
            Self::ReplicaOnly => only_read(privileges),
        }
    }
}

fn only_read(privileges: &[Privilege]) -> Result<(), GrantError> {
    let each = |privilege: &Privilege| {
        privilege.items.iter().find_map(|item| more_than_reads(item, &privilege.object))
    };
    match privileges.iter().find_map(each) {
        None => Ok(()),
        Some(item) => Err(GrantError::MoreThanReads(item)),
    }
}

/// The item's key word, if it can do more than read.
fn more_than_reads(item: &Item, object: &Object) -> Option<&'static str> {
    match item {
        Item::Level(Level::Read) => None,
        Item::Level(level @ (Level::Write | Level::Admin)) => Some(level.keyword()),
        // Of functions, those that are not known to only read are not called at a replica anyway.
        Item::Operation(
            Operation::Select
            | Operation::ShowView
            | Operation::Execute
            | Operation::BypassRowSecurity,
            _,
        ) => None,
        // Of a schema it is to look inside, of a sequence to advance it.
        Item::Operation(Operation::Usage, _) if matches!(object, Object::Schema(_)) => None,
        Item::Operation(operation, _) => Some(operation.keyword()),
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.bound().unwrap_or("any"))
    }
}

impl FromStr for Route {
    type Err = UnknownRoute;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Any, Self::ReplicaOnly]
            .into_iter()
            .find(|route| route.to_string() == text)
            .ok_or(UnknownRoute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::fixture::privileges;
    use crate::grant::privilege::parse_list;
    use crate::sql::Engine;

    #[test]
    fn routes_are_written_and_read_back() {
        for (route, word) in [(Route::Any, "any"), (Route::ReplicaOnly, "replica-only")] {
            assert_eq!((route.to_string(), word.parse()), (word.to_owned(), Ok(route)));
            assert_eq!(serde_json::to_string(&route).unwrap(), format!("\"{word}\""));
        }
        for wrong in ["", "primary", "Any", "replica"] {
            assert_eq!(wrong.parse::<Route>(), Err(UnknownRoute), "{wrong}");
        }
    }

    #[test]
    fn what_only_reads_can_be_bound_to_replicas() {
        for text in [
            "READ ON DATABASE",
            "SELECT (a, b) ON s.t; READ ON SEQUENCE s.q",
            "EXECUTE ON FUNCTION s.f(integer); EXECUTE ON SCHEMA s",
            "USAGE ON SCHEMA s",
            "SELECT, BYPASS ROW SECURITY ON s.t",
        ] {
            assert_eq!(only_read(&privileges(text)), Ok(()), "{text}");
        }
        let mysql = parse_list("SELECT, SHOW VIEW ON crm.v", Engine::Mysql, "shop").unwrap();
        assert_eq!(only_read(&mysql), Ok(()));
    }

    #[test]
    fn what_does_more_than_read_cannot() {
        for (text, word) in [
            ("WRITE ON s.t", "WRITE"),
            ("ADMIN ON SCHEMA s", "ADMIN"),
            ("SELECT ON s.t; SELECT, UPDATE (a) ON s.u", "UPDATE"),
            ("INSERT ON s.t", "INSERT"),
            ("DELETE ON s.t", "DELETE"),
            ("TRUNCATE ON s.t", "TRUNCATE"),
            ("REFERENCES ON s.t", "REFERENCES"),
            ("TRIGGER ON s.t", "TRIGGER"),
            ("MAINTAIN ON s.t", "MAINTAIN"),
            ("CREATE ON SCHEMA s", "CREATE"),
            ("USAGE ON SEQUENCE s.q", "USAGE"),
        ] {
            let refused = Err(GrantError::MoreThanReads(word));
            assert_eq!(only_read(&privileges(text)), refused, "{text}");
            assert_eq!(Route::ReplicaOnly.check(&privileges(text)), refused, "{text}");
            assert_eq!(Route::Any.check(&privileges(text)), Ok(()), "{text}");
        }
        for word in ["LOCK TABLES", "CREATE TEMPORARY TABLES", "EVENT", "FILE", "PROCESS", "RELOAD"]
        {
            let text = format!("{word} ON DATABASE");
            let privileges = parse_list(&text, Engine::Mysql, "shop").unwrap();
            assert_eq!(only_read(&privileges), Err(GrantError::MoreThanReads(word)));
        }
        assert_eq!(
            GrantError::MoreThanReads("UPDATE").to_string(),
            "a grant that is bound to replicas only reads: it may hold READ, SELECT, SHOW VIEW, EXECUTE, USAGE \
             of schemas and BYPASS ROW SECURITY, not UPDATE"
        );
    }
}
