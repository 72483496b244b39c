//! Connections among themselves and with the servers that they talk to.

use secrecy::ExposeSecret as _;
use url::Url;

use super::super::connection_tag::connection_tag;
use super::super::host::matches;
use super::super::path::is_of_portal;
use super::super::reading::Reading;
use super::super::settings::{
    Association, Connection, ConnectionKind, EnvVersion, HostPattern, LONGEST_REDIRECT_HOST, OfficialAccountQr,
    PhonePolicy, PushMode, QrKind, Settings,
};
use super::super::values::{is_loopback, is_lower_hex, is_sandbox_app_id};

pub(super) fn check(reading: &mut Reading<'_>, settings: &Settings) {
    check_ids(reading, settings);
    check_same_app(reading, settings);
    check_servers(reading, settings);
    for (index, connection) in settings.connections.iter().enumerate() {
        check_one(reading, settings, index, connection);
    }
    check_link_prefixes(reading, settings);
    check_pushes(reading, settings);
    check_browsers(reading, settings);
}

fn check_ids(reading: &mut Reading<'_>, settings: &Settings) {
    let sound = |reading: &Reading<'_>, index: usize| reading.sound(&format!("connections[{index}].id"));
    for (index, connection) in settings.connections.iter().enumerate() {
        let key = format!("connections[{index}].id");
        if !sound(reading, index) {
            continue;
        }
        let earlier = settings.connections[..index]
            .iter()
            .enumerate()
            .filter(|(other, _)| sound(reading, *other));
        let clash = earlier
            .map(|(_, other)| other)
            .find(|other| connection_tag(&other.id) == connection_tag(&connection.id));
        let Some(other) = clash else { continue };
        if other.id == connection.id {
            reading.error(
                &key,
                format!("the id `{}` stands here twice", connection.id),
                "give each connection an id of its own",
            );
        } else {
            reading.error(
                &key,
                format!(
                    "`{}` and `{}` have the same two-byte tag in the codes that phones scan",
                    connection.id, other.id
                ),
                format!(
                    "change the newer of the two ids, for example to \"{}-2\"; one in use cannot change",
                    connection.id
                ),
            );
        }
    }
}

/// One AppID has one secret and belongs to one Open Platform account, however often it is used.
fn check_same_app(reading: &mut Reading<'_>, settings: &Settings) {
    for (index, connection) in settings.connections.iter().enumerate() {
        let Some((earlier, other)) = settings.connections[..index]
            .iter()
            .enumerate()
            .find(|(_, other)| other.app_id == connection.app_id)
        else {
            continue;
        };
        let sound = |reading: &Reading<'_>, name: &str| {
            [index, earlier].iter().all(|index| {
                reading.sound(&format!("connections[{index}].app_id"))
                    && reading.sound(&format!("connections[{index}].{name}"))
            })
        };
        if sound(reading, "app_secret") && other.app_secret.expose_secret() != connection.app_secret.expose_secret() {
            reading.error(
                &format!("connections[{index}].app_secret"),
                format!(
                    "connections `{}` and `{}` have one AppID and two secrets",
                    other.id, connection.id
                ),
                "write the same secret for both: an AppID has one",
            );
        }
        if sound(reading, "open_platform") && other.open_platform != connection.open_platform {
            reading.error(
                &format!("connections[{index}].open_platform"),
                format!(
                    "connections `{}` and `{}` have one AppID and differ in `open_platform`",
                    other.id, connection.id
                ),
                "write the same for both: an AppID is bound to one Open Platform account",
            );
        }
    }
}

