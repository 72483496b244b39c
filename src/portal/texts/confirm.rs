//! The words of the page on which somebody confirms who came by a service account's message.

use serde::Serialize;

use crate::config::settings::Locale;

use super::catalogue;

catalogue! {
    /// What the page says; its script shows all of it but the first three.
    ConfirmTexts {
        /// Heading.
        title,
        /// Without a script.
        no_script,
        /// What to do then.
        no_script_detail,
        /// Before the answer.
        loading,
        /// The browser has not spoken yet.
        waiting,
        /// What to do meanwhile.
        waiting_detail,
        /// Headline, with `{site}`.
        sign_in_to,
        /// The number: question.
        question,
        /// The number: when to leave it.
        question_detail,
        /// The number, where it is typed.
        question_type,
        /// Label of the field.
        type_label,
        /// Button behind the field, and where no number is asked for.
        confirm,
        /// Fact: whose WeChat confirms.
        whose,
        /// Fact: of somebody who was never here.
        whose_new,
        /// Fact: host.
        host,
        /// Fact: browser.
        device,
        /// Fact: place.
        place,
        /// Fact: time.
        time,
        /// Fact: not known.
        unknown_place,
        /// Declines.
        cancel,
        /// Declines because somebody else is at it.
        not_me,
        /// Countdown, with `{time}`.
        expires,
        /// Agreed.
        done,
        /// What follows.
        done_detail,
        /// Agreed to a further WeChat account.
        connected,
        /// What follows.
        connected_detail,
        /// The browser chooses an account.
        bind,
        /// What that means.
        bind_detail,
        /// An account was proven, with `{name}`.
        account,
        /// What accepting means.
        account_detail,
        /// Accepts it.
        accept,
        /// Accepts the account that this WeChat is connected to.
        accept_connect,
        /// Declined.
        cancelled,
        /// What that means.
        cancelled_detail,
        /// Reported.
        reported,
        /// What that means.
        reported_detail,
        /// Too late, or none any more.
        over,
        /// What to do.
        over_detail,
        /// Opened without a link of the chat.
        no_handle,
        /// What to do.
        no_handle_detail,
        /// Does not follow the account.
        not_following,
        /// No answer.
        offline,
        /// Looks again.
        again,
    }
}

/// The words in this language.
pub fn confirm(locale: Locale) -> &'static ConfirmTexts {
    match locale {
        Locale::ZhCn => &ZH_CN,
        Locale::ZhTw => &ZH_TW,
        Locale::En => &EN,
        Locale::Ja => &JA,
    }
}

static EN: ConfirmTexts = ConfirmTexts {
    title: "Confirm in WeChat",
    no_script: "This page needs JavaScript",
    no_script_detail: "Open the link in WeChat.",
    loading: "One moment…",
    waiting: "Waiting for the page with the code",
    waiting_detail: "Keep it open on its screen. You can confirm as soon as it is known what you sign in to.",
    sign_in_to: "Sign in to {site}?",
    question: "Which number does the page with the code show?",
    question_detail: "You see no number, or did not open that page yourself? Do not choose any.",
    question_type: "Type the two digits that the page with the code shows",
    type_label: "Two digits",
    confirm: "Confirm",
    whose: "WeChat of",
    whose_new: "somebody who has not signed in here before",
    host: "Address",
    device: "Browser",
    place: "Place",
    time: "Time",
    unknown_place: "unknown",
    cancel: "Cancel",
    not_me: "This was not me",
    expires: "Valid for {time}",
    done: "Confirmed",
    done_detail: "Go on in your browser. You can close this page.",
    connected: "Accepted",
    connected_detail: "Finish it in your browser. You can close this page.",
    bind: "Go on in your browser",
    bind_detail: "There you say which account is yours. Keep this page open.",
    account: "Is {name} your account?",
    account_detail: "Somebody proved in the browser that they own it. If you accept, your WeChat can sign in to it.",
    accept: "Accept and sign in",
    accept_connect: "Accept",
    cancelled: "Cancelled",
    cancelled_detail: "Nobody was signed in.",
    reported: "Ended and reported",
    reported_detail: "Whoever wanted to sign in with your WeChat is not signed in.",
    over: "This is over",
    over_detail: "Get a new code on the page where you want to sign in, and scan that one.",
    no_handle: "Open the link in the chat",
    no_handle_detail: "Scan the code on the page where you want to sign in. The account then sends you a link.",
    not_following: "WeChat says who you are only while you follow the account. Follow it, and try again.",
    offline: "No connection.",
    again: "Try again",
};

