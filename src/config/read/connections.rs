//! `[[connections]]`.
//!
//! A key that only another kind reads is a mistake, not something to ignore: it says that the author had that other
//! kind in mind.

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::super::mistake::Fault;
use super::super::path::parse_path;
use super::super::reading::Reading;
use super::super::schema::CONNECTION;
use super::super::section::Section;
use super::super::settings::{
    Association, BindMethod, Connection, ConnectionKind, EnvVersion, MiniprogramLaunch, MiniprogramQr, MobileOpen,
    OfficialAccountQr, PhonePolicy, PushMode, QrKind, WebScope,
};
use super::super::values::{is_token, parse_app_id, parse_connection_id, parse_http_url};
use super::super::words::{parse_choice, quote_all};
use super::appearance::{LARGEST_LOGO, read_picture};
use super::server::stand_in_url;

pub(super) fn read_connections(reading: &mut Reading<'_>, root: &Section<'_>) -> Vec<Connection> {
    let sections = root.tables(reading, "connections", CONNECTION);
    if sections.is_empty() && root.has("connections") && reading.sound("connections") {
        reading.error(
            "connections",
            "there is no connection",
            "add a [[connections]] table: nobody could log in",
        );
    }
    sections
        .iter()
        .map(|section| read_connection(reading, section))
        .collect()
}

fn read_connection(reading: &mut Reading<'_>, section: &Section<'_>) -> Connection {
    let kinds = KINDS.map(|kind| (kind, kind));
    let kind = section.parse(reading, "kind", |text| parse_choice(text, &kinds));
    if let Some(kind) = kind {
        refuse_foreign_keys(reading, section, kind);
    }
    let phone = section
        .choice(
            reading,
            "phone",
            &[
                ("required", PhonePolicy::Required),
                ("optional", PhonePolicy::Optional),
                ("never", PhonePolicy::Never),
            ],
        )
        .unwrap_or(PhonePolicy::Never);
    let kind = read_kind(reading, section, kind);
    let association = read_association(reading, section);
    if matches!(kind, ConnectionKind::MiniprogramLaunch(_)) && matches!(association, Association::Ask { .. }) {
        reading.error(
            &section.key("association"),
            "`association = \"ask\"` asks on the login page, and an application has none",
            "write \"field\", with phone = \"required\" or \"optional\", or \"none\"",
        );
    }
    if !kind.gets_phone() {
        refuse_what_needs_a_phone(reading, section, &kind, phone, &association);
    }
    Connection {
        id: section.parse(reading, "id", parse_connection_id).unwrap_or_default(),
        display_name: section.text(reading, "display_name").unwrap_or_default(),
        app_id: section.parse(reading, "app_id", parse_app_id).unwrap_or_default(),
        app_secret: section.secret(reading, "app_secret").unwrap_or_default(),
        open_platform: section.text(reading, "open_platform"),
        logo: read_picture(reading, section, "logo", LARGEST_LOGO, true),
        callback_url: section
            .parse(reading, "callback_url", parse_callback_url)
            .unwrap_or_default(),
        phone: if kind.gets_phone() { phone } else { PhonePolicy::Never },
        login_only: section.flag(reading, "login_only"),
        association,
        kind,
    }
}

/// WeChat tells a browser and a chat no phone number, and where there is no ticket nobody can be asked at one.
fn refuse_what_needs_a_phone(
    reading: &mut Reading<'_>,
    section: &Section<'_>,
    kind: &ConnectionKind,
    phone: PhonePolicy,
    association: &Association,
) {
    let (asks, kind) = (!kind.is_redirect(), kind.as_str());
    if section.has("phone") && phone != PhonePolicy::Never {
        reading.error(
            &section.key("phone"),
            format!("a connection of the kind `{kind}` gets no phone number from WeChat"),
            "write \"never\", or leave it out",
        );
    }
    let (what, remedy) = match association {
        Association::None => return,
        Association::Field => (
            "`association = \"field\"` needs a verified phone number, which WeChat gives to mini programs only",
            "write \"none\"; with the same `open_platform` as a mini program's connection, people are known by their \
             unionid",
        ),
        Association::Ask { .. } if asks => return,
        Association::Ask { .. } => (
            "`association = \"ask\"` asks while a phone waits, and here none does",
            "write \"none\"; add login_only = true to keep strangers out",
        ),
    };
    reading.error(
        &section.key("association"),
        format!("{what}: a connection of the kind `{kind}` cannot do that"),
        remedy,
    );
}

