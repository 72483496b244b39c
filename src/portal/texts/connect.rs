//! The words for connecting a further WeChat account to one's own account.

use serde::Serialize;

use crate::config::settings::Locale;

use super::catalogue;

catalogue! {
    /// What the page with the code says, and the phone. Placeholder: `{name}` of the account, masked.
    ConnectTexts {
        /// Heading.
        title,
        /// Below it, with `{name}`.
        whose,
        /// Text alternative of the code.
        code_alt,
        /// Headline beside the code.
        pending,
        /// What happens next.
        pending_detail,
        /// Step 1.
        step_scan,
        /// Step 2, with `{name}`.
        step_check,
        /// After the phone has accepted: the question.
        ask,
        /// What to look at before, and what the answer means.
        ask_detail,
        /// Answer yes.
        yes,
        /// Answer no.
        no,
        /// While it is done.
        connecting,
        /// After a cancel: what did not happen.
        cancelled,
        /// Link and button back to the account.
        back,
        /// On the phone, before the number: what this is, with `{name}`.
        on_phone,
    }
}

/// The words in this language.
pub fn connect(locale: Locale) -> &'static ConnectTexts {
    match locale {
        Locale::ZhCn => &ZH_CN,
        Locale::ZhTw => &ZH_TW,
        Locale::En => &EN,
        Locale::Ja => &JA,
    }
}

static EN: ConnectTexts = ConnectTexts {
    title: "Connect another WeChat account",
    whose: "It will sign in to the account {name}.",
    code_alt: "QR code: connect another WeChat account",
    pending: "Scan with the other WeChat",
    pending_detail: "Use the phone whose WeChat is to be connected.",
    step_scan: "Scan the code with the WeChat to be connected",
    step_check: "Check that the phone shows the account {name}",
    ask: "Connect this WeChat account?",
    ask_detail: "Only go on if that phone now says to continue here. Whoever holds its WeChat can then sign in as you.",
    yes: "Connect",
    no: "Do not connect",
    connecting: "Connecting",
    cancelled: "Nothing was connected.",
    back: "Back to your account",
    on_phone: "Connect this WeChat to the account {name}. This is not a login: whoever holds this WeChat can then sign in to that account.",
};

static ZH_CN: ConnectTexts = ConnectTexts {
    title: "绑定另一个微信",
    whose: "绑定后，它可以登录账号 {name}。",
    code_alt: "二维码：绑定另一个微信",
    pending: "用另一个微信扫码",
    pending_detail: "请使用要绑定的那个微信所在的手机。",
    step_scan: "用要绑定的微信扫描二维码",
    step_check: "核对手机上显示的账号是 {name}",
    ask: "要绑定这个微信吗？",
    ask_detail: "只有当那部手机正提示“请在电脑上继续”时，才继续操作。绑定后，持有那个微信的人就能以您的身份登录。",
    yes: "绑定",
    no: "不绑定",
    connecting: "正在绑定",
    cancelled: "没有绑定任何微信。",
    back: "返回我的账号",
    on_phone: "把这个微信绑定到账号 {name}。这不是登录：绑定后，持有这个微信的人就能登录该账号。",
};

static ZH_TW: ConnectTexts = ConnectTexts {
    title: "綁定另一個微信",
    whose: "綁定後，它可以登入帳號 {name}。",
    code_alt: "QR 碼：綁定另一個微信",
    pending: "用另一個微信掃碼",
    pending_detail: "請使用要綁定的那個微信所在的手機。",
    step_scan: "用要綁定的微信掃描 QR 碼",
    step_check: "核對手機上顯示的帳號是 {name}",
    ask: "要綁定這個微信嗎？",
    ask_detail: "只有當那部手機正提示「請在電腦上繼續」時，才繼續操作。綁定後，持有那個微信的人就能以您的身分登入。",
    yes: "綁定",
    no: "不綁定",
    connecting: "正在綁定",
    cancelled: "沒有綁定任何微信。",
    back: "返回我的帳號",
    on_phone: "把這個微信綁定到帳號 {name}。這不是登入：綁定後，持有這個微信的人就能登入該帳號。",
};

static JA: ConnectTexts = ConnectTexts {
    title: "別の WeChat を連携",
    whose: "連携すると、アカウント {name} にログインできるようになります。",
    code_alt: "QRコード：別の WeChat を連携",
    pending: "別の WeChat でスキャン",
    pending_detail: "連携したい WeChat のあるスマートフォンを使ってください。",
    step_scan: "連携したい WeChat でコードをスキャン",
    step_check: "スマートフォンにアカウント {name} と表示されることを確認",
    ask: "この WeChat を連携しますか？",
    ask_detail: "そのスマートフォンに、ここで続けるよう表示されている場合だけ進んでください。連携後は、その WeChat を持つ人があなたとしてログインできます。",
    yes: "連携する",
    no: "連携しない",
    connecting: "連携しています",
    cancelled: "何も連携していません。",
    back: "アカウントに戻る",
    on_phone: "この WeChat をアカウント {name} に連携します。ログインではありません。連携後は、この WeChat を持つ人がそのアカウントにログインできます。",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_words_of_its_own_with_the_same_placeholders() {
        for (name, text) in EN.entries() {
            let rest = text.replace("{name}", "");
            assert!(!rest.is_empty() && !rest.contains(['{', '<', '&']), "{name}");
        }
        for locale in [Locale::ZhCn, Locale::ZhTw, Locale::Ja] {
            for ((name, text), (_, english)) in connect(locale).entries().into_iter().zip(EN.entries()) {
                assert!(text != english && !text.is_ascii(), "{} {name}", locale.tag());
                let slots = [text, english].map(|text| text.matches("{name}").count());
                assert_eq!(slots[0], slots[1], "{} {name}", locale.tag());
            }
        }
    }
}
