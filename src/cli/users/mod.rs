//! `menshen users`: the directory.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::accounts::import::ImportError;
use crate::accounts::merge::MergeError;
use crate::accounts::{AdministrationError, Directory};
use crate::cli::operator::{Operator, OperatorError, at_store, configuration};
use crate::cli::{DONE, FAILED, WRONG_USAGE, complain};
use crate::store::StoreError;

mod edit;
mod export;
mod identities;
mod import;
mod list;
mod merge;
mod states;
mod view;

/// What is asked of the directory. A NAME is a username, a phone number or an id.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// List users, in the order of their ids
    List(list::Options),
    /// Show one user with identities and the number of live sessions
    Show {
        /// Username, phone number or id
        name: String,
        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Make a user
    Create(edit::Create),
    /// Change fields of a user; an empty value empties a field
    Edit(edit::Edit),
    /// Import users from a CSV file: all of it or nothing
    Import {
        /// Columns by name, in any order: username, name, phone, email, groups (separated by `;`), attribute:KEY
        file: PathBuf,
        /// Say what would happen, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Write all users, or everything that is known of one
    Export(export::Options),
    /// Forbid a user to log in, and end their sessions everywhere
    Disable(states::Change),
    /// Allow a user to log in again
    Enable(states::Change),
    /// Forget a user with identities, sessions and tokens
    Delete(states::Delete),
    /// Issue a one-time code with which a person binds their WeChat to this user
    Bind(identities::Bind),
    /// Take a WeChat identity from a user
    Unbind(identities::Unbind),
    /// Make two users one, or take that back: shows what it would do, does it with --yes
    Merge(merge::Options),
}

/// Why a verb failed. The text is what the operator reads.
#[derive(Debug, thiserror::Error)]
enum UsersError {
    #[error(transparent)]
    Operator(#[from] OperatorError),
    #[error(transparent)]
    Administration(#[from] AdministrationError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// Known before the store was touched.
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    File(String),
    /// Everything has been said.
    #[error("")]
    Said,
}

impl From<StoreError> for UsersError {
    fn from(error: StoreError) -> Self {
        Self::Operator(error.into())
    }
}

impl From<std::io::Error> for UsersError {
    fn from(error: std::io::Error) -> Self {
        Self::Operator(error.into())
    }
}

/// Does what is asked; the exit code.
pub(super) fn run(verb: &Verb, path: &Path, out: &mut impl Write) -> u8 {
    let Some(loaded) = configuration(path) else {
        return WRONG_USAGE;
    };
    // What takes long and needs no store is done before it is opened.
    let prepared = match verb {
        Verb::Import { file, .. } => import::read(file).map(Some),
        _ => Ok(None),
    };
    let result = prepared.and_then(|table| {
        at_store(&loaded.settings, async |operator| match verb {
            Verb::List(options) => list::list(operator, options, out).await,
            Verb::Show { name, json } => list::show(operator, name, *json, out).await,
            Verb::Create(create) => edit::create(operator, create, out).await,
            Verb::Edit(edit) => edit::edit(operator, edit, out).await,
            Verb::Import { dry_run, json, .. } => {
                import::import(operator, table.unwrap_or_default(), *dry_run, *json, out).await
            }
            Verb::Export(options) => export::export(operator, options, out).await,
            Verb::Disable(change) => states::set_disabled(operator, change, true, out).await,
            Verb::Enable(change) => states::set_disabled(operator, change, false, out).await,
            Verb::Delete(delete) => states::delete(operator, delete, out).await,
            Verb::Bind(bind) => identities::bind(operator, bind, out).await,
            Verb::Unbind(unbind) => identities::unbind(operator, unbind, out).await,
            Verb::Merge(options) => merge::merge(operator, options, out).await,
        })
    });
    match result {
        Ok(()) => DONE,
        // Whoever reads only the beginning of a listing has what they want.
        Err(UsersError::Operator(OperatorError::Output(error))) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            DONE
        }
        Err(UsersError::Said) => FAILED,
        Err(UsersError::Usage(text)) => {
            complain(&text);
            WRONG_USAGE
        }
        Err(error) => {
            complain(&error.to_string());
            FAILED
        }
    }
}

fn directory(operator: &Operator<'_>) -> Directory {
    Directory::new(operator.store.clone())
}
