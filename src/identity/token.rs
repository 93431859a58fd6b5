//! Tokens: how one is made, and what the proxy keeps of it: verifiers, never the token.

use std::collections::HashMap;
use std::sync::Arc;

use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

use super::{PrincipalName, TokenId, base32, scram};
use crate::secret::Secret;
use crate::time::Timestamp;

/// A token: `daypass_`, 160 random bits and a checksum, 46 characters of `[a-z0-9_]`.
///
/// The prefix is for secret scanners, the checksum for people: a token that was cut or mistyped is told
/// from one that expired. Nothing in it needs to be escaped in a URL, a `.pgpass`, a `my.cnf` or a shell,
/// and SASLprep (RFC 4013) leaves it as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(Secret);

/// Why a text is no token. Never says what the text was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAToken {
    /// It starts with something else.
    #[error("a token starts with \"daypass_\"")]
    Prefix,
    /// Too short, too long, or a character that no token has.
    #[error(
        "a token has 46 characters: lower-case letters, digits and \"_\"; part of it is missing or changed"
    )]
    Shape,
    /// The last six characters do not fit the others.
    #[error("the token's checksum is wrong: part of it is mistyped")]
    Checksum,
}

impl Token {
    /// What every token starts with.
    pub const PREFIX: &'static str = "daypass_";
    /// Random bytes that a token is made of.
    pub const RANDOM_BYTES: usize = 20;
    /// Length of every token. MySQL clients prompt for at most 79 characters, older `.pgpass` readers
    /// take lines of 320.
    pub const LENGTH: usize = Self::PREFIX.len() + Self::BODY_LENGTH + Self::CHECKSUM_LENGTH;

    const BODY_LENGTH: usize = Self::RANDOM_BYTES * 8 / 5;
    const CHECKSUM_LENGTH: usize = 6;

    /// A new token. `random` must come from the system's generator and be used for nothing else.
    pub fn generate(random: &[u8; Self::RANDOM_BYTES]) -> Self {
        let mut body = base32::encode(random);
        let mut text = Vec::with_capacity(Self::LENGTH);
        text.extend_from_slice(Self::PREFIX.as_bytes());
        text.extend_from_slice(body.as_bytes());
        text.extend_from_slice(Self::checksum(&body).as_bytes());
        body.zeroize();
        Self(Secret::new(text))
    }

    /// Reads a token that somebody gives.
    ///
    /// # Errors
    /// When it is none, or one with a mistake in it.
    pub fn parse(text: &str) -> Result<Self, NotAToken> {
        let rest = text.strip_prefix(Self::PREFIX).ok_or(NotAToken::Prefix)?;
        if text.len() != Self::LENGTH || !base32::is_alphabet(rest) {
            return Err(NotAToken::Shape);
        }
        let (body, checksum) = rest.split_at_checked(Self::BODY_LENGTH).ok_or(NotAToken::Shape)?;
        if Self::checksum(body) == checksum {
            Ok(Self(Secret::new(text)))
        } else {
            Err(NotAToken::Checksum)
        }
    }

    /// Whether it is a token, to judge by its checksum; nothing about whether it was ever issued.
    pub fn looks_like(text: &str) -> bool {
        Self::parse(text).is_ok()
    }

    /// Whether a token stands anywhere in it.
    pub fn stands_in(text: &str) -> bool {
        text.match_indices(Self::PREFIX)
            .any(|(at, _)| text.get(at..at + Self::LENGTH).is_some_and(Self::looks_like))
    }

    /// The token itself, the only way to see it.
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// The first 30 bits of a hash: of a thousand million mistakes one goes unseen.
    fn checksum(body: &str) -> String {
        let hash = Sha256::new_with_prefix(Self::PREFIX).chain_update(body).finalize();
        base32::encode(&hash).chars().take(Self::CHECKSUM_LENGTH).collect()
    }
}

