//! How an application verifies the assertion that comes with a request: the signature by the gateway's published keys,
//! then issuer, audience and time.
//!
//! The algorithm is taken from a list of signatures with public keys, never from the token alone: otherwise a token
//! "signed" by HMAC with the public key as its secret would pass (CVE-2016-10555).

use std::time::{Duration, Instant};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use url::Url;

/// Verifies assertions of one gateway for one application.
#[derive(Debug)]
pub(super) struct Verifier {
    key_set: Url,
    issuer: String,
    audience: String,
    http: reqwest::Client,
    keys: Mutex<Option<(JwkSet, Instant)>>,
}

/// An assertion that holds.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: String,
    pub(super) claims: Map<String, Value>,
}

/// Why an assertion proves nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Rejected {
    /// There is none.
    #[error("there is no assertion")]
    Missing,
    /// Not a JWT, or without a key id.
    #[error("it is not a signed token")]
    Malformed,
    /// HMAC, `none`, or something that this application does not know.
    #[error("its algorithm is not accepted")]
    Algorithm,
    /// The key set could not be fetched.
    #[error("the gateway's keys cannot be read")]
    Keys,
    /// No key of the set has this id.
    #[error("its key is not one of the gateway's")]
    UnknownKey,
    /// Signature, issuer, audience or time.
    #[error("{0}")]
    Refused(jsonwebtoken::errors::Error),
}

impl Verifier {
    /// For the gateway at `gateway` (its `public_url`) and the application's `audience`.
    pub(super) fn new(gateway: Url, audience: String) -> Self {
        let issuer = gateway.as_str().trim_end_matches('/').to_owned();
        let mut key_set = gateway;
        key_set.set_path("/.menshen/jwks.json");
        key_set.set_query(None);
        let http = reqwest::Client::builder()
            .timeout(FETCH_TIMEOUT)
            .no_proxy()
            .build()
            .unwrap_or_default();
        Self {
            key_set,
            issuer,
            audience,
            http,
            keys: Mutex::new(None),
        }
    }

    /// Verifies one assertion.
    ///
    /// # Errors
    /// [`Rejected`] with the first reason found.
    pub(super) async fn verify(&self, token: Option<&str>) -> Result<Verified, Rejected> {
        let token = token.ok_or(Rejected::Missing)?;
        let header = decode_header(token).map_err(|_| Rejected::Malformed)?;
        let key_id = header.kid.ok_or(Rejected::Malformed)?;
        if !ACCEPTED.contains(&header.alg) {
            return Err(Rejected::Algorithm);
        }
        let key = self.key(&key_id).await?;
        let mut validation = Validation::new(header.alg);
        validation.set_audience(&[&self.audience]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY;
        let claims = decode::<Map<String, Value>>(token, &key, &validation)
            .map_err(Rejected::Refused)?
            .claims;
        Ok(Verified {
            algorithm: header.alg,
            key_id,
            claims,
        })
    }

    /// The key with this id; a set that does not have it is fetched again, but not for every forged token.
    async fn key(&self, key_id: &str) -> Result<DecodingKey, Rejected> {
        let mut keys = self.keys.lock().await;
        let known = keys.as_ref().is_some_and(|(set, _)| set.find(key_id).is_some());
        let fresh = keys.as_ref().is_some_and(|(_, fetched)| fetched.elapsed() < REFETCH);
        if !known && !fresh {
            *keys = Some((self.fetch().await?, Instant::now()));
        }
        let key = keys
            .as_ref()
            .and_then(|(set, _)| set.find(key_id))
            .ok_or(Rejected::UnknownKey)?;
        DecodingKey::from_jwk(key).map_err(|_| Rejected::Keys)
    }

    async fn fetch(&self) -> Result<JwkSet, Rejected> {
        let answer = self
            .http
            .get(self.key_set.clone())
            .send()
            .await
            .and_then(reqwest::Response::error_for_status);
        answer
            .map_err(|_| Rejected::Keys)?
            .json()
            .await
            .map_err(|_| Rejected::Keys)
    }
}

const ACCEPTED: [Algorithm; 3] = [Algorithm::ES256, Algorithm::EdDSA, Algorithm::RS256];
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const REFETCH: Duration = Duration::from_secs(5);
/// Seconds by which the two clocks may differ.
const LEEWAY: u64 = 5;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use axum::routing::get;
    use axum::{Json, Router};
    use jsonwebtoken::jwk::Jwk;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    use super::*;

