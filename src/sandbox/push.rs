//! Messages that WeChat pushes to the server of a service account: how they are written, signed and encrypted, how they
//! are delivered, and how the answer is read.
//!
//! Written from the protocol's description alone: the gateway's own code must not be tested against itself.

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::cipher::{
    AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD, STANDARD_NO_PAD};
use quick_xml::Reader;
use quick_xml::events::Event;
use serde::Serialize;
use url::{Url, form_urlencoded};

use super::identifiers;

/// The server settings of a service account, as its owner enters them in WeChat's console.
#[derive(Debug, Clone, Serialize)]
pub struct PushSettings {
    /// Path of the server's address; its host is the gateway's.
    pub path: String,
    /// Token: 3 to 32 letters and digits.
    pub token: String,
    /// EncodingAESKey: 43 characters.
    pub encoding_aes_key: String,
    /// Mode.
    pub mode: PushMode,
}

/// How messages are pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PushMode {
    /// In the clear.
    Plain,
    /// In the clear and encrypted.
    Compatible,
    /// Encrypted.
    Safe,
}

/// A message on its way to an account's server. Every attempt to deliver it has the same content.
#[derive(Debug, Clone)]
pub struct Push {
    settings: PushSettings,
    app_id: String,
    account: String,
    openid: String,
    /// The message in the clear.
    pub xml: String,
}

/// One attempt to deliver a message, ready to be sent.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The query behind the address.
    pub query: String,
    /// The body, XML.
    pub body: String,
}

/// What the person sees in the chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PushReply {
    /// Nothing.
    Nothing,
    /// A text of the account.
    Text(String),
    /// "The service of this account is out of order", and why.
    Outage(String),
}

impl PushSettings {
    /// With a new token and key. The key's last character has bits that stand for nothing, as three of four real ones do.
    pub fn new(path: &str, mode: PushMode) -> Self {
        let random = identifiers::random_bytes(33);
        let mut key = STANDARD_NO_PAD.encode(&random[..32]);
        let alphabet = alphabet::STANDARD.as_str().as_bytes();
        let last = key.pop().unwrap_or('A');
        let place = alphabet
            .iter()
            .position(|known| char::from(*known) == last)
            .unwrap_or(0);
        let unused = 1 + usize::from(random[32]) % 3;
        key.push(char::from(alphabet[(place & !3) | unused]));
        Self {
            path: path.to_owned(),
            token: identifiers::random_hex(12),
            encoding_aes_key: key,
            mode,
        }
    }
}

impl Push {
    /// An event: `fields` follow those that every event has.
    pub(super) fn event(
        settings: &PushSettings,
        app_id: &str,
        openid: &str,
        event: &str,
        fields: &[(&str, &str)],
        now: u64,
    ) -> Self {
        let own = [("MsgType", "event"), ("Event", event)];
        Self::of(settings, app_id, openid, &[&own[..], fields].concat(), now)
    }

    /// A text that the person wrote.
    pub(super) fn text(settings: &PushSettings, app_id: &str, openid: &str, text: &str, now: u64) -> Self {
        let id = (u64::from_be_bytes(eight()) >> 1).to_string();
        let fields = [("MsgType", "text"), ("Content", text), ("MsgId", id.as_str())];
        Self::of(settings, app_id, openid, &fields, now)
    }

    fn of(settings: &PushSettings, app_id: &str, openid: &str, fields: &[(&str, &str)], now: u64) -> Self {
        let account = original_id(app_id);
        let mut xml = format!(
            "<xml><ToUserName>{}</ToUserName>\n<FromUserName>{}</FromUserName>\n<CreateTime>{now}</CreateTime>\n",
            cdata(&account),
            cdata(openid)
        );
        for (name, value) in fields {
            xml.push_str(&format!("<{name}>{}</{name}>\n", cdata(value)));
        }
        xml.push_str("</xml>");
        Self {
            settings: settings.clone(),
            app_id: app_id.to_owned(),
            account,
            openid: openid.to_owned(),
            xml,
        }
    }

