//! The calls that are made to WeChat, by name, and who is told about each of them.

use std::fmt;
use std::time::Duration;

use crate::telemetry::metrics::Metrics;
use crate::wechat::codes::Class;

/// One call of WeChat's server API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `POST /cgi-bin/stable_token` (getStableAccessToken).
    StableToken,
    /// `GET /sns/jscode2session` (code2Session).
    CodeToSession,
    /// `POST /wxa/business/getuserphonenumber` (getPhoneNumber).
    PhoneNumber,
    /// `POST /wxa/getwxacodeunlimit` (getUnlimitedQRCode).
    UnlimitedCode,
    /// `POST /cgi-bin/openapi/quota/get` (getApiQuota).
    Quota,
    /// `GET /sns/oauth2/access_token` (website applications and service accounts).
    OauthToken,
    /// `GET /sns/userinfo` (snsUserInfo).
    UserInfo,
    /// `POST /cgi-bin/qrcode/create` (createQRCode of a service account).
    AccountCode,
    /// `GET /cgi-bin/user/info` (getUserInfo of a service account).
    Follower,
    /// `POST /wxa/generate_urllink` (generateUrlLink).
    UrlLink,
    /// `POST /wxa/generatescheme` (generateScheme).
    Scheme,
}

/// How one exchange with WeChat ended, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallResult {
    /// The wanted answer.
    Success,
    /// An answer with an `errcode`.
    Refused {
        /// `errcode`
        code: i64,
        /// What kind of refusal that is.
        class: Class,
    },
    /// No connection; the request never left.
    NotConnected,
    /// No complete answer in time.
    TimedOut,
    /// The connection broke.
    Broken,
    /// An answer that is not WeChat's protocol.
    BadAnswer,
}

/// Is told about every exchange with WeChat. Called on the task that made the call: it must not block.
pub trait Observer: Send + Sync {
    /// One exchange ended after `elapsed`. Retries are exchanges of their own.
    fn called(&self, endpoint: Endpoint, result: CallResult, elapsed: Duration) {
        let _ = (endpoint, result, elapsed);
    }

    /// An answer was dated by WeChat's clock; `at` is this machine's, both in Unix seconds.
    fn dated(&self, wechat: i64, at: i64) {
        let _ = (wechat, at);
    }
}

/// Observes nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unobserved;

impl Endpoint {
    /// Every endpoint.
    pub const ALL: [Self; 11] = [
        Self::StableToken,
        Self::CodeToSession,
        Self::PhoneNumber,
        Self::UnlimitedCode,
        Self::Quota,
        Self::OauthToken,
        Self::UserInfo,
        Self::AccountCode,
        Self::Follower,
        Self::UrlLink,
        Self::Scheme,
    ];

    /// Name in logs and metric labels, as WeChat calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StableToken => "stable_token",
            Self::CodeToSession => "jscode2session",
            Self::PhoneNumber => "getuserphonenumber",
            Self::UnlimitedCode => "getwxacodeunlimit",
            Self::Quota => "quota/get",
            Self::OauthToken => "oauth2_access_token",
            Self::UserInfo => "snsuserinfo",
            Self::AccountCode => "qrcode/create",
            Self::Follower => "user/info",
            Self::UrlLink => "generate_urllink",
            Self::Scheme => "generatescheme",
        }
    }

    /// Path below the API's base address.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::StableToken => "/cgi-bin/stable_token",
            Self::CodeToSession => "/sns/jscode2session",
            Self::PhoneNumber => "/wxa/business/getuserphonenumber",
            Self::UnlimitedCode => "/wxa/getwxacodeunlimit",
            Self::Quota => "/cgi-bin/openapi/quota/get",
            Self::OauthToken => "/sns/oauth2/access_token",
            Self::UserInfo => "/sns/userinfo",
            Self::AccountCode => "/cgi-bin/qrcode/create",
            Self::Follower => "/cgi-bin/user/info",
            Self::UrlLink => "/wxa/generate_urllink",
            Self::Scheme => "/wxa/generatescheme",
        }
    }

    /// Bytes of the largest answer that is read.
    pub(crate) fn answer_limit(self) -> usize {
        match self {
            Self::UnlimitedCode => IMAGE_LIMIT,
            Self::StableToken
            | Self::CodeToSession
            | Self::PhoneNumber
            | Self::Quota
            | Self::OauthToken
            | Self::UserInfo
            | Self::AccountCode
            | Self::Follower
            | Self::UrlLink
            | Self::Scheme => JSON_LIMIT,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl CallResult {
    /// Metric label: one of a dozen words, never a number that WeChat chose.
    pub fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Refused { class, .. } => class.as_str(),
            Self::NotConnected => "not_connected",
            Self::TimedOut => "timed_out",
            Self::Broken => "broken",
            Self::BadAnswer => "bad_answer",
        }
    }
}

impl Observer for Unobserved {}

impl Observer for Metrics {
    fn called(&self, endpoint: Endpoint, result: CallResult, elapsed: Duration) {
        self.wechat_called(endpoint.as_str(), result.label(), elapsed);
        if let CallResult::Refused { code, class } = result {
            self.wechat_refused(endpoint.as_str(), (class != Class::Unknown).then_some(code));
        }
    }
}

/// The longest JSON answer is a few hundred bytes.
const JSON_LIMIT: usize = 64 * 1024;

/// A code of 1280 px is well below 1 MiB.
const IMAGE_LIMIT: usize = 2 * 1024 * 1024;
