//! Tickets of applications: a program without a browser shows a code, or opens the mini program on the same phone, and gets
//! tokens instead of a cookie.
//!
//! The ticket's id is sealed and holds everything, so that an application that asks writes nothing to the store. Who may
//! watch and redeem it is who knows the verifier of its challenge (RFC 7636, S256): the id alone, seen in a log or on a
//! screen, is worth nothing. The polls of the application bring the phone what it must show, as the polls of a page do.

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::config::settings::{Connection, ConnectionKind};
use crate::login::Login;
use crate::login::browser::{StatusView, Watched, registry_row};
use crate::login::browser_half::{BrowserHalf, ReturnAddress};
use crate::login::carried_half::carry;
use crate::login::device::{Device, DeviceKind};
use crate::login::error::{Ending, LoginError};
use crate::login::launch::Launch;
use crate::login::scene::Opening;
use crate::session::bearer::{TokenHash, new_token, new_token_id};
use crate::session::seal::Purpose;
use crate::store::{Rotation, SessionRow, TicketState, TokenKind, TokenRow};
use crate::telemetry::audit::{AuditEvent, AuditKind};

/// What is known of an application that asks for a ticket.
#[derive(Debug, Clone)]
pub struct AppFacts<'a> {
    /// How it wants to log in.
    pub connection: &'a Connection,
    /// Name of the site, for people.
    pub site: &'a str,
    /// Host that it asked.
    pub host: &'a str,
    /// Audience of the host's site; `None`: its tokens are for every site that lists the connection.
    pub audience: Option<&'a str>,
    /// S256 of a verifier that it keeps.
    pub challenge: &'a str,
    /// `User-Agent`.
    pub agent: &'a str,
    /// Client address.
    pub address: IpAddr,
}

/// A fresh ticket for an application.
#[derive(Debug, Clone)]
pub struct AppIssued {
    /// Sealed; good for nothing without the verifier.
    pub id: String,
    /// To be shown before the phone is taken out; `None` when no number is asked for.
    pub number: Option<u8>,
    /// Text of the code that a phone scans; `None` where the connection has round codes only, or none.
    pub qr_text: Option<String>,
    /// What WeChat's OpenSDK is given; for connections that an application opens.
    pub launch: Option<Launch>,
    /// Seconds until it ends.
    pub expires_in: i64,
}

/// A ticket that an application has proven to be its own.
#[derive(Debug, Clone)]
pub struct AppTicket {
    /// As a page watches its own.
    pub watched: Watched,
    audience: Option<String>,
}

/// What an application gets.
#[derive(Debug, Clone)]
pub struct TokenPair {
    /// The credential.
    pub access: SecretString,
    /// Gets the next pair, once.
    pub refresh: SecretString,
    /// Life of the credential in seconds.
    pub expires_in: i64,
}

/// Where a ticket stands.
#[derive(Debug, Clone)]
pub enum AppStatus {
    /// Not confirmed yet.
    Waiting(StatusView),
    /// It may be redeemed.
    Confirmed,
}

/// What a sealed id holds. Positional on the wire: append only, and raise `VERSION` otherwise.
#[derive(Serialize, Deserialize)]
struct Sealed {
    scene: String,
    half: BrowserHalf,
    challenge: [u8; 32],
    audience: Option<String>,
}

impl Login {
    /// Makes a ticket for an application. Writes nothing to the store.
    ///
    /// # Errors
    /// [`LoginError::Unknown`] for a challenge that is none.
    pub fn issue_to_app(&self, facts: &AppFacts<'_>) -> Result<AppIssued, LoginError> {
        let challenge = decode_challenge(facts.challenge).ok_or(LoginError::Unknown)?;
        let now = self.clock.now();
        let connection = facts.connection;
        let scene = self
            .scenes
            .mint_for_program(&connection.id, now)
            .map_err(|_| LoginError::Seal("no scene key is active"))?;
        let kind = match connection.kind {
            ConnectionKind::MiniprogramLaunch(_) => DeviceKind::Application,
            _ => DeviceKind::Terminal,
        };
        let sealed = Sealed {
            scene: scene.as_str().to_owned(),
            half: BrowserHalf {
                site: facts.site.to_owned(),
                host: facts.host.to_owned(),
                return_to: ReturnAddress::keep("/"),
                device: Device::program(kind, facts.agent),
                address: facts.address,
                time: now,
                browser: [0; 16],
                bind_to: None,
            },
            challenge,
            audience: facts.audience.map(str::to_owned),
        };
        let launch = match &connection.kind {
            ConnectionKind::MiniprogramLaunch(launch) => {
                let half = carry(&self.ring, &sealed.half.facts(), &scene, now);
                Some(Launch::of(launch, &scene, half.as_deref()))
            }
            _ => None,
        };
        let mut bytes = vec![VERSION];
        bytes.extend(postcard::to_stdvec(&sealed).map_err(|_| LoginError::Seal("a ticket cannot be written"))?);
        let id = self
            .ring
            .seal(Purpose::AppTicket, &[], &bytes, now)
            .map_err(|_| LoginError::Seal("no sealing key is active"))?;
        // Shown before anybody scans, by design: a terminal has nothing else to show it on.
        let number = self.number(&scene, Opening::Ahead)?;
        self.metrics.ticket_issued();
        Ok(AppIssued {
            id,
            number,
            qr_text: self.codes.get(&connection.id).and_then(|codes| codes.link(&scene)),
            launch,
            expires_in: self.ticket_ttl(),
        })
    }

