//! What a good file becomes.

use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use secrecy::ExposeSecret as _;

use super::super::settings::*;
use super::super::{DEFAULT_FILE, VARIABLE, find};
use super::*;

#[test]
fn the_smallest_file_gets_every_default() {
    let loaded = load(&format!("{SERVER}{CONNECTION}{SITE}")).unwrap();
    assert_eq!(loaded.warnings, []);
    let Settings {
        server,
        store,
        session,
        identity,
        login,
        limits,
        branding,
        log,
        audit,
        wechat,
        connections,
        sites,
    } = loaded.settings;

    let [listen] = server.listen.as_slice() else {
        panic!("{:?}", server.listen)
    };
    assert_eq!(listen.address.to_string(), "127.0.0.1:8080");
    assert!(!listen.tls && !listen.redirect_to_https && !listen.proxy_protocol && !listen.public_url_only);
    assert_eq!(
        server.admin_listen.map(|address| address.to_string()).as_deref(),
        Some("127.0.0.1:9901")
    );
    assert_eq!(server.public_url.as_str(), "http://127.0.0.1:8080/");
    assert!(server.trusted_proxies.is_empty() && server.tls.is_empty() && server.verification_files.is_empty());
    assert_eq!(server.data_dir, PathBuf::from("/var/lib/menshen"));
    assert_eq!(
        (server.threads, server.grace_period, server.hsts),
        (2, Duration::from_secs(30), Some(DAY * 180))
    );

    assert_eq!(store.url.expose_secret(), "sqlite:/var/lib/menshen/menshen.db");
    assert_eq!((session.lifetime, session.idle_timeout), (DAY * 14, DAY));
    assert_eq!(
        (session.cookie_name.as_str(), session.same_site),
        ("menshen", SameSite::Lax)
    );
    assert_eq!(
        (session.revocation_delay, session.store_outage),
        (Duration::from_secs(30), Duration::from_secs(3_600))
    );
    assert_eq!(identity.algorithm, Algorithm::Es256);
    assert_eq!(
        (identity.assertion_header.as_str(), identity.assertion_ttl),
        ("X-Menshen-Assertion", Duration::from_secs(300))
    );
    assert_eq!(identity.headers, HeaderSet::RemoteUser);
    assert_eq!(
        (login.answer, login.number_entry),
        (LoginAnswer::Page, NumberEntry::Choose)
    );
    assert_eq!(
        (login.ticket_ttl, login.bind_ttl),
        (Duration::from_secs(120), Duration::from_secs(600))
    );
    assert!(login.number_matching && !login.single_sign_on && login.geo_database.is_none());
    let minute = Duration::from_secs(60);
    assert_eq!(
        limits.login_pages,
        Rate {
            count: 600,
            period: minute
        }
    );
    assert_eq!(
        limits.phone_calls,
        Rate {
            count: 1_200,
            period: minute
        }
    );
    assert_eq!(
        limits.phone_calls_per_person,
        Rate {
            count: 30,
            period: minute
        }
    );
    assert_eq!(
        (limits.waiting_streams, limits.request_headers, limits.request_body),
        (500, 65_536, Some(104_857_600))
    );
    assert_eq!(branding.title, "Menshen");
    assert!(
        branding.logo.is_none() && branding.background.is_none() && branding.css.is_none() && branding.locale.is_none()
    );
    assert_eq!(
        (log.format, log.level.as_str(), audit.keep),
        (LogFormat::Json, "info", DAY * 180)
    );
    assert_eq!(wechat.api_base.as_str(), "https://api.weixin.qq.com/");
    assert_eq!(wechat.open_base.as_str(), "https://open.weixin.qq.com/");
    assert_eq!(wechat.mp_base.as_str(), "https://mp.weixin.qq.com/");
    assert_eq!((wechat.proxy.is_none(), wechat.timeout), (true, Duration::from_secs(5)));

    let [connection] = connections.as_slice() else {
        panic!("{connections:?}")
    };
    let ConnectionKind::MiniprogramQr(miniprogram) = &connection.kind else {
        panic!("{connection:?}")
    };
    assert_eq!(miniprogram.page, "pages/login/login");
    assert_eq!(
        (miniprogram.env_version, miniprogram.mobile),
        (EnvVersion::Release, MobileOpen::None)
    );
    assert_eq!(miniprogram.qr, QrKind::Wxacode { fallback: None });
    assert_eq!(
        connection.app_secret.expose_secret(),
        "0123456789abcdef0123456789abcdef"
    );
    assert_eq!(
        (connection.display_name.as_str(), connection.callback_url.as_str()),
        ("微信扫码登录", "/")
    );
    assert_eq!(
        (connection.phone, connection.login_only),
        (PhonePolicy::Required, false)
    );
    assert_eq!(connection.association, Association::None);
    assert!(connection.open_platform.is_none() && connection.logo.is_none());

    let [site] = sites.as_slice() else { panic!("{sites:?}") };
    assert_eq!(
        (site.name.as_str(), site.audience.as_str()),
        ("wiki.example.com", "wiki.example.com")
    );
    assert_eq!(site.connections, [0]);
    assert_eq!(site.headers, HeaderSet::RemoteUser);
    assert_eq!(
        (site.expose_wechat_ids, site.expose_phone, site.ignore_case),
        (false, true, false)
    );
    assert_eq!(site.request_body, Some(104_857_600));
    assert!(
        site.allowed_headers.is_empty()
            && site.app_cookies.is_empty()
            && site.routes.is_empty()
            && site.assertion_secret.is_none()
    );
    assert_eq!(
        site.upstream,
        UpstreamOptions {
            balance: Balance::RoundRobin,
            connect_timeout: Duration::from_secs(5),
            read_timeout: minute,
            total_timeout: None,
            health_check: None,
            pass_host: true,
            tls_verify: true,
            tls_ca: None,
            tls_name: None,
            http2: false,
        }
    );
}

