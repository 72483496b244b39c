//! Wrapping of key material at rest under `server.secret`.
//!
//! AES-256-GCM under a key that HKDF draws from the operator's secret; kind and creation time of the key are associated
//! data, so that rows of a stolen or edited database cannot be exchanged for each other. Without a secret the material
//! stands in the clear, which `check` warns about: whoever reads the database then is the gateway.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// Wraps and unwraps key material.
pub struct Wrapper {
    key: RandomizedNonceKey,
}

/// The material does not open under this secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the keys in the store do not open with server.secret: give every node the secret that the store was made with"
)]
pub struct WrongSecret;

impl std::fmt::Debug for Wrapper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wrapper")
    }
}

impl Wrapper {
    /// From the operator's secret, of any length that `check` accepts.
    ///
    /// # Errors
    /// When the cipher library refuses the derived key, which it does for no secret.
    pub fn new(secret: &SecretString) -> Result<Self, WrongSecret> {
        let mut key = Zeroizing::new([0_u8; 32]);
        Salt::new(HKDF_SHA256, b"menshen/wrap")
            .extract(secret.expose_secret().as_bytes())
            .expand(&[b"keys"], Length)
            .and_then(|okm| okm.fill(&mut *key))
            .map_err(|_| WrongSecret)?;
        Ok(Self {
            key: RandomizedNonceKey::new(&AES_256_GCM, &*key).map_err(|_| WrongSecret)?,
        })
    }

    /// Nonce and ciphertext.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn wrap(&self, label: &str, material: &[u8]) -> Result<Vec<u8>, WrongSecret> {
        let mut sealed = material.to_vec();
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(label.as_bytes()), &mut sealed)
            .map_err(|_| WrongSecret)?;
        Ok([nonce.as_ref().as_slice(), &sealed].concat())
    }

    /// The material that was wrapped under the same label.
    ///
    /// # Errors
    /// [`WrongSecret`] for another secret, another label, or changed bytes.
    pub fn unwrap(&self, label: &str, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, WrongSecret> {
        let (nonce, body) = wrapped.split_at_checked(NONCE_LEN).ok_or(WrongSecret)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| WrongSecret)?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = self
            .key
            .open_in_place(nonce, Aad::from(label.as_bytes()), &mut body)
            .map_err(|_| WrongSecret)?
            .len();
        body.truncate(length);
        Ok(body)
    }
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn opens_only_with_the_same_secret_and_label() {
        let wrapper = Wrapper::new(&"one".to_owned().into()).unwrap();
        let wrapped = wrapper.wrap("seal/1", b"material").unwrap();
        assert_eq!(&**wrapper.unwrap("seal/1", &wrapped).unwrap(), b"material");
        assert_eq!(wrapper.unwrap("seal/2", &wrapped), Err(WrongSecret));
        assert_eq!(wrapper.unwrap("seal/1", &wrapped[1..]), Err(WrongSecret));
        assert_eq!(wrapper.unwrap("seal/1", b""), Err(WrongSecret));
        assert_eq!(
            Wrapper::new(&"two".to_owned().into())
                .unwrap()
                .unwrap("seal/1", &wrapped),
            Err(WrongSecret)
        );
    }
}
