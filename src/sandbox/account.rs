//! Service accounts as WeChat's servers remember them: codes with a scene, who follows, and what was said in the chat.

use std::collections::{BTreeSet, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::endpoint::Endpoint;
use super::error::WechatError;
use super::identifiers;
use super::push::{Push, PushReply};
use super::state::{Answer, Question, State};
use super::world::{App, AppKind};

/// What service accounts have going on.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    codes: Vec<SceneCode>,
    /// App and person.
    followers: BTreeSet<(String, String)>,
    chats: HashMap<(String, String), Vec<Line>>,
}

/// A code with a scene.
#[derive(Debug, Clone)]
pub(super) struct SceneCode {
    pub(super) app_id: String,
    pub(super) scene: String,
    /// For the picture.
    pub(super) ticket: String,
    /// In the address that the code holds.
    pub(super) key: String,
    ends: u64,
}

/// One line of a chat.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Line {
    pub(super) by: Speaker,
    pub(super) text: String,
}

/// Who said something in a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Speaker {
    Account,
    Person,
    /// WeChat itself.
    Wechat,
}

/// What a phone does with an account.
#[derive(Debug, Clone, Copy)]
pub enum AccountAct<'a> {
    /// Scans a code with this scene, and follows the account if it did not.
    Scan(&'a str),
    /// Writes something.
    Say(&'a str),
    /// Stops following.
    Unfollow,
}

/// The phone cannot do that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccountRefusal {
    /// No such app or person, or the app is no service account with a server.
    #[error("no such account or person")]
    Unknown,
    /// The code has run out, or never was.
    #[error("the code has expired")]
    CodeExpired,
    /// The person does not follow the account.
    #[error("the person does not follow the account")]
    NotFollowing,
}

impl Accounts {
    /// The newest code with this scene that can be scanned.
    pub(super) fn code(&self, app_id: &str, scene: &str, now: u64) -> Option<&SceneCode> {
        let mut known = self.codes.iter().rev();
        known.find(|code| code.app_id == app_id && code.scene == scene && now < code.ends)
    }

    /// The code with this address, also when it has run out.
    pub(super) fn by_key(&self, key: &str) -> Option<&SceneCode> {
        self.codes.iter().find(|code| code.key == key)
    }

    /// The code whose picture this ticket stands for.
    pub(super) fn by_ticket(&self, ticket: &str, now: u64) -> Option<&SceneCode> {
        self.codes.iter().find(|code| code.ticket == ticket && now < code.ends)
    }

    pub(super) fn follows(&self, app_id: &str, persona: &str) -> bool {
        self.followers.contains(&(app_id.to_owned(), persona.to_owned()))
    }

    pub(super) fn chat(&self, app_id: &str, persona: &str) -> Vec<Line> {
        let key = (app_id.to_owned(), persona.to_owned());
        self.chats.get(&key).cloned().unwrap_or_default()
    }

    fn note(&mut self, app_id: &str, persona: &str, by: Speaker, text: &str) {
        let lines = self.chats.entry((app_id.to_owned(), persona.to_owned())).or_default();
        lines.push(Line {
            by,
            text: text.to_owned(),
        });
    }

    /// Keeps what the account answered.
    pub(super) fn note_reply(&mut self, app_id: &str, persona: &str, reply: &PushReply) {
        match reply {
            PushReply::Nothing => {}
            PushReply::Text(text) => self.note(app_id, persona, Speaker::Account, text),
            PushReply::Outage(_) => self.note(app_id, persona, Speaker::Wechat, OUTAGE),
        }
    }
}

impl State {
    /// `/cgi-bin/qrcode/create`
    pub(super) fn account_code(&mut self, question: &Question, now: u64) -> Result<Answer, WechatError> {
        let account = self.authorise(question, now)?;
        if account.app.kind != AppKind::ServiceAccount || !account.app.verified {
            return Err(WechatError::UNAUTHORISED);
        }
        let body = question.json()?;
        let scene = scene_of(&body)?;
        let lasting = matches!(body.get("action_name").and_then(Value::as_str), Some(name) if name.contains("LIMIT"));
        let life = match body.get("expire_seconds") {
            _ if lasting => u64::MAX - now,
            None | Some(Value::Null) => DEFAULT_LIFE,
            Some(life) => life
                .as_u64()
                .filter(|life| (1..=LONGEST_LIFE).contains(life))
                .ok_or(WechatError::PARAMETERS)?,
        };
        account.quotas.spend(Endpoint::AccountCode, now)?;
        let code = SceneCode {
            app_id: account.app.app_id.as_str().to_owned(),
            scene,
            ticket: ticket(),
            key: format!("02{}", identifiers::random_text(16)),
            ends: now + life,
        };
        self.service
            .codes
            .retain(|known| now < known.ends.saturating_add(FORGOTTEN));
        let answer = Answer::SceneCode {
            ticket: code.ticket.clone(),
            expire_seconds: (!lasting).then_some(life),
            key: code.key.clone(),
        };
        self.service.codes.push(code);
        Ok(answer)
    }

