#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use futures_util::future::join_all;

use super::super::resolve::{Findings, Link, Refusal};
use super::*;
use crate::config::settings::PhonePolicy;
use crate::store::fixtures::{self, NOW, TestStore, scan};
use crate::store::{Binding, IdentityRow, NewTicket, NewUser, Store, TicketState};

const ID: &str = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const PHONE: &str = "+8613800138000";
const PASSWORD: &str = "correct horse";
const CODE: &str = "K7QM-2XPD-9R4T-HW60";

struct Fixture {
    store: TestStore,
    directory: Directory,
    identity: WechatIdentity,
    policy: Policy,
}

impl Fixture {
    /// A person in front of a browser that asks, and an account `wang` with a password and a bind code.
    async fn new() -> Self {
        Self::with(Policy {
            association: Association::Ask { methods: Vec::new() },
            login_only: false,
            phone: PhonePolicy::Optional,
        })
        .await
    }

    async fn with(policy: Policy) -> Self {
        let store = fixtures::store().await;
        let fixture = Self {
            directory: Directory::new(Store::clone(&store)),
            store,
            identity: WechatIdentity {
                app_id: "wx1".to_owned(),
                openid: "o1".to_owned(),
                unionid: Some("un1".to_owned()),
                open_platform: Some("corp".to_owned()),
            },
            policy,
        };
        fixture.ticket(ID, Some(PHONE)).await;
        fixture.account("u_wang", "Wang", None).await;
        fixtures::password(&fixture.store, "u_wang", &proof::hash(PASSWORD).await.unwrap()).await;
        fixture.code("code", "u_wang").await;
        fixture
    }

    async fn ticket(&self, id: &str, phone: Option<&str>) {
        self.ticket_at(id, phone, NOW).await;
    }

    async fn ticket_at(&self, id: &str, phone: Option<&str>, now: i64) {
        let scan = NewTicket {
            expires_at: now + 120,
            ..scan(id, "o1")
        };
        assert!(self.store.ticket_scan(&scan).await.unwrap());
        assert!(self.store.ticket_set_browser(id, "{}").await.unwrap());
        assert!(
            self.store
                .ticket_lease(id, &scan.handle_hash, "lease", now + 15, now)
                .await
                .unwrap()
        );
        let binding = Binding {
            choice: Some(47),
            phone,
            user_id: None,
            now,
            expires_at: now + 600,
        };
        assert!(self.store.ticket_bind(id, "lease", &binding).await.unwrap());
    }

    async fn account(&self, id: &str, username: &str, phone: Option<&str>) {
        let new = NewUser {
            id: id.to_owned(),
            username: Some(username.to_owned()),
            phone: phone.map(str::to_owned),
            email: Some(format!("{username}@example.com")),
            created_at: NOW,
            ..NewUser::default()
        };
        self.store.insert_user(&new).await.unwrap();
    }

    async fn code(&self, id: &str, user_id: &str) {
        let hash = proof::hash(&proof::normalise_bind_code(CODE)).await.unwrap();
        fixtures::bind_code(&self.store, id, user_id, &hash, NOW).await;
    }

    async fn identity_of(&self, user_id: &str, app_id: &str, openid: &str, unionid: Option<&str>) {
        let mut tx = self.store.directory().await.unwrap();
        tx.insert_identity(&IdentityRow {
            app_id: app_id.to_owned(),
            openid: openid.to_owned(),
            open_platform: unionid.map(|_| "corp".to_owned()),
            unionid: unionid.map(str::to_owned),
            user_id: user_id.to_owned(),
            created_at: NOW,
        })
        .await
        .unwrap();
        tx.commit().await.unwrap();
    }

    fn choosing<'a>(&'a self, ticket: &'a str, now: i64) -> Choosing<'a> {
        Choosing {
            ticket,
            identity: &self.identity,
            policy: &self.policy,
            now,
        }
    }

    async fn claim(&self, method: BindMethod, login: &str, proof: &str) -> Result<User, BindError> {
        self.claim_at(ID, NOW + 1, method, login, proof).await
    }

    async fn claim_at(
        &self,
        ticket: &str,
        now: i64,
        method: BindMethod,
        login: &str,
        proof: &str,
    ) -> Result<User, BindError> {
        let claim = Claim { method, login, proof };
        self.directory.claim(&self.choosing(ticket, now), claim).await
    }

