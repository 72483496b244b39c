#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::store::fold_username;

const NOW: i64 = 1_790_000_000;

fn line(number: u64, username: Option<&str>, phone: Option<&str>) -> Line {
    Line {
        number,
        username: username.map(str::to_owned),
        username_key: username.map(fold_username),
        phone: phone.map(str::to_owned),
        ..Line::default()
    }
}

fn user(id: &str, username: Option<&str>, phone: Option<&str>) -> User {
    User {
        id: id.to_owned(),
        username: username.map(str::to_owned),
        phone: phone.map(str::to_owned),
        groups: vec!["a".to_owned(), "b".to_owned()],
        ..User::default()
    }
}

fn planned(lines: &[Line], users: Vec<User>) -> Plan {
    let mut found = Found::default();
    users.into_iter().for_each(|user| found.add(user));
    plan(lines, &found, NOW).unwrap()
}

#[test]
fn the_username_finds_the_user_else_the_number_does() {
    let alice = || user("u_1", Some("Alice"), Some("+861"));
    let number_only = || user("u_2", None, Some("+862"));
    // What the line says, and the user who changes with the fields, or nobody for a new user.
    type Changed = Option<(&'static str, Vec<&'static str>)>;
    let table: Vec<(Line, Changed)> = vec![
        (line(2, Some("alice"), None), Some(("u_1", vec!["username"]))),
        (line(2, Some("Alice"), Some("+863")), Some(("u_1", vec!["phone"]))),
        (line(2, Some("bob"), Some("+862")), Some(("u_2", vec!["username"]))),
        (line(2, Some("bob"), Some("+864")), None),
        (line(2, None, Some("+864")), None),
    ];
    for (line, expected) in table {
        let plan = planned(std::slice::from_ref(&line), vec![alice(), number_only()]);
        assert_eq!((plan.bad_lines.len(), plan.changes.len()), (0, 1), "{line:?}");
        let change = &plan.changes[0];
        match expected {
            Some((id, fields)) => {
                assert_eq!((change.user.id.as_str(), change.created), (id, false), "{line:?}");
                assert_eq!(change.fields, fields, "{line:?}");
            }
            None => assert!(change.created && change.user.id.starts_with("u_"), "{line:?}"),
        }
    }
}

#[test]
fn lines_that_would_mix_people_are_bad() {
    let people = || {
        vec![
            user("u_1", Some("alice"), Some("+861")),
            user("u_2", Some("bob"), Some("+862")),
            User {
                service: true,
                ..user("u_3", Some("robot"), None)
            },
        ]
    };
    let table: Vec<(Vec<Line>, &[&str])> = vec![
        (
            vec![line(2, Some("alice"), Some("+862"))],
            &["that of \"bob\" (u_2), but the username is that of \"alice\" (u_1)"],
        ),
        (
            vec![line(2, Some("carol"), Some("+862"))],
            &["that of \"bob\" (u_2): correct"],
        ),
        (
            vec![line(2, Some("alice"), None), line(3, None, Some("+861"))],
            &["the same person as on line 2"],
        ),
        (vec![line(2, Some("robot"), None)], &["is a service account"]),
        (
            vec![line(2, Some("alice"), Some("+862")), line(3, Some("bob"), Some("+861"))],
            &["that of \"bob\"", "that of \"alice\""],
        ),
    ];
    for (lines, expected) in table {
        let plan = planned(&lines, people());
        assert_eq!(plan.bad_lines.len(), expected.len(), "{lines:?}");
        for (bad, expected) in plan.bad_lines.iter().zip(expected) {
            assert!(bad.problem.contains(expected), "{bad:?}");
        }
    }
}

#[test]
fn a_cell_without_text_leaves_what_is_there() {
    let before = User {
        name: Some("A".to_owned()),
        email: Some("a@example.com".to_owned()),
        attributes: [
            ("floor".to_owned(), Value::from("3")),
            ("old".to_owned(), Value::from(1)),
        ]
        .into_iter()
        .collect(),
        ..user("u_1", Some("alice"), Some("+861"))
    };
    let same = Line {
        groups: Some(vec!["b".to_owned(), "a".to_owned()]),
        attributes: vec![("floor".to_owned(), "3".to_owned())],
        ..line(2, Some("alice"), None)
    };
    let plan = planned(&[same], vec![before.clone()]);
    assert_eq!(
        (plan.unchanged, plan.changes.len()),
        (1, 0),
        "the order of groups is no change"
    );
    let other = Line {
        email: Some("b@example.com".to_owned()),
        groups: Some(vec!["a".to_owned()]),
        attributes: vec![("floor".to_owned(), "4".to_owned())],
        ..line(2, Some("alice"), None)
    };
    let plan = planned(&[other], vec![before.clone()]);
    assert_eq!(plan.changes[0].fields, ["email", "groups", "attributes"]);
    let after = &plan.changes[0].user;
    assert_eq!((&after.name, &after.phone), (&before.name, &before.phone));
    assert_eq!(after.groups, ["a"]);
    assert_eq!(
        (&after.attributes["floor"], &after.attributes["old"]),
        (&Value::from("4"), &Value::from(1))
    );
}
