//! The stable error codes of the HTTP contract, and the status that each is sent with.
//!
//! A code never changes its meaning and never loses its status: mini programs and scripts that are years old read them.

use http::StatusCode;

/// A reason for a refusal, as clients read it in `{"error":{"code"}}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// Two identities of one person point at different users.
    AmbiguousAccount,
    /// The target of a binding already has an identity of this app.
    AccountBound,
    /// The request cannot be understood, or could be understood in two ways.
    BadRequest,
    /// The browser's half has not been shown to this phone yet.
    BrowserAbsent,
    /// WeChat refused the login code; `wx.login` again.
    CodeInvalid,
    /// Not sent by a page of this origin.
    CrossOrigin,
    /// The mini program was opened in a way that cannot be a scan.
    EntryRefused,
    /// This person may not have this.
    Forbidden,
    /// No session.
    LoginRequired,
    /// No user, and none may be made.
    NoAccount,
    /// Nothing here.
    NotFound,
    /// This node cannot serve yet.
    NotReady,
    /// WeChat refused the phone code; tap the button again.
    PhoneCodeInvalid,
    /// The connection needs the phone number.
    PhoneRequired,
    /// Somebody else has this number.
    PhoneTaken,
    /// The account was not proven.
    ProofWrong,
    /// Too many.
    RateLimited,
    /// The store does not answer.
    StoreUnavailable,
    /// The person said no.
    TicketCancelled,
    /// Too late.
    TicketExpired,
    /// Another phone has it.
    TicketTaken,
    /// Unknown, foreign and forged: one answer.
    TicketUnknown,
    /// The bearer token is unknown, expired or revoked.
    TokenInvalid,
    /// Body too large.
    TooLarge,
    /// Request target too long.
    UriTooLong,
    /// Headers too large.
    HeadersTooLarge,
    /// No site has this host.
    UnknownHost,
    /// The application answered nonsense or hung up.
    UpstreamFailed,
    /// The application did not answer in time.
    UpstreamTimeout,
    /// The application cannot be reached.
    UpstreamUnavailable,
    /// The account is disabled.
    UserDisabled,
    /// WeChat is overloaded or asks to slow down.
    WechatBusy,
    /// WeChat refuses this installation; the operator must act.
    WechatMisconfigured,
    /// WeChat refuses this person.
    WechatRefused,
    /// WeChat cannot be reached.
    WechatUnavailable,
    /// The wrong number was chosen.
    WrongNumber,
    /// Not in this state of the ticket.
    WrongState,
}

impl Code {
    /// Every code, in alphabetical order of its text.
    pub const ALL: [Self; 37] = [
        Self::AccountBound,
        Self::AmbiguousAccount,
        Self::BadRequest,
        Self::BrowserAbsent,
        Self::CodeInvalid,
        Self::CrossOrigin,
        Self::EntryRefused,
        Self::Forbidden,
        Self::LoginRequired,
        Self::NoAccount,
        Self::NotFound,
        Self::NotReady,
        Self::PhoneCodeInvalid,
        Self::PhoneRequired,
        Self::PhoneTaken,
        Self::ProofWrong,
        Self::RateLimited,
        Self::StoreUnavailable,
        Self::TicketCancelled,
        Self::TicketExpired,
        Self::TicketTaken,
        Self::TicketUnknown,
        Self::TokenInvalid,
        Self::TooLarge,
        Self::UriTooLong,
        Self::HeadersTooLarge,
        Self::UnknownHost,
        Self::UpstreamFailed,
        Self::UpstreamTimeout,
        Self::UpstreamUnavailable,
        Self::UserDisabled,
        Self::WechatBusy,
        Self::WechatMisconfigured,
        Self::WechatRefused,
        Self::WechatUnavailable,
        Self::WrongNumber,
        Self::WrongState,
    ];

    /// The text on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccountBound => "account_bound",
            Self::AmbiguousAccount => "ambiguous_account",
            Self::BadRequest => "bad_request",
            Self::BrowserAbsent => "browser_absent",
            Self::CodeInvalid => "code_invalid",
            Self::CrossOrigin => "cross_origin",
            Self::EntryRefused => "entry_refused",
            Self::Forbidden => "forbidden",
            Self::LoginRequired => "login_required",
            Self::NoAccount => "no_account",
            Self::NotFound => "not_found",
            Self::NotReady => "not_ready",
            Self::PhoneCodeInvalid => "phone_code_invalid",
            Self::PhoneRequired => "phone_required",
            Self::PhoneTaken => "phone_taken",
            Self::ProofWrong => "proof_wrong",
            Self::RateLimited => "rate_limited",
            Self::StoreUnavailable => "store_unavailable",
            Self::TicketCancelled => "ticket_cancelled",
            Self::TicketExpired => "ticket_expired",
            Self::TicketTaken => "ticket_taken",
            Self::TicketUnknown => "ticket_unknown",
            Self::TokenInvalid => "token_invalid",
            Self::TooLarge | Self::UriTooLong | Self::HeadersTooLarge => "too_large",
            Self::UnknownHost => "unknown_host",
            Self::UpstreamFailed => "upstream_failed",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamUnavailable => "upstream_unavailable",
            Self::UserDisabled => "user_disabled",
            Self::WechatBusy => "wechat_busy",
            Self::WechatMisconfigured => "wechat_misconfigured",
            Self::WechatRefused => "wechat_refused",
            Self::WechatUnavailable => "wechat_unavailable",
            Self::WrongNumber => "wrong_number",
            Self::WrongState => "wrong_state",
        }
    }

    /// The status that it is sent with.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::LoginRequired | Self::TokenInvalid => StatusCode::UNAUTHORIZED,
            Self::CrossOrigin
            | Self::EntryRefused
            | Self::Forbidden
            | Self::NoAccount
            | Self::UserDisabled
            | Self::WechatRefused
            | Self::WrongNumber => StatusCode::FORBIDDEN,
            Self::NotFound | Self::TicketUnknown | Self::UnknownHost => StatusCode::NOT_FOUND,
            Self::AccountBound
            | Self::AmbiguousAccount
            | Self::BrowserAbsent
            | Self::PhoneTaken
            | Self::TicketTaken
            | Self::WrongState => StatusCode::CONFLICT,
            Self::TicketCancelled | Self::TicketExpired => StatusCode::GONE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::CodeInvalid | Self::PhoneCodeInvalid | Self::PhoneRequired | Self::ProofWrong => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::UpstreamFailed | Self::WechatMisconfigured => StatusCode::BAD_GATEWAY,
            Self::NotReady
            | Self::StoreUnavailable
            | Self::UpstreamUnavailable
            | Self::WechatBusy
            | Self::WechatUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The code with this text; of the three spellings of `too_large` the one for bodies.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained_and_in_the_contract() {
        let remedies = include_str!("../../docs/troubleshooting.md");
        let contract = include_str!("../../docs/http-api.md");
        for code in Code::ALL {
            let text = code.as_str();
            assert!(
                remedies.contains(&format!("| `{text}` | ")),
                "docs/troubleshooting.md lacks {text}"
            );
            assert!(contract.contains(&format!("`{text}`")), "docs/http-api.md lacks {text}");
        }
    }
}
