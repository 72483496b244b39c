//! `menshen keys`: secrets and keys.

use std::io::Write;

use secrecy::ExposeSecret;

use crate::cli::{DONE, FAILED, complain};
use crate::config;

/// `menshen keys secret`: a new value for `server.secret`.
pub(super) fn secret(out: &mut impl Write) -> u8 {
    match config::secret() {
        Ok(secret) if writeln!(out, "{}", secret.expose_secret()).is_ok() => DONE,
        Ok(_) => FAILED,
        Err(error) => {
            complain(&error.to_string());
            FAILED
        }
    }
}
