//! What website applications and service accounts have in common: a browser brings a code back, and one call makes a
//! person of it.
//!
//! The user's own access token lives for a few milliseconds here: it asks for the profile, where there is one, and is
//! thrown away. The code is sent again only when the request provably never left.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::wechat::answer::{bad, read_json};
use crate::wechat::breaker::Breaker;
use crate::wechat::endpoint::Endpoint;
use crate::wechat::error::{BadAnswer, Refusal, WechatError};
use crate::wechat::mini_program::{LoginIdentity, check_code, is_id};
use crate::wechat::transport::{Call, Transport};

/// One AppID with web login. Clones share the pauses.
#[derive(Clone)]
pub(super) struct Oauth {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Arc<Transport>,
    app_id: Box<str>,
    app_secret: SecretString,
    breaker: Breaker,
}

/// Who a code belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Person {
    /// A person.
    Real {
        /// Who.
        identity: LoginIdentity,
        /// What they are called; nothing where it was not asked for, or not told.
        profile: Profile,
    },
    /// The virtual account of a snapshot page: its ids are nobody's, or somebody else's.
    Snapshot,
}

/// What WeChat says about a person. `Debug` shows neither.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// Nickname: any Unicode, not unique.
    pub name: Option<String>,
    /// Address of the picture; it ends when the person changes the picture.
    pub picture: Option<String>,
}

/// The grant that a code was exchanged for.
pub(super) struct Grant {
    pub(super) identity: LoginIdentity,
    pub(super) snapshot: bool,
    token: SecretString,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    openid: String,
    unionid: Option<String>,
    #[serde(default)]
    is_snapshotuser: i64,
}

#[derive(Deserialize)]
struct ProfileAnswer {
    openid: String,
    nickname: Option<String>,
    headimgurl: Option<String>,
}

/// Whether this can be a code that WeChat sent a browser back with.
///
/// # Errors
/// [`WechatError::NotACode`].
pub fn check_oauth_code(code: &str) -> Result<(), WechatError> {
    check_code(Endpoint::OauthToken, code)
}

impl Oauth {
    pub(super) fn new(transport: Arc<Transport>, app_id: impl Into<Box<str>>, app_secret: SecretString) -> Self {
        let breaker = Breaker::new(Arc::clone(transport.clock()));
        Self {
            inner: Arc::new(Inner {
                transport,
                app_id: app_id.into(),
                app_secret,
                breaker,
            }),
        }
    }

    pub(super) fn app_id(&self) -> &str {
        &self.inner.app_id
    }

    /// The calls that rest now because WeChat refuses this installation, each with the answer that began it.
    pub(super) fn resting(&self) -> Vec<Refusal> {
        self.inner.breaker.resting()
    }

    /// Spends a code.
    pub(super) async fn exchange(&self, code: &str) -> Result<Grant, WechatError> {
        let endpoint = Endpoint::OauthToken;
        let app = &*self.inner;
        check_code(endpoint, code)?;
        app.breaker.admit(endpoint)?;
        let query = [
            ("appid", &*app.app_id),
            ("secret", app.app_secret.expose_secret()),
            ("code", code),
            ("grant_type", "authorization_code"),
        ];
        let call = Call::get(endpoint, &query);
        let transport = &app.transport;
        let result = transport
            .call(&call, &transport.deadline(), read_json::<TokenAnswer>)
            .await;
        let answer = app.breaker.record(endpoint, result)?;
        let unionid = answer.unionid.filter(|unionid| !unionid.is_empty());
        if !is_id(&answer.openid) {
            return Err(bad(endpoint, BadAnswer::Lacks("openid")));
        }
        if unionid.as_deref().is_some_and(|unionid| !is_id(unionid)) {
            return Err(bad(endpoint, BadAnswer::Lacks("unionid")));
        }
        Ok(Grant {
            identity: LoginIdentity {
                openid: answer.openid,
                unionid,
            },
            snapshot: answer.is_snapshotuser != 0,
            token: SecretString::from(answer.access_token),
        })
    }

    /// Asks who it is by name.
    pub(super) async fn profile(&self, grant: &Grant) -> Result<Profile, WechatError> {
        let endpoint = Endpoint::UserInfo;
        let app = &*self.inner;
        app.breaker.admit(endpoint)?;
        let query = [
            ("access_token", grant.token.expose_secret()),
            ("openid", &*grant.identity.openid),
            ("lang", "zh_CN"),
        ];
        let call = Call::get(endpoint, &query);
        let transport = &app.transport;
        let result = transport
            .call_patiently(&call, &transport.deadline(), read_json::<ProfileAnswer>)
            .await;
        let answer = app.breaker.record(endpoint, result)?;
        if answer.openid != grant.identity.openid {
            return Err(bad(endpoint, BadAnswer::Lacks("openid")));
        }
        let told = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        Ok(Profile {
            name: told(answer.nickname),
            picture: told(answer.headimgurl),
        })
    }

    /// The profile; an empty one where WeChat does not tell it, which keeps nobody out. `None`: the grant does not cover
    /// the profile.
    pub(super) async fn profile_or_nothing(&self, grant: &Grant) -> Option<Profile> {
        match self.profile(grant).await {
            Ok(profile) => Some(profile),
            Err(error) if error.code() == Some(SCOPE_MISSING) => None,
            Err(error) => {
                tracing::info!(app_id = self.app_id(), %error, "name and picture not told; the login goes on");
                Some(Profile::default())
            }
        }
    }
}

impl std::fmt::Debug for Oauth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Oauth").field(&self.app_id()).finish()
    }
}

impl std::fmt::Debug for Profile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Profile")
            .field("name", &self.name.is_some())
            .field("picture", &self.picture.is_some())
            .finish()
    }
}

/// Of `/sns/userinfo`.
const SCOPE_MISSING: i64 = 48_001;

#[cfg(test)]
#[path = "oauth_tests.rs"]
mod tests;
