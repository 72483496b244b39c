//! What is known of one person, for whoever asks for their own data.

use super::sessions::from_row;
use super::{SessionRow, Store, StoreError};

impl Store {
    /// A user's sessions that the registry still knows, ended or not, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn all_sessions_of(&self, user_id: &str) -> Result<Vec<SessionRow>, StoreError> {
        let query = sqlx::query(
            "SELECT id, user_id, connection, site, host, device, address, place, ticket, created_at, auth_time,
                 expires_at, last_used_at, ended_at, parent FROM sessions WHERE user_id = $1
             ORDER BY created_at DESC, id",
        )
        .bind(user_id);
        self.fetch_all(query).await?.iter().map(from_row).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::fixtures::{self, session};
    use super::*;

    #[tokio::test]
    async fn all_sessions_of_a_person_are_found_ended_or_not() {
        let store = fixtures::store().await;
        for user in ["u_1", "u_2"] {
            fixtures::user(&store, user).await;
        }
        let handed = SessionRow {
            created_at: fixtures::NOW + 1,
            parent: Some("s1".to_owned()),
            ended_at: Some(fixtures::NOW + 2),
            ..session("s2", "u_1")
        };
        for row in [&session("s1", "u_1"), &handed, &session("other", "u_2")] {
            store.insert_session(row).await.unwrap();
        }
        assert_eq!(
            store.all_sessions_of("u_1").await.unwrap(),
            [handed, session("s1", "u_1")]
        );
    }
}
