//! What every request pays for, and what a login page costs, each part by itself.

use std::hint::black_box;
use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use menshen::config::settings::{Locale, NumberEntry, Settings};
use menshen::config::{System, parse};
use menshen::gate::Gate;
use menshen::gate::decide::{Credential, RequestView, SessionView, decide};
use menshen::gate::request_class::Class;
use menshen::identity::person::{Authentication, Method as LoginMethod, Person};
use menshen::login::scene::{SceneKey, SceneKeys};
use menshen::portal::pages::{CodePainter, LoginPage, Shell, SiteLabel, Tab, TicketView, Way};
use menshen::proxy::normalise::{EncodedSlashes, normalise};
use menshen::proxy::strip::ManagedNames;
use menshen::session::cache::{Found, SessionCache};
use menshen::session::revocation::Revocations;
use menshen::session::seal::{SealingKey, SealingRing};
use menshen::session::token::{Limits, Session, SessionId};

use super::{BROWSER, Subject};

pub fn all() -> Vec<Subject> {
    let mut subjects = paths();
    subjects.extend(decisions());
    subjects.extend(cookies());
    subjects.extend(headers());
    subjects.extend(scenes());
    subjects.extend(pages());
    subjects
}

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

fn paths() -> Vec<Subject> {
    let of = |name, target: &'static [u8]| {
        Subject::new("normalise", name, move || {
            let _ = black_box(normalise(black_box(target), EncodedSlashes::Refuse));
        })
    };
    vec![
        of("plain", b"/reports/2026/q3?month=3"),
        of("rewritten", b"/reports//%32026/q3?month=3"),
    ]
}

fn decisions() -> Vec<Subject> {
    let cases = [
        ("forward", "/reports/2026/q3", true),
        ("public", "/static/7/app.js", false),
        ("login page", "/reports/2026/q3", false),
        ("two readings", "/reports;v=1/2026", true),
    ];
    let gate: &'static Gate = Box::leak(Box::new(Gate::new(&settings())));
    let groups: &'static [String] = Vec::leak(vec!["staff".to_owned(), "ops".to_owned()]);
    let of_case = |(name, path, known): (&'static str, &'static str, bool)| {
        let credential = if known {
            Credential::Session(SessionView {
                user_id: "u_3fd1hysr51h8rw5qgp7qpvchnh",
                username: Some("wangxiaoming"),
                groups,
                phone: Some("+8613800138000"),
                email: None,
                connection: Some("staff"),
                sites: None,
                by_cookie: true,
            })
        } else {
            Credential::None
        };
        Subject::new("decide", name, move || {
            let view = RequestView {
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
            black_box(decide(black_box(&view), gate, &credential));
        })
    };
    cases.into_iter().map(of_case).collect()
}

fn cookies() -> Vec<Subject> {
    let (name, host, now) = ("__Host-menshen", "s42.example.com", 1500);
    let seal = || {
        let ring = SealingRing::new(vec![SealingKey::new(1, 0, &[7; 32]).expect("a key")]);
        let token = session().seal(&ring, name, host, now).expect("a cookie");
        (ring, token)
    };
    let look = |case, capacity, forged, found: fn(&Found) -> bool| {
        let (ring, mut token) = seal();
        if forged {
            token.replace_range(token.len() - 4.., "AAAA");
        }
        let cache = SessionCache::new(capacity);
        let revocations = Revocations::default();
        revocations.mark_read(now);
        let limits = Limits {
            lifetime: 1_000_000,
            idle_timeout: 86_400,
        };
        let find = move || {
            cache.find(
                &ring,
                &revocations,
                limits,
                name,
                host,
                black_box(token.as_bytes()),
                now,
            )
        };
        assert!(found(&find()));
        Subject::new("cookie", case, move || {
            black_box(find());
        })
    };
    let (ring, _) = seal();
    let sealed = session();
    vec![
        look("hit", 1 << 20, false, |found| matches!(found, Found::Live(_))),
        // Without room, every look is the first.
        look("miss", 0, false, |found| matches!(found, Found::Live(_))),
        look("forged", 0, true, |found| matches!(found, Found::Dead)),
        Subject::new("cookie", "seal", move || {
            let _ = black_box(sealed.seal(&ring, name, host, now));
        }),
    ]
}

/// Of somebody with a name and two groups.
pub fn session() -> Session {
    Session {
        id: SessionId::random().expect("randomness"),
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
    }
}

fn headers() -> Vec<Subject> {
    let browser = HeaderMap::from_iter(
        BROWSER
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))),
    );
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
    let strip = |name, headers: HeaderMap, removed: usize| {
        let managed = ManagedNames::new(&settings());
        assert_eq!(managed.names_to_remove(&headers, &[], false).len(), removed);
        Subject::new("strip", name, move || {
            black_box(managed.names_to_remove(black_box(&headers), &[], false));
        })
    };
    vec![
        strip("a browser's headers", browser, 0),
        strip("five of them forged", hostile, 5),
    ]
}

fn scenes() -> Vec<Subject> {
    let keys = || SceneKeys::new(vec![SceneKey::new(2, 0, &[9; 32])]);
    let mint = keys();
    let scene = mint.mint("staff", ISSUED).expect("a scene").as_str().to_owned();
    let mut forged = scene.clone();
    let last = if forged.ends_with('A') { "B" } else { "A" };
    forged.replace_range(31.., last);
    let check = |name, scene: String, good: bool| {
        let keys = keys();
        assert_eq!(keys.check(&scene).is_ok(), good);
        Subject::new("scene", name, move || {
            let _ = black_box(keys.check(black_box(&scene)));
        })
    };
    vec![
        Subject::new("scene", "mint", move || {
            let _ = black_box(mint.mint(black_box("staff"), ISSUED));
        }),
        check("check", scene, true),
        check("forged", forged, false),
    ]
}

fn pages() -> Vec<Subject> {
    let painter = CodePainter::new(None, Some("https://login.example.com/m/".to_owned()));
    let qr: &'static str = String::leak(painter.data_uri(LINK).expect("a code"));
    let tabs: &'static [Tab<'static>] = Vec::leak(vec![Tab {
        id: "staff",
        display_name: "微信扫码登录",
        url: "/.menshen/login?connection=staff&rd=%2F",
        bind_methods: &[],
        may_create: true,
    }]);
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
        tabs,
        connection: "staff",
        way: Way::Code(TicketView {
            id: "AmsAKU8ql0bliu2jlc6P-v-CSXu2vaSI",
            expires_in: 120,
            qr,
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
        missed: None,
        simulated_phone_url: None,
    };
    vec![
        Subject::new("login page", "render", move || {
            black_box(black_box(&page).render());
        }),
        Subject::new("login page", "draw a link code", move || {
            let _ = black_box(painter.data_uri(black_box(LINK)));
        }),
    ]
}

const LINK: &str = "https://login.example.com/m/AmsAKU8ql0bliu2jlc6P-v-CSXu2vaSI";
const ISSUED: i64 = 1_795_172_739;
