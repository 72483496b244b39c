//! What the sandbox remembers, and each call of WeChat's servers as a change of it.
//!
//! Everything here takes the time as an argument and does no I/O, so that five minutes pass in a test by adding 300.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::{Map, Value, json};
use subtle::ConstantTimeEq;

use super::account::Accounts;
use super::codes::{self, Codes, Kind};
use super::endpoint::Endpoint;
use super::error::WechatError;
use super::faults::Faults;
use super::identifiers;
use super::links::Links;
use super::oauth::Oauth;
use super::quotas::Quotas;
use super::tokens::{self, Standing, Tokens};
use super::world::{App, AppId, AppKind, Persona, Quirks, SandboxConfig};
use super::wxacode::Order;

/// Everything that changes while the sandbox runs.
#[derive(Debug)]
pub(super) struct State {
    pub(super) faults: Faults,
    pub(super) calls: BTreeMap<Endpoint, u64>,
    pub(super) recent: VecDeque<CallRecord>,
    accounts: Vec<Account>,
    personas: Vec<Persona>,
    pub(super) quirks: Quirks,
    codes: Codes,
    pub(super) oauth: Oauth,
    pub(super) service: Accounts,
    pub(super) links: Links,
    session_keys: HashMap<(AppId, String), SessionKey>,
}

/// One call, as the control interface lists it. No code, token or secret is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallRecord {
    /// Unix seconds, by the sandbox's clock.
    pub at: u64,
    /// Which call.
    pub endpoint: Endpoint,
    /// The true answer: 0 for success. `None` when the endpoint did not come to its work.
    pub errcode: Option<i64>,
    /// Whether an order to misbehave changed the answer.
    pub fault: bool,
}

/// A question to WeChat's servers, read but not judged.
#[derive(Debug, Default)]
pub(super) struct Question {
    pub(super) query: HashMap<String, String>,
    pub(super) body: Vec<u8>,
}

/// A successful answer.
#[derive(Debug)]
pub(super) enum Answer {
    /// JSON.
    Json(Value),
    /// A code that has to be drawn, for this app.
    Code(Order, Box<App>),
    /// JSON about a code of a service account, whose address holds this key.
    SceneCode {
        /// For the picture.
        ticket: String,
        /// Absent for a code that lasts.
        expire_seconds: Option<u64>,
        /// Of its address.
        key: String,
    },
    /// A link, or a scheme, with this ticket.
    Link { ticket: String, scheme: bool },
}

/// The phone button gave no code: WeChat's `errno`, or there is no such person or app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PhoneRefusal {
    /// No such app or person.
    #[error("no such app or person")]
    Unknown,
    /// What `e.detail.errno` would be: 102 no permission, 112 not declared, 1400001 out of quota.
    #[error("the phone button answers errno {0}")]
    Errno(i64),
}

#[derive(Debug)]
pub(super) struct Account {
    pub(super) app: App,
    tokens: Tokens,
    pub(super) quotas: Quotas,
    unchecked_pages: HashSet<String>,
}

#[derive(Debug)]
struct SessionKey {
    text: String,
    made: u64,
}

impl State {
    pub(super) fn new(config: SandboxConfig) -> Self {
        let account = |app| Account {
            app,
            tokens: Tokens::default(),
            quotas: Quotas::default(),
            unchecked_pages: HashSet::new(),
        };
        Self {
            faults: Faults::default(),
            calls: BTreeMap::new(),
            recent: VecDeque::new(),
            accounts: config.apps.into_iter().map(account).collect(),
            personas: config.personas,
            quirks: config.quirks,
            codes: Codes::default(),
            oauth: Oauth::default(),
            service: Accounts::default(),
            links: Links::default(),
            session_keys: HashMap::new(),
        }
    }

    pub(super) fn apps(&self) -> impl Iterator<Item = &App> {
        self.accounts.iter().map(|account| &account.app)
    }

    pub(super) fn personas(&self) -> &[Persona] {
        &self.personas
    }

    /// `wx.login`: a new code, and a new session key if the last one has had its time.
    pub(super) fn login_code(&mut self, app_id: &str, persona: &str, now: u64) -> Option<String> {
        let app = self.app(app_id)?.app_id.clone();
        let persona = self.persona(persona)?.id.clone();
        let key = self.session_keys.entry((app.clone(), persona.clone()));
        let key = key.or_insert_with(|| SessionKey {
            text: identifiers::session_key(),
            made: now,
        });
        if now >= key.made + SESSION_KEY_PERIOD {
            *key = SessionKey {
                text: identifiers::session_key(),
                made: now,
            };
        }
        Some(self.codes.issue(Kind::Login, &app, &persona, now))
    }