fn read_kind(reading: &mut Reading<'_>, section: &Section<'_>, kind: Option<&str>) -> ConnectionKind {
    match kind {
        Some("miniprogram-launch") => ConnectionKind::MiniprogramLaunch(read_launch(reading, section)),
        Some("website-qr") => ConnectionKind::WebsiteQr {
            embedded: section.flag(reading, "embedded"),
        },
        Some("official-account-qr") => ConnectionKind::OfficialAccountQr(read_official_account(reading, section)),
        Some("official-account-web") => {
            let scopes = [("snsapi_base", WebScope::Base), ("snsapi_userinfo", WebScope::UserInfo)];
            ConnectionKind::OfficialAccountWeb {
                scope: section.choice(reading, "scope", &scopes).unwrap_or(WebScope::Base),
            }
        }
        _ => ConnectionKind::MiniprogramQr(read_miniprogram(reading, section)),
    }
}

fn read_miniprogram(reading: &mut Reading<'_>, section: &Section<'_>) -> MiniprogramQr {
    let prefix = section.parse(reading, "link_prefix", parse_link_prefix);
    let link = section
        .choice(reading, "qr", &[("wxacode", false), ("link", true)])
        .unwrap_or(false);
    if link && !section.has("link_prefix") {
        reading.error(
            &section.key("qr"),
            "`qr = \"link\"` needs a `link_prefix`",
            "add the prefix that is registered with WeChat, for example link_prefix = \"https://login.example.com/m/\"",
        );
    }
    let mobile = [
        ("none", MobileOpen::None),
        ("url_link", MobileOpen::UrlLink),
        ("scheme", MobileOpen::Scheme),
    ];
    MiniprogramQr {
        page: section.parse(reading, "page", parse_page).unwrap_or_default(),
        env_version: read_env_version(reading, section),
        qr: if link {
            QrKind::Link {
                prefix: prefix.unwrap_or_else(stand_in_url),
            }
        } else {
            QrKind::Wxacode { fallback: prefix }
        },
        mobile: section.choice(reading, "mobile", &mobile).unwrap_or(MobileOpen::None),
    }
}

fn read_launch(reading: &mut Reading<'_>, section: &Section<'_>) -> MiniprogramLaunch {
    demand(reading, section, &["original_id", "app_ids"]);
    let app_ids = section.list(reading, "app_ids", parse_app_id);
    if app_ids.as_ref().is_some_and(Vec::is_empty) {
        reading.error(
            &section.key("app_ids"),
            "`app_ids` is empty",
            "name the AppIDs of the applications that open the mini program",
        );
    }
    MiniprogramLaunch {
        original_id: section
            .parse(reading, "original_id", parse_original_id)
            .unwrap_or_default(),
        app_ids: app_ids.unwrap_or_default(),
        page: section.parse(reading, "page", parse_page).unwrap_or_default(),
        env_version: read_env_version(reading, section),
    }
}

fn read_official_account(reading: &mut Reading<'_>, section: &Section<'_>) -> OfficialAccountQr {
    let modes = [
        ("safe", PushMode::Safe),
        ("compatible", PushMode::Compatible),
        ("plain", PushMode::Plain),
    ];
    let push_mode = section.choice(reading, "push_mode", &modes).unwrap_or(PushMode::Safe);
    demand(reading, section, &["token"]);
    if push_mode != PushMode::Plain {
        demand(reading, section, &["encoding_aes_key"]);
    }
    let token = read_push_token(
        reading,
        section,
        "token",
        "copy the Token of the account's server settings",
    );
    let encoding_aes_key = read_aes_key(
        reading,
        section,
        "encoding_aes_key",
        "copy the EncodingAESKey of the account's server settings",
    );
    let of_relay = "write what the program behind relay_url checks messages with: not the account's own";
    let relay_token = read_push_token(reading, section, "relay_token", of_relay);
    if relay_token.is_some() && push_mode != PushMode::Plain {
        demand(reading, section, &["relay_encoding_aes_key"]);
    }
    let relay_encoding_aes_key = read_aes_key(reading, section, "relay_encoding_aes_key", of_relay);
    OfficialAccountQr {
        token: token.unwrap_or_default(),
        encoding_aes_key,
        push_mode,
        relay_url: section.parse(reading, "relay_url", parse_http_url),
        relay_token,
        relay_encoding_aes_key,
        verify_opener: section.flag(reading, "verify_opener"),
        greeting: section.parse(reading, "greeting", parse_greeting),
    }
}