    struct Signer(EncodingKey);

    impl Signer {
        fn new() -> Self {
            use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
            Self(EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref()))
        }

        fn key_set(&self, id: &str) -> Value {
            let mut key = serde_json::to_value(Jwk::from_encoding_key(&self.0, Algorithm::ES256).unwrap()).unwrap();
            key["kid"] = Value::from(id);
            json!({ "keys": [key] })
        }

        fn sign(&self, id: &str, claims: &Value) -> String {
            let header = Header {
                kid: Some(id.to_owned()),
                ..Header::new(Algorithm::ES256)
            };
            encode(&header, claims, &self.0).unwrap()
        }
    }

    async fn verifier(key_set: Value) -> Verifier {
        let router = Router::new().route("/.menshen/jwks.json", get(move || async move { Json(key_set) }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Verifier::new(gateway, "wiki.example.com".to_owned())
    }

    fn claims(verifier: &Verifier) -> Value {
        let now = jsonwebtoken::get_current_timestamp();
        json!({ "iss": verifier.issuer, "aud": "wiki.example.com", "sub": "u_1", "iat": now, "nbf": now - 30, "exp": now + 300 })
    }

    fn changed(mut claims: Value, name: &str, value: Value) -> Value {
        claims[name] = value;
        claims
    }

    #[tokio::test]
    async fn a_good_assertion_gives_its_claims() {
        let signer = Signer::new();
        let verifier = verifier(signer.key_set("k1")).await;
        let token = signer.sign("k1", &claims(&verifier));
        let verified = verifier.verify(Some(&token)).await.unwrap();
        assert_eq!((verified.key_id.as_str(), verified.algorithm), ("k1", Algorithm::ES256));
        assert_eq!(verified.claims["sub"], "u_1");
    }

    #[tokio::test]
    async fn an_assertion_for_somebody_else_or_another_time_is_refused() {
        let signer = Signer::new();
        let verifier = verifier(signer.key_set("k1")).await;
        let now = jsonwebtoken::get_current_timestamp();
        for (name, value) in [
            ("aud", json!("other.example.com")),
            ("iss", json!("https://evil.example.com")),
            ("exp", json!(now - 60)),
            ("nbf", json!(now + 60)),
            ("sub", Value::Null),
        ] {
            let token = signer.sign("k1", &changed(claims(&verifier), name, value));
            assert!(
                matches!(verifier.verify(Some(&token)).await, Err(Rejected::Refused(_))),
                "{name}"
            );
        }
    }

    #[tokio::test]
    async fn a_signature_that_is_not_the_gateways_is_refused() {
        let signer = Signer::new();
        let verifier = verifier(signer.key_set("k1")).await;
        let claims = claims(&verifier);
        let forged = Signer::new().sign("k1", &claims);
        assert!(matches!(
            verifier.verify(Some(&forged)).await,
            Err(Rejected::Refused(_))
        ));
        let unknown = signer.sign("k2", &claims);
        assert!(matches!(
            verifier.verify(Some(&unknown)).await,
            Err(Rejected::UnknownKey)
        ));
        let public = signer.key_set("k1")["keys"][0]["x"].to_string();
        let header = Header {
            kid: Some("k1".to_owned()),
            ..Header::new(Algorithm::HS256)
        };
        let hmac = encode(&header, &claims, &EncodingKey::from_secret(public.as_bytes())).unwrap();
        assert!(matches!(verifier.verify(Some(&hmac)).await, Err(Rejected::Algorithm)));
        assert!(matches!(verifier.verify(Some("x.y.z")).await, Err(Rejected::Malformed)));
        assert!(matches!(verifier.verify(None).await, Err(Rejected::Missing)));
    }

    #[tokio::test]
    async fn without_the_keys_nothing_is_believed() {
        let signer = Signer::new();
        let nowhere = Url::parse("http://127.0.0.1:9/").unwrap();
        let verifier = Verifier::new(nowhere, "wiki.example.com".to_owned());
        let token = signer.sign("k1", &claims(&verifier));
        assert!(matches!(verifier.verify(Some(&token)).await, Err(Rejected::Keys)));
    }
}
