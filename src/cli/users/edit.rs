//! `users create` and `users edit`.

use std::io::{self, IsTerminal, Read, Write};

use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::view::UserView;
use super::{UsersError, directory};
use crate::accounts::fields::{self, FieldProblem};
use crate::accounts::{Phone, called, proof};
use crate::cli::complain;
use crate::cli::operator::{Operator, printable, write_json};
use crate::store::{NewUser, UserChange};

/// A new user.
#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    #[command(flatten)]
    fields: Fields,
    /// An account of a program: holds tokens, never logs in with WeChat
    #[arg(long, conflicts_with_all = ["phone", "password_stdin"])]
    service: bool,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// A changed user.
#[derive(Debug, Args)]
pub(in crate::cli) struct Edit {
    /// Username, phone number or id
    target: String,
    #[command(flatten)]
    fields: Fields,
    /// Take the password away
    #[arg(long, conflicts_with = "password_stdin")]
    no_password: bool,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Fields {
    /// Unique; what Remote-User carries
    #[arg(long, value_name = "NAME", value_parser = emptiable(fields::username))]
    username: Option<Emptiable>,
    /// What to call them
    #[arg(long, value_name = "TEXT", value_parser = emptiable(fields::name))]
    name: Option<Emptiable>,
    /// Unique; +8613800138000, or a mobile number of mainland China without +86
    #[arg(long, value_name = "NUMBER", value_parser = emptiable(phone))]
    phone: Option<Emptiable>,
    /// E-mail address
    #[arg(long, value_name = "ADDRESS", value_parser = emptiable(fields::email))]
    email: Option<Emptiable>,
    /// Address of a picture
    #[arg(long, value_name = "URL", value_parser = emptiable(fields::picture))]
    picture: Option<Emptiable>,
    /// All groups anew: repeat it for each; once with an empty value for none
    #[arg(long = "group", value_name = "NAME", value_parser = emptiable(fields::group))]
    groups: Vec<Emptiable>,
    /// Anything else that is worth keeping; without a value it is taken away
    #[arg(long = "attribute", value_name = "KEY=VALUE", value_parser = attribute)]
    attributes: Vec<(String, Option<String>)>,
    /// Read from standard input a password that proves the account when WeChat is bound to it
    #[arg(long)]
    password_stdin: bool,
}

/// A value, or the wish for none.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Emptiable(Option<String>);

fn emptiable(
    check: fn(&str) -> Result<String, FieldProblem>,
) -> impl Fn(&str) -> Result<Emptiable, FieldProblem> + Clone + Send + Sync {
    move |text| match text.trim() {
        "" => Ok(Emptiable(None)),
        text => check(text).map(|value| Emptiable(Some(value))),
    }
}

fn phone(text: &str) -> Result<String, FieldProblem> {
    Ok(Phone::normalise(text)?.as_str().to_owned())
}

fn attribute(text: &str) -> Result<(String, Option<String>), FieldProblem> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    let key = fields::attribute_key(key)?;
    let value = match value.trim() {
        "" => None,
        value => Some(fields::attribute_value(value)?),
    };
    Ok((key, value))
}

impl Fields {
    fn change(&self) -> UserChange {
        let field = |field: &Option<Emptiable>| field.clone().map(|value| value.0);
        let groups = self.groups.iter().filter_map(|group| group.0.as_deref());
        let groups = groups.fold(Vec::new(), |mut groups, group| {
            if !groups.iter().any(|known| known == group) {
                groups.push(group.to_owned());
            }
            groups
        });
        UserChange {
            username: field(&self.username),
            name: field(&self.name),
            picture: field(&self.picture),
            phone: field(&self.phone),
            email: field(&self.email),
            groups: (!self.groups.is_empty()).then_some(groups),
            ..UserChange::default()
        }
    }

    async fn password(&self) -> Result<Option<String>, UsersError> {
        if !self.password_stdin {
            return Ok(None);
        }
        let password = read_password()?;
        let hash = proof::hash(password.expose_secret()).await;
        hash.map(Some).map_err(|error| UsersError::Administration(error.into()))
    }
}

