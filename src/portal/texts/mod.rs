//! Every text that an end user reads, in four languages.
//!
//! A language is one `static` of a struct with named fields and one `match` over all codes, so that a missing text does
//! not compile and a misspelt key cannot exist. The trade-off against message files: a translator edits Rust literals;
//! nothing is parsed, looked up by name or missing at run time. Placeholders are filled by [`fill()`], which knows all of
//! them; escaping is the template's business and happens afterwards.

pub mod account;
pub mod chat;
pub mod confirm;
pub mod connect;
mod en;
mod fill;
mod ja;
pub mod missed;
mod negotiate;
mod phone;
mod popup;
mod redirect;
mod zh_cn;
mod zh_tw;

pub use fill::{Slot, fill};
pub use negotiate::negotiate;
pub use phone::{application, every_site, same_network, terminal};
pub use popup::{PopupTexts, popup};
pub use redirect::{RedirectProblem, frame_detail, frame_title};

use serde::Serialize;

use crate::config::settings::Locale;

use super::code::Code;
use super::pages::LoopCause;

/// One language.
#[derive(Debug)]
pub struct Texts {
    /// What the templates use.
    pub page: PageTexts,
    /// What the login page's script uses.
    pub script: ScriptTexts,
    problem: fn(Code) -> ProblemText,
    circle: fn(LoopCause) -> ProblemText,
}

/// A problem in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ProblemText {
    /// A few words, a headline.
    pub title: &'static str,
    /// What happened, in plain words, without blame.
    pub message: &'static str,
    /// What to do now.
    pub next_step: &'static str,
}

macro_rules! catalogue {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: &'static str,)*
        }

        impl $name {
            /// Field names with their texts.
            pub fn entries(&self) -> Vec<(&'static str, &'static str)> {
                vec![$((stringify!($field), self.$field),)*]
            }
        }
    };
}

use catalogue;

catalogue! {
    /// What the templates use. Placeholders: [`Slot`].
    PageTexts {
        /// Heading with `{site}`.
        sign_in_to,
        /// Heading without a site.
        sign_in,
        /// Read out before the host.
        host_label,
        /// On every page of an installation that does not talk to WeChat.
        sandbox_banner,
        /// Link to the sandbox's phone.
        simulated_phone,
        /// Read out after a link that opens a tab.
        new_tab,
        /// Name of the row of connections.
        connections_label,
        /// Text alternative of the code, with `{site}`.
        code_alt,
        /// Step 1.
        step_scan,
        /// Step 1 on a phone that can open WeChat.
        step_open,
        /// Step 1 in WeChat's browser.
        step_press,
        /// Step 2, with `{host}`.
        step_check,
        /// Step 3, when the number is tapped.
        step_confirm,
        /// Step 3, when the number is typed.
        step_type,
        /// Step 3, without a number.
        step_plain,
        /// Scanned, when the number is typed; takes the place of [`ScriptTexts::scanned`].
        scanned_type,
        /// Button that opens WeChat on this phone.
        open_wechat,
        /// Opens the code on a phone.
        other_phone,
        /// Button to WeChat's own page.
        start_wechat,
        /// What that button does.
        start_detail,
        /// Link to the page without JavaScript.
        plain_page,
        /// Below every page.
        guarded_by,
        /// The page without JavaScript, waiting.
        reloads_itself,
        /// Looks again at once.
        check_now,
        /// Logout: question.
        logout_title,
        /// Logout: who, with `{name}`.
        logout_as,
        /// Logout: nobody named.
        logout_detail,
        /// Logout: this browser.
        logout_button,
        /// Logout: every device.
        logout_everywhere,
        /// Logout: back.
        stay,
        /// After logout.
        logged_out_title,
        /// After logout.
        logged_out_detail,
        /// After logout: link.
        sign_in_again,
        /// Link code opened elsewhere: title.
        landing_title,
        /// Link code opened elsewhere: why.
        landing_detail,
        /// Link code opened elsewhere: what to do.
        landing_next,
        /// Link code opened elsewhere: beware.
        landing_warning,
        /// Before the request id.
        request_label,
        /// Action: same request.
        try_again,
        /// Action: other person.
        switch_account,
        /// Action: start page.
        home,
        /// Binding: method.
        method_bind_code,
        /// Binding: method.
        method_password,
        /// Binding: field: which account.
        bind_login,
        /// Binding: field: bind code.
        bind_proof_code,
        /// Binding: field: password.
        bind_proof_password,
        /// Binding: button.
        bind_submit,
        /// Binding: button.
        bind_create,
        /// Binding: beware of another person's phone.
        bind_check,
    }
}

