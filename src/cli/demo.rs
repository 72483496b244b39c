//! `menshen demo`: the main job on one machine, without a configuration.
//!
//! Gateway, WeChat stand-in and a small old application run in one process and talk to each other over HTTP like
//! strangers. State lives in a directory that ends with the process.

use std::io::{IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use secrecy::ExposeSecret;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use url::Url;

use crate::cli::{DONE, FAILED, asked_to_stop, complain};
use crate::config::settings::{Log, LogFormat, Settings};
use crate::config::{System, parse};
use crate::proxy::gateway::{Doors, Gateway, StartError};
use crate::sandbox::{self, APPLICATION_APP, AppKind, Sandbox, SandboxConfig, demo_app};
use crate::store::{NewUser, Store, StoreError};
use crate::telemetry::clock::Clock;
use crate::telemetry::logs;

/// Why the demo does not run.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("cannot listen: {0}; name another address with --listen")]
    Listen(#[from] std::io::Error),
    #[error("{0} Or name another one with --listen.")]
    Doors(#[source] StartError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the demo's own configuration is wrong:\n{0}")]
    Configuration(String),
    #[error("{0} is no address")]
    Address(String),
}

/// Serves until a signal; the exit code.
pub(super) fn run(listen: SocketAddr, out: &mut (impl Write + IsTerminal)) -> u8 {
    let level = std::env::var("MENSHEN_LOG").unwrap_or_else(|_| "warn".to_owned());
    if let Err(error) = logs::start(&Log {
        format: LogFormat::Text,
        level,
    }) {
        complain(&error.to_string());
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&error.to_string());
            return FAILED;
        }
    };
    match runtime.block_on(serve(listen, out)) {
        Ok(()) => DONE,
        Err(error) => {
            complain(&error.to_string());
            FAILED
        }
    }
}

async fn serve(listen: SocketAddr, out: &mut (impl Write + IsTerminal)) -> Result<(), DemoError> {
    let directory = tempfile::Builder::new().prefix("menshen-demo-").tempdir()?;
    let wechat = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let application = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let mut config = SandboxConfig::default();
    for app in &mut config.apps {
        // One Open Platform account: a person is the same whichever way they come.
        app.open_platform = Some(OPEN_PLATFORM.to_owned());
    }
    let people = people(&config);
    let sandbox = Sandbox::new(config);

    let mut settings = settings(
        listen,
        &sandbox,
        wechat.local_addr()?,
        application.local_addr()?,
        directory.path(),
    )?;
    let doors = Doors::open(&settings).map_err(DemoError::Doors)?;
    let bound = doors.addresses().first().copied().unwrap_or(listen);
    let gateway_url = url(reachable(bound))?;
    settings.server.public_url = gateway_url.clone();
    employ(&settings, people).await?;
    sandbox.set_gateway_url(gateway_url.clone());
    sandbox.set_base_url(url(wechat.local_addr()?)?);

    let (stop_wechat, wechat_stops) = oneshot::channel::<()>();
    let stand_in = tokio::spawn(sandbox::serve(wechat, sandbox, async {
        let _ = wechat_stops.await;
    }));
    let app = demo_app(gateway_url.clone(), AUDIENCE.to_owned());
    let application = tokio::spawn(async move { axum::serve(application, app).await });
    let gateway = Gateway::start_at(doors, settings, Clock::default()).await?;
    announce(out, &gateway_url)?;

    asked_to_stop().await;
    gateway.stop().await;
    // Whoever has ended already needs no word.
    let _ = stop_wechat.send(());
    let _ = stand_in.await;
    application.abort();
    Ok(())
}

