//! `GET|POST /.menshen/connections/ID/push`, at `public_url`'s host: what WeChat sends to a service account's server.
//!
//! WeChat waits for five seconds, sends three times, and shows the person an outage when it does not understand the
//! answer. So whoever scanned a code of ours is always told something in the chat, and everything else is `success`, or
//! what the program behind `relay_url` says.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use crate::config::settings::{Connection, ConnectionKind, Locale};
use crate::login::error::LoginError;
use crate::login::official_account::{Asked, MessageScan, OfficialAccountDesk, UnderSignature};
use crate::login::scene::Scene;
use crate::portal::Inner;
use crate::portal::code::Code;
use crate::portal::context::RequestContext;
use crate::portal::pages::confirm_url;
use crate::portal::problem::Problem;
use crate::portal::push_relay::Arrived;
use crate::portal::query::Query;
use crate::portal::texts::chat::{Asking, asking, refusing};
use crate::wechat::{PushFault, PushKind, PushMessage, PushQuery};

type Answer = Result<Response<Body>, Problem>;

/// Query of both. One that stands there twice is refused.
#[derive(Debug, Deserialize)]
pub(super) struct Params {
    #[serde(default)]
    signature: String,
    #[serde(default)]
    timestamp: String,
    #[serde(default)]
    nonce: String,
    echostr: Option<String>,
    encrypt_type: Option<String>,
    msg_signature: Option<String>,
}

impl Params {
    fn query(&self) -> PushQuery<'_> {
        PushQuery {
            signature: &self.signature,
            timestamp: &self.timestamp,
            nonce: &self.nonce,
            encrypt_type: self.encrypt_type.as_deref(),
            msg_signature: self.msg_signature.as_deref(),
        }
    }
}

/// `GET`: WeChat asks whether the address is the account's, and reads its echo. In plain mode its signature would sign a
/// message as well, and is remembered as a question's.
pub(super) async fn handshake(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    Query(params): Query<Params>,
) -> Answer {
    let (connection, account) = portal.account(&context, &id)?;
    let now = portal.login.clock.now();
    if let Err(fault) = account.door.check_handshake(params.query(), now) {
        return Err(portal.refuse_push(&context, connection, fault));
    }
    let echo = params
        .echostr
        .filter(|echo| echo.len() <= LONGEST_ECHO)
        .ok_or(Code::BadRequest)?;
    let deadline = Instant::now() + BUDGET;
    portal
        .admit_once(
            connection,
            account,
            &params.signature,
            UnderSignature::Question,
            deadline,
        )
        .await?;
    portal.login.metrics.pushed(&connection.id, "handshake");
    Ok(text(echo))
}

/// `POST`: a message.
pub(super) async fn receive(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    Query(params): Query<Params>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    let deadline = Instant::now() + BUDGET;
    let (connection, account) = portal.account(&context, &id)?;
    let message = match account.door.open(params.query(), &body, portal.login.clock.now()) {
        Ok(message) => message,
        Err(fault) => return Err(portal.refuse_push(&context, connection, fault)),
    };
    let under_it = UnderSignature::Message(&body);
    portal
        .admit_once(connection, account, &params.signature, under_it, deadline)
        .await?;
    let scan = MessageScan {
        openid: &message.from,
        created_at: message.created_at,
        new_follower: false,
    };
    match &message.kind {
        PushKind::Scan { scene, new_follower } => {
            if let Some(scene) = portal.login.own_scene(connection, scene) {
                let scan = MessageScan {
                    new_follower: *new_follower,
                    ..scan
                };
                let said = portal.told(&context, connection, &scene, scan, deadline).await;
                return portal.reply(account, &message, &said, &params.nonce);
            }
        }
        PushKind::Unsubscribe => {
            let noted = portal.login.note_unsubscribe(connection, scan, &context.request_id);
            match timeout(NOTING, noted).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!(connection = connection.id, %error, "not noted that somebody unsubscribed"),
                Err(_) => warn!(
                    connection = connection.id,
                    "not noted that somebody unsubscribed: the store is slow"
                ),
            }
        }
        PushKind::Other => {}
    }
    let query = raw.unwrap_or_default();
    let left = deadline.saturating_duration_since(Instant::now());
    let arrived = Arrived {
        message: &message,
        nonce: &params.nonce,
        query: &query,
        headers: &headers,
        body,
    };
    Ok(portal.hand_on(connection, account, arrived, left).await)
}

impl Inner {
    /// The account of a connection, asked at the one host that WeChat knows.
    fn account(&self, context: &RequestContext, id: &str) -> Result<(&Connection, &OfficialAccountDesk), Problem> {
        if !context.public_host {
            return Err(Code::NotFound.into());
        }
        let found = self.settings.connection(id).zip(self.login.accounts.get(id));
        found.ok_or_else(|| Code::NotFound.into())
    }