/// What is kept of a token that was issued: enough to check a proof of it on either engine's wire,
/// not enough to make one.
#[derive(Clone, Debug)]
pub struct TokenVerifier {
    /// Its public name.
    pub id: TokenId,
    /// Whose it is.
    pub principal: PrincipalName,
    /// Who issued it: `local:root`.
    pub issued_by: Box<str>,
    /// When.
    pub issued: Timestamp,
    /// From then on it refuses new logins.
    pub expires: Timestamp,
    /// When it was taken back.
    pub revoked: Option<Timestamp>,
    /// SCRAM-SHA-256 StoredKey (RFC 5802, 3), 32 bytes.
    pub scram_stored_key: Secret,
    /// SCRAM-SHA-256 ServerKey, 32 bytes.
    pub scram_server_key: Secret,
    /// SHA-256 of SHA-256 of the token: MySQL's `caching_sha2_password`, 32 bytes.
    pub caching_sha2: Secret,
    /// SHA-1 of SHA-1 of the token: MySQL's `mysql_native_password`, 20 bytes.
    pub native: Secret,
}

impl TokenVerifier {
    /// What is kept of a token that is being issued: verifiers for every way to prove it, so that
    /// another engine needs no new token.
    pub fn issue(
        token: &Token,
        id: TokenId,
        principal: PrincipalName,
        issued_by: &str,
        issued: Timestamp,
        expires: Timestamp,
        store_key: &Secret,
    ) -> Self {
        let salt = scram::salt(store_key, principal.as_str());
        let keys = scram::keys(token.expose(), &salt, scram::ITERATIONS);
        let native = Zeroizing::new(<[u8; 20]>::from(Sha1::digest(token.expose())));
        Self {
            id,
            principal,
            issued_by: issued_by.into(),
            issued,
            expires,
            revoked: None,
            scram_stored_key: keys.stored,
            scram_server_key: keys.server,
            caching_sha2: caching_sha2(token),
            native: Secret::new(Sha1::digest(native.as_slice()).to_vec()),
        }
    }

    /// Whether it logs in at that moment.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && now < self.expires
    }
}

/// Every verifier, live or not, at one moment. Replaced as a whole when one changes.
#[derive(Clone, Debug)]
pub struct TokenSnapshot {
    /// Key of the store, from which each principal's salt is derived.
    pub store_key: Secret,
    /// By principal, newest first.
    pub by_principal: HashMap<PrincipalName, Vec<Arc<TokenVerifier>>>,
}

/// The verifiers of one principal that a proof may be of.
#[derive(Clone, Debug, Default)]
pub struct Candidates<'a> {
    /// Those that log in, newest first.
    pub live: Vec<&'a TokenVerifier>,
    /// Those that do not: expired, revoked, or live beyond the first [`LIVE_MAX`]. Only to tell their
    /// holder so.
    pub ended: Vec<&'a TokenVerifier>,
}

/// What a proof turned out to be.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'a> {
    /// Of a token that logs in.
    Live(&'a TokenVerifier),
    /// Of one of [`Candidates::ended`].
    Ended(&'a TokenVerifier),
    /// Of none.
    Unknown,
}

impl<'a> Candidates<'a> {
    /// Tries a proof against each candidate. `proves` is asked as many times whatever there is, with
    /// `None` where there is none, and has to do the same work then: so neither whether a principal has
    /// tokens nor how many shows in the time that a refusal takes.
    pub fn judge(&self, proves: impl Fn(Option<&TokenVerifier>) -> Choice) -> Verdict<'a> {
        let matching = |all: &[&'a TokenVerifier], tries: usize| {
            let mut found = None;
            for n in 0..tries {
                let verifier = all.get(n).copied();
                if bool::from(proves(verifier)) && verifier.is_some() {
                    found = verifier;
                }
            }
            found
        };
        if let Some(live) = matching(&self.live, LIVE_MAX) {
            return Verdict::Live(live);
        }
        matching(&self.ended, ENDED_MAX).map_or(Verdict::Unknown, Verdict::Ended)
    }
}

/// Live tokens of one principal that are tried at a login.
pub const LIVE_MAX: usize = 16;

/// Ended tokens of one principal that are tried at a login that failed.
pub const ENDED_MAX: usize = 64;

