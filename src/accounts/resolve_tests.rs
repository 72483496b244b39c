#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use PhonePolicy::{Never, Optional, Required};
use Refusal::{AmbiguousAccount, NoAccount, PhoneRequired, PhoneTaken, UserDisabled};

use super::*;

const ASK: Association = Association::Ask { methods: Vec::new() };
const FIELD: Association = Association::Field;
const NONE: Association = Association::None;

fn user(id: &str) -> Candidate {
    Candidate {
        user_id: id.to_owned(),
        disabled: false,
        has_phone: false,
    }
}

fn with_phone(id: &str) -> Candidate {
    Candidate {
        has_phone: true,
        ..user(id)
    }
}

fn disabled(id: &str) -> Candidate {
    Candidate {
        disabled: true,
        ..user(id)
    }
}

fn stranger() -> Findings {
    Findings::default()
}

fn openid(found: Candidate) -> Findings {
    Findings {
        by_openid: Some(found),
        ..stranger()
    }
}

fn unionid(found: Candidate) -> Findings {
    Findings {
        by_unionid: vec![found],
        ..stranger()
    }
}

/// The number is this user's, who has no identity of this kind.
fn number_of(owner: Candidate, findings: Findings) -> Findings {
    Findings {
        by_phone: Some(PhoneOwner {
            candidate: owner,
            has_identity: false,
        }),
        ..findings
    }
}

/// The number is this user's, who has an identity of this kind.
fn number_of_bound(owner: Candidate, findings: Findings) -> Findings {
    Findings {
        by_phone: Some(PhoneOwner {
            candidate: owner,
            has_identity: true,
        }),
        ..findings
    }
}

fn policy(association: Association, phone: PhonePolicy) -> Policy {
    Policy {
        association,
        login_only: false,
        phone,
    }
}

fn login_only(association: Association, phone: PhonePolicy) -> Policy {
    Policy {
        login_only: true,
        ..policy(association, phone)
    }
}

fn uses(id: &str, link: Link) -> Result<Decision, Refusal> {
    Ok(Decision::Use {
        user_id: id.to_owned(),
        link,
        write_phone: false,
        phone_note: None,
    })
}

fn uses_and_writes(id: &str, link: Link) -> Result<Decision, Refusal> {
    Ok(Decision::Use {
        user_id: id.to_owned(),
        link,
        write_phone: true,
        phone_note: None,
    })
}

fn uses_and_says_taken(id: &str, link: Link) -> Result<Decision, Refusal> {
    Ok(Decision::Use {
        user_id: id.to_owned(),
        link,
        write_phone: false,
        phone_note: Some(PhoneNote::Taken),
    })
}

fn creates() -> Result<Decision, Refusal> {
    Ok(Decision::Create {
        write_phone: false,
        phone_note: None,
    })
}

fn creates_and_writes() -> Result<Decision, Refusal> {
    Ok(Decision::Create {
        write_phone: true,
        phone_note: None,
    })
}

fn creates_and_says_taken() -> Result<Decision, Refusal> {
    Ok(Decision::Create {
        write_phone: false,
        phone_note: Some(PhoneNote::Taken),
    })
}

