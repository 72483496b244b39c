//! The portal by the names that people and phones use: does this installation answer there, and with which certificate.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use http::{StatusCode, header};
use reqwest::redirect::Policy;
use reqwest::tls::TlsInfo;
use serde::Deserialize;
use url::Url;

use crate::config::Settings;
use crate::config::settings::{Algorithm, Connection, ConnectionKind, HostPattern, OfficialAccountQr, QrKind};
use crate::telemetry::clock::Clock;
use crate::wechat::PushDoor;

use super::SharedState;
use super::certificates::Validity;
use super::report::{Finding, Group};

/// Something to be asked by its public address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Visit {
    /// The key set below this origin must be this installation's.
    Keys { origin: Url, signs: bool },
    /// A host pattern without a name to ask.
    Wildcard { pattern: String },
    /// A file that WeChat asks for.
    File { address: Url, content: String },
    /// Where WeChat pushes a service account's messages to, asked as WeChat asks when the address is entered.
    Push { address: Url, asked: Url, echo: String },
    /// What other scanners than WeChat are shown.
    LinkPrefix {
        prefix: Url,
        connection: String,
        has_files: bool,
    },
}

/// A visitor from outside, as far as one can be had from here.
#[derive(Debug)]
pub(super) struct Visitor {
    client: reqwest::Client,
}

/// An answer, whatever it says.
struct Answer {
    status: StatusCode,
    location: Option<String>,
    certificate: Option<Validity>,
    body: BytesMut,
}

/// No answer.
struct Unreached {
    connecting: bool,
    timed_out: bool,
    cause: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<PublishedKey>,
}

#[derive(Deserialize)]
struct PublishedKey {
    #[serde(default)]
    kid: Option<String>,
}

/// Everything of a configuration that has a public address.
pub(super) fn visits(settings: &Settings) -> Vec<Visit> {
    let public = &settings.server.public_url;
    let signs = settings.identity.algorithm != Algorithm::Hs256;
    let mut visits = vec![Visit::Keys {
        origin: public.clone(),
        signs,
    }];
    for pattern in settings.sites.iter().flat_map(|site| &site.hosts) {
        let visit = match pattern {
            HostPattern::Exact(host) => {
                // Sites are where public_url is: same scheme, same port.
                let mut origin = public.clone();
                match origin.set_host(Some(host)) {
                    Ok(()) => Visit::Keys { origin, signs },
                    Err(_) => continue,
                }
            }
            HostPattern::Suffix(suffix) => Visit::Wildcard {
                pattern: format!("*.{suffix}"),
            },
            HostPattern::Any => Visit::Wildcard {
                pattern: "*".to_owned(),
            },
        };
        if !visits.contains(&visit) {
            visits.push(visit);
        }
    }
    let files = &settings.server.verification_files;
    let beside = |base: &Url| {
        files
            .iter()
            .filter_map(|(name, content)| {
                Some(Visit::File {
                    address: base.join(name).ok()?,
                    content: content.clone(),
                })
            })
            .collect::<Vec<_>>()
    };
    visits.extend(beside(public));
    for connection in &settings.connections {
        if let ConnectionKind::OfficialAccountQr(account) = &connection.kind {
            visits.extend(push(settings, connection, account));
        }
        let ConnectionKind::MiniprogramQr(kind) = &connection.kind else {
            continue;
        };
        let (QrKind::Link { prefix } | QrKind::Wxacode { fallback: Some(prefix) }) = &kind.qr else {
            continue;
        };
        visits.push(Visit::LinkPrefix {
            prefix: prefix.clone(),
            connection: connection.id.clone(),
            has_files: !files.is_empty(),
        });
        for visit in beside(prefix) {
            if !visits.contains(&visit) {
                visits.push(visit);
            }
        }
    }
    visits
}

/// WeChat's question if the address is the account's, signed with its token.
fn push(settings: &Settings, connection: &Connection, account: &OfficialAccountQr) -> Option<Visit> {
    let door = PushDoor::new(account, &connection.app_id).ok()?;
    let address = format!("{}/.menshen/connections/{}/push", settings.issuer(), connection.id);
    let address = Url::parse(&address).ok()?;
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).ok()?;
    let [echo, nonce] = [&random[..8], &random[8..]].map(|bytes| {
        let number = bytes.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        number.to_string()
    });
    let time = Clock::default().now().to_string();
    let mut asked = address.clone();
    asked
        .query_pairs_mut()
        .append_pair("signature", &door.sign_handshake(&time, &nonce))
        .append_pair("timestamp", &time)
        .append_pair("nonce", &nonce)
        .append_pair("echostr", &echo);
    Some(Visit::Push { address, asked, echo })
}

