//! The words of a person's own page.

use serde::Serialize;

use crate::config::settings::Locale;

use super::catalogue;

catalogue! {
    /// What the account page says.
    AccountTexts {
        /// Heading.
        title,
        /// Section: who is signed in.
        who,
        /// Username.
        username,
        /// Phone number, masked.
        phone,
        /// E-mail address.
        email,
        /// Groups.
        groups,
        /// A person of whom nothing is known but the id.
        nameless,
        /// Section: sessions.
        sign_ins,
        /// What they are.
        sign_ins_detail,
        /// The session of this very page.
        this_one,
        /// Before the time of the login.
        since,
        /// Before the time of the last use.
        last_used,
        /// Button beside a session.
        sign_out_there,
        /// Button: all sessions, this one too.
        sign_out_everywhere,
        /// There are more than are shown.
        more,
        /// Section: WeChat identities.
        identities,
        /// What they are.
        identities_detail,
        /// Before the day of an identity.
        bound_since,
        /// Button beside an identity.
        unbind,
        /// What the button does besides.
        unbind_detail,
        /// In place of the button, at the last one.
        last_identity,
        /// An identity of an app that is not in the configuration any more.
        former_app,
        /// Before the buttons that connect a further WeChat account.
        connect_detail,
        /// Button, followed by the name of the connection.
        connect,
        /// Section, and name of the field.
        language,
        /// Button.
        choose,
        /// Link.
        sign_out,
        /// Said after a session was ended.
        done_signed_out,
        /// Said after an identity was taken away.
        done_unbound,
        /// Said after an identity was connected.
        done_connected,
        /// Said when the last identity was to be taken away.
        refused_last,
    }
}

/// The words in this language.
pub fn account(locale: Locale) -> &'static AccountTexts {
    match locale {
        Locale::ZhCn => &ZH_CN,
        Locale::ZhTw => &ZH_TW,
        Locale::En => &EN,
        Locale::Ja => &JA,
    }
}

static EN: AccountTexts = AccountTexts {
    title: "Your account",
    who: "Who you are here",
    username: "User name",
    phone: "Phone",
    email: "E-mail",
    groups: "Groups",
    nameless: "No name yet",
    sign_ins: "Where you are signed in",
    sign_ins_detail: "Is one of them not yours? Sign out there.",
    this_one: "This one",
    since: "Since",
    last_used: "Last used",
    sign_out_there: "Sign out there",
    sign_out_everywhere: "Sign out everywhere, here too",
    more: "There are more. “Sign out everywhere” ends them too.",
    identities: "WeChat accounts that sign you in",
    identities_detail: "Whoever holds one of them can sign in as you.",
    bound_since: "Since",
    unbind: "Disconnect",
    unbind_detail: "Disconnecting also signs you out everywhere else.",
    last_identity: "The last one stays: without it you could not come back.",
    former_app: "No longer in use here",
    connect_detail: "You can connect a further WeChat account by scanning a code with it.",
    connect: "Connect a WeChat account:",
    language: "Language",
    choose: "Use this language",
    sign_out: "Sign out here",
    done_signed_out: "You are signed out there.",
    done_unbound: "It is disconnected, and you are signed out everywhere else.",
    done_connected: "The WeChat account is connected. It can sign you in from now on.",
    refused_last: "That is the last one: without it you could not come back. Nothing was changed.",
};

static ZH_CN: AccountTexts = AccountTexts {
    title: "我的账号",
    who: "您的身份",
    username: "用户名",
    phone: "手机号",
    email: "邮箱",
    groups: "用户组",
    nameless: "尚无姓名",
    sign_ins: "已登录的设备",
    sign_ins_detail: "有不是您本人的吗？请让它退出登录。",
    this_one: "当前",
    since: "登录于",
    last_used: "最近使用",
    sign_out_there: "让它退出",
    sign_out_everywhere: "全部退出，包括本机",
    more: "还有更多未显示。“全部退出”也会让它们退出。",
    identities: "可用于登录的微信",
    identities_detail: "持有其中任何一个微信的人，都能以您的身份登录。",
    bound_since: "绑定于",
    unbind: "解除绑定",
    unbind_detail: "解除绑定后，其他地方的登录也会全部退出。",
    last_identity: "这是最后一个，不能解除：否则您将无法再登录。",
    former_app: "此处已不再使用",
    connect_detail: "您可以用另一个微信扫码，把它也绑定到这个账号。",
    connect: "绑定微信：",
    language: "语言",
    choose: "使用此语言",
    sign_out: "退出本机登录",
    done_signed_out: "已让那台设备退出登录。",
    done_unbound: "已解除绑定，其他地方的登录已全部退出。",
    done_connected: "微信已绑定，今后可以用它登录。",
    refused_last: "这是最后一个：解除后您将无法再登录。未作任何更改。",
};

