//! Who scans a service account's code, told by a message of WeChat's (`official-account-qr`).
//!
//! The message takes the place of the mini program's first call: it says which person scanned which code. What follows is
//! the same ticket with the same rules; the person gets its handle in a link, and confirms on the page that it opens.
//!
//! WeChat sends a message up to three times, to whichever node answers. So the handle is derived from the message: every
//! repetition gives the same answer, and a mark that is made before anything else tells a repetition that came late from
//! the same person scanning again.
//!
//! The message names the person by the account's openid. Who that is for the other connections of the Open Platform account
//! is asked for, and a person whom nothing else identifies is not let in as a new one while that cannot be told: there
//! would be two accounts, and nobody could say later which of them is theirs.

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::info;

use crate::accounts::{Recognised, WechatIdentity};
use crate::config::settings::Connection;
use crate::login::Login;
use crate::login::account_codes::AccountCodes;
use crate::login::browser_half::BrowserFacts;
use crate::login::error::LoginError;
use crate::login::phone::{PhoneLabel, handle_hash, hopeless, user_of};
use crate::login::scene::Scene;
use crate::store::{OnceMark, Ticket, TicketState};
use crate::telemetry::audit::{AuditEvent, AuditKind};
use crate::wechat::{Follower, OfficialAccount, PushDoor, RelaySeal, ServiceAccount};

/// The account behind an `official-account-qr` connection.
#[derive(Debug)]
pub struct OfficialAccountDesk {
    /// What is asked of WeChat.
    pub wechat: ServiceAccount,
    /// Where its messages come in.
    pub door: PushDoor,
    /// How they go on to a program that has keys of its own.
    pub relay: Option<RelaySeal>,
    /// What the page shows.
    pub codes: AccountCodes,
    /// The account in WeChat's own browser, where it says who opens a link; absent where nobody is asked.
    pub web: Option<OfficialAccount>,
}

/// A scan, as WeChat's message tells it.
#[derive(Debug, Clone, Copy)]
pub struct MessageScan<'a> {
    /// The person at this account.
    pub openid: &'a str,
    /// When WeChat saw it, in Unix seconds.
    pub created_at: i64,
    /// They follow the account since.
    pub new_follower: bool,
}

/// What came under a plain signature.
#[derive(Debug, Clone, Copy)]
pub enum UnderSignature<'a> {
    /// WeChat asks if somebody is there.
    Question,
    /// A message with this body.
    Message(&'a [u8]),
}

/// What the person is asked in answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// For the link, and nobody else.
    pub handle: String,
    /// What they would sign in to, as far as the browser has said so.
    pub browser: Option<BrowserFacts>,
    /// WeChat sent this very message before.
    pub repeated: bool,
}

impl Login {
    /// The scene of a message, if it is one of this connection.
    pub fn own_scene(&self, connection: &Connection, text: &str) -> Option<Scene> {
        let scene = self.scenes.check(text).ok()?;
        scene.is_of(&connection.id).then_some(scene)
    }

    /// A person has scanned: the ticket is theirs, or why it is not. The same message again changes nothing.
    ///
    /// # Errors
    /// [`LoginError::Taken`] for the second person, what the ticket has come to, and those of the store.
    pub async fn scan_by_message(
        &self,
        connection: &Connection,
        scene: &Scene,
        scan: MessageScan<'_>,
        request_id: &str,
    ) -> Result<Asked, LoginError> {
        self.limits.person_call(scan.openid)?;
        let deadline = Instant::now() + BROWSER_WAITS;
        let message = message_id(connection, scan, scene.as_str());
        let handle = self.scenes.handle(scene, &message).map_err(|_| LoginError::Unknown)?;
        let first = self.first_time(&message).await?;
        let before = self.store.ticket(scene.as_str()).await?;
        let is_theirs = |row: &Ticket| row.openid == scan.openid && row.app_id == connection.app_id;
        if let Some(row) = &before
            && (row.handle_hash == handle_hash(&handle) || (!first && is_theirs(row)))
        {
            return Ok(Asked {
                handle,
                browser: facts(row),
                repeated: true,
            });
        }
        self.refuse_unless_open(scene, before.as_ref())?;
        if before.as_ref().is_some_and(|row| !is_theirs(row)) {
            return Err(LoginError::Taken);
        }

        // Subscribed before the row exists: the browser's answer to it cannot be missed.
        let mut waiter = self.waiters.subscribe(scene.as_str());
        let identity = WechatIdentity {
            app_id: connection.app_id.clone(),
            openid: scan.openid.to_owned(),
            unionid: before.and_then(|row| row.unionid),
            open_platform: connection.open_platform.clone(),
        };
        let nobody = PhoneLabel::default();
        self.hold(scene, connection, &identity, &handle, None, nobody).await?;
        self.waiters.wake(scene.as_str());
        let row = self.store.ticket(scene.as_str()).await?.ok_or(LoginError::Unknown)?;
        // The page shows the number meanwhile; what is not known in time is asked for again before anything is decided.
        let mut row = match timeout(WECHAT_WAITS, self.learn_unionid(connection, row.clone())).await {
            Ok(Ok(learnt)) => learnt,
            Ok(Err(_)) | Err(_) => row,
        };
        let recognised = self.recognise(&row).await?;
        let user = user_of(&recognised).map(|user| &*user.id);
        self.audit(AuditKind::Scan, &row, None, request_id, user, None);
        if let Some(ending) = hopeless(&recognised) {
            self.fail_scan(scene, connection, Some(&row), ending, request_id)
                .await?;
            return Err(LoginError::Ended(ending));
        }
        while row.browser.is_none() && row.state == TicketState::Scanned {
            if timeout_at(deadline, waiter.changed()).await.is_err() {
                break;
            }
            row = self.store.ticket(scene.as_str()).await?.ok_or(LoginError::Unknown)?;
        }
        self.refuse_what_was_asked(connection, &row, &recognised, request_id)
            .await?;
        Ok(Asked {
            handle,
            browser: facts(&row),
            repeated: false,
        })
    }

