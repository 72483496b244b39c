//! Error codes of WeChat's servers, and the body that carries them.
//!
//! The HTTP status is 200 whatever happened, and the text is not stable: it ends with a trace id that differs each time,
//! so that a client which matches on the text fails here as it would there.

use serde_json::{Value, json};

use super::identifiers;

/// An `errcode` that is not 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("WeChat error {0}")]
pub struct WechatError(pub i64);

impl WechatError {
    pub(super) const BUSY: Self = Self(-1);
    pub(super) const CREDENTIAL: Self = Self(40001);
    pub(super) const GRANT_TYPE: Self = Self(40002);
    pub(super) const OPENID: Self = Self(40003);
    pub(super) const APP_ID: Self = Self(40013);
    pub(super) const TOKEN_MALFORMED: Self = Self(40014);
    pub(super) const CODE: Self = Self(40029);
    pub(super) const ESCAPED: Self = Self(40033);
    pub(super) const PARAMETERS: Self = Self(40035);
    pub(super) const ACTION_NAME: Self = Self(40052);
    pub(super) const ACTION_INFO: Self = Self(40053);
    pub(super) const ARGUMENTS: Self = Self(40097);
    pub(super) const SECRET: Self = Self(40125);
    pub(super) const SCENE_CHARACTERS: Self = Self(40129);
    pub(super) const CODE_USED: Self = Self(40163);
    pub(super) const SCENE_LENGTH: Self = Self(40169);
    pub(super) const WIDTH: Self = Self(40189);
    pub(super) const HIGH_RISK: Self = Self(40226);
    pub(super) const TOKEN_MISSING: Self = Self(41001);
    pub(super) const APP_ID_MISSING: Self = Self(41002);
    pub(super) const SECRET_MISSING: Self = Self(41004);
    pub(super) const CODE_MISSING: Self = Self(41008);
    pub(super) const PAGE: Self = Self(41030);
    pub(super) const OPENID_MISSING: Self = Self(41009);
    pub(super) const TOKEN_EXPIRED: Self = Self(42001);
    pub(super) const POST_REQUIRED: Self = Self(43002);
    pub(super) const DAY_LIMIT: Self = Self(45009);
    pub(super) const MINUTE_LIMIT: Self = Self(45011);
    pub(super) const POOL_USED_UP: Self = Self(45029);
    pub(super) const BODY: Self = Self(47001);
    pub(super) const UNAUTHORISED: Self = Self(48001);
    pub(super) const CLEARS_USED_UP: Self = Self(48006);
    pub(super) const CGI_PATH: Self = Self(76003);
    pub(super) const NOT_FOR_SNS: Self = Self(76022);
    pub(super) const SCANCODE_TIME: Self = Self(85096);
    pub(super) const LINKS_NOT_PERMITTED: Self = Self(40002);
    pub(super) const LINK_PATH: Self = Self(40165);
    pub(super) const LINK_QUERY: Self = Self(40212);
    pub(super) const LINKS_A_SECOND: Self = Self(44990);
    pub(super) const LINKS_OF_THE_DAY: Self = Self(44993);
    pub(super) const NOT_RELEASED: Self = Self(85079);
    pub(super) const LINK_TIME: Self = Self(85401);
    pub(super) const LINK_VERSION: Self = Self(85402);
    pub(super) const SIGNATURE_METHOD: Self = Self(87008);
    pub(super) const SIGNATURE: Self = Self(87009);

    /// The body of the answer.
    pub(super) fn body(self, now: u64) -> Value {
        json!({ "errcode": self.0, "errmsg": format!("{} rid: {}", self.text(), identifiers::rid(now)) })
    }

    fn text(self) -> &'static str {
        match self.0 {
            -1 => "system error",
            40001 => "invalid credential, access_token is invalid or not latest",
            40002 => "invalid grant_type",
            40003 => "invalid openid",
            40013 => "invalid appid",
            40014 => "invalid access_token",
            40029 => "invalid code",
            40033 => "invalid charset, \\uXXXX is not accepted",
            40035 => "invalid parameter",
            40052 => "invalid action name",
            40053 => "invalid action info",
            40097 => "invalid args",
            40125 => "invalid appsecret",
            40129 => "invalid scene",
            40163 => "code been used",
            40164 => "invalid ip 127.0.0.1, not in whitelist",
            40169 => "invalid length for scene, or the data is not json string",
            40189 => "invalid width",
            40226 => "user is blocked",
            40243 => "appsecret is frozen",
            41001 => "access_token missing",
            41002 => "appid missing",
            41004 => "appsecret missing",
            41008 => "missing code",
            41009 => "missing openid",
            41030 => "invalid page",
            42001 => "access_token expired",
            43002 => "require POST method",
            45009 => "reach max api daily quota limit",
            45011 => "api minute-quota reach limit, must slower, retry next minute",
            45029 => "qrcode count out of limit",
            47001 => "data format error",
            48001 => "api unauthorized",
            48006 => "forbid to clear quota because of reaching the limit",
            50004 | 50007 => "account frozen",
            76003 => "cgi_path not found",
            76022 => "could not use this cgi_path, no permission",
            85096 => "not allow include scancode_time field",
            87008 => "invalid sig_method",
            87009 => "invalid signature",
            _ => "error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_answers_of_one_error_differ_in_their_text_only() {
        let (one, two) = (
            WechatError::CODE.body(1_700_000_000),
            WechatError::CODE.body(1_700_000_000),
        );
        assert_eq!(one["errcode"], 40029);
        assert_eq!(one["errcode"], two["errcode"]);
        assert_ne!(one["errmsg"], two["errmsg"]);
    }
}
