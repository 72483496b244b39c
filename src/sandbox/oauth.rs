//! Web login as WeChat's servers remember it: codes that wait on a page, codes that a browser brings back, and the grants
//! that they are exchanged for.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::error::WechatError;
use super::identifiers;
use super::state::{Question, State};
use super::world::{App, AppKind, Snapshot};

/// What web login has going on.
#[derive(Debug, Default)]
pub(super) struct Oauth {
    pages: HashMap<String, Page>,
    codes: HashMap<String, Code>,
    grants: HashMap<String, Grant>,
}

/// What a grant covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// `snsapi_login`, of website applications.
    Login,
    /// `snsapi_base`: the openid.
    Base,
    /// `snsapi_userinfo`.
    UserInfo,
}

/// A website's code on some screen.
#[derive(Debug, Clone)]
pub(super) struct Page {
    pub(super) app_id: String,
    pub(super) standing: PageStanding,
    made: u64,
}

/// How far a website's code has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PageStanding {
    Waiting,
    Scanned,
    Refused,
    /// With the code that the browser brings back.
    Allowed(String),
}

#[derive(Debug)]
struct Code {
    app_id: String,
    persona: String,
    scope: Scope,
    snapshot: bool,
    made: u64,
    used: bool,
}

#[derive(Debug)]
struct Grant {
    app_id: String,
    persona: String,
    scope: Scope,
    snapshot: bool,
    made: u64,
}

impl Scope {
    /// As the address says it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "snsapi_login" => Some(Self::Login),
            "snsapi_base" => Some(Self::Base),
            "snsapi_userinfo" => Some(Self::UserInfo),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Login => "snsapi_login",
            Self::Base => "snsapi_base",
            Self::UserInfo => "snsapi_userinfo",
        }
    }

    /// Seconds that a code of it lives.
    fn code_lifetime(self) -> u64 {
        match self {
            Self::Login => 600,
            Self::Base | Self::UserInfo => 300,
        }
    }
}

impl Oauth {
    /// Puts a code on a page: its name.
    pub(super) fn show(&mut self, app_id: &str, now: u64) -> String {
        self.pages.retain(|_, page| now < page.made + FORGOTTEN);
        let uuid = identifiers::random_hex(8);
        let page = Page {
            app_id: app_id.to_owned(),
            standing: PageStanding::Waiting,
            made: now,
        };
        self.pages.insert(uuid.clone(), page);
        uuid
    }

    /// A code on a page that has not run out.
    pub(super) fn page(&self, uuid: &str, now: u64) -> Option<&Page> {
        self.pages.get(uuid).filter(|page| now < page.made + PAGE_LIFETIME)
    }

    /// A phone has looked at it.
    pub(super) fn scan(&mut self, uuid: &str, now: u64) -> Option<&Page> {
        let page = self
            .pages
            .get_mut(uuid)
            .filter(|page| now < page.made + PAGE_LIFETIME)?;
        if page.standing == PageStanding::Waiting {
            page.standing = PageStanding::Scanned;
        }
        Some(page)
    }

    /// The person has decided: false when it is too late for that.
    pub(super) fn decide(&mut self, uuid: &str, persona: &str, allow: bool, now: u64) -> bool {
        let Some(page) = self.page(uuid, now) else { return false };
        if !matches!(page.standing, PageStanding::Waiting | PageStanding::Scanned) {
            return false;
        }
        let app_id = page.app_id.clone();
        let standing = if allow {
            PageStanding::Allowed(self.issue(&app_id, persona, Scope::Login, false, now))
        } else {
            PageStanding::Refused
        };
        if let Some(page) = self.pages.get_mut(uuid) {
            page.standing = standing;
        }
        true
    }

    /// A code for a browser to bring back.
    pub(super) fn issue(&mut self, app_id: &str, persona: &str, scope: Scope, snapshot: bool, now: u64) -> String {
        self.codes.retain(|_, code| now < code.made + FORGOTTEN);
        let text = format!("0{}", identifiers::random_hex(15));
        let code = Code {
            app_id: app_id.to_owned(),
            persona: persona.to_owned(),
            scope,
            snapshot,
            made: now,
            used: false,
        };
        self.codes.insert(text.clone(), code);
        text
    }
}

