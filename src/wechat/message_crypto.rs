//! The encryption of pushed messages (WXBizMsgCrypt): AES-256-CBC over `random(16) | length(4) | message | AppID`.
//!
//! Two things are not what a library expects. The key has 43 characters for 256 bits, so that the last two bits of the
//! last character are arbitrary, and three of four real keys are refused by a strict base64 decoder. The padding is
//! PKCS#7 for blocks of 32 bytes under a cipher with blocks of 16, so that half of all messages end in a byte above 16.
//!
//! What does not decrypt is told by one error, whatever is wrong with it: with a difference between "bad padding" and
//! "bad AppID", a stranger could decrypt a message byte by byte (Vaudenay, Eurocrypt 2002).

use aws_lc_rs::cipher::{
    AES_256, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::iv::FixedLength;
use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use secrecy::zeroize::Zeroizing;
use subtle::{Choice, ConstantTimeEq, ConstantTimeLess};

/// Encrypts and decrypts the messages of one account.
pub struct MessageCrypto {
    key: Zeroizing<[u8; KEY]>,
    app_id: Box<str>,
}

/// Not an EncodingAESKey.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an EncodingAESKey is 43 characters of base64")]
pub struct BadAesKey;

/// It was not encrypted with this key for this AppID, or was changed on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message does not decrypt")]
pub struct Undecipherable;

/// The machine gives no randomness, or its cryptography is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message cannot be encrypted")]
pub struct NotEncrypted;

impl MessageCrypto {
    /// For the EncodingAESKey of an account.
    ///
    /// # Errors
    /// [`BadAesKey`].
    pub fn new(encoding_aes_key: &str, app_id: impl Into<Box<str>>) -> Result<Self, BadAesKey> {
        if encoding_aes_key.len() != ENCODED_KEY {
            return Err(BadAesKey);
        }
        let padded = Zeroizing::new(format!("{encoding_aes_key}="));
        let bytes = Zeroizing::new(KEY_ENGINE.decode(padded.as_bytes()).map_err(|_| BadAesKey)?);
        let key = <[u8; KEY]>::try_from(bytes.as_slice()).map_err(|_| BadAesKey)?;
        Ok(Self {
            key: Zeroizing::new(key),
            app_id: app_id.into(),
        })
    }

    /// What is in `Encrypt`.
    ///
    /// # Errors
    /// [`Undecipherable`], whatever is wrong.
    pub fn decrypt(&self, encrypted: &str) -> Result<String, Undecipherable> {
        let mut buffer = STANDARD.decode(encrypted).map_err(|_| Undecipherable)?;
        if buffer.is_empty() || !buffer.len().is_multiple_of(BLOCK) {
            return Err(Undecipherable);
        }
        let key = UnboundCipherKey::new(&AES_256, &self.key[..]).map_err(|_| Undecipherable)?;
        let key = DecryptingKey::cbc(key).map_err(|_| Undecipherable)?;
        let plain = key
            .decrypt(&mut buffer, DecryptionContext::Iv128(self.iv()))
            .map_err(|_| Undecipherable)?;
        self.unwrap(plain).map(str::to_owned).ok_or(Undecipherable)
    }

    /// A message for `Encrypt`.
    ///
    /// # Errors
    /// [`NotEncrypted`].
    pub fn encrypt(&self, message: &str) -> Result<String, NotEncrypted> {
        let mut random = [0; RANDOM];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| NotEncrypted)?;
        self.encrypt_with(&random, message)
    }

    fn encrypt_with(&self, random: &[u8; RANDOM], message: &str) -> Result<String, NotEncrypted> {
        let length = u32::try_from(message.len()).map_err(|_| NotEncrypted)?;
        let mut buffer = Vec::with_capacity(RANDOM + LENGTH + message.len() + self.app_id.len() + BLOCK);
        buffer.extend_from_slice(random);
        buffer.extend_from_slice(&length.to_be_bytes());
        buffer.extend_from_slice(message.as_bytes());
        buffer.extend_from_slice(self.app_id.as_bytes());
        let pad = BLOCK - buffer.len() % BLOCK;
        buffer.extend(std::iter::repeat_n(u8::try_from(pad).unwrap_or_default(), pad));
        let key = UnboundCipherKey::new(&AES_256, &self.key[..]).map_err(|_| NotEncrypted)?;
        let key = EncryptingKey::cbc(key).map_err(|_| NotEncrypted)?;
        // The vector is the key's own beginning: that is the protocol, and the random bytes in front make up for it.
        key.less_safe_encrypt(&mut buffer, EncryptionContext::Iv128(self.iv()))
            .map_err(|_| NotEncrypted)?;
        Ok(STANDARD.encode(buffer))
    }

    /// Reads what a decryption could have given, and forgets it.
    pub(super) fn read_plain(&self, plain: &[u8]) {
        let _ = self.unwrap(plain);
    }

    fn iv(&self) -> FixedLength<IV> {
        let mut iv = [0; IV];
        iv.copy_from_slice(&self.key[..IV]);
        FixedLength::from(iv)
    }

    /// The message in a plaintext. Every part is looked at before the verdict, so that the time says nothing about which
    /// of them is wrong.
    fn unwrap<'p>(&self, plain: &'p [u8]) -> Option<&'p str> {
        let (pad, padded) = padding(plain);
        let end = plain.len().checked_sub(pad)?;
        let body = plain.get(RANDOM + LENGTH..end).unwrap_or_default();
        let announced = plain.get(RANDOM..RANDOM + LENGTH).unwrap_or(&[0xff; LENGTH]);
        let announced = announced
            .iter()
            .fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        let tail = body.get(announced..).unwrap_or_default();
        let ours = tail.ct_eq(self.app_id.as_bytes());
        let long_enough = Choice::from(u8::from(end >= RANDOM + LENGTH && announced <= body.len()));
        if bool::from(padded & ours & long_enough) {
            std::str::from_utf8(body.get(..announced)?).ok()
        } else {
            None
        }
    }
}

