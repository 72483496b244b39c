//! `users merge`.

use std::io::Write;

use clap::Args;
use serde_json::json;

use super::{UsersError, directory};
use crate::accounts::introduced;
use crate::accounts::merge::{MergeError, MergePlan};
use crate::cli::complain;
use crate::cli::operator::{Operator, printable, write_json};
use crate::store::User;

/// Who becomes a part of whom.
#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    /// Who stays: username, phone number or id
    #[arg(required_unless_present = "undo", requires = "remove", conflicts_with = "undo")]
    keep: Option<String>,
    /// Who becomes a part of them
    #[arg(conflicts_with = "undo")]
    remove: Option<String>,
    /// Do it
    #[arg(long)]
    yes: bool,
    /// Also when they may be two people
    #[arg(long, conflicts_with = "undo")]
    force: bool,
    /// Take the merge with this number back
    #[arg(long, value_name = "NUMBER")]
    undo: Option<i64>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

pub(super) async fn merge(operator: &Operator<'_>, options: &Options, out: &mut impl Write) -> Result<(), UsersError> {
    match (options.undo, &options.keep, &options.remove) {
        (Some(seq), ..) => undo(operator, seq, options, out).await,
        (None, Some(keep), Some(remove)) => {
            let (keep, remove) = (operator.user(keep).await?, operator.user(remove).await?);
            make(operator, &keep, &remove, options, out).await
        }
        (None, ..) => Err(UsersError::Usage("name two users, or --undo NUMBER".to_owned())),
    }
}

async fn make(
    operator: &Operator<'_>,
    keep: &User,
    remove: &User,
    options: &Options,
    out: &mut impl Write,
) -> Result<(), UsersError> {
    let planned = directory(operator).plan_merge(keep, remove).await?;
    let refused = !planned.conflicts.is_empty() && !options.force;
    if !options.yes || refused {
        show(keep, remove, &planned, None, options.json, out)?;
        if refused {
            return Err(MergeError::Conflicts.into());
        }
        if !options.json {
            complain("nothing has changed: the same with --yes does it");
        }
        return Ok(());
    }
    let now = operator.clock.now();
    let merged = directory(operator)
        .merge(&keep.id, &remove.id, options.force, now)
        .await?;
    show(keep, remove, &merged.plan, Some(merged.seq), options.json, out)
}

async fn undo(operator: &Operator<'_>, seq: i64, options: &Options, out: &mut impl Write) -> Result<(), UsersError> {
    let undone = directory(operator).undo_merge(seq, operator.clock.now()).await?;
    if options.json {
        let shown = json!({
            "undone": seq,
            "kept": undone.kept.id,
            "restored": undone.restored.id,
            "identities": undone.identities,
        });
        return Ok(write_json(&shown, out)?);
    }
    writeln!(
        out,
        "{} is there again, identities given back: {}; the sessions of {} have ended",
        printable(&introduced(&undone.restored)),
        undone.identities,
        printable(&introduced(&undone.kept)),
    )?;
    Ok(out.flush()?)
}

/// What it does, or what it did when it has a number.
fn show(
    keep: &User,
    remove: &User,
    plan: &MergePlan,
    seq: Option<i64>,
    json: bool,
    out: &mut impl Write,
) -> Result<(), UsersError> {
    let identities: Vec<_> = plan
        .identities
        .iter()
        .map(|row| format!("{}:{}", row.app_id, row.openid))
        .collect();
    let conflicts: Vec<_> = plan.conflicts.iter().map(ToString::to_string).collect();
    if json {
        let shown = json!({
            "done": seq.is_some(),
            "number": seq,
            "keep": keep.id,
            "remove": remove.id,
            "fills": plan.filled,
            "loses": plan.lost,
            "groups": plan.groups,
            "identities": identities,
            "conflicts": conflicts,
        });
        return Ok(write_json(&shown, out)?);
    }
    let list = |values: &[&str]| values.join(", ");
    let mut lines = vec![
        ("keeps", introduced(keep)),
        ("removes", introduced(remove)),
        ("fills", list(&plan.filled)),
        ("adds groups", plan.groups.join(";")),
        ("loses", list(&plan.lost)),
    ];
    lines.extend(identities.into_iter().map(|identity| ("moves", identity)));
    lines.extend(conflicts.into_iter().map(|conflict| ("conflict", conflict)));
    lines.push((
        "ends",
        format!("every session, token and code of {}", introduced(remove)),
    ));
    for (what, text) in lines {
        if !text.is_empty() {
            writeln!(out, "{what:<12}{}", printable(&text))?;
        }
    }
    if let Some(seq) = seq {
        writeln!(out, "done. `menshen users merge --undo {seq}` takes it back")?;
    }
    Ok(out.flush()?)
}
