//! Messages that WeChat pushes to the server of a service account: whether they are WeChat's, what they say, and how the
//! answer is wrapped.
//!
//! The signature of an encrypted message covers its ciphertext. That of a plain one covers a time and a number only: who
//! has seen one can say what they like for five minutes. So a plain message is taken from an account that is configured
//! as plain, and from no other.

use secrecy::{ExposeSecret, SecretString};

use crate::config::settings::{OfficialAccountQr, PushMode};
use crate::wechat::message_crypto::{BadAesKey, MessageCrypto, NotEncrypted, is_signature, push_signature};
use crate::wechat::push_xml::{Fields, XmlFault, cdata};

/// The server side of one service account's messages.
#[derive(Debug)]
pub struct PushDoor {
    token: SecretString,
    /// Absent in plain mode.
    crypto: Option<MessageCrypto>,
}

/// What stands in the query of a push.
#[derive(Debug, Clone, Copy, Default)]
pub struct PushQuery<'a> {
    /// Of token, time and number.
    pub signature: &'a str,
    /// Unix seconds.
    pub timestamp: &'a str,
    /// A number of WeChat's.
    pub nonce: &'a str,
    /// `aes`, or nothing.
    pub encrypt_type: Option<&'a str>,
    /// Of token, time, number and ciphertext.
    pub msg_signature: Option<&'a str>,
}

/// A message, as far as a login cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushMessage {
    /// `gh_…`: the account.
    pub to: String,
    /// openid of the person.
    pub from: String,
    /// Unix seconds.
    pub created_at: i64,
    /// What it is.
    pub kind: PushKind,
    /// As it was written, decrypted.
    pub xml: String,
}

/// What a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushKind {
    /// A code with a scene was scanned.
    Scan {
        /// What the code was made with.
        scene: String,
        /// By somebody who follows the account since.
        new_follower: bool,
    },
    /// The person does not follow the account any more.
    Unsubscribe,
    /// Everything else.
    Other,
}

/// Why a push is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushFault {
    /// Not signed with the account's token.
    #[error("the signature is wrong: compare token with the account's server settings")]
    Signature,
    /// Signed more than five minutes ago, or in the future; the farthest where no time is written.
    #[error("its time is {0} s away from this machine's clock")]
    Time(i64),
    /// Where a signed envelope is expected, there is none.
    #[error("it holds nothing that is signed")]
    Unsigned,
    /// Plain where encrypted messages are expected, or the other way round; signed.
    #[error("its mode is not the configured one: compare push_mode with the account's server settings")]
    Mode,
    /// Signed, and yet it does not decrypt.
    #[error("it does not decrypt: compare encoding_aes_key and app_id with the account's server settings")]
    Undecipherable,
    /// Not a message.
    #[error("{0}")]
    Xml(#[from] XmlFault),
    /// Without sender, receiver or time.
    #[error("it lacks sender, receiver or time")]
    Incomplete,
}

impl PushFault {
    /// Whether nothing shows that it comes from WeChat. Everything else came under a signature of this moment.
    pub fn is_forged(self) -> bool {
        matches!(self, Self::Signature | Self::Time(_) | Self::Unsigned)
    }
}

impl PushDoor {
    /// For an account.
    ///
    /// # Errors
    /// [`BadAesKey`].
    pub fn new(account: &OfficialAccountQr, app_id: &str) -> Result<Self, BadAesKey> {
        let crypto = match (account.push_mode, &account.encoding_aes_key) {
            (PushMode::Plain, _) => None,
            (PushMode::Safe | PushMode::Compatible, Some(key)) => {
                Some(MessageCrypto::new(key.expose_secret(), app_id)?)
            }
            (PushMode::Safe | PushMode::Compatible, None) => return Err(BadAesKey),
        };
        Ok(Self {
            token: account.token.clone(),
            crypto,
        })
    }

    /// Whether a signature says nothing about the message that it came with.
    pub fn is_plain(&self) -> bool {
        self.crypto.is_none()
    }

    /// Whether this is WeChat's question if somebody is there; its echo is the answer. Plain in every mode.
    ///
    /// # Errors
    /// [`PushFault`] that is forged.
    pub fn check_handshake(&self, query: PushQuery<'_>, now: i64) -> Result<(), PushFault> {
        self.check(query.signature, &[query.timestamp, query.nonce])?;
        check_time(query.timestamp, now)
    }

