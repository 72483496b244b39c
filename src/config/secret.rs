//! Secrets: written out, in an environment variable, or in a file of their own.
//!
//! A file's surrounding white space is not part of the secret, since editors and `echo` end a file with a newline. No
//! message here repeats what a secret holds.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use thiserror::Error;
use toml::de::DeValue;
use zeroize::Zeroizing;

use super::node::Node;
use super::reading::Reading;
use super::section::{Section, parse_file_name};

/// The system's random source does not answer.
#[derive(Debug, Clone, Copy, Error)]
#[error("the random source of this system does not answer")]
pub struct RandomUnavailable;

/// A new secret of 32 random bytes in base64url, for `server.secret`.
///
/// # Errors
/// When the system gives no random bytes.
pub fn secret() -> Result<SecretString, RandomUnavailable> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| RandomUnavailable)?;
    Ok(SecretString::from(URL_SAFE_NO_PAD.encode(bytes.as_slice())))
}

impl Section<'_> {
    /// A secret in any of its three forms.
    pub(super) fn secret(&self, reading: &mut Reading<'_>, name: &'static str) -> Option<SecretString> {
        self.read(reading, name, read_secret).map(SecretString::from)
    }
}

/// The text of a secret; the caller wraps it.
pub(super) fn read_secret(reading: &mut Reading<'_>, node: &Node<'_>) -> Option<String> {
    let key = &node.key;
    let (text, origin) = match node.value {
        DeValue::String(text) => {
            reading.note_literal_secret(key);
            (text.trim().to_owned(), format!("`{key}`"))
        }
        DeValue::Table(_) => read_reference(reading, node)?,
        _ => {
            node.mistyped(
                reading,
                "a secret",
                "write { env = \"NAME\" }, { file = \"path\" }, or the secret in quotes",
            );
            return None;
        }
    };
    if text.is_empty() {
        reading.error(key, format!("{origin} is empty"), "put the secret there");
        return None;
    }
    if text.chars().any(char::is_control) {
        reading.error(
            key,
            format!("{origin} has more than one line or control characters"),
            "keep one line, the secret",
        );
        return None;
    }
    Some(text)
}

/// The secret that `{ env = … }` or `{ file = … }` points to, and what to call that place.
fn read_reference(reading: &mut Reading<'_>, node: &Node<'_>) -> Option<(String, String)> {
    let key = &node.key;
    let entries = node.entries(reading)?;
    let [(form, value)] = entries.as_slice() else {
        reading.error(
            key,
            format!("`{key}` takes exactly one of env and file"),
            "write { env = \"NAME\" } or { file = \"path\" }",
        );
        return None;
    };
    match *form {
        "env" => {
            let name = value.text(reading)?;
            let Some(text) = reading.surroundings.variable(name) else {
                reading.error(
                    key,
                    format!("the environment variable `{name}` is not set"),
                    format!("set it where menshen is started, or write {{ file = \"…\" }} for `{key}`"),
                );
                return None;
            };
            Some((text.trim().to_owned(), format!("the environment variable `{name}`")))
        }
        "file" => {
            let path = value.parse(reading, parse_file_name)?;
            let path = reading.resolve(&path);
            let bytes = Zeroizing::new(reading.read_file(key, &path, LONGEST_SECRET)?);
            if reading.surroundings.world_readable(&path) && !is_mounted_secret(&path) {
                reading.warn(
                    key,
                    format!("every user of this machine can read `{}`", path.display()),
                    format!("chmod o-r {}", path.display()),
                );
            }
            let Ok(text) = std::str::from_utf8(&bytes) else {
                reading.error(
                    key,
                    format!("`{}` is not text", path.display()),
                    "keep one line of text, the secret",
                );
                return None;
            };
            Some((text.trim().to_owned(), format!("`{}`", path.display())))
        }
        other => {
            reading.error(
                &value.key,
                format!("a secret has no `{other}`"),
                "write { env = \"NAME\" } or { file = \"path\" }",
            );
            None
        }
    }
}

/// Container platforms mount secrets readable inside the container, where nobody else is.
fn is_mounted_secret(path: &std::path::Path) -> bool {
    path.starts_with("/run/secrets") || path.starts_with("/var/run/secrets")
}

/// Far above any secret, far below what would be a mistaken file.
const LONGEST_SECRET: u64 = 16 << 10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_new_secret_is_32_bytes_and_never_the_same() {
        let (one, other) = (secret().unwrap(), secret().unwrap());
        assert_eq!(URL_SAFE_NO_PAD.decode(one.expose_secret()).unwrap().len(), 32);
        assert_ne!(one.expose_secret(), other.expose_secret());
    }
}