/// A token by which messages are signed.
fn read_push_token(
    reading: &mut Reading<'_>,
    section: &Section<'_>,
    name: &'static str,
    remedy: &'static str,
) -> Option<SecretString> {
    let token = section.secret(reading, name)?;
    let text = token.expose_secret();
    if !(3..=32).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        let key = section.key(name);
        reading.error(&key, format!("`{key}` is not 3 to 32 letters and digits"), remedy);
    }
    Some(token)
}

/// A key by which messages are encrypted.
fn read_aes_key(
    reading: &mut Reading<'_>,
    section: &Section<'_>,
    name: &'static str,
    remedy: &'static str,
) -> Option<SecretString> {
    let key = section.secret(reading, name)?;
    let text = key.expose_secret();
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    if text.len() != 43 || !text.bytes().all(is_base64) {
        let name = section.key(name);
        reading.error(&name, format!("`{name}` is not 43 characters of base64"), remedy);
    }
    Some(key)
}

fn read_association(reading: &mut Reading<'_>, section: &Section<'_>) -> Association {
    let kind = section.choice(
        reading,
        "association",
        &[("none", "none"), ("field", "field"), ("ask", "ask")],
    );
    let fields = section.list(reading, "match_fields", |text| match text {
        "phone" => Ok(()),
        _ => Err(Fault::new(
            format!("users cannot be matched by `{text}`"),
            "write [\"phone\"], the only field that WeChat verifies",
        )),
    });
    let methods = section.list(reading, "bind_methods", |text| {
        parse_choice(
            text,
            &[("bind_code", BindMethod::BindCode), ("password", BindMethod::Password)],
        )
    });
    for (name, of, empty) in [
        ("match_fields", "field", fields.as_ref().is_some_and(Vec::is_empty)),
        ("bind_methods", "ask", methods.as_ref().is_some_and(Vec::is_empty)),
    ] {
        let key = section.key(name);
        if empty {
            reading.error(&key, format!("`{key}` is empty"), "leave it out for the default");
        } else if section.has(name) && kind != Some(of) {
            reading.warn(
                &key,
                format!("`{name}` does nothing here"),
                format!("remove it, or write association = \"{of}\""),
            );
        }
    }
    match kind {
        Some("field") => Association::Field,
        Some("ask") => {
            let mut methods = methods.unwrap_or_default();
            let mut seen = Vec::new();
            methods.retain(|method| {
                !seen.contains(method) && {
                    seen.push(*method);
                    true
                }
            });
            Association::Ask { methods }
        }
        _ => Association::None,
    }
}

fn read_env_version(reading: &mut Reading<'_>, section: &Section<'_>) -> EnvVersion {
    let versions = [
        ("release", EnvVersion::Release),
        ("trial", EnvVersion::Trial),
        ("develop", EnvVersion::Develop),
    ];
    section
        .choice(reading, "env_version", &versions)
        .unwrap_or(EnvVersion::Release)
}

/// Reports keys that this kind needs.
fn demand(reading: &mut Reading<'_>, section: &Section<'_>, names: &[&str]) {
    for name in names {
        if !section.has(name) {
            let key = section.key(name);
            reading.error(
                &key,
                format!("`{key}` is missing"),
                format!("add `{name} = …`: this kind of connection needs it"),
            );
        }
    }
}

fn refuse_foreign_keys(reading: &mut Reading<'_>, section: &Section<'_>, kind: &str) {
    for (name, kinds) in KEYS_OF_KINDS {
        if section.has(name) && !kinds.contains(&kind) {
            reading.error(
                &section.key(name),
                format!("a connection of the kind `{kind}` has no `{name}`"),
                format!("remove it: it belongs to {}", quote_all(kinds)),
            );
        }
    }
}

/// A page of a mini program as WeChat's API takes it (getUnlimitedQRCode): no leading slash, no query.
fn parse_page(text: &str) -> Result<String, Fault> {
    if let Some(rest) = text.strip_prefix('/') {
        return Err(Fault::new(
            format!("`{text}` begins with /"),
            format!("write \"{}\"", rest.trim_start_matches('/')),
        ));
    }
    if let Some((page, _)) = text.split_once('?') {
        return Err(Fault::new(
            format!("`{text}` has a query"),
            format!("write \"{page}\": the scene is added by the gateway"),
        ));
    }
    if let Some(page) = text.strip_suffix(".html") {
        return Err(Fault::new(
            format!("`{text}` is a file"),
            format!("write \"{page}\", as in app.json"),
        ));
    }
    let good = (1..=128).contains(&text.len())
        && !text.ends_with('/')
        && !text.contains("//")
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"/_-.".contains(&byte));
    if good {
        Ok(text.to_owned())
    } else {
        Err(Fault::new(
            format!("`{text}` is not a page"),
            "write it as in app.json, for example \"pages/login/login\"",
        ))
    }
}

