//! What operators ask about databases themselves.

use crate::control::error::ControlError;
use crate::control::model::{Finding, Standing, Weight};
use crate::grant::Actor;
use crate::session::relay::postgres::Postgres;
use crate::session::relay::{Database, Entry};
use crate::upstream::mysql::accounts::check as accounts;
use crate::upstream::roles::{Lock, check};
use crate::upstream::{UpstreamError, lock};

use super::{Service, operators_only};

/// From where sessions of MySQL come when nothing is said of it.
const ANYWHERE: &str = "%";

impl Service {
    /// What the service account lacks in a database, and what everybody may do there.
    ///
    /// # Errors
    /// When the actor is no operator, or the server cannot be asked.
    pub async fn check_database(
        &self,
        actor: &Actor,
        name: &str,
        database: Option<&Entry>,
    ) -> Result<Vec<Finding>, ControlError> {
        operators_only(actor, "look at a database's roles")?;
        let (found, lacking) = match self.known(name, database)? {
            Entry::Postgres(database) => {
                let names = database.lock.as_ref().map(Lock::names);
                let owner = database.ddl_owner.as_deref();
                let found = check::check(&database.primary, names, owner).await;
                let progress = database.lock.as_ref().map(Lock::progress);
                (found, progress.map(|progress| progress.borrow().lacking.to_vec()))
            }
            Entry::Mysql(database) => {
                (accounts::check(&database.primary, None, ANYWHERE).await, None)
            }
        };
        let is_alone = lacking.is_none();
        let found = lacking.into_iter().flatten().chain(found.map_err(unasked)?);
        let mut findings: Vec<_> = found.map(Finding::from).collect();
        if is_alone {
            let says = "second-lock = \"none\": the proxy's decision is the only lock".to_owned();
            findings.insert(0, Finding { weight: Weight::Warning, says, mend: None });
        }
        Ok(findings)
    }

    /// What people's own roles may do in a database without a grant.
    ///
    /// # Errors
    /// As [`Service::check_database`].
    pub async fn standing(
        &self,
        actor: &Actor,
        name: &str,
        database: Option<&Entry>,
    ) -> Result<Vec<Standing>, ControlError> {
        operators_only(actor, "look at a database's roles")?;
        let database = self.postgres(name, database)?;
        let found = check::standing(&database.primary).await.map_err(unasked)?;
        Ok(found.into_iter().map(Standing::from).collect())
    }

    /// The database, or the error that names those that there are.
    pub(super) fn known<'a>(
        &self,
        name: &str,
        database: Option<&'a Entry>,
    ) -> Result<&'a Entry, ControlError> {
        self.engine(name)?;
        database.ok_or_else(|| ControlError::unavailable("the configuration is being read again"))
    }

    /// Likewise, where only PostgreSQL can be asked.
    pub(super) fn postgres<'a>(
        &self,
        name: &str,
        database: Option<&'a Entry>,
    ) -> Result<&'a Database<Postgres>, ControlError> {
        match self.known(name, database)? {
            Entry::Postgres(database) => Ok(database),
            Entry::Mysql(_) => {
                let sentence =
                    format!("{name} is a MySQL database: this is asked of PostgreSQL only");
                Err(ControlError::invalid(sentence))
            }
        }
    }
}

/// An operator may read what the server says of the service account.
pub(super) fn unasked(error: UpstreamError) -> ControlError {
    ControlError::unavailable(format!("the database cannot be looked at: {error}"))
}

impl From<lock::Finding> for Finding {
    fn from(found: lock::Finding) -> Self {
        let weight = match found.weight {
            lock::Weight::Error => Weight::Error,
            lock::Weight::Warning => Weight::Warning,
            lock::Weight::Note => Weight::Note,
        };
        Self { weight, says: found.says, mend: found.mend }
    }
}

impl From<check::Standing> for Standing {
    fn from(found: check::Standing) -> Self {
        Self { role: found.role, privilege: found.privilege, through: found.through }
    }
}