    /// `/cgi-bin/user/info`
    pub(super) fn follower(&mut self, question: &Question, now: u64) -> Result<Value, WechatError> {
        let account = self.authorise(question, now)?;
        let app = account.app.clone();
        if app.kind != AppKind::ServiceAccount {
            return Err(WechatError::UNAUTHORISED);
        }
        account.quotas.spend(Endpoint::Follower, now)?;
        let openid = question.text("openid").ok_or(WechatError::OPENID_MISSING)?;
        let known = |id: &str| identifiers::openid(app.app_id.as_str(), id) == openid;
        let persona = self.personas().iter().find(|persona| known(&persona.id));
        let persona = persona.ok_or(WechatError::OPENID)?.id.clone();
        if !self.service.follows(app.app_id.as_str(), &persona) {
            return Ok(json!({ "subscribe": 0, "openid": openid }));
        }
        let mut answer = json!({
            "subscribe": 1,
            "openid": openid,
            "language": "",
            "subscribe_time": now,
            "remark": "",
            "groupid": 0,
            "tagid_list": [],
            "subscribe_scene": "ADD_SCENE_QR_CODE",
            "qr_scene": 0,
            "qr_scene_str": "",
        });
        if let Some(open_platform) = &app.open_platform {
            answer["unionid"] = Value::from(identifiers::unionid(open_platform, &persona));
        }
        Ok(answer)
    }

    /// Something that a person does with an account; the message that its server is sent about it.
    pub(super) fn act(
        &mut self,
        app_id: &str,
        persona: &str,
        act: AccountAct<'_>,
        now: u64,
    ) -> Result<Push, AccountRefusal> {
        let app = self.app(app_id).filter(|app| app.kind == AppKind::ServiceAccount);
        let settings = app.and_then(|app| app.push.clone()).ok_or(AccountRefusal::Unknown)?;
        self.persona(persona).ok_or(AccountRefusal::Unknown)?;
        let openid = identifiers::openid(app_id, persona);
        let subject = (app_id.to_owned(), persona.to_owned());
        let follows = self.service.followers.contains(&subject);
        match act {
            AccountAct::Scan(scene) => {
                let code = self
                    .service
                    .code(app_id, scene, now)
                    .ok_or(AccountRefusal::CodeExpired)?;
                let ticket = code.ticket.clone();
                let (event, key) = if follows {
                    ("SCAN", scene.to_owned())
                } else {
                    ("subscribe", format!("qrscene_{scene}"))
                };
                self.service.followers.insert(subject);
                let fields = [("EventKey", key.as_str()), ("Ticket", &ticket)];
                Ok(Push::event(&settings, app_id, &openid, event, &fields, now))
            }
            AccountAct::Say(_) if !follows => Err(AccountRefusal::NotFollowing),
            AccountAct::Say(text) => {
                self.service.note(app_id, persona, Speaker::Person, text);
                Ok(Push::text(&settings, app_id, &openid, text, now))
            }
            AccountAct::Unfollow if !follows => Err(AccountRefusal::NotFollowing),
            AccountAct::Unfollow => {
                self.service.followers.remove(&subject);
                self.service.chats.remove(&subject);
                Ok(Push::event(
                    &settings,
                    app_id,
                    &openid,
                    "unsubscribe",
                    &[("EventKey", "")],
                    now,
                ))
            }
        }
    }
}

/// The scene that a code is asked for with.
fn scene_of(body: &Map<String, Value>) -> Result<String, WechatError> {
    let scene = body.get("action_info").and_then(|info| info.get("scene"));
    let scene = scene.ok_or(WechatError::ACTION_INFO);
    let limit = match body.get("action_name").and_then(Value::as_str) {
        Some("QR_STR_SCENE" | "QR_LIMIT_STR_SCENE") => {
            let text = scene?.get("scene_str").and_then(Value::as_str).unwrap_or_default();
            let fits = (1..=LONGEST_SCENE).contains(&text.chars().count());
            return if fits {
                Ok(text.to_owned())
            } else {
                Err(WechatError::ACTION_INFO)
            };
        }
        Some("QR_SCENE") => u64::from(u32::MAX),
        Some("QR_LIMIT_SCENE") => 100_000,
        _ => return Err(WechatError::ACTION_NAME),
    };
    let id = scene?.get("scene_id").and_then(Value::as_u64);
    id.filter(|id| (1..=limit).contains(id))
        .map(|id| id.to_string())
        .ok_or(WechatError::ACTION_INFO)
}

/// Base64 with everything that has to be escaped in an address.
fn ticket() -> String {
    loop {
        let text = format!("gQ{}", STANDARD.encode(identifiers::random_bytes(64)));
        if text.contains('+') && text.contains('/') && text.ends_with('=') {
            return text;
        }
    }
}

/// Whether this app has a server that messages are pushed to.
pub(super) fn has_server(app: &App) -> bool {
    app.kind == AppKind::ServiceAccount && app.push.is_some()
}

const DEFAULT_LIFE: u64 = 60;
const LONGEST_LIFE: u64 = 2_592_000;
const LONGEST_SCENE: usize = 64;
/// How long an expired code is still told from one that never was.
const FORGOTTEN: u64 = 86_400;
/// What WeChat says when the account's server does not answer, or not in a way that it understands.
const OUTAGE: &str = "该公众号提供的服务出现故障，请稍后再试";
