//! How a message goes on to a program that is trusted with less than the account: signed and encrypted with keys of its
//! own, so that what it knows makes no message that Menshen takes for WeChat's.

use secrecy::{ExposeSecret, SecretString};
use url::form_urlencoded::Serializer;

use crate::config::settings::{OfficialAccountQr, PushMode};
use crate::wechat::message_crypto::{BadAesKey, MessageCrypto, NotEncrypted, is_signature, push_signature};
use crate::wechat::push::PushMessage;
use crate::wechat::push_xml::{Fields, cdata};

/// The keys of the program behind `relay_url`, where it has its own.
#[derive(Debug)]
pub struct RelaySeal {
    token: SecretString,
    /// Absent in plain mode.
    crypto: Option<MessageCrypto>,
}

/// A message as the program gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedPush {
    /// Behind the address.
    pub query: String,
    /// XML.
    pub body: String,
}

/// Why an answer of the program is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRelayAnswer {
    /// Neither `success` nor an envelope.
    #[error("its answer is neither `success` nor encrypted: it must answer in the account's message mode")]
    NoEnvelope,
    /// Not signed with its token, or not encrypted with its key.
    #[error("its answer does not open: compare relay_token, relay_encoding_aes_key and app_id with what it uses")]
    Unreadable,
}

impl RelaySeal {
    /// Of an account; `None` where the program shares the account's own keys.
    ///
    /// # Errors
    /// [`BadAesKey`].
    pub fn of(account: &OfficialAccountQr, app_id: &str) -> Result<Option<Self>, BadAesKey> {
        let Some(token) = &account.relay_token else {
            return Ok(None);
        };
        let crypto = match (account.push_mode, &account.relay_encoding_aes_key) {
            (PushMode::Plain, _) => None,
            (PushMode::Safe | PushMode::Compatible, Some(key)) => {
                Some(MessageCrypto::new(key.expose_secret(), app_id)?)
            }
            (PushMode::Safe | PushMode::Compatible, None) => return Err(BadAesKey),
        };
        Ok(Some(Self {
            token: token.clone(),
            crypto,
        }))
    }

    /// Signs a message for the program and, unless the mode is plain, encrypts it.
    ///
    /// # Errors
    /// [`NotEncrypted`].
    pub fn seal(&self, message: &PushMessage, nonce: &str, now: i64) -> Result<SealedPush, NotEncrypted> {
        let (token, time) = (self.token.expose_secret(), now.to_string());
        let mut query = Serializer::new(String::new());
        query
            .append_pair("signature", &push_signature(&[token, &time, nonce]))
            .append_pair("timestamp", &time)
            .append_pair("nonce", nonce)
            .append_pair("openid", &message.from);
        let body = match &self.crypto {
            None => message.xml.clone(),
            Some(crypto) => {
                let encrypted = crypto.encrypt(&message.xml)?;
                query
                    .append_pair("encrypt_type", "aes")
                    .append_pair("msg_signature", &push_signature(&[token, &time, nonce, &encrypted]));
                format!(
                    "<xml><ToUserName>{}</ToUserName><Encrypt>{}</Encrypt></xml>",
                    cdata(&message.to),
                    cdata(&encrypted)
                )
            }
        };
        Ok(SealedPush {
            query: query.finish(),
            body,
        })
    }

