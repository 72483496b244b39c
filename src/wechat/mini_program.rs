//! What a login asks of WeChat in the name of a mini program: who scanned, their phone number, and the code to scan.
//!
//! Codes from a phone work once, and an attempt may burn them even if it fails. So `jscode2session` is sent again only
//! when the request provably never left, and `getuserphonenumber` in one further case: when WeChat refuses the access
//! token, which it checks before it looks at the code. After a time-out nobody knows whether a code was spent; the
//! phone gets a new one.

use std::num::NonZeroU32;
use std::sync::Arc;

use governor::Quota;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::wechat::access_token::AccessTokens;
use crate::wechat::answer::{bad, read_image, read_json};
use crate::wechat::call_budget::CallBudget;
use crate::wechat::endpoint::Endpoint;
use crate::wechat::error::{BadAnswer, Refusal, WechatError};
use crate::wechat::phone::{PhoneAnswer, PhoneNumber};
use crate::wechat::quota::{CallQuota, QuotaAnswer, QuotaRequest};
use crate::wechat::transport::{Call, Transport};
use crate::wechat::unlimited_code::{CodeImage, UnlimitedCode};

/// A mini program, as its owner's server sees it. Clones share the access token, the pauses and the quota.
#[derive(Clone)]
pub struct MiniProgram {
    app: Arc<App>,
}

struct App {
    transport: Arc<Transport>,
    tokens: AccessTokens,
    codes: CallBudget,
}

/// Who a login code belongs to. `Debug` shortens both ids.
#[derive(Clone, PartialEq, Eq)]
pub struct LoginIdentity {
    /// The person within this AppID.
    pub openid: String,
    /// The person within the Open Platform account; absent unless the app is bound to one.
    pub unionid: Option<String>,
}

/// The answer of jscode2session. `session_key` is not read: nothing is decrypted with it.
#[derive(Deserialize)]
struct SessionAnswer {
    openid: String,
    unionid: Option<String>,
}

/// The request of getuserphonenumber.
#[derive(Serialize)]
struct PhoneRequest<'a> {
    code: &'a str,
    openid: &'a str,
}

impl MiniProgram {
    /// For one AppID. Calls nothing yet.
    pub fn new(transport: Arc<Transport>, app_id: impl Into<Box<str>>, app_secret: SecretString) -> Self {
        let quota = Quota::per_minute(CODES_PER_MINUTE).allow_burst(CODE_BURST);
        let codes = CallBudget::new(Endpoint::UnlimitedCode, quota, transport.clock());
        let tokens = AccessTokens::new(Arc::clone(&transport), app_id, app_secret);
        Self {
            app: Arc::new(App {
                transport,
                tokens,
                codes,
            }),
        }
    }

