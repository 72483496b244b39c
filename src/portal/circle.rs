//! The page for a login that leads back to the login page: it says why, instead of showing the next code.

use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode};
use axum::response::{Html, IntoResponse};
use tracing::warn;

use crate::login::device::Device;
use crate::portal::Inner;
use crate::portal::context::{RequestContext, locale, user_agent};
use crate::portal::login_page::encode_query;
use crate::portal::pages::{Action, LoopCause, Problem, ProblemPage};
use crate::session::unused::Browser;

impl Inner {
    /// The page, if this browser signs in again and again. `target` is what it asked for.
    pub(super) fn explained_circle(
        &self,
        context: &RequestContext,
        headers: &HeaderMap,
        target: &str,
    ) -> Option<Response<Body>> {
        let browser = Browser {
            site: self.site_name(context.site).to_owned(),
            address: context.address,
            device: Device::of(user_agent(headers)).text,
        };
        let circle = self.registry.unused().circle(&browser, self.login.clock.now())?;
        let cause = cause(
            self.settings.https() == context.secure && circle.host == context.host,
            context.dead_session,
        );
        if circle.is_new {
            self.login.metrics.loop_explained(cause.as_str());
            warn!(
                code = cause.as_str(),
                request_id = &*context.request_id,
                site = browser.site,
                host = context.host,
                session_host = circle.host,
                secure = context.secure,
                user = circle.user,
                device = browser.device,
                "a login leads back to the login page"
            );
        }
        // With `switch` the login page comes for certain: whoever has mended the cause can go on at once.
        let again = format!("/.menshen/login?switch=true&rd={}", encode_query(target));
        let page = ProblemPage {
            shell: self.shell(context, locale(headers, self.settings.branding.locale)),
            problem: Problem::Loop(cause),
            name: None,
            request_id: &context.request_id,
            actions: &[Action::SignIn { url: &again }],
        };
        Some((StatusCode::UNAUTHORIZED, Html(page.render())).into_response())
    }
}

/// What can be seen from here: another scheme or host than the session was made for; a fresh session cookie that is taken
/// for an old one; or none at all.
fn cause(same_origin: bool, dead_cookie: bool) -> LoopCause {
    match (same_origin, dead_cookie) {
        (false, _) => LoopCause::WrongOrigin,
        (true, true) => LoopCause::Clock,
        (true, false) => LoopCause::CookieRefused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_what_can_be_seen_from_here() {
        for (same_origin, dead_cookie, code) in [
            (true, false, "loop_cookie"),
            (true, true, "loop_clock"),
            (false, false, "loop_origin"),
            (false, true, "loop_origin"),
        ] {
            assert_eq!(cause(same_origin, dead_cookie).as_str(), code);
        }
    }
}
