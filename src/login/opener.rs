//! Who opens the link that a service account has sent: WeChat says so, and it must be who scanned.
//!
//! A link can be passed on, and its handle with it. Where the connection asks for it, the page behind the link sends its
//! browser to WeChat and back, which in WeChat's own browser nobody notices, and comes back with a proof of the openid.
//! The proof is sealed, so that nothing has to be remembered between two nodes; it is worth nothing beside another handle
//! than one of that person's.

use serde::{Deserialize, Serialize};
use tracing::{error, info};

use crate::login::Login;
use crate::login::browser::StatusUser;
use crate::login::error::LoginError;
use crate::login::phone::{Caller, user_of};
use crate::login::redirect_state::{NoState, RedirectState};
use crate::session::seal::{Purpose, SealingRing};
use crate::store::Ticket;
use crate::wechat::{Person, check_oauth_code};

/// Positional on the wire.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Proven {
    openid: String,
    /// Unix seconds.
    until: i64,
}

impl Proven {
    fn seal(&self, ring: &SealingRing, connection: &str, now: i64) -> Result<String, LoginError> {
        let mut bytes = vec![VERSION];
        bytes.extend(postcard::to_stdvec(self).map_err(|_| LoginError::Seal("a proof cannot be written"))?);
        ring.seal(Purpose::Opener, &[connection], &bytes, now)
            .map_err(|_| LoginError::Seal("no sealing key is active"))
    }

    fn open(ring: &SealingRing, connection: &str, proof: &str, now: i64) -> Option<Self> {
        let bytes = ring.open(Purpose::Opener, &[connection], proof.as_bytes())?;
        let (&VERSION, rest) = bytes.split_first()? else {
            return None;
        };
        let (proven, []) = postcard::take_from_bytes::<Self>(rest).ok()? else {
            return None;
        };
        (proven.until > now).then_some(proven)
    }
}

impl Login {
    /// Begins: a state for WeChat's page. Writes nothing to the store.
    ///
    /// # Errors
    /// [`LoginError::Unknown`] where `host` has a name that no state has room for.
    pub fn ask_opener(&self, connection: &str, host: &str) -> Result<RedirectState, LoginError> {
        // No cookie binds it: what comes back opens no ticket but those of the person that it names.
        let state = RedirectState::make(&self.scenes, connection, host, &[0; 32], self.clock.now());
        state.map_err(|why| {
            if why == NoState::LongHost {
                error!(connection, host, %why, "verify_opener needs a shorter public_url");
                LoginError::Unknown
            } else {
                LoginError::Seal("no scene key is active")
            }
        })
    }

    /// A proof of who came back with this code. Spends it.
    ///
    /// # Errors
    /// What WeChat refused, [`LoginError::Snapshot`] for a page that nobody looks at.
    pub async fn prove_opener(&self, connection: &str, code: &str) -> Result<String, LoginError> {
        let refused = |error| LoginError::wechat(connection, error);
        check_oauth_code(code).map_err(refused)?;
        let account = self.accounts.get(connection).and_then(|desk| desk.web.as_ref());
        let person = account
            .ok_or(LoginError::Unknown)?
            .person(code)
            .await
            .map_err(refused)?;
        let Person::Real { identity, .. } = person else {
            info!(connection, "a snapshot page asked who opens a link: refused");
            return Err(LoginError::Snapshot);
        };
        let now = self.clock.now();
        let proven = Proven {
            openid: identity.openid,
            until: now + PROOF_LIFE,
        };
        proven.seal(&self.ring, connection, now)
    }

    /// Admits a call about a service account's ticket: by whoever has the handle, or by who proved to have scanned, as
    /// the connection demands. `None` for every other ticket, and for handles of none.
    ///
    /// # Errors
    /// [`LoginError::Unknown`] for who has not proven it: as if there were no such ticket.
    pub async fn admit_opener(
        &self,
        handle: &str,
        proof: Option<&str>,
        caller: Caller<'_>,
    ) -> Result<Option<Ticket>, LoginError> {
        if self.accounts.is_empty() {
            return Ok(None);
        }
        let Some((_, row)) = self.find_held(handle).await? else {
            return Ok(None);
        };
        let Some(account) = self.accounts.get(&row.connection) else {
            return Ok(None);
        };
        if account.web.is_some() {
            let now = self.clock.now();
            let proven = proof.and_then(|proof| Proven::open(&self.ring, &row.connection, proof, now));
            if proven.is_none_or(|proven| proven.openid != row.openid) {
                self.limits.forgery(caller.limit_key);
                return Err(LoginError::Unknown);
            }
        }
        Ok(Some(row))
    }

    /// Whose WeChat a ticket would use, masked; `None` for somebody who was never here.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn whose(&self, row: &Ticket) -> Result<Option<StatusUser>, LoginError> {
        Ok(user_of(&self.recognise(row).await?).map(StatusUser::of))
    }
}

/// Seconds: longer than a ticket with a binding lives.
const PROOF_LIFE: i64 = 3_600;
const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::session::seal::SealingKey;

    #[test]
    fn a_proof_is_of_one_account_and_one_hour() {
        let ring = SealingRing::new(vec![SealingKey::new(1, 0, &[7; 32]).unwrap()]);
        let proven = || Proven {
            openid: "o1".to_owned(),
            until: 200,
        };
        let proof = proven().seal(&ring, "follow", 100).unwrap();
        assert_eq!(Proven::open(&ring, "follow", &proof, 199), Some(proven()));
        assert_eq!(Proven::open(&ring, "follow", &proof, 200), None);
        assert_eq!(Proven::open(&ring, "other", &proof, 100), None);
        assert_eq!(Proven::open(&ring, "follow", &proof[1..], 100), None);
        assert_eq!(Proven::open(&ring, "follow", "", 100), None);
        // It travels in a fragment, and the page looks for these characters.
        assert!(
            proof
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
        assert!((20..2_000).contains(&proof.len()));
    }
}
