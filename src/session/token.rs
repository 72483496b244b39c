//! What is inside a session cookie, and when it ends.
//!
//! The cookie carries all that a request needs, so that a node answers from the cookie alone; the registry row exists
//! to list and to revoke. The trade-off: a change of the person reaches a cookie only when the node re-seals it, which
//! is why changes are announced and re-read (see `revocation`).

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::identity::person::{Authentication, Person};
use crate::session::seal::{Purpose, SealError, SealingRing};
use crate::store::public_session_id;

/// 128 random bits that name a session in the registry. Never leaves the cookie and the store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SessionId([u8; 16]);

/// A session as its cookie holds it. Fields are positional on the wire: append only, and raise `VERSION` otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Row in the registry.
    pub id: SessionId,
    /// Who.
    pub person: Person,
    /// How.
    pub authentication: Authentication,
    /// Unix seconds; never moves.
    pub expires_at: i64,
    /// When this cookie was sealed, in Unix seconds: the idle limit counts from here.
    pub renewed_at: i64,
    /// The groups did not fit and are to be read from the directory.
    pub groups_left_out: bool,
    /// When `person` was read from the directory, in Unix seconds. A renewal does not move it: a node that has not heard
    /// of a change yet must not make the old claims look new.
    pub known_at: i64,
}

/// The limits of the configuration, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Absolute life.
    pub lifetime: i64,
    /// Without use.
    pub idle_timeout: i64,
}

/// The session does not fit into a cookie even without groups, or cannot be sealed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// See [`SealError`].
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Longer than browsers keep.
    #[error("the session does not fit into a cookie of {MAX_COOKIE} bytes")]
    TooLarge,
}

impl SessionId {
    /// A new one.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn random() -> Result<Self, SealError> {
        let mut bytes = [0_u8; 16];
        SystemRandom::new().fill(&mut bytes).map_err(|_| SealError)?;
        Ok(Self(bytes))
    }

    /// As the registry keys it.
    pub fn to_text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// From the registry's text.
    pub fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// What upstreams see as `sid`, and what people and operators call it: stable for the session, useless as a key to
    /// it.
    pub fn public(self) -> String {
        public_session_id(&self.to_text())
    }
}

impl std::fmt::Debug for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SessionId({}…)", &self.public()[..6])
    }
}

impl Session {
    /// Seals for this cookie name and host, leaving the groups out when they make it too long.
    ///
    /// # Errors
    /// [`TokenError::TooLarge`] when even that does not help.
    pub fn seal(&self, ring: &SealingRing, name: &str, host: &str, now: i64) -> Result<String, TokenError> {
        let seal = |session: &Self| -> Result<String, TokenError> {
            let mut bytes = vec![VERSION];
            bytes.extend(postcard::to_stdvec(session).map_err(|_| SealError)?);
            Ok(ring.seal(Purpose::Session, &[name, host], &bytes, now)?)
        };
        let token = seal(self)?;
        if token.len() <= MAX_COOKIE {
            return Ok(token);
        }
        let mut smaller = self.clone();
        smaller.person.groups.clear();
        smaller.groups_left_out = true;
        let token = seal(&smaller)?;
        if token.len() <= MAX_COOKIE {
            Ok(token)
        } else {
            Err(TokenError::TooLarge)
        }
    }

    /// Opens a cookie of this name on this host; says nothing about its end.
    pub fn open(ring: &SealingRing, name: &str, host: &str, token: &[u8]) -> Option<Self> {
        let bytes = ring.open(Purpose::Session, &[name, host], token)?;
        let (version, rest) = bytes.split_first()?;
        if *version != VERSION {
            return None;
        }
        match postcard::take_from_bytes(rest) {
            Ok((session, [])) => Some(session),
            _ => None,
        }
    }

    /// Unix seconds at which it ends if it is not used any more.
    pub fn idle_expires_at(&self, limits: Limits) -> i64 {
        self.expires_at.min(self.renewed_at.saturating_add(limits.idle_timeout))
    }

