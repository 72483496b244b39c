//! Everything that can be found about a person, at every kind of connection: what comes of it, and what the store holds
//! afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::config::settings::Association;
use crate::store::fixtures::{self, NOW, TestStore};

const PHONE: &str = "+8613800138000";

/// One thing that can be found.
struct Row {
    found: &'static str,
    /// The store before: users with `+` for the number that is given, `x` for disabled, their identities.
    before: &'static [&'static str],
    /// Where a number may be refused: a line per association (`none`, `field`, `ask`), each with anybody and `login_only`,
    /// each with the number given and refused.
    optional: [[&'static str; 4]; 3],
    /// Where a number is needed.
    required: [[&'static str; 4]; 3],
    /// What the store holds after each outcome that is a user; after any other it is as before.
    after: &'static [(&'static str, &'static [&'static str])],
}

/// Outcomes: a user (`A`, `B`, `new`) with `+` for the number and `!` for "somebody else has it"; `ask` and `bind` for the
/// browser's choice with and without a new account; a refusal.
const MATRIX: &[Row] = &[
    Row {
        found: "nobody",
        before: &[],
        optional: [
            ["new+", "new", "no_account", "no_account"],
            ["new+", "new", "no_account", "no_account"],
            ["ask", "ask", "bind", "bind"],
        ],
        required: [
            ["new+", "phone_required", "no_account", "no_account"],
            ["new+", "phone_required", "no_account", "phone_required"],
            ["ask", "phone_required", "bind", "phone_required"],
        ],
        after: &[("new+", &["new+ wx1/o1/un1"]), ("new", &["new wx1/o1/un1"])],
    },
    Row {
        found: "a user by unionid",
        before: &["A wx2/o2/un1"],
        optional: [["A+", "A", "A+", "A"]; 3],
        required: [["A+", "phone_required", "A+", "phone_required"]; 3],
        after: &[
            ("A+", &["A+ wx1/o1/un1 wx2/o2/un1"]),
            ("A", &["A wx1/o1/un1 wx2/o2/un1"]),
        ],
    },
    Row {
        found: "a user by openid, whose unionid arrives now",
        before: &["A wx1/o1/-"],
        optional: [["A+", "A", "A+", "A"]; 3],
        required: [["A+", "phone_required", "A+", "phone_required"]; 3],
        after: &[("A+", &["A+ wx1/o1/un1"]), ("A", &["A wx1/o1/un1"])],
    },
    Row {
        found: "a user by openid who has the number",
        before: &["A+ wx1/o1/un1"],
        optional: [["A+"; 4]; 3],
        required: [["A+"; 4]; 3],
        after: &[("A+", &["A+ wx1/o1/un1"])],
    },
    Row {
        found: "a user by openid whose unionid is another's now",
        before: &["A wx1/o1/un0"],
        optional: [["A+", "A", "A+", "A"]; 3],
        required: [["A+", "phone_required", "A+", "phone_required"]; 3],
        after: &[("A+", &["A+ wx1/o1/un1"]), ("A", &["A wx1/o1/un1"])],
    },
    Row {
        found: "a user by the number, who was never here",
        before: &["B+"],
        optional: [
            ["new!", "new", "no_account", "no_account"],
            ["B+", "new", "B+", "no_account"],
            ["ask", "ask", "bind", "bind"],
        ],
        required: [
            ["phone_taken", "phone_required", "no_account", "no_account"],
            ["B+", "phone_required", "B+", "phone_required"],
            ["ask", "phone_required", "bind", "phone_required"],
        ],
        after: &[
            ("new!", &["B+", "new wx1/o1/un1"]),
            ("new", &["B+", "new wx1/o1/un1"]),
            ("B+", &["B+ wx1/o1/un1"]),
        ],
    },
    Row {
        found: "the number of another person who was here",
        before: &["B+ wx1/ob/-"],
        optional: [
            ["new!", "new", "no_account", "no_account"],
            ["phone_taken", "new", "phone_taken", "no_account"],
            ["ask", "ask", "bind", "bind"],
        ],
        required: [
            ["phone_taken", "phone_required", "no_account", "no_account"],
            ["phone_taken", "phone_required", "phone_taken", "phone_required"],
            ["ask", "phone_required", "bind", "phone_required"],
        ],
        after: &[
            ("new!", &["B+ wx1/ob/-", "new wx1/o1/un1"]),
            ("new", &["B+ wx1/ob/-", "new wx1/o1/un1"]),
        ],
    },
    Row {
        found: "a user by openid, and the number of another",
        before: &["A wx1/o1/un1", "B+"],
        optional: [["A!", "A", "A!", "A"]; 3],
        required: [["phone_taken", "phone_required", "phone_taken", "phone_required"]; 3],
        after: &[("A!", &["A wx1/o1/un1", "B+"]), ("A", &["A wx1/o1/un1", "B+"])],
    },
    Row {
        found: "two users who disagree",
        before: &["A wx1/o1/-", "B wx2/o2/un1"],
        optional: [["ambiguous_account"; 4]; 3],
        required: [["ambiguous_account"; 4]; 3],
        after: &[],
    },
    Row {
        found: "two users by one unionid",
        before: &["A wx2/o2/un1", "B wx3/o3/un1"],
        optional: [["ambiguous_account"; 4]; 3],
        required: [["ambiguous_account"; 4]; 3],
        after: &[],
    },
    Row {
        found: "a disabled user by openid",
        before: &["Ax wx1/o1/-"],
        optional: [["user_disabled"; 4]; 3],
        required: [["user_disabled"; 4]; 3],
        after: &[],
    },
    Row {
        found: "a disabled user by unionid",
        before: &["Ax wx2/o2/un1"],
        optional: [["user_disabled"; 4]; 3],
        required: [["user_disabled"; 4]; 3],
        after: &[],
    },
    Row {
        found: "a disabled user by the number",
        before: &["Bx+"],
        optional: [
            ["new!", "new", "no_account", "no_account"],
            ["user_disabled", "new", "user_disabled", "no_account"],
            ["ask", "ask", "bind", "bind"],
        ],
        required: [
            ["phone_taken", "phone_required", "no_account", "no_account"],
            ["user_disabled", "phone_required", "user_disabled", "phone_required"],
            ["ask", "phone_required", "bind", "phone_required"],
        ],
        after: &[
            ("new!", &["Bx+", "new wx1/o1/un1"]),
            ("new", &["Bx+", "new wx1/o1/un1"]),
        ],
    },
    Row {
        found: "a program's account by the number",
        before: &["Bs+"],
        optional: [
            ["new!", "new", "no_account", "no_account"],
            ["phone_taken", "new", "phone_taken", "no_account"],
            ["ask", "ask", "bind", "bind"],
        ],
        required: [
            ["phone_taken", "phone_required", "no_account", "no_account"],
            ["phone_taken", "phone_required", "phone_taken", "phone_required"],
            ["ask", "phone_required", "bind", "phone_required"],
        ],
        after: &[("new!", &["B+", "new wx1/o1/un1"]), ("new", &["B+", "new wx1/o1/un1"])],
    },
    Row {
        found: "a user who was deleted",
        before: &["Ad+ wx1/o1/un1 wx2/o2/un1"],
        optional: [
            ["new+", "new", "no_account", "no_account"],
            ["new+", "new", "no_account", "no_account"],
            ["ask", "ask", "bind", "bind"],
        ],
        required: [
            ["new+", "phone_required", "no_account", "no_account"],
            ["new+", "phone_required", "no_account", "phone_required"],
            ["ask", "phone_required", "bind", "phone_required"],
        ],
        after: &[("new+", &["new+ wx1/o1/un1"]), ("new", &["new wx1/o1/un1"])],
    },
];

