//! What a service account says in the chat, and what the login page says where its code is scanned.

use serde::Serialize;

use crate::config::settings::Locale;
use crate::portal::code::Code;

use super::{ScriptTexts, Slot, Texts, catalogue, fill};

/// What somebody is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking<'a> {
    /// A further WeChat account for an account.
    Connect,
    /// A login.
    SignIn {
        /// Name of the site.
        site: &'a str,
        /// Its host.
        host: &'a str,
    },
    /// The browser has not said yet.
    Unknown,
}

catalogue! {
    /// The words of codes that a service account answers.
    ChatTexts {
        /// In the chat: a login, with `{site}` and `{host}`.
        sign_in,
        /// In the chat: something that is not known yet.
        unknown,
        /// In the chat: a further WeChat account.
        connect,
        /// In the chat: when to leave it alone.
        only_if,
        /// In the chat: the link.
        link,
        /// In the chat: somebody else was first.
        taken,
        /// In the chat: too late.
        stale,
        /// On the page: headline in WeChat's own browser.
        pending_press,
        /// On the page: what happens after the scan.
        pending_detail,
        /// On the page: the same after a long press.
        pending_press_detail,
        /// On the page: step 1.
        step_scan,
        /// On the page: step 1 in WeChat's browser.
        step_press,
        /// On the page: step 2, with `{host}`.
        step_check,
        /// On the page: scanned, with `{name}`.
        scanned_by,
        /// On the page: scanned by somebody without a name.
        scanned_someone,
    }
}

/// The words in this language.
pub fn chat(locale: Locale) -> &'static ChatTexts {
    match locale {
        Locale::ZhCn => &ZH_CN,
        Locale::ZhTw => &ZH_TW,
        Locale::En => &EN,
        Locale::Ja => &JA,
    }
}

/// The words of a login page whose code is a service account's.
pub fn chat_words(script: ScriptTexts, locale: Locale) -> ScriptTexts {
    let own = chat(locale);
    ScriptTexts {
        pending_detail: own.pending_detail,
        pending_press: own.pending_press,
        pending_press_detail: own.pending_press_detail,
        scanned_by: own.scanned_by,
        scanned_someone: own.scanned_someone,
        ..script
    }
}

/// The question, with a link to where it is answered. The chat makes links of `<a href>` and shows the rest as it is.
pub fn asking(locale: Locale, about: Asking<'_>, url: &str) -> String {
    let words = chat(locale);
    let question = match about {
        Asking::Connect => words.connect.to_owned(),
        Asking::SignIn { site, host } => fill(words.sign_in, &[Slot::Site(&plain(site)), Slot::Host(host)]),
        Asking::Unknown => words.unknown.to_owned(),
    };
    format!("{question}\n{}\n\n<a href=\"{url}\">{}</a>", words.only_if, words.link)
}

/// Why there is nothing to confirm, and what to do.
pub fn refusing(locale: Locale, code: Code) -> String {
    let words = chat(locale);
    match code {
        Code::TicketTaken => words.taken.to_owned(),
        Code::TicketExpired | Code::TicketCancelled | Code::TicketUnknown | Code::WrongState | Code::WrongNumber => {
            words.stale.to_owned()
        }
        code => {
            let text = Texts::of(locale).problem(code);
            format!("{}\n{}", text.message, text.next_step)
        }
    }
}

/// A name of the operator's that makes no link.
fn plain(text: &str) -> String {
    text.replace('<', "‹").replace('>', "›")
}

static EN: ChatTexts = ChatTexts {
    sign_in: "Sign in to {site} ({host})?",
    unknown: "Somebody scanned a code to sign in with your WeChat.",
    connect: "Connect this WeChat to an account?",
    only_if: "Go on only if you have just opened that page yourself and see its number.",
    link: "Look and confirm",
    taken: "Somebody else has scanned this code already. Get a new code on your own screen, and show it to nobody.",
    stale: "This code is not valid any more. Get a new code on the page where you want to sign in, and scan that one.",
    pending_press: "Press and hold the code",
    pending_detail: "Follow the account if you are asked to. It sends you a message to confirm by.",
    pending_press_detail: "Follow the account or open its chat. It sends you a message to confirm by.",
    step_scan: "Scan the code with WeChat and follow the account, or open its chat",
    step_press: "Press and hold the code, then follow the account or open its chat",
    step_check: "Open the link that it sends you, and check that it shows {host}",
    scanned_by: "Scanned by {name}. Open the link that the account has sent.",
    scanned_someone: "Code scanned. Open the link that the account has sent.",
};

