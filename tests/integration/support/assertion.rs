//! Verifying an assertion as an application does it: by the published keys, nothing else.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;

/// Header and claims of a token that verifies; the times are held against `now`.
#[track_caller]
pub fn verify(token: &str, keys: &Value, issuer: &str, audience: &str, now: i64) -> (Value, Value) {
    let keys: JwkSet = serde_json::from_value(keys.clone()).expect("a key set");
    let header = jsonwebtoken::decode_header(token).expect("a header");
    let key = keys
        .find(header.kid.as_deref().expect("a kid"))
        .expect("its key is published");
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[audience]);
    // The world's clock decides, not the machine's.
    (validation.validate_exp, validation.validate_nbf) = (false, false);
    let key = DecodingKey::from_jwk(key).expect("a public key");
    let claims = jsonwebtoken::decode::<Value>(token, &key, &validation)
        .expect("it verifies")
        .claims;
    let time = |name: &str| claims[name].as_i64().unwrap_or_else(|| panic!("no {name}: {claims}"));
    assert!(time("nbf") <= now && now < time("exp"), "{claims} at {now}");
    assert_eq!(time("nbf"), time("iat") - 30);
    (serde_json::to_value(header).expect("a header"), claims)
}