/// Writes one user of `before`: `Ax+ wx1/o1/un1`.
async fn write(store: &Store, user: &str) {
    let mut parts = user.split(' ');
    let marks = parts.next().unwrap();
    let id = format!("u_{}", &marks[..1]);
    let new = NewUser {
        id: id.clone(),
        phone: marks.contains('+').then(|| PHONE.to_owned()),
        created_at: NOW,
        ..NewUser::default()
    };
    store.insert_user(&new).await.unwrap();
    let mut tx = store.directory().await.unwrap();
    for identity in parts {
        let [app_id, openid, unionid] = identity.split('/').collect::<Vec<_>>()[..] else {
            panic!("{identity}");
        };
        let unionid = (unionid != "-").then(|| unionid.to_owned());
        let row = IdentityRow {
            app_id: app_id.to_owned(),
            openid: openid.to_owned(),
            open_platform: unionid.as_ref().map(|_| "corp".to_owned()),
            unionid,
            user_id: id.clone(),
            created_at: NOW,
        };
        tx.insert_identity(&row).await.unwrap();
    }
    tx.commit().await.unwrap();
    if marks.contains('x') {
        assert!(store.set_disabled(&id, true, "left", NOW).await.unwrap());
    }
    if marks.contains('s') {
        fixtures::service(store, &id).await;
    }
    if marks.contains('d') {
        assert!(store.delete_user(&id, "left", NOW).await.unwrap());
    }
}