impl State {
    /// `/sns/oauth2/access_token`
    pub(super) fn oauth_token(&mut self, question: &Question, now: u64) -> Result<Value, WechatError> {
        let exchanged = self.exchange_oauth(question, now);
        if let Some(code) = question.text("code").and_then(|text| self.oauth.codes.get_mut(text))
            && (exchanged.is_ok() || self.quirks.burn_failed_codes)
        {
            code.used = true;
        }
        exchanged
    }

    fn exchange_oauth(&mut self, question: &Question, now: u64) -> Result<Value, WechatError> {
        let account = self.authenticate(question.text("appid"), question.text("secret"))?;
        let app = account.app.clone();
        let text = question.text("code").ok_or(WechatError::CODE_MISSING)?;
        if question.text("grant_type") != Some("authorization_code") {
            return Err(WechatError::GRANT_TYPE);
        }
        if app.kind == AppKind::MiniProgram || !app.verified {
            return Err(WechatError::UNAUTHORISED);
        }
        account.quotas.spend(super::Endpoint::OauthToken, now)?;
        let quirk = self.quirks.snapshot;
        let found = self
            .oauth
            .codes
            .get(text)
            .filter(|code| code.app_id == app.app_id.as_str());
        let code = found.ok_or(WechatError::CODE)?;
        if code.used {
            return Err(WechatError::CODE_USED);
        }
        if now >= code.made + code.scope.code_lifetime() {
            return Err(WechatError::CODE);
        }
        let grant = Grant {
            app_id: code.app_id.clone(),
            persona: code.persona.clone(),
            scope: code.scope,
            snapshot: code.snapshot,
            made: now,
        };
        let token = identifiers::random_text(60);
        let mut answer = json!({
            "access_token": token,
            "expires_in": GRANT_LIFETIME,
            "refresh_token": identifiers::random_text(60),
            "openid": openid(&app, &grant),
            "scope": grant.scope.as_str(),
        });
        if grant.scope != Scope::Base
            && let Some(unionid) = unionid(&app, &grant)
        {
            answer["unionid"] = Value::from(unionid);
        }
        if grant.snapshot && quirk != Snapshot::Unmarked {
            answer["is_snapshotuser"] = Value::from(1);
        }
        self.oauth.grants.insert(token, grant);
        Ok(answer)
    }

    /// `/sns/userinfo`
    pub(super) fn user_info(&mut self, question: &Question, now: u64) -> Result<Value, WechatError> {
        let token = question.text("access_token").ok_or(WechatError::TOKEN_MISSING)?;
        let asked = question.text("openid").ok_or(WechatError::OPENID_MISSING)?;
        let grant = self.oauth.grants.get(token).ok_or(WechatError::CREDENTIAL)?;
        if now >= grant.made + GRANT_LIFETIME {
            return Err(WechatError::TOKEN_EXPIRED);
        }
        let app = self.app(&grant.app_id).ok_or(WechatError::CREDENTIAL)?;
        let openid = openid(app, grant);
        if asked != openid {
            return Err(WechatError::OPENID);
        }
        if grant.scope == Scope::Base || grant.snapshot {
            return Err(WechatError::UNAUTHORISED);
        }
        let persona = self.persona(&grant.persona).ok_or(WechatError::CREDENTIAL)?;
        let mut answer = json!({
            "openid": openid,
            "nickname": persona.name.zh,
            "sex": 0, "language": "", "city": "", "province": "", "country": "",
            "headimgurl": format!("https://thirdwx.qlogo.cn/mmopen/vi_32/{}/132", persona.id),
            "privilege": [],
        });
        if let Some(unionid) = unionid(app, grant) {
            answer["unionid"] = Value::from(unionid);
        }
        Ok(answer)
    }
}

fn openid(app: &App, grant: &Grant) -> String {
    identifiers::openid(app.app_id.as_str(), subject(grant))
}

fn unionid(app: &App, grant: &Grant) -> Option<String> {
    let open_platform = app.open_platform.as_deref()?;
    Some(identifiers::unionid(open_platform, subject(grant)))
}

/// A snapshot's person is the same for everybody.
fn subject(grant: &Grant) -> &str {
    if grant.snapshot { "a snapshot" } else { &grant.persona }
}

/// Seconds that a website's code can be scanned.
const PAGE_LIFETIME: u64 = 300;
const GRANT_LIFETIME: u64 = 7_200;
/// How long what has ended is still told from what never was.
const FORGOTTEN: u64 = 86_400;
