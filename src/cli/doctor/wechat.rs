//! WeChat: whether it takes the credentials and this machine's address, draws the code, knows the page, tells phone
//! numbers, and has calls left today.
//!
//! Next to nothing is spent: the token call hands out the token that the gateways use, codes are invented and refused, one
//! picture of the minute's 5,000 is drawn, one of the day's 100,000 codes of a service account is made, and where pages
//! open WeChat one of the day's 500,000 links. A call with an invented code that is refused *for its code* shows that
//! everything before the code is right.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;

use crate::config::Settings;
use crate::config::settings::{Connection, ConnectionKind, EnvVersion, PhonePolicy, QrKind};
use crate::login::open_links::OpenLinks;
use crate::portal::is_of_wechat;
use crate::store::PhoneFailure;
use crate::wechat::{
    CallQuota, Class, Endpoint, LinkRequest, MiniProgram, Observer, PhoneFault, ServiceAccount, Transport,
    TransportError, UnlimitedCode, WechatError,
};

use super::SharedState;
use super::nodes::judge_clock;
use super::report::{Finding, Group};
use super::state::State;

/// One AppID, with the connections that use it.
#[derive(Debug)]
pub(super) struct App<'s> {
    settings: &'s Settings,
    connections: Vec<&'s Connection>,
}

/// The apps of a configuration, each once.
pub(super) fn apps(settings: &Settings) -> Vec<App<'_>> {
    let mut apps: Vec<App<'_>> = Vec::new();
    for connection in &settings.connections {
        match apps.iter_mut().find(|app| app.app_id() == connection.app_id) {
            Some(app) => app.connections.push(connection),
            None => apps.push(App {
                settings,
                connections: vec![connection],
            }),
        }
    }
    apps
}