catalogue! {
    /// What the login page's script uses; the templates of the page without JavaScript share them.
    ScriptTexts {
        /// Before there is a code.
        loading,
        /// A code is shown.
        pending,
        /// What happens next.
        pending_detail,
        /// A code is shown in WeChat's browser.
        pending_press,
        /// What to press.
        pending_press_detail,
        /// A phone that can open WeChat.
        pending_open,
        /// What the number is for.
        pending_open_detail,
        /// A phone that cannot.
        pending_phone,
        /// What to do instead.
        pending_phone_detail,
        /// Countdown, with `{time}`.
        time_left,
        /// Scanned, with a number.
        scanned,
        /// Scanned, without a number.
        scanned_plain,
        /// Who scanned, with `{name}`.
        scanned_by,
        /// Somebody without a name scanned.
        scanned_someone,
        /// Read out: the number digit by digit, `{number}`.
        number_label,
        /// Gives this ticket up.
        not_me,
        /// Said yes, with `{name}`.
        confirmed,
        /// Said yes, without a name.
        confirmed_plain,
        /// While the session is made.
        redeeming_detail,
        /// Another user than last time, with `{name}`.
        ask,
        /// The same without a name.
        ask_plain,
        /// Why it is asked.
        ask_detail,
        /// Answer yes, with `{name}`.
        continue_as,
        /// Answer yes without a name.
        continue_plain,
        /// Answer no.
        use_other,
        /// Read out when a code renewed itself.
        renewed,
        /// Button.
        new_code,
        /// Network away.
        offline,
        /// Wait, with `{seconds}`.
        wait,
        /// Signed in in another tab.
        signed_in,
        /// What that means.
        signed_in_detail,
        /// Binding: question.
        bind,
        /// Binding or creating.
        bind_detail,
        /// Binding only.
        bind_only_detail,
        /// Accept on the phone.
        bind_accept,
        /// What the phone shows, with `{name}` of the account.
        bind_accept_detail,
        /// An error without a text of its own: title.
        unknown,
        /// The same: what to do.
        unknown_detail,
    }
}

impl Texts {
    /// The catalogue of this language.
    pub fn of(locale: Locale) -> &'static Self {
        match locale {
            Locale::ZhCn => &zh_cn::TEXTS,
            Locale::ZhTw => &zh_tw::TEXTS,
            Locale::En => &en::TEXTS,
            Locale::Ja => &ja::TEXTS,
        }
    }

    /// A refusal in words.
    pub fn problem(&self, code: Code) -> ProblemText {
        (self.problem)(code)
    }

    /// A login that goes in circles, in words.
    pub fn circle(&self, cause: LoopCause) -> ProblemText {
        (self.circle)(cause)
    }
}

const fn problem(title: &'static str, message: &'static str, next_step: &'static str) -> ProblemText {
    ProblemText {
        title,
        message,
        next_step,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const OTHERS: [Locale; 3] = [Locale::ZhCn, Locale::ZhTw, Locale::Ja];

    fn entries(texts: &Texts) -> Vec<(&'static str, &'static str)> {
        [texts.page.entries(), texts.script.entries()].concat()
    }

    fn placeholders(text: &str) -> BTreeSet<&str> {
        text.split('{')
            .skip(1)
            .filter_map(|rest| rest.split('}').next())
            .collect()
    }

    #[test]
    fn every_language_has_every_text_with_the_same_placeholders() {
        let english = entries(Texts::of(Locale::En));
        for locale in OTHERS {
            for ((name, text), (_, original)) in entries(Texts::of(locale)).into_iter().zip(&english) {
                assert!(!text.trim().is_empty(), "{} {name}", locale.tag());
                assert_eq!(placeholders(text), placeholders(original), "{} {name}", locale.tag());
            }
        }
    }

    #[test]
    fn every_placeholder_is_one_that_can_be_filled() {
        for (name, text) in entries(Texts::of(Locale::En)) {
            for placeholder in placeholders(text) {
                assert!(
                    ["host", "name", "number", "seconds", "site", "time"].contains(&placeholder),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn no_language_is_left_in_english() {
        let english = entries(Texts::of(Locale::En));
        for locale in OTHERS {
            for ((name, text), (_, original)) in entries(Texts::of(locale)).into_iter().zip(&english) {
                assert!(text != *original && !text.is_ascii(), "{} {name}", locale.tag());
            }
            for code in Code::ALL {
                let ProblemText {
                    title,
                    message,
                    next_step,
                } = Texts::of(locale).problem(code);
                assert!(
                    [title, message, next_step].iter().all(|text| !text.is_ascii()),
                    "{} {code:?}",
                    locale.tag()
                );
            }
        }
    }

    #[test]
    fn every_code_says_what_happened_and_what_to_do() {
        for locale in [Locale::En, Locale::ZhCn, Locale::ZhTw, Locale::Ja] {
            let texts = Texts::of(locale);
            let causes = [LoopCause::Clock, LoopCause::CookieRefused, LoopCause::WrongOrigin].map(|c| texts.circle(c));
            let problems: Vec<_> = Code::ALL
                .iter()
                .map(|code| texts.problem(*code))
                .chain(causes)
                .collect();
            for problem in &problems {
                for text in [problem.title, problem.message, problem.next_step] {
                    assert!(
                        !text.is_empty() && !text.contains(['{', '<', '&']),
                        "{} {text:?}",
                        locale.tag()
                    );
                }
                assert!(
                    problem.title.chars().count() <= 45,
                    "{} {}",
                    locale.tag(),
                    problem.title
                );
                assert!(
                    !problem.title.ends_with(['.', '。']),
                    "{} {}",
                    locale.tag(),
                    problem.title
                );
                assert!(
                    problem.message.ends_with(['.', '。']),
                    "{} {}",
                    locale.tag(),
                    problem.message
                );
                assert!(
                    problem.next_step.ends_with(['.', '。']),
                    "{} {}",
                    locale.tag(),
                    problem.next_step
                );
            }
            let titles: BTreeSet<_> = problems.iter().map(|problem| problem.title).collect();
            assert!(
                titles.len() >= problems.len() - 1,
                "{}: two refusals with one title",
                locale.tag()
            );
        }
    }
}
