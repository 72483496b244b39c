//! The words of logins that send the browser to WeChat and back.

use crate::config::settings::Locale;
use crate::portal::code::Code;

use super::{ProblemText, problem};

/// What can go wrong on the way to WeChat and back, apart from what has a code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedirectProblem {
    /// WeChat did not accept the code.
    CodeRefused,
    /// The person did not consent.
    Declined,
    /// Applications on a phone sign in by the connection; browsers have no way.
    OnlyInApplication,
    /// The connection works in WeChat's own browser only.
    OnlyInWechat,
    /// WeChat shows the page as a snapshot.
    Snapshot,
    /// Forged, foreign, spent or too old: one answer.
    Stale,
}

impl RedirectProblem {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::CodeRefused,
        Self::Declined,
        Self::OnlyInApplication,
        Self::OnlyInWechat,
        Self::Snapshot,
        Self::Stale,
    ];

    /// The code of the contract that says the same.
    pub fn code(self) -> Code {
        match self {
            Self::CodeRefused => Code::CodeInvalid,
            Self::Declined => Code::TicketCancelled,
            Self::OnlyInApplication | Self::OnlyInWechat => Code::Forbidden,
            Self::Snapshot => Code::WechatRefused,
            Self::Stale => Code::TicketUnknown,
        }
    }

    /// In words.
    pub fn text(self, locale: Locale) -> ProblemText {
        match locale {
            Locale::En => self.english(),
            Locale::ZhCn => self.simplified(),
            Locale::ZhTw => self.traditional(),
            Locale::Ja => self.japanese(),
        }
    }

    fn english(self) -> ProblemText {
        match self {
            Self::CodeRefused => problem(
                "WeChat’s confirmation came too late",
                "WeChat did not accept the confirmation any more.",
                "Sign in again, and confirm in WeChat at once.",
            ),
            Self::Declined => problem(
                "Not confirmed in WeChat",
                "WeChat sent you back without a confirmation; nobody was signed in.",
                "Sign in again if you want to, and allow it in WeChat.",
            ),
            Self::OnlyInApplication => problem(
                "Please use the app",
                "Nobody signs in to this site with a browser; its application on your phone does.",
                "Open the application on your phone, and sign in there.",
            ),
            Self::OnlyInWechat => problem(
                "Please open this page in WeChat",
                "This way to sign in works in WeChat’s own browser only.",
                "Send this address to yourself in WeChat, and open it there.",
            ),
            Self::Snapshot => problem(
                "WeChat shows a preview of this page",
                "In the preview WeChat does not say who you are, so nobody was signed in.",
                "Tap “Use full service” at the bottom right, then sign in again.",
            ),
            Self::Stale => problem(
                "This sign-in is not valid any more",
                "It took longer than ten minutes, was finished before, or was begun in another browser.",
                "Go back to the site and sign in again.",
            ),
        }
    }

    fn simplified(self) -> ProblemText {
        match self {
            Self::CodeRefused => problem(
                "微信确认已失效",
                "微信不再接受这次确认。",
                "请重新登录，并立即在微信中确认。",
            ),
            Self::Declined => problem(
                "未在微信中确认",
                "微信没有返回确认结果，没有人登录。",
                "如需登录，请重新登录并在微信中允许。",
            ),
            Self::OnlyInApplication => problem(
                "请使用手机应用",
                "这个网站不能用浏览器登录，只能在它的手机应用里登录。",
                "请在手机上打开该应用并登录。",
            ),
            Self::OnlyInWechat => problem(
                "请在微信中打开本页",
                "这种登录方式只能在微信内置浏览器中使用。",
                "请把本页地址发给自己的微信，在微信里打开。",
            ),
            Self::Snapshot => problem(
                "微信正在以快照显示本页",
                "快照页中微信不会告知你的身份，因此没有人登录。",
                "请点击右下角的“使用完整服务”，然后重新登录。",
            ),
            Self::Stale => problem(
                "这次登录已失效",
                "登录超过了十分钟、已经完成，或者是在另一个浏览器里开始的。",
                "请回到网站重新登录。",
            ),
        }
    }

    fn traditional(self) -> ProblemText {
        match self {
            Self::CodeRefused => problem(
                "微信確認已失效",
                "微信不再接受這次確認。",
                "請重新登入，並立即在微信中確認。",
            ),
            Self::Declined => problem(
                "未在微信中確認",
                "微信沒有傳回確認結果，沒有人登入。",
                "如需登入，請重新登入並在微信中允許。",
            ),
            Self::OnlyInApplication => problem(
                "請使用手機應用程式",
                "這個網站不能用瀏覽器登入，只能在它的手機應用程式裡登入。",
                "請在手機上開啟該應用程式並登入。",
            ),
            Self::OnlyInWechat => problem(
                "請在微信中開啟本頁",
                "這種登入方式只能在微信內建瀏覽器中使用。",
                "請把本頁網址傳給自己的微信，在微信裡開啟。",
            ),
            Self::Snapshot => problem(
                "微信正在以快照顯示本頁",
                "快照頁中微信不會告知你的身分，因此沒有人登入。",
                "請點選右下角的「使用完整服務」，然後重新登入。",
            ),
            Self::Stale => problem(
                "這次登入已失效",
                "登入超過了十分鐘、已經完成，或者是在另一個瀏覽器裡開始的。",
                "請回到網站重新登入。",
            ),
        }
    }

    fn japanese(self) -> ProblemText {
        match self {
            Self::CodeRefused => problem(
                "WeChat の確認が無効になりました",
                "WeChat はこの確認をもう受け付けません。",
                "もう一度ログインし、すぐに WeChat で確認してください。",
            ),
            Self::Declined => problem(
                "WeChat で確認されませんでした",
                "WeChat から確認のないまま戻りました。誰もログインしていません。",
                "ログインするには、もう一度始めて WeChat で許可してください。",
            ),
            Self::OnlyInApplication => problem(
                "アプリをお使いください",
                "このサイトにはブラウザーではログインできません。スマートフォンのアプリからログインします。",
                "スマートフォンでアプリを開き、そこでログインしてください。",
            ),
            Self::OnlyInWechat => problem(
                "WeChat でこのページを開いてください",
                "この方法は WeChat 内のブラウザーでのみ使えます。",
                "このアドレスを WeChat で自分に送り、そこで開いてください。",
            ),
            Self::Snapshot => problem(
                "WeChat がプレビューを表示しています",
                "プレビューでは WeChat があなたを知らせないため、誰もログインしていません。",
                "右下の「使用完整服务」をタップしてから、もう一度ログインしてください。",
            ),
            Self::Stale => problem(
                "このログインは無効です",
                "10 分を過ぎたか、完了済みか、別のブラウザーで始められたものです。",
                "サイトに戻ってもう一度ログインしてください。",
            ),
        }
    }
}

