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
