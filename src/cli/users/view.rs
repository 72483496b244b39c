//! How a user is shown.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::cli::operator::Listed;
use crate::store::{IdentityRow, User};

/// A user as programs read it. Times are Unix seconds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct UserView {
    id: String,
    username: Option<String>,
    name: Option<String>,
    phone: Option<String>,
    email: Option<String>,
    picture: Option<String>,
    groups: Vec<String>,
    attributes: Map<String, Value>,
    disabled: bool,
    service: bool,
    has_password: bool,
    created_at: i64,
    updated_at: i64,
    last_login_at: Option<i64>,
}

/// An identity as programs read it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct IdentityView {
    pub(super) app_id: String,
    pub(super) openid: String,
    open_platform: Option<String>,
    unionid: Option<String>,
    pub(super) created_at: i64,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            username: user.username,
            name: user.name,
            phone: user.phone,
            email: user.email,
            picture: user.picture,
            groups: user.groups,
            attributes: user.attributes,
            disabled: user.disabled,
            service: user.service,
            has_password: user.has_password,
            created_at: user.created_at,
            updated_at: user.updated_at,
            last_login_at: user.last_login_at,
        }
    }
}

impl From<IdentityRow> for IdentityView {
    fn from(row: IdentityRow) -> Self {
        Self {
            app_id: row.app_id,
            openid: row.openid,
            open_platform: row.open_platform,
            unionid: row.unionid,
            created_at: row.created_at,
        }
    }
}

impl UserView {
    /// `disabled`, `service`, or nothing.
    pub(super) fn state(&self) -> String {
        let states = [(self.disabled, "disabled"), (self.service, "service")];
        let states: Vec<_> = states.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
        states.join(" ")
    }
}

impl Listed for UserView {
    const COLUMNS: &[&str] = &["id", "username", "name", "phone", "email", "groups", "state"];

    fn cells(&self) -> Vec<String> {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        vec![
            self.id.clone(),
            text(&self.username),
            text(&self.name),
            text(&self.phone),
            text(&self.email),
            self.groups.join(";"),
            self.state(),
        ]
    }
}
