//! `users bind` and `users unbind`.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use secrecy::ExposeSecret;
use serde_json::json;

use super::{UsersError, directory};
use crate::accounts::called;
use crate::cli::complain;
use crate::cli::operator::{Operator, moment, printable, write_json};
use crate::config;
use crate::config::settings::Association;

/// Whom a code is for.
#[derive(Debug, Args)]
pub(in crate::cli) struct Bind {
    /// Username, phone number or id
    name: String,
    /// How long the code is taken, 1m to 30d
    #[arg(long, default_value = "24h", value_name = "DURATION", value_parser = lifetime)]
    expires: Duration,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// Which identity goes.
#[derive(Debug, Args)]
pub(in crate::cli) struct Unbind {
    /// Username, phone number or id
    name: String,
    /// As `users show` lists it
    #[arg(long, value_name = "APPID:OPENID", value_parser = identity)]
    identity: (String, String),
    /// Also the last one, after which they cannot log in
    #[arg(long)]
    force: bool,
}

pub(super) async fn bind(operator: &Operator<'_>, bind: &Bind, out: &mut impl Write) -> Result<(), UsersError> {
    let user = operator.user(&bind.name).await?;
    let issued = directory(operator)
        .issue_bind_code(&user, bind.expires, operator.clock.now())
        .await?;
    let asks = |association: &Association| matches!(association, Association::Ask { .. });
    if !operator
        .settings
        .connections
        .iter()
        .any(|connection| asks(&connection.association))
    {
        complain("no connection has association = \"ask\": nobody is asked for a code yet");
    }
    let code = issued.code.expose_secret();
    if bind.json {
        let shown = json!({ "user_id": user.id, "code": code, "expires_at": issued.expires_at });
        return Ok(write_json(&shown, out)?);
    }
    complain(&format!(
        "this code binds one WeChat account to {} ({}), until {}; it is shown this once, and replaces any code before it",
        printable(called(&user)),
        user.id,
        moment(issued.expires_at)
    ));
    writeln!(out, "{code}")?;
    Ok(out.flush()?)
}

pub(super) async fn unbind(operator: &Operator<'_>, unbind: &Unbind, out: &mut impl Write) -> Result<(), UsersError> {
    let user = operator.user(&unbind.name).await?;
    let (app_id, openid) = &unbind.identity;
    directory(operator)
        .unbind(&user, app_id, openid, unbind.force, operator.clock.now())
        .await?;
    writeln!(
        out,
        "unbound {} from {} ({}); their sessions have ended",
        printable(&format!("{app_id}:{openid}")),
        printable(called(&user)),
        user.id
    )?;
    Ok(out.flush()?)
}

fn identity(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((app_id, openid)) if !app_id.is_empty() && !openid.is_empty() => {
            Ok((app_id.to_owned(), openid.to_owned()))
        }
        _ => Err("write the AppID and the openid with a colon between, as `menshen users show` lists them".to_owned()),
    }
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = config::duration(text)?;
    let bounds = Duration::from_secs(60)..=Duration::from_secs(30 * 86_400);
    if bounds.contains(&lifetime) {
        Ok(lifetime)
    } else {
        Err("a code is taken for 1m to 30d".to_owned())
    }
}
