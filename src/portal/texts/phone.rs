//! What the phone's side says in words of its own.

use crate::config::settings::Locale;

/// The place of a browser that shares an address with the phone.
pub fn same_network(locale: Locale) -> &'static str {
    match locale {
        Locale::ZhCn => "与本手机同一网络",
        Locale::ZhTw => "與本手機同一網路",
        Locale::En => "same network as this phone",
        Locale::Ja => "このスマートフォンと同じネットワーク",
    }
}
