//! Paths, bodies and errors. Every handler is an operation of the service and nothing else.

use std::sync::Arc;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::control::error::{Blame, ControlError};
use crate::control::model::{
    AuditPlace, CreateGrant, CreateRequest, DenyRequest, ErrorBody, ErrorDetail, Explain,
    IssueToken, IssuedToken, List, ListQuery, RevokeGrant,
};
use crate::control::service::Service;
use crate::grant::Actor;

use super::ApiExtra;
use super::caller::{self, Peer};

/// A body's length at most, bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

#[derive(Clone)]
struct Api {
    service: Arc<Service>,
    extra: ApiExtra,
}

type Reply = Result<Response, ControlError>;
type Who = Extension<Actor>;

pub(super) fn routes(service: Arc<Service>, extra: ApiExtra) -> Router {
    let api = Api { service, extra };
    let authenticated = Router::new()
        .route("/v1/tokens", get(tokens).post(issue_token))
        .route("/v1/tokens/{id}/revoke", post(revoke_token))
        .route("/v1/grants", get(grants).post(create_grant))
        .route("/v1/grants/{id}", get(grant))
        .route("/v1/grants/{id}/revoke", post(revoke_grant))
        .route("/v1/requests", get(requests).post(create_request))
        .route("/v1/requests/{id}", get(request))
        .route("/v1/requests/{id}/approve", post(approve))
        .route("/v1/requests/{id}/deny", post(deny))
        .route("/v1/requests/{id}/cancel", post(cancel))
        .route("/v1/explain", post(explain))
        .route("/v1/sessions", get(sessions))
        .route("/v1/sessions/{id}/kill", post(kill))
        .route("/v1/audit", get(audit))
        .route("/v1/databases/{name}/check", get(check_database))
        .route("/v1/databases/{name}/standing", get(standing))
        .route("/v1/databases/{name}/statements", get(statements))
        .route_layer(middleware::from_fn_with_state(api.clone(), authenticate))
        .layer(middleware::map_response(in_own_form));
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .merge(authenticated)
        .fallback(|| async { ControlError::not_found("there is nothing at this path") })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
}

async fn authenticate(
    State(api): State<Api>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Reply {
    let actor = caller::actor(&api.service, peer, request.headers())?;
    request.extensions_mut().insert(actor);
    Ok(next.run(request).await)
}

/// The framework's own refusals (a body too long, a query that is none, a method that a path has not)
/// in the form of all others.
async fn in_own_form(response: Response) -> Response {
    const WORDS_BYTES: usize = 4096;
    let status = response.status();
    let json = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let words = to_bytes(response.into_body(), WORDS_BYTES).await.unwrap_or_default();
    let words = String::from_utf8_lossy(&words);
    let message = match words.trim() {
        "" => status.canonical_reason().unwrap_or("refused"),
        words => words,
    };
    let code = Blame::Invalid.code().to_owned();
    let error = ErrorDetail { code, message: message.to_owned(), hint: None };
    (status, Json(ErrorBody { error })).into_response()
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.blame.status());
        let code = self.blame.code().to_owned();
        let error = ErrorDetail { code, message: self.message, hint: self.hint };
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(ErrorBody { error })).into_response()
    }
}

fn reply(value: impl Serialize) -> Reply {
    Ok(Json(value).into_response())
}

/// Reads a body; what is wrong with it is said in the API's own form.
fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, ControlError> {
    serde_json::from_slice(bytes).map_err(|error| ControlError::invalid(format!("body: {error}")))
}

/// Reads a body that may be left out.
fn body_or_default<T: DeserializeOwned + Default>(bytes: &Bytes) -> Result<T, ControlError> {
    match bytes.trim_ascii() {
        b"" | b"null" => Ok(T::default()),
        _ => body(bytes),
    }
}

async fn ready(State(api): State<Api>) -> Response {
    match (api.extra.ready)() {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why + "\n").into_response(),
    }
}

async fn issue_token(State(api): State<Api>, Extension(actor): Who, bytes: Bytes) -> Reply {
    let wish: IssueToken = body(&bytes)?;
    let (token, info) = api.service.issue_token(&actor, wish).await?;
    let token = String::from_utf8_lossy(token.expose()).into_owned();
    reply(IssuedToken { token, info })
}