    /// Signs it at `now`, with a new number, and in the encrypted modes with new random bytes.
    pub fn attempt(&self, now: u64) -> Attempt {
        let nonce = (u64::from_be_bytes(eight()) % 10_000_000_000).to_string();
        let time = now.to_string();
        let token = self.settings.token.as_str();
        let signature = sign(&[token, &time, &nonce]);
        let mut query = format!(
            "signature={signature}&timestamp={time}&nonce={nonce}&openid={}",
            self.openid
        );
        if self.settings.mode == PushMode::Plain {
            return Attempt {
                query,
                body: self.xml.clone(),
            };
        }
        // Lengths are spread over the block, so that every length of the padding occurs.
        let spread = usize::from(eight()[0] % 32);
        let message = format!("{}{}", self.xml, "\n".repeat(spread));
        let encrypted = encrypt(&self.settings.encoding_aes_key, &self.app_id, &message);
        let msg_signature = sign(&[token, &time, &nonce, &encrypted]);
        query.push_str(&format!("&encrypt_type=aes&msg_signature={msg_signature}"));
        let body = if self.settings.mode == PushMode::Safe {
            format!(
                "<xml>\n<ToUserName>{}</ToUserName>\n<Encrypt>{}</Encrypt>\n</xml>",
                cdata(&self.account),
                cdata(&encrypted)
            )
        } else {
            self.xml
                .replace("</xml>", &format!("<Encrypt>{}</Encrypt>\n</xml>", cdata(&encrypted)))
        };
        Attempt { query, body }
    }

    /// The same that happens at another time.
    #[must_use]
    pub fn at(&self, now: u64) -> Self {
        let (before, rest) = self.xml.split_once("<CreateTime>").unwrap_or((&self.xml, ""));
        let after = rest.split_once("</CreateTime>").map_or("", |(_, after)| after);
        Self {
            xml: format!("{before}<CreateTime>{now}</CreateTime>{after}"),
            ..self.clone()
        }
    }

    /// The same message as a server with these settings would get it.
    #[must_use]
    pub fn signed_by(&self, settings: &PushSettings) -> Self {
        Self {
            settings: settings.clone(),
            ..self.clone()
        }
    }

    /// The message in an attempt, as the account's server reads it; `None` if it is signed or encrypted by anybody else.
    pub fn opened(&self, attempt: &Attempt) -> Option<String> {
        let query: HashMap<String, String> = form_urlencoded::parse(attempt.query.as_bytes()).into_owned().collect();
        let of = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        let token = self.settings.token.as_str();
        if sign(&[token, of("timestamp"), of("nonce")]) != of("signature") {
            return None;
        }
        if self.settings.mode == PushMode::Plain {
            return Some(attempt.body.clone());
        }
        let encrypted = fields(&attempt.body)?.remove("Encrypt")?;
        let signed = sign(&[token, of("timestamp"), of("nonce"), &encrypted]) == of("msg_signature");
        let message = decrypt(&self.settings.encoding_aes_key, &self.app_id, &encrypted);
        message
            .filter(|_| signed && of("encrypt_type") == "aes")
            .map(|message| message.trim_end().to_owned())
    }

    /// A text with which the account's server answers.
    pub fn answered(&self, text: &str, now: u64) -> String {
        let message = format!(
            "<xml><ToUserName>{}</ToUserName><FromUserName>{}</FromUserName><CreateTime>{now}</CreateTime>\
             <MsgType>text</MsgType><Content>{}</Content></xml>",
            cdata(&self.openid),
            cdata(&self.account),
            cdata(text)
        );
        if self.settings.mode == PushMode::Plain {
            return message;
        }
        let (time, nonce) = (now.to_string(), "42");
        let encrypted = encrypt(&self.settings.encoding_aes_key, &self.app_id, &message);
        let signature = sign(&[&self.settings.token, &time, nonce, &encrypted]);
        format!(
            "<xml><Encrypt>{}</Encrypt><MsgSignature>{signature}</MsgSignature><TimeStamp>{time}</TimeStamp>\
             <Nonce>{nonce}</Nonce></xml>",
            cdata(&encrypted)
        )
    }

