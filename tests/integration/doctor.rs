//! `menshen doctor` against the real parts: each fault makes the right question red, with what to do about it.

use futures_util::future::join_all;
use menshen::sandbox::{Effect, Endpoint, Fault, SERVICE_APP};
use menshen::wechat::{self, ErrorCode, PhoneFault};
use serde_json::{Value, json};

use crate::support::World;
use crate::support::process::{Process, free_port};
use crate::support::upstream::answer;
use crate::support::world::Plan;

/// What a run of the verb said.
struct Said {
    code: i32,
    report: Value,
}

impl Said {
    /// Everything that was found about one question, with subjects that hold this text.
    fn about(&self, check: &str, subject: &str) -> Vec<&Value> {
        let checks = self.report["checks"].as_array().unwrap();
        checks
            .iter()
            .filter(|finding| finding["check"] == check && finding["subject"].as_str().unwrap().contains(subject))
            .collect()
    }

    #[track_caller]
    fn one(&self, check: &str, subject: &str) -> &Value {
        let found = self.about(check, subject);
        assert_eq!(found.len(), 1, "{check} of {subject:?}: {:#}", self.report);
        found[0]
    }

    #[track_caller]
    fn verdict(&self, check: &str, subject: &str) -> &str {
        self.one(check, subject)["verdict"].as_str().unwrap()
    }

    /// Questions whose answer is this, in order.
    fn all(&self, verdict: &str) -> Vec<&str> {
        let checks = self.report["checks"].as_array().unwrap();
        let checks = checks.iter().filter(|finding| finding["verdict"] == verdict);
        checks.map(|finding| finding["check"].as_str().unwrap()).collect()
    }
}

/// Runs the verb where both public names lead to the gateway.
async fn doctor(world: &World) -> Said {
    let resolve = ["--resolve", "wiki.test=127.0.0.1", "--resolve", "login.test=127.0.0.1"];
    let said = world.menshen(&[&["doctor", "--json"][..], &resolve].concat()).await;
    for secret in world.secrets() {
        assert!(!said.out.contains(&secret) && !said.err.contains(&secret), "{said:?}");
    }
    assert_eq!(said.err, "", "progress is for terminals");
    Said {
        code: said.code,
        report: serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}")),
    }
}

/// What is asked of WeChat, without a gateway.
fn plan() -> Plan {
    World::plan()
        .set("connections.0.phone", "required")
        .set("connections.0.mobile", "url_link")
}

#[tokio::test]
async fn a_healthy_installation_has_no_failure_and_says_what_it_could_not_check() {
    let secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I";
    let (world, _process) = plan()
        .set("server.secret", secret)
        .set("sites.0.hosts", vec!["wiki.test", "*.apps.test"])
        .start_process()
        .await;
    world.keep_secret(secret);
    let store = world.store().await;
    world.until(async || !store.nodes().await.unwrap().is_empty()).await;
    let said = doctor(&world).await;
    assert_eq!(
        (said.code, &said.report["healthy"]),
        (0, &json!(true)),
        "{:#}",
        said.report
    );
    // The stand-in is not WeChat, and that is said.
    let warned = said.all("warn");
    assert_eq!(warned.last(), Some(&"api_base"), "{:#}", said.report);
    // The rest are the warnings of `check`.
    assert!(
        warned.iter().rev().skip(1).all(|check| *check == "file"),
        "{:#}",
        said.report
    );
    // The wildcard has no name, and the operator's listener is off.
    assert_eq!(said.all("unchecked"), ["ready", "reachable"], "{:#}", said.report);
    for check in [
        "answers",
        "schema",
        "writable",
        "open",
        "wrapped",
        "running",
        "version",
        "configuration",
    ] {
        assert_eq!(
            said.verdict(check, if check == "configuration" { "127.0.0.1" } else { "" }),
            "ok",
            "{check}"
        );
    }
    for check in [
        "credentials",
        "address",
        "login",
        "page",
        "open_link",
        "phone_call",
        "phone_button",
    ] {
        assert_eq!(said.verdict(check, "staff"), "ok", "{check}");
    }
    for subject in ["http://login.test:", "http://wiki.test:"] {
        assert_eq!(said.one("reachable", subject)["message"], "this installation answers");
    }
    assert_eq!(said.about("clock", "").len(), 3, "WeChat's, the store's, the node's");
    assert_eq!(said.about("quota", "").len(), 4);

    let text = world.menshen(&["doctor"]).await;
    assert_eq!(text.code, 1, "without --resolve nobody knows these names");
    assert!(text.out.contains("  FAIL  http://wiki.test:"), "{}", text.out);
    assert!(text.out.contains("\n        → Make the name resolve"), "{}", text.out);
    assert!(!text.out.contains('\u{1b}'), "colour is for terminals: {}", text.out);
}

