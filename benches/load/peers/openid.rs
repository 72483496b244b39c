//! A minimal OpenID provider, so that `mod_auth_openidc` has a session that was made by a real login: discovery, key set,
//! authorize, token with a signed ID token. Everybody is the same person and is never asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::{Form, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PublicKeyData};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

struct Provider {
    issuer: String,
    key: KeyPair,
    /// Codes that were given out, and the nonce that each stands for.
    codes: Mutex<HashMap<String, Option<String>>>,
}

#[derive(Deserialize)]
struct Authorize {
    client_id: String,
    redirect_uri: String,
    state: String,
    nonce: Option<String>,
}

#[derive(Deserialize)]
struct Exchange {
    code: String,
}

/// Its issuer.
pub async fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address: SocketAddr = listener.local_addr().expect("an address");
    let provider = Arc::new(Provider {
        issuer: format!("http://{address}"),
        key: KeyPair::generate().expect("a key"),
        codes: Mutex::default(),
    });
    let issuer = provider.issuer.clone();
    let router = Router::new()
        .route("/.well-known/openid-configuration", get(discovery))
        .route("/jwks", get(jwks))
        .route("/authorize", get(authorize))
        .route("/token", post(token))
        .with_state(provider);
    tokio::spawn(async move { axum::serve(listener, router).await });
    issuer
}

async fn discovery(State(provider): State<Arc<Provider>>) -> Json<Value> {
    let issuer = &provider.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": ["client_secret_post"],
    }))
}

async fn jwks(State(provider): State<Arc<Provider>>) -> Json<Value> {
    // An uncompressed point: 4, x, y.
    let (x, y) = provider.key.der_bytes()[1..].split_at(32);
    Json(json!({ "keys": [{
        "kty": "EC",
        "crv": "P-256",
        "use": "sig",
        "alg": "ES256",
        "kid": KEY,
        "x": URL_SAFE_NO_PAD.encode(x),
        "y": URL_SAFE_NO_PAD.encode(y),
    }] }))
}

async fn authorize(State(provider): State<Arc<Provider>>, Query(asked): Query<Authorize>) -> Response {
    let (CLIENT, Ok(mut back)) = (asked.client_id.as_str(), Url::parse(&asked.redirect_uri)) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let mut codes = provider.codes.lock().expect("nobody panics");
    let code = format!("code{}", codes.len());
    codes.insert(code.clone(), asked.nonce);
    back.query_pairs_mut()
        .append_pair("code", &code)
        .append_pair("state", &asked.state);
    Redirect::to(back.as_str()).into_response()
}

async fn token(State(provider): State<Arc<Provider>>, Form(asked): Form<Exchange>) -> Response {
    let nonce = provider.codes.lock().expect("nobody panics").remove(&asked.code);
    let Some(nonce) = nonce else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    let claims = json!({
        "iss": provider.issuer,
        "aud": CLIENT,
        "sub": "u_3fd1hysr51h8rw5qgp7qpvchnh",
        "name": "王小明",
        "preferred_username": "wangxiaoming",
        "iat": now,
        "exp": now + LIFETIME,
        "nonce": nonce,
    });
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(KEY.to_owned());
    let pem = provider.key.serialize_pem();
    let key = EncodingKey::from_ec_pem(pem.as_bytes()).expect("a key");
    let id_token = jsonwebtoken::encode(&header, &claims, &key).expect("a token");
    let answer = json!({
        "access_token": "of-nothing",
        "token_type": "Bearer",
        "expires_in": LIFETIME,
        "id_token": id_token,
    });
    Json(answer).into_response()
}

const KEY: &str = "bench";
const LIFETIME: u64 = 24 * 3600;
pub const CLIENT: &str = "bench-client";