async fn tokens(State(api): State<Api>, Extension(actor): Who, query: Query<ListQuery>) -> Reply {
    reply(List { items: api.service.tokens(&actor, query.all).await? })
}

async fn revoke_token(
    State(api): State<Api>,
    Extension(actor): Who,
    Path(id): Path<String>,
) -> Reply {
    reply(api.service.revoke_token(&actor, &id).await?)
}

async fn create_grant(State(api): State<Api>, Extension(actor): Who, bytes: Bytes) -> Reply {
    let wish: CreateGrant = body(&bytes)?;
    reply(api.service.create_grant(&actor, wish).await?)
}

async fn grants(State(api): State<Api>, Extension(actor): Who, query: Query<ListQuery>) -> Reply {
    reply(List { items: api.service.grants(&actor, query.all).await? })
}

async fn grant(State(api): State<Api>, Extension(actor): Who, Path(id): Path<String>) -> Reply {
    reply(api.service.grant(&actor, &id).await?)
}

async fn revoke_grant(
    State(api): State<Api>,
    Extension(actor): Who,
    Path(id): Path<String>,
    bytes: Bytes,
) -> Reply {
    let wish: RevokeGrant = body_or_default(&bytes)?;
    reply(api.service.revoke_grant(&actor, &id, wish.reason).await?)
}

async fn create_request(State(api): State<Api>, Extension(actor): Who, bytes: Bytes) -> Reply {
    let wish: CreateRequest = body(&bytes)?;
    reply(api.service.create_request(&actor, wish).await?)
}

async fn requests(State(api): State<Api>, Extension(actor): Who, query: Query<ListQuery>) -> Reply {
    reply(List { items: api.service.requests(&actor, query.all).await? })
}

async fn request(State(api): State<Api>, Extension(actor): Who, Path(id): Path<String>) -> Reply {
    reply(api.service.request(&actor, &id).await?)
}

async fn approve(State(api): State<Api>, Extension(actor): Who, Path(id): Path<String>) -> Reply {
    reply(api.service.approve(&actor, &id).await?)
}

async fn deny(
    State(api): State<Api>,
    Extension(actor): Who,
    Path(id): Path<String>,
    bytes: Bytes,
) -> Reply {
    let wish: DenyRequest = body(&bytes)?;
    reply(api.service.deny(&actor, &id, wish.reason).await?)
}

async fn cancel(State(api): State<Api>, Extension(actor): Who, Path(id): Path<String>) -> Reply {
    reply(api.service.cancel_request(&actor, &id).await?)
}

async fn explain(State(api): State<Api>, Extension(actor): Who, bytes: Bytes) -> Reply {
    let wish: Explain = body(&bytes)?;
    let database = (api.extra.database)(&wish.database);
    reply(List { items: api.service.explain(&actor, wish, database.as_ref()).await? })
}

async fn sessions(State(api): State<Api>, Extension(actor): Who) -> Reply {
    reply(List { items: api.service.sessions(&actor) })
}

async fn kill(State(api): State<Api>, Extension(actor): Who, Path(id): Path<String>) -> Reply {
    reply(api.service.kill_session(&actor, &id)?)
}

async fn check_database(
    State(api): State<Api>,
    Extension(actor): Who,
    Path(name): Path<String>,
) -> Reply {
    let database = (api.extra.database)(&name);
    reply(List { items: api.service.check_database(&actor, &name, database.as_ref()).await? })
}

async fn standing(
    State(api): State<Api>,
    Extension(actor): Who,
    Path(name): Path<String>,
) -> Reply {
    let database = (api.extra.database)(&name);
    reply(List { items: api.service.standing(&actor, &name, database.as_ref()).await? })
}

async fn statements(
    State(api): State<Api>,
    Extension(actor): Who,
    Path(name): Path<String>,
) -> Reply {
    let database = (api.extra.database)(&name);
    reply(api.service.statements(&actor, &name, database.as_ref()).await?)
}

async fn audit(State(api): State<Api>, Extension(_): Who) -> Reply {
    let file = api.extra.audit_file.as_deref().map(std::path::absolute);
    let file = file.and_then(Result::ok).map(|file| file.display().to_string());
    reply(AuditPlace { file })
}
