//! Every key that the configuration file may hold, with its type and what holds when it is left out.
//!
//! This table is the only place where a key's name and default are written down: the readers look keys up here, parse
//! the default text with the same parser as an operator's value, and report what is not in the table as unknown. A key
//! that a reader asks for and that is missing here fails the tests; a key that nobody reads shows in the golden file
//! and in the documented sample, which the tests hold against this table.

use std::fmt::Write as _;

/// One key of a table in the file.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// As the operator writes it.
    pub name: &'static str,
    /// Its type, in words for people.
    pub kind: &'static str,
    /// What holds when it is left out.
    pub otherwise: Otherwise,
}

/// What holds when a key is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// Nothing is in its place.
    Absent,
    /// Another value, described in words.
    Follows(&'static str),
    /// This TOML value.
    Is(&'static str),
    /// It cannot be left out.
    Required,
}

/// One table of the file.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// Path, with `[]` for a list of tables.
    pub path: &'static str,
    /// Its keys, in the order of the documentation.
    pub keys: &'static [Key],
}

/// The whole schema as text, one key a line: the contract that a golden file holds.
pub fn render() -> String {
    let mut text = String::new();
    for table in TABLES {
        for key in table.keys {
            let path = if table.path.is_empty() {
                key.name.to_owned()
            } else {
                format!("{}.{}", table.path, key.name)
            };
            let otherwise = match key.otherwise {
                Otherwise::Absent => "(none)".to_owned(),
                Otherwise::Follows(what) => format!("({what})"),
                Otherwise::Is(value) => value.to_owned(),
                Otherwise::Required => "(required)".to_owned(),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{path} = {otherwise}  # {}", key.kind);
        }
    }
    text
}

const fn is(name: &'static str, kind: &'static str, value: &'static str) -> Key {
    Key {
        name,
        kind,
        otherwise: Otherwise::Is(value),
    }
}

const fn absent(name: &'static str, kind: &'static str) -> Key {
    Key {
        name,
        kind,
        otherwise: Otherwise::Absent,
    }
}

const fn follows(name: &'static str, kind: &'static str, what: &'static str) -> Key {
    Key {
        name,
        kind,
        otherwise: Otherwise::Follows(what),
    }
}

const fn required(name: &'static str, kind: &'static str) -> Key {
    Key {
        name,
        kind,
        otherwise: Otherwise::Required,
    }
}

const SECRET: &str = "secret: string, { env = \"NAME\" } or { file = \"path\" }";
const HEADERS: &str = "\"remote-user\", \"x-forwarded\", \"x-auth-request\", \"none\", or a table header -> claim";

/// Every table, in the order of the documentation.
pub const TABLES: &[Table] = &[
    Table { path: "", keys: ROOT },
    Table {
        path: "server",
        keys: SERVER,
    },
    Table {
        path: "server.listen[]",
        keys: LISTEN,
    },
    Table {
        path: "server.tls[]",
        keys: CERTIFICATE,
    },
    Table {
        path: "store",
        keys: STORE,
    },
    Table {
        path: "session",
        keys: SESSION,
    },
    Table {
        path: "identity",
        keys: IDENTITY,
    },
    Table {
        path: "login",
        keys: LOGIN,
    },
    Table {
        path: "limits",
        keys: LIMITS,
    },
    Table {
        path: "branding",
        keys: BRANDING,
    },
    Table { path: "log", keys: LOG },
    Table {
        path: "audit",
        keys: AUDIT,
    },
    Table {
        path: "wechat",
        keys: WECHAT,
    },
    Table {
        path: "connections[]",
        keys: CONNECTION,
    },
    Table {
        path: "sites[]",
        keys: SITE,
    },
    Table {
        path: "sites[].upstream",
        keys: UPSTREAM,
    },
    Table {
        path: "sites[].routes[]",
        keys: ROUTE,
    },
];

/// The top of the file.
pub const ROOT: &[Key] = &[
    required("server", "table"),
    absent("store", "table"),
    absent("session", "table"),
    absent("identity", "table"),
    absent("login", "table"),
    absent("limits", "table"),
    absent("branding", "table"),
    absent("log", "table"),
    absent("audit", "table"),
    absent("wechat", "table"),
    required("connections", "list of tables"),
    required("sites", "list of tables"),
];

/// `[server]`
pub const SERVER: &[Key] = &[
    // Loopback: a first start opens nothing to the network.
    is("listen", "list of addresses or tables", "[\"127.0.0.1:8080\"]"),
    absent("tls", "table { cert, key }, or a list of them"),
    is("admin_listen", "address, or \"off\"", "\"127.0.0.1:9901\""),
    required("public_url", "origin"),
    is("trusted_proxies", "list of networks", "[]"),
    is("data_dir", "directory", "\"/var/lib/menshen\""),
    absent("secret", SECRET),
    is("threads", "number", "2"),
    is("grace_period", "duration", "\"30s\""),
    is("hsts", "duration; \"0s\" sends no header", "\"180d\""),
    is("verification_files", "table file name -> content", "{}"),
];

/// An entry of `server.listen` that is a table.
pub const LISTEN: &[Key] = &[
    required("address", "address"),
    follows(
        "tls",
        "true or false",
        "true when server.tls is set and redirect is not",
    ),
    absent("redirect", "\"https\""),
    is("proxy_protocol", "true or false", "false"),
    is("serves", "\"all\" or \"public_url\"", "\"all\""),
];

/// `server.tls`
pub const CERTIFICATE: &[Key] = &[required("cert", "PEM file, leaf first"), required("key", "PEM file")];

/// `[store]`
pub const STORE: &[Key] = &[is(
    "url",
    "sqlite:FILE or postgres://…, as a string or a secret",
    "\"sqlite:menshen.db\"",
)];

/// `[session]`
pub const SESSION: &[Key] = &[
    is("lifetime", "duration, 1m to 400d", "\"14d\""),
    is("idle_timeout", "duration, 1m to lifetime", "\"24h\""),
    is("cookie_name", "name", "\"menshen\""),
    is("same_site", "\"lax\" or \"strict\"", "\"lax\""),
    is("revocation_delay", "duration, 1s to 5m", "\"30s\""),
    is("store_outage", "duration, 0s to 7d", "\"1h\""),
];

/// `[identity]`
pub const IDENTITY: &[Key] = &[
    is("algorithm", "\"ES256\", \"EdDSA\", \"RS256\" or \"HS256\"", "\"ES256\""),
    is("assertion_header", "header name", "\"X-Menshen-Assertion\""),
    is("assertion_ttl", "duration, 30s to 1h", "\"5m\""),
    is("headers", HEADERS, "\"remote-user\""),
];

/// `[login]`
pub const LOGIN: &[Key] = &[
    is("answer", "\"page\" or \"redirect\"", "\"page\""),
    is("ticket_ttl", "duration, 30s to 5m", "\"120s\""),
    is("bind_ttl", "duration, 1m to 1h", "\"10m\""),
    is("number_matching", "true or false", "true"),
    is("number_entry", "\"choose\" or \"type\"", "\"choose\""),
    is("single_sign_on", "true or false", "false"),
    absent("geo_database", "file, .xdb or .mmdb"),
];

/// `[limits]`
pub const LIMITS: &[Key] = &[
    is("login_pages", "rate", "\"600/min\""),
    is("account_codes", "rate", "\"30/min\""),
    is("phone_calls", "rate", "\"1200/min\""),
    is("phone_calls_per_person", "rate", "\"30/min\""),
    is("waiting_streams", "number", "500"),
    is("request_headers", "size, 4KiB to 1MiB", "\"64KiB\""),
    is("request_body", "size; 0 is no limit", "\"100MiB\""),
];

/// `[branding]`
pub const BRANDING: &[Key] = &[
    is("title", "text", "\"Menshen\""),
    absent("logo", "file: PNG, JPEG, WebP or SVG, up to 256KiB"),
    absent("background", "file: PNG, JPEG or WebP, up to 2MiB"),
    absent("css", "file, up to 256KiB"),
    is("locale", "\"auto\", \"zh-CN\", \"zh-TW\", \"en\" or \"ja\"", "\"auto\""),
];

/// `[log]`
pub const LOG: &[Key] = &[
    is("format", "\"json\" or \"text\"", "\"json\""),
    is("level", "filter", "\"info\""),
];

/// `[audit]`
pub const AUDIT: &[Key] = &[is("keep", "duration, 1d to 3650d", "\"180d\"")];

/// `[wechat]`
pub const WECHAT: &[Key] = &[
    is("api_base", "origin", "\"https://api.weixin.qq.com\""),
    is("open_base", "origin", "\"https://open.weixin.qq.com\""),
    is("mp_base", "origin", "\"https://mp.weixin.qq.com\""),
    absent("proxy", "http:// or https:// address, as a string or a secret"),
    is("timeout", "duration, 1s to 30s", "\"5s\""),
];

/// `[[connections]]`
pub const CONNECTION: &[Key] = &[
    required("id", "name: a-z, 0-9 and -, up to 31 characters"),
    required(
        "kind",
        "\"miniprogram-qr\", \"miniprogram-launch\", \"website-qr\", \"official-account-qr\" or \
         \"official-account-web\"",
    ),
    is("display_name", "text", "\"微信扫码登录\""),
    required("app_id", "AppID"),
    required("app_secret", SECRET),
    absent("open_platform", "name"),
    absent("logo", "file: PNG, JPEG, WebP or SVG, up to 256KiB"),
    is("callback_url", "path, or URL of a site", "\"/\""),
    is("page", "page of the mini program", "\"pages/login/login\""),
    is("env_version", "\"release\", \"trial\" or \"develop\"", "\"release\""),
    is("qr", "\"wxacode\" or \"link\"", "\"wxacode\""),
    absent("link_prefix", "URL that ends in /"),
    is("mobile", "\"none\", \"url_link\" or \"scheme\"", "\"none\""),
    is("phone", "\"required\", \"optional\" or \"never\"", "\"required\""),
    is("login_only", "true or false", "false"),
    is("association", "\"none\", \"field\" or \"ask\"", "\"none\""),
    is("match_fields", "list of \"phone\"", "[\"phone\"]"),
    is(
        "bind_methods",
        "list of \"bind_code\" and \"password\"",
        "[\"bind_code\", \"password\"]",
    ),
    absent("original_id", "gh_…, required by miniprogram-launch"),
    absent("app_ids", "list of AppIDs, required by miniprogram-launch"),
    is("embedded", "true or false, of website-qr", "true"),
    is(
        "scope",
        "\"snsapi_base\" or \"snsapi_userinfo\", of official-account-web",
        "\"snsapi_base\"",
    ),
    absent("token", "secret, required by official-account-qr"),
    absent(
        "encoding_aes_key",
        "secret, 43 characters, required by official-account-qr unless push_mode is plain",
    ),
    is(
        "push_mode",
        "\"safe\", \"compatible\" or \"plain\", of official-account-qr",
        "\"safe\"",
    ),
    absent("relay_url", "URL, of official-account-qr"),
    absent("relay_token", "secret, of official-account-qr with relay_url"),
    absent(
        "relay_encoding_aes_key",
        "secret, 43 characters, required with relay_token unless push_mode is plain",
    ),
    is("verify_opener", "true or false, of official-account-qr", "false"),
    absent("greeting", "text, of official-account-qr"),
];

/// `[[sites]]`
pub const SITE: &[Key] = &[
    follows("name", "text", "the audience"),
    required("hosts", "list of host patterns"),
    follows("audience", "text", "the first host without a wildcard"),
    required(
        "upstreams",
        "list of http://…, https://… or unix:/…; [] for forward-auth only",
    ),
    follows("connections", "list of connection ids", "all"),
    absent("upstream", "table"),
    follows("headers", HEADERS, "identity.headers"),
    absent("assertion_secret", "secret of at least 32 bytes, for HS256"),
    is("expose_wechat_ids", "true or false", "false"),
    is("expose_phone", "true or false", "true"),
    follows("request_body", "size; 0 is no limit", "limits.request_body"),
    is("allowed_headers", "list of header names with _", "[]"),
    is("app_cookies", "list of cookie names", "[]"),
    is("ignore_case", "true or false", "false"),
    absent("routes", "list of tables"),
];

/// `sites.upstream`
pub const UPSTREAM: &[Key] = &[
    is(
        "balance",
        "\"round_robin\", \"least_connections\" or \"client_address\"",
        "\"round_robin\"",
    ),
    is("connect_timeout", "duration, 100ms to 5m", "\"5s\""),
    is("read_timeout", "duration, 1s to 24h", "\"60s\""),
    is("total_timeout", "duration, up to 24h; \"0s\" is no limit", "\"0s\""),
    absent("health_check", "path"),
    is("pass_host", "true or false", "true"),
    is("tls_verify", "true or false", "true"),
    absent("tls_ca", "path of a PEM file"),
    absent("tls_name", "host name"),
    is("http2", "true or false", "false"),
];

/// `[[sites.routes]]`
pub const ROUTE: &[Key] = &[
    required("path", "path prefix by whole segments, or \"= /exact\""),
    follows("methods", "list of methods", "all"),
    is("access", "\"public\", \"login\" or \"deny\"", "\"login\""),
    absent("require", "list of requirements: any of them"),
    absent("require_all", "list of requirements: all of them"),
    is("encoded_slashes", "\"refuse\" or \"keep\"", "\"refuse\""),
    is("cors_origins", "list of origins", "[]"),
    is("websocket_origins", "list of origins", "[]"),
];