impl Visit {
    /// How the report names it.
    pub(super) fn subject(&self) -> String {
        match self {
            Self::Keys { origin, .. } => origin.origin().ascii_serialization(),
            Self::Wildcard { pattern } => pattern.clone(),
            Self::File { address, .. } | Self::Push { address, .. } => address.to_string(),
            Self::LinkPrefix { prefix, .. } => prefix.to_string(),
        }
    }
}

impl Visitor {
    /// With names that are asked elsewhere than their DNS records say.
    pub(super) fn new(settings: &Settings, resolve: &[(String, IpAddr)]) -> Result<Self, reqwest::Error> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("menshen-doctor/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .no_proxy()
            .referer(false)
            .tls_info(true)
            .connect_timeout(TIMEOUT / 2)
            .timeout(TIMEOUT);
        let port = settings.server.public_url.port_or_known_default().unwrap_or(443);
        for (host, address) in resolve {
            builder = builder.resolve(host, SocketAddr::new(*address, port));
        }
        Ok(Self {
            client: builder.build()?,
        })
    }

    /// Pays one visit.
    pub(super) async fn make(&self, visit: &Visit, state: SharedState<'_>) -> Vec<Finding> {
        let subject = visit.subject();
        match visit {
            Visit::Wildcard { .. } => vec![Finding::unchecked(
                GROUP,
                "reachable",
                subject,
                "a wildcard has no name to ask: open one of its names in a browser",
            )],
            Visit::Keys { origin, signs } => {
                let Ok(address) = origin.join(KEY_SET) else {
                    return Vec::new();
                };
                let answer = match self.get(&address).await {
                    Ok(answer) => answer,
                    Err(unreached) => return vec![unreached.finding(&subject)],
                };
                let state = state.await;
                let mut findings = vec![judge_key_set(&subject, &answer, *signs, state.published.as_ref())];
                let now = Clock::default().now();
                findings.extend(answer.certificate.map(|validity| validity.judged(GROUP, &subject, now)));
                findings
            }
            Visit::File { address, content } => vec![match self.get(address).await {
                Ok(answer)
                    if answer.status == StatusCode::OK && answer.body.trim_ascii() == content.trim().as_bytes() =>
                {
                    Finding::ok(GROUP, "verification_file", subject, "WeChat finds the file")
                }
                Ok(answer) => Finding::fail(
                    GROUP,
                    "verification_file",
                    subject,
                    format!("{} and not the file", answer.said()),
                    "Have the proxy in front send this path to Menshen, and compare server.verification_files.",
                ),
                Err(unreached) => unreached.finding(&subject),
            }],
            Visit::Push { asked, echo, .. } => vec![match self.get(asked).await {
                Ok(answer) if answer.status == StatusCode::OK && answer.body == echo.as_bytes() => Finding::ok(
                    GROUP,
                    "push_address",
                    subject,
                    "the account's server answers here; whether WeChat reaches it, only its console shows",
                ),
                Ok(answer) => Finding::fail(
                    GROUP,
                    "push_address",
                    subject,
                    format!("{} and not the echo", answer.said()),
                    "Have the proxy in front send this path to Menshen with its query and the visitor's Host; every node \
                     needs this connection with the same token, and a right clock.",
                ),
                Err(unreached) => unreached.finding(&subject),
            }],
            Visit::LinkPrefix {
                prefix,
                connection,
                has_files,
            } => {
                let Ok(address) = prefix.join("doctor") else {
                    return Vec::new();
                };
                let mut findings = vec![match self.get(&address).await {
                    Ok(answer) if answer.status == StatusCode::OK => {
                        Finding::ok(GROUP, "link_prefix", &subject, "other scanners than WeChat get a page")
                    }
                    Ok(answer) => Finding::warn(
                        GROUP,
                        "link_prefix",
                        &subject,
                        format!(
                            "{}: WeChat opens the mini program all the same, other scanners get this",
                            answer.said()
                        ),
                        "Have the proxy in front send everything below link_prefix to Menshen.",
                    ),
                    Err(unreached) => unreached.finding(&subject),
                }];
                if !has_files {
                    findings.push(Finding::warn(
                        GROUP,
                        "verification_file",
                        &subject,
                        format!("no verification file is configured, and connection {connection} has links"),
                        "WeChat wants one beside link_prefix when the rule is made: write its name and content into \
                         server.verification_files.",
                    ));
                }
                findings
            }
        }
    }

    async fn get(&self, address: &Url) -> Result<Answer, Unreached> {
        let mut response = self.client.get(address.clone()).send().await.map_err(Unreached::of)?;
        let certificate = response
            .extensions()
            .get::<TlsInfo>()
            .and_then(TlsInfo::peer_certificate)
            .and_then(Validity::of);
        let location = response.headers().get(header::LOCATION);
        let location = location.and_then(|location| location.to_str().ok()).map(str::to_owned);
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(Unreached::of)? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST {
                // Whatever it is, it is not what was asked for.
                break;
            }
        }
        Ok(Answer {
            status: response.status(),
            location,
            certificate,
            body,
        })
    }
}