    /// What an answer of the server shows in the chat.
    pub fn read(&self, answer: &[u8]) -> PushReply {
        let answer = match std::str::from_utf8(answer).map(str::trim) {
            Ok("" | "success") => return PushReply::Nothing,
            Ok(answer) => answer,
            Err(_) => return PushReply::Outage("the answer is not UTF-8".to_owned()),
        };
        match self.read_text(answer) {
            Ok(text) => PushReply::Text(text),
            Err(why) => PushReply::Outage(why.to_owned()),
        }
    }

    fn read_text(&self, answer: &str) -> Result<String, &'static str> {
        let outer = fields(answer).ok_or("the answer is neither `success` nor XML")?;
        let inner = match outer.get("Encrypt") {
            None if self.settings.mode == PushMode::Safe => return Err("the answer is not encrypted"),
            None => outer,
            Some(_) if self.settings.mode == PushMode::Plain => return Err("the answer is encrypted"),
            Some(encrypted) => {
                let of = |name: &str| outer.get(name).map(String::as_str).unwrap_or_default();
                let parts = [&self.settings.token, of("TimeStamp"), of("Nonce"), encrypted];
                if sign(&parts) != of("MsgSignature") {
                    return Err("the signature of the answer is wrong");
                }
                let message = decrypt(&self.settings.encoding_aes_key, &self.app_id, encrypted);
                let message = message.ok_or("the answer does not decrypt")?;
                fields(&message).ok_or("what is encrypted is not XML")?
            }
        };
        let of = |name: &str| inner.get(name).map(String::as_str).unwrap_or_default();
        if of("ToUserName") != self.openid || of("FromUserName") != self.account {
            return Err("the answer is for somebody else");
        }
        if of("CreateTime").parse::<u64>().is_err() || of("MsgType") != "text" {
            return Err("the answer is no text message");
        }
        match of("Content") {
            "" => Err("the answer is empty"),
            text if text.len() > LONGEST_TEXT => Err("the answer is longer than 2048 bytes"),
            text => Ok(text.to_owned()),
        }
    }

    /// Delivers it as WeChat does: five seconds for an answer, three attempts.
    pub(super) async fn deliver(
        &self,
        client: &reqwest::Client,
        gateway: Option<Url>,
        now: impl Fn() -> u64,
    ) -> PushReply {
        let Some(address) = gateway.and_then(|gateway| gateway.join(&self.settings.path).ok()) else {
            return PushReply::Outage("the sandbox does not know where the gateway is".to_owned());
        };
        for _ in 0..ATTEMPTS {
            let Attempt { query, body } = self.attempt(now());
            let mut address = address.clone();
            address.set_query(Some(&query));
            let request = client
                .post(address)
                .timeout(PATIENCE)
                .header("Content-Type", "text/xml")
                .header("User-Agent", "Mozilla/4.0")
                .body(body);
            let answer = match request.send().await {
                Ok(answer) if answer.status().is_success() => answer.bytes().await,
                Ok(answer) => return PushReply::Outage(format!("the server answered {}", answer.status())),
                Err(error) => Err(error),
            };
            match answer {
                Ok(bytes) => return self.read(&bytes),
                Err(error) => tracing::warn!(error = %error.without_url(), "no answer to a push"),
            }
        }
        PushReply::Outage(format!("no answer within {} s, {ATTEMPTS} times", PATIENCE.as_secs()))
    }
}

/// `gh_…` of an account.
pub(super) fn original_id(app_id: &str) -> String {
    let sum = digest::digest(&digest::SHA256, app_id.as_bytes());
    let hex: String = sum.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("gh_{hex}")
}

fn eight() -> [u8; 8] {
    let mut eight = [0; 8];
    eight.copy_from_slice(&identifiers::random_bytes(8));
    eight
}

