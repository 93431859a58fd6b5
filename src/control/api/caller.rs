//! Who calls: the user at the other end of the socket, or the principal of the token that it brings.

use std::fs;
use std::os::unix::fs::MetadataExt;

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
pub(super) struct Peer {
    /// Its user: root, or the one that the proxy runs as. The socket's file keeps others out, but for
    /// the moment between its making and its change of mode.
    user: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self::of(stream.io().peer_cred().ok().map(|peer| peer.uid()), own_user())
    }
}

impl Peer {
    fn of(user: Option<u32>, own: Option<u32>) -> Self {
        Self { user: user.filter(|user| *user == 0 || Some(*user) == own) }
    }
}

/// The user that the proxy runs as: the owner of its own entry under /proc.
fn own_user() -> Option<u32> {
    fs::metadata("/proc/self").ok().map(|found| found.uid())
}

/// Who that is.
///
/// # Errors
/// When another user calls, or brings a token that does not log in.
pub(super) fn actor(
    service: &Service,
    peer: Peer,
    headers: &HeaderMap,
) -> Result<Actor, ControlError> {
    let refused = |message: String| {
        ControlError::new(Blame::Unauthenticated, message)
            .hint("An operator issues another: daypass token issue --user USER")
    };
    let Some(user) = peer.user else {
        return Err(ControlError::not_allowed("the API is for root and the proxy's own user"));
    };
    let Some(value) = headers.get(AUTHORIZATION) else {
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        return Ok(Actor::Operator(user_name(&users, user).into()));
    };
    let bearer = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
    let Some(bearer) = bearer else {
        return Err(refused("Authorization has to be: Bearer and a token".into()));
    };
    let token = Token::parse(bearer.trim()).map_err(|error| refused(error.to_string()))?;
    service.store().known().map_err(ControlError::unavailable)?;
    let snapshot = service.store().snapshot();
    let Some(verifier) = snapshot.tokens.find(&token) else {
        let sentence = "this proxy did not issue the token, or it ended long ago";
        return Err(refused(sentence.into()));
    };
    if let Some(revoked) = verifier.revoked {
        return Err(refused(format!("token {} was revoked at {revoked}", verifier.id)));
    }
    if !verifier.is_live(service.now()) {
        return Err(refused(format!("token {} expired at {}", verifier.id, verifier.expires)));
    }
    Ok(Actor::Principal(verifier.principal.clone()))
}

/// The name of a user of the system (passwd(5)), or its number where it has none.
fn user_name(users: &str, uid: u32) -> String {
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, id) = (fields.next()?, fields.next()?, fields.next()?);
        (id.parse() == Ok(uid) && !name.is_empty()).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("uid-{uid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_as_the_system_names_them() {
        let users = "root:x:0:0:root:/root:/bin/sh\n\nbroken\n:x:7::\nada:x:1000:1000::/:/bin/sh\n";
        let names = [0, 1000, 7, 1001].map(|uid| user_name(users, uid));
        assert_eq!(names, ["root", "ada", "uid-7", "uid-1001"]);
    }

    #[test]
    fn only_root_and_the_own_user_are_heard() {
        let own = Some(1000);
        let heard = [Some(0), own, Some(1001), None].map(|user| Peer::of(user, own).user);
        assert_eq!(heard, [Some(0), own, None, None]);
        assert_eq!(Peer::of(own, None).user, None);
        assert!(own_user().is_some());
    }
}
