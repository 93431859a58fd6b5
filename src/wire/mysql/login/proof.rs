//! From the login request to the proof: the answer to a challenge or, where nobody can listen in, the
//! token itself.

use bytes::BytesMut;
use subtle::Choice;
use zeroize::Zeroize;

use super::{
    LoggedIn, LoginEnv, Plugin, Refused, Shared, State, Step, Turn, Who, bad_handshake, take,
};
use crate::identity::PrincipalName;
use crate::identity::token::{Candidates, NotAToken, Token, TokenVerifier, Verdict};
use crate::secret::Secret;
use crate::time::Timestamp;
use crate::wire::mysql::auth;
use crate::wire::mysql::capability::Capabilities;
use crate::wire::mysql::packet;
use crate::wire::mysql::report::{Report, auth_more, auth_switch};

/// AuthMoreData of `caching_sha2_password`: the proof is right; the password itself is wanted.
const FAST: u8 = 3;
const FULL: u8 = 4;
/// A client that would encrypt its password with a key of the server's.
const KEY_WANTED: u8 = 2;

/// Who wants what.
pub(super) struct Wish {
    pub(super) principal: PrincipalName,
    pub(super) schema: Option<String>,
    pub(super) attributes: Vec<(String, String)>,
    pub(super) capabilities: Capabilities,
    pub(super) packet_max: u32,
    pub(super) collation: u16,
}

/// The answer to a challenge is due.
pub(super) struct Asked {
    wish: Wish,
    plugin: Plugin,
}

/// The token itself is due.
pub(super) struct Clear {
    wish: Wish,
}

/// Whether a proof has the length of one.
pub(super) fn fits(plugin: Plugin, proof: &[u8]) -> bool {
    match plugin {
        Plugin::CachingSha2 => proof.len() == 32 || is_empty(proof),
        Plugin::Native => proof.len() == 20 || is_empty(proof),
    }
}

/// How clients say that they have no password: with nothing, or with the NUL at its end.
fn is_empty(proof: &[u8]) -> bool {
    matches!(proof, [] | [0])
}

/// Asks for a proof by that plugin.
pub(super) fn ask(wish: Wish, plugin: Plugin, shared: &mut Shared, out: &mut Vec<u8>) -> Turn {
    auth_switch(out, &mut shared.sequence, plugin.name(), &shared.nonce);
    Turn::Next(State::Proof(Asked { wish, plugin }))
}

impl Asked {
    pub(super) fn advance(
        self,
        shared: &mut Shared,
        input: &mut BytesMut,
        out: &mut Vec<u8>,
        env: &LoginEnv<'_>,
    ) -> Turn {
        let message = match take(shared, input, shared.config.limits.login_bytes_max) {
            Ok(None) => return Turn::Wait(State::Proof(self)),
            Ok(Some(message)) => message,
            Err(violation) => {
                return self.wish.who().refuse(shared, out, &bad_handshake(violation));
            }
        };
        let proof = packet::payload(&message);
        if !fits(self.plugin, &proof) {
            let report = bad_handshake("a proof of another length");
            return self.wish.who().refuse(shared, out, &report);
        }
        judge(self.wish, self.plugin, &proof, shared, out, env)
    }
}

/// Tries a proof that [`fits`] against the tokens of whoever is claimed.
pub(super) fn judge(
    wish: Wish,
    plugin: Plugin,
    proof: &[u8],
    shared: &mut Shared,
    out: &mut Vec<u8>,
    env: &LoginEnv<'_>,
) -> Turn {
    let nonce = shared.nonce;
    // Verifiers of this moment, not of the beginning: a token may have been revoked meanwhile.
    let candidates = env.tokens.candidates(&wish.principal, env.now);
    let verdict = match plugin {
        Plugin::CachingSha2 => proof.try_into().ok().map(|proof: [u8; 32]| {
            candidates.judge(|verifier| {
                let nobody = Secret::new([0; 32]);
                let kept = verifier.map_or(&nobody, |verifier| &verifier.caching_sha2);
                auth::proves_caching_sha2(kept, &nonce, &proof)
            })
        }),
        Plugin::Native => proof.try_into().ok().map(|proof: [u8; 20]| {
            candidates.judge(|verifier| {
                let nobody = Secret::new([0; 20]);
                let kept = verifier.map_or(&nobody, |verifier| &verifier.native);
                auth::proves_native(kept, &nonce, &proof)
            })
        }),
    };
    let live = candidates.live.len();
    match (verdict, plugin) {
        (None, _) => wish.refuse_unknown(live, None, "NO", shared, out),
        (Some(Verdict::Live(verifier)), Plugin::CachingSha2) => {
            auth_more(out, &mut shared.sequence, &[FAST]);
            wish.granted(verifier, plugin, shared)
        }
        (Some(Verdict::Live(verifier)), Plugin::Native) => wish.granted(verifier, plugin, shared),
        (Some(Verdict::Ended(verifier)), _) => wish.refuse_ended(verifier, env.now, shared, out),
        // The token itself may be one of which no such proof can be checked, or tell what is wrong
        // with it.
        (Some(Verdict::Unknown), Plugin::CachingSha2) if shared.private() => {
            auth_more(out, &mut shared.sequence, &[FULL]);
            Turn::Next(State::Clear(Clear { wish }))
        }
        (Some(Verdict::Unknown), _) => wish.refuse_unknown(live, None, "YES", shared, out),
    }
}

