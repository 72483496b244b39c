//! A website application of the Open Platform: WeChat's page with a code, whole or in a frame.

use std::sync::Arc;

use secrecy::SecretString;
use url::Url;

use crate::wechat::error::{Refusal, WechatError};
use crate::wechat::oauth::{Oauth, Person};
use crate::wechat::transport::Transport;

/// A website application. Clones share the pauses.
#[derive(Debug, Clone)]
pub struct Website {
    oauth: Oauth,
    open_base: Url,
}

/// Language of WeChat's page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebsiteLanguage {
    /// Chinese.
    Chinese,
    /// English.
    English,
}

impl Website {
    /// For one AppID. Calls nothing yet.
    pub fn new(transport: Arc<Transport>, open_base: Url, app_id: impl Into<Box<str>>, secret: SecretString) -> Self {
        let oauth = Oauth::new(transport, app_id, secret);
        Self { oauth, open_base }
    }

    /// AppID.
    pub fn app_id(&self) -> &str {
        self.oauth.app_id()
    }

    /// The calls that rest now because WeChat refuses this installation, each with the answer that began it.
    pub fn resting(&self) -> Vec<Refusal> {
        self.oauth.resting()
    }

    /// WeChat's page. The parameters stand in the documented order: another one has been seen to be refused.
    pub fn page_url(&self, redirect_uri: &str, state: &str, language: WebsiteLanguage) -> Url {
        let language = match language {
            WebsiteLanguage::Chinese => "cn",
            WebsiteLanguage::English => "en",
        };
        let parameters = [
            ("appid", self.oauth.app_id()),
            ("redirect_uri", redirect_uri),
            ("response_type", "code"),
            ("scope", "snsapi_login"),
            ("state", state),
            ("lang", language),
        ];
        authorization_page(&self.open_base, "/connect/qrconnect", &parameters)
    }

    /// The same for a frame, as WeChat's `wxLogin.js` builds it; the finished login opens in the whole window.
    pub fn frame_url(&self, redirect_uri: &str, state: &str) -> Url {
        let parameters = [
            ("appid", self.oauth.app_id()),
            ("scope", "snsapi_login"),
            ("redirect_uri", redirect_uri),
            ("state", state),
            ("login_type", "jssdk"),
            ("self_redirect", "default"),
            ("style", "black"),
        ];
        let mut url = authorization_page(&self.open_base, "/connect/qrconnect", &parameters);
        url.set_fragment(None);
        url
    }

    /// Who consented. The profile is decoration: without it the login goes on.
    ///
    /// # Errors
    ///
    /// A refused code ([`Outcome::CodeInvalid`](crate::wechat::Outcome::CodeInvalid)), or anything that kept WeChat from
    /// answering. The code is spent unless [`WechatError`] is one that did not ask WeChat.
    pub async fn person(&self, code: &str) -> Result<Person, WechatError> {
        let grant = self.oauth.exchange(code).await?;
        if grant.snapshot {
            return Ok(Person::Snapshot);
        }
        let profile = self.oauth.profile_or_nothing(&grant).await.unwrap_or_default();
        Ok(Person::Real {
            identity: grant.identity,
            profile,
        })
    }
}

/// A page of WeChat's that ends at `redirect_uri`. `#wechat_redirect` is required, and means nothing.
pub(super) fn authorization_page(open_base: &Url, path: &str, parameters: &[(&str, &str)]) -> Url {
    let mut url = open_base.clone();
    url.set_path(&format!("{}{path}", open_base.path().trim_end_matches('/')));
    url.query_pairs_mut().clear().extend_pairs(parameters);
    url.set_fragment(Some("wechat_redirect"));
    url
}
