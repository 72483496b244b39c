//! What people may do to their own identities.

use super::directory::Directory;
use crate::store::{IdentityRow, Lock, StoreError};

/// What a person holds while they change something of theirs.
#[derive(Debug, Clone, Copy)]
pub struct Holder<'h> {
    /// Who.
    pub user_id: &'h str,
    /// The session that they do it by: it goes on.
    pub session_id: &'h str,
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
}