impl Answer {
    fn said(&self) -> String {
        match &self.location {
            Some(location) => format!("answers {} to {location}", self.status.as_u16()),
            None => format!("answers {}", self.status.as_u16()),
        }
    }
}

fn judge_key_set(subject: &str, answer: &Answer, signs: bool, published: Option<&BTreeSet<String>>) -> Finding {
    let check = "reachable";
    let set = match serde_json::from_slice::<KeySet>(&answer.body) {
        Ok(set) if answer.status == StatusCode::OK => set,
        _ => {
            return Finding::fail(
                GROUP,
                check,
                subject,
                format!("{KEY_SET} {} and no key set", answer.said()),
                "Menshen does not answer there. Have the proxy in front send /.menshen/ of this host to Menshen with the \
                 visitor's Host, and list the host in a site.",
            );
        }
    };
    if !signs {
        let message = "a Menshen answers; with HS256 there is no key set that shows which one";
        return Finding::ok(GROUP, check, subject, message);
    }
    let Some(published) = published else {
        let message = "a Menshen answers; whether it is this one, only the store could tell";
        return Finding::unchecked(GROUP, check, subject, message);
    };
    let found: BTreeSet<String> = set.keys.into_iter().filter_map(|key| key.kid).collect();
    if found == *published {
        return Finding::ok(GROUP, check, subject, "this installation answers");
    }
    if found.is_disjoint(published) {
        return Finding::fail(
            GROUP,
            check,
            subject,
            "a Menshen answers, with the keys of another installation",
            "Its DNS record or the proxy in front leads elsewhere, or that node uses another store: compare store.url.",
        );
    }
    Finding::warn(
        GROUP,
        check,
        subject,
        "this installation answers, with an old set of keys",
        "A cache in front may keep it for an hour. If it lasts, that node does not read the store: see its log.",
    )
}

impl Unreached {
    fn of(error: reqwest::Error) -> Self {
        let (connecting, timed_out) = (error.is_connect(), error.is_timeout());
        Self {
            connecting,
            timed_out,
            cause: innermost(&error.without_url()),
        }
    }

    fn finding(&self, subject: &str) -> Finding {
        let remedy = if self.timed_out {
            "A firewall may drop what comes from here. From inside a network a public name is often unreachable although \
             it is reachable from outside: try from there, or name the address with --resolve HOST=ADDRESS."
        } else if self.cause.contains("certificate") {
            "Renew or complete the certificate for this name: the whole chain, from an authority that browsers and \
             WeChat know."
        } else if self.connecting {
            "Make the name resolve to the gateway or the proxy in front, and have that listen there; \
             --resolve HOST=ADDRESS asks at another address."
        } else {
            "Look at the log of the proxy in front: the connection broke."
        };
        let message = if self.timed_out {
            "no answer in time"
        } else {
            &self.cause
        };
        Finding::fail(GROUP, "reachable", subject, message, remedy)
    }
}

/// The cause at the bottom: the layers above it say only that there was one.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

const GROUP: Group = Group::Portal;

const KEY_SET: &str = "/.menshen/jwks.json";

const TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of an answer.
const LARGEST: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::report::Verdict;
    use super::*;

    fn judged(status: u16, body: &str, signs: bool, published: Option<&[&str]>) -> Verdict {
        let published = published.map(|kids| kids.iter().map(|kid| (*kid).to_owned()).collect());
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            location: None,
            certificate: None,
            body: body.as_bytes().into(),
        };
        judge_key_set("https://a.test", &answer, signs, published.as_ref()).verdict
    }

    #[test]
    fn only_this_installations_key_set_will_do() {
        let set = r#"{"keys":[{"kid":"one","kty":"EC"},{"kid":"two","kty":"EC"}]}"#;
        assert_eq!(judged(200, set, true, Some(&["one", "two"])), Verdict::Ok);
        assert_eq!(judged(200, set, true, Some(&["two", "three"])), Verdict::Warn);
        assert_eq!(judged(200, set, true, Some(&["three"])), Verdict::Fail);
        assert_eq!(judged(200, r#"{"keys":[]}"#, true, Some(&["one"])), Verdict::Fail);
        assert_eq!(judged(200, r#"{"keys":[]}"#, false, None), Verdict::Ok);
        assert_eq!(judged(200, set, true, None), Verdict::Unchecked);
        for (status, body) in [(404, set), (200, "<html>"), (302, ""), (502, "{}")] {
            assert_eq!(
                judged(status, body, true, Some(&["one", "two"])),
                Verdict::Fail,
                "{status} {body}"
            );
        }
    }
}
