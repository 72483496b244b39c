//! WeChat's error codes: what each means for a login, and what an operator does about it.
//!
//! One code has different meanings on different calls (`40001` is "wrong secret" on the token call and "token not the
//! latest" elsewhere), so rows are found by code *and* endpoint. A row also says whether calling again soon is
//! pointless ([`Pause`]). Only codes that depend on nothing but the installation may pause: otherwise one phone with a
//! strange code could stop everybody's login.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::wechat::endpoint::Endpoint;

/// What kind of refusal a code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The access token is not accepted: fetch it again, call once more.
    TokenRejected,
    /// WeChat is overloaded.
    Busy,
    /// Too many calls in a minute or a day.
    Quota,
    /// The code from the phone is used, expired or foreign: the person acts again.
    CodeRefused,
    /// WeChat refuses this person.
    PersonRefused,
    /// The account, its secret, its permissions or a request that is built from the configuration: the operator acts.
    Misconfigured,
    /// Not in the table.
    Unknown,
}

/// A known error code on the endpoints that give it this meaning.
#[derive(Debug, Clone)]
pub struct ErrorCode {
    /// `errcode`, or a family of them.
    pub codes: RangeInclusive<i64>,
    /// Where it has this meaning; empty: everywhere else.
    pub endpoints: &'static [Endpoint],
    /// Short name for logs.
    pub name: &'static str,
    /// What kind of refusal it is.
    pub class: Class,
    /// What the operator does, one or two English sentences.
    pub remedy: &'static str,
    pub(crate) pause: Pause,
}

/// For how long calling the same endpoint again is pointless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// The next call may succeed.
    None,
    /// Nothing changes until an operator acts; looked at again every minute.
    Minute,
    /// The quota is filled again at the next full minute.
    NextMinute,
    /// The quota is filled again at midnight in Beijing. An operator may clear it earlier (`clear_quota`), so it is
    /// looked at again every ten minutes.
    NextDay,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 7] = [
        Self::TokenRejected,
        Self::Busy,
        Self::Quota,
        Self::CodeRefused,
        Self::PersonRefused,
        Self::Misconfigured,
        Self::Unknown,
    ];

    /// Name in logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TokenRejected => "token_rejected",
            Self::Busy => "busy",
            Self::Quota => "quota",
            Self::CodeRefused => "code_refused",
            Self::PersonRefused => "person_refused",
            Self::Misconfigured => "misconfigured",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ErrorCode {
    /// The row for a code on an endpoint. Rows for certain endpoints come before the general one.
    pub fn find(endpoint: Endpoint, code: i64) -> Option<&'static Self> {
        ERROR_CODES
            .iter()
            .find(|row| row.codes.contains(&code) && (row.endpoints.is_empty() || row.endpoints.contains(&endpoint)))
    }
}

impl Pause {
    /// Its length when it begins now.
    pub(crate) fn length(self, now: SystemTime) -> Option<Duration> {
        let unix = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        match self {
            Self::None => None,
            Self::Minute => Some(PERMANENT_PAUSE),
            Self::NextMinute => Some(Duration::from_secs(60 - unix % 60) + CLOCK_DIFFERENCE),
            Self::NextDay => {
                let left = DAY - (unix + BEIJING_OFFSET) % DAY;
                Some((Duration::from_secs(left) + CLOCK_DIFFERENCE).min(DAY_QUOTA_PROBE))
            }
        }
    }
}

const fn row(
    codes: RangeInclusive<i64>,
    endpoints: &'static [Endpoint],
    name: &'static str,
    class: Class,
    pause: Pause,
    remedy: &'static str,
) -> ErrorCode {
    ErrorCode {
        codes,
        endpoints,
        name,
        class,
        remedy,
        pause,
    }
}

/// What the operator reads about a code that is not in the table.
pub(crate) const UNKNOWN_REMEDY: &str = "This code is not in Menshen's table. Look it up in WeChat's documentation of \
     this call; the rid resolves at /cgi-bin/openapi/rid/get for seven days, except for /sns calls.";