#[test]
fn what_is_written_is_what_is_meant() {
    let loaded = load(
        r#"
        [server]
        listen = ["0.0.0.0:8080", "[::]:8080"]
        admin_listen = "off"
        public_url = "https://Login.Example.com/"
        trusted_proxies = ["10.0.0.2", "2001:db8::/48"]
        data_dir = "data"
        secret = { env = "SECRET" }
        hsts = "0s"
        verification_files = { "MP_verify_abc.txt" = "abc" }
        [store]
        url = "sqlite:a#b.db"
        [identity]
        headers = { X-Zed = "user", X-Able = "groups" }
        [limits]
        request_body = 0
        phone_calls = "5/s"
        [branding]
        locale = "zh-TW"
        [[connections]]
        id = "staff"
        kind = "miniprogram-qr"
        app_id = "wx0123456789abcdef"
        app_secret = { env = "APP_SECRET" }
        qr = "link"
        link_prefix = "https://login.example.com/m/"
        phone = "optional"
        association = "field"
        callback_url = "https://wiki.example.com/start"
        [[sites]]
        name = "Wiki"
        hosts = ["*", "*.Example.com", "wiki.example.com"]
        upstreams = ["http://app:8080/base/", "unix:/run/app.sock"]
        headers = "none"
        request_body = "1GiB"
        allowed_headers = ["X_Legacy"]
        app_cookies = ["PHPSESSID"]
        ignore_case = true
        upstream = { balance = "client_address", pass_host = false }
        [[sites.routes]]
        path = "/Static/"
        access = "public"
        cors_origins = ["https://SPA.example.com:443"]
        [[sites.routes]]
        path = "= /admin"
        methods = ["POST"]
        access = "deny"
        encoded_slashes = "keep"
        "#,
    );
    let loaded = loaded.unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let settings = loaded.settings;
    assert_eq!(settings.issuer(), "https://login.example.com");
    assert_eq!(settings.server.listen[1].address.to_string(), "[::]:8080");
    assert_eq!((settings.server.admin_listen, settings.server.hsts), (None, None));
    assert_eq!(settings.server.trusted_proxies[0].to_string(), "10.0.0.2/32");
    assert_eq!(settings.server.data_dir, PathBuf::from("/etc/menshen/data"));
    assert_eq!(settings.server.verification_files["MP_verify_abc.txt"], "abc");
    assert_eq!(settings.store.url.expose_secret(), "sqlite:/etc/menshen/data/a%23b.db");
    let written = vec![("X-Zed".to_owned(), Claim::User), ("X-Able".to_owned(), Claim::Groups)];
    assert_eq!(settings.identity.headers, HeaderSet::Custom(written));
    assert_eq!(settings.limits.request_body, None);
    assert_eq!(
        settings.limits.phone_calls,
        Rate {
            count: 5,
            period: Duration::from_secs(1)
        }
    );
    assert_eq!(settings.branding.locale, Some(Locale::ZhTw));
    let connection = &settings.connections[0];
    let ConnectionKind::MiniprogramQr(miniprogram) = &connection.kind else {
        panic!("{connection:?}")
    };
    assert!(matches!(&miniprogram.qr, QrKind::Link { prefix } if prefix.as_str() == "https://login.example.com/m/"));
    assert_eq!(connection.association, Association::Field);
    let site = &settings.sites[0];
    assert_eq!(site.audience, "wiki.example.com");
    assert_eq!(site.hosts[1], HostPattern::Suffix("example.com".to_owned()));
    assert_eq!(site.headers, HeaderSet::None);
    assert_eq!(site.request_body, Some(1 << 30));
    assert_eq!(site.allowed_headers, ["x_legacy"]);
    assert_eq!(site.routes[0].path, PathPattern::Prefix("/Static".to_owned()));
    assert_eq!(site.routes[0].cors_origins, ["https://spa.example.com"]);
    assert_eq!(site.routes[1].path, PathPattern::Exact("/admin".to_owned()));
    assert_eq!(site.routes[1].methods.as_deref(), Some(&[http::Method::POST][..]));
    assert!(site.routes[1].keep_encoded_slashes);
}