#[tokio::test]
async fn every_error_code_of_wechat_is_told_with_its_remedy() {
    type Case = (Endpoint, wechat::Endpoint, &'static str, &'static [i64]);
    let cases: [Case; 5] = [
        (
            Endpoint::StableToken,
            wechat::Endpoint::StableToken,
            "credentials",
            &[
                40001, 40002, 40013, 40125, 40243, 41002, 41004, 43002, 45009, 45011, 48001, 48004, 50004, 50007,
            ],
        ),
        (
            Endpoint::StableToken,
            wechat::Endpoint::StableToken,
            "address",
            &[40164, 89503, 89506, 89507],
        ),
        (
            Endpoint::WxaCode,
            wechat::Endpoint::UnlimitedCode,
            "page",
            &[40097, 40129, 40169, 40235, 41030, 45009, 47001, 48001, 85096, 31337],
        ),
        (
            Endpoint::PhoneNumber,
            wechat::Endpoint::PhoneNumber,
            "phone_call",
            &[45011, 48001, 48004, 50002],
        ),
        (
            Endpoint::UrlLink,
            wechat::Endpoint::UrlLink,
            "open_link",
            &[
                40002, 40013, 40165, 44990, 44993, 85079, 85401, 85402, 85406, 85407, 85408,
            ],
        ),
    ];
    let all = cases
        .iter()
        .flat_map(|(endpoint, known, check, codes)| codes.iter().map(move |code| (*endpoint, *known, *check, *code)));
    let all: Vec<_> = all.collect();
    for chunk in all.chunks(4) {
        join_all(chunk.iter().map(async |&(endpoint, known, check, code)| {
            let world = plan().build().await;
            world
                .sandbox
                .inject(Fault::once(endpoint, Effect::Error(code)).times(100));
            let said = doctor(&world).await;
            assert_eq!(said.code, 1, "{code}");
            let finding = said.one(check, "staff");
            assert_eq!(finding["verdict"], "fail", "{code}: {finding}");
            let message = finding["message"].as_str().unwrap();
            assert!(message.contains(&format!("WeChat answered {code} (")), "{message}");
            let remedy = finding["remedy"].as_str().unwrap();
            match ErrorCode::find(known, code) {
                Some(row) => assert!(remedy.starts_with(row.remedy), "{code}: {remedy}"),
                None => assert!(remedy.contains("not in Menshen's table"), "{code}: {remedy}"),
            }
            if check == "address" {
                assert_eq!(said.verdict("credentials", "staff"), "unchecked");
            }
            if endpoint == Endpoint::StableToken {
                assert_eq!(said.verdict("token_calls", "staff"), "unchecked");
                assert_eq!(
                    world.sandbox.calls(Endpoint::WxaCode),
                    0,
                    "{code}: asked without a token"
                );
            }
        }))
        .await;
    }
}

/// With a service account, whose followers are asked about.
fn with_account(plan: Plan) -> Plan {
    let token = "MenshenSandboxToken01";
    let key = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
    let secret = "0123456789abcdef0123456789abcdef";
    plan.append(&format!(
        "[[connections]]\nid = \"follow\"\nkind = \"official-account-qr\"\napp_id = \"{SERVICE_APP}\"\n\
         app_secret = \"{secret}\"\nopen_platform = \"corp\"\ntoken = \"{token}\"\nencoding_aes_key = \"{key}\"\n"
    ))
    .wechat(|config| {
        let account = config.apps.iter_mut().find(|app| app.app_id.as_str() == SERVICE_APP);
        account.unwrap().secret = secret.into();
    })
}

