//! The calls of WeChat's servers that the sandbox answers.

use axum::http::Method;
use serde::{Deserialize, Serialize};

/// One call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Endpoint {
    /// `/cgi-bin/token` (getAccessToken).
    #[serde(rename = "/cgi-bin/token")]
    Token,
    /// `/cgi-bin/stable_token` (getStableAccessToken).
    #[serde(rename = "/cgi-bin/stable_token")]
    StableToken,
    /// `/wxa/getwxacodeunlimit` (getUnlimitedQRCode).
    #[serde(rename = "/wxa/getwxacodeunlimit")]
    WxaCode,
    /// `/sns/jscode2session` (code2Session).
    #[serde(rename = "/sns/jscode2session")]
    Login,
    /// `/wxa/business/getuserphonenumber` (getPhoneNumber).
    #[serde(rename = "/wxa/business/getuserphonenumber")]
    PhoneNumber,
    /// `/wxa/checksession` (checkSessionKey).
    #[serde(rename = "/wxa/checksession")]
    CheckSession,
    /// `/cgi-bin/openapi/quota/get` (getApiQuota).
    #[serde(rename = "/cgi-bin/openapi/quota/get")]
    Quota,
    /// `/cgi-bin/clear_quota` (clearQuota).
    #[serde(rename = "/cgi-bin/clear_quota")]
    ClearQuota,
    /// `/sns/oauth2/access_token`.
    #[serde(rename = "/sns/oauth2/access_token")]
    OauthToken,
    /// `/sns/userinfo` (snsUserInfo).
    #[serde(rename = "/sns/userinfo")]
    UserInfo,
    /// `/cgi-bin/qrcode/create` (createQRCode of a service account).
    #[serde(rename = "/cgi-bin/qrcode/create")]
    AccountCode,
    /// `/cgi-bin/user/info` (getUserInfo of a service account).
    #[serde(rename = "/cgi-bin/user/info")]
    Follower,
    /// `/wxa/generate_urllink` (generateUrlLink).
    #[serde(rename = "/wxa/generate_urllink")]
    UrlLink,
    /// `/wxa/generatescheme` (generateScheme).
    #[serde(rename = "/wxa/generatescheme")]
    Scheme,
}

impl Endpoint {
    /// Every call.
    pub const ALL: [Self; 14] = [
        Self::Token,
        Self::StableToken,
        Self::WxaCode,
        Self::Login,
        Self::PhoneNumber,
        Self::CheckSession,
        Self::Quota,
        Self::ClearQuota,
        Self::OauthToken,
        Self::UserInfo,
        Self::AccountCode,
        Self::Follower,
        Self::UrlLink,
        Self::Scheme,
    ];

    /// The path.
    pub fn path(self) -> &'static str {
        match self {
            Self::Token => "/cgi-bin/token",
            Self::StableToken => "/cgi-bin/stable_token",
            Self::WxaCode => "/wxa/getwxacodeunlimit",
            Self::Login => "/sns/jscode2session",
            Self::PhoneNumber => "/wxa/business/getuserphonenumber",
            Self::CheckSession => "/wxa/checksession",
            Self::Quota => "/cgi-bin/openapi/quota/get",
            Self::ClearQuota => "/cgi-bin/clear_quota",
            Self::OauthToken => "/sns/oauth2/access_token",
            Self::UserInfo => "/sns/userinfo",
            Self::AccountCode => "/cgi-bin/qrcode/create",
            Self::Follower => "/cgi-bin/user/info",
            Self::UrlLink => "/wxa/generate_urllink",
            Self::Scheme => "/wxa/generatescheme",
        }
    }

    /// Whether the call can be made with this method; otherwise it is 43002.
    pub(super) fn admits(self, method: &Method) -> bool {
        match self {
            Self::Token | Self::Login | Self::CheckSession | Self::OauthToken | Self::UserInfo | Self::Follower => true,
            Self::StableToken
            | Self::WxaCode
            | Self::PhoneNumber
            | Self::Quota
            | Self::ClearQuota
            | Self::AccountCode
            | Self::UrlLink
            | Self::Scheme => *method == Method::POST,
        }
    }

    /// What the answer says it is. `/sns/*` calls its JSON plain text.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Login | Self::OauthToken | Self::UserInfo => "text/plain",
            _ => "application/json; encoding=utf-8",
        }
    }
}