/// The prefix of ordinary link codes that WeChat knows: it ends in `/` so that what follows is a child path.
fn parse_link_prefix(text: &str) -> Result<Url, Fault> {
    let url = parse_http_url(text)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Fault::new(
            format!("`{text}` has a query or a fragment"),
            "write scheme, host and a path that ends in /",
        ));
    }
    if !url.path().ends_with('/') {
        return Err(Fault::new(
            format!("`{text}` does not end in /"),
            format!("write \"{text}/\", here and in WeChat's console"),
        ));
    }
    if url.path() == "/" {
        return Err(Fault::new(
            format!("`{text}` has no path"),
            format!(
                "write \"{}m/\": the root of the host is needed for the rest",
                url.as_str()
            ),
        ));
    }
    parse_path(url.path())?;
    Ok(url)
}

fn parse_callback_url(text: &str) -> Result<String, Fault> {
    if text.starts_with('/') {
        let path = text.split(['?', '#']).next().unwrap_or_default();
        // `//host` and `/\host` are other hosts to a browser.
        if text.starts_with("//") || text.contains('\\') || text.chars().any(char::is_control) {
            return Err(Fault::new(
                format!("`{text}` leads to another host"),
                "write a path with one / in front",
            ));
        }
        if path == "/.menshen" || path.starts_with("/.menshen/") {
            return Err(Fault::new(
                format!("`{text}` is the gateway's own"),
                "write a path of the application",
            ));
        }
        return Ok(text.to_owned());
    }
    let url = parse_http_url(text).map_err(|fault| {
        if text.contains("://") {
            fault
        } else {
            Fault::new(format!("`{text}` does not begin with /"), format!("write \"/{text}\""))
        }
    })?;
    if url.path() == "/.menshen" || url.path().starts_with("/.menshen/") {
        return Err(Fault::new(
            format!("`{text}` is the gateway's own"),
            "write an address of the application",
        ));
    }
    Ok(url.to_string())
}

/// WeChat cuts texts of more than 2,048 bytes off, and the link has to fit as well.
fn parse_greeting(text: &str) -> Result<String, Fault> {
    if text.len() > LONGEST_GREETING {
        return Err(Fault::new(
            format!("the greeting has {} bytes, and {LONGEST_GREETING} fit", text.len()),
            "write less: the message also says what is asked, and has the link",
        ));
    }
    Ok(text.to_owned())
}

const LONGEST_GREETING: usize = 1_000;

fn parse_original_id(text: &str) -> Result<String, Fault> {
    if text
        .strip_prefix("gh_")
        .is_some_and(|rest| !rest.is_empty() && rest.len() <= 32 && is_token(rest))
    {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("`{text}` is not an original id"),
        "write the id that begins with gh_, from the mini program's basic settings; the AppID is another thing",
    ))
}

const KINDS: [&str; 5] = [
    "miniprogram-qr",
    "miniprogram-launch",
    "website-qr",
    "official-account-qr",
    "official-account-web",
];

/// Keys that only some kinds have.
const KEYS_OF_KINDS: [(&str, &[&str]); 17] = [
    ("page", &["miniprogram-qr", "miniprogram-launch"]),
    ("env_version", &["miniprogram-qr", "miniprogram-launch"]),
    ("qr", &["miniprogram-qr"]),
    ("link_prefix", &["miniprogram-qr"]),
    ("mobile", &["miniprogram-qr"]),
    ("original_id", &["miniprogram-launch"]),
    ("app_ids", &["miniprogram-launch"]),
    ("embedded", &["website-qr"]),
    ("scope", &["official-account-web"]),
    ("token", &["official-account-qr"]),
    ("encoding_aes_key", &["official-account-qr"]),
    ("push_mode", &["official-account-qr"]),
    ("relay_url", &["official-account-qr"]),
    ("relay_token", &["official-account-qr"]),
    ("relay_encoding_aes_key", &["official-account-qr"]),
    ("verify_opener", &["official-account-qr"]),
    ("greeting", &["official-account-qr"]),
];
