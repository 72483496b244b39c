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
                 expires_at, last_used_at, ended_at FROM sessions WHERE user_id = $1 ORDER BY created_at DESC, id",
        )
        .bind(user_id);
        self.fetch_all(query).await?.iter().map(from_row).collect()
    }
}