    /// Whether it still holds.
    pub fn is_live(&self, limits: Limits, now: i64) -> bool {
        // A cookie from the future was sealed by a node whose clock is ahead; more than the tolerance is no session.
        self.renewed_at <= now.saturating_add(CLOCK_TOLERANCE) && now < self.idle_expires_at(limits)
    }

    /// Whether the cookie should be sealed anew: at most every tenth of the idle limit.
    pub fn wants_renewal(&self, limits: Limits, now: i64) -> bool {
        now.saturating_sub(self.renewed_at) >= (limits.idle_timeout / 10).max(1)
    }
}

const VERSION: u8 = 1;
/// Browsers keep 4,096 bytes with name and attributes.
const MAX_COOKIE: usize = 3_800;
/// By how many seconds the clocks of two nodes may differ.
pub const CLOCK_TOLERANCE: i64 = 5;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::identity::person::Method;
    use crate::session::seal::SealingKey;

    const LIMITS: Limits = Limits {
        lifetime: 1_000,
        idle_timeout: 100,
    };

    fn session(groups: usize) -> Session {
        Session {
            id: SessionId::random().unwrap(),
            person: Person {
                id: "u_1".into(),
                name: Some("王小明".into()),
                groups: (0..groups).map(|number| format!("group-{number:04}")).collect(),
                ..Person::default()
            },
            authentication: Authentication {
                connection: "staff".into(),
                method: Method::MiniProgram,
                time: 0,
                app_id: "wx".into(),
                openid: "o".into(),
                unionid: None,
            },
            expires_at: 1_000,
            renewed_at: 0,
            groups_left_out: false,
            known_at: 0,
        }
    }

    fn ring() -> SealingRing {
        SealingRing::new(vec![SealingKey::new(1, 0, &[1; 32]).unwrap()])
    }

    #[test]
    fn cookie_opens_on_its_own_host_under_its_own_name_only() {
        let (ring, session) = (ring(), session(3));
        let token = session.seal(&ring, "menshen", "a.example", 0).unwrap();
        assert_eq!(
            Session::open(&ring, "menshen", "a.example", token.as_bytes()),
            Some(session)
        );
        assert_eq!(Session::open(&ring, "menshen", "b.example", token.as_bytes()), None);
        assert_eq!(Session::open(&ring, "other", "a.example", token.as_bytes()), None);
    }

    #[test]
    fn groups_that_do_not_fit_are_left_to_the_directory() {
        let ring = ring();
        let token = session(2_000).seal(&ring, "menshen", "a.example", 0).unwrap();
        assert!(token.len() <= MAX_COOKIE);
        let opened = Session::open(&ring, "menshen", "a.example", token.as_bytes()).unwrap();
        assert!(opened.groups_left_out && opened.person.groups.is_empty());
    }

    #[test]
    fn session_ends_by_idleness_or_by_age_whichever_is_first() {
        let cases = [
            (0, 0, true),
            (0, 99, true),
            (0, 100, false),
            (950, 999, true),
            (950, 1_000, false),
            (50, 44, false),
            (49, 44, true),
        ];
        for (renewed_at, now, live) in cases {
            let session = Session {
                renewed_at,
                ..session(0)
            };
            assert_eq!(session.is_live(LIMITS, now), live, "renewed {renewed_at}, now {now}");
        }
    }

    #[test]
    fn cookie_is_renewed_after_a_tenth_of_the_idle_limit() {
        assert!(!session(0).wants_renewal(LIMITS, 9));
        assert!(session(0).wants_renewal(LIMITS, 10));
    }

    #[test]
    fn id_shows_itself_to_nobody() {
        let id = SessionId::random().unwrap();
        assert_eq!(SessionId::parse(&id.to_text()), Some(id));
        assert!(!format!("{id:?}").contains(&id.to_text()[..6]));
        assert_ne!(id.public(), id.to_text());
        assert_eq!(SessionId::parse("short"), None);
    }
}