type Row = (&'static str, Findings, Policy, bool, Result<Decision, Refusal>);

fn check(table: Vec<Row>) {
    for (name, findings, policy, phone_given, expected) in table {
        assert_eq!(decide(&findings, &policy, phone_given), expected, "{name}");
    }
}

#[test]
fn a_known_identity_decides_whatever_the_association_is() {
    let both = |one, other| Findings {
        by_openid: Some(user(one)),
        by_unionid: vec![user(other)],
        ..stranger()
    };
    for association in [NONE, FIELD, ASK] {
        for policy in [policy(association.clone(), Never), login_only(association, Never)] {
            check(vec![
                (
                    "openid",
                    openid(user("a")),
                    policy.clone(),
                    false,
                    uses("a", Link::Openid),
                ),
                (
                    "unionid",
                    unionid(user("a")),
                    policy.clone(),
                    false,
                    uses("a", Link::Unionid),
                ),
                (
                    "both, the same",
                    both("a", "a"),
                    policy.clone(),
                    false,
                    uses("a", Link::Openid),
                ),
                (
                    "both, different",
                    both("a", "b"),
                    policy.clone(),
                    false,
                    Err(AmbiguousAccount),
                ),
                (
                    "disabled",
                    openid(disabled("a")),
                    policy.clone(),
                    false,
                    Err(UserDisabled),
                ),
                (
                    "disabled by unionid",
                    unionid(disabled("a")),
                    policy.clone(),
                    false,
                    Err(UserDisabled),
                ),
            ]);
            let two = Findings {
                by_unionid: vec![user("a"), user("b")],
                ..stranger()
            };
            check(vec![(
                "one unionid of two users",
                two,
                policy,
                false,
                Err(AmbiguousAccount),
            )]);
        }
    }
}

#[test]
fn a_known_user_gets_a_number_only_if_they_have_none_and_nobody_else_has_it() {
    for association in [NONE, FIELD, ASK] {
        let required = || policy(association.clone(), Required);
        let optional = || policy(association.clone(), Optional);
        let never = || policy(association.clone(), Never);
        let taken = || number_of(with_phone("b"), openid(user("a")));
        check(vec![
            (
                "required, none",
                openid(user("a")),
                required(),
                false,
                Err(PhoneRequired),
            ),
            (
                "required, has one",
                openid(with_phone("a")),
                required(),
                false,
                uses("a", Link::Openid),
            ),
            (
                "required, new",
                openid(user("a")),
                required(),
                true,
                uses_and_writes("a", Link::Openid),
            ),
            (
                "required, another",
                openid(with_phone("a")),
                required(),
                true,
                uses("a", Link::Openid),
            ),
            ("required, taken", taken(), required(), true, Err(PhoneTaken)),
            (
                "required, taken, has one",
                number_of(with_phone("b"), openid(with_phone("a"))),
                required(),
                true,
                uses("a", Link::Openid),
            ),
            (
                "optional, refused",
                openid(user("a")),
                optional(),
                false,
                uses("a", Link::Openid),
            ),
            (
                "optional, new",
                unionid(user("a")),
                optional(),
                true,
                uses_and_writes("a", Link::Unionid),
            ),
            (
                "optional, taken",
                taken(),
                optional(),
                true,
                uses_and_says_taken("a", Link::Openid),
            ),
            (
                "never, given all the same",
                openid(user("a")),
                never(),
                true,
                uses("a", Link::Openid),
            ),
        ]);
    }
}

#[test]
fn without_association_a_stranger_becomes_a_new_user() {
    let taken = || number_of(with_phone("b"), stranger());
    check(vec![
        ("never", stranger(), policy(NONE, Never), false, creates()),
        (
            "never, given all the same",
            taken(),
            policy(NONE, Never),
            true,
            creates(),
        ),
        (
            "optional, refused",
            stranger(),
            policy(NONE, Optional),
            false,
            creates(),
        ),
        (
            "optional, given",
            stranger(),
            policy(NONE, Optional),
            true,
            creates_and_writes(),
        ),
        (
            "optional, taken",
            taken(),
            policy(NONE, Optional),
            true,
            creates_and_says_taken(),
        ),
        (
            "required, refused",
            stranger(),
            policy(NONE, Required),
            false,
            Err(PhoneRequired),
        ),
        (
            "required, given",
            stranger(),
            policy(NONE, Required),
            true,
            creates_and_writes(),
        ),
        (
            "required, taken",
            taken(),
            policy(NONE, Required),
            true,
            Err(PhoneTaken),
        ),
        ("login only", stranger(), login_only(NONE, Never), false, Err(NoAccount)),
        (
            "login only, number given",
            stranger(),
            login_only(NONE, Optional),
            true,
            Err(NoAccount),
        ),
        // The tap would cost money and change nothing.
        (
            "login only, number refused",
            stranger(),
            login_only(NONE, Required),
            false,
            Err(NoAccount),
        ),
    ]);
}

#[test]
fn with_field_association_the_number_proves_an_account_once() {
    let free = || number_of(with_phone("b"), stranger());
    let bound = || number_of_bound(with_phone("b"), stranger());
    let off = || number_of(disabled("b"), stranger());
    let off_bound = || number_of_bound(disabled("b"), stranger());
    for phone in [Optional, Required] {
        check(vec![
            (
                "first of its kind",
                free(),
                policy(FIELD, phone),
                true,
                uses("b", Link::Phone),
            ),
            (
                "first, login only",
                free(),
                login_only(FIELD, phone),
                true,
                uses("b", Link::Phone),
            ),
            ("recycled number", bound(), policy(FIELD, phone), true, Err(PhoneTaken)),
            (
                "recycled number, login only",
                bound(),
                login_only(FIELD, phone),
                true,
                Err(PhoneTaken),
            ),
            ("disabled", off(), policy(FIELD, phone), true, Err(UserDisabled)),
            (
                "disabled, recycled number",
                off_bound(),
                policy(FIELD, phone),
                true,
                Err(PhoneTaken),
            ),
            (
                "nobody has it",
                stranger(),
                policy(FIELD, phone),
                true,
                creates_and_writes(),
            ),
            (
                "nobody has it, login only",
                stranger(),
                login_only(FIELD, phone),
                true,
                Err(NoAccount),
            ),
        ]);
    }
    check(vec![
        (
            "required, refused",
            stranger(),
            policy(FIELD, Required),
            false,
            Err(PhoneRequired),
        ),
        (
            "required, refused, login only",
            stranger(),
            login_only(FIELD, Required),
            false,
            Err(PhoneRequired),
        ),
        (
            "optional, refused",
            stranger(),
            policy(FIELD, Optional),
            false,
            creates(),
        ),
        (
            "optional, refused, login only",
            stranger(),
            login_only(FIELD, Optional),
            false,
            Err(NoAccount),
        ),
        ("never", stranger(), policy(FIELD, Never), false, creates()),
        (
            "never, given all the same",
            free(),
            policy(FIELD, Never),
            true,
            creates(),
        ),
        (
            "never, login only",
            stranger(),
            login_only(FIELD, Never),
            false,
            Err(NoAccount),
        ),
    ]);
}

#[test]
fn with_ask_association_a_stranger_chooses_in_the_browser() {
    check(vec![
        (
            "stranger",
            stranger(),
            policy(ASK, Never),
            false,
            Ok(Decision::Ask { may_create: true }),
        ),
        (
            "login only",
            stranger(),
            login_only(ASK, Never),
            false,
            Ok(Decision::Ask { may_create: false }),
        ),
        (
            "number first",
            stranger(),
            policy(ASK, Required),
            false,
            Err(PhoneRequired),
        ),
        (
            "the number may be the account's",
            number_of(with_phone("b"), stranger()),
            policy(ASK, Required),
            true,
            Ok(Decision::Ask { may_create: true }),
        ),
    ]);
}
