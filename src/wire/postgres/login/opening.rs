//! Until the start-up message: what is asked for before it, and whether it may be spoken in clear.

use bytes::{Buf, BytesMut};

use super::{LoginConfig, State, Step, TlsInfo, TlsPolicy, Turn, Who, sasl};
use crate::identity::PrincipalName;
use crate::identity::token::Token;
use crate::wire::postgres::reply::Report;
use crate::wire::postgres::startup::parameters::Wanted;
use crate::wire::postgres::startup::{
    self, Malformed, Packet, Startup, negotiate_protocol_version,
};

/// For what comes in clear where encryption was asked for.
pub(super) const UNENCRYPTED: &str = "received unencrypted data after a request for encryption";

/// A client that has not said who it is.
#[derive(Default)]
pub(super) struct Opening {
    /// TLS was asked for and declined, or is there.
    tls_settled: bool,
    /// Likewise GSSAPI.
    gss_settled: bool,
    tls: Option<TlsInfo>,
}

impl Opening {
    /// A client inside TLS, where neither TLS nor GSSAPI may be asked for any more.
    pub(super) fn within(tls: TlsInfo) -> Self {
        Self { tls_settled: true, gss_settled: true, tls: Some(tls) }
    }

    /// Whether nothing was asked for yet.
    pub(super) fn is_untouched(&self) -> bool {
        !self.tls_settled && !self.gss_settled
    }

    pub(super) fn advance(
        mut self,
        config: &LoginConfig,
        input: &mut BytesMut,
        out: &mut Vec<u8>,
    ) -> Turn {
        let nobody = Who::default();
        let violation =
            |out: &mut Vec<u8>, what: &str| nobody.refuse(out, &Report::fatal("08P01", what));
        let (packet, taken) = match startup::read(input, config.limits.startup_bytes_max) {
            Ok(None) => return Turn::Wait(State::Opening(self)),
            Ok(Some(read)) => read,
            // Nothing that we could write would be read as other than a broken handshake.
            Err(malformed @ Malformed::TlsHandshake) => {
                let refused = nobody.refused("08P01", malformed.to_string());
                return Turn::End(Step::Refused(Box::new(refused)));
            }
            Err(malformed) => return violation(out, &malformed.to_string()),
        };
        input.advance(taken);
        match packet {
            Packet::Tls if self.tls_settled => violation(out, "unexpected SSLRequest"),
            Packet::Gss if self.gss_settled => violation(out, "unexpected GSSENCRequest"),
            // A client waits for the answer. What came before it would be taken for said inside TLS,
            // whoever said it (CVE-2021-23214). PostgreSQL refuses it after `N` also.
            Packet::Tls | Packet::Gss if !input.is_empty() => violation(out, UNENCRYPTED),
            Packet::Tls if config.tls == TlsPolicy::Offered => {
                out.push(b'S');
                Turn::Handshake
            }
            Packet::Tls => {
                out.push(b'N');
                self.tls_settled = true;
                Turn::Wait(State::Opening(self))
            }
            Packet::Gss => {
                out.push(b'N');
                self.gss_settled = true;
                Turn::Wait(State::Opening(self))
            }
            Packet::Cancel(key) => Turn::End(Step::Cancel(key)),
            Packet::Startup(startup) => self.start(config, &startup, out),
        }
    }

    fn start(self, config: &LoginConfig, startup: &Startup, out: &mut Vec<u8>) -> Turn {
        // Whoever pastes a token into the wrong field is not to find it in a log.
        let named = |name| {
            startup.parameter(name).filter(|value| !Token::stands_in(value)).map(str::to_owned)
        };
        let who = Who { principal: named("user"), database: named("database") };
        let Some(version) = startup.version.spoken() else {
            return who.refuse(out, &startup::unsupported(startup.version));
        };
        // Before anything is asked that a client could answer with a secret.
        if self.tls.is_none() && !config.plaintext_allowed {
            let report = Report::fatal("28000", "connection is insecure (try sslmode=require)");
            return who.refuse(out, &report);
        }
        if ["user", "database"]
            .iter()
            .any(|name| startup.parameter(name).is_some_and(Token::stands_in))
        {
            let report = Report::fatal("28000", "a token stands where a name should");
            return who.refuse(out, &report.hint("Give the token as the password."));
        }
        let wanted = match Wanted::read(startup) {
            Ok(wanted) => wanted,
            Err(report) => return who.refuse(out, &report),
        };
        let principal = match PrincipalName::new(&wanted.user) {
            Ok(principal) => principal,
            Err(invalid) => {
                let report = Report::fatal("28000", "invalid user name");
                return who.refuse(out, &report.detail(invalid.to_string()));
            }
        };
        if version != startup.version || !wanted.unknown_options.is_empty() {
            negotiate_protocol_version(out, version, &wanted.unknown_options);
        }
        let channel_binding = self.tls.and_then(|tls| tls.channel_binding);
        Turn::Next(State::First(sasl::First::ask(
            principal,
            wanted,
            version.minor(),
            channel_binding,
            out,
        )))
    }
}