static ZH_CN: ChatTexts = ChatTexts {
    sign_in: "要登录{site}（{host}）吗？",
    unknown: "有人扫码，想用你的微信登录。",
    connect: "要把这个微信绑定到一个账号吗？",
    only_if: "只有当你自己刚刚打开了那个页面，并且看得到页面上的数字时，才继续。",
    link: "查看并确认",
    taken: "这个二维码已经被别人扫过了。请在自己的屏幕上获取新的二维码，不要给别人看。",
    stale: "这个二维码已经失效。请在要登录的页面上获取新的二维码，再扫一次。",
    pending_press: "长按二维码登录",
    pending_detail: "如有提示，请先关注公众号；它会发来一条消息，请在消息里确认。",
    pending_press_detail: "关注公众号或进入会话，它会发来一条消息，请在消息里确认。",
    step_scan: "用微信扫码，关注公众号或进入会话",
    step_press: "长按二维码，关注公众号或进入会话",
    step_check: "打开它发来的链接，核对显示的地址是 {host}",
    scanned_by: "{name} 已扫码，请打开公众号发来的链接。",
    scanned_someone: "已扫码，请打开公众号发来的链接。",
};

static ZH_TW: ChatTexts = ChatTexts {
    sign_in: "要登入{site}（{host}）嗎？",
    unknown: "有人掃碼，想用你的微信登入。",
    connect: "要把這個微信綁定到一個帳號嗎？",
    only_if: "只有當你自己剛剛開啟了那個頁面，並且看得到頁面上的數字時，才繼續。",
    link: "查看並確認",
    taken: "這個 QR 碼已經被別人掃過了。請在自己的螢幕上取得新的 QR 碼，不要給別人看。",
    stale: "這個 QR 碼已經失效。請在要登入的頁面上取得新的 QR 碼，再掃一次。",
    pending_press: "長按 QR 碼登入",
    pending_detail: "如有提示，請先關注公眾號；它會傳來一則訊息，請在訊息裡確認。",
    pending_press_detail: "關注公眾號或進入對話，它會傳來一則訊息，請在訊息裡確認。",
    step_scan: "用微信掃碼，關注公眾號或進入對話",
    step_press: "長按 QR 碼，關注公眾號或進入對話",
    step_check: "開啟它傳來的連結，核對顯示的位址是 {host}",
    scanned_by: "{name} 已掃碼，請開啟公眾號傳來的連結。",
    scanned_someone: "已掃碼，請開啟公眾號傳來的連結。",
};

static JA: ChatTexts = ChatTexts {
    sign_in: "{site}（{host}）にログインしますか？",
    unknown: "あなたの WeChat でログインするためのコードが読み取られました。",
    connect: "この WeChat をアカウントに連携しますか？",
    only_if: "そのページを今ご自分で開き、表示された数字が見えている場合にのみ進んでください。",
    link: "内容を見て確認する",
    taken: "このコードはすでに別の人が読み取りました。ご自分の画面で新しいコードを取得し、誰にも見せないでください。",
    stale: "このコードはもう使えません。ログインするページで新しいコードを取得し、読み取ってください。",
    pending_press: "コードを長押ししてください",
    pending_detail: "求められたらアカウントをフォローしてください。届いたメッセージから確認します。",
    pending_press_detail: "アカウントをフォローするかトークを開くと、確認用のメッセージが届きます。",
    step_scan: "WeChat でコードを読み取り、アカウントをフォローするかトークを開く",
    step_press: "コードを長押しし、アカウントをフォローするかトークを開く",
    step_check: "届いたリンクを開き、{host} と表示されることを確かめる",
    scanned_by: "{name} が読み取りました。アカウントから届いたリンクを開いてください。",
    scanned_someone: "読み取られました。アカウントから届いたリンクを開いてください。",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_says_the_same_and_a_message_fits_behind_the_longest_greeting() {
        let names = |text: &str| {
            let mut names: Vec<String> = text
                .split('{')
                .skip(1)
                .filter_map(|rest| Some(rest.split_once('}')?.0.to_owned()))
                .collect();
            names.sort();
            names
        };
        let url = format!(
            "https://{}/.menshen/connections/{}/confirm#{}",
            "l".repeat(200),
            "c".repeat(31),
            "h".repeat(43)
        );
        for locale in [Locale::En, Locale::ZhCn, Locale::ZhTw, Locale::Ja] {
            for ((name, text), (_, english)) in chat(locale).entries().into_iter().zip(EN.entries()) {
                assert!(!text.is_empty() && (locale == Locale::En || !text.is_ascii()), "{name}");
                assert_eq!(names(text), names(english), "{} {name}", locale.tag());
            }
            let about = Asking::SignIn {
                site: "知识库知识库知识库",
                host: "wiki.departments.example.com",
            };
            assert!(asking(locale, about, &url).len() < 1_000, "{}", locale.tag());
            for code in Code::ALL {
                assert!(!refusing(locale, code).is_empty());
            }
        }
    }

    #[test]
    fn a_name_of_a_site_makes_no_link() {
        let about = Asking::SignIn {
            site: "<a href=\"https://evil.test\">Wiki</a>",
            host: "wiki.test",
        };
        let said = asking(Locale::En, about, "https://login.test/x#h");
        assert_eq!(said.matches("<a ").count(), 1, "{said}");
        assert!(
            said.contains("<a href=\"https://login.test/x#h\">Look and confirm</a>"),
            "{said}"
        );
    }
}
