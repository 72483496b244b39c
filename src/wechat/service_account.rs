//! A service account (服务号): codes that say which login they are for, and whether a person follows it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::Quota;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::wechat::access_token::AccessTokens;
use crate::wechat::answer::{bad, read_json};
use crate::wechat::call_budget::CallBudget;
use crate::wechat::endpoint::Endpoint;
use crate::wechat::error::{BadAnswer, Refusal, WechatError};
use crate::wechat::mini_program::is_id;
use crate::wechat::transport::{Call, Transport};

/// A service account. Clones share the access token, the pauses and what is left of the day's calls.
#[derive(Clone)]
pub struct ServiceAccount {
    app: Arc<App>,
}

struct App {
    transport: Arc<Transport>,
    tokens: AccessTokens,
    codes: CallBudget,
    followers: CallBudget,
}

/// What WeChat says about a person and the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follower {
    /// They follow it.
    Yes {
        /// The person within the Open Platform account, where the account is bound to one.
        unionid: Option<String>,
    },
    /// They do not, and then WeChat says nothing else.
    No,
}

/// The request of qrcode/create.
#[derive(Serialize)]
struct CodeRequest<'a> {
    expire_seconds: u64,
    action_name: &'static str,
    action_info: ActionInfo<'a>,
}

#[derive(Serialize)]
struct ActionInfo<'a> {
    scene: SceneText<'a>,
}

#[derive(Serialize)]
struct SceneText<'a> {
    scene_str: &'a str,
}

/// The answer, of which the ticket for WeChat's own picture is not read.
#[derive(Deserialize)]
struct CodeAnswer {
    url: String,
}

/// The answer of user/info, as far as it is needed.
#[derive(Deserialize)]
struct FollowerAnswer {
    subscribe: i64,
    openid: Option<String>,
    unionid: Option<String>,
}

impl ServiceAccount {
    /// For one AppID. Calls nothing yet.
    pub fn new(transport: Arc<Transport>, app_id: impl Into<Box<str>>, app_secret: SecretString) -> Self {
        let codes = CallBudget::new(
            Endpoint::AccountCode,
            quota(CODE_EVERY).allow_burst(CODE_BURST),
            transport.clock(),
        );
        let followers = CallBudget::new(
            Endpoint::Follower,
            quota(FOLLOWER_EVERY).allow_burst(FOLLOWER_BURST),
            transport.clock(),
        );
        let tokens = AccessTokens::new(Arc::clone(&transport), app_id, app_secret);
        Self {
            app: Arc::new(App {
                transport,
                tokens,
                codes,
                followers,
            }),
        }
    }

    /// Whether both share token and pauses.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.app, &other.app)
    }

    /// AppID of the account.
    pub fn app_id(&self) -> &str {
        self.app.tokens.app_id()
    }

    /// The calls that rest now because WeChat refuses this installation, each with the answer that began it.
    pub fn resting(&self) -> Vec<Refusal> {
        self.app.tokens.breaker().resting()
    }

    /// The text of a code that whoever scans it sends `scene` with, for so many seconds.
    ///
    /// # Errors
    ///
    /// [`WechatError::RateLimited`] when more were asked for than the account has, or anything that kept WeChat from
    /// answering.
    pub async fn scene_code(&self, scene: &str, expire_seconds: u64) -> Result<String, WechatError> {
        let endpoint = Endpoint::AccountCode;
        let App {
            transport,
            tokens,
            codes,
            ..
        } = &*self.app;
        tokens.breaker().admit(endpoint)?;
        codes.take()?;
        let deadline = transport.deadline();
        let request = CodeRequest {
            // Without it a code lives for a minute, or half of one.
            expire_seconds: expire_seconds.clamp(1, LONGEST_LIFE),
            action_name: "QR_STR_SCENE",
            action_info: ActionInfo {
                scene: SceneText { scene_str: scene },
            },
        };
        let answer = tokens
            .call(&deadline, async |token| {
                let query = [("access_token", token.expose())];
                let call = Call::post(endpoint, &query, &request)?;
                let result = transport
                    .call_patiently(&call, &deadline, read_json::<CodeAnswer>)
                    .await;
                tokens.breaker().record(endpoint, result)
            })
            .await?;
        let fits = (1..=LONGEST_URL).contains(&answer.url.len()) && answer.url.bytes().all(|b| b.is_ascii_graphic());
        if fits {
            Ok(answer.url)
        } else {
            Err(bad(endpoint, BadAnswer::Lacks("url")))
        }
    }

    /// Whether a person follows the account, and who they are for the other apps of its Open Platform account.
    ///
    /// # Errors
    ///
    /// Anything that kept WeChat from answering.
    pub async fn follower(&self, openid: &str) -> Result<Follower, WechatError> {
        let endpoint = Endpoint::Follower;
        let App {
            transport,
            tokens,
            followers,
            ..
        } = &*self.app;
        tokens.breaker().admit(endpoint)?;
        followers.take()?;
        let deadline = transport.deadline();
        let answer = tokens
            .call(&deadline, async |token| {
                let query = [("access_token", token.expose()), ("openid", openid), ("lang", "zh_CN")];
                let call = Call::get(endpoint, &query);
                let result = transport
                    .call_patiently(&call, &deadline, read_json::<FollowerAnswer>)
                    .await;
                tokens.breaker().record(endpoint, result)
            })
            .await?;
        if answer.openid.is_some_and(|answered| answered != openid) {
            return Err(bad(endpoint, BadAnswer::Lacks("openid")));
        }
        if answer.subscribe == 0 {
            return Ok(Follower::No);
        }
        let unionid = answer.unionid.filter(|unionid| !unionid.is_empty());
        if unionid.as_deref().is_some_and(|unionid| !is_id(unionid)) {
            return Err(bad(endpoint, BadAnswer::Lacks("unionid")));
        }
        Ok(Follower::Yes { unionid })
    }
}

