//! What can be written down and validated, and is not served by this version.
//!
//! A gateway that ignores half of a rule lets people through whom its operator kept out, so each of these is refused
//! and not skipped. An entry here is deleted when what it names comes to life.

use super::settings::{ConnectionKind, Settings};

/// A setting that this version does not serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// Path of the key, for example `sites[0].routes[1].require`.
    pub key: String,
    /// What is not served.
    pub message: String,
    /// What to write instead.
    pub remedy: &'static str,
}

/// Everything in the settings that this version does not serve, in the order of the sections.
pub fn unsupported(settings: &Settings) -> Vec<Unsupported> {
    let mut found = Vec::new();
    let mut refuse = |key: String, what: &str, remedy: &'static str| {
        found.push(Unsupported {
            key,
            message: format!("{what} is not served by this version"),
            remedy,
        });
    };
    for (index, connection) in settings.connections.iter().enumerate() {
        match &connection.kind {
            ConnectionKind::MiniprogramQr(_)
            | ConnectionKind::MiniprogramLaunch(_)
            | ConnectionKind::WebsiteQr { .. }
            | ConnectionKind::OfficialAccountWeb { .. } => {}
            other => refuse(
                format!("connections[{index}].kind"),
                &format!("the kind `{}`", other.as_str()),
                "write \"miniprogram-qr\", \"miniprogram-launch\", \"website-qr\" or \"official-account-web\"",
            ),
        }
    }
    found
}
