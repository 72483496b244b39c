//! `menshen login`: signing in from a terminal.
//!
//! It needs no configuration and no store, only the address of a site behind some Menshen. The token alone goes to
//! standard output, so that `TOKEN=$(menshen login https://wiki.example.com)` is all that a script needs.

mod drawing;
mod gateway;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::cli::operator::{printable, write_json};
use crate::cli::{DONE, FAILED, WRONG_USAGE, complain};
use drawing::{draw_code, draw_number};
use gateway::{Address, Answered, Gateway, GatewayError, Ticket, Tokens};

/// What to sign in to.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Any address of the site: `https://wiki.example.com`
    url: String,
    /// Id of the connection to sign in with [default: the first of the site]
    #[arg(long, value_name = "ID")]
    connection: Option<String>,
    /// Print the whole answer as JSON: also the refresh token, and when the token ends
    #[arg(long)]
    json: bool,
}

/// Why there is no token. The text is what the person reads.
#[derive(Debug, thiserror::Error)]
enum LoginError {
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    #[error(
        "connection {0:?} shows WeChat's round codes, which a terminal cannot draw: name another with --connection, or ask \
         the operator to set link_prefix (beside qr = \"wxacode\", or with qr = \"link\")"
    )]
    NoCode(String),
    #[error("the code is too long to be drawn: ask the operator for a shorter link_prefix")]
    TooLong,
    #[error("nobody has confirmed in time: run the command again for a new code")]
    Late,
    #[error("interrupted; nobody was signed in")]
    Interrupted,
    #[error("this machine gives no random numbers")]
    NoRandomness,
    #[error("the result cannot be written: {0}")]
    Output(#[from] io::Error),
    #[error("no runtime: {0}")]
    Runtime(io::Error),
}

/// What `--json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    access_token: &'a str,
    token_type: &'a str,
    expires_in: i64,
    refresh_token: &'a str,
    gateway: &'a str,
}

/// Signs in; the exit code.
pub(super) fn run(options: &Options, out: &mut impl Write) -> u8 {
    let address = match Address::parse(&options.url) {
        Ok(address) => address,
        Err(mistake) => {
            complain(&mistake.to_string());
            return WRONG_USAGE;
        }
    };
    if address.is_plain() {
        complain("warning: over plain HTTP whoever reads along can use the token; good for this machine only");
    }
    match sign_in(options, address, out) {
        Ok(()) => DONE,
        Err(error) => {
            complain(&error.to_string());
            FAILED
        }
    }
}

fn sign_in(options: &Options, address: Address, out: &mut impl Write) -> Result<(), LoginError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(LoginError::Runtime)?;
    let gateway = Gateway::new(address)?;
    let tokens = runtime.block_on(async {
        tokio::select! {
            tokens = obtain(&gateway, options.connection.as_deref()) => tokens,
            // Without a handler the signal ends the process by itself.
            Ok(()) = tokio::signal::ctrl_c() => Err(LoginError::Interrupted),
        }
    })?;
    if options.json {
        let printed = Printed {
            access_token: &tokens.access_token,
            token_type: &tokens.token_type,
            expires_in: tokens.expires_in,
            refresh_token: &tokens.refresh_token,
            gateway: gateway.origin(),
        };
        write_json(&printed, out)?;
    } else {
        writeln!(out, "{}", tokens.access_token)?;
        out.flush()?;
    }
    say(&format!(
        "Signed in. The token ends in {} minutes.\n",
        tokens.expires_in / 60
    ));
    Ok(())
}

/// Shows the code and waits for the phone.
async fn obtain(gateway: &Gateway, connection: Option<&str>) -> Result<Tokens, LoginError> {
    let verifier = random_verifier()?;
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
    let ticket = gateway.ticket(connection, &challenge).await?;
    show(&ticket)?;
    let ends = Instant::now() + LONGEST;
    let mut seen = "pending".to_owned();
    let mut failures = 0;
    while Instant::now() < ends {
        let asked = Instant::now();
        let pause = match gateway.redeem(&ticket.id, &verifier, &seen).await {
            Ok(Answered::Tokens(tokens)) => return Ok(tokens),
            Ok(Answered::Waiting(waiting)) => {
                failures = 0;
                let changed = waiting.status != seen;
                if changed {
                    tell(&waiting.status, waiting.user.as_ref().map(|user| &*user.name));
                    seen = waiting.status;
                }
                // A gateway that does not hold the question open is asked now and then.
                PAUSE
                    .saturating_sub(asked.elapsed())
                    .min(if changed { Duration::ZERO } else { PAUSE })
            }
            Err(GatewayError::Busy { retry_after, .. }) => retry_after,
            // The person has their phone in hand: a lost connection is no reason to begin again.
            Err(error @ (GatewayError::Unreachable { .. } | GatewayError::Unavailable { .. })) => {
                failures += 1;
                if failures > MOST_FAILURES {
                    return Err(error.into());
                }
                PAUSE
            }
            Err(GatewayError::Refused { code, .. }) if code == "ticket_expired" => return Err(LoginError::Late),
            Err(error) => return Err(error.into()),
        };
        sleep(pause).await;
    }
    Err(LoginError::Late)
}

fn show(ticket: &Ticket) -> Result<(), LoginError> {
    let text = ticket
        .qr_text
        .as_deref()
        .ok_or_else(|| LoginError::NoCode(printable(&ticket.connection)))?;
    let coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let code = draw_code(text, coloured).ok_or(LoginError::TooLong)?;
    say(&format!(
        "\n{code}\n  Scan this code with WeChat.\n  It is the code of {}\n",
        printable(text)
    ));
    if let Some(number) = ticket.number {
        say(&format!(
            "\n{}\n\n  On the phone, give the number {number}.\n",
            draw_number(number)
        ));
    }
    say(&format!(
        "\n  Waiting for {} seconds. Ctrl+C ends it.\n",
        ticket.expires_in
    ));
    Ok(())
}

/// What has changed.
fn tell(status: &str, user: Option<&str>) {
    let who = user.map(|name| format!(" by {}", printable(name))).unwrap_or_default();
    match status {
        "scanned" => say(&format!("  Scanned{who}: now confirm on the phone.\n")),
        "bind" => say(
            "  This WeChat account belongs to nobody yet. Sign in once in a browser to choose an account, then run this \
             again.\n",
        ),
        _ => {}
    }
}

/// RFC 7636 §4.1: 43 characters.
fn random_verifier() -> Result<String, LoginError> {
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes).map_err(|_| LoginError::NoRandomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Text for the person, beside the result.
fn say(text: &str) {
    // Nobody is left to tell when this fails.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Between two questions to a gateway that answers at once.
const PAUSE: Duration = Duration::from_secs(2);
/// A code is scanned and confirmed long before, or has ended.
const LONGEST: Duration = Duration::from_secs(1_800);
/// Lost connections in a row.
const MOST_FAILURES: u32 = 5;