#[tokio::test]
async fn a_service_account_is_asked_for_its_permissions_and_its_address() {
    let (world, _process) = with_account(World::plan()).start_process().await;
    for secret in ["MenshenSandboxToken01", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"] {
        world.keep_secret(secret);
    }
    let said = doctor(&world).await;
    for (check, subject) in [
        ("credentials", "follow"),
        ("account_code", "follow"),
        ("follower", "follow"),
        ("push_address", "/.menshen/connections/follow/push"),
    ] {
        assert_eq!(said.verdict(check, subject), "ok", "{check}: {:#}", said.report);
    }
    assert_eq!(said.verdict("quota", "qrcode/create"), "ok");
    let told = said.report.to_string();
    assert!(!told.contains("signature="), "{told}");

    world
        .sandbox
        .inject(Fault::once(Endpoint::AccountCode, Effect::Error(48001)).times(9));
    world
        .sandbox
        .inject(Fault::once(Endpoint::Follower, Effect::Error(48001)).times(9));
    let said = doctor(&world).await;
    for check in ["account_code", "follower"] {
        let finding = said.one(check, "follow");
        assert_eq!(finding["verdict"], "fail");
        assert!(
            finding["remedy"].as_str().unwrap().contains("verified service account"),
            "{finding}"
        );
    }
    // Another token here than at the gateway that answers.
    let text = world.text().replace("MenshenSandboxToken01", "MenshenSandboxToken02");
    std::fs::write(world.configuration(), text).unwrap();
    let said = doctor(&world).await;
    let finding = said.one("push_address", "/push");
    assert_eq!(finding["verdict"], "fail", "{finding}");
}

#[tokio::test]
async fn the_address_that_wechat_refuses_is_shown() {
    let world = plan().build().await;
    world
        .sandbox
        .inject(Fault::once(Endpoint::StableToken, Effect::Error(40164)).times(9));
    let said = doctor(&world).await;
    let remedy = said.one("address", "staff")["remedy"].as_str().unwrap();
    assert!(
        remedy.contains("IP allow-list") && remedy.contains("WeChat saw the address "),
        "{remedy}"
    );
}

#[tokio::test]
async fn a_wechat_that_breaks_or_is_not_there_is_told_from_one_that_refuses() {
    let cases = [
        (Endpoint::StableToken, Effect::Hang, "credentials", "raise the timeout"),
        (
            Endpoint::StableToken,
            Effect::EmptyBody,
            "credentials",
            "check app_id and app_secret",
        ),
        (
            Endpoint::StableToken,
            Effect::Garbage,
            "credentials",
            "not what WeChat answers",
        ),
        (
            Endpoint::StableToken,
            Effect::Status(503),
            "credentials",
            "check api_base",
        ),
        (
            Endpoint::StableToken,
            Effect::Error(-1),
            "credentials",
            "WeChat is overloaded",
        ),
        (
            Endpoint::Login,
            Effect::HugeBody(300_000),
            "login",
            "not what WeChat answers",
        ),
        (Endpoint::Login, Effect::Error(40125), "login", "app_secret"),
        (Endpoint::WxaCode, Effect::HangUp, "page", "slow or broken"),
        (
            Endpoint::PhoneNumber,
            Effect::Status(302),
            "phone_call",
            "not what WeChat answers",
        ),
    ];
    for chunk in cases.chunks(3) {
        join_all(chunk.iter().map(async |(endpoint, effect, check, remedy)| {
            let world = plan().build().await;
            let fault = Fault::once(*endpoint, effect.clone()).times(100);
            world.sandbox.inject(fault);
            let said = doctor(&world).await;
            let finding = said.one(check, "staff");
            assert_eq!(finding["verdict"], "fail", "{effect:?}: {finding}");
            let told = finding["remedy"].as_str().unwrap();
            assert!(told.contains(remedy), "{effect:?}: {finding}");
        }))
        .await;
    }

    let world = plan().set("wechat.api_base", "http://127.0.0.1:9").build().await;
    let said = doctor(&world).await;
    let finding = said.one("credentials", "staff");
    assert!(
        finding["remedy"].as_str().unwrap().contains("reaches api_base"),
        "{finding}"
    );
}

