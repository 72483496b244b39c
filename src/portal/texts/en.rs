//! English.

use crate::portal::code::Code;
use crate::portal::pages::LoopCause;

use super::{PageTexts, ProblemText, ScriptTexts, Texts, problem};

pub(super) static TEXTS: Texts = Texts {
    page: PageTexts {
        sign_in_to: "Sign in to {site}",
        sign_in: "Sign in",
        host_label: "Address:",
        sandbox_banner: "This installation talks to a sandbox, not to WeChat. Its logins prove nothing.",
        simulated_phone: "Use a simulated phone",
        new_tab: "(opens a new tab)",
        connections_label: "Ways to sign in",
        code_alt: "QR code: sign in to {site} with WeChat",
        step_scan: "Scan the code with WeChat",
        step_open: "Open WeChat on this phone",
        step_press: "Press and hold the code",
        step_check: "Check that your phone shows {host}",
        step_confirm: "Tap the number you see here, and confirm",
        open_wechat: "Open WeChat",
        other_phone: "Scan with another phone instead",
        start_wechat: "Continue with WeChat",
        start_detail: "WeChat’s own page opens; you come back here when you have confirmed.",
        plain_page: "Nothing happens after scanning? Use the simple page",
        guarded_by: "Guarded by Menshen",
        reloads_itself: "This page looks again by itself every few seconds.",
        check_now: "Look now",
        logout_title: "Sign out?",
        logout_as: "You are signed in as {name}.",
        logout_detail: "You will have to confirm with WeChat to come back.",
        logout_button: "Sign out",
        logout_everywhere: "Sign out on all devices",
        stay: "Stay signed in",
        logged_out_title: "You are signed out",
        logged_out_detail: "On a shared computer, close this window too.",
        sign_in_again: "Sign in again",
        landing_title: "Please scan with WeChat",
        landing_detail: "This code signs you in through WeChat. The app you have just used cannot do that.",
        landing_next: "Open WeChat, choose “Scan”, and point it at the code again.",
        landing_warning: "Did somebody send you this code? Leave it. Only scan a code that your own screen shows.",
        request_label: "Request",
        try_again: "Try again",
        switch_account: "Use another account",
        home: "Start page",
        method_bind_code: "Bind code",
        method_password: "Password",
        bind_login: "User name, phone or e-mail",
        bind_proof_code: "Bind code from your administrator",
        bind_proof_password: "Password",
        bind_submit: "Connect",
        bind_create: "Create a new account",
    },
    script: ScriptTexts {
        loading: "Getting a code…",
        pending: "Scan with WeChat",
        pending_detail: "Then confirm on your phone.",
        pending_press: "Press and hold the code",
        pending_press_detail: "Then choose to open the mini program.",
        pending_open: "Open WeChat to sign in",
        pending_open_detail: "WeChat will ask you to tap this number.",
        pending_phone: "Scan from another screen",
        pending_phone_detail: "Only have this phone? Open this page inside WeChat, and press and hold the code.",
        time_left: "Valid for {time}",
        scanned: "Tap this number on your phone",
        scanned_plain: "Confirm on your phone",
        scanned_by: "Scanned by {name}",
        scanned_someone: "Code scanned",
        number_label: "The number is {number}",
        not_me: "Not me",
        confirmed: "Signing in as {name}",
        confirmed_plain: "Signing you in",
        redeeming_detail: "One moment…",
        ask: "Sign in as {name}?",
        ask_plain: "Sign in with this account?",
        ask_detail: "Somebody else used this browser last.",
        continue_as: "Continue as {name}",
        continue_plain: "Continue",
        use_other: "Use another account",
        renewed: "There is a new code.",
        new_code: "New code",
        offline: "No connection. This goes on by itself as soon as it is back.",
        wait: "Going on in {seconds} s.",
        signed_in: "You are already signed in",
        signed_in_detail: "In another tab of this browser.",
        bind: "Do you have an account here?",
        bind_detail: "Connect WeChat to it, or create a new one.",
        bind_only_detail: "Connect WeChat to it to go on.",
        bind_accept: "Accept on your phone",
        bind_accept_detail: "Your phone shows the account. Accept it there.",
        unknown: "That did not work",
        unknown_detail: "Get a new code and try again.",
    },
    problem: describe,
    circle,
};

