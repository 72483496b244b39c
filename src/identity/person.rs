//! What a session knows about the person, as upstreams and the portal may see it.

use serde::{Deserialize, Serialize};

/// A person at the time of the login, or of the last change that reached this node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Person {
    /// `u_…`, never reused.
    pub id: String,
    /// Unique; many have none.
    pub username: Option<String>,
    /// Display name.
    pub name: Option<String>,
    /// Picture URL.
    pub picture: Option<String>,
    /// E.164, verified by WeChat or entered by an operator.
    pub phone: Option<String>,
    /// E-mail address.
    pub email: Option<String>,
    /// Names of groups, in the directory's order.
    pub groups: Vec<String>,
}

/// How and when the person logged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authentication {
    /// Connection id.
    pub connection: String,
    /// How, as `amr` says it.
    pub method: Method,
    /// Unix seconds.
    pub time: i64,
    /// AppID that the openid belongs to.
    pub app_id: String,
    /// The person at this app.
    pub openid: String,
    /// The person at the Open Platform account, where the app is bound to one.
    pub unionid: Option<String>,
}

/// Value of `amr`. The order is stored in cookies: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// A mini program.
    MiniProgram,
    /// A website application.
    Website,
    /// A service account's code.
    OfficialAccount,
    /// WeChat's own browser.
    Web,
    /// A bearer token.
    Token,
}

impl Person {
    /// Username, or the id of a person without one: what legacy applications call the user.
    pub fn user(&self) -> &str {
        self.username.as_deref().unwrap_or(&self.id)
    }
}

impl Method {
    /// The text in `amr`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MiniProgram => "wechat_miniprogram",
            Self::Website => "wechat_website",
            Self::OfficialAccount => "wechat_official_account",
            Self::Web => "wechat_web",
            Self::Token => "token",
        }
    }
}
