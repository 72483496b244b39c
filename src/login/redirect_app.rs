//! The WeChat app behind a connection whose browser goes to WeChat and comes back.

use std::sync::Arc;

use crate::config::settings::{Connection, ConnectionKind, Locale, Wechat};
use crate::identity::person::Method;
use crate::wechat::{OfficialAccount, Person, Refusal, Transport, Website, WebsiteLanguage, WechatError};

/// A website application or a service account.
#[derive(Debug, Clone)]
pub enum RedirectApp {
    /// `website-qr`
    Website(Website),
    /// `official-account-web`
    OfficialAccount(OfficialAccount),
}

impl RedirectApp {
    /// Of this connection, if it is of a redirect kind.
    pub fn of(connection: &Connection, wechat: &Wechat, transport: &Arc<Transport>) -> Option<Self> {
        let (transport, open_base) = (Arc::clone(transport), wechat.open_base.clone());
        let (app_id, secret) = (connection.app_id.as_str(), connection.app_secret.clone());
        match connection.kind {
            ConnectionKind::WebsiteQr { .. } => Some(Self::Website(Website::new(transport, open_base, app_id, secret))),
            ConnectionKind::OfficialAccountWeb { scope } => {
                let account = OfficialAccount::new(transport, open_base, app_id, secret, scope);
                Some(Self::OfficialAccount(account))
            }
            _ => None,
        }
    }

    /// WeChat's page, which sends the browser to `callback` afterwards.
    pub fn page_url(&self, callback: &str, state: &str, locale: Locale) -> String {
        let language = match locale {
            Locale::ZhCn | Locale::ZhTw => WebsiteLanguage::Chinese,
            Locale::En | Locale::Ja => WebsiteLanguage::English,
        };
        match self {
            Self::Website(app) => app.page_url(callback, state, language).into(),
            Self::OfficialAccount(app) => app.page_url(callback, state).into(),
        }
    }

    /// The same for a frame of the login page; a website application alone has one.
    pub fn frame_url(&self, callback: &str, state: &str) -> Option<String> {
        match self {
            Self::Website(app) => Some(app.frame_url(callback, state).into()),
            Self::OfficialAccount(_) => None,
        }
    }

    /// Who came back with this code. Spends it.
    ///
    /// # Errors
    /// [`WechatError`].
    pub async fn person(&self, code: &str) -> Result<Person, WechatError> {
        match self {
            Self::Website(app) => app.person(code).await,
            Self::OfficialAccount(app) => app.person(code).await,
        }
    }

    /// AppID.
    pub fn app_id(&self) -> &str {
        match self {
            Self::Website(app) => app.app_id(),
            Self::OfficialAccount(app) => app.app_id(),
        }
    }

    /// The calls that rest now because WeChat refuses this installation, each with the answer that began it.
    pub fn resting(&self) -> Vec<Refusal> {
        match self {
            Self::Website(app) => app.resting(),
            Self::OfficialAccount(app) => app.resting(),
        }
    }

    /// As `amr` says it.
    pub fn method(&self) -> Method {
        match self {
            Self::Website(_) => Method::Website,
            Self::OfficialAccount(_) => Method::Web,
        }
    }
}
