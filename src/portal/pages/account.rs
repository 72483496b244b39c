//! A person's own page: who they are, where they are signed in, what signs them in.

use askama::Template;

use crate::config::settings::Locale;
use crate::portal::texts::account::{AccountTexts, account};

use super::{Shell, assets, finish};

/// `GET /.menshen/account`.
#[derive(Debug, Clone, Copy)]
pub struct AccountPage<'a> {
    /// Language, branding.
    pub shell: Shell<'a>,
    /// What was just done, or refused.
    pub note: Option<AccountNote>,
    /// Who it is.
    pub person: PersonView<'a>,
    /// Sessions, newest first.
    pub sign_ins: &'a [SignInView<'a>],
    /// There are more sessions than that.
    pub more_sign_ins: bool,
    /// Identities, oldest first.
    pub identities: &'a [IdentityView<'a>],
    /// Connections that may get a further WeChat account.
    pub connectable: &'a [Connectable<'a>],
    /// The person may choose the language of this page.
    pub may_choose_language: bool,
}

/// What was just done, or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountNote {
    /// A session was ended.
    SignedOut,
    /// An identity was connected.
    Connected,
    /// An identity was taken away.
    Unbound,
    /// The last identity was to be taken away.
    LastIdentity,
}

/// What the directory knows of a person.
#[derive(Debug, Clone, Copy, Default)]
pub struct PersonView<'a> {
    /// Name.
    pub name: Option<&'a str>,
    /// Username.
    pub username: Option<&'a str>,
    /// Phone number, masked.
    pub phone: Option<&'a str>,
    /// E-mail address.
    pub email: Option<&'a str>,
    /// Groups, in one line.
    pub groups: Option<&'a str>,
}

/// One session.
#[derive(Debug, Clone)]
pub struct SignInView<'a> {
    /// What it is called outside of the gateway.
    pub id: String,
    /// Browser and system.
    pub device: String,
    /// Name of the site.
    pub site: &'a str,
    /// Host of the site.
    pub host: &'a str,
    /// Where it was made: a coarse place.
    pub place: String,
    /// When it was made.
    pub since: Moment,
    /// When it was last used, coarsely.
    pub last_used: Moment,
    /// It is the session of this very page.
    pub is_this: bool,
}

/// One WeChat identity.
#[derive(Debug, Clone)]
pub struct IdentityView<'a> {
    /// Names it in the form; says nothing by itself.
    pub id: String,
    /// Name of the connection; `None` when there is no connection of this app any more.
    pub connection: Option<&'a str>,
    /// Since when.
    pub since: Moment,
    /// It can be taken away.
    pub may_unbind: bool,
}

/// A connection that the person has no WeChat account of yet.
#[derive(Debug, Clone, Copy)]
pub struct Connectable<'a> {
    /// Connection id.
    pub id: &'a str,
    /// What people read.
    pub name: &'a str,
}

/// A time, for people and for programs, in UTC: whoever reads the page may be anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    /// `2026-09-21 14:13 UTC`
    pub text: String,
    /// `2026-09-21T14:13Z`
    pub machine: String,
}

impl Moment {
    /// Of Unix seconds.
    pub fn of(at: i64) -> Self {
        let time = time::OffsetDateTime::from_unix_timestamp(at).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
        let (date, hour, minute) = (time.date(), time.hour(), time.minute());
        Self {
            text: format!("{date} {hour:02}:{minute:02} UTC"),
            machine: format!("{date}T{hour:02}:{minute:02}Z"),
        }
    }
}

impl AccountNote {
    /// In the query of the page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignedOut => "signed-out",
            Self::Connected => "connected",
            Self::Unbound => "unbound",
            Self::LastIdentity => "last-identity",
        }
    }

    /// From the query of the page.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::SignedOut, Self::Connected, Self::Unbound, Self::LastIdentity]
            .into_iter()
            .find(|note| note.as_str() == text)
    }

    fn text(self, texts: &AccountTexts) -> &'static str {
        match self {
            Self::SignedOut => texts.done_signed_out,
            Self::Connected => texts.done_connected,
            Self::Unbound => texts.done_unbound,
            Self::LastIdentity => texts.refused_last,
        }
    }
}

impl AccountPage<'_> {
    /// The HTML document.
    pub fn render(&self) -> String {
        let texts = account(self.shell.locale);
        finish(&AccountTemplate {
            shell: self.shell,
            texts,
            stylesheet: assets::account_stylesheet_url(),
            note: self.note.map(|note| note.text(texts)),
            person: self.person,
            sign_ins: self.sign_ins,
            more_sign_ins: self.more_sign_ins,
            identities: self.identities,
            connectable: self.connectable,
            any_unbind: self.identities.iter().any(|identity| identity.may_unbind),
            languages: if self.may_choose_language { &Locale::ALL } else { &[] },
        })
    }
}

#[derive(Template)]
#[template(config = ".askama.toml", path = "account.html")]
struct AccountTemplate<'a> {
    shell: Shell<'a>,
    texts: &'a AccountTexts,
    stylesheet: &'a str,
    note: Option<&'a str>,
    person: PersonView<'a>,
    sign_ins: &'a [SignInView<'a>],
    more_sign_ins: bool,
    identities: &'a [IdentityView<'a>],
    connectable: &'a [Connectable<'a>],
    any_unbind: bool,
    languages: &'a [Locale],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_in_utc() {
        let moment = Moment::of(1_790_000_000);
        assert_eq!(moment.text, "2026-09-21 14:13 UTC");
        assert_eq!(moment.machine, "2026-09-21T14:13Z");
    }

    #[test]
    fn notes_come_back_as_they_went_out() {
        for note in [
            AccountNote::SignedOut,
            AccountNote::Connected,
            AccountNote::Unbound,
            AccountNote::LastIdentity,
        ] {
            assert_eq!(AccountNote::parse(note.as_str()), Some(note));
        }
        assert_eq!(AccountNote::parse("anything"), None);
    }
}