/// Often enough for an operator who has just repaired something, seldom enough to be no load.
const PERMANENT_PAUSE: Duration = Duration::from_secs(60);

/// How often a spent day quota is looked at: 144 calls a day harm nobody and a cleared quota is noticed.
const DAY_QUOTA_PROBE: Duration = Duration::from_secs(600);

/// WeChat's minute may end later than ours.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(2);

const DAY: u64 = 86_400;

/// UTC+8, without summer time.
const BEIJING_OFFSET: u64 = 8 * 3_600;

const TOKEN: &[Endpoint] = &[Endpoint::StableToken];
const PHONE: &[Endpoint] = &[Endpoint::PhoneNumber];
/// The calls that carry AppID and AppSecret.
const SECRET: &[Endpoint] = &[Endpoint::StableToken, Endpoint::CodeToSession, Endpoint::OauthToken];
/// The calls that carry a code from a phone or a browser.
const CODE: &[Endpoint] = &[Endpoint::CodeToSession, Endpoint::PhoneNumber, Endpoint::OauthToken];
/// The exchange of a code that a browser brought back.
const OAUTH: &[Endpoint] = &[Endpoint::OauthToken];
/// What is asked about one person with their own grant: never a reason to pause, or a snapshot page could stop it.
const PROFILE: &[Endpoint] = &[Endpoint::UserInfo];
/// The calls about one person that carry no access token of the app.
const SNS: &[Endpoint] = &[Endpoint::CodeToSession, Endpoint::OauthToken, Endpoint::UserInfo];
/// The call that draws codes, whose quota is one of a minute.
const DRAWN: &[Endpoint] = &[Endpoint::UnlimitedCode];
/// The calls that no person makes: what is counted is the account alone.
const OF_THE_APP: &[Endpoint] = &[Endpoint::UnlimitedCode, Endpoint::Quota, Endpoint::AccountCode];
/// What only a service account is asked.
const SERVICE: &[Endpoint] = &[Endpoint::AccountCode, Endpoint::Follower];
/// What opens a mini program from outside of WeChat: two codes of others mean something else here.
const LINKS: &[Endpoint] = &[Endpoint::UrlLink, Endpoint::Scheme];
const ANY: &[Endpoint] = &[];