/// Where AppSecrets are sent.
fn check_servers(reading: &mut Reading<'_>, settings: &Settings) {
    let wechat = &settings.wechat;
    let sandbox_only = settings
        .connections
        .iter()
        .all(|connection| is_sandbox_app_id(&connection.app_id));
    for (name, base) in [
        ("api_base", &wechat.api_base),
        ("open_base", &wechat.open_base),
        ("mp_base", &wechat.mp_base),
    ] {
        let key = format!("wechat.{name}");
        if !reading.sound(&key) || is_wechat(base) {
            continue;
        }
        if base.scheme() == "http" && !is_loopback(base) && !sandbox_only {
            reading.error(
                &key,
                format!("`{name}` is http: AppSecrets would travel in the clear"),
                "write https://, or leave the key out",
            );
        } else if !sandbox_only && name == "api_base" {
            reading.warn(
                &key,
                format!(
                    "`{name}` is not WeChat's: AppSecrets are sent to {}",
                    base.host_str().unwrap_or_default()
                ),
                "leave the key out, unless this is a sandbox or a relay of your own",
            );
        }
    }
    if is_wechat(&wechat.api_base) && wechat.api_base.scheme() == "http" {
        reading.error(
            "wechat.api_base",
            "`api_base` is http: AppSecrets would travel in the clear",
            "write https://, or leave the key out",
        );
    }
}

fn check_one(reading: &mut Reading<'_>, settings: &Settings, index: usize, connection: &Connection) {
    let key = |name: &str| format!("connections[{index}].{name}");
    let sandbox_app = is_sandbox_app_id(&connection.app_id);
    if sandbox_app && is_wechat(&settings.wechat.api_base) && reading.sound("wechat.api_base") {
        reading.error(
            &key("app_id"),
            format!(
                "`{}` is an app of the sandbox, and `wechat.api_base` is WeChat's",
                connection.app_id
            ),
            "write the AppID of your mini program, or for `menshen sandbox` api_base = \"http://127.0.0.1:9090\" in \
             [wechat]",
        );
    }
    let secret = connection.app_secret.expose_secret();
    if reading.sound(&key("app_secret")) && !sandbox_app && !(secret.len() == 32 && secret.bytes().all(is_lower_hex)) {
        reading.warn(
            &key("app_secret"),
            "the AppSecret is not 32 of 0-9 and a-f, as WeChat's are",
            "copy it again from the console; `menshen doctor` tries it",
        );
    }
    if connection.association == Association::Field
        && connection.kind.gets_phone()
        && connection.phone == PhonePolicy::Never
        && reading.sound(&key("phone"))
    {
        reading.error(
            &key("association"),
            "`association = \"field\"` needs a verified phone, and this connection never asks for it",
            "write phone = \"required\" or \"optional\"",
        );
    }
    let opened = match &connection.kind {
        ConnectionKind::MiniprogramQr(miniprogram) => Some(miniprogram.env_version),
        ConnectionKind::MiniprogramLaunch(launch) => Some(launch.env_version),
        _ => None,
    };
    if let Some(version) = opened.filter(|version| *version != EnvVersion::Release && !sandbox_app) {
        reading.warn(
            &key("env_version"),
            format!("`{}` opens for testers of the mini program only", version.as_str()),
            "write \"release\" before anybody else is to log in",
        );
    }
    if let ConnectionKind::MiniprogramLaunch(launch) = &connection.kind
        && launch.app_ids.contains(&connection.app_id)
        && reading.sound(&key("app_id"))
    {
        reading.error(
            &key("app_ids"),
            format!("`{}` is the mini program itself", connection.app_id),
            "name the AppIDs of the mobile applications that open it, from the Open Platform's console",
        );
    }
    if connection.kind.is_redirect() {
        check_redirect(reading, settings, index, connection);
    }
    check_callback(reading, settings, &key("callback_url"), &connection.callback_url);
}

/// What WeChat and its `state` demand of the hosts.
fn check_redirect(reading: &mut Reading<'_>, settings: &Settings, index: usize, connection: &Connection) {
    let kind = connection.kind.as_str();
    let public = &settings.server.public_url;
    if public.port().is_some() && !is_sandbox_app_id(&connection.app_id) && reading.sound("server.public_url") {
        reading.warn(
            &format!("connections[{index}].kind"),
            format!("WeChat sends browsers back to addresses without a port, and `public_url` has one ({kind})"),
            "write a `public_url` without a port, and register its host with WeChat as the callback domain",
        );
    }
    for (place, site) in settings.sites.iter().enumerate() {
        let key = format!("sites[{place}].hosts");
        if !site.connections.contains(&index) || !reading.sound(&key) {
            continue;
        }
        let long = site
            .hosts
            .iter()
            .find(|host| matches!(host, HostPattern::Exact(name) if name.len() > LONGEST_REDIRECT_HOST));
        if let Some(HostPattern::Exact(name)) = long {
            reading.error(
                &key,
                format!("`{name}` is longer than {LONGEST_REDIRECT_HOST} characters, which is all that WeChat's `state` leaves"),
                format!("give the site a shorter host, or leave `{}` out of its `connections`", connection.id),
            );
        }
    }
}

