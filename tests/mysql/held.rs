//! What somebody holds, for tests without a store.

use std::sync::Arc;
use std::time::Duration;

use daypass::grant::privilege::parse_list;
use daypass::grant::snapshot::HeldGrants;
use daypass::grant::{Grant, GrantId, GrantLimits, Route};
use daypass::identity::PrincipalName;
use daypass::sql::Engine;
use daypass::time::Timestamp;

/// When those tests are.
pub const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

/// One grant, for the hour that begins then.
pub fn granted(text: &str) -> HeldGrants {
    HeldGrants::new([Arc::new(Grant {
        id: GrantId("g_1".into()),
        principal: PrincipalName::new("alice").unwrap(),
        database: "shop".into(),
        privileges: parse_list(text, Engine::Mysql, "shop").unwrap(),
        not_before: NOW,
        expires: NOW + Duration::from_hours(1),
        reason: "INC-42".into(),
        ticket: None,
        approvers: vec!["local:root".into()],
        request: None,
        limits: GrantLimits::default(),
        row_filter: None,
        route: Route::Any,
        created: NOW,
        revoked: None,
    })])
}