    /// Admits an application to its ticket.
    ///
    /// # Errors
    /// [`LoginError::Unknown`] for forged ids, for those of others, and for a verifier of another ticket.
    pub fn watch_app(&self, id: &str, verifier: &str, host: &str) -> Result<AppTicket, LoginError> {
        let bytes = self
            .ring
            .open(Purpose::AppTicket, &[], id.as_bytes())
            .ok_or(LoginError::Unknown)?;
        let sealed: Sealed = match bytes.split_first() {
            Some((&VERSION, rest)) => match postcard::take_from_bytes(rest) {
                Ok((sealed, [])) => sealed,
                _ => return Err(LoginError::Unknown),
            },
            _ => return Err(LoginError::Unknown),
        };
        let proven: bool = subtle::ConstantTimeEq::ct_eq(&sealed.challenge[..], &s256(verifier)[..]).into();
        if !proven || sealed.half.host != host {
            return Err(LoginError::Unknown);
        }
        let scene = self.scenes.check(&sealed.scene).map_err(|_| LoginError::Unknown)?;
        Ok(AppTicket {
            watched: Watched::without_browser(scene, sealed.half),
            audience: sealed.audience,
        })
    }

    /// Where the ticket stands. Adds what the phone must show to the row if a phone waits for it.
    ///
    /// # Errors
    /// The reason why it ended without a confirmation, and those of the store.
    pub async fn app_status(&self, ticket: &AppTicket) -> Result<AppStatus, LoginError> {
        let mut view = self.status(&ticket.watched).await?;
        match (view.status, view.ending) {
            ("confirmed", _) => Ok(AppStatus::Confirmed),
            ("failed", Some(ending)) => Err(LoginError::Ended(ending)),
            ("cancelled", _) => Err(LoginError::Cancelled),
            ("expired", _) => Err(LoginError::Expired),
            ("redeemed" | "failed", _) => Err(LoginError::WrongState),
            _ => {
                // Known from the beginning, and shown until the phone has asked for it.
                if view.number.is_none() && view.status == "pending" {
                    view.number = self.number(&ticket.watched.scene, Opening::Ahead)?;
                }
                Ok(AppStatus::Waiting(view))
            }
        }
    }

    /// Turns a confirmed ticket into a session with tokens, exactly once.
    ///
    /// # Errors
    /// [`LoginError::WrongState`] when it is not confirmed or was redeemed before.
    pub async fn redeem_for_app(&self, ticket: &AppTicket, request_id: &str) -> Result<TokenPair, LoginError> {
        let watched = &ticket.watched;
        let id = watched.scene.as_str();
        let now = self.clock.now();
        let row = self.store.ticket(id).await?.ok_or(LoginError::WrongState)?;
        self.refuse_unless_confirmed(&watched.scene, &row, now)?;
        let user_id = row.user_id.as_deref().ok_or(LoginError::WrongState)?;
        let user = self.store.user(user_id).await?;
        let user = user.ok_or(LoginError::Ended(Ending::NoAccount))?;
        if user.disabled {
            self.fail(&row, &[TicketState::Confirmed], Ending::UserDisabled, request_id)
                .await?;
            return Err(LoginError::Ended(Ending::UserDisabled));
        }
        let session = registry_row(&self.new_session(&row, &user, now)?, watched, now);
        let sites = ticket.audience.clone().map(|audience| vec![audience]);
        let (pair, rows) = pair_of(&session, sites.as_deref(), now)?;
        if !self.store.ticket_redeem_for_tokens(id, now, &session, &rows).await? {
            return Err(LoginError::WrongState);
        }
        self.waiters.wake(id);
        for kind in [AuditKind::Login, AuditKind::TokenIssued] {
            self.audit(kind, &row, Some(&watched.half), request_id, Some(&user.id), None);
        }
        Ok(pair)
    }

    /// The refresh token with this text, if it is one that could be exchanged: also one that was used, so that its second
    /// use is noticed.
    ///
    /// # Errors
    /// [`LoginError::TokenRefused`] for anything else.
    pub async fn refresh_token(&self, text: &str) -> Result<TokenRow, LoginError> {
        let hash = TokenHash::of(text.as_bytes()).ok_or(LoginError::TokenRefused)?;
        let row = self.store.token_by_hash(hash.as_bytes()).await?;
        let now = self.clock.now();
        row.filter(|row| {
            row.kind == TokenKind::Refresh && row.revoked_at.is_none() && row.expires_at.is_none_or(|end| now < end)
        })
        .ok_or(LoginError::TokenRefused)
    }