/// A callback to another origin must be one that a site names: an open redirect otherwise.
fn check_callback(reading: &mut Reading<'_>, settings: &Settings, key: &str, callback: &str) {
    let Ok(url) = Url::parse(callback) else { return };
    let hosts_sound = (0..settings.sites.len()).all(|index| reading.sound(&format!("sites[{index}].hosts")));
    if !reading.sound(key) || !hosts_sound {
        return;
    }
    let host = url.host_str().unwrap_or_default();
    let named = settings
        .sites
        .iter()
        .flat_map(|site| &site.hosts)
        .any(|pattern| *pattern != HostPattern::Any && matches(pattern, host));
    let public = &settings.server.public_url;
    // The scheme and port that people see are those of public_url.
    let same_door = url.scheme() == public.scheme() && url.port_or_known_default() == public.port_or_known_default();
    if !named {
        reading.error(
            key,
            format!("no site names the host `{host}`"),
            "write a path, or the address of a host that a site names (a bare * names none)",
        );
    } else if reading.sound("server.public_url") && !same_door {
        reading.error(
            key,
            format!("`{callback}` has another scheme or port than `public_url`"),
            format!(
                "write \"{}://{host}…\" with the port of `public_url`, or a path",
                public.scheme()
            ),
        );
    }
}

fn check_link_prefixes(reading: &mut Reading<'_>, settings: &Settings) {
    let mut seen: Vec<(String, String)> = Vec::new();
    for (index, connection) in settings.connections.iter().enumerate() {
        let key = format!("connections[{index}].link_prefix");
        let ConnectionKind::MiniprogramQr(miniprogram) = &connection.kind else {
            continue;
        };
        let prefix = match &miniprogram.qr {
            QrKind::Link { prefix } => prefix,
            QrKind::Wxacode { fallback: Some(prefix) } => prefix,
            QrKind::Wxacode { fallback: None } => continue,
        };
        if !reading.sound(&key) || !reading.written(&key) {
            continue;
        }
        let public = &settings.server.public_url;
        if reading.sound("server.public_url") && prefix.origin() != public.origin() {
            reading.warn(
                &key,
                format!(
                    "`{prefix}` is not below `public_url`: who scans it with another program does not find the gateway"
                ),
                format!(
                    "write \"{}{}\", or have that host send the path here",
                    settings.issuer(),
                    prefix.path()
                ),
            );
        }
        let prefix = prefix.to_string();
        let clash = seen.iter().find(|(other, app)| {
            *app != connection.app_id && (other.starts_with(&prefix) || prefix.starts_with(other.as_str()))
        });
        if clash.is_some() {
            reading.error(
                &key,
                format!(
                    "`{prefix}` lies on or below the prefix of another mini program: WeChat opens one of them for both"
                ),
                "give each mini program a prefix of its own",
            );
        }
        seen.push((prefix, connection.app_id.clone()));
    }
}