impl App<'_> {
    fn app_id(&self) -> &str {
        self.connections.first().map_or("", |connection| &connection.app_id)
    }

    /// How the report names it.
    pub(super) fn subject(&self) -> String {
        let ids: Vec<&str> = self
            .connections
            .iter()
            .map(|connection| connection.id.as_str())
            .collect();
        format!("{} ({})", ids.join(", "), self.app_id())
    }

    /// Asks everything about it.
    pub(super) async fn examine(&self, state: SharedState<'_>) -> Vec<Finding> {
        let dates = Arc::new(Dates::default());
        let client = match self.client(&dates) {
            Ok(client) => client,
            Err(error) => {
                return vec![Finding::fail(
                    GROUP,
                    "credentials",
                    self.subject(),
                    error.to_string(),
                    "Correct proxy of [wechat], or install the certificate authorities of this machine.",
                )];
            }
        };
        let Some(client) = client else {
            return vec![Finding::unchecked(
                GROUP,
                "credentials",
                self.subject(),
                "the AppSecret of a website application: WeChat tries it at a login only",
            )];
        };
        let mut findings = Vec::new();
        let base = &self.settings.wechat.api_base;
        if !is_of_wechat(base) {
            findings.push(Finding::warn(
                GROUP,
                "api_base",
                self.subject(),
                format!("{} is not WeChat", base.origin().ascii_serialization()),
                "For people to sign in with WeChat, leave api_base of [wechat] out.",
            ));
        }
        let token = client.access_tokens().check().await;
        findings.extend(self.judge_token(&token));
        findings.extend(self.ask_for_people(&client, token.is_ok()).await);
        if token.is_ok() {
            findings.extend(self.ask_with_token(&client).await);
            findings.extend(self.ask_of_account(&dates).await);
        } else {
            findings.push(Finding::unchecked(
                GROUP,
                "token_calls",
                self.subject(),
                "codes, the published page, phone numbers and quotas: they need an access token",
            ));
        }
        findings.extend(self.judge_phone_button(&*state.await));
        findings.push(dates.judge(&self.subject()));
        findings
    }

    /// `None` for what has no access token of its own.
    fn client(&self, dates: &Arc<Dates>) -> Result<Option<MiniProgram>, TransportError> {
        let Some(connection) = self
            .connections
            .iter()
            .find(|connection| !matches!(connection.kind, ConnectionKind::WebsiteQr { .. }))
        else {
            return Ok(None);
        };
        let transport = Transport::new(&self.settings.wechat)?.observed_by(Arc::clone(dates) as Arc<dyn Observer>);
        let (app_id, secret) = (connection.app_id.as_str(), connection.app_secret.clone());
        Ok(Some(MiniProgram::new(Arc::new(transport), app_id, secret)))
    }

    fn judge_token(&self, token: &Result<(), WechatError>) -> Vec<Finding> {
        let subject = self.subject();
        match token {
            Ok(()) => {
                let way = match &self.settings.wechat.proxy {
                    Some(_) => "the egress proxy's address",
                    None => "this machine's address",
                };
                vec![
                    Finding::ok(GROUP, "credentials", &subject, "WeChat takes AppID and AppSecret"),
                    Finding::ok(
                        GROUP,
                        "address",
                        &subject,
                        format!("WeChat takes {way}; it names an address only when it refuses it"),
                    ),
                ]
            }
            Err(error) if error.code().is_some_and(|code| OF_ADDRESS.contains(&code)) => vec![
                refused("address", &subject, error),
                Finding::unchecked(
                    GROUP,
                    "credentials",
                    &subject,
                    "AppID and AppSecret: WeChat looks at the address first",
                ),
            ],
            Err(error) => vec![refused("credentials", &subject, error)],
        }
    }

    /// The calls of `/sns`, which want no token.
    async fn ask_for_people(&self, client: &MiniProgram, credentials: bool) -> Option<Finding> {
        if !self.connections.iter().any(|connection| is_mini_program(connection)) {
            return None;
        }
        // Tried with credentials that were just refused it would only say so again.
        if !credentials {
            return None;
        }
        let answer = client.code_to_session(INVENTED_CODE).await.map(drop);
        Some(self.judge_invented("login", &answer, "WeChat answers who logs in"))
    }

    async fn ask_with_token(&self, client: &MiniProgram) -> Vec<Finding> {
        let codes = join_all(
            self.connections
                .iter()
                .map(|connection| ask_for_code(client, connection)),
        );
        let quotas = join_all(self.metered().into_iter().map(async |endpoint| {
            let answer = client.quota(endpoint).await;
            self.judge_quota(endpoint, &answer)
        }));
        let phone = async {
            if !self.connections.iter().any(|connection| wants_phone(connection)) {
                return None;
            }
            let answer = client.phone_number(INVENTED_CODE, INVENTED_OPENID).await.map(drop);
            Some(self.judge_invented("phone_call", &answer, "WeChat answers for phone numbers"))
        };
        let links = join_all(
            self.connections
                .iter()
                .map(|connection| ask_for_link(client, connection)),
        );
        let (codes, links, phone, quotas) = futures_util::join!(codes, links, phone, quotas);
        let links = links.into_iter().flatten();
        codes
            .into_iter()
            .flatten()
            .chain(links)
            .chain(phone)
            .chain(quotas)
            .collect()
    }

    /// Whether a service account may make its codes, and may tell who its followers are.
    async fn ask_of_account(&self, dates: &Arc<Dates>) -> Vec<Finding> {
        let mut own = self.connections.iter();
        let Some(connection) = own.find(|connection| is_official_account(connection)) else {
            return Vec::new();
        };
        let Ok(transport) = Transport::new(&self.settings.wechat) else {
            return Vec::new();
        };
        let transport = transport.observed_by(Arc::clone(dates) as Arc<dyn Observer>);
        let (app_id, secret) = (connection.app_id.as_str(), connection.app_secret.clone());
        let account = ServiceAccount::new(Arc::new(transport), app_id, secret);
        let id = &connection.id;
        let mut findings = vec![match account.scene_code(INVENTED_SCENE, SHORTEST_CODE).await {
            Ok(_) => Finding::ok(GROUP, "account_code", id, "WeChat makes codes with a scene"),
            Err(error) => refused("account_code", id, &error),
        }];
        if connection.open_platform.is_none() {
            return findings;
        }
        findings.push(match account.follower(INVENTED_OPENID).await {
            Err(error) if error.code() == Some(NOBODYS_OPENID) => Finding::ok(
                GROUP,
                "follower",
                id,
                "WeChat answers who follows: an invented person is refused as that",
            ),
            Err(error) => refused("follower", id, &error),
            Ok(_) => Finding::fail(
                GROUP,
                "follower",
                id,
                "an invented person was accepted: whoever answers is not WeChat",
                "Correct api_base of [wechat] at once, and see who answers there.",
            ),
        });
        findings
    }

    fn judge_invented(&self, check: &'static str, answer: &Result<(), WechatError>, well: &str) -> Finding {
        let subject = self.subject();
        match answer {
            Err(WechatError::Refused(refusal)) if refusal.class() == Class::CodeRefused => Finding::ok(
                GROUP,
                check,
                subject,
                format!("{well}: an invented code is refused as that"),
            ),
            Err(error) => refused(check, &subject, error),
            Ok(()) => Finding::fail(
                GROUP,
                check,
                subject,
                "an invented code was accepted: whoever answers is not WeChat",
                "Correct api_base of [wechat] at once, and see who answers there.",
            ),
        }
    }

    /// Calls whose quota is worth a look.
    fn metered(&self) -> Vec<Endpoint> {
        let mut metered = vec![Endpoint::StableToken];
        if self.connections.iter().any(|connection| draws_codes(connection)) {
            metered.push(Endpoint::UnlimitedCode);
        }
        if self.connections.iter().any(|connection| wants_phone(connection)) {
            metered.push(Endpoint::PhoneNumber);
        }
        if self
            .connections
            .iter()
            .any(|connection| is_official_account(connection))
        {
            metered.push(Endpoint::AccountCode);
        }
        let links = self
            .connections
            .iter()
            .filter_map(|connection| OpenLinks::request(connection));
        for endpoint in links.map(|link| link.kind.endpoint()) {
            if !metered.contains(&endpoint) {
                metered.push(endpoint);
            }
        }
        metered
    }

    fn judge_quota(&self, of: Endpoint, answer: &Result<CallQuota, WechatError>) -> Finding {
        let subject = format!("{} {of}", self.subject());
        let CallQuota {
            daily_limit,
            used,
            remain,
        } = match answer {
            Ok(quota) => *quota,
            Err(error) => {
                return Finding::warn(GROUP, "quota", subject, format!("not known: {error}"), error.remedy());
            }
        };
        let remedy = "Look in the WeChat console (Operations, API quota) who calls so often; clear_quota frees it, ten \
                      times a month.";
        if daily_limit <= 0 {
            return Finding::ok(GROUP, "quota", subject, "WeChat counts no calls of a day");
        }
        let message = format!("{used} of {daily_limit} calls of today are used");
        if remain <= 0 {
            Finding::fail(GROUP, "quota", subject, message, remedy)
        } else if remain < daily_limit / 5 {
            Finding::warn(GROUP, "quota", subject, message, remedy)
        } else {
            Finding::ok(GROUP, "quota", subject, message)
        }
    }

    /// What phones told the gateways.
    fn judge_phone_button(&self, state: &State) -> Vec<Finding> {
        let asking = self.connections.iter().filter(|connection| wants_phone(connection));
        asking
            .map(|connection| {
                let Some(failures) = &state.phone_failures else {
                    return Finding::unchecked(
                        GROUP,
                        "phone_button",
                        &connection.id,
                        "what phones reported of the phone button: the store does not tell",
                    );
                };
                let last = failures
                    .iter()
                    .filter(|failure| failure.connection == connection.id)
                    .max_by_key(|failure| failure.last_at);
                judge_failures(&connection.id, last)
            })
            .collect()
    }
}

