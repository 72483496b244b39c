//! What people may do to their own identities.

use super::binding::kept_phone;
use super::directory::{ATTEMPTS, Directory, ResolveError, Resolved, WechatIdentity, carry_out, find};
use super::phone::Phone;
use super::resolve::{Candidate, Decision, PhoneNote, Policy, decide_connecting};
use crate::store::{Holding, IdentityRow, Lock, StoreError, WriteTx};

/// What a person holds while they change something of theirs.
#[derive(Debug, Clone, Copy)]
pub struct Holder<'h> {
    /// Who.
    pub user_id: &'h str,
    /// The session that they do it by: it goes on.
    pub session_id: &'h str,
}

/// A WeChat account that is to be connected to the account of somebody who is signed in.
#[derive(Debug, Clone, Copy)]
pub struct Connecting<'c> {
    /// The scene of the ticket.
    pub ticket: &'c str,
    /// Whose account.
    pub holder: Holder<'c>,
    /// Who scanned.
    pub identity: &'c WechatIdentity,
    /// What the connection allows.
    pub policy: &'c Policy,
    /// Now.
    pub now: i64,
}

/// Why an identity stays.
#[derive(Debug, thiserror::Error)]
pub enum UnbindError {
    /// Without it the person could not log in any more.
    #[error("the last way to log in")]
    Last,
    /// The person does not have it.
    #[error("no such identity")]
    NotTheirs,
    /// The store did not do it; nothing has changed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Directory {
    /// Whether the identity could be connected now, and what to say about the number. Writes nothing.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub async fn may_connect(
        &self,
        connecting: &Connecting<'_>,
        phone: Option<&Phone>,
    ) -> Result<Option<PhoneNote>, ResolveError> {
        let mut tx = self.store().directory().await?;
        Ok(note(&judge(&mut tx, connecting, phone).await?.0))
    }

    /// The same with the number that the ticket keeps.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub async fn may_still_connect(&self, connecting: &Connecting<'_>) -> Result<Option<PhoneNote>, ResolveError> {
        let mut tx = self.store().directory().await?;
        let phone = kept_phone(&mut tx, connecting.ticket).await?;
        Ok(note(&judge(&mut tx, connecting, phone.as_ref()).await?.0))
    }

    /// Connects it: identity, number and the end of the ticket at once, while the holder's session lives. `None`: the
    /// ticket does not wait for it, or the session has ended; nothing was written.
    ///
    /// # Errors
    /// [`ResolveError`]; then nothing was written.
    pub async fn connect(&self, connecting: &Connecting<'_>) -> Result<Option<Resolved>, ResolveError> {
        let mut attempts = ATTEMPTS;
        loop {
            attempts -= 1;
            match self.connect_locked(connecting).await {
                Err(error) if error.is_race() && attempts > 0 => {}
                result => return result,
            }
        }
    }

    async fn connect_locked(&self, connecting: &Connecting<'_>) -> Result<Option<Resolved>, ResolveError> {
        let Connecting {
            ticket,
            holder,
            identity,
            now,
            ..
        } = *connecting;
        let mut tx = self.store().directory().await?;
        // No session ends between the look at it and the end of this.
        tx.lock(Lock::Revocations).await?;
        let phone = kept_phone(&mut tx, ticket).await?;
        let holding = Holding {
            user_id: holder.user_id,
            session_id: holder.session_id,
            now,
        };
        if !tx.ticket_connected(ticket, holding).await? {
            return Ok(None);
        }
        let (decision, recorded) = judge(&mut tx, connecting, phone.as_ref()).await?;
        let resolved = carry_out(&mut tx, identity, recorded, decision, phone.as_ref(), now).await?;
        tx.commit().await?;
        Ok(Some(resolved))
    }

    /// Takes an identity from the person who holds it, on their own wish. All their other sessions end, since nobody can
    /// say which of them came from it; how many. `usable` says whether an identity can be logged in with here.
    ///
    /// # Errors
    /// [`UnbindError`]; then nothing has changed.
    pub async fn unbind_own(
        &self,
        holder: Holder<'_>,
        app_id: &str,
        openid: &str,
        usable: impl Fn(&IdentityRow) -> bool + Send,
        now: i64,
    ) -> Result<u64, UnbindError> {
        let mut tx = self.store().directory().await?;
        tx.lock(Lock::Revocations).await?;
        let identities = tx.identities_of(holder.user_id).await?;
        match may_unbind(&identities, app_id, openid, usable) {
            None => return Err(UnbindError::NotTheirs),
            Some(false) => return Err(UnbindError::Last),
            Some(true) => {}
        }
        tx.delete_identity(holder.user_id, app_id, openid, now).await?;
        let ended = tx
            .end_other_sessions_of(holder.user_id, holder.session_id, "unbound", now)
            .await?;
        tx.commit().await?;
        Ok(ended)
    }
}