#[test]
fn tls_is_the_default_of_listeners_where_there_are_certificates() {
    let surroundings = surroundings();
    let source = with_part(
        r#"[server]
public_url = "https://login.example.com"
tls = { cert = "c", key = "k" }
listen = ["0.0.0.0:443", { address = "0.0.0.0:80", redirect = "https" }, { address = "127.0.0.1:81", tls = false }]
"#,
    );
    let document = toml::de::DeTable::parse(&source).unwrap();
    let mut reading = super::super::reading::Reading::new(Path::new("m.toml"), &source, &surroundings);
    let settings = super::super::read::read(&mut reading, document.get_ref());
    let seen: Vec<_> = settings
        .server
        .listen
        .iter()
        .map(|listen| (listen.tls, listen.redirect_to_https))
        .collect();
    assert_eq!(seen, [(true, false), (false, true), (false, false)]);
}

#[test]
fn secrets_lose_their_newline_and_their_file_is_watched() {
    let surroundings = surroundings().with_file("/etc/menshen/app-secret", "0123456789abcdef0123456789abcdef\n");
    let connection = CONNECTION.replace("{ env = \"APP_SECRET\" }", "{ file = \"app-secret\" }");
    let source = format!("{SERVER}{connection}{SITE}");
    let loaded = parse(Path::new("/etc/menshen/menshen.toml"), &source, &surroundings).unwrap();
    assert_eq!(
        loaded.settings.connections[0].app_secret.expose_secret(),
        "0123456789abcdef0123456789abcdef"
    );
    assert_eq!(loaded.files, [PathBuf::from("/etc/menshen/app-secret")]);
}

#[test]
fn secrets_do_not_show_in_debug_output_or_mistakes() {
    let source = with_part(
        r#"[server]
public_url = "http://127.0.0.1:8080"
secret = "hunter2-hunter2"
[store]
url = "postgres://menshen:hunter2@db"
[wechat]
proxy = "socks5://me:hunter2@proxy"
"#,
    );
    let shown = format!("{:?}", load(&source));
    assert!(
        shown.contains("names no database") && shown.contains("shorter than 32"),
        "{shown}"
    );
    assert!(!shown.contains("hunter2"), "{shown}");
    let loaded = load(&with_part(
        "[store]\nurl = \"postgres://menshen:hunter2@localhost/menshen\"\n",
    ))
    .unwrap();
    assert!(!format!("{loaded:?}").contains("hunter2"));
}

