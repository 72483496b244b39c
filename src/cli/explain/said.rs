//! The explanation itself: its shape in `--json`, and the same for people.

use std::io::{self, Write};
use std::net::IpAddr;

use serde::Serialize;

/// What would happen, in the shape of `--json`.
#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    pub(super) method: String,
    pub(super) url: String,
    /// As it is matched and forwarded; absent when it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    /// What backends could take the path for, when there is more than one way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) readings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) site: Option<SiteSaid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) route: Option<RouteSaid>,
    /// The strictest of all readings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) access: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) conditions: Vec<ConditionSaid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<UserSaid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<IpAddr>,
    pub(super) decision: &'static str,
    /// Of Menshen's own answer; absent when the application answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    pub(super) reason: String,
    /// Where the request goes, or would go after a login.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) upstreams: Vec<String>,
    /// What the application receives besides what the client sent, or would receive after a login.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) headers: Vec<HeaderSaid>,
}

#[derive(Debug, Serialize)]
pub(super) struct SiteSaid {
    pub(super) name: String,
    /// The pattern that the host matched.
    pub(super) host: String,
    pub(super) audience: String,
}

#[derive(Debug, Serialize)]
pub(super) struct RouteSaid {
    pub(super) path: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) methods: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct ConditionSaid {
    /// Of which route.
    pub(super) route: String,
    /// `require` or `require_all`.
    pub(super) list: &'static str,
    pub(super) condition: String,
    pub(super) met: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct UserSaid {
    pub(super) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) username: Option<String>,
    pub(super) groups: Vec<String>,
    /// Through which the session is taken to have been made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) connection: Option<String>,
    pub(super) disabled: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct HeaderSaid {
    pub(super) name: String,
    /// Absent when only a real request knows it.
    pub(super) value: Option<String>,
    /// What it will be then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<&'static str>,
}

impl Explanation {
    /// The same for people.
    pub(super) fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{} {}", self.method, self.url)?;
        let mut line = |label: &str, text: &str| writeln!(out, "  {label:<10}  {text}");
        if let Some(path) = &self.path {
            line("path", path)?;
        }
        for reading in self.readings.iter().skip(1) {
            line("", &format!("could be read as {reading}, so its rules hold too"))?;
        }
        if let Some(site) = &self.site {
            line(
                "site",
                &format!("{} (hosts {:?}, audience {:?})", site.name, site.host, site.audience),
            )?;
        }
        if let Some(access) = self.access {
            let route = match &self.route {
                Some(route) if route.methods.is_empty() => format!("{:?}", route.path),
                Some(route) => format!("{:?} for {}", route.path, route.methods.join(", ")),
                None => "none matches".to_owned(),
            };
            line("route", &route)?;
            line("access", access)?;
        }
        for condition in &self.conditions {
            let met = match condition.met {
                true => "met",
                false if condition.condition.starts_with("network:") && self.client.is_none() => {
                    "not met (name an address with --client)"
                }
                false => "not met",
            };
            line("", &format!("{} {:?}: {met}", condition.list, condition.condition))?;
        }
        if let Some(user) = &self.user {
            let name = user.username.as_deref().unwrap_or("without a username");
            let connection = user.connection.as_deref().unwrap_or("none");
            line(
                "user",
                &format!("{name} ({}), signed in by connection {connection:?}", user.id),
            )?;
        }
        let status = self.status.map(|status| format!(" ({status})")).unwrap_or_default();
        line("decision", &format!("{}{status}", self.decision.replace('_', " ")))?;
        line("because", &self.reason)?;
        let passes = self.status.is_none();
        if !self.upstreams.is_empty() {
            line(if passes { "upstream" } else { "later to" }, &self.upstreams.join(", "))?;
        }
        for (place, header) in self.headers.iter().enumerate() {
            let label = match (place, passes) {
                (0, true) => "headers",
                (0, false) => "with",
                _ => "",
            };
            let value = match (&header.value, header.note) {
                (Some(value), _) => value.clone(),
                (None, note) => format!("({})", note.unwrap_or("unknown")),
            };
            line(label, &format!("{}: {value}", header.name))?;
        }
        Ok(())
    }
}
