//! Japanese.

use crate::portal::code::Code;
use crate::portal::pages::LoopCause;

use super::{PageTexts, ProblemText, ScriptTexts, Texts, problem};

pub(super) static TEXTS: Texts = Texts {
    page: PageTexts {
        sign_in_to: "{site}にログイン",
        sign_in: "ログイン",
        host_label: "アドレス：",
        sandbox_banner: "このシステムはWeChatではなくサンドボックスに接続しています。ここでのログインは本人確認になりません。",
        simulated_phone: "模擬スマートフォンを使う",
        new_tab: "（新しいタブで開きます）",
        connections_label: "ログイン方法",
        code_alt: "QRコード：WeChatで{site}にログイン",
        step_scan: "WeChatでQRコードをスキャン",
        step_open: "このスマートフォンでWeChatを開く",
        step_press: "QRコードを長押し",
        step_check: "スマートフォンに {host} と表示されることを確認",
        step_confirm: "この画面の数字をタップして承認",
        open_wechat: "WeChatを開く",
        other_phone: "別のスマートフォンでスキャンする",
        start_wechat: "WeChatでログイン",
        start_detail: "WeChatのページが開きます。承認するとここに戻ります。",
        plain_page: "スキャンしても変わらないときは簡易ページへ",
        guarded_by: "Menshen（門神）が守っています",
        reloads_itself: "このページは数秒ごとに自動で更新されます。",
        check_now: "今すぐ確認",
        logout_title: "ログアウトしますか？",
        logout_as: "{name} としてログインしています。",
        logout_detail: "次に入るときはWeChatでの承認が必要です。",
        logout_button: "ログアウト",
        logout_everywhere: "すべての端末でログアウト",
        stay: "ログインしたままにする",
        logged_out_title: "ログアウトしました",
        logged_out_detail: "共用のパソコンでは、このウィンドウも閉じてください。",
        sign_in_again: "もう一度ログイン",
        landing_title: "WeChatでスキャンしてください",
        landing_detail: "このコードはWeChatのミニプログラムでログインするためのものです。今お使いのアプリでは開けません。",
        landing_next: "WeChatを開き、「スキャン」でもう一度コードを読み取ってください。",
        landing_warning: "人から送られてきたコードですか？使わないでください。スキャンするのは自分の画面のコードだけです。",
        request_label: "リクエスト番号",
        try_again: "再試行",
        switch_account: "別のアカウントを使う",
        home: "トップページ",
        method_bind_code: "連携コード",
        method_password: "パスワード",
        bind_login: "ユーザー名、電話番号またはメールアドレス",
        bind_proof_code: "管理者から受け取った連携コード",
        bind_proof_password: "パスワード",
        bind_submit: "連携する",
        bind_create: "新しいアカウントを作成",
    },
    script: ScriptTexts {
        loading: "QRコードを取得しています…",
        pending: "WeChatでスキャン",
        pending_detail: "続けてスマートフォンで承認してください。",
        pending_press: "QRコードを長押し",
        pending_press_detail: "表示されたメニューからミニプログラムを開いてください。",
        pending_open: "WeChatを開いてログイン",
        pending_open_detail: "WeChatでこの数字をタップします。",
        pending_phone: "別の画面からスキャン",
        pending_phone_detail: "この端末だけの場合は、WeChat内でこのページを開き、QRコードを長押ししてください。",
        time_left: "残り {time}",
        scanned: "スマートフォンでこの数字をタップ",
        scanned_plain: "スマートフォンで承認してください",
        scanned_by: "{name} がスキャンしました",
        scanned_someone: "スキャンされました",
        number_label: "数字は {number} です",
        not_me: "自分ではない",
        confirmed: "{name} としてログイン中",
        confirmed_plain: "ログイン中",
        redeeming_detail: "少々お待ちください…",
        ask: "{name} としてログインしますか？",
        ask_plain: "このアカウントでログインしますか？",
        ask_detail: "このブラウザは前回、別の人が使いました。",
        continue_as: "{name} として続ける",
        continue_plain: "続ける",
        use_other: "別のアカウントを使う",
        renewed: "QRコードを更新しました。",
        new_code: "新しいQRコード",
        offline: "接続が切れました。回復すると自動で続きます。",
        wait: "{seconds} 秒後に続けます",
        signed_in: "すでにログインしています",
        signed_in_detail: "このブラウザの別のタブでログインしました。",
        bind: "ここにアカウントをお持ちですか？",
        bind_detail: "WeChatを既存のアカウントに連携するか、新しく作成できます。",
        bind_only_detail: "続けるにはWeChatを既存のアカウントに連携してください。",
        bind_accept: "スマートフォンで承認してください",
        bind_accept_detail: "スマートフォンにアカウントが表示されます。そこで連携を承認してください。",
        unknown: "うまくいきませんでした",
        unknown_detail: "新しいQRコードでもう一度お試しください。",
    },
    problem: describe,
    circle,
};

