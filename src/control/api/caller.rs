//! Who calls: the user at the other end of the socket, or the principal of the token that it brings.

use std::fs;

use axum::extract::connect_info::Connected;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

use crate::control::error::{Blame, ControlError};
use crate::control::service::Service;
use crate::grant::Actor;
use crate::identity::token::Token;

/// The process at the other end, as the kernel knows it (unix(7), SO_PEERCRED).
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|peer| peer.uid()))
    }
}

/// Who that is.
///
/// # Errors
/// When a token was brought that does not log in.
pub(super) fn actor(
    service: &Service,
    peer: Peer,
    headers: &HeaderMap,
) -> Result<Actor, ControlError> {
    let refused = |message: String| {
        ControlError::new(Blame::Unauthenticated, message)
            .hint("An operator issues another: daypass token issue --user USER")
    };
    let Some(value) = headers.get(AUTHORIZATION) else {
        let Some(user) = peer.0 else {
            return Err(refused("the kernel does not say who calls".into()));
        };
        return Ok(Actor::Operator(user_name(user).into()));
    };
    let token = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
    let token = token.and_then(|token| Token::parse(token.trim()).ok());
    let snapshot = service.store().snapshot();
    let Some(verifier) = token.and_then(|token| snapshot.tokens.find(&token)) else {
        return Err(refused("DAYPASS_TOKEN is no token of this proxy".into()));
    };
    if let Some(revoked) = verifier.revoked {
        return Err(refused(format!("token {} was revoked at {revoked}", verifier.id)));
    }
    if !verifier.is_live(service.now()) {
        return Err(refused(format!("token {} expired at {}", verifier.id, verifier.expires)));
    }
    Ok(Actor::Principal(verifier.principal.clone()))
}

/// The name of a user of the system, or its number where it has none.
fn user_name(uid: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, id) = (fields.next()?, fields.next()?, fields.next()?);
        (id.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("uid-{uid}"))
}