/// Name of the frame with WeChat's code.
pub fn frame_title(locale: Locale) -> &'static str {
    match locale {
        Locale::En => "WeChat’s code to scan",
        Locale::ZhCn => "微信登录二维码",
        Locale::ZhTw => "微信登入 QR 碼",
        Locale::Ja => "WeChat のログイン用コード",
    }
}

/// Below that frame.
pub fn frame_detail(locale: Locale) -> &'static str {
    match locale {
        Locale::En => "Scan WeChat’s code and allow it there. Refused, or no code to be seen? Use WeChat’s own page.",
        Locale::ZhCn => "请用微信扫描二维码并允许登录。已拒绝，或看不到二维码？请使用微信自己的页面。",
        Locale::ZhTw => "請用微信掃描 QR 碼並允許登入。已拒絕，或看不到 QR 碼？請使用微信自己的頁面。",
        Locale::Ja => {
            "WeChat でコードを読み取り、許可してください。拒否した場合やコードが見えない場合は、WeChat のページをお使いください。"
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_problem_is_told_in_every_language() {
        for locale in [Locale::En, Locale::ZhCn, Locale::ZhTw, Locale::Ja] {
            let mut titles = BTreeSet::new();
            for told in RedirectProblem::ALL.map(|problem| problem.text(locale)) {
                for text in [told.title, told.message, told.next_step] {
                    assert!(!text.is_empty() && (locale == Locale::En || !text.is_ascii()), "{text}");
                }
                assert!(
                    told.title.chars().count() <= 45 && titles.insert(told.title),
                    "{}",
                    told.title
                );
            }
            assert!(!frame_title(locale).is_empty() && !frame_detail(locale).is_empty());
        }
    }
}