    /// What the last `wx.login` of a person opened.
    pub(super) fn session_key(&self, app: &App, persona: &Persona) -> Option<&str> {
        let key = self.session_keys.get(&(app.app_id.clone(), persona.id.clone()))?;
        Some(&key.text)
    }

    /// The phone button.
    pub(super) fn phone_code(&mut self, app_id: &str, persona: &str, now: u64) -> Result<String, PhoneRefusal> {
        let app = self.app(app_id).ok_or(PhoneRefusal::Unknown)?;
        let persona = self.persona(persona).ok_or(PhoneRefusal::Unknown)?;
        if app.kind != AppKind::MiniProgram || !app.verified {
            return Err(PhoneRefusal::Errno(102));
        }
        if !app.phone_declared {
            return Err(PhoneRefusal::Errno(112));
        }
        if let Some(errno) = persona.phone_errno {
            return Err(PhoneRefusal::Errno(errno));
        }
        let (app, persona) = (app.app_id.clone(), persona.id.clone());
        Ok(self.codes.issue(Kind::Phone, &app, &persona, now))
    }

    /// Answers a call.
    pub(super) fn answer(&mut self, endpoint: Endpoint, question: &Question, now: u64) -> Result<Answer, WechatError> {
        match endpoint {
            Endpoint::Token => self.token(question, now).map(Answer::Json),
            Endpoint::StableToken => self.stable_token(question, now).map(Answer::Json),
            Endpoint::WxaCode => self.wxacode(question, now),
            Endpoint::Login => self.code_to_session(question, now).map(Answer::Json),
            Endpoint::PhoneNumber => self.phone_number(question, now).map(Answer::Json),
            Endpoint::CheckSession => self.check_session(question, now).map(Answer::Json),
            Endpoint::Quota => self.quota(question, now).map(Answer::Json),
            Endpoint::ClearQuota => self.clear_quota(question, now).map(Answer::Json),
            Endpoint::OauthToken => self.oauth_token(question, now).map(Answer::Json),
            Endpoint::UserInfo => self.user_info(question, now).map(Answer::Json),
            Endpoint::AccountCode => self.account_code(question, now),
            Endpoint::Follower => self.follower(question, now).map(Answer::Json),
            Endpoint::UrlLink | Endpoint::Scheme => self.make_link(endpoint, question, now),
        }
    }

    fn token(&mut self, question: &Question, now: u64) -> Result<Value, WechatError> {
        if question.text("grant_type") != Some("client_credential") {
            return Err(WechatError::GRANT_TYPE);
        }
        let (app_id, secret) = (question.text("appid"), question.text("secret"));
        let account = self.authenticate(app_id, secret).map_err(|error| match error {
            // Here a secret of the right form that is wrong has a code of its own.
            WechatError::SECRET if secret.is_some_and(is_secret) => WechatError::CREDENTIAL,
            other => other,
        })?;
        account.quotas.spend(Endpoint::Token, now)?;
        let grant = account.tokens.mint_legacy(now);
        Ok(json!({ "access_token": grant.token, "expires_in": grant.expires_in }))
    }

    fn stable_token(&mut self, question: &Question, now: u64) -> Result<Value, WechatError> {
        let body = question.json()?;
        if body.get("grant_type").and_then(Value::as_str) != Some("client_credential") {
            return Err(WechatError::GRANT_TYPE);
        }
        let text = |name| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let account = self.authenticate(text("appid"), text("secret"))?;
        account.quotas.spend(Endpoint::StableToken, now)?;
        let force = body.get("force_refresh").and_then(Value::as_bool).unwrap_or(false);
        let grant = account.tokens.stable(force, now)?;
        Ok(json!({ "access_token": grant.token, "expires_in": grant.expires_in }))
    }

    fn wxacode(&mut self, question: &Question, now: u64) -> Result<Answer, WechatError> {
        let account = self.authorise(question, now)?;
        if account.app.kind != AppKind::MiniProgram {
            return Err(WechatError::UNAUTHORISED);
        }
        if !question.body.trim_ascii_start().starts_with(b"{") {
            return Err(WechatError::SCENE_LENGTH);
        }
        let body = question.json()?;
        let order = Order::parse(&body, &account.app, &mut account.unchecked_pages)?;
        account.quotas.spend(Endpoint::WxaCode, now)?;
        Ok(Answer::Code(order, Box::new(account.app.clone())))
    }

    fn code_to_session(&mut self, question: &Question, now: u64) -> Result<Value, WechatError> {
        let session = self.exchange_login(question, now);
        if let Some(code) = question.text("js_code")
            && (session.is_ok() || self.quirks.burn_failed_codes)
        {
            self.codes.spend(code, Kind::Login);
        }
        session
    }

