#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use secrecy::{ExposeSecret, SecretString};

use super::*;
use crate::session::bearer::new_token;
use crate::session::revocation::Revoked;
use crate::store::fixtures::{self, NOW, TestStore, session};

struct Fixture {
    store: TestStore,
    tokens: Tokens,
    clock: Clock,
    revocations: Arc<Revocations>,
}

async fn fixture() -> Fixture {
    let store = fixtures::store().await;
    fixtures::user(&store, "u_1").await;
    let clock = Clock::default();
    clock.advance(NOW - clock.now());
    let revocations = Arc::<Revocations>::default();
    Fixture {
        tokens: Tokens::new((*store).clone(), clock.clone(), Arc::clone(&revocations)),
        store,
        clock,
        revocations,
    }
}

impl Fixture {
    /// A token in the store, changed from one that an operator handed out.
    async fn issue(&self, id: &str, change: impl FnOnce(&mut TokenRow)) -> SecretString {
        let token = new_token().unwrap();
        let mut row = TokenRow {
            id: id.to_owned(),
            kind: TokenKind::Api,
            hash: TokenHash::of_new(&token).as_bytes().to_vec(),
            user_id: "u_1".to_owned(),
            label: None,
            sites: None,
            connection: None,
            session_id: None,
            auth_time: NOW,
            created_at: NOW,
            expires_at: Some(NOW + 1000),
            last_used_at: None,
            used_at: None,
            revoked_at: None,
        };
        change(&mut row);
        assert!(self.store.issue_token(&row).await.unwrap());
        token
    }

    /// Both steps, as a request takes them.
    async fn find(&self, token: &SecretString) -> Option<Arc<CachedSession>> {
        match self.tokens.recall(token.expose_secret().as_bytes()).await {
            Recalled::Live(found) => Some(found),
            Recalled::Malformed | Recalled::Refused => None,
            Recalled::Outdated(hash) | Recalled::Nothing(hash) => match self.tokens.look_up(hash).await {
                LookedUp::Live(found) => Some(found),
                LookedUp::Refused => None,
                LookedUp::Unverifiable => panic!("the store answers"),
            },
        }
    }

    async fn recall(&self, token: &SecretString) -> Recalled {
        self.tokens.recall(token.expose_secret().as_bytes()).await
    }
}

#[tokio::test]
async fn a_token_is_looked_up_once_and_stands_for_its_user() {
    let fixture = fixture().await;
    let sites = |row: &mut TokenRow| row.sites = Some(vec!["wiki.test".to_owned()]);
    let token = fixture.issue("t_1", sites).await;
    assert!(matches!(fixture.recall(&token).await, Recalled::Nothing(_)));
    let found = fixture.find(&token).await.unwrap();
    assert_eq!(found.session.person.id, "u_1");
    assert_eq!(found.session.authentication.method.as_str(), "token");
    let bearer = found.bearer.as_ref().unwrap();
    assert_eq!(bearer.sites.as_deref(), Some(&["wiki.test".to_owned()][..]));
    // No store is asked any more: it may be gone.
    fixture.store.close().await;
    let Recalled::Live(again) = fixture.recall(&token).await else {
        panic!("forgotten")
    };
    assert!(Arc::ptr_eq(&found, &again));
}

#[tokio::test]
async fn while_the_store_is_away_only_what_is_in_memory_holds() {
    let fixture = fixture().await;
    let known = fixture.issue("t_1", |_| {}).await;
    let unknown = fixture.issue("t_2", |_| {}).await;
    assert!(fixture.find(&known).await.is_some());
    fixture.store.close().await;
    assert!(matches!(fixture.recall(&known).await, Recalled::Live(_)));
    let Recalled::Nothing(hash) = fixture.recall(&unknown).await else {
        panic!("known")
    };
    assert!(matches!(fixture.tokens.look_up(hash).await, LookedUp::Unverifiable));
    // And that is no refusal to be remembered.
    assert!(matches!(fixture.recall(&unknown).await, Recalled::Nothing(_)));
}

#[tokio::test]
async fn what_is_no_credential_is_refused_and_that_is_remembered() {
    let fixture = fixture().await;
    let store = &fixture.store;
    fixtures::user(store, "u_2").await;
    store.insert_session(&session("ended", "u_1")).await.unwrap();
    assert!(store.end_session("ended", "logout", NOW).await.unwrap());
    let of_ended = |row: &mut TokenRow| {
        row.kind = TokenKind::Access;
        row.session_id = Some("ended".to_owned());
    };
    let cases = [
        ("expired", fixture.issue("t_1", |row| row.expires_at = Some(NOW)).await),
        ("revoked", fixture.issue("t_2", |row| row.revoked_at = Some(NOW)).await),
        (
            "refresh",
            fixture.issue("t_3", |row| row.kind = TokenKind::Refresh).await,
        ),
        ("of an ended session", fixture.issue("t_4", of_ended).await),
        (
            "of a disabled user",
            fixture.issue("t_5", |row| row.user_id = "u_2".to_owned()).await,
        ),
        ("unknown", new_token().unwrap()),
    ];
    assert!(store.set_disabled("u_2", true, "left", NOW).await.unwrap());
    for (name, token) in &cases {
        assert!(fixture.find(token).await.is_none(), "{name}");
        assert!(matches!(fixture.recall(token).await, Recalled::Refused), "{name}");
    }
    assert!(matches!(fixture.tokens.recall(b"mst_abc").await, Recalled::Malformed));
}