    /// Refuses what came under the plain signature of something else.
    async fn admit_once(
        &self,
        connection: &Connection,
        account: &OfficialAccountDesk,
        signature: &str,
        under_it: UnderSignature<'_>,
        deadline: Instant,
    ) -> Result<(), Problem> {
        if !account.door.is_plain() {
            return Ok(());
        }
        let admitted = self.login.admit_plain(connection, signature, under_it);
        let admitted = timeout_at(deadline, admitted).await;
        if admitted.map_err(|_| Problem::new(Code::StoreUnavailable))?? {
            return Ok(());
        }
        warn!(
            connection = connection.id,
            "a plain message under the signature of another one: refused"
        );
        self.login.metrics.pushed(&connection.id, "replayed");
        Err(Code::Forbidden.into())
    }

    /// Whoever is not WeChat is told nothing else; the log says what an operator would look for.
    fn refuse_push(&self, context: &RequestContext, connection: &Connection, fault: PushFault) -> Problem {
        let limits = &self.login.limits;
        if fault.is_forged() {
            info!(connection = connection.id, %fault, "a message was refused");
            self.login.metrics.pushed(&connection.id, "forged");
            if let Err(too_many) = limits.phone_call(context.limit_key) {
                return LoginError::from(too_many).into();
            }
            limits.forgery(context.limit_key);
        } else {
            warn!(connection = connection.id, %fault, "a message was refused");
            self.login.metrics.pushed(&connection.id, "unreadable");
        }
        Code::Forbidden.into()
    }

    /// What somebody who scanned is told in the chat.
    async fn told(
        &self,
        context: &RequestContext,
        connection: &Connection,
        scene: &Scene,
        scan: MessageScan<'_>,
        deadline: Instant,
    ) -> String {
        // A message says nothing about the person's language.
        let locale = self.settings.branding.locale.unwrap_or(Locale::ZhCn);
        let scanned = self.login.scan_by_message(connection, scene, scan, &context.request_id);
        let (said, result) = match timeout_at(deadline, scanned).await {
            Ok(Ok(asked)) => {
                let result = if asked.repeated { "repeated" } else { "asked" };
                (self.question(connection, &asked, locale), result)
            }
            Ok(Err(error)) => {
                let code = Problem::from(error).code;
                (refusing(locale, code), "refused")
            }
            Err(_) => {
                warn!(
                    connection = connection.id,
                    "no answer to a scan in time: the store is slow"
                );
                (refusing(locale, Code::StoreUnavailable), "too_slow")
            }
        };
        self.login.metrics.pushed(&connection.id, result);
        match greeting(connection).filter(|_| scan.new_follower) {
            Some(greeting) => format!("{greeting}\n\n{said}"),
            None => said,
        }
    }

    /// What they would sign in to, and the link.
    fn question(&self, connection: &Connection, asked: &Asked, locale: Locale) -> String {
        let browser = asked.browser.as_ref();
        let about = match browser {
            Some(facts) if facts.bind_to.is_some() => Asking::Connect,
            Some(facts) => Asking::SignIn {
                site: &facts.site,
                host: &facts.host,
            },
            None => Asking::Unknown,
        };
        let url = format!(
            "{}{}#{}",
            self.settings.issuer(),
            confirm_url(&connection.id),
            asked.handle
        );
        asking(locale, about, &url)
    }

    fn reply(&self, account: &OfficialAccountDesk, message: &PushMessage, said: &str, nonce: &str) -> Answer {
        let now = self.login.clock.now();
        let wrapped = account.door.wrap(&message.answer(said, now), nonce, now);
        Ok(xml(
            wrapped.map_err(|_| LoginError::Seal("a message cannot be encrypted"))?
        ))
    }
}

/// Whether messages come in at this path.
pub(super) fn is_push(path: &str) -> bool {
    let below = path.strip_prefix("/.menshen/connections/");
    below
        .and_then(|below| below.split_once('/'))
        .is_some_and(|(_, rest)| rest == "push")
}

/// Makes of an answer something that a browser shows and never runs. WeChat reads every answer, but whoever has seen a
/// signed message can have a browser send it once more, and what comes back is shown in `public_url`'s origin.
pub(super) fn disarm(response: &mut Response<Body>) {
    let policy = HeaderValue::from_static("default-src 'none'; sandbox; frame-ancestors 'none'");
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
}

fn greeting(connection: &Connection) -> Option<&str> {
    match &connection.kind {
        ConnectionKind::OfficialAccountQr(account) => account.greeting.as_deref(),
        _ => None,
    }
}

/// WeChat's word for "nothing to say".
pub(super) fn nothing() -> Response<Body> {
    text("success".to_owned())
}

/// A message in answer.
pub(super) fn xml(body: String) -> Response<Body> {
    ([(header::CONTENT_TYPE, "text/xml; charset=utf-8")], body).into_response()
}

fn text(body: String) -> Response<Body> {
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    (StatusCode::OK, [(header::CONTENT_TYPE, content_type)], body).into_response()
}

/// WeChat hangs up after five seconds.
const BUDGET: Duration = Duration::from_millis(4_000);
/// So long a message that goes on waits for the audit.
const NOTING: Duration = Duration::from_secs(1);
/// Bytes; WeChat's has nineteen.
const LONGEST_ECHO: usize = 256;