fn judge_failures(connection: &str, last: Option<&PhoneFailure>) -> Finding {
    let check = "phone_button";
    let Some(failure) = last else {
        return Finding::ok(
            GROUP,
            check,
            connection,
            "no phone reported that WeChat gives no number; only a real phone can show that it does",
        );
    };
    let (errno, times) = (failure.errno, failure.failures);
    let since = crate::cli::operator::moment(failure.since);
    let plural = if times == 1 { "phone was" } else { "phones were" };
    Finding::fail(
        GROUP,
        check,
        connection,
        format!("{times} {plural} given no number since {since} (errno {errno})"),
        PhoneFault::find(errno).map_or(
            "Look errno up in WeChat's documentation of the phone button.",
            |fault| fault.remedy,
        ),
    )
}

/// Has one code drawn, as the gateway has it drawn.
async fn ask_for_code(client: &MiniProgram, connection: &Connection) -> Vec<Finding> {
    let (page, env_version, link_only) = match &connection.kind {
        ConnectionKind::MiniprogramQr(kind) => (&kind.page, kind.env_version, matches!(kind.qr, QrKind::Link { .. })),
        ConnectionKind::MiniprogramLaunch(kind) => (&kind.page, kind.env_version, true),
        _ => return Vec::new(),
    };
    let (id, check) = (&connection.id, "page");
    let released = env_version == EnvVersion::Release;
    let request = UnlimitedCode {
        scene: INVENTED_SCENE.to_owned(),
        page: page.clone(),
        check_path: released,
        env_version: env_version.as_str(),
        width: SMALLEST,
    };
    match client.unlimited_code(&request).await {
        Ok(_) if released => vec![Finding::ok(
            GROUP,
            check,
            id,
            format!("WeChat draws the code, and {page} is published"),
        )],
        Ok(_) => vec![
            Finding::ok(GROUP, "code", id, "WeChat draws the code"),
            Finding::warn(
                GROUP,
                check,
                id,
                format!(
                    "env_version is {:?}: only members of the mini program's project can open {page}",
                    env_version.as_str()
                ),
                "Publish the mini program and write env_version = \"release\".",
            ),
        ],
        // This connection shows codes that Menshen draws; only the page matters.
        Err(error) if link_only && error.code() != Some(PAGE_UNKNOWN) => vec![Finding::warn(
            GROUP,
            check,
            id,
            format!("whether {page} is published is not known: {error}"),
            error.remedy(),
        )],
        Err(error) => vec![refused(check, id, &error)],
    }
}

