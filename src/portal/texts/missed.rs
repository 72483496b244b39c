//! What a login page says that shows another connection than the one that was wanted.

use crate::config::settings::Locale;

use super::{Slot, fill};

/// The connection with this name gives no code at the moment.
pub fn missed(locale: Locale, name: &str) -> String {
    let text = match locale {
        Locale::ZhCn => "暂时无法获取“{name}”的二维码，请用下面的方式登录，或稍后再选它。",
        Locale::ZhTw => "暫時無法取得「{name}」的 QR 碼，請用下面的方式登入，或稍後再選它。",
        Locale::En => "No code can be had for {name} at the moment. Sign in this way, or choose it again in a while.",
        Locale::Ja => {
            "「{name}」のコードは現在取得できません。次の方法でログインするか、しばらくしてから選び直してください。"
        }
    };
    fill(text, &[Slot::Name(name)])
}
