//! A person's phone: what the mini program sends.

use serde_json::{Value, json};

use super::answer::Answer;
use super::wire::Request;
use super::world::{PUBLIC_HOST, World};

/// The phone of one person.
pub struct Phone<'w> {
    /// Whose gateway it calls.
    pub world: &'w World,
    persona: String,
    /// Whose mini program it uses: that of the first connection, unless the code says another.
    pub app_id: String,
    /// Of the last scan.
    pub handle: Option<String>,
    /// The answer to the last scan.
    pub shown: Value,
}

impl<'w> Phone<'w> {
    pub fn new(world: &'w World, persona: &str) -> Self {
        world.keep_secret(&world.sandbox.openid(world.app_id(), persona));
        Self {
            world,
            persona: persona.to_owned(),
            app_id: world.app_id().to_owned(),
            handle: None,
            shown: Value::Null,
        }
    }

    /// A fresh code of `wx.login`.
    pub fn login_code(&self) -> String {
        let code = self.world.sandbox.login_code(&self.app_id, &self.persona).unwrap();
        self.world.keep_secret(&code);
        code
    }

    /// A fresh code of the phone button.
    pub fn phone_code(&self) -> String {
        let code = self
            .world
            .sandbox
            .phone_code(self.world.app_id(), &self.persona)
            .unwrap();
        self.world.keep_secret(&code);
        code
    }

    /// Scans with the camera.
    pub async fn scan(&mut self, scene: &str) -> Answer {
        self.scan_from(scene, 1047).await
    }

    /// Comes with another launch scene number.
    pub async fn scan_from(&mut self, scene: &str, entry: i64) -> Answer {
        let code = self.login_code();
        let answer = self
            .call("scan", &json!({ "scene": scene, "code": code, "entry": entry }))
            .await;
        if answer.status == 200 {
            self.shown = answer.json();
            self.handle = self.shown["handle"].as_str().map(str::to_owned);
        }
        answer
    }

    pub async fn status(&self) -> Answer {
        self.call("status", &json!({ "handle": self.handle })).await
    }

    /// Taps a number.
    pub async fn confirm(&self, choice: i64) -> Answer {
        self.confirm_with(&json!({ "choice": choice })).await
    }

    /// Taps a number and allows the phone button.
    pub async fn confirm_with_phone(&self, choice: i64) -> Answer {
        self.confirm_with(&json!({ "choice": choice, "phone_code": self.phone_code() }))
            .await
    }

    /// Confirms with these fields and the handle.
    pub async fn confirm_with(&self, fields: &Value) -> Answer {
        let mut body = fields.clone();
        body["handle"] = json!(self.handle);
        self.call("confirm", &body).await
    }

    /// The last tap: accepts the account that `status` showed.
    pub async fn accept(&self) -> Answer {
        self.confirm_with(&json!({ "accept": true })).await
    }

    pub async fn cancel(&self) -> Answer {
        self.call("cancel", &json!({ "handle": self.handle })).await
    }

    /// "This was not me".
    pub async fn not_me(&self) -> Answer {
        self.call("cancel", &json!({ "handle": self.handle, "reason": "not_me" }))
            .await
    }

    /// A call of the phone side.
    pub async fn call(&self, name: &str, body: &Value) -> Answer {
        self.world.send(&self.request(name, body)).await
    }

    /// The same, to be changed before it is sent.
    pub fn request(&self, name: &str, body: &Value) -> Request {
        let app_id = self.world.app_id();
        let request = Request::post(&format!("/.menshen/phone/{name}"))
            .header("Host", &self.world.authority(PUBLIC_HOST))
            .header("User-Agent", AGENT)
            .header("Accept-Language", "zh-CN")
            .header(
                "Referer",
                &format!("https://servicewechat.com/{app_id}/1/page-frame.html"),
            )
            .json(body);
        if self.world.is_https() {
            request
                .header("X-Forwarded-Proto", "https")
                .header("X-Forwarded-For", "203.0.113.7")
        } else {
            request
        }
    }
}

const AGENT: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
    Mobile/15E148 MicroMessenger/8.0.59(0x18003b2e) NetType/WIFI Language/zh_CN";
