//! What `CALL daypass.…` does, for the principal of the session that it stands in.

use crate::control::error::ControlError;
use crate::control::model::{CreateRequest, GrantInfo};
use crate::control::service::Service;
use crate::control::words::moment;
use crate::grant::{Actor, Route, UnknownRoute};
use crate::session::call::{
    BoundCall, CallError, CallFuture, CallReply, Calls, EXPLAIN, InBandCaller, PROCEDURES,
    Procedure, ROUTE, SESSION,
};

type Rows = Vec<Vec<Option<String>>>;

impl Calls for Service {
    fn call<'a>(&'a self, caller: &'a InBandCaller, call: &'a BoundCall) -> CallFuture<'a> {
        Box::pin(async move {
            let procedure = Procedure::find(&call.name)?;
            procedure.check(call.arguments.len())?;
            let rows = self.rows(caller, procedure, call).await.map_err(call_error)?;
            Ok(CallReply { columns: procedure.columns, rows })
        })
    }
}

impl Service {
    async fn rows(
        &self,
        caller: &InBandCaller,
        procedure: &'static Procedure,
        call: &BoundCall,
    ) -> Result<Rows, ControlError> {
        let actor = Actor::Principal(caller.principal.clone());
        let argument = |n: usize| {
            let value = call.arguments.get(n).cloned().flatten().map(String::from);
            value.filter(|value| !value.trim().is_empty()).ok_or_else(|| {
                let name = procedure.required.get(n).copied().unwrap_or("argument");
                ControlError::invalid(format!("{name} is missing"))
                    .hint(format!("CALL {}", procedure.signature()))
            })
        };
        Ok(match procedure.name {
            "whoami" => vec![self.whoami(caller, &actor)],
            "grants" => {
                let grants = self.grants(&actor, false).await?;
                let here = grants.iter().filter(|grant| *grant.database == *caller.database);
                here.map(grant_row).collect()
            }
            "requests" => self.request_rows(&actor).await?,
            "request" => {
                let wish = CreateRequest {
                    database: caller.database.to_string(),
                    privileges: vec![argument(0)?],
                    duration: argument(1)?,
                    reason: argument(2)?,
                    ticket: argument(3).ok(),
                    route: argument(4).ok().map_or(Ok(Route::Any), |text| {
                        text.parse()
                            .map_err(|error: UnknownRoute| ControlError::invalid(error.to_string()))
                    })?,
                    ..CreateRequest::default()
                };
                let made = self.create_request(&actor, wish).await?;
                let approve = format!("daypass approve {}", made.id);
                vec![some([made.id, word(&made.state), moment(made.waits_until), approve])]
            }
            "approve" => {
                let grant = self.approve(&actor, &argument(0)?).await?;
                let until = moment(grant.expires);
                let privileges = grant.privileges.join("; ");
                vec![some([grant.id, grant.principal, grant.database, privileges, until])]
            }
            "deny" => {
                let request = self.deny(&actor, &argument(0)?, argument(1)?).await?;
                vec![some([request.id, word(&request.state)])]
            }
            "cancel" => {
                let request = self.cancel_request(&actor, &argument(0)?).await?;
                vec![some([request.id, word(&request.state)])]
            }
            SESSION => self.session_row(caller, &actor),
            // The session answers it and does not ask here.
            EXPLAIN | ROUTE => {
                return Err(ControlError::unavailable("only the session knows that"));
            }
            _ => PROCEDURES
                .iter()
                .map(|known| some([known.signature(), known.summary.to_owned()]))
                .collect(),
        })
    }

    fn whoami(&self, caller: &InBandCaller, actor: &Actor) -> Vec<Option<String>> {
        let snapshot = self.store().snapshot();
        let tokens = snapshot.tokens.by_principal.get(&caller.principal);
        let token = tokens.and_then(|all| all.iter().find(|token| token.id == caller.token));
        vec![
            Some(caller.principal.to_string()),
            Some(caller.database.to_string()),
            Some(caller.token.to_string()),
            token.map(|token| moment(token.expires)),
            Some(if self.is_approver(actor) { "yes" } else { "no" }.to_owned()),
        ]
    }

    async fn request_rows(&self, actor: &Actor) -> Result<Rows, ControlError> {
        let requests = self.requests(actor, false).await?;
        let row = |request: crate::control::model::RequestInfo| {
            let privileges = request.privileges.join("; ");
            some([
                request.id,
                request.principal,
                request.database,
                word(&request.state),
                request.duration,
                privileges,
                request.route.to_string(),
                request.reason,
            ])
        };
        Ok(requests.into_iter().map(row).collect())
    }

    fn session_row(&self, caller: &InBandCaller, actor: &Actor) -> Rows {
        let sessions = self.sessions(actor).into_iter();
        sessions
            .filter(|session| *session.id == *caller.session)
            .map(|session| {
                vec![
                    Some(session.id),
                    Some(session.database),
                    Some(session.engine.to_string()),
                    Some(session.client),
                    session.application,
                    Some(moment(session.started)),
                    // The session says these.
                    None,
                    None,
                ]
            })
            .collect()
    }
}

fn grant_row(grant: &GrantInfo) -> Vec<Option<String>> {
    some([
        grant.id.clone(),
        grant.database.clone(),
        grant.privileges.join("; "),
        grant.route.to_string(),
        moment(grant.expires),
        grant.reason.clone(),
    ])
}

fn some<const N: usize>(values: [String; N]) -> Vec<Option<String>> {
    values.into_iter().map(Some).collect()
}

/// The word that the API has for a state.
fn word(state: &impl serde::Serialize) -> String {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn call_error(error: ControlError) -> CallError {
    CallError {
        sqlstate: error.blame.sqlstate(),
        message: error.message,
        detail: None,
        hint: error.hint,
    }
}