    async fn accept(&self, user_id: &str) -> Result<Resolved, BindError> {
        let handle = scan(ID, "o1").handle_hash;
        assert!(self.store.ticket_mark_shown(ID, &handle, Some(user_id)).await.unwrap());
        self.directory
            .accept(&self.choosing(ID, NOW + 2), user_id, &handle, NOW + 62)
            .await
    }

    async fn state(&self) -> (TicketState, Option<String>) {
        let ticket = self.store.ticket(ID).await.unwrap().unwrap();
        (ticket.state, ticket.user_id)
    }

    async fn failures(&self) -> (i64, i64) {
        let ticket = self.store.ticket(ID).await.unwrap().unwrap();
        let query = "SELECT COALESCE(CAST(SUM(failures) AS BIGINT), 0) FROM proof_failures";
        (ticket.proof_failures, fixtures::number(&self.store, query).await)
    }

    async fn identities(&self, user_id: &str) -> Vec<String> {
        let rows = self.store.identities_of(user_id).await.unwrap();
        rows.into_iter()
            .map(|row| format!("{} {}", row.app_id, row.openid))
            .collect()
    }

    async fn unused_codes(&self) -> i64 {
        fixtures::number(&self.store, "SELECT count(*) FROM bind_codes WHERE used_at IS NULL").await
    }
}

fn is_wrong(result: &Result<User, BindError>) -> bool {
    matches!(result, Err(BindError::Wrong { .. }))
}

const BY_PASSWORD: BindMethod = BindMethod::Password;
const BY_CODE: BindMethod = BindMethod::BindCode;

#[tokio::test]
async fn a_proven_account_waits_for_the_phone_and_is_bound_when_it_accepts() {
    for (method, proof) in [(BY_PASSWORD, PASSWORD), (BY_CODE, "k7qm 2xpd 9r4t hw6o")] {
        let fixture = Fixture::new().await;
        assert_eq!(fixture.claim(method, "wang", proof).await.unwrap().id, "u_wang");
        assert_eq!(fixture.state().await, (TicketState::Bind, Some("u_wang".to_owned())));
        assert_eq!(
            fixture.identities("u_wang").await,
            [""; 0],
            "nothing before the phone says yes"
        );
        assert_eq!(fixture.failures().await, (0, 0));
        let bound = fixture.accept("u_wang").await.unwrap();
        assert!(!bound.created && bound.user.id == "u_wang");
        assert_eq!(bound.user.phone.as_deref(), Some(PHONE), "a number for who had none");
        assert_eq!(fixture.identities("u_wang").await, ["wx1 o1"]);
        assert_eq!(
            fixture.state().await,
            (TicketState::Confirmed, Some("u_wang".to_owned()))
        );
        let known = fixture.directory.recognise(&fixture.identity).await.unwrap();
        assert_eq!(known.user().unwrap().id, "u_wang");
        assert_eq!(fixture.unused_codes().await, i64::from(method == BY_PASSWORD));
    }
}

#[tokio::test]
async fn an_account_is_found_by_name_number_address_or_id() {
    let fixture = Fixture::new().await;
    fixture
        .account("u_0123456789abcdefghjkmnpqrs", "Li", Some("+8613900139000"))
        .await;
    let found = async |login| fixture.directory.account(login).await.unwrap().map(|user| user.id);
    for login in [
        "li",
        " ＬＩ ",
        "+8613900139000",
        "139 0013-9000",
        "008613900139000",
        "LI@example.COM",
    ] {
        assert_eq!(
            found(login).await.as_deref(),
            Some("u_0123456789abcdefghjkmnpqrs"),
            "{login}"
        );
    }
    assert!(found("u_0123456789abcdefghjkmnpqrs").await.is_some());
    for login in [
        "",
        " ",
        "13900139001",
        "nobody",
        "nobody@example.com",
        "u_z123456789abcdefghjkmnpqrs",
    ] {
        assert_eq!(found(login).await, None, "{login}");
    }
}

#[tokio::test]
async fn whatever_is_wrong_is_wrong_alike_and_counts() {
    let fixture = Fixture::new().await;
    fixture.account("u_bare", "Bare", None).await;
    fixture.account("u_bot", "Bot", None).await;
    fixtures::password(&fixture.store, "u_bot", &proof::hash(PASSWORD).await.unwrap()).await;
    fixtures::service(&fixture.store, "u_bot").await;
    let wrong = [
        (BY_PASSWORD, "wang", "incorrect horse"),
        (BY_PASSWORD, "nobody", PASSWORD),
        (BY_PASSWORD, "bare", PASSWORD),
        (BY_PASSWORD, "bot", PASSWORD),
        (BY_CODE, "wang", PASSWORD),
    ];
    for (count, (method, login, proof)) in (1..).zip(wrong) {
        assert!(is_wrong(&fixture.claim(method, login, proof).await), "{login}");
        assert_eq!(fixture.failures().await.0, count, "{login}");
    }
    assert_eq!(fixture.failures().await.1, 3, "a program's account counts like none");
    // The ticket has had its five.
    assert!(matches!(
        fixture.claim(BY_PASSWORD, "wang", PASSWORD).await,
        Err(BindError::Closed)
    ));
}