static ZH_CN: ConfirmTexts = ConfirmTexts {
    title: "在微信中确认",
    no_script: "本页需要 JavaScript",
    no_script_detail: "请在微信中打开链接。",
    loading: "请稍候…",
    waiting: "正在等待显示二维码的页面",
    waiting_detail: "请让它在屏幕上保持打开。看清要登录的是什么之后，才能确认。",
    sign_in_to: "要登录{site}吗？",
    question: "显示二维码的页面上是哪个数字？",
    question_detail: "没有看到数字，或者页面不是你自己打开的？请不要选。",
    question_type: "输入显示二维码的页面上的两位数字",
    type_label: "两位数字",
    confirm: "确认",
    whose: "微信用户",
    whose_new: "第一次在这里登录的人",
    host: "地址",
    device: "浏览器",
    place: "地点",
    time: "时间",
    unknown_place: "未知",
    cancel: "取消",
    not_me: "不是我操作",
    expires: "{time} 内有效",
    done: "已确认",
    done_detail: "请回到浏览器继续，本页可以关闭。",
    connected: "已接受",
    connected_detail: "请在浏览器中完成，本页可以关闭。",
    bind: "请在浏览器中继续",
    bind_detail: "在那里说明哪个账号是你的，请保持本页打开。",
    account: "{name} 是你的账号吗？",
    account_detail: "有人在浏览器中证明了拥有这个账号。接受后，你的微信就能登录它。",
    accept: "接受并登录",
    accept_connect: "接受",
    cancelled: "已取消",
    cancelled_detail: "没有人登录。",
    reported: "已终止并记录",
    reported_detail: "想用你的微信登录的人没有登录成功。",
    over: "已经结束",
    over_detail: "请在要登录的页面上获取新的二维码，再扫一次。",
    no_handle: "请打开会话里的链接",
    no_handle_detail: "请扫描要登录的页面上的二维码，公众号会发来链接。",
    not_following: "只有关注公众号时，微信才会告知你的身份。请先关注，然后重试。",
    offline: "网络已断开。",
    again: "重试",
};

static ZH_TW: ConfirmTexts = ConfirmTexts {
    title: "在微信中確認",
    no_script: "本頁需要 JavaScript",
    no_script_detail: "請在微信中開啟連結。",
    loading: "請稍候…",
    waiting: "正在等待顯示 QR 碼的頁面",
    waiting_detail: "請讓它在螢幕上保持開啟。看清要登入的是什麼之後，才能確認。",
    sign_in_to: "要登入{site}嗎？",
    question: "顯示 QR 碼的頁面上是哪個數字？",
    question_detail: "沒有看到數字，或者頁面不是你自己開啟的？請不要選。",
    question_type: "輸入顯示 QR 碼的頁面上的兩位數字",
    type_label: "兩位數字",
    confirm: "確認",
    whose: "微信使用者",
    whose_new: "第一次在這裡登入的人",
    host: "位址",
    device: "瀏覽器",
    place: "地點",
    time: "時間",
    unknown_place: "未知",
    cancel: "取消",
    not_me: "不是我操作",
    expires: "{time} 內有效",
    done: "已確認",
    done_detail: "請回到瀏覽器繼續，本頁可以關閉。",
    connected: "已接受",
    connected_detail: "請在瀏覽器中完成，本頁可以關閉。",
    bind: "請在瀏覽器中繼續",
    bind_detail: "在那裡說明哪個帳號是你的，請保持本頁開啟。",
    account: "{name} 是你的帳號嗎？",
    account_detail: "有人在瀏覽器中證明了擁有這個帳號。接受後，你的微信就能登入它。",
    accept: "接受並登入",
    accept_connect: "接受",
    cancelled: "已取消",
    cancelled_detail: "沒有人登入。",
    reported: "已終止並記錄",
    reported_detail: "想用你的微信登入的人沒有登入成功。",
    over: "已經結束",
    over_detail: "請在要登入的頁面上取得新的 QR 碼，再掃一次。",
    no_handle: "請開啟對話裡的連結",
    no_handle_detail: "請掃描要登入的頁面上的 QR 碼，公眾號會傳來連結。",
    not_following: "只有關注公眾號時，微信才會告知你的身分。請先關注，然後重試。",
    offline: "網路已中斷。",
    again: "重試",
};