/// Whether and how the holder takes the identity; and whether its unionid is recorded.
async fn judge(
    tx: &mut WriteTx,
    connecting: &Connecting<'_>,
    phone: Option<&Phone>,
) -> Result<(Decision, bool), ResolveError> {
    let Connecting {
        holder,
        identity,
        policy,
        ..
    } = *connecting;
    let (findings, recorded) = find(tx, identity, phone).await?;
    // Deleted meanwhile: there is nobody to connect to.
    let user = tx.user(holder.user_id).await?.ok_or(ResolveError::NoAccount)?;
    let identities = tx.identities_of(holder.user_id).await?;
    let has_identity = identities.iter().any(|row| row.app_id == identity.app_id);
    let candidate = Candidate::from(&user);
    let decision = decide_connecting(&findings, &candidate, has_identity, policy, phone.is_some())?;
    Ok((decision, recorded))
}

/// What is to be said about the number; the rule connects or refuses, and has no other answer.
fn note(decision: &Decision) -> Option<PhoneNote> {
    match decision {
        Decision::Use { phone_note, .. } => *phone_note,
        Decision::Ask { .. } | Decision::Create { .. } => None,
    }
}

/// Whether a way to log in is left without this identity; `None` if it is none of these.
pub fn may_unbind(
    identities: &[IdentityRow],
    app_id: &str,
    openid: &str,
    usable: impl Fn(&IdentityRow) -> bool,
) -> Option<bool> {
    let (this, others): (Vec<_>, Vec<_>) = identities
        .iter()
        .partition(|row| row.app_id == app_id && row.openid == openid);
    let this = this.first()?;
    // One of an app that is gone opens nothing, but the last of all is kept: its app may come back.
    Some(others.iter().any(|row| usable(row)) || (!usable(this) && !others.is_empty()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::store::fixtures::{self, NOW, session};

    fn identity(app_id: &str, openid: &str) -> IdentityRow {
        IdentityRow {
            app_id: app_id.to_owned(),
            openid: openid.to_owned(),
            open_platform: None,
            unionid: None,
            user_id: "u_1".to_owned(),
            created_at: NOW,
        }
    }

    fn usable(row: &IdentityRow) -> bool {
        row.app_id != "gone"
    }

    #[test]
    fn the_last_way_to_log_in_stays() {
        let (a, b, gone) = (identity("a", "1"), identity("b", "2"), identity("gone", "3"));
        let table: [(&[&IdentityRow], &str, Option<bool>); 7] = [
            (&[&a], "1", Some(false)),
            (&[&a, &b], "1", Some(true)),
            (&[&a, &b], "2", Some(true)),
            (&[&a, &gone], "1", Some(false)),
            (&[&a, &gone], "3", Some(true)),
            (&[&gone], "3", Some(false)),
            (&[&a, &b], "9", None),
        ];
        for (identities, openid, expected) in table {
            let identities: Vec<IdentityRow> = identities.iter().map(|row| (*row).clone()).collect();
            let app_id = identities
                .iter()
                .find(|row| row.openid == openid)
                .map_or("a", |row| &row.app_id);
            assert_eq!(
                may_unbind(&identities, app_id, openid, usable),
                expected,
                "{identities:?} {openid}"
            );
        }
    }

    #[tokio::test]
    async fn an_identity_goes_with_all_sessions_but_the_one_that_asked() {
        let store = fixtures::store().await;
        fixtures::user(&store, "u_1").await;
        let mut tx = store.directory().await.unwrap();
        for row in [identity("a", "1"), identity("b", "2")] {
            tx.insert_identity(&row).await.unwrap();
        }
        tx.commit().await.unwrap();
        for id in ["s1", "s2"] {
            store.insert_session(&session(id, "u_1")).await.unwrap();
        }
        let directory = Directory::new(crate::store::Store::clone(&store));
        let holder = Holder {
            user_id: "u_1",
            session_id: "s1",
        };
        assert_eq!(directory.unbind_own(holder, "a", "1", usable, NOW).await.unwrap(), 1);
        assert!(store.session("s1").await.unwrap().unwrap().ended_at.is_none());
        assert!(store.session("s2").await.unwrap().unwrap().ended_at.is_some());
        let refused = directory.unbind_own(holder, "b", "2", usable, NOW).await;
        assert!(matches!(refused, Err(UnbindError::Last)), "{refused:?}");
        let stranger = Holder {
            user_id: "u_2",
            ..holder
        };
        let refused = directory.unbind_own(stranger, "b", "2", usable, NOW).await;
        assert!(matches!(refused, Err(UnbindError::NotTheirs)), "{refused:?}");
        assert_eq!(store.identities_of("u_1").await.unwrap().len(), 1);
    }

    /// A ticket that a phone has agreed to, for `u_1` by the session `s1`.
    async fn agreed(store: &crate::store::Store, ticket: &str, openid: &str) {
        let scan = fixtures::scan(ticket, openid);
        assert!(store.ticket_scan(&scan).await.unwrap());
        assert!(store.ticket_set_browser(ticket, "{}").await.unwrap());
        let handle = &scan.handle_hash;
        assert!(
            store
                .ticket_lease(ticket, handle, "lease", NOW + 15, NOW)
                .await
                .unwrap()
        );
        let binding = crate::store::Binding {
            choice: Some(47),
            phone: Some("+8613800138000"),
            user_id: Some("u_1"),
            now: NOW,
            expires_at: NOW + 120,
        };
        assert!(store.ticket_bind(ticket, "lease", &binding).await.unwrap());
        assert!(store.ticket_mark_shown(ticket, handle, Some("u_1")).await.unwrap());
        let bound = crate::store::Bound {
            user_id: "u_1",
            accepted_by: Some(handle),
            phone_note: None,
            now: NOW,
            expires_at: NOW + 60,
        };
        assert!(store.ticket_agree(ticket, &bound).await.unwrap());
    }

    #[tokio::test]
    async fn identity_number_and_ticket_are_written_together_or_not_at_all() {
        let store = fixtures::store().await;
        fixtures::user(&store, "u_1").await;
        store.insert_session(&session("s1", "u_1")).await.unwrap();
        for (ticket, openid) in [("t1", "o1"), ("t2", "o2")] {
            agreed(&store, ticket, openid).await;
        }
        let directory = Directory::new(crate::store::Store::clone(&store));
        let identity = |openid: &str| WechatIdentity {
            app_id: "wx1".to_owned(),
            openid: openid.to_owned(),
            unionid: None,
            open_platform: None,
        };
        let policy = Policy {
            association: crate::config::settings::Association::None,
            login_only: true,
            phone: crate::config::settings::PhonePolicy::Optional,
        };
        let (first, second) = (identity("o1"), identity("o2"));
        let connecting = |ticket, identity, session_id| Connecting {
            ticket,
            holder: Holder {
                user_id: "u_1",
                session_id,
            },
            identity,
            policy: &policy,
            now: NOW + 1,
        };
        assert_eq!(
            directory.connect(&connecting("t1", &first, "other")).await.unwrap(),
            None
        );
        assert_eq!(store.user("u_1").await.unwrap().unwrap().phone, None);
        let done = directory
            .connect(&connecting("t1", &first, "s1"))
            .await
            .unwrap()
            .unwrap();
        assert!(done.bound && !done.created && done.phone_note.is_none());
        assert_eq!(done.user.phone.as_deref(), Some("+8613800138000"));
        assert_eq!(
            directory.connect(&connecting("t1", &first, "s1")).await.unwrap(),
            None,
            "twice"
        );
        // Refused after the ticket was taken: it is given back.
        let refused = directory.connect(&connecting("t2", &second, "s1")).await;
        assert!(matches!(refused, Err(ResolveError::AccountBound)), "{refused:?}");
        let ticket = store.ticket("t2").await.unwrap().unwrap();
        assert_eq!(ticket.state, crate::store::TicketState::Confirmed);
        assert_eq!(store.identities_of("u_1").await.unwrap().len(), 1);
    }
}