fn describe(code: Code) -> ProblemText {
    match code {
        Code::AccountBound => problem(
            "Account already connected",
            "This account is connected to another WeChat.",
            "Use that WeChat, or ask your administrator to disconnect it.",
        ),
        Code::AmbiguousAccount => problem(
            "Two accounts found",
            "Your WeChat belongs to two accounts here, and we will not guess which one is meant.",
            "Ask your administrator to put them in order.",
        ),
        Code::BadRequest => problem(
            "The request could not be understood",
            "The address or the data is malformed, or can be read in two ways.",
            "Go back to the start page. If a link brought you here, it may be broken.",
        ),
        Code::BrowserAbsent => problem(
            "The login page is not there",
            "Your phone has not been shown yet what it is signing in to.",
            "Keep this page open and try again.",
        ),
        Code::CodeInvalid => problem(
            "WeChat’s answer was out of date",
            "WeChat did not accept this attempt.",
            "Scan again on your phone.",
        ),
        Code::CrossOrigin => problem(
            "Not sent from this site",
            "The request came from a page of another site, or your browser hides where it came from.",
            "Open the page directly and try again.",
        ),
        Code::EntryRefused => problem(
            "Not opened by scanning",
            "The mini program was opened from a forwarded card.",
            "Scan the code that your own screen shows.",
        ),
        Code::Forbidden => problem(
            "You may not open this",
            "You are signed in, but this account has no access here.",
            "Use another account, or ask your administrator for access.",
        ),
        Code::LoginRequired => problem(
            "Please sign in",
            "This page is for people who have signed in.",
            "Sign in and try again.",
        ),
        Code::NoAccount => problem(
            "No account for you yet",
            "Your WeChat is not connected to an account, and none may be created here.",
            "Ask your administrator for an account.",
        ),
        Code::NotFound => problem(
            "Nothing here",
            "There is no page at this address.",
            "Check the address, or go to the start page.",
        ),
        Code::NotReady => problem(
            "Just a moment",
            "The gateway is starting.",
            "Try again in a few seconds.",
        ),
        Code::PhoneCodeInvalid => problem(
            "Phone number not confirmed",
            "WeChat did not accept the confirmation of your phone number.",
            "Tap the phone number button again on your phone.",
        ),
        Code::PhoneRequired => problem(
            "A phone number is needed",
            "This site only signs in people with a confirmed phone number.",
            "Get a new code, scan it and allow the phone number.",
        ),
        Code::PhoneTaken => problem(
            "Phone number belongs to another account",
            "Somebody else here already has this phone number.",
            "Ask your administrator. If that account is yours, they can connect it.",
        ),
        Code::ProofWrong => problem(
            "That did not match",
            "The account and the proof do not belong together.",
            "Check both and try again. A few wrong attempts end this login.",
        ),
        Code::RateLimited => problem(
            "Too many attempts",
            "Your network has sent very many requests in a short time.",
            "Wait a minute, then try again.",
        ),
        Code::StoreUnavailable => problem(
            "Signing in is not possible right now",
            "The gateway cannot reach its database.",
            "Try again in a minute. If it stays so, tell your administrator.",
        ),
        Code::TicketCancelled => problem(
            "Cancelled on the phone",
            "Nobody was signed in.",
            "Get a new code to try again.",
        ),
        Code::TicketExpired => problem(
            "This code has expired",
            "A code is valid for a short time only.",
            "Get a new code.",
        ),
        Code::TicketTaken => problem(
            "Scanned by another phone",
            "A second phone tried to use this code.",
            "If that was not you, get a new code and keep it to yourself.",
        ),
        Code::TicketUnknown => problem(
            "This code is not valid",
            "It is too old, or belongs to another browser.",
            "Get a new code.",
        ),
        Code::TokenInvalid => problem(
            "Access token refused",
            "The token is unknown, expired or revoked.",
            "Use a new token.",
        ),
        Code::TooLarge => problem(
            "Too large",
            "What you sent is larger than this site accepts.",
            "Send something smaller.",
        ),
        Code::UriTooLong => problem(
            "Address too long",
            "This address is longer than the gateway accepts.",
            "Go to the start page.",
        ),
        Code::HeadersTooLarge => problem(
            "Request headers too large",
            "Your browser sent more data about itself than the gateway accepts, usually cookies.",
            "Delete this site’s cookies and try again.",
        ),
        Code::UnknownHost => problem(
            "No site at this address",
            "The gateway does not know this host name.",
            "Check the address, or ask your administrator.",
        ),
        Code::UpstreamFailed => problem(
            "The application gave no proper answer",
            "You are fine; the application behind this gateway broke off.",
            "Try again. If it stays so, tell your administrator.",
        ),
        Code::UpstreamTimeout => problem(
            "The application takes too long",
            "You are fine; the application behind this gateway did not answer in time.",
            "Try again in a minute.",
        ),
        Code::UpstreamUnavailable => problem(
            "The application cannot be reached",
            "You are fine; the application behind this gateway is not running or cannot be reached.",
            "Try again in a minute. If it stays so, tell your administrator.",
        ),
        Code::UserDisabled => problem(
            "This account is disabled",
            "An administrator has disabled it.",
            "Ask your administrator, or use another account.",
        ),
        Code::WechatBusy => problem(
            "WeChat is busy",
            "WeChat asks us to slow down.",
            "Try again in a minute.",
        ),
        Code::WechatMisconfigured => problem(
            "Signing in is not set up correctly",
            "WeChat refuses this installation.",
            "Tell your administrator; trying again does not help.",
        ),
        Code::WechatRefused => problem(
            "WeChat refused this sign-in",
            "WeChat does not let this person sign in here.",
            "Look for a message in WeChat, or use another account.",
        ),
        Code::WechatUnavailable => problem(
            "WeChat cannot be reached",
            "The gateway gets no answer from WeChat.",
            "Try again in a minute.",
        ),
        Code::WrongNumber => problem(
            "Wrong number",
            "Another number was tapped on the phone, so this login ended.",
            "Get a new code and tap the number shown here. If it was not you, do nothing.",
        ),
        Code::WrongState => problem(
            "Already done",
            "This login has moved on in the meantime.",
            "Get a new code if you are not signed in.",
        ),
    }
}

fn circle(cause: LoopCause) -> ProblemText {
    match cause {
        LoopCause::Clock => problem(
            "Signing in goes in circles: the clock",
            "You signed in several times, but each session was over at once: two clocks disagree.",
            "Check date and time of this device. If they are right, tell your administrator.",
        ),
        LoopCause::CookieRefused => problem(
            "Signing in goes in circles: cookies",
            "You signed in several times, but your browser does not keep this site’s cookie.",
            "Allow cookies for this site, or try without extensions that block them.",
        ),
        LoopCause::WrongOrigin => problem(
            "Signing in goes in circles: the address",
            "You signed in several times, but at another address than the one the session is valid for.",
            "Open the site at its usual address. If you did, tell your administrator: scheme or host name is set up wrongly.",
        ),
    }
}