pub(super) async fn create(operator: &Operator<'_>, asked: &Create, out: &mut impl Write) -> Result<(), UsersError> {
    let change = asked.fields.change();
    let attributes = asked.fields.attributes.iter();
    let attributes = attributes.filter_map(|(key, value)| Some((key.clone(), Value::from(value.clone()?))));
    let new = NewUser {
        id: String::new(),
        username: change.username.flatten(),
        name: change.name.flatten(),
        picture: change.picture.flatten(),
        phone: change.phone.flatten(),
        email: change.email.flatten(),
        groups: change.groups.unwrap_or_default(),
        attributes: Map::from_iter(attributes),
        password_hash: asked.fields.password().await?,
        service: asked.service,
        created_at: operator.clock.now(),
    };
    if new.username.is_none() && new.phone.is_none() {
        complain("without a username and a phone number they can be named by their id alone");
    }
    let user = directory(operator).create(new).await?;
    if asked.json {
        return Ok(write_json(&UserView::from(user), out)?);
    }
    writeln!(out, "created {} ({})", printable(called(&user)), user.id)?;
    Ok(out.flush()?)
}

pub(super) async fn edit(operator: &Operator<'_>, asked: &Edit, out: &mut impl Write) -> Result<(), UsersError> {
    let mut change = asked.fields.change();
    if change == UserChange::default()
        && asked.fields.attributes.is_empty()
        && !asked.fields.password_stdin
        && !asked.no_password
    {
        return Err(UsersError::Usage(
            "nothing to change: name the fields, as in --name \"王小明\"; `menshen users edit --help` lists them"
                .to_owned(),
        ));
    }
    let user = operator.user(&asked.target).await?;
    change.password_hash = match asked.fields.password().await? {
        Some(hash) => Some(Some(hash)),
        None => asked.no_password.then_some(None),
    };
    let attributes = asked.fields.attributes.clone();
    let edited = directory(operator)
        .edit(&user.id, change, attributes, operator.clock.now())
        .await?;
    if asked.json {
        return Ok(write_json(&UserView::from(edited.user), out)?);
    }
    let name = printable(called(&edited.user));
    match edited.fields.as_slice() {
        [] => writeln!(out, "{name} ({}) is so already", edited.user.id)?,
        fields => writeln!(out, "changed {} of {name} ({})", fields.join(", "), edited.user.id)?,
    }
    Ok(out.flush()?)
}

/// One line, or all that is piped in, without the line break at its end.
fn read_password() -> Result<SecretString, UsersError> {
    let mut text = zeroize::Zeroizing::new(String::new());
    let failed = |error: io::Error| UsersError::Usage(format!("the password cannot be read: {error}"));
    if io::stdin().is_terminal() {
        complain("password (it will be seen here; better pipe it in):");
        io::stdin().read_line(&mut text).map_err(failed)?;
    } else {
        let limit = LONGEST_PASSWORD as u64 + 3;
        io::stdin()
            .lock()
            .take(limit)
            .read_to_string(&mut text)
            .map_err(failed)?;
    }
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    let length = text.chars().count();
    if length < SHORTEST_PASSWORD || text.len() > LONGEST_PASSWORD || text.contains(char::is_control) {
        return Err(UsersError::Usage(format!(
            "a password is one line of {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters"
        )));
    }
    Ok(SecretString::from(text))
}

const SHORTEST_PASSWORD: usize = 8;
const LONGEST_PASSWORD: usize = 1000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use clap::Parser;

    use super::*;
    use crate::accounts::AttributeEdits;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        edit: Edit,
    }

    fn change(arguments: &[&str]) -> Result<(UserChange, AttributeEdits), String> {
        Line::try_parse_from([&["edit", "alice"], arguments].concat())
            .map(|line| (line.edit.fields.change(), line.edit.fields.attributes))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_value_empties_and_an_absent_one_leaves() {
        let (change, attributes) = change(&[
            "--name",
            "",
            "--phone",
            "138 0013 8000",
            "--group",
            "a",
            "--group",
            "b",
            "--group",
            "a",
            "--attribute",
            "floor=3",
            "--attribute",
            "desk=",
        ])
        .unwrap();
        assert_eq!(change.username, None);
        assert_eq!(change.name, Some(None));
        assert_eq!(change.phone, Some(Some("+8613800138000".to_owned())));
        assert_eq!(change.groups, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(
            attributes,
            [("floor".to_owned(), Some("3".to_owned())), ("desk".to_owned(), None)]
        );
        let (none, _) = self::change(&["--group", ""]).unwrap();
        assert_eq!(none.groups, Some(Vec::new()));
    }

    #[test]
    fn wrong_values_are_refused_where_they_are_written() {
        let table = [
            (
                &["--username", "u_7zzzzzzzzzzzzzzzzzzzzzzzzz"][..],
                "looks like a user id",
            ),
            (&["--phone", "6123 4567"], "country code"),
            (&["--email", "alice"], "name@example.com"),
            (&["--group", "a,b"], "separate groups"),
            (&["--attribute", "a b=c"], "letters, digits"),
        ];
        for (arguments, expected) in table {
            let error = change(arguments).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