static JA: ConfirmTexts = ConfirmTexts {
    title: "WeChat で確認",
    no_script: "このページには JavaScript が必要です",
    no_script_detail: "リンクを WeChat で開いてください。",
    loading: "お待ちください…",
    waiting: "コードのページを待っています",
    waiting_detail: "その画面を開いたままにしてください。何にログインするかが分かると確認できます。",
    sign_in_to: "{site}にログインしますか？",
    question: "コードのページに表示されている数字はどれですか？",
    question_detail: "数字が見えない、またはそのページをご自分で開いていない場合は、選ばないでください。",
    question_type: "コードのページに表示されている二桁の数字を入力",
    type_label: "二桁の数字",
    confirm: "確認",
    whose: "WeChat の利用者",
    whose_new: "ここで初めてログインする人",
    host: "アドレス",
    device: "ブラウザー",
    place: "場所",
    time: "時刻",
    unknown_place: "不明",
    cancel: "キャンセル",
    not_me: "私ではありません",
    expires: "残り {time}",
    done: "確認しました",
    done_detail: "ブラウザーで続けてください。このページは閉じてかまいません。",
    connected: "承認しました",
    connected_detail: "ブラウザーで完了してください。このページは閉じてかまいません。",
    bind: "ブラウザーで続けてください",
    bind_detail: "そこでどのアカウントがあなたのものかを示します。このページは開いたままにしてください。",
    account: "{name} はあなたのアカウントですか？",
    account_detail: "ブラウザーで所有者であることが証明されました。承認すると、あなたの WeChat でログインできるようになります。",
    accept: "承認してログイン",
    accept_connect: "承認",
    cancelled: "キャンセルしました",
    cancelled_detail: "誰もログインしていません。",
    reported: "終了し、記録しました",
    reported_detail: "あなたの WeChat を使おうとした人はログインしていません。",
    over: "終了しました",
    over_detail: "ログインするページで新しいコードを取得し、読み取ってください。",
    no_handle: "トークのリンクを開いてください",
    no_handle_detail: "ログインするページのコードを読み取ると、アカウントからリンクが届きます。",
    not_following: "フォローしている間だけ、WeChat はあなたが誰かを知らせます。フォローしてからもう一度お試しください。",
    offline: "接続がありません。",
    again: "もう一度試す",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_every_text_with_the_same_placeholders() {
        for locale in [Locale::En, Locale::ZhCn, Locale::ZhTw, Locale::Ja] {
            for ((name, text), (_, english)) in confirm(locale).entries().into_iter().zip(EN.entries()) {
                assert!(!text.is_empty() && (locale == Locale::En || !text.is_ascii()), "{name}");
                for placeholder in ["{site}", "{time}", "{name}"] {
                    assert_eq!(
                        text.contains(placeholder),
                        english.contains(placeholder),
                        "{} {name}",
                        locale.tag()
                    );
                }
                assert_eq!(text.matches('{').count(), english.matches('{').count(), "{name}");
            }
        }
    }
}
