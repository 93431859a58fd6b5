//! What people's own roles have done at the server past the proxy, as far as the server says.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::control::error::ControlError;
use crate::control::model::{RoleSeen, StatementsSeen};
use crate::grant::Actor;
use crate::session::relay::Entry;
use crate::sql::access::Access;
use crate::sql::catalog::Catalog;
use crate::sql::postgres::{ParseLimits, Scope, analyse};
use crate::upstream::roles::check::{self, Seen, Statements};

use super::databases::unasked;
use super::{Service, catalog, operators_only, with_deep_stack};

impl Service {
    /// What people's own roles have used in a database, by the texts that `pg_stat_statements` has of them.
    ///
    /// # Errors
    /// As [`Service::check_database`].
    pub async fn statements(
        &self,
        actor: &Actor,
        name: &str,
        database: Option<&Entry>,
    ) -> Result<StatementsSeen, ControlError> {
        operators_only(actor, "look at a database's roles")?;
        let database = self.postgres(name, database)?;
        let found = check::statements(&database.primary).await.map_err(unasked)?;
        let (since, roles) = match found {
            Statements::Lacking(why) => {
                return Ok(StatementsSeen { lacking: Some(why), ..StatementsSeen::default() });
            }
            Statements::Read { since, roles } => (since, roles),
        };
        // Whatever the proxy's sessions are, these roles were held to their own privileges.
        let catalog = Arc::new(catalog(&database.catalogs).await?.for_own_roles());
        let limits = self.rules.load().parse_limits;
        let work = move || roles.iter().map(|seen| understand(seen, &catalog, &limits)).collect();
        let roles = with_deep_stack("statements", work).await?;
        Ok(StatementsSeen { lacking: None, since, roles })
    }
}

/// What the statements of a role need. Names mean what they mean now, right after a login.
fn understand(seen: &Seen, catalog: &Catalog, limits: &ParseLimits) -> RoleSeen {
    let scope = Scope { catalog, path: &seen.path, parameters: &[] };
    let (mut not_understood, mut accesses) = (0, BTreeSet::new());
    for text in &seen.texts {
        let Ok(analysis) = analyse(text, &scope, limits) else {
            not_understood += 1;
            continue;
        };
        let statements = &analysis.statements;
        if statements.iter().any(|statement| !statement.deferred.is_empty()) {
            not_understood += 1;
        }
        let needed = statements.iter().flat_map(|statement| &statement.accesses);
        let needed = needed.filter(|access| !matches!(access, Access::Metadata));
        accesses.extend(needed.map(ToString::to_string));
    }
    RoleSeen {
        role: seen.role.clone(),
        statements: seen.texts.len() + seen.unreadable,
        unreadable: seen.unreadable,
        not_understood,
        accesses: accesses.into_iter().collect(),
    }
}