impl std::fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceAccount")
            .field("app_id", &self.app.tokens.app_id())
            .finish_non_exhaustive()
    }
}

/// One call in this time, for ever.
fn quota(every: Duration) -> Quota {
    Quota::with_period(every).unwrap_or(Quota::per_second(NonZeroU32::MIN))
}

/// 90,000 codes a day of the 100,000 that an account has: whoever makes pages that nobody looks at leaves a code every
/// second to those who want one.
const CODE_EVERY: Duration = Duration::from_millis(960);
/// As many people come at once when work begins.
const CODE_BURST: NonZeroU32 = NonZeroU32::new(300).unwrap();
/// 4,500,000 a day of 5,000,000.
const FOLLOWER_EVERY: Duration = Duration::from_micros(19_200);
const FOLLOWER_BURST: NonZeroU32 = NonZeroU32::new(1_000).unwrap();
/// Thirty days.
const LONGEST_LIFE: u64 = 2_592_000;

/// Characters; what is longer makes a code that no phone reads off a screen.
const LONGEST_URL: usize = 512;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use serde_json::json;

    use super::*;
    use crate::wechat::clock::ManualClock;
    use crate::wechat::error::Outcome;
    use crate::wechat::fake::{APP_ID, APP_SECRET, FakeWechat, Reply, error, token};

    fn account(fake: &FakeWechat) -> ServiceAccount {
        let transport = fake.transport(ManualClock::at(1_790_000_000));
        ServiceAccount::new(transport, APP_ID, SecretString::from(APP_SECRET))
    }

    #[tokio::test]
    async fn a_code_is_asked_for_with_its_scene_and_its_life_and_drawn_from_its_url() {
        let fake = FakeWechat::start().await;
        fake.on(Endpoint::AccountCode, |_, _| {
            Reply::Json(json!({"ticket": "gQH+/w==", "expire_seconds": 90, "url": "http://weixin.qq.com/q/02x"}))
        });
        let url = account(&fake).scene_code("AWjN3mEq4nYB2Qk7v0cTzXr5sLwP9aGd", 90).await;
        assert_eq!(url.unwrap(), "http://weixin.qq.com/q/02x");
        let asked = fake.asked(Endpoint::AccountCode).remove(0);
        assert_eq!(asked.token(), "token-1");
        let expected = json!({
            "expire_seconds": 90,
            "action_name": "QR_STR_SCENE",
            "action_info": { "scene": { "scene_str": "AWjN3mEq4nYB2Qk7v0cTzXr5sLwP9aGd" } },
        });
        assert_eq!((asked.method.as_str(), asked.json()), ("POST", expected));
    }

    #[tokio::test]
    async fn the_codes_of_a_day_cannot_be_used_up_in_an_hour() {
        let (fake, clock) = (FakeWechat::start().await, ManualClock::at(1_790_000_000));
        fake.on(Endpoint::AccountCode, |_, _| {
            Reply::Json(json!({"url": "http://weixin.qq.com/q/02x"}))
        });
        let account = ServiceAccount::new(fake.transport(clock.clone()), APP_ID, SecretString::from(APP_SECRET));
        for _ in 0..CODE_BURST.get() {
            account.scene_code("s", 60).await.unwrap();
        }
        for _ in 0..10 {
            let refused = account.scene_code("s", 60).await.unwrap_err();
            let WechatError::RateLimited { endpoint, retry_after } = refused else {
                panic!("{refused}")
            };
            assert_eq!(endpoint, Endpoint::AccountCode);
            assert!(retry_after <= CODE_EVERY, "{retry_after:?}");
            clock.advance(retry_after);
            account.scene_code("s", 60).await.unwrap();
        }
        assert_eq!(fake.asked(Endpoint::AccountCode).len(), 310);
        let day = Duration::from_secs(86_400).as_millis() / CODE_EVERY.as_millis();
        assert_eq!(day, 90_000);
    }

    #[tokio::test]
    async fn who_follows_is_not_asked_for_without_end() {
        let fake = FakeWechat::start().await;
        fake.on(Endpoint::Follower, |_, _| {
            Reply::Json(json!({"subscribe": 0, "openid": "o1"}))
        });
        let account = account(&fake);
        for _ in 0..FOLLOWER_BURST.get() {
            account.app.followers.take().unwrap();
        }
        let refused = account.follower("o1").await.unwrap_err();
        assert!(matches!(
            refused,
            WechatError::RateLimited {
                endpoint: Endpoint::Follower,
                ..
            }
        ));
        assert_eq!(fake.asked(Endpoint::Follower).len(), 0);
    }

    #[tokio::test]
    async fn a_refused_token_is_fetched_again_once() {
        let fake = FakeWechat::start().await;
        fake.on(Endpoint::StableToken, |_, nth| {
            token(["token-1", "token-2"][nth.min(1)], 7200)
        });
        fake.on(Endpoint::AccountCode, |asked, _| {
            if asked.token() == "token-2" {
                Reply::Json(json!({"url": "http://weixin.qq.com/q/02x"}))
            } else {
                error(40001)
            }
        });
        assert!(account(&fake).scene_code("s", 60).await.is_ok());
        assert_eq!(fake.asked(Endpoint::AccountCode).len(), 2);
    }

    #[tokio::test]
    async fn an_account_without_the_permission_is_asked_once_a_minute() {
        let fake = FakeWechat::start().await;
        fake.on(Endpoint::AccountCode, |_, _| error(48001));
        let account = account(&fake);
        for _ in 0..3 {
            let refused = account.scene_code("s", 60).await.unwrap_err();
            assert_eq!(refused.outcome(), Outcome::Misconfigured);
            assert!(refused.remedy().contains("service account"), "{}", refused.remedy());
        }
        assert_eq!(fake.asked(Endpoint::AccountCode).len(), 1);
    }

    #[tokio::test]
    async fn a_url_that_no_code_can_hold_is_no_answer() {
        for url in ["", "http://weixin.qq.com/q/a b", &"x".repeat(600)] {
            let (fake, url) = (FakeWechat::start().await, url.to_owned());
            fake.on(Endpoint::AccountCode, move |_, _| Reply::Json(json!({"url": url})));
            assert!(matches!(
                account(&fake).scene_code("s", 60).await,
                Err(WechatError::BadAnswer { .. })
            ));
        }
    }

    #[tokio::test]
    async fn a_follower_has_a_unionid_where_the_account_is_bound_and_nobody_else_has() {
        let cases = [
            (
                json!({"subscribe": 1, "openid": "o1", "unionid": "u1"}),
                Some(Follower::Yes {
                    unionid: Some("u1".to_owned()),
                }),
            ),
            (
                json!({"subscribe": 1, "openid": "o1"}),
                Some(Follower::Yes { unionid: None }),
            ),
            (
                json!({"subscribe": 1, "openid": "o1", "unionid": ""}),
                Some(Follower::Yes { unionid: None }),
            ),
            (json!({"subscribe": 0, "openid": "o1"}), Some(Follower::No)),
            (json!({"subscribe": 1, "openid": "o2", "unionid": "u2"}), None),
            (json!({"subscribe": 1, "openid": "o1", "unionid": "u 1"}), None),
            (json!({"openid": "o1"}), None),
        ];
        for (answer, expected) in cases {
            let fake = FakeWechat::start().await;
            let told = answer.clone();
            fake.on(Endpoint::Follower, move |_, _| Reply::Json(told.clone()));
            let follower = account(&fake).follower("o1").await;
            assert_eq!(follower.ok(), expected, "{answer}");
            let asked = fake.asked(Endpoint::Follower).remove(0);
            assert_eq!((asked.method.as_str(), &*asked.query["openid"]), ("GET", "o1"));
        }
    }
}
