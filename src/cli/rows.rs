//! How each thing of the API is presented.

use serde::Serialize;

use super::output::Present;
use crate::control::model::{
    ExplainedAccess, Finding, GrantInfo, GrantState, OpenSession, RequestInfo, RequestState,
    Standing, TokenInfo, TokenState, Weight,
};
use crate::control::words::moment;
use crate::time::Timestamp;

fn moment_of(time: Option<Timestamp>) -> String {
    time.map(moment).unwrap_or_default()
}

/// The word that the API has for a state.
pub trait Word: Serialize {
    /// The word.
    fn word(&self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(word)) => word,
            _ => String::new(),
        }
    }
}

impl Word for TokenState {}
impl Word for GrantState {}
impl Word for RequestState {}
impl Word for Weight {}

/// Privileges on one line.
pub fn privileges(privileges: &[String]) -> String {
    privileges.join("; ")
}

impl Present for TokenInfo {
    const HEADINGS: &'static [&'static str] =
        &["ID", "PRINCIPAL", "STATE", "EXPIRES", "ISSUED", "BY"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.principal.clone(),
            self.state.word(),
            moment(self.expires),
            moment(self.issued),
            self.issued_by.clone(),
        ]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("id", self.id.clone()),
            ("principal", self.principal.clone()),
            ("state", self.state.word()),
            ("issued", moment(self.issued)),
            ("issued by", self.issued_by.clone()),
            ("expires", moment(self.expires)),
            ("revoked", moment_of(self.revoked)),
        ]
    }
}

impl Present for GrantInfo {
    const HEADINGS: &'static [&'static str] =
        &["ID", "PRINCIPAL", "DATABASE", "STATE", "EXPIRES", "ROUTE", "PRIVILEGES"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.principal.clone(),
            self.database.clone(),
            self.state.word(),
            moment(self.expires),
            self.route.to_string(),
            privileges(&self.privileges),
        ]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("id", self.id.clone()),
            ("principal", self.principal.clone()),
            ("database", self.database.clone()),
            ("state", self.state.word()),
        ];
        fields.extend(self.privileges.iter().map(|text| ("privilege", text.clone())));
        fields.extend([
            ("route", self.route.to_string()),
            ("not before", moment(self.not_before)),
            ("expires", moment(self.expires)),
            ("reason", self.reason.clone()),
            ("ticket", self.ticket.clone().unwrap_or_default()),
            ("approved by", self.approvers.join(", ")),
            ("request", self.request.clone().unwrap_or_default()),
            ("created", moment(self.created)),
        ]);
        if let Some(revoked) = &self.revoked {
            fields.extend([
                ("revoked", moment(revoked.at)),
                ("revoked by", revoked.by.to_string()),
                ("because", revoked.reason.as_deref().unwrap_or_default().to_owned()),
            ]);
        }
        fields
    }
}

impl Present for RequestInfo {
    const HEADINGS: &'static [&'static str] =
        &["ID", "PRINCIPAL", "DATABASE", "STATE", "FOR", "ROUTE", "PRIVILEGES", "REASON"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.principal.clone(),
            self.database.clone(),
            self.state.word(),
            self.duration.clone(),
            self.route.to_string(),
            privileges(&self.privileges),
            self.reason.clone(),
        ]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("id", self.id.clone()),
            ("principal", self.principal.clone()),
            ("requester", self.requester.clone()),
            ("database", self.database.clone()),
            ("state", self.state.word()),
        ];
        fields.extend(self.privileges.iter().map(|text| ("privilege", text.clone())));
        fields.extend([
            ("route", self.route.to_string()),
            ("for", self.duration.clone()),
            ("reason", self.reason.clone()),
            ("ticket", self.ticket.clone().unwrap_or_default()),
            ("created", moment(self.created)),
            ("waits until", moment(self.waits_until)),
            ("decided", moment_of(self.decided)),
            ("decided by", self.decided_by.clone().unwrap_or_default()),
            ("because", self.denial.clone().unwrap_or_default()),
            ("grant", self.grant.clone().unwrap_or_default()),
        ]);
        fields
    }
}

impl Present for ExplainedAccess {
    const HEADINGS: &'static [&'static str] =
        &["STATEMENT", "CLASS", "NEEDS", "DECISION", "MISSING"];

    fn cells(&self) -> Vec<String> {
        let decision = match (self.allowed, self.grants.as_slice()) {
            (false, _) => "not granted".to_owned(),
            (true, []) => "needs no grant".to_owned(),
            (true, grants) => format!("allowed by {}", grants.join(", ")),
        };
        vec![
            format!("{}: {}", self.statement, self.command),
            self.class.clone(),
            self.access.clone().unwrap_or_default(),
            decision,
            self.missing.clone().unwrap_or_default(),
        ]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        Self::HEADINGS.iter().copied().zip(self.cells()).collect()
    }
}

impl Present for OpenSession {
    const HEADINGS: &'static [&'static str] =
        &["ID", "PRINCIPAL", "DATABASE", "ENGINE", "CLIENT", "APPLICATION", "STARTED", "TOKEN"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.principal.clone(),
            self.database.clone(),
            self.engine.to_string(),
            self.client.clone(),
            self.application.clone().unwrap_or_default(),
            moment(self.started),
            self.token.clone(),
        ]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        Self::HEADINGS.iter().copied().zip(self.cells()).collect()
    }
}

impl Present for Finding {
    const HEADINGS: &'static [&'static str] = &["WEIGHT", "FINDING", "SQL"];

    fn cells(&self) -> Vec<String> {
        vec![self.weight.word(), self.says.clone(), self.mend.clone().unwrap_or_default()]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        Self::HEADINGS.iter().copied().zip(self.cells()).collect()
    }
}

impl Present for Standing {
    const HEADINGS: &'static [&'static str] = &["ROLE", "PRIVILEGE", "THROUGH"];

    fn cells(&self) -> Vec<String> {
        let through = self.through.clone().unwrap_or_default();
        vec![self.role.clone(), self.privilege.clone(), through]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        Self::HEADINGS.iter().copied().zip(self.cells()).collect()
    }
}

/// A standing privilege beside what was used of it.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StandingUse {
    /// Which.
    #[serde(flatten)]
    pub standing: Standing,
    /// The part that was used, in the grammar of grants.
    pub used: Option<String>,
    /// When last.
    pub last_used: Option<String>,
    /// The part that `pg_stat_statements` has seen its role use past the proxy.
    pub used_directly: Option<String>,
    /// How its holder would ask for what was used, or else for all of it.
    pub request: Option<String>,
}

impl Present for StandingUse {
    const HEADINGS: &'static [&'static str] =
        &["ROLE", "PRIVILEGE", "THROUGH", "USED", "LAST USED", "USED DIRECTLY"];

    fn cells(&self) -> Vec<String> {
        // Nothing is known of the use of attributes.
        let unused = if self.request.is_some() { "not seen" } else { "" };
        let mut cells = self.standing.cells();
        cells.push(self.used.clone().unwrap_or_else(|| unused.to_owned()));
        cells.push(self.last_used.clone().unwrap_or_default());
        cells.push(self.used_directly.clone().unwrap_or_else(|| unused.to_owned()));
        cells
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        Self::HEADINGS.iter().copied().zip(self.cells()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_words() {
        assert_eq!(RequestState::Pending.word(), "pending");
        assert_eq!(GrantState::Future.word(), "future");
    }
}