    /// Exchanges a refresh token for a new pair, once. A second time ends the session: two hold the token, and nobody can
    /// say which of them should not (RFC 9700 §4.14.2).
    ///
    /// # Errors
    /// [`LoginError::TokenRefused`] when it was used before, or its session or user has ended; [`LoginError::TooMany`].
    pub async fn refresh(&self, token: &TokenRow, address: IpAddr, request_id: &str) -> Result<TokenPair, LoginError> {
        let now = self.clock.now();
        let session_id = token.session_id.as_deref().ok_or(LoginError::TokenRefused)?;
        // A used one ends the session, however often its holder asks.
        if token.used_at.is_none() {
            self.limits.refresh(session_id)?;
        }
        let session = self.store.session(session_id).await?.ok_or(LoginError::TokenRefused)?;
        let (pair, rows) = pair_of(&session, token.sites.as_deref(), now)?;
        match self.store.rotate_token(token, &rows, now).await? {
            Rotation::Done => Ok(pair),
            Rotation::Over => Err(LoginError::TokenRefused),
            Rotation::Reused => {
                warn!(
                    request_id,
                    token = token.id,
                    user = token.user_id,
                    "a refresh token came a second time: its session ends"
                );
                if self.store.end_session(session_id, REUSED, now).await? {
                    self.revocations_changed.notify_one();
                    self.metrics.sessions_ended(REUSED, 1);
                    self.auditor.record(AuditEvent {
                        request_id: Some(request_id.to_owned()),
                        user_id: Some(token.user_id.clone()),
                        connection: token.connection.clone(),
                        browser_address: Some(address.to_string()),
                        reason: Some(REUSED.to_owned()),
                        ..AuditEvent::new(AuditKind::SessionRevoked, now)
                    });
                }
                Err(LoginError::TokenRefused)
            }
        }
    }
}

/// Access and refresh token of a session, and the rows that stand for them.
fn pair_of(session: &SessionRow, sites: Option<&[String]>, now: i64) -> Result<(TokenPair, [TokenRow; 2]), LoginError> {
    let made = |_| LoginError::Seal("no randomness");
    let (access, refresh) = (new_token().map_err(made)?, new_token().map_err(made)?);
    let row = |kind, token: &SecretString, expires_at| -> Result<TokenRow, LoginError> {
        Ok(TokenRow {
            id: new_token_id().map_err(made)?,
            kind,
            hash: TokenHash::of_new(token).as_bytes().to_vec(),
            user_id: session.user_id.clone(),
            label: None,
            sites: sites.map(<[String]>::to_vec),
            connection: Some(session.connection.clone()),
            session_id: Some(session.id.clone()),
            auth_time: session.auth_time,
            created_at: now,
            expires_at: Some(expires_at),
            last_used_at: None,
            used_at: None,
            revoked_at: None,
        })
    };
    let access_ends = session.expires_at.min(now + ACCESS_LIFE);
    let rows = [
        row(TokenKind::Access, &access, access_ends)?,
        row(TokenKind::Refresh, &refresh, session.expires_at)?,
    ];
    let pair = TokenPair {
        access,
        refresh,
        expires_in: access_ends - now,
    };
    Ok((pair, rows))
}

/// RFC 7636 §4.2: 32 bytes in base64url without padding.
fn decode_challenge(text: &str) -> Option<[u8; 32]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

/// RFC 7636 §4.6.
fn s256(verifier: &str) -> [u8; 32] {
    let mut hash = [0_u8; 32];
    hash.copy_from_slice(digest(&SHA256, verifier.as_bytes()).as_ref());
    hash
}

const VERSION: u8 = 1;
/// Seconds.
const ACCESS_LIFE: i64 = 3_600;
/// Why a session ended whose refresh token came twice.
const REUSED: &str = "refresh_reused";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::fixtures::{NOW, session};

    /// The example of RFC 7636, appendix B.
    #[test]
    fn a_challenge_is_the_hash_of_its_verifier() {
        let challenge = decode_challenge("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM").unwrap();
        assert_eq!(challenge, s256("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"));
        for text in [
            "",
            "short",
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM=",
            &"A".repeat(44),
        ] {
            assert_eq!(decode_challenge(text), None, "{text}");
        }
    }

    #[test]
    fn a_pair_ends_with_its_session_at_the_latest() {
        for (session_end, access_life) in [(NOW + 86_400, 3_600), (NOW + 600, 600)] {
            let mut session = session("s1", "u_1");
            session.expires_at = session_end;
            let (pair, [access, refresh]) = pair_of(&session, None, NOW).unwrap();
            assert_eq!(pair.expires_in, access_life);
            assert_eq!(access.expires_at, Some(NOW + access_life));
            assert_eq!(refresh.expires_at, Some(session_end));
            assert_eq!((access.kind, refresh.kind), (TokenKind::Access, TokenKind::Refresh));
            assert_ne!(access.hash, refresh.hash);
            assert_eq!(access.session_id.as_deref(), Some("s1"));
        }
    }
}