#[tokio::test]
async fn a_token_in_memory_ends_on_time_and_when_it_is_revoked() {
    let fixture = fixture().await;
    let (short, long) = (fixture.issue("t_1", |_| {}).await, fixture.issue("t_2", |_| {}).await);
    assert!(fixture.find(&short).await.is_some() && fixture.find(&long).await.is_some());
    let subject = SessionId::parse(&token_subject("t_1")).unwrap();
    fixture.revocations.add(Revoked::Session(subject), NOW + 5000);
    assert!(fixture.find(&short).await.is_none());
    assert!(fixture.find(&long).await.is_some());
    fixture.clock.advance(1000);
    assert!(fixture.find(&long).await.is_none());
}

#[tokio::test]
async fn the_end_of_all_sessions_ends_tokens_of_logins_and_has_others_read_anew() {
    let fixture = fixture().await;
    let id = SessionId::random().unwrap().to_text();
    fixture.store.insert_session(&session(&id, "u_1")).await.unwrap();
    let of_login = |row: &mut TokenRow| {
        row.kind = TokenKind::Access;
        row.session_id = Some(id.clone());
    };
    let (access, api) = (fixture.issue("t_1", of_login).await, fixture.issue("t_2", |_| {}).await);
    let (held, kept) = (fixture.find(&access).await.unwrap(), fixture.find(&api).await.unwrap());
    assert_eq!(
        held.session.id.to_text(),
        id,
        "applications see one session for all its tokens"
    );
    fixture.store.end_sessions_of("u_1", "everywhere", NOW).await.unwrap();
    let everywhere = Revoked::SessionsOf {
        user: "u_1".to_owned(),
        until: NOW,
    };
    fixture.revocations.add(everywhere, NOW + 5000);
    assert!(held.is_over(&fixture.revocations) && kept.is_over(&fixture.revocations));
    assert!(fixture.find(&access).await.is_none());
    assert!(matches!(fixture.recall(&api).await, Recalled::Outdated(_)));
    // It is read again as long as clocks may differ, and what goes on by that reading is not ended by what was known.
    for _ in 0..2 {
        let read = fixture.find(&api).await.unwrap();
        assert!(!read.is_over(&fixture.revocations));
        assert!(matches!(fixture.recall(&api).await, Recalled::Outdated(_)));
    }
    fixture.clock.advance(7);
    let read = fixture.find(&api).await.unwrap();
    let again = Revoked::SessionsOf {
        user: "u_1".to_owned(),
        until: NOW + 100,
    };
    assert!(matches!(fixture.recall(&api).await, Recalled::Live(_)));
    fixture.revocations.add(again, NOW + 5000);
    assert!(read.is_over(&fixture.revocations));
}

#[tokio::test]
async fn many_at_once_ask_the_store_once() {
    let fixture = fixture().await;
    let token = fixture.issue("t_1", |_| {}).await;
    let hash = TokenHash::of_new(&token);
    let asked = futures_util::future::join_all((0..20).map(|_| fixture.tokens.look_up(hash))).await;
    let first = fixture.find(&token).await.unwrap();
    for looked_up in asked {
        let LookedUp::Live(found) = looked_up else {
            panic!("refused")
        };
        assert!(Arc::ptr_eq(&found, &first));
    }
}

#[tokio::test]
async fn uses_are_written_now_and_then_and_never_by_a_request() {
    let fixture = fixture().await;
    let token = fixture.issue("t_1", |_| {}).await;
    let last = async || {
        let row = fixture.store.token_by_hash(TokenHash::of_new(&token).as_bytes()).await;
        row.unwrap().unwrap().last_used_at
    };
    for (advance, noted) in [(0, 0), (200, 0), (150, 350)] {
        fixture.clock.advance(advance);
        let before = last().await;
        assert!(fixture.find(&token).await.is_some());
        assert_eq!(last().await, before, "a request wrote");
        fixture.tokens.flush().await;
        // The clock goes on by itself.
        let off = last().await.unwrap() - NOW - noted;
        assert!((0..30).contains(&off), "{advance}: {off}");
    }
}