impl Clear {
    pub(super) fn advance(
        self,
        shared: &mut Shared,
        input: &mut BytesMut,
        out: &mut Vec<u8>,
        env: &LoginEnv<'_>,
    ) -> Turn {
        let mut message = match take(shared, input, shared.config.limits.login_bytes_max) {
            Ok(None) => return Turn::Wait(State::Clear(self)),
            Ok(Some(message)) => message,
            Err(violation) => {
                return self.wish.who().refuse(shared, out, &bad_handshake(violation));
            }
        };
        // The limit is below the length from which a message is several packets.
        let payload = message.get(packet::HEADER_BYTES..).unwrap_or_default();
        let secret = payload.strip_suffix(&[0]).map(Secret::new);
        let key_wanted = payload == [KEY_WANTED];
        message.zeroize();
        let Some(secret) = secret else {
            let what =
                if key_wanted { "no key is given, TLS is" } else { "a password without its end" };
            return self.wish.who().refuse(shared, out, &bad_handshake(what));
        };
        let candidates = env.tokens.candidates(&self.wish.principal, env.now);
        let verdict = judge_clear(&candidates, &secret);
        match verdict {
            Verdict::Live(verifier) => self.wish.granted(verifier, Plugin::CachingSha2, shared),
            Verdict::Ended(verifier) => self.wish.refuse_ended(verifier, env.now, shared, out),
            Verdict::Unknown => {
                let mistake = secret.expose_str().map(Token::parse).and_then(Result::err);
                let live = candidates.live.len();
                self.wish.refuse_unknown(live, mistake, "YES", shared, out)
            }
        }
    }
}

fn judge_clear<'a>(candidates: &Candidates<'a>, secret: &Secret) -> Verdict<'a> {
    candidates.judge(|verifier: Option<&TokenVerifier>| -> Choice {
        let nobody = Secret::new([0; 32]);
        let kept = verifier.map_or(&nobody, |verifier| &verifier.caching_sha2);
        auth::is_password(kept, secret.expose())
    })
}

impl Wish {
    fn who(&self) -> Who {
        Who { principal: Some(self.principal.to_string()), schema: self.schema.clone() }
    }

    fn granted(self, verifier: &TokenVerifier, plugin: Plugin, shared: &Shared) -> Turn {
        let attribute = |wanted: &str| {
            let found = self.attributes.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.clone())
        };
        let application_name = attribute("program_name").or_else(|| attribute("_client_name"));
        Turn::End(Step::LoggedIn(Box::new(LoggedIn {
            principal: self.principal,
            token: verifier.id.clone(),
            token_expires: verifier.expires,
            schema: self.schema,
            capabilities: self.capabilities,
            packet_max: self.packet_max,
            collation: self.collation,
            attributes: self.attributes,
            application_name,
            plugin,
            sequence: shared.sequence,
        })))
    }

    /// Only who had the token hears that it has ended.
    fn refuse_ended(
        &self,
        verifier: &TokenVerifier,
        now: Timestamp,
        shared: &mut Shared,
        out: &mut Vec<u8>,
    ) -> Turn {
        let TokenVerifier { id, expires, .. } = verifier;
        let message = match verifier.revoked {
            Some(revoked) => format!("token {id} was revoked at {revoked}"),
            None if *expires <= now => format!("token {id} expired at {expires}"),
            None => format!("token {id} is not among the newest of its principal"),
        };
        let hint = format!("Issue a new one: daypass token issue --user {}", self.shell_name());
        let report = Report::new(1045, "28000", message.as_str()).hint(hint);
        report.write(out, &mut shared.sequence);
        let token = Some(id.clone());
        let refused = Refused { token, ..self.who().refused(&report, message) };
        Turn::End(Step::Refused(Box::new(refused)))
    }

    fn refuse_unknown(
        &self,
        live: usize,
        mistake: Option<NotAToken>,
        using_password: &str,
        shared: &mut Shared,
        out: &mut Vec<u8>,
    ) -> Turn {
        let message = format!(
            "Access denied for user '{}' (using password: {using_password})",
            self.principal
        );
        let mut report = Report::new(1045, "28000", message).hint(format!(
            "Passwords here are short-lived tokens: daypass token issue --user {}",
            self.shell_name()
        ));
        // Of what is no token at all there is nothing to say.
        if let Some(mistake @ (NotAToken::Shape | NotAToken::Checksum)) = mistake {
            report = report.detail(mistake.to_string());
        }
        report.write(out, &mut shared.sequence);
        let reason = format!("no token of the principal has that proof; {live} live");
        Turn::End(Step::Refused(Box::new(self.who().refused(&report, reason))))
    }

    /// The name as a shell takes it.
    fn shell_name(&self) -> String {
        let name = self.principal.as_str();
        let plain = |c: char| c.is_ascii_alphanumeric() || "._@-+".contains(c);
        if name.chars().all(plain) && !name.starts_with('-') {
            name.to_owned()
        } else {
            format!("'{}'", name.replace('\'', r"'\''"))
        }
    }
}
