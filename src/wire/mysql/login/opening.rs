//! Until a client has said who it is, and whether it may say so in clear.

use bytes::BytesMut;

use super::proof::{self, Wish};
use super::{
    Channel, LoggedIn, LoginEnv, Plugin, Shared, State, TlsPolicy, Turn, Who, bad_handshake, take,
};
use crate::identity::PrincipalName;
use crate::identity::token::Token;
use crate::wire::mysql::auth;
use crate::wire::mysql::capability::Capabilities;
use crate::wire::mysql::handshake::{Answer, ChangeUser, LoginRequest};
use crate::wire::mysql::packet;
use crate::wire::mysql::report::Report;

/// For what comes in clear where encryption was asked for.
pub(super) const UNENCRYPTED: &str = "received unencrypted data after a request for encryption";

pub(super) fn advance(
    shared: &mut Shared,
    input: &mut BytesMut,
    out: &mut Vec<u8>,
    env: &LoginEnv<'_>,
) -> Turn {
    let nobody = Who::default();
    let message = match take(shared, input, shared.config.limits.startup_bytes_max) {
        Ok(None) => return Turn::Wait(State::Opening),
        Ok(Some(message)) => message,
        Err(violation) => return nobody.refuse(shared, out, &bad_handshake(violation)),
    };
    let payload = packet::payload(&message);
    match Answer::read(&payload) {
        Err(violation) => nobody.refuse(shared, out, &bad_handshake(violation)),
        Ok(Answer::Tls(_)) if shared.tls || shared.config.tls == TlsPolicy::None => {
            nobody.refuse(shared, out, &bad_handshake("TLS is not offered"))
        }
        // The shell reads no further than the wish; what is here came in clear all the same.
        Ok(Answer::Tls(_)) if !input.is_empty() => {
            nobody.refuse(shared, out, &bad_handshake(UNENCRYPTED))
        }
        Ok(Answer::Tls(_)) => Turn::Handshake,
        Ok(Answer::Login(request)) => start(shared, &request, out, env),
    }
}

fn start(
    shared: &mut Shared,
    request: &LoginRequest<'_>,
    out: &mut Vec<u8>,
    env: &LoginEnv<'_>,
) -> Turn {
    let who = who(request.user, request.schema);
    // Before anything is asked that a client could answer with a secret.
    if !shared.tls && shared.config.channel == Channel::Network {
        let message = "Connections using insecure transport are prohibited";
        let report = Report::new(3159, "HY000", message).hint("Use --ssl-mode=REQUIRED, or --ssl");
        return who.refuse(shared, out, &report);
    }
    if !request.capabilities.has(Capabilities::NEEDED) {
        return who.refuse(shared, out, &old_client());
    }
    let attributes = owned(&request.attributes);
    let wish = match wish(request.user, request.schema, attributes) {
        Ok(wish) => wish,
        Err(report) => return who.refuse(shared, out, &report),
    };
    let wish = Wish {
        capabilities: request.capabilities & shared.offered,
        packet_max: request.packet_max,
        collation: u16::from(request.collation),
        ..wish
    };
    let plugin = if request.capabilities.has(Capabilities::PLUGIN_AUTH) {
        request.plugin
    } else {
        Some(auth::NATIVE)
    };
    let native = plugin == Some(auth::NATIVE) && shared.config.native_allowed;
    let wanted = if native { Plugin::Native } else { Plugin::CachingSha2 };
    if plugin == Some(wanted.name()) && proof::fits(wanted, request.proof) {
        return proof::judge(wish, wanted, request.proof, shared, out, env);
    }
    if !request.capabilities.has(Capabilities::PLUGIN_AUTH) {
        return who.refuse(shared, out, &old_client());
    }
    proof::ask(wish, wanted, shared, out)
}

/// Asks whoever a session is to become for a proof.
pub(super) fn change(
    shared: &mut Shared,
    before: &LoggedIn,
    request: &ChangeUser<'_>,
    out: &mut Vec<u8>,
) -> Turn {
    let who = who(request.user, request.schema);
    if !before.capabilities.has(Capabilities::PLUGIN_AUTH) {
        return who.refuse(shared, out, &old_client());
    }
    let attributes = if request.attributes.is_empty() {
        before.attributes.clone()
    } else {
        owned(&request.attributes)
    };
    let wish = match wish(request.user, request.schema, attributes) {
        Ok(wish) => wish,
        Err(report) => return who.refuse(shared, out, &report),
    };
    let wish = Wish {
        capabilities: before.capabilities,
        packet_max: before.packet_max,
        collation: request.collation.unwrap_or(before.collation),
        ..wish
    };
    let plugin = match before.plugin {
        Plugin::Native if shared.config.native_allowed => Plugin::Native,
        Plugin::Native | Plugin::CachingSha2 => Plugin::CachingSha2,
    };
    proof::ask(wish, plugin, shared, out)
}

fn owned(attributes: &[(&str, &str)]) -> Vec<(String, String)> {
    attributes.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Whoever pastes a token into the wrong field is not to find it in a log.
fn who(user: &str, schema: Option<&str>) -> Who {
    let shown = |name: &str| Some(name.to_owned()).filter(|name| !Token::stands_in(name));
    Who { principal: shown(user), schema: schema.and_then(shown) }
}

fn wish(
    user: &str,
    schema: Option<&str>,
    attributes: Vec<(String, String)>,
) -> Result<Wish, Report> {
    if Token::stands_in(user) || schema.is_some_and(Token::stands_in) {
        let report = Report::new(1045, "28000", "a token stands where a name should");
        return Err(report.hint("Give the token as the password"));
    }
    let principal = PrincipalName::new(user).map_err(|invalid| {
        Report::new(1045, "28000", "invalid user name").detail(invalid.to_string())
    })?;
    Ok(Wish {
        principal,
        schema: schema.map(str::to_owned),
        attributes,
        capabilities: Capabilities::NONE,
        packet_max: 0,
        collation: 0,
    })
}

/// ER_NOT_SUPPORTED_AUTH_MODE.
fn old_client() -> Report {
    let message = "Client does not support authentication protocol requested by server";
    Report::new(1251, "08004", message).hint("It needs caching_sha2_password")
}