#[tokio::test]
async fn quotas_are_told_and_one_that_is_not_known_is_no_failure() {
    let world = plan().build().await;
    world
        .sandbox
        .inject(Fault::once(Endpoint::Quota, Effect::Error(76003)).times(1));
    let said = doctor(&world).await;
    let quotas = said.about("quota", "staff");
    let verdicts: Vec<_> = quotas
        .iter()
        .map(|finding| finding["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(
        verdicts.iter().filter(|verdict| **verdict == "warn").count(),
        1,
        "{quotas:?}"
    );
    assert_eq!(
        verdicts.iter().filter(|verdict| **verdict == "ok").count(),
        3,
        "{quotas:?}"
    );
    assert!(
        quotas
            .iter()
            .any(|finding| finding["message"].as_str().unwrap().contains("calls of today are used"))
    );
}

#[tokio::test]
async fn a_page_that_is_not_published_is_told_and_a_trial_is_no_release() {
    let world = plan().set("connections.0.page", "pages/other/other").build().await;
    let said = doctor(&world).await;
    let finding = said.one("page", "staff");
    assert_eq!(finding["verdict"], "fail");
    assert!(finding["message"].as_str().unwrap().contains("41030"), "{finding}");

    let world = plan().set("connections.0.env_version", "trial").build().await;
    let said = doctor(&world).await;
    assert_eq!(
        (said.verdict("code", "staff"), said.verdict("page", "staff")),
        ("ok", "warn")
    );
}

#[tokio::test]
async fn what_phones_report_of_the_button_is_red_until_a_number_comes() {
    let (world, _process) = plan().start_process().await;
    for (fault, person) in PhoneFault::ALL.iter().zip(["lilei", "wangxiaoming", "hanmeimei"]) {
        let mut browser = world.browser();
        let mut phone = world.phone(person);
        let scanned = browser.scanned_by(&mut phone).await;
        let refused = json!({ "choice": scanned.number, "phone_errno": fault.errno });
        phone.confirm_with(&refused).await.refused(422, "phone_required");
        let said = doctor(&world).await;
        let finding = said.one("phone_button", "staff");
        assert_eq!(finding["verdict"], "fail");
        assert_eq!(finding["remedy"], fault.remedy);
        assert!(
            finding["message"].as_str().unwrap().contains(&fault.errno.to_string()),
            "{finding}"
        );

        phone.confirm_with_phone(scanned.number).await.expect(200);
        assert_eq!(doctor(&world).await.verdict("phone_button", "staff"), "ok");
    }
    // The person's own refusal is nobody's fault.
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    let scanned = browser.scanned_by(&mut phone).await;
    let refused = json!({ "choice": scanned.number, "phone_errno": 103 });
    phone.confirm_with(&refused).await;
    assert_eq!(doctor(&world).await.verdict("phone_button", "staff"), "ok");
}

#[tokio::test]
async fn clocks_are_held_against_wechats_and_the_stores() {
    let mut world = plan().build().await;
    world.sandbox.advance(std::time::Duration::from_secs(60));
    world.clock.advance(30);
    world.start_gateway().await;
    let store = world.store().await;
    world.until(async || !store.nodes().await.unwrap().is_empty()).await;
    let said = doctor(&world).await;
    let clocks = said.about("clock", "");
    let about = |other: &str| {
        let found = clocks
            .iter()
            .find(|finding| finding["message"].as_str().unwrap().contains(other));
        found.unwrap_or_else(|| panic!("{other}: {clocks:?}"))
    };
    let wechat = about("behind WeChat's");
    assert_eq!(wechat["verdict"], "fail", "{wechat}");
    let node = about("30 s ahead of the store's");
    assert_eq!(node["verdict"], "fail", "{node}");
    assert!(node["remedy"].as_str().unwrap().contains("time servers"), "{node}");
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_and_an_application_that_is_down_are_found() {
    let (world, mut process) = plan()
        .set("sites.0.upstream.health_check", "/healthz")
        .start_process()
        .await;
    world.upstream.respond(answer(503, &[], "ill"));
    let said = doctor(&world).await;
    assert_eq!(said.verdict("reachable", "(Wiki)"), "fail");

    // Another installation at the same address.
    let other = World::plan().set("server.public_url", world.origin("login.test"));
    let other = other.set("server.listen", vec![world.address.to_string()]);
    process.terminate().await;
    process.ended().await;
    let said = doctor(&world).await;
    assert_eq!(said.verdict("reachable", "http://wiki.test"), "fail");
    assert!(
        said.one("reachable", "http://wiki.test")["remedy"]
            .as_str()
            .unwrap()
            .contains("have that listen there")
    );
    assert_eq!(said.verdict("running", "nodes"), "warn", "it has stopped in order");
    let other = other.build().await;
    std::fs::write(other.configuration(), other.text()).unwrap();
    let _other = Process::serve(&other.configuration()).await;
    let said = doctor(&world).await;
    assert_eq!(
        said.one("reachable", "http://wiki.test")["message"],
        "a Menshen answers, with the keys of another installation"
    );
}

#[tokio::test]
async fn certificates_are_judged_on_the_wire_and_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["wiki.test".to_owned(), "login.test".to_owned()];
    let mut certificate = rcgen::CertificateParams::new(names).unwrap();
    certificate.not_after = time::OffsetDateTime::now_utc() + time::Duration::hours(14 * 24 + 12);
    let certificate = certificate.self_signed(&key).unwrap();
    let (cert, private) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    std::fs::write(&cert, certificate.pem()).unwrap();
    std::fs::write(&private, key.serialize_pem()).unwrap();
    let port = free_port();
    let mut tls = toml::Table::new();
    tls.insert("cert".to_owned(), cert.display().to_string().into());
    tls.insert("key".to_owned(), private.display().to_string().into());
    let mut world = plan()
        .set("server.listen", vec![format!("127.0.0.1:{port}")])
        .set("server.public_url", format!("https://login.test:{port}"))
        .set("server.tls", tls)
        .build()
        .await;
    world.start_gateway().await;
    let said = doctor(&world).await;
    let on_disk = said.one("certificate", "cert.pem");
    assert_eq!(on_disk["verdict"], "warn");
    assert!(
        on_disk["message"].as_str().unwrap().contains("ends in 14 days"),
        "{on_disk}"
    );
    let by_name = said.one("reachable", "https://wiki.test:");
    assert_eq!(by_name["verdict"], "fail", "nobody knows its authority");
    assert!(
        by_name["remedy"].as_str().unwrap().contains("the whole chain"),
        "{by_name}"
    );

    // A machine that knows it gets an answer, and sees how long it lasts.
    let output = run_trusting(&world, &cert).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let said = Said { code: 0, report };
    assert_eq!(
        said.one("reachable", "https://wiki.test:")["message"],
        "this installation answers"
    );
    assert_eq!(said.verdict("certificate", "https://wiki.test:"), "warn");
}

/// The verb on a machine whose only authority is this one.
async fn run_trusting(world: &World, authority: &std::path::Path) -> std::process::Output {
    let configuration = world.configuration().display().to_string();
    tokio::process::Command::new(env!("CARGO_BIN_EXE_menshen"))
        .args(["doctor", "--json", "--config", &configuration])
        .args(["--resolve", "wiki.test=127.0.0.1", "--resolve", "login.test=127.0.0.1"])
        .env("SSL_CERT_FILE", authority)
        .env_remove("SSL_CERT_DIR")
        .output()
        .await
        .unwrap()
}

#[tokio::test]
async fn verification_files_and_links_are_asked_for_where_wechat_asks() {
    let port = free_port();
    let prefix = format!("http://login.test:{port}/m/");
    let files: toml::Table = "\"MP_verify_abc.txt\" = \"abc\"".parse().unwrap();
    let mut world = plan()
        .set("server.listen", vec![format!("127.0.0.1:{port}")])
        .set("server.public_url", format!("http://login.test:{port}"))
        .set("server.verification_files", files)
        .set("connections.0.qr", "link")
        .set("connections.0.link_prefix", prefix.as_str())
        .build()
        .await;
    world.start_gateway().await;
    let said = doctor(&world).await;
    assert_eq!(said.verdict("link_prefix", &prefix), "ok");
    let found: Vec<_> = said.about("verification_file", "MP_verify_abc.txt");
    assert_eq!(found.len(), 2, "at the root and beside the prefix: {found:?}");
    assert!(found.iter().all(|finding| finding["verdict"] == "ok"), "{found:?}");
    // What the gateway serves is no longer what the file says.
    let changed: toml::Table = "\"MP_verify_abc.txt\" = \"abd\"".parse().unwrap();
    world.change("server.verification_files", changed);
    std::fs::write(world.configuration(), world.text()).unwrap();
    let said = doctor(&world).await;
    let found = said.about("verification_file", "MP_verify_abc.txt");
    assert!(found.iter().all(|finding| finding["verdict"] == "fail"), "{found:?}");
}

#[tokio::test]
async fn a_store_that_is_not_there_is_neither_made_nor_a_reason_to_stop() {
    let world = plan().build().await;
    let said = doctor(&world).await;
    assert_eq!(said.verdict("open", "store"), "fail");
    assert_eq!(said.verdict("rest", "store"), "unchecked");
    assert_eq!(
        said.verdict("credentials", "staff"),
        "ok",
        "the rest is asked all the same"
    );
    assert!(!world.configuration().with_file_name("menshen.db").exists());
}

#[tokio::test]
async fn keys_in_the_clear_and_the_wrong_secret_are_found() {
    let (world, mut process) = plan().start_process().await;
    process.terminate().await;
    process.ended().await;
    let said = doctor(&world).await;
    assert_eq!(said.verdict("wrapped", "keys"), "warn");
    let secret = world.menshen(&["keys", "secret"]).await.done();
    let mut table: toml::Table = world.text().parse().unwrap();
    table["server"]
        .as_table_mut()
        .unwrap()
        .insert("secret".to_owned(), secret.trim().into());
    std::fs::write(world.configuration(), table.to_string()).unwrap();
    world.menshen(&["keys", "wrap"]).await.done();
    assert_eq!(doctor(&world).await.verdict("wrapped", "keys"), "ok");
    std::fs::write(world.configuration(), world.text()).unwrap();
    let said = doctor(&world).await;
    let finding = said.one("open", "keys");
    assert_eq!(finding["verdict"], "fail");
    assert!(
        finding["remedy"].as_str().unwrap().contains("server.secret"),
        "{finding}"
    );
}

#[tokio::test]
async fn a_configuration_with_mistakes_is_refused_in_the_words_of_check() {
    let world = plan().build().await;
    std::fs::write(world.configuration(), "no_such_key = 1\n").unwrap();
    let said = world.menshen(&["doctor"]).await.refused(2);
    assert!(said.contains("no_such_key"), "{said}");
    let said = world.menshen(&["doctor", "--resolve", "nonsense"]).await.refused(2);
    assert!(said.contains("HOST=ADDRESS"), "{said}");
}

/// What the running gateway was told, although the doctor itself hears nothing of it any more.
#[tokio::test]
async fn a_call_that_the_gateway_lets_rest_is_named_with_its_remedy() {
    let operator = format!("127.0.0.1:{}", free_port());
    let plan = plan().set("server.admin_listen", operator);
    let (world, _process) = plan.start_process().await;
    let page = world.browser().open("/").await.login_page();
    world.sandbox.inject(Fault::once(Endpoint::Login, Effect::Error(40125)));
    let refused = world.phone("lilei").scan(&page.ticket).await;
    refused.refused(502, "wechat_misconfigured");
    let said = doctor(&world).await;
    assert_eq!(said.verdict("ready", ""), "ok");
    let resting = said.one("resting", "");
    assert_eq!(resting["verdict"], "warn");
    let text = resting.to_string();
    assert!(text.contains("jscode2session") && text.contains("40125"), "{text}");
    assert!(text.contains("AppSecret"), "{text}");
}
