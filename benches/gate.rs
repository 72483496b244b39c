//! What every request pays for, and what a login page costs.
//!
//! `make bench`. The numbers are for comparing one change with the other on one machine, not for promises.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use menshen::config::settings::{Locale, NumberEntry, Settings};
use menshen::config::{System, parse};
use menshen::gate::Gate;
use menshen::gate::decide::{Credential, RequestView, SessionView, decide};
use menshen::gate::request_class::Class;
use menshen::identity::person::{Authentication, Method as LoginMethod, Person};
use menshen::login::scene::{SceneKey, SceneKeys};
use menshen::portal::pages::{LoginPage, Shell, SiteLabel, Tab, TicketView, Way, draw, svg_data_uri};
use menshen::proxy::strip::ManagedNames;
use menshen::session::cache::{Found, SessionCache};
use menshen::session::revocation::Revocations;
use menshen::session::seal::{SealingKey, SealingRing};
use menshen::session::token::{Limits, Session, SessionId};

/// A hundred sites with ten rules each: more than most installations have.
fn settings() -> Settings {
    let mut text = String::from(
        r#"
[server]
listen = ["127.0.0.1:0"]
public_url = "http://login.example.com"

[[connections]]
id = "staff"
kind = "miniprogram-qr"
app_id = "wx0123456789abcdef"
app_secret = "0123456789abcdef0123456789abcdef"
"#,
    );
    for site in 0..100 {
        text += &format!(
            "[[sites]]\nname = \"Site {site}\"\nhosts = [\"s{site}.example.com\"]\nupstreams = [\"http://10.0.0.1:80\"]\n"
        );
        for route in 0..10 {
            text += &format!("[[sites.routes]]\npath = \"/static/{route}/\"\naccess = \"public\"\n");
        }
    }
    parse(Path::new("bench.toml"), &text, &System).expect("valid").settings
}

fn deciding(c: &mut Criterion) {
    let gate = Gate::new(&settings());
    let groups = ["staff".to_owned(), "ops".to_owned()];
    let session = Credential::Session(SessionView {
        user_id: "u_3fd1hysr51h8rw5qgp7qpvchnh",
        username: Some("wangxiaoming"),
        groups: &groups,
        phone: Some("+8613800138000"),
        email: None,
        connection: Some("staff"),
        sites: None,
        by_cookie: true,
    });
    let view = |path| RequestView {
        method: &Method::GET,
        host: "s42.example.com",
        port: None,
        secure: false,
        certified: false,
        path,
        class: Class::Navigation,
        origin: None,
        preflight_for: None,
        client: Some([203, 0, 113, 7].into()),
    };
    let mut group = c.benchmark_group("decide");
    for (name, path, credential) in [
        ("forward", "/reports/2026/q3", &session),
        ("public", "/static/7/app.js", &Credential::None),
        ("login page", "/reports/2026/q3", &Credential::None),
        ("two readings", "/reports;v=1/2026", &session),
    ] {
        let view = view(path);
        group.bench_function(name, |b| b.iter(|| decide(black_box(&view), &gate, credential)));
    }
}

fn cookies(c: &mut Criterion) {
    let ring = SealingRing::new(vec![SealingKey::new(1, 0, &[7; 32]).unwrap()]);
    let session = Session {
        id: SessionId::random().unwrap(),
        person: Person {
            id: "u_3fd1hysr51h8rw5qgp7qpvchnh".to_owned(),
            username: Some("wangxiaoming".to_owned()),
            name: Some("王小明".to_owned()),
            phone: Some("+8613800138000".to_owned()),
            groups: vec!["staff".to_owned(), "ops".to_owned()],
            ..Person::default()
        },
        authentication: Authentication {
            connection: "staff".to_owned(),
            method: LoginMethod::MiniProgram,
            time: 1000,
            app_id: "wx0123456789abcdef".to_owned(),
            openid: "oAbCdEfGhIjKlMnOpQrStUvWxYz0".to_owned(),
            unionid: None,
        },
        expires_at: 1_000_000,
        renewed_at: 1000,
        groups_left_out: false,
        known_at: 1000,
    };
    let (name, host, now) = ("__Host-menshen", "s42.example.com", 1500);
    let token = session.seal(&ring, name, host, now).unwrap();
    let limits = Limits {
        lifetime: 1_000_000,
        idle_timeout: 86_400,
    };
    let revocations = Revocations::default();
    revocations.mark_read(now);
    let find = |cache: &SessionCache, cookie: &str| {
        cache.find(
            &ring,
            &revocations,
            limits,
            name,
            host,
            black_box(cookie.as_bytes()),
            now,
        )
    };

    let mut group = c.benchmark_group("cookie");
    let warm = SessionCache::new(1000);
    assert!(matches!(find(&warm, &token), Found::Live(_)));
    group.bench_function("hit", |b| b.iter(|| find(&warm, &token)));
    // Without room, every look is the first.
    let cold = SessionCache::new(0);
    group.bench_function("miss", |b| b.iter(|| find(&cold, &token)));
    let forged = format!("{}AAAA", &token[..token.len() - 4]);
    assert!(matches!(find(&cold, &forged), Found::Dead));
    group.bench_function("forged", |b| b.iter(|| find(&cold, &forged)));
}