#[test]
fn relative_paths_start_at_the_file_wherever_it_was_named_from() {
    let server = SERVER.replace("secret =", "data_dir = \"data\"\nsecret =");
    let source = format!("{server}{CONNECTION}{SITE}");
    let data_dir = |path: &str| {
        parse(Path::new(path), &source, &surroundings())
            .unwrap()
            .settings
            .server
            .data_dir
    };
    let here = std::env::current_dir().unwrap();
    assert_eq!(
        data_dir("/etc/menshen/menshen.toml"),
        PathBuf::from("/etc/menshen/data")
    );
    assert_eq!(data_dir("menshen.toml"), here.join("data"));
    assert_eq!(data_dir("config/menshen.toml"), here.join("config/data"));
}

#[test]
fn files_are_read_from_the_disk_and_directories_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("menshen.toml");
    std::fs::write(
        directory.path().join("secret"),
        "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I\n",
    )
    .unwrap();
    let connection = CONNECTION.replace("{ env = \"APP_SECRET\" }", "\"0123456789abcdef0123456789abcdef\"");
    let source = |secret: &str| format!("{}{connection}{SITE}", SERVER.replace("env = \"SECRET\"", secret));
    std::fs::write(&path, source("file = \"secret\"")).unwrap();
    let loaded = super::super::load(&path).unwrap();
    assert_eq!(loaded.files, [directory.path().join("secret")]);
    std::fs::write(&path, source("file = \".\"")).unwrap();
    let mistakes = super::super::load(&path).unwrap_err();
    assert!(
        mistakes
            .iter()
            .any(|mistake| mistake.message.ends_with("not a regular file")),
        "{mistakes:#?}"
    );
}

#[test]
fn the_file_is_found_by_argument_then_environment_then_place() {
    let fake = Fake::default().with_variable(VARIABLE, "/etc/other.toml");
    assert_eq!(find(Some(PathBuf::from("a.toml")), &fake), PathBuf::from("a.toml"));
    assert_eq!(find(None, &fake), PathBuf::from("/etc/other.toml"));
    assert_eq!(find(None, &Fake::default()), PathBuf::from(DEFAULT_FILE));
    assert_eq!(
        find(None, &Fake::default().with_variable(VARIABLE, "")),
        PathBuf::from(DEFAULT_FILE)
    );
}

proptest! {
    #[test]
    fn loading_never_panics_on_arbitrary_text(source in "\\PC{0,200}") {
        let _ = load(&source);
    }

    #[test]
    fn loading_never_panics_on_what_looks_like_toml(lines in proptest::collection::vec(line(), 0..40)) {
        let source = lines.join("\n");
        let result = load(&source);
        prop_assert!(result.is_ok() || said(&result).contains(" error: "));
    }
}

/// A line out of real headers, real keys and all types of values.
fn line() -> impl Strategy<Value = String> {
    let headers: Vec<String> = super::super::schema::TABLES
        .iter()
        .filter(|table| !table.path.is_empty())
        .map(|table| table.path.replace("[]", ""))
        .collect();
    let keys: Vec<&str> = super::super::schema::TABLES
        .iter()
        .flat_map(|table| table.keys)
        .map(|key| key.name)
        .collect();
    let values = prop_oneof![
        Just("true".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just("1e9".to_owned()),
        Just("1979-05-27".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        proptest::sample::select(
            super::super::schema::TABLES
                .iter()
                .flat_map(|table| table.keys)
                .filter_map(|key| match key.otherwise {
                    super::super::schema::Otherwise::Is(text) => Some(text.to_owned()),
                    _ => None,
                })
                .collect::<Vec<_>>()
        ),
        "[a-z0-9:/*.%é+=-]{0,20}".prop_map(|text| format!("\"{text}\"")),
        "[a-z0-9:/*.%é+=-]{0,20}".prop_map(|text| format!("[\"{text}\", 1]")),
        "[a-z]{1,8}".prop_map(|text| format!("{{ {text} = \"x\", env = \"SECRET\" }}")),
    ];
    prop_oneof![
        1 => proptest::sample::select(headers.clone()).prop_map(|path| format!("[{path}]")),
        1 => proptest::sample::select(headers).prop_map(|path| format!("[[{path}]]")),
        4 => (proptest::sample::select(keys), values).prop_map(|(key, value)| format!("{key} = {value}")),
    ]
}

const DAY: Duration = Duration::from_secs(86_400);