/// Has a link made, where pages on phones are given one.
async fn ask_for_link(client: &MiniProgram, connection: &Connection) -> Option<Finding> {
    let request = LinkRequest {
        days: SHORTEST_LINK,
        ..OpenLinks::request(connection)?
    };
    let (id, check) = (&connection.id, "open_link");
    Some(match client.open_link(&request).await {
        Ok(_) => Finding::ok(GROUP, check, id, "WeChat makes the link that opens it on a phone"),
        Err(error) => refused(check, id, &error),
    })
}

/// The difference between WeChat's clock and this machine's, as the answers show it.
#[derive(Debug, Default)]
struct Dates(Mutex<Option<i64>>);

impl Observer for Dates {
    fn dated(&self, wechat: i64, at: i64) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The way back makes every answer look late: the smallest difference is the nearest to the truth.
        let ours = at - wechat;
        *kept = Some(kept.map_or(ours, |kept| if ours.abs() < kept.abs() { ours } else { kept }));
    }
}

impl Dates {
    fn judge(&self, subject: &str) -> Finding {
        let difference = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match difference {
            Some(difference) => judge_clock("this machine", "WeChat's", difference),
            None => Finding::unchecked(
                Group::Clocks,
                "clock",
                subject,
                "WeChat's clock: no answer carried a date",
            ),
        }
    }
}

fn refused(check: &'static str, subject: &str, error: &WechatError) -> Finding {
    Finding::fail(GROUP, check, subject, error.to_string(), error.remedy())
}

fn is_mini_program(connection: &Connection) -> bool {
    matches!(
        connection.kind,
        ConnectionKind::MiniprogramQr(_) | ConnectionKind::MiniprogramLaunch(_)
    )
}

fn is_official_account(connection: &Connection) -> bool {
    matches!(connection.kind, ConnectionKind::OfficialAccountQr(_))
}

fn draws_codes(connection: &Connection) -> bool {
    matches!(&connection.kind, ConnectionKind::MiniprogramQr(kind) if matches!(kind.qr, QrKind::Wxacode { .. }))
}

fn wants_phone(connection: &Connection) -> bool {
    is_mini_program(connection) && connection.phone != PhonePolicy::Never
}

const GROUP: Group = Group::Wechat;

/// The caller's address is not listed, waits for the administrator, or was refused by them.
const OF_ADDRESS: [i64; 4] = [40164, 89503, 89506, 89507];

const PAGE_UNKNOWN: i64 = 41030;

const NOBODYS_OPENID: i64 = 40003;

/// Seconds that a code lives which nobody sees.
const SHORTEST_CODE: u64 = 60;

/// What nobody's phone sends.
const INVENTED_CODE: &str = "menshen-doctor-invented-this-code";
const INVENTED_OPENID: &str = "menshen-doctor-invented-it";
const INVENTED_SCENE: &str = "menshen-doctor";

/// Days of a link that nobody opens.
const SHORTEST_LINK: u8 = 1;

/// Pixels of a picture that nobody sees.
const SMALLEST: u32 = 280;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::report::Verdict;
    use super::*;

    #[test]
    fn the_nearest_answer_tells_the_clock() {
        let dates = Dates::default();
        assert_eq!(dates.judge("staff").verdict, Verdict::Unchecked);
        for (wechat, at) in [(100, 109), (101, 102), (102, 105)] {
            dates.dated(wechat, at);
        }
        assert_eq!(dates.judge("staff").message, "1 s ahead of WeChat's");
    }

    #[test]
    fn every_fault_of_the_phone_button_has_its_remedy() {
        assert_eq!(judge_failures("staff", None).verdict, Verdict::Ok);
        for fault in PhoneFault::ALL {
            let failure = PhoneFailure {
                connection: "staff".to_owned(),
                errno: fault.errno,
                failures: 2,
                since: 1_790_000_000,
                last_at: 1_790_000_009,
            };
            let finding = judge_failures("staff", Some(&failure));
            assert_eq!(
                (finding.verdict, finding.remedy.as_deref()),
                (Verdict::Fail, Some(fault.remedy))
            );
            assert!(
                finding
                    .message
                    .contains("2 phones were given no number since 2026-09-21T"),
                "{}",
                finding.message
            );
        }
    }
}