fn headers(c: &mut Criterion) {
    let managed = ManagedNames::new(&settings());
    let browser = HeaderMap::from_iter(
        BROWSER
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))),
    );
    assert!(managed.names_to_remove(&browser, &[], false).is_empty());
    let mut hostile = browser.clone();
    for name in [
        "remote-user",
        "remote_user",
        "x-menshen-assertion",
        "x-forwarded-user",
        "x_auth_request_email",
    ] {
        hostile.insert(HeaderName::from_static(name), HeaderValue::from_static("root"));
    }
    assert_eq!(managed.names_to_remove(&hostile, &[], false).len(), 5);
    let mut group = c.benchmark_group("strip");
    group.bench_function("a browser's headers", |b| {
        b.iter(|| managed.names_to_remove(black_box(&browser), &[], false));
    });
    group.bench_function("five of them forged", |b| {
        b.iter(|| managed.names_to_remove(black_box(&hostile), &[], false));
    });
}

fn scenes(c: &mut Criterion) {
    let keys = SceneKeys::new(vec![SceneKey::new(2, 0, &[9; 32])]);
    let scene = keys.mint("staff", 1_795_172_739).unwrap();
    let mut forged = scene.as_str().to_owned();
    let last = if forged.ends_with('A') { "B" } else { "A" };
    forged.replace_range(31.., last);
    assert!(keys.check(scene.as_str()).is_ok() && keys.check(&forged).is_err());
    let mut group = c.benchmark_group("scene");
    group.bench_function("mint", |b| b.iter(|| keys.mint(black_box("staff"), 1_795_172_739)));
    group.bench_function("check", |b| b.iter(|| keys.check(black_box(scene.as_str()))));
    group.bench_function("forged", |b| b.iter(|| keys.check(black_box(&forged))));
}

fn pages(c: &mut Criterion) {
    let link = "https://login.example.com/m/AmsAKU8ql0bliu2jlc6P-v-CSXu2vaSI";
    let qr = svg_data_uri(&draw(link, None).unwrap());
    let tabs = [Tab {
        id: "staff",
        display_name: "微信扫码登录",
        url: "/.menshen/login?connection=staff&rd=%2F",
        bind_methods: &[],
        may_create: true,
    }];
    let page = LoginPage {
        shell: Shell {
            locale: Locale::ZhCn,
            title: "Menshen",
            logo_url: None,
            background_url: None,
            css_url: None,
            sandbox: false,
            site: Some(SiteLabel {
                name: "Wiki",
                host: "wiki.example.com",
            }),
        },
        tabs: &tabs,
        connection: "staff",
        way: Way::Code(TicketView {
            id: "AmsAKU8ql0bliu2jlc6P-v-CSXu2vaSI",
            expires_in: 120,
            qr: &qr,
            open_url: None,
            number: None,
        }),
        rd: "/",
        hand_back_rd: false,
        number_entry: Some(NumberEntry::Choose),
        in_wechat: false,
        mobile: false,
        switching: false,
        by_message: false,
        connecting: None,
        simulated_phone_url: None,
    };
    let mut group = c.benchmark_group("login page");
    group.bench_function("render", |b| b.iter(|| black_box(&page).render()));
    group.bench_function("draw a link code", |b| b.iter(|| draw(black_box(link), None)));
}

/// What Chrome sends with a click.
const BROWSER: [(&str, &str); 15] = [
    ("host", "s42.example.com"),
    ("connection", "keep-alive"),
    ("cache-control", "max-age=0"),
    ("sec-ch-ua", "\"Chromium\";v=\"149\", \"Not)A;Brand\";v=\"24\""),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", "\"Windows\""),
    ("upgrade-insecure-requests", "1"),
    (
        "user-agent",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/149.0.0.0 Safari/537.36",
    ),
    (
        "accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    ),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "zh-CN,zh;q=0.9,en;q=0.8"),
    ("cookie", "PHPSESSID=0123456789abcdef; theme=dark"),
];

criterion_group!(benches, deciding, cookies, headers, scenes, pages);
criterion_main!(benches);