    /// What the program answers to the person; `None`: nothing.
    ///
    /// # Errors
    /// [`BadRelayAnswer`].
    pub fn open_answer(&self, answer: &[u8]) -> Result<Option<String>, BadRelayAnswer> {
        let answer = std::str::from_utf8(answer).map_err(|_| BadRelayAnswer::NoEnvelope)?;
        if matches!(answer.trim(), "" | "success") {
            return Ok(None);
        }
        let Some(crypto) = &self.crypto else {
            return Ok(Some(answer.to_owned()));
        };
        let envelope = Fields::read(answer).map_err(|_| BadRelayAnswer::NoEnvelope)?;
        let encrypted = envelope.get("Encrypt").ok_or(BadRelayAnswer::NoEnvelope)?;
        let field = |name| envelope.get(name).unwrap_or_default();
        let signed = [
            self.token.expose_secret(),
            field("TimeStamp"),
            field("Nonce"),
            encrypted,
        ];
        if !is_signature(field("MsgSignature"), &signed) {
            return Err(BadRelayAnswer::Unreadable);
        }
        crypto
            .decrypt(encrypted)
            .map(Some)
            .map_err(|_| BadRelayAnswer::Unreadable)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::wechat::{PushDoor, PushFault, PushQuery};

    const NOW: i64 = 1_760_000_000;
    const APP_ID: &str = "wx0123456789abcdef";
    const OWN: (&str, &str) = ("AccountToken", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8");
    const RELAYS: (&str, &str) = ("RelayToken", "HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8");

    fn account(push_mode: PushMode, (token, key): (&str, &str)) -> OfficialAccountQr {
        OfficialAccountQr {
            token: SecretString::from(token),
            encoding_aes_key: Some(SecretString::from(key)),
            push_mode,
            relay_url: None,
            relay_token: Some(SecretString::from(RELAYS.0)),
            relay_encoding_aes_key: Some(SecretString::from(RELAYS.1)),
            verify_opener: false,
            greeting: None,
        }
    }

    fn query(sealed: &SealedPush) -> std::collections::HashMap<String, String> {
        url::form_urlencoded::parse(sealed.query.as_bytes())
            .into_owned()
            .collect()
    }

    fn open(door: &PushDoor, sealed: &SealedPush) -> Result<PushMessage, PushFault> {
        let query = query(sealed);
        let query = PushQuery {
            signature: &query["signature"],
            timestamp: &query["timestamp"],
            nonce: &query["nonce"],
            encrypt_type: query.get("encrypt_type").map(String::as_str),
            msg_signature: query.get("msg_signature").map(String::as_str),
        };
        door.open(query, sealed.body.as_bytes(), NOW)
    }

    #[test]
    fn the_program_reads_what_it_gets_with_its_own_keys_and_the_gateway_does_not_take_it_back() {
        let xml = "<xml><ToUserName>gh_1</ToUserName><FromUserName>o&amp;1</FromUserName><CreateTime>1760000000</CreateTime>\
                   <MsgType>text</MsgType><Content><![CDATA[你好]]></Content></xml>";
        for mode in [PushMode::Safe, PushMode::Compatible, PushMode::Plain] {
            let message = PushMessage::read(xml).unwrap();
            let seal = RelaySeal::of(&account(mode, OWN), APP_ID).unwrap().unwrap();
            let sealed = seal.seal(&message, "42", NOW).unwrap();
            assert_eq!(query(&sealed)["openid"], "o&1");
            let relay = PushDoor::new(&account(mode, RELAYS), APP_ID).unwrap();
            assert_eq!(open(&relay, &sealed).unwrap().xml, xml, "{mode:?}");
            let own = PushDoor::new(&account(mode, OWN), APP_ID).unwrap();
            assert_eq!(open(&own, &sealed), Err(PushFault::Signature), "{mode:?}");

            let answer = message.answer("欢迎", NOW);
            let wrapped = relay.wrap(&answer, "7", NOW).unwrap();
            assert_eq!(
                seal.open_answer(wrapped.as_bytes()),
                Ok(Some(answer.clone())),
                "{mode:?}"
            );
            for nothing in ["", "success", " success\n"] {
                assert_eq!(seal.open_answer(nothing.as_bytes()), Ok(None));
            }
            if mode != PushMode::Plain {
                let foreign = own.wrap(&answer, "7", NOW).unwrap();
                assert_eq!(seal.open_answer(foreign.as_bytes()), Err(BadRelayAnswer::Unreadable));
                assert_eq!(seal.open_answer(answer.as_bytes()), Err(BadRelayAnswer::NoEnvelope));
            }
        }
    }

    #[test]
    fn without_a_token_of_its_own_a_program_shares_the_accounts() {
        let shared = OfficialAccountQr {
            relay_token: None,
            ..account(PushMode::Safe, OWN)
        };
        assert!(RelaySeal::of(&shared, APP_ID).unwrap().is_none());
        let half = OfficialAccountQr {
            relay_encoding_aes_key: None,
            ..account(PushMode::Safe, OWN)
        };
        assert!(RelaySeal::of(&half, APP_ID).is_err());
    }
}
