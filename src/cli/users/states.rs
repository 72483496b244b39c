//! `users disable`, `users enable`, `users delete`.

use std::io::Write;

use clap::Args;

use super::{UsersError, directory};
use crate::accounts::{called, introduced};
use crate::cli::operator::{Operator, agreed, printable};

/// Who, and why.
#[derive(Debug, Args)]
pub(in crate::cli) struct Change {
    /// Username, phone number or id
    name: String,
    /// Kept in the audit
    #[arg(long, default_value = "operator", value_name = "TEXT", value_parser = reason)]
    reason: String,
}

/// Who is to be forgotten.
#[derive(Debug, Args)]
pub(in crate::cli) struct Delete {
    #[command(flatten)]
    change: Change,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(super) async fn set_disabled(
    operator: &Operator<'_>,
    change: &Change,
    disabled: bool,
    out: &mut impl Write,
) -> Result<(), UsersError> {
    let user = operator.user(&change.name).await?;
    let now = operator.clock.now();
    let changed = directory(operator)
        .set_disabled(&user.id, disabled, &change.reason, now)
        .await?;
    let state = if disabled { "disabled" } else { "enabled" };
    let name = printable(called(&user));
    if changed {
        writeln!(out, "{state} {name} ({})", user.id)?;
    } else {
        writeln!(out, "{name} ({}) is {state} already", user.id)?;
    }
    Ok(out.flush()?)
}

pub(super) async fn delete(operator: &Operator<'_>, delete: &Delete, out: &mut impl Write) -> Result<(), UsersError> {
    let user = operator.user(&delete.change.name).await?;
    let question = format!(
        "Forget {} with identities, sessions and tokens? This cannot be taken back.",
        printable(&introduced(&user))
    );
    if !delete.yes && !agreed(&question)? {
        return Err(UsersError::Usage(
            "nobody was deleted: say --yes, or answer `y` at a terminal".to_owned(),
        ));
    }
    let now = operator.clock.now();
    directory(operator).delete(&user.id, &delete.change.reason, now).await?;
    writeln!(out, "deleted {} ({})", printable(called(&user)), user.id)?;
    Ok(out.flush()?)
}

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    let good = (1..=200).contains(&text.chars().count()) && !text.contains(char::is_control);
    good.then(|| text.to_owned())
        .ok_or_else(|| "write 1 to 200 characters on one line".to_owned())
}