/// What WeChat sends to service accounts, and where it goes on.
fn check_pushes(reading: &mut Reading<'_>, settings: &Settings) {
    let account = |connection: &Connection| match &connection.kind {
        ConnectionKind::OfficialAccountQr(account) => Some(account.clone()),
        _ => None,
    };
    for (index, connection) in settings.connections.iter().enumerate() {
        let Some(push) = account(connection) else { continue };
        let key = |name: &str| format!("connections[{index}].{name}");
        let mut earlier = settings.connections[..index].iter();
        let twin = earlier.find(|other| other.app_id == connection.app_id && account(other).is_some());
        if let Some(other) = twin.filter(|_| reading.sound(&key("app_id"))) {
            reading.error(
                &key("app_id"),
                format!(
                    "`{}` and `{}` are one service account, which pushes its messages to one address",
                    other.id, connection.id
                ),
                "use one connection for both, or another account",
            );
        }
        if push.push_mode == PushMode::Plain && reading.sound(&key("push_mode")) {
            reading.warn(
                &key("push_mode"),
                "the signature of a plain message does not cover what it says: who can change one on its way logs in as \
                 anybody",
                "choose the safe mode in the account's server settings, and write push_mode = \"safe\"",
            );
        }
        check_relay_keys(reading, &push, &key);
        if let Some(relay) = push.relay_url.filter(|_| reading.sound(&key("relay_url"))) {
            let public = &settings.server.public_url;
            // A name may end in a dot, and is the same.
            let host = |url: &Url| {
                url.host_str()
                    .map(|host| host.trim_end_matches('.').to_ascii_lowercase())
            };
            let own = host(&relay) == host(public) && is_of_portal(relay.path());
            if own && reading.sound("server.public_url") {
                reading.error(
                    &key("relay_url"),
                    format!("`{relay}` is the gateway's own address: messages would go round in circles"),
                    "write the address of the program that answers the account's other messages, or remove it",
                );
            }
        }
    }
}

/// Whoever knows the account's token and key is WeChat to the gateway.
fn check_relay_keys(reading: &mut Reading<'_>, push: &OfficialAccountQr, key: &dyn Fn(&str) -> String) {
    let of_relay = [
        ("relay_token", &push.relay_token, Some(&push.token)),
        (
            "relay_encoding_aes_key",
            &push.relay_encoding_aes_key,
            push.encoding_aes_key.as_ref(),
        ),
    ];
    for (name, relays, own) in of_relay {
        let Some(relays) = relays.as_ref().filter(|_| reading.sound(&key(name))) else {
            continue;
        };
        if push.relay_url.is_none() && reading.sound(&key("relay_url")) {
            reading.error(
                &key(name),
                format!("`{name}` is of the program behind `relay_url`, and there is none"),
                "add relay_url, or remove it",
            );
        } else if own.is_some_and(|own| own.expose_secret() == relays.expose_secret()) {
            reading.error(
                &key(name),
                format!("`{name}` is the account's own: the program behind `relay_url` could sign in as any follower"),
                "choose another one, and enter it in that program in place of the account's",
            );
        }
    }
    if push.relay_encoding_aes_key.is_some() && push.relay_token.is_none() && reading.sound(&key("relay_token")) {
        reading.error(
            &key("relay_encoding_aes_key"),
            "without `relay_token` messages go on as they came, under the account's own key",
            "add relay_token",
        );
    }
    if push.relay_url.is_some() && push.relay_token.is_none() && reading.sound(&key("relay_token")) {
        reading.warn(
            &key("relay_url"),
            "the program there checks messages with the account's own token and key, and can make some itself: whoever runs \
             it can sign in as any follower of the account",
            "write relay_token and relay_encoding_aes_key, and enter these in that program",
        );
    }
}

/// A site whose only connections are opened by applications has no login for a browser: meant, perhaps, but worth a word.
fn check_browsers(reading: &mut Reading<'_>, settings: &Settings) {
    for (place, site) in settings.sites.iter().enumerate() {
        let mut listed = site
            .connections
            .iter()
            .filter_map(|index| settings.connections.get(*index))
            .peekable();
        let applications_only = listed.peek().is_some()
            && listed.all(|connection| matches!(connection.kind, ConnectionKind::MiniprogramLaunch(_)));
        if applications_only {
            reading.warn(
                &format!("sites[{place}].connections"),
                format!(
                    "browsers cannot sign in to `{}`: only applications open its connections",
                    site.name
                ),
                "add a connection of another kind, unless only applications are to come",
            );
        }
    }
}

/// WeChat's own hosts, regional ones too (`sh.api.weixin.qq.com`).
fn is_wechat(base: &Url) -> bool {
    base.host_str()
        .is_some_and(|host| host == "weixin.qq.com" || host.ends_with(".weixin.qq.com"))
}