impl TokenSnapshot {
    /// What a proof by that principal is tried against at that moment, in time and memory that do not
    /// grow with what was ever issued.
    pub fn candidates(&self, principal: &PrincipalName, now: Timestamp) -> Candidates<'_> {
        let mut found = Candidates::default();
        for verifier in self.by_principal.get(principal).into_iter().flatten() {
            if verifier.is_live(now) && found.live.len() < LIVE_MAX {
                found.live.push(verifier);
            } else if found.ended.len() < ENDED_MAX {
                found.ended.push(verifier);
            }
        }
        found
    }

    /// The verifier of a token that came whole and without a name, as the HTTP API is given it. Live or
    /// not: see [`TokenVerifier::is_live`].
    pub fn find(&self, token: &Token) -> Option<&Arc<TokenVerifier>> {
        let hash = caching_sha2(token);
        let mut all = self.by_principal.values().flatten();
        all.find(|verifier| verifier.caching_sha2.expose().ct_eq(hash.expose()).into())
    }
}

/// SHA-256 of SHA-256 (MySQL source, `sql/auth/sha2_password.cc`, "fast authentication").
fn caching_sha2(token: &Token) -> Secret {
    let once = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(token.expose())));
    Secret::new(Sha256::digest(once.as_slice()).to_vec())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn verifier(n: u8, lifetime: Duration) -> Arc<TokenVerifier> {
        let token = Token::generate(&[n; 20]);
        let id = TokenId(format!("t_{n}").into());
        let alice = PrincipalName::new("alice").unwrap();
        let key = Secret::new("key");
        TokenVerifier::issue(&token, id, alice, "local:root", NOW, NOW + lifetime, &key).into()
    }

    fn snapshot(verifiers: Vec<Arc<TokenVerifier>>) -> TokenSnapshot {
        let by_principal = HashMap::from([(PrincipalName::new("alice").unwrap(), verifiers)]);
        TokenSnapshot { store_key: Secret::new("key"), by_principal }
    }

    fn text(token: &Token) -> String {
        String::from_utf8(token.expose().to_vec()).unwrap()
    }

    fn hex(secret: &Secret) -> String {
        secret.expose().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_token_is_short_and_needs_no_escaping() {
        let token = text(&Token::generate(&[0x5a; 20]));
        assert!(token.starts_with("daypass_"));
        assert_eq!(token.len(), Token::LENGTH);
        assert!(token.len() <= 64);
        assert!(token.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_')));
    }

    #[test]
    fn what_is_no_token_is_told_by_its_mistake() {
        let token = text(&Token::generate(&[7; 20]));
        assert_eq!(Token::parse("hunter2"), Err(NotAToken::Prefix));
        assert_eq!(Token::parse(&token[..40]), Err(NotAToken::Shape));
        assert_eq!(Token::parse(&token.to_uppercase()), Err(NotAToken::Prefix));
        assert_eq!(Token::parse(&token.replace('w', "u")), Err(NotAToken::Shape));
        assert!(!Token::looks_like(&format!("{token} ")));
    }

    #[test]
    fn the_verifiers_are_those_of_the_engines() {
        // Computed with Python's hashlib and hmac.
        let token = Token::parse(&text(&Token::generate(&[1; 20]))).unwrap();
        let id = TokenId("t_1".into());
        let alice = PrincipalName::new("alice").unwrap();
        let key = Secret::new("key");
        let kept = TokenVerifier::issue(&token, id, alice, "local:root", NOW, NOW, &key);
        assert_eq!(
            hex(&kept.caching_sha2),
            "f4f14a36c4012c9aa5ae0be707297c44211e319835973a584e47b9a1e61951d3"
        );
        assert_eq!(hex(&kept.native), "4741690beade9e07b2dfdcb88d8bab78cc2f54c4");
        assert_eq!(
            hex(&kept.scram_stored_key),
            "26fa15822bcf6b36d3bfe3316fb333f5cf53938d9436511e8514a5d4b2d18707"
        );
        assert_eq!(
            hex(&kept.scram_server_key),
            "fca0fb8612b6c749c390f26a3be80481e481e1bf2d387bce7c79a6c2665f206d"
        );
    }

    #[test]
    fn debug_output_shows_no_token() {
        let token = Token::generate(&[1; 20]);
        assert!(!format!("{token:?}").contains(&text(&token)[8..20]));
    }

    #[test]
    fn candidates_are_few_and_newest_first() {
        let hour = Duration::from_hours(1);
        let mut all: Vec<_> = (0..20).map(|n| verifier(n, hour)).collect();
        all.extend((20..100).map(|n| verifier(n, Duration::ZERO)));
        let snapshot = snapshot(all);
        let alice = PrincipalName::new("alice").unwrap();
        let found = snapshot.candidates(&alice, NOW);
        assert_eq!(found.live.len(), LIVE_MAX);
        assert_eq!(found.live[0].id.to_string(), "t_0");
        assert_eq!(found.ended.len(), ENDED_MAX);
        assert_eq!(found.ended[4].id.to_string(), "t_20");
        let later = snapshot.candidates(&alice, NOW + hour);
        assert!(later.live.is_empty());
        let bob = snapshot.candidates(&PrincipalName::new("bob").unwrap(), NOW);
        assert!(bob.live.is_empty() && bob.ended.is_empty());
    }

    #[test]
    fn a_proof_is_tried_as_often_whoever_it_is_of() {
        let hour = Duration::from_hours(1);
        let snapshot = snapshot(vec![verifier(1, hour), verifier(2, hour), verifier(3, hour / 2)]);
        let found = snapshot.candidates(&PrincipalName::new("alice").unwrap(), NOW + hour / 2);
        let judge = |found: &Candidates<'_>, id: &str| {
            let tries = std::cell::Cell::new(0);
            let verdict = found.judge(|verifier| {
                tries.set(tries.get() + 1);
                u8::from(verifier.is_none_or(|verifier| &*verifier.id.0 == id)).into()
            });
            let verdict = match verdict {
                Verdict::Live(verifier) => format!("live {}", verifier.id),
                Verdict::Ended(verifier) => format!("ended {}", verifier.id),
                Verdict::Unknown => "unknown".to_owned(),
            };
            (verdict, tries.get())
        };
        assert_eq!(judge(&found, "t_2"), ("live t_2".to_owned(), LIVE_MAX));
        assert_eq!(judge(&found, "t_3"), ("ended t_3".to_owned(), LIVE_MAX + ENDED_MAX));
        assert_eq!(judge(&found, "t_4"), ("unknown".to_owned(), LIVE_MAX + ENDED_MAX));
        let nobody = Candidates::default();
        assert_eq!(judge(&nobody, "t_2"), ("unknown".to_owned(), LIVE_MAX + ENDED_MAX));
    }

    #[test]
    fn a_revoked_token_is_no_longer_live() {
        let mut verifier = verifier(1, Duration::from_hours(1));
        Arc::make_mut(&mut verifier).revoked = Some(NOW);
        let snapshot = snapshot(vec![verifier]);
        let found = snapshot.candidates(&PrincipalName::new("alice").unwrap(), NOW);
        assert_eq!((found.live.len(), found.ended.len()), (0, 1));
    }

    #[test]
    fn a_whole_token_finds_its_verifier() {
        let snapshot = snapshot((0..3).map(|n| verifier(n, Duration::ZERO)).collect());
        let found = snapshot.find(&Token::generate(&[2; 20])).map(|kept| kept.id.to_string());
        assert_eq!(found.as_deref(), Some("t_2"));
        assert!(snapshot.find(&Token::generate(&[9; 20])).is_none());
    }

    proptest! {
        #[test]
        fn every_token_is_read_back(random: [u8; 20]) {
            let token = Token::generate(&random);
            prop_assert_eq!(Token::parse(&text(&token)), Ok(token));
        }

        #[test]
        fn a_token_is_found_wherever_it_stands(random: [u8; 20], before in ".{0,9}", after in ".{0,9}") {
            let token = text(&Token::generate(&random));
            let (whole, part) = ([&before, &*token, &after].concat(), &token[..Token::LENGTH - 1]);
            prop_assert!(Token::stands_in(&whole));
            prop_assert!(!Token::stands_in(part));
        }

        #[test]
        fn one_changed_character_is_seen(random: [u8; 20], at in 8_usize..46, to in "[0-9a-z]") {
            let mut token = text(&Token::generate(&random));
            prop_assume!(token[at..=at] != to);
            token.replace_range(at..=at, &to);
            prop_assert!(!Token::looks_like(&token));
        }
    }
}
