//! What a file means for the directory: the rule, pure.

use std::collections::HashMap;

use serde_json::Value;

use super::table::Line;
use super::{BadLine, Found, Outcome};
use crate::accounts::administration::introduced;
use crate::accounts::user_id::{NoRandomness, new_user_id};
use crate::store::User;

/// A user who is to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// As they will be.
    pub user: User,
    /// They are new.
    pub created: bool,
    /// Otherwise: names of the fields that will be different.
    pub fields: Vec<&'static str>,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// In the order of the file.
    pub changes: Vec<Change>,
    /// Users who are so already.
    pub unchanged: usize,
    /// Then nothing is to be done.
    pub bad_lines: Vec<BadLine>,
}

/// Who each line is about, and what it changes. The username finds the user, else the number does. A cell with text is
/// written over what is there, except that nobody gets another username: a number may have changed hands, a name may not.
///
/// # Errors
/// [`NoRandomness`].
pub fn plan(lines: &[Line], found: &Found, now: i64) -> Result<Plan, NoRandomness> {
    let mut plan = Plan::default();
    let mut lines_of: HashMap<&str, u64> = HashMap::new();
    for line in lines {
        match target(line, found) {
            Err((column, problem)) => plan.bad(line, column, problem),
            Ok(None) => plan.changes.push(Change {
                user: applied(line, new_user(now)?, now),
                created: true,
                fields: Vec::new(),
            }),
            Ok(Some(user)) => {
                if let Some(first) = lines_of.insert(&user.id, line.number) {
                    let problem = format!("the same person as on line {first}: one line for each person");
                    plan.bad(line, None, problem);
                    continue;
                }
                let after = applied(line, user.clone(), now);
                let fields = different(user, &after);
                if fields.is_empty() {
                    plan.unchanged += 1;
                } else {
                    plan.changes.push(Change {
                        user: after,
                        created: false,
                        fields,
                    });
                }
            }
        }
    }
    Ok(plan)
}

impl Plan {
    /// In numbers.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let created = self.changes.iter().filter(|change| change.created).count();
        Outcome {
            created,
            updated: self.changes.len() - created,
            unchanged: self.unchanged,
            bad_lines: self.bad_lines.clone(),
        }
    }

    /// Everybody who is to be written.
    #[must_use]
    pub fn users(&self) -> Vec<User> {
        self.changes.iter().map(|change| change.user.clone()).collect()
    }

    /// Those of them who are there already.
    pub fn known(&self) -> impl Iterator<Item = &User> {
        self.changes
            .iter()
            .filter(|change| !change.created)
            .map(|change| &change.user)
    }

    fn bad(&mut self, line: &Line, column: Option<&str>, problem: String) {
        self.bad_lines.push(BadLine {
            line: line.number,
            column: column.map(str::to_owned),
            problem,
        });
    }
}

type Refused = (Option<&'static str>, String);

fn target<'f>(line: &Line, found: &'f Found) -> Result<Option<&'f User>, Refused> {
    let named = line.username_key.as_deref().and_then(|key| found.username(key));
    let called = line.phone.as_deref().and_then(|phone| found.phone(phone));
    let user = match (named, called) {
        (Some(named), Some(called)) if named.id != called.id => {
            let problem = format!(
                "that of {}, but the username is that of {}: correct one of them, or make them one with `menshen users merge`",
                introduced(called),
                introduced(named)
            );
            return Err((Some("phone"), problem));
        }
        (None, Some(called)) if line.username.is_some() && called.username.is_some() => {
            let problem = format!(
                "that of {}: correct the number or the username, or rename them with `menshen users edit`",
                introduced(called)
            );
            return Err((Some("phone"), problem));
        }
        (named, called) => named.or(called),
    };
    match user {
        Some(user) if user.service => {
            let problem = format!("{} is a service account: it is no person to import", introduced(user));
            Err((None, problem))
        }
        user => Ok(user),
    }
}

fn new_user(now: i64) -> Result<User, NoRandomness> {
    Ok(User {
        id: new_user_id()?,
        created_at: now,
        ..User::default()
    })
}

fn applied(line: &Line, user: User, now: i64) -> User {
    let mut attributes = user.attributes.clone();
    for (key, value) in &line.attributes {
        attributes.insert(key.clone(), Value::from(value.as_str()));
    }
    let written = |cell: &Option<String>, held: Option<String>| cell.clone().or(held);
    User {
        username: written(&line.username, user.username),
        name: written(&line.name, user.name),
        phone: written(&line.phone, user.phone),
        email: written(&line.email, user.email),
        groups: match &line.groups {
            // The order of groups means nothing.
            Some(groups) if !same_groups(groups, &user.groups) => groups.clone(),
            _ => user.groups,
        },
        attributes,
        updated_at: now,
        ..user
    }
}

fn same_groups(one: &[String], other: &[String]) -> bool {
    one.len() == other.len() && one.iter().all(|group| other.contains(group))
}

fn different(before: &User, after: &User) -> Vec<&'static str> {
    let fields = [
        ("username", before.username != after.username),
        ("name", before.name != after.name),
        ("phone", before.phone != after.phone),
        ("email", before.email != after.email),
        ("groups", before.groups != after.groups),
        ("attributes", before.attributes != after.attributes),
    ];
    fields
        .into_iter()
        .filter(|(_, different)| *different)
        .map(|(name, _)| name)
        .collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