static ZH_TW: AccountTexts = AccountTexts {
    title: "我的帳號",
    who: "您的身分",
    username: "使用者名稱",
    phone: "手機號碼",
    email: "電子郵件",
    groups: "群組",
    nameless: "尚無姓名",
    sign_ins: "已登入的裝置",
    sign_ins_detail: "有不是您本人的嗎？請將它登出。",
    this_one: "目前",
    since: "登入於",
    last_used: "最近使用",
    sign_out_there: "將它登出",
    sign_out_everywhere: "全部登出，包括這裡",
    more: "還有更多未顯示。「全部登出」也會將它們登出。",
    identities: "可用於登入的微信",
    identities_detail: "持有其中任何一個微信的人，都能以您的身分登入。",
    bound_since: "綁定於",
    unbind: "解除綁定",
    unbind_detail: "解除綁定後，其他地方的登入也會全部登出。",
    last_identity: "這是最後一個，不能解除：否則您將無法再登入。",
    former_app: "此處已不再使用",
    connect_detail: "您可以用另一個微信掃碼，把它也綁定到這個帳號。",
    connect: "綁定微信：",
    language: "語言",
    choose: "使用此語言",
    sign_out: "登出這台裝置",
    done_signed_out: "已將那台裝置登出。",
    done_unbound: "已解除綁定，其他地方的登入已全部登出。",
    done_connected: "微信已綁定，今後可以用它登入。",
    refused_last: "這是最後一個：解除後您將無法再登入。未作任何變更。",
};

static JA: AccountTexts = AccountTexts {
    title: "あなたのアカウント",
    who: "ログイン中のユーザー",
    username: "ユーザー名",
    phone: "電話番号",
    email: "メールアドレス",
    groups: "グループ",
    nameless: "名前はまだありません",
    sign_ins: "ログイン中の端末",
    sign_ins_detail: "心当たりのないものは、ログアウトさせてください。",
    this_one: "この端末",
    since: "ログイン",
    last_used: "最終利用",
    sign_out_there: "ログアウトさせる",
    sign_out_everywhere: "この端末も含めてすべてログアウト",
    more: "ほかにもあります。「すべてログアウト」で同時に終了します。",
    identities: "ログインに使える WeChat",
    identities_detail: "このいずれかを持つ人は、あなたとしてログインできます。",
    bound_since: "連携開始",
    unbind: "連携を解除",
    unbind_detail: "解除すると、ほかの場所のログインもすべて終了します。",
    last_identity: "最後の一つは解除できません。解除するとログインできなくなります。",
    former_app: "ここではもう使われていません",
    connect_detail: "別の WeChat でコードをスキャンすると、このアカウントに連携できます。",
    connect: "WeChat を連携：",
    language: "言語",
    choose: "この言語にする",
    sign_out: "この端末からログアウト",
    done_signed_out: "その端末をログアウトさせました。",
    done_unbound: "連携を解除し、ほかの場所のログインを終了しました。",
    done_connected: "WeChat を連携しました。これからはこの WeChat でもログインできます。",
    refused_last: "最後の一つなので解除できません。何も変更していません。",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_words_of_its_own() {
        for locale in [Locale::ZhCn, Locale::ZhTw, Locale::Ja] {
            for ((name, text), (_, english)) in account(locale).entries().into_iter().zip(EN.entries()) {
                assert!(text != english && !text.is_ascii(), "{} {name}", locale.tag());
            }
        }
        for (name, text) in EN.entries() {
            assert!(!text.is_empty() && !text.contains(['{', '<', '&']), "{name}");
        }
    }
}
