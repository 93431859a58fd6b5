//! What a statement would need, and of it what somebody's grants allow.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::audit::record::{Kind, Needs, Verdict, Who};
use crate::audit::rendered::Rendered;
use crate::control::error::ControlError;
use crate::control::model::{Explain, ExplainedAccess};
use crate::grant::Actor;
use crate::grant::snapshot::HeldGrants;
use crate::identity::PrincipalName;
use crate::session::explain::explain;
use crate::session::relay::mysql::Mysql;
use crate::session::relay::postgres::Postgres;
use crate::session::relay::{Database, Entry};
use crate::sql::catalog::RunsAs;
use crate::sql::mysql;
use crate::sql::name::Quoted;
use crate::sql::postgres::{Scope, analyse};
use crate::sql::statement::{Analysis, NotUnderstood};
use crate::upstream::{Searcher, path_at_login, split_path};

use super::{Service, catalog, principal_name, with_deep_stack};

/// How long what a grant allows may take to reach the server: which schemas may be used hangs on it.
const PATIENCE: Duration = Duration::from_secs(5);

impl Service {
    /// Explains statements: an operator for everybody, a principal for itself. Nothing runs.
    ///
    /// # Errors
    /// When the actor may not, the database is unknown or its names are, or the text is not understood.
    pub async fn explain(
        &self,
        actor: &Actor,
        wish: Explain,
        database: Option<&Entry>,
    ) -> Result<Vec<ExplainedAccess>, ControlError> {
        let principal = principal_name(&wish.principal)?;
        if let Actor::Principal(name) = actor
            && *name != principal
        {
            return Err(ControlError::not_allowed(
                "only an operator may ask what somebody else may do",
            ));
        }
        let database = self.known(&wish.database, database)?;
        self.recordable()?;
        let held = self.store().snapshot().grants.held(&principal, &wish.database);
        let analysis = match database {
            Entry::Postgres(database) => {
                self.read_postgres(database, (&principal, &held), &wish).await?
            }
            Entry::Mysql(database) => self.read_mysql(database, &wish).await?,
        };
        let now = self.now();
        let statements = analysis.statements.iter().enumerate();
        let lines: Vec<ExplainedAccess> = statements
            .flat_map(|(n, statement)| explain((n + 1, statement), &[], &held, now))
            .map(ExplainedAccess::from)
            .collect();
        let allowed = lines.iter().all(|line| line.allowed);
        self.record(Kind::Explain, "asked", Some(actor), |record| {
            record.concern(Who {
                principal: Some(principal.as_str().into()),
                database: Some(wish.database.as_str().into()),
                ..Who::default()
            });
            // Not the text: it did not run, and may hold what the settings have redacted elsewhere.
            let accesses = lines.iter().filter_map(|line| line.access.as_deref()).map(Box::from);
            let needs = Needs { relations: Vec::new(), accesses: accesses.collect() };
            record.needs = Some(Arc::new(Rendered::new(needs)));
            record.missing =
                lines.iter().filter_map(|line| line.missing.as_deref()).map(Box::from).collect();
            record.decision = Some(if allowed { Verdict::Allow } else { Verdict::Deny });
        });
        Ok(lines)
    }

    async fn read_postgres(
        &self,
        database: &Database<Postgres>,
        caller: (&PrincipalName, &HeldGrants),
        wish: &Explain,
    ) -> Result<Analysis, ControlError> {
        let wished = wish.search_path.as_deref().map(read_wish).transpose()?;
        let path = self.path(database, caller, wished).await?;
        let catalog = catalog(&database.catalogs).await?;
        let catalog = match self.served(&wish.database)?.runs_as {
            RunsAs::Other => catalog,
            RunsAs::OwnRole => Arc::new(catalog.for_own_roles()),
        };
        let limits = self.rules.load().parse_limits;
        let (text, searched) = (wish.sql.clone(), Arc::clone(&path));
        let work = move || {
            let scope = Scope { catalog: &catalog, path: &searched, parameters: &[] };
            analyse(&text, &scope, &limits)
        };
        let analysis = with_deep_stack("explain", work).await?;
        analysis.map_err(|why| {
            let schemas = || path.iter().map(|schema| Quoted(schema).to_string()).collect();
            not_understood(why, schemas)
        })
    }

    /// `search_path` is the default database here: the one place where names without one are looked up.
    async fn read_mysql(
        &self,
        database: &Database<Mysql>,
        wish: &Explain,
    ) -> Result<Analysis, ControlError> {
        let catalog = catalog(&database.catalogs).await?;
        let catalog = match self.served(&wish.database)?.runs_as {
            RunsAs::Other => catalog,
            RunsAs::OwnRole => Arc::new(catalog.for_own_accounts()),
        };
        let unread = || ControlError::unavailable("the database's settings cannot be read now");
        let facts = database.catalogs.facts().ok_or_else(unread)?;
        let begins_in = wish.search_path.as_deref().or(database.primary.schema.as_deref());
        let settings = facts.settings(begins_in);
        let limits = self.rules.load().parse_limits;
        let (text, known) = (wish.sql.clone(), settings.clone());
        let work = move || {
            let temporary = HashSet::new();
            let scope = mysql::Scope { catalog: &catalog, settings: &known, temporary: &temporary };
            mysql::analyse(text.as_bytes(), &scope, &limits)
        };
        let analysis = with_deep_stack("explain", work).await?;
        analysis.map_err(|why| {
            not_understood(why, || {
                settings.default_database.iter().map(ToString::to_string).collect()
            })
        })
    }

    /// The search path of a session that the principal would open.
    async fn path(
        &self,
        database: &Database<Postgres>,
        (principal, held): (&PrincipalName, &HeldGrants),
        wished: Option<Vec<Box<str>>>,
    ) -> Result<Arc<[Box<str>]>, ControlError> {
        let role = match &database.lock {
            None => None,
            Some(lock) => {
                // Past its time, what the server would say now counts.
                drop(timeout(PATIENCE, lock.settled(held, self.now())).await);
                Some(lock.role(principal))
            }
        };
        let searcher = role.as_deref().map_or(Searcher::Service, Searcher::Role);
        let path = path_at_login(&database.primary, searcher, wished).await.map_err(|error| {
            // The server's words are the operator's.
            tracing::warn!(%error, "a search path could not be asked for");
            ControlError::unavailable("the database cannot be asked for its search path now")
        })?;
        Ok(path.into())
    }
}

fn read_wish(value: &str) -> Result<Vec<Box<str>>, ControlError> {
    split_path(value).ok_or_else(|| {
        let sentence =
            format!("the search path is not a list of schemas: \"{}\"", value.escape_debug());
        ControlError::invalid(sentence).hint("For example: sales, public")
    })
}

/// `places` is where names without one were looked for.
fn not_understood(why: NotUnderstood, places: impl FnOnce() -> Vec<String>) -> ControlError {
    let hint = match &why {
        NotUnderstood::Unsupported { hint, .. } => hint.clone(),
        NotUnderstood::Undefined { .. } => {
            Some(format!("Names without a schema were looked for in: {}", places().join(", ")))
        }
        NotUnderstood::Syntax { .. } | NotUnderstood::TooComplex { .. } => None,
    };
    let error = ControlError::invalid(format!("the statement would be refused: {why}"));
    hint.into_iter().fold(error, |error, hint| error.hint(hint))
}
