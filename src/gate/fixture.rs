//! Settings for tests: one call for what a table needs, everything else at its default.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use http::Method;
use secrecy::SecretString;
use url::Url;

use crate::config::settings::*;
use crate::gate::Gate;
use crate::gate::decide::{Credential, RequestView, SessionView};
use crate::gate::request_class::Class;

/// A gate at `https://login.test` for these sites.
pub(crate) fn gate(sites: Vec<Site>) -> Gate {
    Gate::new(&settings("https://login.test", sites))
}

/// A site of these hosts: written out, `*.suffix` or `*`.
pub(crate) fn site(hosts: &[&str], routes: Vec<Route>) -> Site {
    let hosts: Vec<HostPattern> = hosts
        .iter()
        .map(|host| match (*host, host.strip_prefix("*.")) {
            ("*", _) => HostPattern::Any,
            (_, Some(suffix)) => HostPattern::Suffix(suffix.to_owned()),
            (exact, None) => HostPattern::Exact(exact.to_owned()),
        })
        .collect();
    let audience = match hosts.first() {
        Some(HostPattern::Exact(host) | HostPattern::Suffix(host)) => host.clone(),
        _ => "any".to_owned(),
    };
    Site {
        name: "Test".to_owned(),
        hosts,
        audience,
        upstreams: Vec::new(),
        upstream: UpstreamOptions {
            balance: Balance::RoundRobin,
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(60),
            total_timeout: None,
            health_check: None,
            pass_host: true,
            tls_verify: true,
            tls_ca: None,
            tls_name: None,
            http2: false,
        },
        connections: vec![0],
        headers: HeaderSet::RemoteUser,
        assertion_secret: None,
        expose_wechat_ids: false,
        expose_phone: true,
        request_body: None,
        allowed_headers: Vec::new(),
        app_cookies: Vec::new(),
        ignore_case: false,
        routes,
    }
}

/// A route as it is written: `/prefix/` or `= /exact`.
pub(crate) fn route(path: &str, access: Access) -> Route {
    let path = match path.strip_prefix("= ") {
        Some(exact) => PathPattern::Exact(exact.to_owned()),
        None => PathPattern::Prefix(path.trim_end_matches('/').to_owned()),
    };
    Route {
        path,
        methods: None,
        access,
        require: Vec::new(),
        require_all: Vec::new(),
        keep_encoded_slashes: false,
        cors_origins: Vec::new(),
        websocket_origins: Vec::new(),
    }
}

/// Two connections, `staff` and `guests`, and these sites.
pub(crate) fn settings(public_url: &str, sites: Vec<Site>) -> Settings {
    let rate = Rate {
        count: 1,
        period: Duration::from_secs(60),
    };
    let prefix = Url::parse("https://login.test/m/").unwrap();
    Settings {
        server: Server {
            listen: Vec::new(),
            tls: Vec::new(),
            admin_listen: None,
            public_url: Url::parse(public_url).unwrap(),
            trusted_proxies: Vec::new(),
            data_dir: "/tmp".into(),
            secret: None,
            threads: 1,
            grace_period: Duration::ZERO,
            hsts: None,
            verification_files: BTreeMap::from([("MP_verify_abc.txt".to_owned(), "abc".to_owned())]),
        },
        store: Store {
            url: SecretString::from("sqlite::memory:"),
        },
        session: Session {
            lifetime: Duration::from_secs(3600),
            idle_timeout: Duration::from_secs(3600),
            cookie_name: "menshen".to_owned(),
            same_site: SameSite::Lax,
            revocation_delay: Duration::from_secs(30),
            store_outage: Duration::ZERO,
        },
        identity: Identity {
            algorithm: Algorithm::Es256,
            assertion_header: "X-Menshen-Assertion".to_owned(),
            assertion_ttl: Duration::from_secs(300),
            headers: HeaderSet::RemoteUser,
        },
        login: Login {
            answer: LoginAnswer::Page,
            ticket_ttl: Duration::from_secs(120),
            bind_ttl: Duration::from_secs(600),
            number_matching: true,
            number_entry: NumberEntry::Choose,
            single_sign_on: false,
            geo_database: None,
        },
        limits: Limits {
            login_pages: rate,
            account_codes: rate,
            phone_calls: rate,
            phone_calls_per_person: rate,
            waiting_streams: 1,
            request_headers: 64 * 1024,
            request_body: None,
        },
        branding: Branding {
            title: "Test".to_owned(),
            logo: None,
            background: None,
            css: None,
            locale: None,
        },
        log: Log {
            format: LogFormat::Text,
            level: "info".to_owned(),
        },
        audit: Audit { keep: Duration::ZERO },
        wechat: Wechat {
            api_base: Url::parse("https://api.test").unwrap(),
            open_base: Url::parse("https://open.test").unwrap(),
            mp_base: Url::parse("https://mp.test").unwrap(),
            proxy: None,
            timeout: Duration::from_secs(5),
        },
        connections: vec![
            connection("staff", QrKind::Link { prefix: prefix.clone() }),
            connection("guests", QrKind::Wxacode { fallback: Some(prefix) }),
        ],
        sites,
    }
}

fn connection(id: &str, qr: QrKind) -> Connection {
    Connection {
        id: id.to_owned(),
        kind: ConnectionKind::MiniprogramQr(MiniprogramQr {
            page: "pages/login/login".to_owned(),
            env_version: EnvVersion::Release,
            qr,
            mobile: MobileOpen::None,
        }),
        display_name: id.to_owned(),
        app_id: "wx0000000000000000".to_owned(),
        app_secret: SecretString::from("secret"),
        open_platform: None,
        logo: None,
        callback_url: "/".to_owned(),
        phone: PhonePolicy::Required,
        login_only: false,
        association: Association::None,
    }
}

/// A GET of a navigating browser over HTTPS.
pub(crate) fn navigation<'a>(host: &'a str, path: &'a str) -> RequestView<'a> {
    RequestView {
        method: &Method::GET,
        host,
        port: None,
        secure: true,
        certified: false,
        path,
        class: Class::Navigation,
        origin: None,
        preflight_for: None,
        client: Some(IpAddr::from([192, 0, 2, 1])),
    }
}

/// Alice, by cookie, logged in through `staff`.
pub(crate) fn alice(groups: &[String]) -> SessionView<'_> {
    SessionView {
        user_id: "u_abcdefghijklmnopqrstuvwxyz",
        username: Some("alice"),
        groups,
        phone: Some("+8613800000000"),
        email: Some("alice@corp.test"),
        connection: Some("staff"),
        sites: None,
        by_cookie: true,
    }
}

/// Alice, in no group.
pub(crate) fn session() -> Credential<'static> {
    Credential::Session(alice(&[]))
}