fn alias(id: &str) -> &str {
    id.strip_prefix("u_").filter(|rest| rest.len() == 1).unwrap_or("new")
}

/// The store in the words of `before`.
async fn read(store: &Store) -> Vec<String> {
    let mut users = Vec::new();
    for user in store.users_after("", 10).await.unwrap() {
        let disabled = if user.disabled { "x" } else { "" };
        let phone = if user.phone.as_deref() == Some(PHONE) { "+" } else { "" };
        let mut identities: Vec<_> = store
            .identities_of(&user.id)
            .await
            .unwrap()
            .into_iter()
            .map(|row| {
                format!(
                    " {}/{}/{}",
                    row.app_id,
                    row.openid,
                    row.unionid.as_deref().unwrap_or("-")
                )
            })
            .collect();
        identities.sort();
        users.push(format!("{}{disabled}{phone}{}", alias(&user.id), identities.concat()));
    }
    users.sort();
    users
}

fn outcome(result: &Result<Resolved, ResolveError>) -> String {
    match result {
        Ok(resolved) => {
            let phone = if resolved.user.phone.as_deref() == Some(PHONE) {
                "+"
            } else {
                ""
            };
            let note = if resolved.phone_note.is_some() { "!" } else { "" };
            assert_eq!(resolved.created, alias(&resolved.user.id) == "new");
            format!("{}{phone}{note}", alias(&resolved.user.id))
        }
        Err(error) => match error {
            ResolveError::AccountBound => "account_bound",
            ResolveError::AmbiguousAccount => "ambiguous_account",
            ResolveError::BindingNeeded { may_create: true } => "ask",
            ResolveError::BindingNeeded { may_create: false } => "bind",
            ResolveError::NoAccount => "no_account",
            ResolveError::PhoneRequired => "phone_required",
            ResolveError::PhoneTaken => "phone_taken",
            ResolveError::UserDisabled => "user_disabled",
            ResolveError::Random(_) | ResolveError::Store(_) => panic!("{error}"),
        }
        .to_owned(),
    }
}

async fn cell(store: &Store, row: &Row, policy: &Policy, given: bool, expected: &str) {
    for user in store.users_after("", 10).await.unwrap() {
        assert!(store.delete_user(&user.id, "next", NOW).await.unwrap());
    }
    for user in row.before {
        write(store, user).await;
    }
    let before = read(store).await;
    let directory = Directory::new(store.clone());
    let who = WechatIdentity {
        app_id: "wx1".to_owned(),
        openid: "o1".to_owned(),
        unionid: Some("un1".to_owned()),
        open_platform: Some("corp".to_owned()),
    };
    let phone = Phone::parse(PHONE).unwrap();
    let phone = given.then_some(&phone);
    let place = format!("{}, {policy:?}, number given: {given}", row.found);
    let result = directory.resolve(&who, policy, phone, NOW + 1).await;
    assert_eq!(outcome(&result), expected, "{place}");
    let after = read(store).await;
    match row.after.iter().find(|(outcome, _)| *outcome == expected) {
        Some((_, users)) => assert_eq!(after, *users, "{place}"),
        None => {
            assert!(result.is_err(), "{place}: the table does not say what is written");
            assert_eq!(after, before, "{place}: a refusal that writes");
        }
    }
    if let Ok(first) = result {
        let again = directory.resolve(&who, policy, phone, NOW + 2).await.unwrap();
        assert_eq!(again.user.id, first.user.id, "{place}: again");
        assert!(!again.created && read(store).await == after, "{place}: again");
    }
}

#[tokio::test]
async fn every_finding_at_every_connection_with_and_without_the_number() {
    let associations = [
        Association::None,
        Association::Field,
        Association::Ask { methods: Vec::new() },
    ];
    let store: TestStore = fixtures::store().await;
    let mut cells = 0;
    for row in MATRIX {
        for (phone, table) in [
            (PhonePolicy::Optional, &row.optional),
            (PhonePolicy::Required, &row.required),
        ] {
            for (association, line) in associations.iter().zip(table) {
                for (expected, (login_only, given)) in
                    line.iter()
                        .zip([(false, true), (false, false), (true, true), (true, false)])
                {
                    let policy = Policy {
                        association: association.clone(),
                        login_only,
                        phone,
                    };
                    cell(&store, row, &policy, given, expected).await;
                    cells += 1;
                }
            }
        }
    }
    assert_eq!(cells, MATRIX.len() * 24);
}
