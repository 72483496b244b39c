//! A service account inside WeChat's own browser (网页授权).

use std::sync::Arc;

use secrecy::SecretString;
use url::Url;

use crate::config::settings::WebScope;
use crate::wechat::error::{Refusal, WechatError};
use crate::wechat::oauth::{Oauth, Person, Profile};
use crate::wechat::transport::Transport;
use crate::wechat::website::authorization_page;

/// A service account. Clones share the pauses.
#[derive(Debug, Clone)]
pub struct OfficialAccount {
    oauth: Oauth,
    open_base: Url,
    scope: WebScope,
}

impl OfficialAccount {
    /// For one AppID. Calls nothing yet.
    pub fn new(
        transport: Arc<Transport>,
        open_base: Url,
        app_id: impl Into<Box<str>>,
        secret: SecretString,
        scope: WebScope,
    ) -> Self {
        Self {
            oauth: Oauth::new(transport, app_id, secret),
            open_base,
            scope,
        }
    }

    /// AppID.
    pub fn app_id(&self) -> &str {
        self.oauth.app_id()
    }

    /// The calls that rest now because WeChat refuses this installation, each with the answer that began it.
    pub fn resting(&self) -> Vec<Refusal> {
        self.oauth.resting()
    }

    /// WeChat's page; it works in WeChat's browser only. The order of the parameters is the documented one.
    pub fn page_url(&self, redirect_uri: &str, state: &str) -> Url {
        let scope = match self.scope {
            WebScope::Base => "snsapi_base",
            WebScope::UserInfo => "snsapi_userinfo",
        };
        let parameters = [
            ("appid", self.oauth.app_id()),
            ("redirect_uri", redirect_uri),
            ("response_type", "code"),
            ("scope", scope),
            ("state", state),
        ];
        authorization_page(&self.open_base, "/connect/oauth2/authorize", &parameters)
    }

    /// Who it is. With `snsapi_userinfo` a refused profile is a snapshot page whose mark was left out, which has been
    /// seen: a grant for the profile always covers the profile.
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
        let profile = match self.scope {
            WebScope::Base => Profile::default(),
            WebScope::UserInfo => match self.oauth.profile_or_nothing(&grant).await {
                Some(profile) => profile,
                None => return Ok(Person::Snapshot),
            },
        };
        Ok(Person::Real {
            identity: grant.identity,
            profile,
        })
    }
}
