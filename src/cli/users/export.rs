//! `users export`.

use std::collections::BTreeSet;
use std::io::{self, Write};

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use super::UsersError;
use super::list::each;
use super::view::{IdentityView, UserView};
use crate::cli::audit::EventView;
use crate::cli::complain;
use crate::cli::operator::{Listing, Operator, OperatorError, write_json};
use crate::store::{AuditFilter, AuditOrder, SessionRow, User};

/// What is written, and how.
#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    /// Everything that is known of one person, as JSON: username, phone number or id
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// csv can be imported again; json has everybody with every field [default: csv, with --user json]
    #[arg(long, value_enum)]
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Csv,
    Json,
}

/// One person's data.
#[derive(Serialize)]
struct PersonView {
    user: UserView,
    identities: Vec<IdentityView>,
    sessions: Vec<SessionView>,
    audit: Vec<EventView>,
}

#[derive(Serialize)]
struct SessionView {
    connection: String,
    site: String,
    host: String,
    device: Value,
    address: String,
    place: Option<String>,
    created_at: i64,
    auth_time: i64,
    expires_at: i64,
    last_used_at: i64,
    ended_at: Option<i64>,
}

pub(super) async fn export(operator: &Operator<'_>, options: &Options, out: &mut impl Write) -> Result<(), UsersError> {
    match (&options.user, options.format) {
        (Some(_), Some(Format::Csv)) => Err(UsersError::Usage(
            "one person's data is JSON: leave --format csv out".to_owned(),
        )),
        (Some(name), _) => person(operator, name, out).await,
        (None, Some(Format::Json)) => {
            let mut listing = Listing::new(true, out);
            each(operator, |users| {
                let views: Vec<_> = users.into_iter().map(UserView::from).collect();
                Ok(listing.add(&views)?)
            })
            .await?;
            Ok(listing.end()?)
        }
        (None, _) => csv(operator, out).await,
    }
}

async fn person(operator: &Operator<'_>, name: &str, out: &mut impl Write) -> Result<(), UsersError> {
    let user = operator.user(name).await?;
    let identities = operator.store.identities_of(&user.id).await?;
    let sessions = operator.store.all_sessions_of(&user.id).await?;
    let filter = AuditFilter {
        user_id: Some(user.id.clone()),
        ..AuditFilter::default()
    };
    let (mut audit, mut after) = (Vec::new(), None);
    loop {
        let page = operator
            .store
            .audit_page(&filter, AuditOrder::OldestFirst, after)
            .await?;
        audit.extend(page.rows.into_iter().map(EventView::from));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let view = PersonView {
        user: user.into(),
        identities: identities.into_iter().map(IdentityView::from).collect(),
        sessions: sessions.into_iter().map(SessionView::from).collect(),
        audit,
    };
    Ok(write_json(&view, out)?)
}

/// Users as `users import` reads them. Twice through the directory: the columns of attributes have to be known first.
async fn csv(operator: &Operator<'_>, out: &mut impl Write) -> Result<(), UsersError> {
    let mut keys = BTreeSet::new();
    each(operator, |users| {
        keys.extend(
            users
                .iter()
                .filter(|user| is_importable(user))
                .flat_map(|user| user.attributes.keys().cloned()),
        );
        Ok(())
    })
    .await?;
    let keys: Vec<_> = keys.into_iter().collect();
    let mut writer = csv::Writer::from_writer(&mut *out);
    writer.write_record(header(&keys)).map_err(output)?;
    let mut left_out = 0_u64;
    each(operator, |users| {
        for user in users {
            if is_importable(&user) {
                writer.write_record(record(&user, &keys)).map_err(output)?;
            } else {
                left_out += 1;
            }
        }
        Ok(())
    })
    .await?;
    writer.flush()?;
    if left_out > 0 {
        complain(&format!(
            "left out {left_out}: disabled users, service accounts, and users with neither username nor phone number; \
             --format json has them"
        ));
    }
    Ok(())
}

/// An import elsewhere must not let in who is kept out here, nor make a person of a program.
fn is_importable(user: &User) -> bool {
    !user.disabled && !user.service && (user.username.is_some() || user.phone.is_some())
}

fn header(keys: &[String]) -> Vec<String> {
    let known = ["username", "name", "phone", "email", "groups"].map(str::to_owned);
    known
        .into_iter()
        .chain(keys.iter().map(|key| format!("attribute:{key}")))
        .collect()
}

fn record(user: &User, keys: &[String]) -> Vec<String> {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let mut record = vec![
        text(&user.username),
        text(&user.name),
        text(&user.phone),
        text(&user.email),
        user.groups.join(";"),
    ];
    record.extend(keys.iter().map(|key| match user.attributes.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    }));
    record
}

fn output(error: csv::Error) -> UsersError {
    let error = match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    };
    UsersError::Operator(OperatorError::Output(error))
}

impl From<SessionRow> for SessionView {
    fn from(row: SessionRow) -> Self {
        Self {
            connection: row.connection,
            site: row.site,
            host: row.host,
            device: serde_json::from_str(&row.device).unwrap_or(Value::String(row.device)),
            address: row.address,
            place: row.place,
            created_at: row.created_at,
            auth_time: row.auth_time,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
            ended_at: row.ended_at,
        }
    }
}
