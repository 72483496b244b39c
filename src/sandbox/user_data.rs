//! What WeChat's client hands a mini program about its person: encrypted or signed with the session key.
//!
//! The gateway asks for none of it. It exchanges codes instead, because the session key may change between the client's
//! encryption and the server's decryption. Mini programs that are tried against the sandbox get it as from WeChat.

use aws_lc_rs::cipher::{AES_128, EncryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::iv::FixedLength;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value, json};

use super::identifiers::{self, hex};
use super::state::State;
use super::world::{App, Persona};

/// `encryptedData` and `iv` of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EncryptedData {
    pub(super) encrypted_data: String,
    pub(super) iv: String,
}

/// What `wx.getUserInfo` gives.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UserInfo {
    user_info: Value,
    raw_data: String,
    signature: String,
    #[serde(flatten)]
    encrypted: EncryptedData,
}

impl State {
    /// `wx.getUserInfo`: since 2021 nobody's name and picture. `None` for strangers, and before a `wx.login`.
    pub(super) fn user_info_of(&self, app_id: &str, persona: &str, now: u64) -> Option<UserInfo> {
        let (app, persona, key) = self.opened(app_id, persona)?;
        let user_info = json!({
            "nickName": "微信用户", "gender": 0, "language": "", "city": "", "province": "", "country": "", "avatarUrl": "",
        });
        let raw_data = user_info.to_string();
        let mut whole = user_info.clone();
        whole["openId"] = Value::from(identifiers::openid(app.app_id.as_str(), &persona.id));
        whole["watermark"] = json!({ "timestamp": now, "appid": app.app_id });
        Some(UserInfo {
            signature: data_signature(&raw_data, key),
            encrypted: EncryptedData::of(&whole, key)?,
            user_info,
            raw_data,
        })
    }

    /// What the phone button's event has beside its code.
    pub(super) fn encrypted_phone(&self, app_id: &str, persona: &str, now: u64) -> Option<EncryptedData> {
        let (app, persona, key) = self.opened(app_id, persona)?;
        EncryptedData::of(&self.phone_info(app, persona, now), key)
    }

    fn opened(&self, app_id: &str, persona: &str) -> Option<(&App, &Persona, &str)> {
        let (app, persona) = (self.app(app_id)?, self.persona(persona)?);
        Some((app, persona, self.session_key(app, persona)?))
    }
}

impl EncryptedData {
    /// AES-128-CBC with the session key, and a fresh vector.
    fn of(plain: &Value, session_key: &str) -> Option<Self> {
        let vector: [u8; 16] = identifiers::random_bytes(16).try_into().ok()?;
        let key = PaddedBlockEncryptingKey::cbc_pkcs7(cipher_key(session_key)?).ok()?;
        let mut data = plain.to_string().into_bytes();
        key.less_safe_encrypt(&mut data, EncryptionContext::Iv128(FixedLength::from(vector)))
            .ok()?;
        Some(Self {
            encrypted_data: STANDARD.encode(data),
            iv: STANDARD.encode(vector),
        })
    }

    /// As the mini program's own server would read it.
    #[cfg(test)]
    fn decrypt(&self, session_key: &str) -> Option<String> {
        use aws_lc_rs::cipher::{DecryptionContext, PaddedBlockDecryptingKey};
        let vector: [u8; 16] = STANDARD.decode(&self.iv).ok()?.try_into().ok()?;
        let mut data = STANDARD.decode(&self.encrypted_data).ok()?;
        let key = PaddedBlockDecryptingKey::cbc_pkcs7(cipher_key(session_key)?).ok()?;
        let plain = key
            .decrypt(&mut data, DecryptionContext::Iv128(FixedLength::from(vector)))
            .ok()?;
        String::from_utf8(plain.to_vec()).ok()
    }
}

/// What is in an event, as the mini program's own server would read it.
#[cfg(test)]
pub(super) fn opened(event: &Value, session_key: &str) -> Value {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let encrypted = EncryptedData {
        encrypted_data: text("encryptedData"),
        iv: text("iv"),
    };
    let plain = encrypted.decrypt(session_key).unwrap_or_default();
    serde_json::from_str(&plain).unwrap_or_default()
}

fn cipher_key(session_key: &str) -> Option<UnboundCipherKey> {
    let bytes = STANDARD.decode(session_key).ok()?;
    UnboundCipherKey::new(&AES_128, &bytes).ok()
}

/// The session key counts as its base64 text.
fn data_signature(raw_data: &str, session_key: &str) -> String {
    let text = format!("{raw_data}{session_key}");
    hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn vector(name: &str) -> Value {
        let vectors: Value = serde_json::from_str(include_str!("../../tests/fixtures/wechat-user-data.json")).unwrap();
        let mut all = vectors.as_array().unwrap().iter();
        all.find(|vector| vector["name"] == name).unwrap().clone()
    }

    fn text(value: &Value) -> &str {
        value.as_str().unwrap()
    }

    #[test]
    fn the_published_sample_decrypts_and_what_is_encrypted_here_does_too() {
        let sample = vector("mp_encrypted_data_official");
        let key = text(&sample["session_key"]);
        let data = EncryptedData {
            encrypted_data: text(&sample["encrypted_data"]).to_owned(),
            iv: text(&sample["iv"]).to_owned(),
        };
        let plain = data.decrypt(key).unwrap();
        assert_eq!(plain, text(&sample["plaintext_utf8"]));
        let value: Value = serde_json::from_str(&plain).unwrap();
        assert_eq!(value["watermark"]["appid"], sample["appid"]);
        let again = EncryptedData::of(&value, key).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&again.decrypt(key).unwrap()).unwrap(),
            value
        );
        assert_eq!(again.decrypt("AAAAAAAAAAAAAAAAAAAAAA=="), None);
    }

    #[test]
    fn published_signatures_are_made() {
        let sample = vector("mp_rawdata_signature_official");
        assert_eq!(
            data_signature(text(&sample["raw_data"]), text(&sample["session_key"])),
            text(&sample["signature"])
        );
        let sample = vector("mp_session_signature_foo_bar");
        let key = text(&sample["session_key"]);
        for (data, signature) in [(text(&sample["data"]), "signature"), ("", "empty_string_signature")] {
            assert_eq!(identifiers::session_signature(key, data), text(&sample[signature]));
        }
    }
}