fn describe(code: Code) -> ProblemText {
    match code {
        Code::AccountBound => problem(
            "アカウントは連携済みです",
            "このアカウントは別のWeChatと連携しています。",
            "そのWeChatを使うか、管理者に連携の解除を依頼してください。",
        ),
        Code::AmbiguousAccount => problem(
            "アカウントが2つあります",
            "あなたのWeChatはここで2つのアカウントに該当し、自動では選べません。",
            "管理者に整理を依頼してください。",
        ),
        Code::BadRequest => problem(
            "リクエストを理解できません",
            "アドレスまたはデータの形式が正しくないか、二通りに解釈できます。",
            "トップページに戻ってください。リンクから来た場合、そのリンクが壊れている可能性があります。",
        ),
        Code::BrowserAbsent => problem(
            "ログインページが見つかりません",
            "何にログインするのか、スマートフォンにまだ届いていません。",
            "このページを開いたまま、もう一度お試しください。",
        ),
        Code::CodeInvalid => problem(
            "WeChatの応答が無効です",
            "WeChatがこの操作を受け付けませんでした。",
            "スマートフォンでもう一度スキャンしてください。",
        ),
        Code::CrossOrigin => problem(
            "このサイトから送られていません",
            "別のサイトのページから送られたか、ブラウザが送信元を隠しています。",
            "ページを直接開いて、もう一度お試しください。",
        ),
        Code::EntryRefused => problem(
            "スキャンで開かれていません",
            "ミニプログラムが転送されたカードから開かれました。",
            "自分の画面のコードをスキャンしてください。",
        ),
        Code::Forbidden => problem(
            "アクセス権がありません",
            "ログインしていますが、このアカウントではここを開けません。",
            "別のアカウントを使うか、管理者に権限を依頼してください。",
        ),
        Code::LoginRequired => problem(
            "ログインしてください",
            "このページを見るにはログインが必要です。",
            "ログインして、もう一度お試しください。",
        ),
        Code::NoAccount => problem(
            "アカウントがまだありません",
            "あなたのWeChatに連携したアカウントがなく、ここでは新規作成もできません。",
            "管理者にアカウントを依頼してください。",
        ),
        Code::NotFound => problem(
            "ページがありません",
            "このアドレスにページはありません。",
            "アドレスを確認するか、トップページに戻ってください。",
        ),
        Code::NotReady => problem(
            "少々お待ちください",
            "ゲートウェイが起動しています。",
            "数秒後にもう一度お試しください。",
        ),
        Code::PhoneCodeInvalid => problem(
            "電話番号を確認できません",
            "WeChatが電話番号の確認を受け付けませんでした。",
            "スマートフォンで電話番号のボタンをもう一度タップしてください。",
        ),
        Code::PhoneRequired => problem(
            "電話番号が必要です",
            "このサイトには、電話番号を確認した人だけがログインできます。",
            "新しいQRコードをスキャンし、電話番号の使用を許可してください。",
        ),
        Code::PhoneTaken => problem(
            "電話番号は別のアカウントのものです",
            "この電話番号はすでに別の人が使っています。",
            "管理者にご相談ください。ご自分のアカウントであれば連携してもらえます。",
        ),
        Code::ProofWrong => problem(
            "一致しませんでした",
            "アカウントと証明が一致しません。",
            "確認してもう一度お試しください。何度も間違えるとこのログインは終了します。",
        ),
        Code::RateLimited => problem(
            "試行回数が多すぎます",
            "お使いのネットワークから短時間に大量のリクエストがありました。",
            "1分ほど待ってから、もう一度お試しください。",
        ),
        Code::StoreUnavailable => problem(
            "現在ログインできません",
            "ゲートウェイがデータベースに接続できません。",
            "1分後にもう一度お試しください。続く場合は管理者に連絡してください。",
        ),
        Code::TicketCancelled => problem(
            "スマートフォンで取り消されました",
            "誰もログインしていません。",
            "やり直すには新しいQRコードを取得してください。",
        ),
        Code::TicketExpired => problem(
            "QRコードの有効期限が切れました",
            "QRコードは短い時間だけ有効です。",
            "新しいQRコードを取得してください。",
        ),
        Code::TicketTaken => problem(
            "別のスマートフォンがスキャンしました",
            "2台目のスマートフォンがこのコードを使おうとしました。",
            "心当たりがなければ、新しいQRコードを取得し、人に見せないでください。",
        ),
        Code::TicketUnknown => problem(
            "このQRコードは無効です",
            "古いか、別のブラウザのものです。",
            "新しいQRコードを取得してください。",
        ),
        Code::TokenInvalid => problem(
            "アクセストークンが拒否されました",
            "トークンが存在しないか、期限切れか、失効しています。",
            "新しいトークンを使ってください。",
        ),
        Code::TooLarge => problem(
            "サイズが大きすぎます",
            "送信した内容が、このサイトの上限を超えています。",
            "小さくして送ってください。",
        ),
        Code::UriTooLong => problem(
            "アドレスが長すぎます",
            "このアドレスはゲートウェイの上限を超えています。",
            "トップページに戻ってください。",
        ),
        Code::HeadersTooLarge => problem(
            "リクエストヘッダーが大きすぎます",
            "ブラウザが送ったデータ（通常はCookie）が上限を超えています。",
            "このサイトのCookieを削除して、もう一度お試しください。",
        ),
        Code::UnknownHost => problem(
            "このアドレスにサイトはありません",
            "ゲートウェイはこのホスト名を知りません。",
            "アドレスを確認するか、管理者にお問い合わせください。",
        ),
        Code::UpstreamFailed => problem(
            "アプリケーションが正しく応答しません",
            "あなたの操作に問題はありません。ゲートウェイの先のアプリケーションが通信を中断しました。",
            "もう一度お試しください。続く場合は管理者に連絡してください。",
        ),
        Code::UpstreamTimeout => problem(
            "アプリケーションの応答が遅れています",
            "あなたの操作に問題はありません。ゲートウェイの先のアプリケーションが時間内に応答しませんでした。",
            "1分後にもう一度お試しください。",
        ),
        Code::UpstreamUnavailable => problem(
            "アプリケーションに接続できません",
            "あなたの操作に問題はありません。ゲートウェイの先のアプリケーションが停止しているか、接続できません。",
            "1分後にもう一度お試しください。続く場合は管理者に連絡してください。",
        ),
        Code::UserDisabled => problem(
            "アカウントは無効です",
            "管理者がこのアカウントを無効にしました。",
            "管理者に相談するか、別のアカウントを使ってください。",
        ),
        Code::WechatBusy => problem(
            "WeChatが混み合っています",
            "WeChatから頻度を下げるよう求められています。",
            "1分後にもう一度お試しください。",
        ),
        Code::WechatMisconfigured => problem(
            "ログインの設定に誤りがあります",
            "WeChatがこのシステムを拒否しています。",
            "管理者に連絡してください。再試行しても変わりません。",
        ),
        Code::WechatRefused => problem(
            "WeChatがログインを拒否しました",
            "WeChatはこの人のログインを許可していません。",
            "WeChatの通知を確認するか、別のアカウントを使ってください。",
        ),
        Code::WechatUnavailable => problem(
            "WeChatに接続できません",
            "WeChatから応答がありません。",
            "1分後にもう一度お試しください。",
        ),
        Code::WrongNumber => problem(
            "数字が違います",
            "スマートフォンで別の数字がタップされたため、このログインは終了しました。",
            "新しいQRコードを取得し、この画面の数字をタップしてください。心当たりがなければ何もしないでください。",
        ),
        Code::WrongState => problem(
            "すでに処理されています",
            "このログインは次の段階に進んでいます。",
            "まだログインしていなければ、新しいQRコードを取得してください。",
        ),
    }
}

fn circle(cause: LoopCause) -> ProblemText {
    match cause {
        LoopCause::Clock => problem(
            "ログインが繰り返されます：時計のずれ",
            "何度かログインしましたが、時計が合っていないため、セッションがすぐに終了しました。",
            "この端末の日付と時刻を確認してください。正しい場合は管理者に連絡してください。",
        ),
        LoopCause::CookieRefused => problem(
            "ログインが繰り返されます：Cookie",
            "何度かログインしましたが、ブラウザがこのサイトのCookieを保存していません。",
            "このサイトのCookieを許可するか、ブロックする拡張機能を止めてください。",
        ),
        LoopCause::WrongOrigin => problem(
            "ログインが繰り返されます：アドレス",
            "何度かログインしましたが、セッションの対象とは別のアドレスを開いています。",
            "いつものアドレスで開いてください。そうしている場合は管理者に連絡してください。スキームまたはホスト名の設定に誤りがあります。",
        ),
    }
}
