//! The words of the last page of a login in a window of its own.

use crate::config::settings::Locale;

/// Shown when the window does not close by itself.
#[derive(Debug, Clone, Copy)]
pub struct PopupTexts {
    /// What has happened.
    pub title: &'static str,
    /// What to do.
    pub detail: &'static str,
}

/// In this language.
pub fn popup(locale: Locale) -> PopupTexts {
    let (title, detail) = match locale {
        Locale::ZhCn => ("登录成功", "可以关闭这个窗口，回到原来的页面。"),
        Locale::ZhTw => ("登入成功", "可以關閉這個視窗，回到原來的頁面。"),
        Locale::En => (
            "You are signed in",
            "Close this window, and go back to the page that opened it.",
        ),
        Locale::Ja => (
            "ログインしました",
            "このウィンドウを閉じて、元のページに戻ってください。",
        ),
    };
    PopupTexts { title, detail }
}