/// Every code that the endpoints of [`Endpoint`] are known to give.
#[rustfmt::skip]
pub static ERROR_CODES: &[ErrorCode] = &[
    row(-1..=-1, ANY, "system_busy", Class::Busy, Pause::None,
        "WeChat is overloaded. Nothing to do unless it lasts."),
    row(40001..=40001, SECRET, "invalid_secret", Class::Misconfigured, Pause::Minute,
        "The AppSecret is wrong. Compare app_id and app_secret with the WeChat console (Development settings); a \
         reset there makes the old secret useless."),
    row(40001..=40001, ANY, "token_not_latest", Class::TokenRejected, Pause::None,
        "Another program replaces this AppID's access token. Have it use stable_token without force_refresh, or \
         /cgi-bin/token, which is kept apart."),
    row(40002..=40002, LINKS, "links_not_permitted", Class::Misconfigured, Pause::Minute,
        "This account may not make links. They need a verified mini program of an organisation."),
    row(40002..=40002, ANY, "invalid_grant_type", Class::Misconfigured, Pause::Minute,
        "WeChat does not accept the grant type. Check that api_base is WeChat's own address and that nothing between \
         changes the request."),
    row(40003..=40003, PHONE, "openid_mismatch", Class::CodeRefused, Pause::None,
        "The phone number code belongs to another person or app than the one who scanned. Seen often: somebody tries \
         to pass on a number that is not theirs."),
    row(40003..=40003, PROFILE, "invalid_openid", Class::PersonRefused, Pause::None,
        "The grant belongs to another person than the one who is asked about. Seen often: report it with the rid."),
    row(40003..=40003, SERVICE, "invalid_openid", Class::Misconfigured, Pause::None,
        "The openid belongs to another account. Check that app_id is the service account whose messages are pushed to \
         this connection."),
    row(40003..=40003, ANY, "invalid_openid", Class::Misconfigured, Pause::None,
        "The openid belongs to another AppID. Check that app_id is the mini program that the page opens."),
    // Whoever holds a phone can send the phone code of a mini program of their own: never a reason to pause.
    row(40013..=40013, PHONE, "code_of_another_app", Class::CodeRefused, Pause::None,
        "The phone number code was issued for another AppID. Check that the mini program with this app_id is the one \
         that calls this connection."),
    row(40013..=40013, LINKS, "links_banned", Class::Misconfigured, Pause::Minute,
        "WeChat has withdrawn links from the account because of a violation. See the notices in the WeChat console."),
    row(40013..=40013, ANY, "invalid_appid", Class::Misconfigured, Pause::Minute,
        "WeChat does not know this AppID. Compare app_id with the WeChat console; an original id (gh_…) is not an \
         AppID."),
    row(40014..=40014, ANY, "invalid_token", Class::TokenRejected, Pause::None,
        "WeChat refuses the access token even after it was fetched again. Check that api_base, app_id and app_secret \
         belong together."),
    row(40029..=40029, PHONE, "invalid_phone_code", Class::CodeRefused, Pause::None,
        "The phone number code is used, expired or a login code. Seen often: the mini program sends wx.login's code \
         in place of the one from the phone button."),
    row(40029..=40029, OAUTH, "invalid_code", Class::CodeRefused, Pause::None,
        "The code is wrong, expired or of another AppID. Seen often: app_id is not that of the website application or \
         service account whose page was shown."),
    row(40029..=40029, ANY, "invalid_code", Class::CodeRefused, Pause::None,
        "The login code is wrong, expired or of another AppID. Seen often: app_id is not that of the mini program \
         that scans."),
    row(40033..=40033, ANY, "escaped_characters", Class::Misconfigured, Pause::None,
        "WeChat found an escaped character in the request. Report this as a defect of Menshen, with the rid."),
    row(40097..=40097, CODE, "invalid_arguments", Class::CodeRefused, Pause::None,
        "WeChat cannot read the code that the phone sent. Seen often: check what the mini program sends."),
    row(40097..=40097, ANY, "invalid_arguments", Class::Misconfigured, Pause::None,
        "WeChat does not accept the request. Check env_version (release, trial or develop) and page."),
    row(40125..=40125, ANY, "invalid_secret", Class::Misconfigured, Pause::Minute,
        "The AppSecret is wrong or malformed. Compare app_secret with the WeChat console; look for spaces and line \
         ends in the file or variable."),
    row(40129..=40129, ANY, "invalid_scene", Class::Misconfigured, Pause::None,
        "The scene holds characters that WeChat does not allow. Report this as a defect of Menshen, with the rid."),
    row(40163..=40163, OAUTH, "code_used", Class::CodeRefused, Pause::None,
        "The code was used already. Seen often: a proxy in front repeats requests, or another program has the same \
         callback address."),
    row(40163..=40163, ANY, "code_used", Class::CodeRefused, Pause::None,
        "The code was used already. Seen often: the mini program sends one code twice, or a proxy in front repeats \
         POST requests."),
    row(40164..=40164, ANY, "address_not_listed", Class::Misconfigured, Pause::Minute,
        "Add this gateway's egress address to the IP allow-list of the app in the WeChat console (Development \
         settings)."),
    row(40169..=40169, ANY, "scene_length", Class::Misconfigured, Pause::None,
        "WeChat found the scene too long or the request not to be JSON. Check that nothing between Menshen and WeChat \
         changes requests."),
    row(40189..=40189, ANY, "invalid_width", Class::Misconfigured, Pause::None,
        "WeChat does not accept the width of the code. Report this as a defect of Menshen, with the rid."),
    row(40226..=40226, ANY, "person_blocked", Class::PersonRefused, Pause::None,
        "WeChat refuses this person as a high risk. Only they can settle that with WeChat; offer them another way to \
         log in."),
    row(40230..=40240, ANY, "api_signature_required", Class::Misconfigured, Pause::Minute,
        "API signature and encryption is switched on for this account, which Menshen does not speak. Switch it off \
         for this call in the WeChat console (Development settings, API security)."),
    row(40243..=40243, ANY, "secret_frozen", Class::Misconfigured, Pause::Minute,
        "The AppSecret is frozen. Unfreeze it in the WeChat console, or reset it and put the new one into app_secret."),
    row(41001..=41001, ANY, "token_missing", Class::Misconfigured, Pause::None,
        "The access token did not reach WeChat. Check that nothing between Menshen and WeChat cuts the query off."),
    row(41002..=41002, ANY, "appid_missing", Class::Misconfigured, Pause::Minute,
        "The AppID did not reach WeChat. Check app_id and that nothing between Menshen and WeChat changes requests."),
    row(41004..=41004, ANY, "secret_missing", Class::Misconfigured, Pause::Minute,
        "The AppSecret did not reach WeChat. Check app_secret and that nothing between Menshen and WeChat changes \
         requests."),
    row(41008..=41008, ANY, "code_missing", Class::CodeRefused, Pause::None,
        "The code did not reach WeChat. Check what the mini program sends."),
    row(41009..=41009, ANY, "openid_missing", Class::Misconfigured, Pause::None,
        "The openid did not reach WeChat. Check that nothing between Menshen and WeChat changes requests."),
    row(41030..=41030, ANY, "page_unknown", Class::Misconfigured, Pause::None,
        "The page is not in the released mini program. Publish a version that has it, check the spelling of page (no \
         leading slash, no query), or use env_version = \"trial\" while testing."),
    row(42001..=42001, ANY, "token_expired", Class::TokenRejected, Pause::None,
        "WeChat finds the access token expired even after it was fetched again. Check this machine's clock and try \
         again in a minute."),
    row(42003..=42003, OAUTH, "code_expired", Class::CodeRefused, Pause::None,
        "The code came too late. Seen often: check this machine's clock and the way from the browser to public_url."),
    row(42007..=42007, ANY, "grant_void", Class::PersonRefused, Pause::None,
        "The person has changed their WeChat password or withdrawn the grant. They sign in again."),
    row(42003..=42003, ANY, "code_expired", Class::CodeRefused, Pause::None,
        "The code is older than five minutes. Seen often: the mini program fetches its code long before it sends it."),
    row(43002..=43002, ANY, "post_required", Class::Misconfigured, Pause::Minute,
        "WeChat wants POST and got something else. A proxy between Menshen and WeChat changes requests."),
    row(45009..=45009, TOKEN, "day_quota", Class::Quota, Pause::NextDay,
        "Today's quota of token calls is used up. Find the program that fetches tokens in a loop; clear_quota/v2 in \
         the WeChat console frees the quota, ten times a month."),
    row(45009..=45009, DRAWN, "minute_quota", Class::Quota, Pause::NextMinute,
        "More than 5,000 codes were made in a minute for this AppID. Use qr = \"link\", which needs no call, or find \
         out who else makes codes."),
    // The /sns calls have no quota of a day that anybody documents (76022): a minute is waited for and no more.
    row(45009..=45009, SNS, "quota", Class::Quota, Pause::NextMinute,
        "Too many calls of this kind. If it lasts, look at them in the WeChat console (Operations, API quota)."),
    row(45009..=45009, ANY, "day_quota", Class::Quota, Pause::NextDay,
        "Today's quota of this call is used up. Look at it in the WeChat console (Operations, API quota); clear_quota \
         frees it, ten times a month."),
    row(45011..=45011, TOKEN, "minute_quota", Class::Quota, Pause::NextMinute,
        "Too many token calls in a minute. Find the program that fetches tokens in a loop."),
    row(45011..=45011, OF_THE_APP, "minute_quota", Class::Quota, Pause::NextMinute,
        "Too many calls of this kind in a minute. Find out who else makes them for this AppID."),
    // Counted per person on jscode2session: one phone must not stop the others.
    row(45011..=45011, ANY, "minute_quota", Class::Quota, Pause::None,
        "Too many calls in a minute, of one person or of the account. If it lasts, look at the quota in the WeChat \
         console."),
    row(47001..=47001, ANY, "body_not_json", Class::Misconfigured, Pause::None,
        "WeChat could not read the request. Check that nothing between Menshen and WeChat changes requests."),
    row(48001..=48001, OAUTH, "api_unauthorised", Class::Misconfigured, Pause::Minute,
        "This account has no web login. It needs a website application with approved WeChat login (website-qr), or a \
         verified service account (official-account-web)."),
    row(48001..=48001, PROFILE, "scope_missing", Class::PersonRefused, Pause::None,
        "The grant does not cover the profile: it was made on a snapshot page, or with snsapi_base."),
    row(48001..=48001, SERVICE, "api_unauthorised", Class::Misconfigured, Pause::Minute,
        "This account may not make codes with a scene, or may not ask about its followers. Both need a verified \
         service account (服务号): check that app_id is one."),
    row(48001..=48001, ANY, "api_unauthorised", Class::Misconfigured, Pause::Minute,
        "This account may not make this call. The phone number needs a verified mini program of an organisation; \
         check that app_id is a mini program and not a service account."),
    row(48004..=48004, ANY, "api_banned", Class::Misconfigured, Pause::Minute,
        "WeChat has withdrawn this call from the account because of a violation. See the notices in the WeChat \
         console."),
    row(50001..=50001, ANY, "person_did_not_authorise", Class::PersonRefused, Pause::None,
        "The person did not grant this. Nothing to do."),
    // The text says "user restricted": it may be one person where the call is about one.
    row(50002..=50002, CODE, "restricted", Class::Misconfigured, Pause::None,
        "The person or the account is restricted by WeChat. If it happens to everybody, see the notices in the WeChat \
         console."),
    row(50002..=50002, ANY, "account_restricted", Class::Misconfigured, Pause::Minute,
        "The account is restricted by WeChat. See the notices in the WeChat console."),
    row(50004..=50004, ANY, "token_forbidden", Class::Misconfigured, Pause::Minute,
        "WeChat has forbidden this account to fetch access tokens. See the notices in the WeChat console."),
    row(50007..=50007, ANY, "account_frozen", Class::Misconfigured, Pause::Minute,
        "The account is frozen. See the notices in the WeChat console."),
    row(85096..=85096, ANY, "reserved_word", Class::Misconfigured, Pause::None,
        "page or scene holds the reserved word scancode_time. Rename the page."),
    row(89503..=89503, ANY, "address_awaits_administrator", Class::Misconfigured, Pause::Minute,
        "The administrator of the account must confirm this gateway's address: WeChat has sent them a message."),
    row(89506..=89506, ANY, "address_refused_for_a_day", Class::Misconfigured, Pause::Minute,
        "The administrator of the account refused this gateway's address twice. It may ask again in 24 hours."),
    row(89507..=89507, ANY, "address_refused_for_an_hour", Class::Misconfigured, Pause::Minute,
        "The administrator of the account refused this gateway's address. It may ask again in one hour."),
    // Of the calls that open a mini program from outside, of OAuth, of quotas, and of messages: complete, so that whoever
    // looks a code up finds it, whichever call gave it.
    row(40030..=40030, ANY, "invalid_refresh_token", Class::CodeRefused, Pause::None,
        "WeChat does not know this refresh token. The person signs in again."),
    row(40052..=40053, ANY, "qrcode_action", Class::Misconfigured, Pause::None,
        "WeChat does not accept what the account's code should do. Report this as a defect of Menshen, with the rid."),
    row(40066..=40066, ANY, "url_not_released", Class::Misconfigured, Pause::None,
        "The path is not in the released mini program. Publish a version that has it, or correct page."),
    row(40159..=40159, ANY, "path_length", Class::Misconfigured, Pause::None,
        "WeChat found the path empty or too long, or the request not to be JSON. Shorten page, and check that nothing \
         between Menshen and WeChat changes requests."),
    row(40165..=40165, ANY, "invalid_path", Class::Misconfigured, Pause::None,
        "WeChat does not accept the path of the link. Correct page: no leading slash, and a page of the released \
         version."),
    row(40212..=40212, ANY, "invalid_query", Class::Misconfigured, Pause::None,
        "WeChat does not accept the query of the link. Report this as a defect of Menshen, with the rid."),
    row(41003..=41003, ANY, "refresh_token_missing", Class::Misconfigured, Pause::None,
        "The refresh token did not reach WeChat. Check that nothing between Menshen and WeChat cuts the query off."),
    row(42002..=42002, ANY, "refresh_token_expired", Class::CodeRefused, Pause::None,
        "The refresh token has run out. The person signs in again."),
    row(43104..=43104, ANY, "category_without_links", Class::Misconfigured, Pause::Minute,
        "The category of the mini program has no short links. Add a category that has, or do without them."),
    row(44990..=44990, ANY, "too_many_a_second", Class::Quota, Pause::None,
        "More than a hundred links were asked for in a second. If it lasts, find out who else makes them."),
    row(44993..=44993, ANY, "links_of_the_day", Class::Quota, Pause::NextDay,
        "Today's links are used up. Set mobile = \"none\" until tomorrow, or find out who else makes them."),
    row(45029..=45029, ANY, "codes_of_a_lifetime", Class::Misconfigured, Pause::Minute,
        "The 100,000 lasting codes of this account are used up for ever. Menshen asks for none: another program does."),
    row(48006..=48006, ANY, "clears_used_up", Class::Quota, Pause::None,
        "A quota can be freed ten times a month, and this month's are gone. Wait for the quota itself, or for the \
         next month."),
    row(76001..=76001, ANY, "rid_too_old", Class::Misconfigured, Pause::None,
        "WeChat has forgotten this rid: they last seven days. Provoke the error again and ask at once."),
    row(76003..=76003, ANY, "path_of_quota", Class::Misconfigured, Pause::None,
        "WeChat has no quota for this call. Nothing to do: look at it in the WeChat console (Operations, API quota)."),
    row(76022..=76022, ANY, "no_quota_of_sns", Class::Misconfigured, Pause::None,
        "WeChat tells no quota and no rid of the /sns calls. Nothing to do."),
    row(85079..=85079, ANY, "not_released", Class::Misconfigured, Pause::Minute,
        "The mini program has no released version. Publish one; until then env_version = \"trial\" serves its members."),
    row(85400..=85400, ANY, "links_used_up", Class::Quota, Pause::Minute,
        "The lasting links of this account are used up. Menshen asks for links that end: another program makes lasting \
         ones."),
    row(85401..=85401, ANY, "time_of_link", Class::Misconfigured, Pause::None,
        "WeChat does not accept when the link ends. Check this machine's clock."),
    row(85402..=85402, ANY, "version_of_link", Class::Misconfigured, Pause::None,
        "WeChat does not accept env_version. Write release, trial or develop."),
    row(85403..=85403, ANY, "link_unknown", Class::Misconfigured, Pause::None,
        "WeChat does not know this link: it has ended or was made by another account. Compare app_id."),
    row(85404..=85404, ANY, "link_refused", Class::Misconfigured, Pause::None,
        "WeChat refuses this link. Look at the links in the WeChat console (Tools), and ask WeChat's support with the \
         rid."),
    row(85405..=85405, ANY, "plain_scheme_off", Class::Misconfigured, Pause::None,
        "Plain-text schemes are not switched on for this page. Declare it in the WeChat console, or use \
         mobile = \"url_link\"."),
    row(85406..=85406, ANY, "visits_used_up", Class::Quota, Pause::NextDay,
        "Links of this mini program were opened as often as a day allows. Set mobile = \"none\" until tomorrow."),
    row(85407..=85407, ANY, "links_not_permitted", Class::Misconfigured, Pause::Minute,
        "This account may not make links. They need a verified mini program of an organisation."),
    row(85408..=85408, ANY, "links_banned", Class::Misconfigured, Pause::Minute,
        "WeChat has withdrawn links from the account because of a violation. See the notices in the WeChat console."),
    row(87007..=87007, ANY, "session_key_gone", Class::CodeRefused, Pause::None,
        "The person's WeChat session is over. The mini program calls wx.login again."),
    row(87008..=87008, ANY, "signature_method", Class::Misconfigured, Pause::None,
        "WeChat does not accept the signature method. Report this as a defect of Menshen, with the rid."),
    row(87009..=87009, ANY, "signature_wrong", Class::CodeRefused, Pause::None,
        "The signature was made with another session key. The mini program calls wx.login again."),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn every_row_is_complete_and_reachable() {
        for (index, row) in ERROR_CODES.iter().enumerate() {
            let code = *row.codes.start();
            assert!(!row.codes.is_empty(), "{}", row.name);
            assert!(
                row.remedy.len() > 20 && row.remedy.ends_with('.'),
                "{code} has no remedy"
            );
            assert!(
                row.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{}",
                row.name
            );
            assert_ne!(row.class, Class::Unknown, "{code}");
            let reached = Endpoint::ALL
                .into_iter()
                .any(|endpoint| ErrorCode::find(endpoint, code).is_some_and(|found| std::ptr::eq(found, row)));
            // A general row must not be hidden by earlier ones.
            assert!(reached, "row {index} ({code} {}) is never found", row.name);
        }
    }

    #[test]
    fn every_row_is_in_the_operators_page() {
        let page = include_str!("../../docs/troubleshooting.md");
        for row in ERROR_CODES {
            let line = format!("| `{}` | {} |", row.name, row.remedy);
            assert!(page.contains(&line), "docs/troubleshooting.md lacks: {line}");
        }
    }

    /// The codes of WeChat's calls for logins, codes, links, quotas and messages, as its documentation lists them, in the
    /// order of the number. Whoever meets one of them must find out here what to do.
    const DOCUMENTED: &[RangeInclusive<i64>] = &[
        -1..=-1,
        40001..=40003,
        40013..=40014,
        40029..=40030,
        40033..=40033,
        40052..=40053,
        40066..=40066,
        40097..=40097,
        40125..=40125,
        40129..=40129,
        40159..=40159,
        40163..=40165,
        40169..=40169,
        40189..=40189,
        40212..=40212,
        40226..=40226,
        40230..=40240,
        40243..=40243,
        41001..=41004,
        41008..=41009,
        41030..=41030,
        42001..=42003,
        42007..=42007,
        43002..=43002,
        43104..=43104,
        44990..=44990,
        44993..=44993,
        45009..=45009,
        45011..=45011,
        45029..=45029,
        47001..=47001,
        48001..=48001,
        48004..=48004,
        48006..=48006,
        50001..=50002,
        50004..=50004,
        50007..=50007,
        76001..=76001,
        76003..=76003,
        76022..=76022,
        85079..=85079,
        85096..=85096,
        85400..=85408,
        87007..=87009,
        89503..=89503,
        89506..=89507,
    ];

    #[test]
    fn every_documented_code_has_a_remedy_on_every_call_and_no_other_has() {
        let mut documented = std::collections::BTreeSet::new();
        for code in DOCUMENTED.iter().cloned().flatten() {
            documented.insert(code);
            for endpoint in Endpoint::ALL {
                assert!(ErrorCode::find(endpoint, code).is_some(), "{code} on {endpoint}");
            }
        }
        let known: std::collections::BTreeSet<i64> = ERROR_CODES.iter().flat_map(|row| row.codes.clone()).collect();
        assert_eq!(known, documented);
    }

    #[test]
    fn one_code_means_different_things_on_different_calls() {
        let class = |endpoint, code| ErrorCode::find(endpoint, code).unwrap().class;
        let cases = [
            (Endpoint::StableToken, 40001, Class::Misconfigured),
            (Endpoint::CodeToSession, 40001, Class::Misconfigured),
            (Endpoint::PhoneNumber, 40001, Class::TokenRejected),
            (Endpoint::UnlimitedCode, 40001, Class::TokenRejected),
            (Endpoint::UnlimitedCode, 40014, Class::TokenRejected),
            (Endpoint::PhoneNumber, 42001, Class::TokenRejected),
            (Endpoint::CodeToSession, 40013, Class::Misconfigured),
            (Endpoint::PhoneNumber, 40013, Class::CodeRefused),
            (Endpoint::CodeToSession, 40029, Class::CodeRefused),
            (Endpoint::PhoneNumber, 40029, Class::CodeRefused),
            (Endpoint::CodeToSession, 40163, Class::CodeRefused),
            (Endpoint::CodeToSession, 40226, Class::PersonRefused),
            (Endpoint::CodeToSession, -1, Class::Busy),
            (Endpoint::CodeToSession, 45011, Class::Quota),
            (Endpoint::UnlimitedCode, 45009, Class::Quota),
            (Endpoint::UnlimitedCode, 41030, Class::Misconfigured),
            (Endpoint::UnlimitedCode, 40235, Class::Misconfigured),
        ];
        for (endpoint, code, expected) in cases {
            assert_eq!(class(endpoint, code), expected, "{code} on {endpoint}");
        }
        assert!(ErrorCode::find(Endpoint::CodeToSession, 31337).is_none());
    }

    #[test]
    fn nothing_that_a_phone_can_provoke_pauses_a_call() {
        for row in ERROR_CODES {
            if matches!(
                row.class,
                Class::CodeRefused | Class::PersonRefused | Class::Busy | Class::TokenRejected
            ) {
                assert_eq!(row.pause, Pause::None, "{} on {:?}", row.name, row.endpoints);
            }
        }
        assert_eq!(
            ErrorCode::find(Endpoint::CodeToSession, 45011).unwrap().pause,
            Pause::None
        );
    }

    #[test]
    fn codes_that_only_an_operator_can_repair_pause_the_token_call() {
        for code in [
            40001, 40013, 40125, 40164, 40243, 41002, 41004, 48001, 48004, 50002, 50004, 50007, 89503, 89506, 89507,
        ] {
            assert_eq!(
                ErrorCode::find(Endpoint::StableToken, code).unwrap().pause,
                Pause::Minute,
                "{code}"
            );
        }
    }

    #[test]
    fn quota_pauses_end_with_wechats_minute_and_day() {
        let at = |unix: u64| UNIX_EPOCH + Duration::from_secs(unix);
        let seconds = |pause: Pause, unix| pause.length(at(unix)).map(|length| length.as_secs());
        assert_eq!(seconds(Pause::None, 1_790_000_000), None);
        assert_eq!(seconds(Pause::Minute, 1_790_000_000), Some(60));
        // 1_790_000_000 is 20 seconds into its minute.
        assert_eq!(seconds(Pause::NextMinute, 1_790_000_000), Some(42));
        assert_eq!(seconds(Pause::NextMinute, 1_790_000_039), Some(3));
        // Midnight in Beijing, 16:00 UTC: five minutes before, and just after.
        let midnight = 1_790_006_400;
        assert_eq!(seconds(Pause::NextDay, midnight - 300), Some(302));
        assert_eq!(seconds(Pause::NextDay, midnight), Some(600));
    }

    #[test]
    fn a_quota_is_waited_for_as_long_as_it_is_counted() {
        let cases = [
            (Endpoint::StableToken, 45009, Pause::NextDay),
            (Endpoint::PhoneNumber, 45009, Pause::NextDay),
            (Endpoint::Quota, 45009, Pause::NextDay),
            (Endpoint::UnlimitedCode, 45009, Pause::NextMinute),
            (Endpoint::CodeToSession, 45009, Pause::NextMinute),
            (Endpoint::OauthToken, 45009, Pause::NextMinute),
            (Endpoint::StableToken, 45011, Pause::NextMinute),
            (Endpoint::UnlimitedCode, 45011, Pause::NextMinute),
            (Endpoint::PhoneNumber, 45011, Pause::None),
            (Endpoint::UserInfo, 45011, Pause::None),
            (Endpoint::UnlimitedCode, 44993, Pause::NextDay),
            (Endpoint::UnlimitedCode, 44990, Pause::None),
        ];
        for (endpoint, code, pause) in cases {
            let row = ErrorCode::find(endpoint, code).unwrap();
            assert_eq!((row.class, row.pause), (Class::Quota, pause), "{code} on {endpoint}");
        }
    }
}
