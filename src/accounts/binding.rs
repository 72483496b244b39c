//! Binding an account that a person proves to have (association `ask`), in two steps: the browser proves it
//! ([`Directory::claim`]), the phone accepts what it was shown ([`Directory::accept`]). Or a new one is made
//! ([`Directory::create`]).
//!
//! A ticket waits for the choice meanwhile. What belongs together is written in one transaction: the account, the
//! identity, and the ticket that may then be redeemed.

use crate::config::settings::{Association, BindMethod};
use crate::store::{AccountProofs, AttemptAt, Bound, StoreError, User, WriteTx};

use super::directory::{ATTEMPTS, Directory, ResolveError, Resolved, WechatIdentity, carry_out, find};
use super::phone::Phone;
use super::proof::{self, ProofError, Turn};
use super::resolve::{Candidate, Decision, PhoneNote, Policy, decide, decide_proven};
use super::user_id::looks_like_user_id;

/// What somebody in front of the browser says to have.
#[derive(Clone, Copy)]
pub struct Claim<'a> {
    /// How it is proven.
    pub method: BindMethod,
    /// Username, phone number, e-mail address or user id.
    pub login: &'a str,
    /// Password or bind code, as it was typed.
    pub proof: &'a str,
}

/// Why an account is not bound. Unless it says otherwise the ticket goes on waiting for a choice.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The ticket does not wait for this: it has an account, has had its attempts, or is over.
    #[error("the ticket does not wait for this")]
    Closed,
    /// The account and the proof do not belong together, or no more proofs are looked at; the person is not told which.
    #[error("the proof is wrong")]
    Wrong {
        /// The account that it was about.
        account: Option<String>,
        /// The method is locked for this account.
        locked: bool,
        /// It was the ticket's last attempt: the ticket is to be ended.
        last: bool,
    },
    /// Nothing is known about the proof.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The proof was right, or there was none to give, and it is refused all the same.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
}

impl From<StoreError> for BindError {
    fn from(error: StoreError) -> Self {
        Self::Resolve(ResolveError::Store(error))
    }
}

/// A ticket that waits for an account, and whose it is.
#[derive(Debug, Clone, Copy)]
pub struct Choosing<'a> {
    /// The scene.
    pub ticket: &'a str,
    /// Who scanned.
    pub identity: &'a WechatIdentity,
    /// What the connection allows.
    pub policy: &'a Policy,
    /// Now.
    pub now: i64,
}

impl Directory {
    /// Looks at a proof. If it is right, the ticket notes the account, and the phone is to be asked.
    ///
    /// # Errors
    /// [`BindError`].
    pub async fn claim(&self, choosing: &Choosing<'_>, claim: Claim<'_>) -> Result<User, BindError> {
        let Choosing { ticket, now, .. } = *choosing;
        // A proof that nobody has time to look at is no attempt, and one that is looked at was counted before.
        let turn = proof::turn().await?;
        let found = match self.account(claim.login).await? {
            Some(user) => {
                let proofs = self.store.account_proofs(&user.id, now).await?;
                (!proofs.service).then_some((user, proofs))
            }
            None => None,
        };
        let (user, proofs) = found.map_or((None, AccountProofs::default()), |(user, proofs)| (Some(user), proofs));
        let at = AttemptAt {
            ticket,
            user_id: user.as_ref().map(|user| user.id.as_str()),
            method: claim.method.as_str(),
            ticket_limit: ATTEMPTS_AT_A_TICKET,
            window_start: now - PROOF_WINDOW,
            now,
        };
        let attempt = self.store.count_attempt(&at).await?.ok_or(BindError::Closed)?;
        let locked = attempt.of_account > ATTEMPTS_AT_AN_ACCOUNT;
        // Looked at in any case: what is locked takes as long as what is wrong.
        let right = verify(turn, claim, &proofs).await?;
        let last = attempt.of_ticket >= ATTEMPTS_AT_A_TICKET;
        match user {
            Some(user) if right && !locked => self.propose(choosing, claim.method, user, &proofs, last).await,
            user => Err(BindError::Wrong {
                account: user.map(|user| user.id),
                locked,
                last,
            }),
        }
    }

    /// The proof was right: whether the account can be bound, and if so the ticket's note of it, once per bind code.
    async fn propose(
        &self,
        choosing: &Choosing<'_>,
        method: BindMethod,
        user: User,
        proofs: &AccountProofs,
        last: bool,
    ) -> Result<User, BindError> {
        let Choosing { ticket, now, .. } = *choosing;
        let mut tx = self.store.directory().await?;
        tx.uncount_attempts(ticket, &user.id, method.as_str()).await?;
        let phone = kept_phone(&mut tx, ticket).await?;
        match judge(&mut tx, choosing, &user.id, phone.as_ref()).await {
            Ok(_) => {}
            Err(error) => {
                // The proof was right, whatever became of it: it stays uncounted, and a bind code stays good.
                tx.commit().await?;
                return Err(error.into());
            }
        }
        if let Some(code) = proofs.bind_code.as_ref().filter(|_| method == BindMethod::BindCode)
            && !tx.spend_bind_code(&code.id, now).await?
        {
            // Somebody was quicker with the same code; nothing of this transaction stays.
            return Err(BindError::Wrong {
                account: Some(user.id),
                locked: false,
                last,
            });
        }
        if !tx.ticket_propose(ticket, &user.id, now).await? {
            return Err(BindError::Closed);
        }
        tx.commit().await?;
        Ok(user)
    }