    /// Whether both share token, pauses and quota.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.app, &other.app)
    }

    /// AppID.
    pub fn app_id(&self) -> &str {
        self.app.tokens.app_id()
    }

    /// The access token of the app, for a check of the credentials.
    pub fn access_tokens(&self) -> &AccessTokens {
        &self.app.tokens
    }

    /// The calls that rest now because WeChat refuses this installation, each with the answer that began it.
    pub fn resting(&self) -> Vec<Refusal> {
        self.app.tokens.breaker().resting()
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.app.transport
    }

    /// Exchanges a login code (`wx.login`) for the person (code2Session).
    ///
    /// # Errors
    ///
    /// A refused code ([`Outcome::CodeInvalid`](crate::wechat::Outcome::CodeInvalid)), a refused person, or anything
    /// that kept WeChat from answering. The code is spent unless [`WechatError`] is one that did not ask WeChat.
    pub async fn code_to_session(&self, code: &str) -> Result<LoginIdentity, WechatError> {
        let endpoint = Endpoint::CodeToSession;
        let App { transport, tokens, .. } = &*self.app;
        check_code(endpoint, code)?;
        tokens.breaker().admit(endpoint)?;
        let query = [
            ("appid", tokens.app_id()),
            ("secret", tokens.app_secret()),
            ("js_code", code),
            ("grant_type", "authorization_code"),
        ];
        let call = Call::get(endpoint, &query);
        let result = transport
            .call(&call, &transport.deadline(), read_json::<SessionAnswer>)
            .await;
        let SessionAnswer { openid, unionid } = tokens.breaker().record(endpoint, result)?;
        let unionid = unionid.filter(|unionid| !unionid.is_empty());
        if !is_id(&openid) {
            return Err(bad(endpoint, BadAnswer::Lacks("openid")));
        }
        if unionid.as_deref().is_some_and(|unionid| !is_id(unionid)) {
            return Err(bad(endpoint, BadAnswer::Lacks("unionid")));
        }
        Ok(LoginIdentity { openid, unionid })
    }

    /// Exchanges a phone number code (of the phone button) for the number (getPhoneNumber). WeChat is told the openid
    /// and refuses a code of somebody else.
    ///
    /// # Errors
    ///
    /// A refused code ([`Outcome::PhoneCodeInvalid`](crate::wechat::Outcome::PhoneCodeInvalid)), an answer that was not
    /// made for this app and now, or anything that kept WeChat from answering.
    pub async fn phone_number(&self, code: &str, openid: &str) -> Result<PhoneNumber, WechatError> {
        let endpoint = Endpoint::PhoneNumber;
        let App { transport, tokens, .. } = &*self.app;
        check_code(endpoint, code)?;
        tokens.breaker().admit(endpoint)?;
        let deadline = transport.deadline();
        let request = PhoneRequest { code, openid };
        let answer = tokens
            .call(&deadline, async |token| {
                let query = [("access_token", token.expose())];
                let call = Call::post(endpoint, &query, &request)?;
                let result = transport.call(&call, &deadline, read_json::<PhoneAnswer>).await;
                tokens.breaker().record(endpoint, result)
            })
            .await?;
        answer.verify(tokens.app_id(), transport.clock().calendar())
    }

    /// Has WeChat draw a code (getUnlimitedQRCode). The code itself never ends: the login must.
    ///
    /// # Errors
    ///
    /// A request against WeChat's rules, a full quota, an unknown page, or anything that kept WeChat from answering.
    pub async fn unlimited_code(&self, request: &UnlimitedCode) -> Result<CodeImage, WechatError> {
        let endpoint = Endpoint::UnlimitedCode;
        let App { transport, tokens, .. } = &*self.app;
        request.validate()?;
        tokens.breaker().admit(endpoint)?;
        self.app.codes.take()?;
        let deadline = transport.deadline();
        tokens
            .call(&deadline, async |token| {
                let query = [("access_token", token.expose())];
                let call = Call::post(endpoint, &query, request)?;
                let result = transport.call_patiently(&call, &deadline, read_image).await;
                tokens.breaker().record(endpoint, result)
            })
            .await
    }

    /// How much of a call is left today (getApiQuota). `/sns` calls have none (76022).
    ///
    /// # Errors
    ///
    /// Anything that kept WeChat from answering.
    pub async fn quota(&self, of: Endpoint) -> Result<CallQuota, WechatError> {
        let endpoint = Endpoint::Quota;
        let App { transport, tokens, .. } = &*self.app;
        tokens.breaker().admit(endpoint)?;
        let deadline = transport.deadline();
        let request = QuotaRequest { cgi_path: of.path() };
        let answer = tokens
            .call(&deadline, async |token| {
                let query = [("access_token", token.expose())];
                let call = Call::post(endpoint, &query, &request)?;
                let result = transport
                    .call_patiently(&call, &deadline, read_json::<QuotaAnswer>)
                    .await;
                tokens.breaker().record(endpoint, result)
            })
            .await?;
        Ok(answer.quota)
    }
}

impl std::fmt::Debug for MiniProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MiniProgram")
            .field("app_id", &self.app_id())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for LoginIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shorten = |id: &str| format!("{}…", id.chars().take(6).collect::<String>());
        f.debug_struct("LoginIdentity")
            .field("openid", &shorten(&self.openid))
            .field("unionid", &self.unionid.as_deref().map(shorten))
            .finish()
    }
}

/// What cannot be a code is refused without asking: WeChat's answer to it may be any error, also one that looks like an
/// operator's mistake.
pub(super) fn check_code(endpoint: Endpoint, code: &str) -> Result<(), WechatError> {
    let plausible = (1..=CODE_LIMIT).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_graphic());
    if plausible {
        Ok(())
    } else {
        Err(WechatError::NotACode { endpoint })
    }
}

/// openids and unionids are opaque; about 28 characters today.
pub(super) fn is_id(id: &str) -> bool {
    (1..=ID_LIMIT).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Together with the burst at most 4,500 in any minute of the 5,000 that an account has: retries, `doctor` and a
/// colleague's script need some too. Other nodes do not share the count; WeChat's 45009 stops them.
const CODES_PER_MINUTE: NonZeroU32 = NonZeroU32::new(4_000).unwrap();

const CODE_BURST: NonZeroU32 = NonZeroU32::new(500).unwrap();

/// Bytes. Login codes have 32, phone codes 64.
const CODE_LIMIT: usize = 512;

/// Bytes that a store must reserve for an openid or a unionid.
const ID_LIMIT: usize = 64;

#[cfg(test)]
mod tests;
