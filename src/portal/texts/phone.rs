//! What the phone's side says in words of its own.

use crate::config::settings::Locale;

/// What asks to be signed in, where it is a program that shows its code in a terminal.
pub fn terminal(locale: Locale) -> &'static str {
    match locale {
        Locale::ZhCn => "一个终端程序",
        Locale::ZhTw => "一個終端機程式",
        Locale::En => "a terminal",
        Locale::Ja => "ターミナル",
    }
}

/// The same, where it is an application on the very phone that confirms.
pub fn application(locale: Locale) -> &'static str {
    match locale {
        Locale::ZhCn => "本手机上的应用",
        Locale::ZhTw => "本手機上的應用程式",
        Locale::En => "an application on this phone",
        Locale::Ja => "このスマートフォンのアプリ",
    }
}

/// The place of a browser that shares an address with the phone.
pub fn same_network(locale: Locale) -> &'static str {
    match locale {
        Locale::ZhCn => "与本手机同一网络",
        Locale::ZhTw => "與本手機同一網路",
        Locale::En => "same network as this phone",
        Locale::Ja => "このスマートフォンと同じネットワーク",
    }
}

/// What a program asks for whose token is good at every site of this installation.
pub fn every_site(locale: Locale, title: &str) -> String {
    match locale {
        Locale::ZhCn => format!("{title}：所有网站"),
        Locale::ZhTw => format!("{title}：所有網站"),
        Locale::En => format!("{title}: every site"),
        Locale::Ja => format!("{title}：すべてのサイト"),
    }
}