impl std::fmt::Debug for MessageCrypto {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessageCrypto")
            .field("app_id", &self.app_id)
            .finish_non_exhaustive()
    }
}

/// The signature of a push: lower-case SHA-1 of the parts, sorted by their bytes and put together.
pub(super) fn push_signature(parts: &[&str]) -> String {
    let mut parts = parts.to_vec();
    parts.sort_unstable();
    let joined = Zeroizing::new(parts.concat());
    let sum = digest(&SHA1_FOR_LEGACY_USE_ONLY, joined.as_bytes());
    sum.as_ref().iter().fold(String::with_capacity(40), |mut hex, byte| {
        for nibble in [byte >> 4, byte & 15] {
            hex.push(char::from(HEX[usize::from(nibble)]));
        }
        hex
    })
}

/// Whether a signature is the right one. In constant time.
pub(super) fn is_signature(signature: &str, parts: &[&str]) -> bool {
    push_signature(parts).as_bytes().ct_eq(signature.as_bytes()).into()
}

/// How many bytes of padding there are, and whether they are as they should be. In constant time for plaintexts of one
/// length, which anybody sees.
fn padding(plain: &[u8]) -> (usize, Choice) {
    let last = plain.last().copied().unwrap_or_default();
    let limit = u8::try_from(BLOCK).unwrap_or(u8::MAX);
    let mut good = !last.ct_eq(&0) & !limit.ct_lt(&last);
    let block = plain.len().saturating_sub(BLOCK);
    for (place, byte) in plain.iter().skip(block).rev().enumerate() {
        let place = u8::try_from(place).unwrap_or(u8::MAX);
        good &= byte.ct_eq(&last) | !place.ct_lt(&last);
    }
    (usize::from(last), good)
}

/// Accepts whatever stands in the two bits that no byte has.
const KEY_ENGINE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Bytes of the padding's block, twice the cipher's.
const BLOCK: usize = 32;
const KEY: usize = 32;
const ENCODED_KEY: usize = 43;
const IV: usize = 16;
const RANDOM: usize = 16;
const LENGTH: usize = 4;
const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
#[path = "message_crypto_tests.rs"]
mod tests;