    /// Somebody does not follow the account any more. Their sessions go on: to follow is how they came, not what they may.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn note_unsubscribe(
        &self,
        connection: &Connection,
        scan: MessageScan<'_>,
        request_id: &str,
    ) -> Result<(), LoginError> {
        if !self.first_time(&message_id(connection, scan, "")).await? {
            return Ok(());
        }
        let identity = WechatIdentity {
            app_id: connection.app_id.clone(),
            openid: scan.openid.to_owned(),
            unionid: None,
            open_platform: connection.open_platform.clone(),
        };
        let recognised = self.directory.recognise(&identity).await?;
        self.auditor.record(AuditEvent {
            request_id: Some(request_id.to_owned()),
            user_id: user_of(&recognised).map(|user| user.id.clone()),
            connection: Some(connection.id.clone()),
            ..AuditEvent::new(AuditKind::Unsubscribe, self.clock.now())
        });
        Ok(())
    }

    /// Whether something that came under a plain signature may count. The signature covers a time and a number, not what
    /// is said: it is good for the first thing that comes with it, and for repetitions of that. It is remembered by
    /// itself, because its parts have no limits: the end of one may be taken for the beginning of the next.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn admit_plain(
        &self,
        connection: &Connection,
        signature: &str,
        under_it: UnderSignature<'_>,
    ) -> Result<bool, LoginError> {
        let id = digest_of(&[b"plain", connection.id.as_bytes(), signature.as_bytes()]);
        let by = match under_it {
            UnderSignature::Question => digest_of(&[b"question"]),
            UnderSignature::Message(body) => digest_of(&[b"body", body]),
        };
        Ok(self.mark(&id, &by).await? || self.store.marked(&id, &by).await?.is_some())
    }

    /// The row with the unionid of who scanned, where that can tell who they are.
    ///
    /// # Errors
    /// When it cannot be had, and the person is nobody that is known otherwise.
    pub(super) async fn learn_unionid(&self, connection: &Connection, mut row: Ticket) -> Result<Ticket, LoginError> {
        let Some(account) = self.accounts.get(&connection.id) else {
            return Ok(row);
        };
        if connection.open_platform.is_none() || row.unionid.is_some() {
            return Ok(row);
        }
        let refused = match account.wechat.follower(&row.openid).await {
            Ok(Follower::Yes { unionid: Some(unionid) }) => {
                self.store.ticket_set_unionid(&row.id, &row.openid, &unionid).await?;
                row.unionid = Some(unionid);
                return Ok(row);
            }
            Ok(Follower::Yes { unionid: None }) => {
                info!(
                    connection = connection.id,
                    "WeChat tells no unionid: the account is not bound to an Open Platform account"
                );
                return Ok(row);
            }
            Ok(Follower::No) => LoginError::NotFollowing,
            Err(error) => LoginError::wechat(&connection.id, error),
        };
        if self.recognise(&row).await? == Recognised::Stranger {
            return Err(refused);
        }
        Ok(row)
    }

    async fn first_time(&self, message: &[u8]) -> Result<bool, LoginError> {
        self.mark(message, message).await
    }

    async fn mark(&self, id: &[u8], by: &[u8]) -> Result<bool, LoginError> {
        let now = self.clock.now();
        let mark = OnceMark {
            id,
            by,
            now,
            until: now + REMEMBERED,
        };
        Ok(self.store.mark_once(&mark).await?)
    }
}

/// What WeChat itself tells messages apart by.
fn message_id(connection: &Connection, scan: MessageScan<'_>, scene: &str) -> Vec<u8> {
    let event: &[u8] = match (scan.new_follower, scene) {
        (_, "") => b"unsubscribe",
        (true, _) => b"subscribe",
        (false, _) => b"scan",
    };
    digest_of(&[
        event,
        connection.app_id.as_bytes(),
        scan.openid.as_bytes(),
        &scan.created_at.to_be_bytes(),
        scene.as_bytes(),
    ])
}

/// Of the parts with their lengths, so that two of them cannot run together into two others.
fn digest_of(parts: &[&[u8]]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref().to_vec()
}

fn facts(row: &Ticket) -> Option<BrowserFacts> {
    serde_json::from_str(row.browser.as_deref()?).ok()
}

/// So long the answer waits for what the browser is signing in to.
const BROWSER_WAITS: Duration = Duration::from_secs(2);
/// So long it waits for WeChat to tell who somebody is.
const WECHAT_WAITS: Duration = Duration::from_millis(1_500);
/// Seconds: longer than a signature counts on either side of now, so that none can be used twice.
const REMEMBERED: i64 = 2 * crate::wechat::PUSH_WINDOW + 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_digest_do_not_run_together() {
        assert_ne!(digest_of(&[b"ab", b"c"]), digest_of(&[b"a", b"bc"]));
        assert_ne!(digest_of(&[b"ab"]), digest_of(&[b"ab", b""]));
        assert_eq!(digest_of(&[b"ab", b"c"]), digest_of(&[b"ab", b"c"]));
    }
}