    /// A signature by which the account's server is asked if it is there.
    pub fn sign_handshake(&self, timestamp: &str, nonce: &str) -> String {
        push_signature(&[self.token.expose_secret(), timestamp, nonce])
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`PushFault`].
    pub fn open(&self, query: PushQuery<'_>, body: &[u8], now: i64) -> Result<PushMessage, PushFault> {
        let encrypted = query.encrypt_type == Some("aes");
        let body = std::str::from_utf8(body);
        let message = match (&self.crypto, encrypted) {
            (Some(crypto), true) => {
                // The envelope is read before its signature can be checked: it is part of what is signed. So whatever is
                // wrong with it is anybody's.
                let body = body.map_err(|_| PushFault::Unsigned)?;
                let envelope = Fields::read(body).map_err(|_| PushFault::Unsigned)?;
                let ciphertext = envelope.get("Encrypt").ok_or(PushFault::Unsigned)?;
                let signature = query.msg_signature.unwrap_or_default();
                self.check(signature, &[query.timestamp, query.nonce, ciphertext])?;
                check_time(query.timestamp, now)?;
                crypto.decrypt(ciphertext).map_err(|_| PushFault::Undecipherable)?
            }
            (None, false) => {
                self.check(query.signature, &[query.timestamp, query.nonce])?;
                check_time(query.timestamp, now)?;
                body.map_err(|_| XmlFault::Malformed)?.to_owned()
            }
            // Whoever signs it is told by the log; a stranger learns nothing about the mode.
            _ => {
                self.check(query.signature, &[query.timestamp, query.nonce])?;
                check_time(query.timestamp, now)?;
                return Err(PushFault::Mode);
            }
        };
        PushMessage::read(&message)
    }

    /// Wraps an answer as the mode demands.
    ///
    /// # Errors
    /// [`NotEncrypted`].
    pub fn wrap(&self, answer: &str, nonce: &str, now: i64) -> Result<String, NotEncrypted> {
        let Some(crypto) = &self.crypto else {
            return Ok(answer.to_owned());
        };
        let (encrypted, now) = (crypto.encrypt(answer)?, now.to_string());
        let signature = push_signature(&[self.token.expose_secret(), &now, nonce, &encrypted]);
        Ok(format!(
            "<xml><Encrypt>{}</Encrypt><MsgSignature>{}</MsgSignature><TimeStamp>{now}</TimeStamp><Nonce>{}</Nonce></xml>",
            cdata(&encrypted),
            cdata(&signature),
            cdata(nonce),
        ))
    }

    fn check(&self, signature: &str, parts: &[&str]) -> Result<(), PushFault> {
        let mut signed = vec![self.token.expose_secret()];
        signed.extend(parts);
        if is_signature(signature, &signed) {
            Ok(())
        } else {
            Err(PushFault::Signature)
        }
    }
}

impl PushMessage {
    pub(super) fn read(xml: &str) -> Result<Self, PushFault> {
        let fields = Fields::read(xml)?;
        let field = |name| fields.get(name).ok_or(PushFault::Incomplete);
        let created_at = field("CreateTime")?.parse().map_err(|_| PushFault::Incomplete)?;
        let is_id = |id: &&str| (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
        Ok(Self {
            to: Some(field("ToUserName")?)
                .filter(is_id)
                .ok_or(PushFault::Incomplete)?
                .to_owned(),
            from: Some(field("FromUserName")?)
                .filter(is_id)
                .ok_or(PushFault::Incomplete)?
                .to_owned(),
            created_at,
            kind: PushKind::of(&fields),
            xml: xml.to_owned(),
        })
    }

    /// A text in answer to this message.
    pub fn answer(&self, text: &str, now: i64) -> String {
        format!(
            "<xml><ToUserName>{}</ToUserName><FromUserName>{}</FromUserName><CreateTime>{now}</CreateTime>\
             <MsgType><![CDATA[text]]></MsgType><Content>{}</Content></xml>",
            cdata(&self.from),
            cdata(&self.to),
            cdata(text),
        )
    }
}

impl PushKind {
    /// `Event` has been seen in lower case.
    fn of(fields: &Fields) -> Self {
        if !fields
            .get("MsgType")
            .is_some_and(|kind| kind.eq_ignore_ascii_case("event"))
        {
            return Self::Other;
        }
        let event = fields.get("Event").unwrap_or_default();
        let key = fields.get("EventKey").unwrap_or_default();
        if event.eq_ignore_ascii_case("unsubscribe") {
            return Self::Unsubscribe;
        }
        let scanned = if event.eq_ignore_ascii_case("scan") {
            Some((key, false))
        } else if event.eq_ignore_ascii_case("subscribe") {
            // Once: a scene may begin with the same letters itself.
            key.strip_prefix("qrscene_").map(|scene| (scene, true))
        } else {
            None
        };
        match scanned {
            Some((scene, new_follower)) if !scene.is_empty() => Self::Scan {
                scene: scene.to_owned(),
                new_follower,
            },
            _ => Self::Other,
        }
    }
}

/// Refuses what was signed too long ago, or too far ahead. The parts of a signature have no limits between them: a time
/// in another spelling may be another number's digits.
fn check_time(timestamp: &str, now: i64) -> Result<(), PushFault> {
    let signed: i64 = timestamp.parse().map_err(|_| PushFault::Time(i64::MAX))?;
    if signed.to_string() != timestamp {
        return Err(PushFault::Time(i64::MAX));
    }
    match signed.saturating_sub(now) {
        apart if apart.saturating_abs() <= WINDOW => Ok(()),
        apart => Err(PushFault::Time(apart)),
    }
}

/// Seconds that a signature counts. WeChat's three attempts are over after fifteen.
pub const WINDOW: i64 = 300;
/// Bytes of an openid or an original id.
const LONGEST_ID: usize = 64;

#[cfg(test)]
#[path = "push_tests.rs"]
mod tests;
