//! The pages that say one thing: refusals, logout, and the landing page of a link code.

use askama::Template;

use crate::portal::code::Code;
use crate::portal::texts::{PageTexts, ProblemText, RedirectProblem, Slot, fill};

use super::{Shell, finish};

/// A refusal, or an upstream that does not answer: what happened, what to do, and the id for the operator's log.
#[derive(Debug, Clone, Copy)]
pub struct ProblemPage<'a> {
    /// Language, branding, site.
    pub shell: Shell<'a>,
    /// What happened.
    pub problem: Problem,
    /// Who is signed in, where that is part of the problem.
    pub name: Option<&'a str>,
    /// Request id, as in the log and the `X-Request-Id` header.
    pub request_id: &'a str,
    /// What can be done from here, the best first.
    pub actions: &'a [Action<'a>],
}

/// What a [`ProblemPage`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// A refusal with a stable code.
    Code(Code),
    /// On the way to WeChat and back.
    Redirect(RedirectProblem),
    /// Sessions are made and never used: the login goes in circles.
    Loop(LoopCause),
}

/// Why a login goes in circles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoopCause {
    /// The clocks differ.
    Clock,
    /// The browser does not keep or send the session cookie.
    CookieRefused,
    /// Reached over another scheme or host than the one that the cookie is for.
    WrongOrigin,
}

/// Something that a person can do about a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// To the login page.
    SignIn {
        /// Its address.
        url: &'a str,
    },
    /// Sign in as somebody else.
    SwitchAccount {
        /// `/.menshen/login?switch=true&rd=…`
        url: &'a str,
    },
    /// The same request again; for requests that a GET repeats.
    TryAgain {
        /// Path of the request.
        url: &'a str,
    },
    /// The site's start page.
    Home {
        /// Usually `/`.
        url: &'a str,
    },
    /// End the session.
    SignOut,
}

/// `GET /.menshen/logout`: asks first.
#[derive(Debug, Clone, Copy)]
pub struct LogoutPage<'a> {
    /// Language, branding, site.
    pub shell: Shell<'a>,
    /// Who is signed in, masked or not; `None` says it without a name.
    pub name: Option<&'a str>,
    /// Where "stay signed in" leads.
    pub back_url: &'a str,
}

/// `GET /.menshen/logout?done`.
#[derive(Debug, Clone, Copy)]
pub struct LoggedOutPage<'a> {
    /// Language, branding, site.
    pub shell: Shell<'a>,
    /// Where "sign in again" leads.
    pub login_url: &'a str,
}

/// Somebody opened a link code with something that is not WeChat.
#[derive(Debug, Clone, Copy)]
pub struct LandingPage<'a> {
    /// Language, branding, site.
    pub shell: Shell<'a>,
    /// Opens WeChat on this phone, if the connection can.
    pub open_url: Option<&'a str>,
}

impl ProblemPage<'_> {
    /// The HTML document.
    pub fn render(&self) -> String {
        let texts = self.shell.texts();
        let (text, label) = match self.problem {
            Problem::Code(code) => (
                texts.problem(code),
                format!("{} {}", code.status().as_u16(), code.as_str()),
            ),
            Problem::Redirect(problem) => {
                let code = problem.code();
                let label = format!("{} {}", code.status().as_u16(), code.as_str());
                (problem.text(self.shell.locale), label)
            }
            Problem::Loop(cause) => (texts.circle(cause), cause.as_str().to_owned()),
        };
        finish(&ProblemTemplate {
            shell: self.shell,
            texts: &texts.page,
            text,
            who: self.name.map(|name| fill(texts.page.logout_as, &[Slot::Name(name)])),
            label,
            request_id: self.request_id,
            actions: self.actions,
        })
    }
}

impl LoopCause {
    /// The code in the log line and on the page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clock => "loop_clock",
            Self::CookieRefused => "loop_cookie",
            Self::WrongOrigin => "loop_origin",
        }
    }
}

impl LogoutPage<'_> {
    /// The HTML document.
    pub fn render(&self) -> String {
        let texts = &self.shell.texts().page;
        let who = self.name.map(|name| fill(texts.logout_as, &[Slot::Name(name)]));
        finish(&LogoutTemplate {
            shell: self.shell,
            texts,
            who,
            back_url: self.back_url,
        })
    }
}

impl LoggedOutPage<'_> {
    /// The HTML document.
    pub fn render(&self) -> String {
        finish(&LoggedOutTemplate {
            shell: self.shell,
            texts: &self.shell.texts().page,
            login_url: self.login_url,
        })
    }
}

impl LandingPage<'_> {
    /// The HTML document.
    pub fn render(&self) -> String {
        finish(&LandingTemplate {
            shell: self.shell,
            texts: &self.shell.texts().page,
            open_url: self.open_url,
        })
    }
}

#[derive(Template)]
#[template(config = ".askama.toml", path = "problem.html")]
struct ProblemTemplate<'a> {
    shell: Shell<'a>,
    texts: &'a PageTexts,
    text: ProblemText,
    who: Option<String>,
    label: String,
    request_id: &'a str,
    actions: &'a [Action<'a>],
}

#[derive(Template)]
#[template(config = ".askama.toml", path = "logout.html")]
struct LogoutTemplate<'a> {
    shell: Shell<'a>,
    texts: &'a PageTexts,
    who: Option<String>,
    back_url: &'a str,
}

#[derive(Template)]
#[template(config = ".askama.toml", path = "logged_out.html")]
struct LoggedOutTemplate<'a> {
    shell: Shell<'a>,
    texts: &'a PageTexts,
    login_url: &'a str,
}

#[derive(Template)]
#[template(config = ".askama.toml", path = "landing.html")]
struct LandingTemplate<'a> {
    shell: Shell<'a>,
    texts: &'a PageTexts,
    open_url: Option<&'a str>,
}