    /// The phone accepts the account that it was shown: the identity becomes the user's.
    ///
    /// # Errors
    /// [`BindError`]; then nothing was written.
    pub async fn accept(
        &self,
        choosing: &Choosing<'_>,
        user_id: &str,
        handle_hash: &[u8],
        redeem_until: i64,
    ) -> Result<Resolved, BindError> {
        self.settle(choosing, redeem_until, Some((user_id, handle_hash))).await
    }

    /// A new user for the person, where the connection makes any.
    ///
    /// # Errors
    /// [`BindError`]; then nothing was written.
    pub async fn create_chosen(&self, choosing: &Choosing<'_>, redeem_until: i64) -> Result<Resolved, BindError> {
        self.settle(choosing, redeem_until, None).await
    }

    async fn settle(
        &self,
        choosing: &Choosing<'_>,
        redeem_until: i64,
        accepted: Option<(&str, &[u8])>,
    ) -> Result<Resolved, BindError> {
        let mut attempts = ATTEMPTS;
        loop {
            attempts -= 1;
            match self.settle_locked(choosing, redeem_until, accepted).await {
                Err(error) if error.is_race() && attempts > 0 => {}
                result => return result?.ok_or(BindError::Closed),
            }
        }
    }

    /// Identity, user and ticket at once; `None` if the ticket does not wait for it.
    async fn settle_locked(
        &self,
        choosing: &Choosing<'_>,
        redeem_until: i64,
        accepted: Option<(&str, &[u8])>,
    ) -> Result<Option<Resolved>, ResolveError> {
        let Choosing {
            ticket, identity, now, ..
        } = *choosing;
        let mut tx = self.store.directory().await?;
        let phone = kept_phone(&mut tx, ticket).await?;
        let (decision, recorded) = match accepted {
            Some((user_id, _)) => judge(&mut tx, choosing, user_id, phone.as_ref()).await?,
            None => {
                let (findings, recorded) = find(&mut tx, identity, phone.as_ref()).await?;
                // Whoever asked for a new account has answered the question.
                let policy = Policy {
                    association: Association::None,
                    ..choosing.policy.clone()
                };
                (decide(&findings, &policy, phone.is_some())?, recorded)
            }
        };
        let resolved = carry_out(&mut tx, identity, recorded, decision, phone.as_ref(), now).await?;
        let bound = Bound {
            user_id: &resolved.user.id,
            accepted_by: accepted.map(|(_, handle_hash)| handle_hash),
            phone_note: resolved.phone_note.map(PhoneNote::as_str),
            now,
            expires_at: redeem_until,
        };
        if !tx.ticket_bound(ticket, &bound).await? {
            return Ok(None);
        }
        tx.commit().await?;
        Ok(Some(resolved))
    }

    /// The account that a person means.
    async fn account(&self, login: &str) -> Result<Option<User>, StoreError> {
        let login = login.trim();
        if login.is_empty() {
            return Ok(None);
        }
        if let Some(user) = self.store.user_by_username(login).await? {
            return Ok(Some(user));
        }
        if looks_like_user_id(login) {
            return self.store.user(login).await;
        }
        if login.contains('@') {
            return self.store.user_by_email(login).await;
        }
        match Phone::normalise(login) {
            Ok(phone) => self.store.user_by_phone(phone.as_str()).await,
            Err(_) => Ok(None),
        }
    }
}

/// Whether and how a proven account takes the identity.
async fn judge(
    tx: &mut WriteTx,
    choosing: &Choosing<'_>,
    user_id: &str,
    phone: Option<&Phone>,
) -> Result<(Decision, bool), ResolveError> {
    let Choosing { identity, policy, .. } = *choosing;
    let (findings, recorded) = find(tx, identity, phone).await?;
    // Deleted since it was proven: there is nobody to log in as.
    let user = tx.user(user_id).await?.ok_or(ResolveError::NoAccount)?;
    let identities = tx.identities_of(user_id).await?;
    let has_identity = identities.iter().any(|row| row.app_id == identity.app_id);
    let proven = Candidate::from(&user);
    let decision = decide_proven(&findings, &proven, has_identity, policy, phone.is_some())?;
    Ok((decision, recorded))
}

pub(super) async fn kept_phone(tx: &mut WriteTx, ticket: &str) -> Result<Option<Phone>, StoreError> {
    let kept = tx.ticket_phone(ticket).await?;
    Ok(kept.and_then(|number| Phone::parse(&number).ok()))
}

/// One hash is computed, whatever there is to compare with.
async fn verify(turn: Turn, claim: Claim<'_>, proofs: &AccountProofs) -> Result<bool, ProofError> {
    match claim.method {
        BindMethod::Password => proof::verify(turn, claim.proof, proofs.password_hash.as_deref()).await,
        BindMethod::BindCode => {
            let hash = proofs.bind_code.as_ref().map(|code| code.hash.as_str());
            proof::verify(turn, &proof::normalise_bind_code(claim.proof), hash).await
        }
    }
}

/// Wrong proofs that end a ticket.
pub const ATTEMPTS_AT_A_TICKET: i64 = 5;
/// Wrong proofs within [`PROOF_WINDOW`] that lock a method for an account until it is over.
const ATTEMPTS_AT_AN_ACCOUNT: i64 = 10;
/// Seconds.
pub const PROOF_WINDOW: i64 = 3_600;

#[cfg(test)]
#[path = "binding_tests.rs"]
mod tests;
