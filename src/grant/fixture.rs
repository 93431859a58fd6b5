//! Values for tests.

use super::privilege::{Privilege, parse_list};
use super::{Grant, GrantId, GrantLimits, Route};
use crate::identity::PrincipalName;
use crate::sql::Engine;
use crate::time::Timestamp;

/// That many seconds after the epoch.
pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

/// Privileges on the database `shop`, separated by `;`.
pub(crate) fn privileges(text: &str) -> Vec<Privilege> {
    parse_list(text, Engine::Postgres, "shop").unwrap()
}

/// A grant of alice on the database `shop`, between two seconds.
pub(crate) fn grant(id: &str, text: &str, not_before: u64, expires: u64) -> Grant {
    Grant {
        id: GrantId(id.into()),
        principal: PrincipalName::new("alice").unwrap(),
        database: "shop".into(),
        privileges: privileges(text),
        not_before: at(not_before),
        expires: at(expires),
        reason: "INC-42".into(),
        ticket: None,
        approvers: vec!["local:root".into()],
        request: None,
        limits: GrantLimits::default(),
        row_filter: None,
        route: Route::Any,
        created: at(not_before),
        revoked: None,
    }
}