/// The settings of a stranger's first minute, read like every operator's.
fn settings(
    listen: SocketAddr,
    sandbox: &Sandbox,
    wechat: SocketAddr,
    application: SocketAddr,
    directory: &Path,
) -> Result<Settings, DemoError> {
    let find = |kind| {
        let app = sandbox.apps().into_iter().find(|app| app.kind == kind);
        app.ok_or_else(|| DemoError::Configuration("the sandbox lacks an app".to_owned()))
    };
    let (app, website, service) = (
        find(AppKind::MiniProgram)?,
        find(AppKind::Website)?,
        find(AppKind::ServiceAccount)?,
    );
    let push = service.push.clone();
    let push = push.ok_or_else(|| DemoError::Configuration("the service account has no server".to_owned()))?;
    let text = format!(
        r#"
[server]
listen = ["{listen}"]
admin_listen = "off"
public_url = "http://{}"
data_dir = {data_dir:?}
grace_period = "2s"

[branding]
title = "Menshen"

[wechat]
api_base = "http://{wechat}"
open_base = "http://{wechat}"
mp_base = "http://{wechat}"

[[connections]]
id = "demo"
kind = "miniprogram-qr"
display_name = "门神 Menshen"
app_id = "{app_id}"
app_secret = "{secret}"
open_platform = "{OPEN_PLATFORM}"
phone = "optional"
association = "field"
match_fields = ["phone"]
mobile = "url_link"

[[connections]]
id = "app"
kind = "miniprogram-launch"
display_name = "门神 Menshen"
app_id = "{app_id}"
app_secret = "{secret}"
open_platform = "{OPEN_PLATFORM}"
phone = "optional"
association = "field"
match_fields = ["phone"]
original_id = "{original_id}"
app_ids = ["{APPLICATION_APP}"]

[[connections]]
id = "website"
kind = "website-qr"
display_name = "网站应用 Website"
app_id = "{website_id}"
app_secret = "{website_secret}"
open_platform = "{OPEN_PLATFORM}"

[[connections]]
id = "in-wechat"
kind = "official-account-web"
display_name = "微信内 In WeChat"
app_id = "{service_id}"
app_secret = "{service_secret}"
open_platform = "{OPEN_PLATFORM}"
scope = "snsapi_userinfo"

[[connections]]
id = "follow"
kind = "official-account-qr"
display_name = "服务号 Service account"
app_id = "{service_id}"
app_secret = "{service_secret}"
open_platform = "{OPEN_PLATFORM}"
token = "{token}"
encoding_aes_key = "{aes_key}"

[[sites]]
name = "库存管理系统 Stock"
hosts = ["*"]
audience = "{AUDIENCE}"
upstreams = ["http://{application}"]
app_cookies = ["legacy"]

[[sites.routes]]
path = "/public/"
access = "public"
"#,
        reachable(listen),
        data_dir = directory.display().to_string(),
        app_id = app.app_id.as_str(),
        original_id = app.original_id(),
        secret = app.secret.expose_secret(),
        website_id = website.app_id.as_str(),
        website_secret = website.secret.expose_secret(),
        service_id = service.app_id.as_str(),
        service_secret = service.secret.expose_secret(),
        token = push.token,
        aes_key = push.encoding_aes_key,
    );
    match parse(&directory.join("demo.toml"), &text, &System) {
        Ok(loaded) => Ok(loaded.settings),
        Err(mistakes) => {
            let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            Err(DemoError::Configuration(lines.join("\n")))
        }
    }
}

/// The old application's staff, as an operator would have imported them: found by their phone number at the first scan.
fn people(config: &SandboxConfig) -> Vec<NewUser> {
    let now = Clock::default().now();
    let staff = |(place, persona): (usize, &sandbox::Persona)| {
        Some(NewUser {
            id: crate::accounts::new_user_id().ok()?,
            username: Some(persona.id.clone()),
            name: Some(persona.name.zh.clone()),
            picture: None,
            phone: Some(persona.phone.e164()),
            email: Some(format!("{}@example.com", persona.id)),
            groups: if place == 0 {
                vec!["staff".to_owned(), "ops".to_owned()]
            } else {
                vec!["staff".to_owned()]
            },
            attributes: serde_json::Map::new(),
            created_at: now,
            ..NewUser::default()
        })
    };
    config.personas.iter().enumerate().filter_map(staff).collect()
}

async fn employ(settings: &Settings, people: Vec<NewUser>) -> Result<(), DemoError> {
    let store = Store::open(&settings.store.url).await?;
    for person in &people {
        store.insert_user(person).await?;
    }
    store.close().await;
    Ok(())
}

/// An address that a browser on this machine can open.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port())
    } else {
        address
    }
}

fn url(address: SocketAddr) -> Result<Url, DemoError> {
    let text = format!("http://{address}");
    Url::parse(&text).map_err(|_| DemoError::Address(text))
}

fn announce(out: &mut (impl Write + IsTerminal), gateway: &Url) -> std::io::Result<()> {
    let address = gateway.as_str().trim_end_matches('/');
    let (bold, plain) = if out.is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        ("\x1b[1m", "\x1b[0m")
    } else {
        ("", "")
    };
    writeln!(
        out,
        "\n  门神 Menshen is guarding a small old application.\n\n  \
         Open     {bold}{address}/{plain}\n  \
         Then     press \"use a simulated phone\" under the code, choose a person, tap the number.\n\n  \
         打开     {bold}{address}/{plain}\n  \
         然后     点击二维码下方的“使用模拟手机”，选择人物，点选数字。\n\n  \
         Nothing here talks to WeChat; everything ends with Ctrl+C.\n"
    )?;
    out.flush()
}

/// The Open Platform account of all the apps.
const OPEN_PLATFORM: &str = "demo";
const AUDIENCE: &str = "demo";
