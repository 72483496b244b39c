//! Links that open the mini program from outside of WeChat: URL links and schemes (generateUrlLink, generateScheme).
//!
//! An account makes 500,000 of both a day, so none is made for a login: one link is made for a page, and what differs from
//! login to login is appended as `cq`, a parameter that WeChat lets the caller add to a finished link (获取 URL Scheme,
//! 拼接参数, since 2023-12-19). The page gets what `cq` holds as ordinary parameters, exactly as it gets `query`. A link
//! opens for anybody: possession of it says nothing.

use serde::{Deserialize, Serialize};

use crate::wechat::answer::{bad, read_json};
use crate::wechat::endpoint::Endpoint;
use crate::wechat::error::{BadAnswer, WechatError};
use crate::wechat::mini_program::MiniProgram;
use crate::wechat::transport::Call;

/// Which kind of link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    /// `https://wxaurl.cn/…`: an ordinary address, behind which WeChat has a page of its own where it needs one.
    Url,
    /// `weixin://dl/business/?t=…`: opens WeChat at once, if it is tapped on a page.
    Scheme,
}

/// A link to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkRequest {
    /// Which kind.
    pub kind: LinkKind,
    /// Page of the released mini program: no leading slash, no query.
    pub page: String,
    /// `release`, `trial` or `develop`.
    pub env_version: &'static str,
    /// Days that it opens: 1 to 30.
    pub days: u8,
}

/// A link that WeChat made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenLink(String);

impl OpenLink {
    /// The link with parameters for the page; `None` where they are more than WeChat takes.
    #[must_use]
    pub fn with(&self, parameters: &[(&str, &str)]) -> Option<String> {
        let mut inner = url::form_urlencoded::Serializer::new(String::new());
        inner.extend_pairs(parameters);
        // Encoded as one value: what is within it is the page's query.
        let cq: String = url::form_urlencoded::byte_serialize(inner.finish().as_bytes()).collect();
        if cq.len() > LONGEST_CQ {
            return None;
        }
        let joint = if self.0.contains('?') { '&' } else { '?' };
        Some(format!("{}{joint}cq={cq}", self.0))
    }

    /// An address that a page may lead to, and that can take a parameter.
    fn parse(text: String, kind: LinkKind, secure: bool) -> Option<Self> {
        let url = url::Url::parse(&text).ok()?;
        let fits = match kind {
            LinkKind::Url => (url.scheme() == "https" || (!secure && url.scheme() == "http")) && url.has_host(),
            LinkKind::Scheme => url.scheme() == "weixin",
        };
        let plain = text.len() <= LONGEST_LINK && text.bytes().all(|byte| byte.is_ascii_graphic());
        let whole = url.fragment().is_none() && url.query_pairs().all(|(name, _)| name != "cq");
        (fits && plain && whole).then_some(Self(text))
    }
}

impl LinkKind {
    /// The call that makes it.
    pub fn endpoint(self) -> Endpoint {
        match self {
            Self::Url => Endpoint::UrlLink,
            Self::Scheme => Endpoint::Scheme,
        }
    }
}

/// The request of `generate_urllink`.
#[derive(Serialize)]
struct UrlLinkRequest<'a> {
    path: &'a str,
    env_version: &'static str,
    expire_type: u8,
    expire_interval: u8,
}

/// The request of `generatescheme`.
#[derive(Serialize)]
struct SchemeRequest<'a> {
    jump_wxa: JumpWxa<'a>,
    /// In the example and not in the table of fields; without it older accounts get a scheme that never ends.
    is_expire: bool,
    expire_type: u8,
    expire_interval: u8,
}

#[derive(Serialize)]
struct JumpWxa<'a> {
    path: &'a str,
    env_version: &'static str,
}

/// Both answers.
#[derive(Deserialize)]
struct LinkAnswer {
    #[serde(alias = "openlink")]
    url_link: String,
}

impl MiniProgram {
    /// Has WeChat make a link (generateUrlLink, generateScheme).
    ///
    /// # Errors
    ///
    /// A page that is not released, an account that may not make links or has made all of today's, or anything that kept
    /// WeChat from answering.
    pub async fn open_link(&self, request: &LinkRequest) -> Result<OpenLink, WechatError> {
        let endpoint = request.kind.endpoint();
        let (transport, tokens) = (self.transport(), self.access_tokens());
        tokens.breaker().admit(endpoint)?;
        let deadline = transport.deadline();
        let (path, env_version) = (request.page.as_str(), request.env_version);
        let answer = tokens
            .call(&deadline, async |token| {
                let query = [("access_token", token.expose())];
                let call = match request.kind {
                    LinkKind::Url => Call::post(
                        endpoint,
                        &query,
                        &UrlLinkRequest {
                            path,
                            env_version,
                            expire_type: AFTER_DAYS,
                            expire_interval: request.days,
                        },
                    ),
                    LinkKind::Scheme => Call::post(
                        endpoint,
                        &query,
                        &SchemeRequest {
                            jump_wxa: JumpWxa { path, env_version },
                            is_expire: true,
                            expire_type: AFTER_DAYS,
                            expire_interval: request.days,
                        },
                    ),
                }?;
                let result = transport
                    .call_patiently(&call, &deadline, read_json::<LinkAnswer>)
                    .await;
                tokens.breaker().record(endpoint, result)
            })
            .await?;
        OpenLink::parse(answer.url_link, request.kind, transport.is_secure())
            .ok_or_else(|| bad(endpoint, BadAnswer::Lacks("link")))
    }
}

/// `expire_type`: after so many days, by WeChat's own clock.
const AFTER_DAYS: u8 = 1;

/// Characters of `cq`, counted as it is sent.
const LONGEST_CQ: usize = 256;

/// Bytes; WeChat's have some forty.
const LONGEST_LINK: usize = 512;

#[cfg(test)]
mod tests;