    fn exchange_login(&mut self, question: &Question, now: u64) -> Result<Value, WechatError> {
        let code = question.text("js_code");
        let account = self.authenticate(question.text("appid"), question.text("secret"))?;
        let app = account.app.clone();
        let code = code.ok_or(WechatError::CODE_MISSING)?;
        if question.text("grant_type") != Some("authorization_code") {
            return Err(WechatError::GRANT_TYPE);
        }
        if app.kind != AppKind::MiniProgram {
            return Err(WechatError::APP_ID);
        }
        let id = self.codes.examine(code, Kind::Login, &app.app_id, now)?.to_owned();
        let account = self.authenticate(question.text("appid"), question.text("secret"))?;
        account.quotas.spend(Endpoint::Login, now)?;
        account.quotas.spend_login(&id, now)?;
        let high_risk = self.persona(&id).is_some_and(|persona| persona.high_risk);
        if high_risk {
            return Err(WechatError::HIGH_RISK);
        }
        let key = self
            .session_keys
            .get(&(app.app_id.clone(), id.clone()))
            .ok_or(WechatError::BUSY)?;
        let mut session = json!({ "session_key": key.text, "openid": identifiers::openid(app.app_id.as_str(), &id) });
        if let Some(open_platform) = &app.open_platform {
            session["unionid"] = Value::from(identifiers::unionid(open_platform, &id));
        }
        Ok(session)
    }

    fn phone_number(&mut self, question: &Question, now: u64) -> Result<Value, WechatError> {
        let account = self.authorise(question, now)?;
        let app = account.app.clone();
        if app.kind != AppKind::MiniProgram || !app.verified {
            return Err(WechatError::UNAUTHORISED);
        }
        account.quotas.spend(Endpoint::PhoneNumber, now)?;
        let body = question.json()?;
        let code = body.get("code").and_then(Value::as_str).ok_or(WechatError::CODE)?;
        let openid = body.get("openid").and_then(Value::as_str);
        let phone = self.exchange_phone(&app, code, openid, now);
        if phone.is_ok() || self.quirks.burn_failed_codes {
            self.codes.spend(code, Kind::Phone);
        }
        phone
    }

    fn exchange_phone(&self, app: &App, code: &str, openid: Option<&str>, now: u64) -> Result<Value, WechatError> {
        let id = self.codes.examine(code, Kind::Phone, &app.app_id, now)?;
        if openid.is_some_and(|openid| openid != identifiers::openid(app.app_id.as_str(), id)) {
            return Err(WechatError(self.quirks.openid_mismatch));
        }
        let persona = self.persona(id).ok_or(WechatError::CODE)?;
        Ok(json!({ "errcode": 0, "errmsg": "ok", "phone_info": self.phone_info(app, persona, now) }))
    }

    /// The number of a person as WeChat tells it, by code or encrypted.
    pub(super) fn phone_info(&self, app: &App, persona: &Persona, now: u64) -> Value {
        let phone = &persona.phone;
        // Only a number from abroad carries its calling code here.
        let full = if phone.country_code == MAINLAND {
            phone.number.clone()
        } else {
            phone.e164()
        };
        let country_code = if self.quirks.country_code_as_number {
            Value::from(phone.country_code)
        } else {
            Value::from(phone.country_code.to_string())
        };
        json!({
            "phoneNumber": full,
            "purePhoneNumber": phone.number,
            "countryCode": country_code,
            "watermark": { "timestamp": now, "appid": app.app_id },
        })
    }

    fn check_session(&mut self, question: &Question, now: u64) -> Result<Value, WechatError> {
        let app_id = self.authorise(question, now)?.app.app_id.clone();
        let openid = question.text("openid").ok_or(WechatError::OPENID)?;
        if question.text("sig_method") != Some("hmac_sha256") {
            return Err(WechatError::SIGNATURE_METHOD);
        }
        let known = |persona: &&Persona| identifiers::openid(app_id.as_str(), &persona.id) == openid;
        let persona = self.personas.iter().find(known).ok_or(WechatError::OPENID)?;
        let key = self
            .session_keys
            .get(&(app_id, persona.id.clone()))
            .ok_or(WechatError::SIGNATURE)?;
        if question.text("signature") == Some(identifiers::session_signature(&key.text, "").as_str()) {
            Ok(json!({ "errcode": 0, "errmsg": "ok" }))
        } else {
            Err(WechatError::SIGNATURE)
        }
    }