fn cdata(text: &str) -> String {
    format!("<![CDATA[{}]]>", text.replace("]]>", "]]]]><![CDATA[>"))
}

/// SHA-1 of the sorted parts, in hexadecimal.
fn sign(parts: &[&str]) -> String {
    let mut parts = parts.to_vec();
    parts.sort_unstable();
    let sum = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, parts.concat().as_bytes());
    sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key_of(encoding_aes_key: &str) -> Option<[u8; 32]> {
    let engine = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
    );
    engine.decode(format!("{encoding_aes_key}=")).ok()?.try_into().ok()
}

fn vector_of(key: &[u8; 32]) -> [u8; 16] {
    let mut vector = [0; 16];
    vector.copy_from_slice(&key[..16]);
    vector
}

/// The ciphertext in base64; empty for a key that is none, which the account's server then refuses.
fn encrypt(encoding_aes_key: &str, app_id: &str, message: &str) -> String {
    let sealed = || {
        let key = key_of(encoding_aes_key)?;
        let length = u32::try_from(message.len()).ok()?;
        let random = identifiers::random_text(12);
        let mut plain = [
            random.as_bytes(),
            &length.to_be_bytes(),
            message.as_bytes(),
            app_id.as_bytes(),
        ]
        .concat();
        let pad = 32 - plain.len() % 32;
        plain.resize(plain.len() + pad, u8::try_from(pad).ok()?);
        let cipher = EncryptingKey::cbc(UnboundCipherKey::new(&AES_256, &key).ok()?).ok()?;
        cipher
            .less_safe_encrypt(&mut plain, EncryptionContext::Iv128(vector_of(&key).into()))
            .ok()?;
        Some(STANDARD.encode(plain))
    };
    sealed().unwrap_or_default()
}

fn decrypt(encoding_aes_key: &str, app_id: &str, encrypted: &str) -> Option<String> {
    let key = key_of(encoding_aes_key)?;
    let mut bytes = STANDARD.decode(encrypted).ok()?;
    let cipher = DecryptingKey::cbc(UnboundCipherKey::new(&AES_256, &key).ok()?).ok()?;
    let plain = cipher
        .decrypt(&mut bytes, DecryptionContext::Iv128(vector_of(&key).into()))
        .ok()?;
    let pad = usize::from(*plain.last()?);
    let (body, padding) = plain.split_at_checked(plain.len().checked_sub(pad)?)?;
    if !(1..=32).contains(&pad) || padding.iter().any(|byte| usize::from(*byte) != pad) {
        return None;
    }
    let length = u32::from_be_bytes(body.get(16..20)?.try_into().ok()?) as usize;
    let (message, tail) = body.get(20..)?.split_at_checked(length)?;
    (tail == app_id.as_bytes()).then(|| String::from_utf8(message.to_vec()).ok())?
}

/// The children of the root with their texts.
fn fields(xml: &str) -> Option<HashMap<String, String>> {
    let mut reader = Reader::from_str(xml);
    let mut fields = HashMap::new();
    let mut path: Vec<String> = Vec::new();
    loop {
        let text = match reader.read_event().ok()? {
            Event::Start(start) => {
                path.push(String::from_utf8(start.name().as_ref().to_vec()).ok()?);
                continue;
            }
            Event::End(_) => {
                path.pop();
                continue;
            }
            Event::Text(text) => text.decode().ok()?.into_owned(),
            Event::CData(text) => text.decode().ok()?.into_owned(),
            Event::Eof => break,
            _ => continue,
        };
        match path.as_slice() {
            [_, name] => fields.entry(name.clone()).or_insert_with(String::new).push_str(&text),
            [] if !text.trim().is_empty() => return None,
            _ => {}
        }
    }
    (path.is_empty() && !fields.is_empty()).then_some(fields)
}

const PATIENCE: Duration = Duration::from_secs(5);
const ATTEMPTS: usize = 3;
/// Bytes of a text in the chat.
const LONGEST_TEXT: usize = 2_048;