#[tokio::test]
async fn a_proof_that_nobody_has_time_to_look_at_is_no_attempt() {
    let fixture = Fixture::new().await;
    let mut turns = Vec::new();
    for _ in 0..4 {
        turns.push(proof::turn().await.unwrap());
    }
    // The wait for a turn is over at once; nothing else waits here.
    tokio::time::pause();
    for proof in ["wrong", PASSWORD] {
        let busy = fixture.claim(BY_PASSWORD, "wang", proof).await;
        assert!(matches!(busy, Err(BindError::Proof(ProofError::Busy))));
    }
    tokio::time::resume();
    assert_eq!(fixture.failures().await, (0, 0));
    drop(turns);
    fixture.claim(BY_PASSWORD, "wang", PASSWORD).await.unwrap();
}

#[tokio::test]
async fn the_fifth_wrong_proof_is_the_tickets_last() {
    let fixture = Fixture::new().await;
    for attempt in 1..=5 {
        match fixture.claim(BY_PASSWORD, "wang", "wrong").await {
            Err(BindError::Wrong { account, locked, last }) => {
                assert_eq!(
                    (account.as_deref(), locked, last),
                    (Some("u_wang"), false, attempt == 5)
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn after_ten_wrong_proofs_the_right_one_is_wrong_for_the_rest_of_the_hour() {
    let fixture = Fixture::new().await;
    let tickets = ["t1", "t2", "t3"];
    for ticket in tickets {
        fixture.ticket(ticket, None).await;
    }
    for attempt in 0..10 {
        let ticket = tickets[attempt / 5];
        assert!(is_wrong(
            &fixture.claim_at(ticket, NOW + 1, BY_PASSWORD, "wang", "wrong").await
        ));
    }
    match fixture.claim_at("t3", NOW + 2, BY_PASSWORD, "wang", PASSWORD).await {
        Err(BindError::Wrong {
            locked: true,
            last: false,
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
    // Another method is another lock.
    fixture.claim_at("t3", NOW + 2, BY_CODE, "wang", CODE).await.unwrap();
    // An hour after the first.
    let later = NOW + 3_601;
    fixture.ticket_at("t4", None, later).await;
    fixture
        .claim_at("t4", later, BY_PASSWORD, "wang", PASSWORD)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_right_proof_that_is_of_no_use_is_told_why_and_costs_nothing() {
    let fixture = Fixture::new().await;
    fixture.identity_of("u_wang", "wx1", "another", None).await;
    for (method, proof) in [(BY_PASSWORD, PASSWORD), (BY_CODE, CODE)] {
        let refused = fixture.claim(method, "wang", proof).await;
        assert!(
            matches!(refused, Err(BindError::Resolve(ResolveError::AccountBound))),
            "{refused:?}"
        );
    }
    assert!(fixture.store.set_disabled("u_wang", true, "left", NOW).await.unwrap());
    assert!(
        is_wrong(&fixture.claim(BY_PASSWORD, "wang", "wrong").await),
        "nobody learns that it is disabled"
    );
    let refused = fixture.claim(BY_CODE, "wang", CODE).await;
    assert!(
        matches!(refused, Err(BindError::Resolve(ResolveError::UserDisabled))),
        "{refused:?}"
    );
    assert_eq!((fixture.failures().await, fixture.unused_codes().await), ((1, 1), 1));
    assert_eq!(fixture.state().await, (TicketState::Bind, None));
}

#[tokio::test]
async fn an_identity_of_another_app_does_not_keep_an_account_from_being_bound() {
    let fixture = Fixture::new().await;
    fixture.identity_of("u_wang", "wx2", "o2", Some("another person")).await;
    fixture.claim(BY_PASSWORD, "wang", PASSWORD).await.unwrap();
    fixture.accept("u_wang").await.unwrap();
    assert_eq!(fixture.identities("u_wang").await, ["wx2 o2", "wx1 o1"]);
}

#[tokio::test]
async fn a_number_of_somebody_else_is_left_out_or_refused() {
    for (phone, taken) in [
        (PhonePolicy::Optional, false),
        (PhonePolicy::Required, true),
        (PhonePolicy::Never, false),
    ] {
        let fixture = Fixture::with(Policy {
            association: Association::Ask { methods: Vec::new() },
            login_only: false,
            phone,
        })
        .await;
        fixture.account("u_li", "Li", Some(PHONE)).await;
        let claimed = fixture.claim(BY_CODE, "wang", CODE).await;
        if taken {
            assert!(
                matches!(claimed, Err(BindError::Resolve(ResolveError::PhoneTaken))),
                "{claimed:?}"
            );
            let created = fixture
                .directory
                .create_chosen(&fixture.choosing(ID, NOW), NOW + 60)
                .await;
            assert!(
                matches!(created, Err(BindError::Resolve(ResolveError::PhoneTaken))),
                "{created:?}"
            );
            // Whose number it is has no such trouble.
            fixtures::password(&fixture.store, "u_li", &proof::hash(PASSWORD).await.unwrap()).await;
            fixture.claim(BY_PASSWORD, "li", PASSWORD).await.unwrap();
            assert_eq!(fixture.accept("u_li").await.unwrap().user.id, "u_li");
        } else {
            claimed.unwrap();
            let bound = fixture.accept("u_wang").await.unwrap();
            assert_eq!(bound.user.phone, None);
            assert_eq!(bound.phone_note.is_some(), phone == PhonePolicy::Optional);
        }
    }
}

#[tokio::test]
async fn a_new_account_takes_identity_number_and_ticket_at_once() {
    let fixture = Fixture::new().await;
    let made = fixture
        .directory
        .create_chosen(&fixture.choosing(ID, NOW + 1), NOW + 61)
        .await
        .unwrap();
    assert!(made.created && made.user.phone.as_deref() == Some(PHONE));
    assert_eq!(fixture.identities(&made.user.id).await, ["wx1 o1"]);
    assert_eq!(fixture.state().await, (TicketState::Confirmed, Some(made.user.id)));
    let again = fixture
        .directory
        .create_chosen(&fixture.choosing(ID, NOW + 1), NOW + 61)
        .await;
    assert!(matches!(again, Err(BindError::Closed)), "{again:?}");
    assert_eq!(fixture.store.users_after("", 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn nothing_is_made_for_a_ticket_that_is_over_or_has_an_account() {
    let fixture = Fixture::new().await;
    let nothing = async |now| {
        let refused = fixture
            .directory
            .create_chosen(&fixture.choosing(ID, now), now + 60)
            .await;
        assert!(matches!(refused, Err(BindError::Closed)), "{refused:?}");
        assert_eq!(fixture.store.users_after("", 10).await.unwrap().len(), 1);
        assert_eq!(
            fixtures::number(&fixture.store, "SELECT count(*) FROM identities").await,
            0
        );
    };
    nothing(NOW + 600).await;
    fixture.claim(BY_PASSWORD, "wang", PASSWORD).await.unwrap();
    nothing(NOW + 2).await;
    // The phone has not been shown the account.
    let handle = scan(ID, "o1").handle_hash;
    let unseen = fixture
        .directory
        .accept(&fixture.choosing(ID, NOW + 2), "u_wang", &handle, NOW + 62)
        .await;
    assert!(matches!(unseen, Err(BindError::Closed)), "{unseen:?}");
    assert_eq!(
        fixtures::number(&fixture.store, "SELECT count(*) FROM identities").await,
        0
    );
}

#[tokio::test]
async fn login_only_makes_nobody() {
    let fixture = Fixture::with(Policy {
        association: Association::Ask { methods: Vec::new() },
        login_only: true,
        phone: PhonePolicy::Optional,
    })
    .await;
    let refused = fixture
        .directory
        .create_chosen(&fixture.choosing(ID, NOW + 1), NOW + 61)
        .await;
    assert!(
        matches!(refused, Err(BindError::Resolve(ResolveError::NoAccount))),
        "{refused:?}"
    );
    fixture.claim(BY_PASSWORD, "wang", PASSWORD).await.unwrap();
    fixture.accept("u_wang").await.unwrap();
}

#[tokio::test]
async fn what_changed_while_the_phone_was_asked_counts_at_the_last_tap() {
    let disabled = Fixture::new().await;
    disabled.claim(BY_PASSWORD, "wang", PASSWORD).await.unwrap();
    assert!(disabled.store.set_disabled("u_wang", true, "left", NOW).await.unwrap());
    let refused = disabled.accept("u_wang").await;
    assert!(
        matches!(refused, Err(BindError::Resolve(ResolveError::UserDisabled))),
        "{refused:?}"
    );

    let deleted = Fixture::new().await;
    deleted.claim(BY_PASSWORD, "wang", PASSWORD).await.unwrap();
    assert!(deleted.store.delete_user("u_wang", "left", NOW).await.unwrap());
    let refused = deleted.accept("u_wang").await;
    assert!(
        matches!(refused, Err(BindError::Resolve(ResolveError::NoAccount))),
        "{refused:?}"
    );

    let bound = Fixture::new().await;
    bound.claim(BY_PASSWORD, "wang", PASSWORD).await.unwrap();
    bound.identity_of("u_wang", "wx1", "another", None).await;
    let refused = bound.accept("u_wang").await;
    assert!(
        matches!(refused, Err(BindError::Resolve(ResolveError::AccountBound))),
        "{refused:?}"
    );

    // The same person made another account at another browser.
    let elsewhere = Fixture::new().await;
    elsewhere.claim(BY_PASSWORD, "wang", PASSWORD).await.unwrap();
    elsewhere.account("u_new", "New", None).await;
    elsewhere.identity_of("u_new", "wx1", "o1", Some("un1")).await;
    let refused = elsewhere.accept("u_wang").await;
    assert!(
        matches!(refused, Err(BindError::Resolve(ResolveError::AmbiguousAccount))),
        "{refused:?}"
    );
    assert_eq!(elsewhere.identities("u_wang").await, [""; 0]);

    // The same person bound the same account at another browser.
    let twice = Fixture::new().await;
    twice.claim(BY_PASSWORD, "wang", PASSWORD).await.unwrap();
    twice.identity_of("u_wang", "wx1", "o1", None).await;
    assert_eq!(twice.accept("u_wang").await.unwrap().user.id, "u_wang");
    let identity = twice.store.identity("wx1", "o1").await.unwrap().unwrap();
    assert_eq!(
        identity.unionid.as_deref(),
        Some("un1"),
        "the unionid that arrived later"
    );
}

#[tokio::test]
async fn one_code_proves_one_of_many_browsers_at_once() {
    let fixture = std::sync::Arc::new(Fixture::new().await);
    let tickets: Vec<_> = (0..8).map(|ticket| format!("ticket {ticket}")).collect();
    for ticket in &tickets {
        fixture.ticket(ticket, None).await;
    }
    let claims = tickets.iter().cloned().map(|ticket| {
        let fixture = std::sync::Arc::clone(&fixture);
        tokio::spawn(async move { fixture.claim_at(&ticket, NOW + 1, BY_CODE, "wang", CODE).await })
    });
    let (mut proven, mut wrong) = (0, 0);
    for claim in join_all(claims).await {
        match claim.unwrap() {
            Ok(_) => proven += 1,
            Err(BindError::Wrong { .. }) => wrong += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((proven, wrong), (1, 7));
}

#[test]
fn a_proven_account_follows_what_is_known_of_the_person() {
    let proven = Candidate {
        user_id: "a".to_owned(),
        disabled: false,
        has_phone: false,
    };
    let policy = |phone| Policy {
        association: Association::Ask { methods: Vec::new() },
        login_only: true,
        phone,
    };
    let decided = |findings: &Findings, has_identity, phone, given| {
        decide_proven(findings, &proven, has_identity, &policy(phone), given)
    };
    let nothing = Findings::default();
    let uses = |write_phone| {
        Ok(Decision::Use {
            user_id: "a".to_owned(),
            link: Link::Proof,
            write_phone,
            phone_note: None,
        })
    };
    assert_eq!(decided(&nothing, false, PhonePolicy::Optional, true), uses(true));
    assert_eq!(decided(&nothing, false, PhonePolicy::Optional, false), uses(false));
    assert_eq!(decided(&nothing, false, PhonePolicy::Never, true), uses(false));
    assert_eq!(
        decided(&nothing, false, PhonePolicy::Required, false),
        Err(Refusal::PhoneRequired)
    );
    assert_eq!(
        decided(&nothing, true, PhonePolicy::Never, false),
        Err(Refusal::AccountBound)
    );
    let other = Findings {
        by_unionid: vec![Candidate {
            user_id: "b".to_owned(),
            ..proven.clone()
        }],
        ..Findings::default()
    };
    assert_eq!(
        decided(&other, false, PhonePolicy::Never, false),
        Err(Refusal::AmbiguousAccount)
    );
}