    fn quota(&mut self, question: &Question, now: u64) -> Result<Value, WechatError> {
        let account = self.authorise(question, now)?;
        let body = question.json()?;
        let path = body.get("cgi_path").and_then(Value::as_str).unwrap_or_default();
        if path.starts_with("/sns/") {
            return Err(WechatError::NOT_FOR_SNS);
        }
        let endpoint = Endpoint::ALL.into_iter().find(|endpoint| endpoint.path() == path);
        let allowance = account.quotas.allowance(endpoint.ok_or(WechatError::CGI_PATH)?, now);
        Ok(json!({
            "errcode": 0,
            "errmsg": "ok",
            "quota": {
                "daily_limit": allowance.daily_limit,
                "used": allowance.used,
                "remain": allowance.daily_limit.saturating_sub(allowance.used),
            },
            "rate_limit": { "call_count": allowance.per_minute, "refresh_second": 60 },
        }))
    }

    fn clear_quota(&mut self, question: &Question, now: u64) -> Result<Value, WechatError> {
        let account = self.authorise(question, now)?;
        let body = question.json()?;
        if body.get("appid").and_then(Value::as_str) != Some(account.app.app_id.as_str()) {
            return Err(WechatError::APP_ID);
        }
        account.quotas.clear(now)?;
        Ok(json!({ "errcode": 0, "errmsg": "ok" }))
    }

    /// The app that proves itself with its secret.
    pub(super) fn authenticate(
        &mut self,
        app_id: Option<&str>,
        secret: Option<&str>,
    ) -> Result<&mut Account, WechatError> {
        let app_id = app_id.ok_or(WechatError::APP_ID_MISSING)?;
        let secret = secret.ok_or(WechatError::SECRET_MISSING)?;
        let known = |account: &&mut Account| account.app.app_id.as_str() == app_id;
        let account = self.accounts.iter_mut().find(known).ok_or(WechatError::APP_ID)?;
        if bool::from(account.app.secret.expose_secret().as_bytes().ct_eq(secret.as_bytes())) {
            Ok(account)
        } else {
            Err(WechatError::SECRET)
        }
    }

    /// The app whose token the call carries.
    pub(super) fn authorise(&mut self, question: &Question, now: u64) -> Result<&mut Account, WechatError> {
        let token = question.text("access_token").ok_or(WechatError::TOKEN_MISSING)?;
        let mut refusal = if tokens::is_well_formed(token) {
            WechatError::CREDENTIAL
        } else {
            WechatError::TOKEN_MALFORMED
        };
        for account in &mut self.accounts {
            match account.tokens.standing(token, now) {
                Standing::Valid => return Ok(account),
                Standing::Expired => refusal = WechatError::TOKEN_EXPIRED,
                Standing::Replaced => refusal = WechatError::CREDENTIAL,
                Standing::Unknown => {}
            }
        }
        Err(refusal)
    }

    pub(super) fn app(&self, app_id: &str) -> Option<&App> {
        self.apps().find(|app| app.app_id.as_str() == app_id)
    }

    pub(super) fn persona(&self, id: &str) -> Option<&Persona> {
        self.personas.iter().find(|persona| persona.id == id)
    }
}

impl Question {
    /// A query parameter that is not empty.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// The body as a JSON object.
    pub(super) fn json(&self) -> Result<Map<String, Value>, WechatError> {
        if has_unicode_escape(&self.body) {
            return Err(WechatError::ESCAPED);
        }
        serde_json::from_slice(&self.body).map_err(|_| WechatError::BODY)
    }
}

/// Whether text in a JSON body is written as `\uXXXX`; WeChat wants UTF-8 as it is.
fn has_unicode_escape(body: &[u8]) -> bool {
    let mut bytes = body.iter();
    while let Some(byte) = bytes.next() {
        if *byte == b'\\' && bytes.next() == Some(&b'u') {
            return true;
        }
    }
    false
}

fn is_secret(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Seconds that a login code lives; here so that the control interface can tell.
pub(super) const CODE_LIFETIME: u64 = codes::LIFETIME;
/// How long `wx.login` leaves the session key alone. WeChat says that there is such a time, not how long it is.
const SESSION_KEY_PERIOD: u64 = 300;
const MAINLAND: u16 = 86;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_text_is_told_from_an_escaped_backslash() {
        let cases: [(&[u8], bool); 5] = [
            (br#"{"scene":"\u95e8"}"#, true),
            (br#"{"scene":"a\u0026b"}"#, true),
            (br#"{"scene":"a\\u0026b"}"#, false),
            (br#"{"scene":"a\nu"}"#, false),
            ("{\"scene\":\"门\"}".as_bytes(), false),
        ];
        for (body, expected) in cases {
            assert_eq!(has_unicode_escape(body), expected, "{}", String::from_utf8_lossy(body));
        }
    }
}
