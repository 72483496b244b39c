//! `users list` and `users show`.

use std::io::{self, IsTerminal, Write};

use clap::Args;
use serde::Serialize;

use super::UsersError;
use super::view::{IdentityView, UserView};
use crate::cli::complain;
use crate::cli::operator::{Listing, Operator, moment, printable, write_json};
use crate::store::{User, fold_username};

/// Which users.
#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    #[command(flatten)]
    filter: Filter,
    /// At most so many; 0 is no limit
    #[arg(long, default_value_t = 100, value_name = "NUMBER")]
    limit: u64,
    /// Go on behind this id
    #[arg(long, default_value = "", value_name = "ID", hide_default_value = true)]
    after: String,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// What has to fit.
#[derive(Debug, Default, Args)]
pub(super) struct Filter {
    /// Text in username, name, phone number, e-mail or id, in any spelling
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Members of this group
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Only those who may not log in
    #[arg(long)]
    disabled: bool,
    /// Only accounts of programs
    #[arg(long)]
    service: bool,
}

impl Filter {
    /// Whether a user is meant. The search text is folded already.
    fn fits(&self, user: &User, search: Option<&str>) -> bool {
        let fields = [&user.username, &user.name, &user.phone, &user.email];
        let found = |search: &str| {
            user.id.contains(search)
                || fields
                    .into_iter()
                    .flatten()
                    .any(|field| fold_username(field).contains(search))
        };
        search.is_none_or(found)
            && self.group.as_ref().is_none_or(|group| user.groups.contains(group))
            && (!self.disabled || user.disabled)
            && (!self.service || user.service)
    }
}

pub(super) async fn list(operator: &Operator<'_>, options: &Options, out: &mut impl Write) -> Result<(), UsersError> {
    let mut listing = Listing::new(options.json, out);
    let mut left = if options.limit == 0 { u64::MAX } else { options.limit };
    let search = options.filter.search.as_deref().map(fold_username);
    let (mut after, mut last_shown) = (options.after.clone(), None);
    // Filtered here and not by the store: what fits may be one of ten million, and every statement has to be short.
    loop {
        let page = operator.store.users_after(&after, PAGE).await?;
        let Some(last) = page.last() else {
            break;
        };
        after.clone_from(&last.id);
        let fitting = page
            .into_iter()
            .filter(|user| options.filter.fits(user, search.as_deref()));
        let mut fitting = fitting.peekable();
        let mut shown = Vec::new();
        while left > 0
            && let Some(user) = fitting.next()
        {
            last_shown = Some(user.id.clone());
            shown.push(UserView::from(user));
            left -= 1;
        }
        listing.add(&shown)?;
        if left == 0 {
            if let Some(last) = last_shown.filter(|_| io::stderr().is_terminal()) {
                complain(&format!("{} shown; go on with --after {last}", options.limit));
            }
            break;
        }
    }
    Ok(listing.end()?)
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    user: UserView,
    identities: Vec<IdentityView>,
    live_sessions: usize,
}

pub(super) async fn show(
    operator: &Operator<'_>,
    name: &str,
    json: bool,
    out: &mut impl Write,
) -> Result<(), UsersError> {
    let user = operator.user(name).await?;
    let identities = operator.store.identities_of(&user.id).await?;
    let sessions = operator.store.sessions_of(&user.id, operator.clock.now()).await?;
    let shown = Shown {
        user: user.clone().into(),
        identities: identities.into_iter().map(IdentityView::from).collect(),
        live_sessions: sessions.len(),
    };
    if json {
        return Ok(write_json(&shown, out)?);
    }
    let at = |at: Option<i64>| at.map(moment).unwrap_or_default();
    let mut lines = vec![
        ("id", user.id.clone()),
        ("username", user.username.unwrap_or_default()),
        ("name", user.name.unwrap_or_default()),
        ("phone", user.phone.unwrap_or_default()),
        ("email", user.email.unwrap_or_default()),
        ("picture", user.picture.unwrap_or_default()),
        ("groups", user.groups.join(";")),
        ("state", shown.user.state()),
        ("password", if user.has_password { "set" } else { "" }.to_owned()),
        ("created", moment(user.created_at)),
        ("changed", moment(user.updated_at)),
        ("last login", at(user.last_login_at)),
        ("sessions", shown.live_sessions.to_string()),
    ];
    for (key, value) in &user.attributes {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        lines.push(("attribute", format!("{key}={value}")));
    }
    for identity in &shown.identities {
        let text = format!(
            "{}:{} since {}",
            identity.app_id,
            identity.openid,
            moment(identity.created_at)
        );
        lines.push(("identity", text));
    }
    for (what, value) in lines {
        if !value.is_empty() {
            writeln!(out, "{what:<11}{}", printable(&value))?;
        }
    }
    Ok(out.flush()?)
}

/// Every user, page by page.
pub(super) async fn each(
    operator: &Operator<'_>,
    mut work: impl FnMut(Vec<User>) -> Result<(), UsersError>,
) -> Result<(), UsersError> {
    let mut after = String::new();
    loop {
        let page = operator.store.users_after(&after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(());
        };
        after.clone_from(&last.id);
        work(page)?;
    }
}

/// Users of one statement.
const PAGE: u32 = 1000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_filter_finds_text_in_any_spelling_and_groups_as_they_are() {
        let user = User {
            id: "u_1".to_owned(),
            username: Some("Alice".to_owned()),
            name: Some("王小明".to_owned()),
            phone: Some("+8613800138000".to_owned()),
            email: Some("A@Example.com".to_owned()),
            groups: vec!["ops".to_owned()],
            disabled: true,
            ..User::default()
        };
        let filter = |search: &str| Filter {
            search: Some(search.to_owned()),
            ..Filter::default()
        };
        let group = |group: &str| Filter {
            group: Some(group.to_owned()),
            ..Filter::default()
        };
        let service = Filter {
            service: true,
            ..Filter::default()
        };
        let disabled = Filter {
            disabled: true,
            ..Filter::default()
        };
        let table = [
            (filter("ALI"), true),
            (filter("ａｌｉ"), true),
            (filter("小"), true),
            (filter("0138"), true),
            (filter("example.COM"), true),
            (filter("u_1"), true),
            (filter("bob"), false),
            (group("ops"), true),
            (group("op"), false),
            (disabled, true),
            (service, false),
            (Filter::default(), true),
        ];
        for (filter, expected) in table {
            let search = filter.search.as_deref().map(fold_username);
            assert_eq!(filter.fits(&user, search.as_deref()), expected, "{filter:?}");
        }
    }
}
