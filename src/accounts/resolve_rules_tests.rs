#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use PhonePolicy::{Never, Optional, Required};
use Refusal::{PhoneRequired, PhoneTaken};

use super::*;

const ASK: Association = Association::Ask { methods: Vec::new() };
const FIELD: Association = Association::Field;
const NONE: Association = Association::None;

/// Everything that can be found, allowed, and given.
fn everything() -> Vec<(Findings, Policy, bool)> {
    let mut users = vec![None];
    for id in ["a", "b"] {
        for disabled in [false, true] {
            for has_phone in [false, true] {
                users.push(Some(Candidate {
                    user_id: id.to_owned(),
                    disabled,
                    has_phone,
                }));
            }
        }
    }
    let mut all = Vec::new();
    for by_openid in &users {
        for by_unionid in &users {
            for owner in &users {
                for has_identity in [false, true] {
                    let owner = owner.clone().map(|candidate| PhoneOwner {
                        candidate,
                        has_identity,
                    });
                    let findings = Findings {
                        by_openid: by_openid.clone(),
                        by_unionid: by_unionid.clone().into_iter().collect(),
                        by_phone: owner,
                    };
                    for association in [NONE, FIELD, ASK] {
                        for login_only in [false, true] {
                            for phone in [Required, Optional, Never] {
                                let policy = Policy {
                                    association: association.clone(),
                                    login_only,
                                    phone,
                                };
                                all.extend([true, false].map(|given| (findings.clone(), policy.clone(), given)));
                            }
                        }
                    }
                }
            }
        }
    }
    all
}

#[test]
fn no_combination_breaks_a_rule() {
    for (findings, policy, given) in everything() {
        let decision = decide(&findings, &policy, given);
        let context = || format!("{findings:?} {policy:?} {given} → {decision:?}");
        let identity_known = findings.by_openid.is_some() || !findings.by_unionid.is_empty();
        let found = || {
            let owner = findings.by_phone.iter().map(|owner| &owner.candidate);
            findings.by_openid.iter().chain(&findings.by_unionid).chain(owner)
        };
        let writes = match &decision {
            Ok(Decision::Use {
                user_id,
                link,
                write_phone,
                ..
            }) => {
                let user = found().find(|user| user.user_id == *user_id).unwrap();
                assert!(!user.disabled, "a disabled user logs in: {}", context());
                assert!(!(*write_phone && user.has_phone), "a number is replaced: {}", context());
                let by_phone = *link == Link::Phone;
                assert_eq!(by_phone, !identity_known, "{}", context());
                if by_phone {
                    assert!(
                        policy.association == FIELD && policy.phone != Never && given,
                        "{}",
                        context()
                    );
                    assert!(
                        !findings.by_phone.as_ref().unwrap().has_identity,
                        "a recycled number opens: {}",
                        context()
                    );
                }
                *write_phone
            }
            Ok(Decision::Create { write_phone, .. }) => {
                assert!(!policy.login_only && !identity_known, "{}", context());
                assert!(policy.association != ASK, "{}", context());
                *write_phone
            }
            Ok(Decision::Ask { may_create }) => {
                assert!(policy.association == ASK && !identity_known, "{}", context());
                assert_eq!(*may_create, !policy.login_only, "{}", context());
                false
            }
            Err(_) => false,
        };
        if writes {
            assert!(given && policy.phone != Never, "{}", context());
            assert!(findings.by_phone.is_none(), "two users with one number: {}", context());
        }
        if policy.phone == Optional {
            assert_ne!(
                decision,
                Err(PhoneRequired),
                "refusing an optional number blocks: {}",
                context()
            );
        }
        if policy.phone == Required && matches!(decision, Ok(Decision::Create { .. })) {
            assert!(writes, "a user without the required number: {}", context());
        }
        if !given {
            assert_ne!(decision, Err(PhoneTaken), "{}", context());
        }
    }
}

#[test]
fn who_is_signed_in_connects_what_is_nobodys_and_keeps_what_they_have() {
    let user = |id: &str| Candidate {
        user_id: id.to_owned(),
        disabled: false,
        has_phone: false,
    };
    let holder = user("a");
    let with_phone = Candidate {
        has_phone: true,
        ..holder.clone()
    };
    let disabled = Candidate {
        disabled: true,
        ..holder.clone()
    };
    let nobody = Findings::default();
    let by_openid = |id| Findings {
        by_openid: Some(user(id)),
        ..Findings::default()
    };
    let by_unionid = |ids: &[&str]| Findings {
        by_unionid: ids.iter().map(|id| user(id)).collect(),
        ..Findings::default()
    };
    let taken = Findings {
        by_phone: Some(PhoneOwner {
            candidate: user("b"),
            has_identity: false,
        }),
        ..Findings::default()
    };
    let two = Findings {
        by_openid: Some(user("a")),
        by_unionid: vec![user("b")],
        ..Findings::default()
    };
    let takes = |write_phone, phone_note| {
        Ok(Decision::Use {
            user_id: "a".to_owned(),
            link: Link::Proof,
            write_phone,
            phone_note,
        })
    };
    // Findings, holder, has one of this app, phone policy, number given.
    let table = [
        (&nobody, &holder, false, Never, false, takes(false, None)),
        (&nobody, &holder, true, Never, false, Err(Refusal::AccountBound)),
        (&nobody, &disabled, false, Never, false, Err(Refusal::UserDisabled)),
        (&by_openid("a"), &holder, true, Never, false, Err(Refusal::AccountBound)),
        (
            &by_openid("b"),
            &holder,
            false,
            Never,
            false,
            Err(Refusal::AccountBound),
        ),
        (&by_unionid(&["a"]), &holder, false, Never, false, takes(false, None)),
        (
            &by_unionid(&["a"]),
            &holder,
            true,
            Never,
            false,
            Err(Refusal::AccountBound),
        ),
        (
            &by_unionid(&["b"]),
            &holder,
            false,
            Never,
            false,
            Err(Refusal::AccountBound),
        ),
        (
            &by_unionid(&["a", "b"]),
            &holder,
            false,
            Never,
            false,
            Err(Refusal::AmbiguousAccount),
        ),
        (&two, &holder, true, Never, false, Err(Refusal::AmbiguousAccount)),
        (&nobody, &holder, false, Required, false, Err(PhoneRequired)),
        (&nobody, &holder, false, Required, true, takes(true, None)),
        (&nobody, &holder, false, Optional, false, takes(false, None)),
        (&nobody, &holder, false, Optional, true, takes(true, None)),
        (&nobody, &holder, false, Never, true, takes(false, None)),
        (&nobody, &with_phone, false, Required, false, takes(false, None)),
        (&nobody, &with_phone, false, Required, true, takes(false, None)),
        (&taken, &holder, false, Required, true, Err(PhoneTaken)),
        (
            &taken,
            &holder,
            false,
            Optional,
            true,
            takes(false, Some(PhoneNote::Taken)),
        ),
        (&taken, &with_phone, false, Required, true, takes(false, None)),
        (&taken, &holder, false, Never, true, takes(false, None)),
    ];
    for (findings, holder, has_identity, phone, given, expected) in table {
        // What a connection does with strangers is no matter: nobody new comes.
        for association in [NONE, FIELD, ASK] {
            for login_only in [false, true] {
                let policy = Policy {
                    association: association.clone(),
                    login_only,
                    phone,
                };
                let decision = decide_connecting(findings, holder, has_identity, &policy, given);
                assert_eq!(
                    decision, expected,
                    "{findings:?} {holder:?} {has_identity} {policy:?} {given}"
                );
            }
        }
    }
}
