//! A sandbox on a port of its own, and the calls that a test makes to it.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::super::{App, AppId, AppKind, Quirks, Sandbox, SandboxConfig, serve};

pub(super) const APP: &str = "wxsandbox0000000001";
pub(super) const OTHER: &str = "wxsandbox0000000002";
pub(super) const SERVICE: &str = "wxsandbox0000000003";

pub(super) struct Server {
    pub(super) sandbox: Sandbox,
    pub(super) base: String,
    pub(super) http: reqwest::Client,
    pub(super) stop: Option<oneshot::Sender<()>>,
    pub(super) ended: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
}

/// An answer, read.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

impl Server {
    /// The default mini program, another one bound to an Open Platform account, and a service account.
    pub(super) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut Quirks)) -> Self {
        Self::of(|config| change(&mut config.quirks)).await
    }

    pub(super) async fn of(change: impl FnOnce(&mut SandboxConfig)) -> Self {
        let mut config = SandboxConfig::default();
        let mut other = App::mini_program(AppId::new(OTHER).unwrap());
        other.open_platform = Some("corp".to_owned());
        let service = App {
            kind: AppKind::ServiceAccount,
            ..App::mini_program(AppId::new(SERVICE).unwrap())
        };
        config.apps.extend([other, service]);
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let sandbox = Sandbox::new(config);
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(serve(listener, sandbox.clone(), async {
            let _ = stopped.await;
        }));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self {
            sandbox,
            base,
            http,
            stop: Some(stop),
            ended: Some(ended),
        }
    }

    pub(super) fn secret(&self, app: &str) -> String {
        let apps = self.sandbox.apps();
        let app = apps.iter().find(|known| known.app_id.as_str() == app).unwrap();
        app.secret.expose_secret().to_owned()
    }

    pub(super) fn advance(&self, seconds: u64) {
        self.sandbox.advance(Duration::from_secs(seconds));
    }

    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Reply {
        Reply::read(
            self.http
                .get(format!("{}{path}", self.base))
                .query(query)
                .send()
                .await
                .unwrap(),
        )
        .await
    }

    pub(super) async fn post(&self, path: &str, query: &[(&str, &str)], body: &Value) -> Reply {
        let request = self.http.post(format!("{}{path}", self.base)).query(query).json(body);
        Reply::read(request.send().await.unwrap()).await
    }

    pub(super) async fn post_raw(&self, path: &str, query: &[(&str, &str)], body: &str) -> Reply {
        let request = self
            .http
            .post(format!("{}{path}", self.base))
            .query(query)
            .body(body.to_owned());
        Reply::read(request.send().await.unwrap()).await
    }

    pub(super) async fn legacy_token(&self, app: &str) -> Reply {
        let secret = self.secret(app);
        self.get(
            "/cgi-bin/token",
            &[("grant_type", "client_credential"), ("appid", app), ("secret", &secret)],
        )
        .await
    }

    pub(super) async fn stable_token(&self, app: &str, force: bool) -> Reply {
        let body = json!({
            "grant_type": "client_credential",
            "appid": app,
            "secret": self.secret(app),
            "force_refresh": force,
        });
        self.post("/cgi-bin/stable_token", &[], &body).await
    }

    pub(super) async fn token(&self, app: &str) -> String {
        self.stable_token(app, false).await.text("access_token")
    }

    pub(super) async fn login(&self, app: &str, code: &str) -> Reply {
        let secret = self.secret(app);
        let query = [
            ("appid", app),
            ("secret", &*secret),
            ("js_code", code),
            ("grant_type", "authorization_code"),
        ];
        self.get("/sns/jscode2session", &query).await
    }

    pub(super) async fn wxacode(&self, body: &Value) -> Reply {
        let token = self.token(APP).await;
        self.post("/wxa/getwxacodeunlimit", &[("access_token", &token)], body)
            .await
    }

    pub(super) async fn phone_number(&self, app: &str, body: &Value) -> Reply {
        let token = self.token(app).await;
        self.post("/wxa/business/getuserphonenumber", &[("access_token", &token)], body)
            .await
    }
}

impl Reply {
    pub(super) async fn read(response: reqwest::Response) -> Self {
        let status = response.status().as_u16();
        let content_type = response.headers().get(CONTENT_TYPE);
        let content_type = content_type
            .map(|value| value.to_str().unwrap().to_owned())
            .unwrap_or_default();
        Self {
            status,
            content_type,
            body: response.bytes().await.unwrap().to_vec(),
        }
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }

    pub(super) fn text(&self, name: &str) -> String {
        self.json()[name]
            .as_str()
            .unwrap_or_else(|| panic!("{}", self.json()))
            .to_owned()
    }

    /// The error code; 0 when there is none. Checks what every error has: status 200 and a trace id.
    pub(super) fn errcode(&self) -> i64 {
        assert_eq!(self.status, 200);
        let Ok(body) = serde_json::from_slice::<Value>(&self.body) else {
            return 0;
        };
        let code = body["errcode"].as_i64().unwrap_or_default();
        if code != 0 {
            assert!(body["errmsg"].as_str().unwrap().contains(" rid: "), "{body}");
        }
        code
    }
}
