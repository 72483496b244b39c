//! Users, identities, and who a WeChat identity turns out to be.
//!
//! [`decide`] is the rule, pure and tested over its whole matrix; [`Directory`] finds what the rule asks about and carries
//! out what it says.

mod administration;
mod binding;
mod directory;
pub mod fields;
pub mod import;
mod mask;
pub mod merge;
mod own_identities;
mod phone;
mod profile;
pub mod proof;
mod resolve;
mod user_id;

pub use administration::{AdministrationError, AttributeEdits, Edited, IssuedCode, called, introduced};
pub use binding::{ATTEMPTS_AT_A_TICKET, BindError, Choosing, Claim, PROOF_WINDOW};
pub use directory::{Directory, Recognised, ResolveError, Resolved, WechatIdentity};
pub use mask::{masked_name, masked_user};
pub use own_identities::{Connecting, Holder, UnbindError, may_unbind};
pub use phone::{InvalidPhone, Phone, PhoneProblem};
pub use resolve::{
    Candidate, Decision, Findings, Link, PhoneNote, PhoneOwner, Policy, Refusal, decide, decide_connecting,
    decide_proven,
};
pub use user_id::{NoRandomness, looks_like_user_id, new_user_id};
