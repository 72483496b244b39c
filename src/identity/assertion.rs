//! The signed assertion that an upstream receives, and the keys that sign it.
//!
//! Signing costs some twenty microseconds and a parse of the key, so it is done once per session and site and again
//! when half of its life is over, never per request. Every site has an audience of its own: an assertion that one
//! application received is worth nothing at another ("ALBeast"), and it is never accepted back as a credential.

use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{EncodingKey, Header};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::config::settings::Algorithm;
use crate::identity::person::{Authentication, Person};

/// The signing keys of this installation, newest last. Replaced as a whole when keys are read again.
#[derive(Debug)]
pub struct SigningKeys {
    keys: ArcSwap<Vec<SigningKey>>,
}

/// One asymmetric key with its public half.
#[derive(Clone)]
pub struct SigningKey {
    algorithm: Algorithm,
    active_from: i64,
    encoding: EncodingKey,
    public: Jwk,
    kid: String,
    /// Header of its assertions, encoded.
    head: Arc<str>,
}

/// What one assertion says besides the person.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// `public_url` without a trailing slash.
    pub issuer: &'a str,
    /// The site's audience.
    pub audience: &'a str,
    /// Session id as upstreams see it.
    pub sid: &'a str,
    /// Phone number in the claims.
    pub expose_phone: bool,
    /// openid and unionid in the claims.
    pub expose_wechat_ids: bool,
    /// Life in seconds.
    pub ttl: i64,
}

/// A signed assertion without what can be said again: an eighth of its text.
#[derive(Debug, Clone)]
pub struct Assertion {
    /// Header, encoded: the same for all of one key.
    head: Arc<str>,
    issue: Issue,
    /// Encoded.
    signature: Box<str>,
}

/// What makes one assertion another than the next about the same.
#[derive(Debug, Clone, Copy)]
struct Issue {
    /// Unix seconds.
    at: i64,
    /// 128 random bits.
    id: Option<[u8; 16]>,
}

/// Who signs for a site.
#[derive(Debug, Clone)]
pub enum Signer {
    /// The installation's key of this algorithm.
    Installation(Algorithm),
    /// The secret that the site's application shares.
    Shared(SecretString),
}

/// A key could not be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// No key of the algorithm is active.
    #[error("no {0:?} signing key is active")]
    NoKey(Algorithm),
    /// The stored bytes are no key of this algorithm, or the cipher library failed.
    #[error("the {0:?} signing key cannot be used")]
    BadKey(Algorithm),
    /// The token library failed.
    #[error("the assertion could not be signed")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl SigningKeys {
    /// Keys, sorted by the time from which they sign.
    pub fn new(keys: Vec<SigningKey>) -> Self {
        let signing = Self {
            keys: ArcSwap::default(),
        };
        signing.replace(keys);
        signing
    }

    /// Takes new keys into use at once.
    pub fn replace(&self, mut keys: Vec<SigningKey>) {
        keys.sort_by_key(|key| key.active_from);
        self.keys.store(Arc::new(keys));
    }

    /// The public halves of all keys, also of those that do not sign yet or no more: RFC 7517.
    pub fn jwks(&self) -> JwkSet {
        JwkSet {
            keys: self.keys.load().iter().map(|key| key.public.clone()).collect(),
        }
    }

    /// Signs an assertion about `person`; its text comes with it.
    ///
    /// # Errors
    /// When no key of the wanted algorithm is active at `now` (Unix seconds), or signing fails.
    pub fn sign(
        &self,
        signer: &Signer,
        person: &Person,
        authentication: &Authentication,
        context: &Context<'_>,
        now: i64,
    ) -> Result<(Assertion, String), SigningError> {
        let issue = Issue {
            at: now,
            id: random_id(),
        };
        let claims = Claims::new(person, authentication, context, issue);
        let sign = |head: Arc<str>, key: &EncodingKey, algorithm: Algorithm| {
            let mut text = unsigned(&head, &claims)?;
            let signature = jsonwebtoken::crypto::sign(text.as_bytes(), key, jwt_algorithm(algorithm));
            let signature = signature.map_err(SigningError::Sign)?.into_boxed_str();
            text.push('.');
            text.push_str(&signature);
            Ok((Assertion { head, issue, signature }, text))
        };
        match signer {
            Signer::Shared(secret) => {
                let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
                sign(encoded_head(Algorithm::Hs256, None)?, &key, Algorithm::Hs256)
            }
            Signer::Installation(algorithm) => {
                let keys = self.keys.load();
                let key = keys
                    .iter()
                    .rev()
                    .find(|key| key.algorithm == *algorithm && key.active_from <= now)
                    .ok_or(SigningError::NoKey(*algorithm))?;
                sign(Arc::clone(&key.head), &key.encoding, *algorithm)
            }
        }
    }
}

impl Assertion {
    /// When it was signed, in Unix seconds.
    pub fn issued_at(&self) -> i64 {
        self.issue.at
    }

    /// Its text once more. Everything has to be as it was when it was signed, or the signature is another text's.
    ///
    /// # Errors
    /// None that signing did not have.
    pub fn text(
        &self,
        person: &Person,
        authentication: &Authentication,
        context: &Context<'_>,
    ) -> Result<String, SigningError> {
        let mut text = unsigned(&self.head, &Claims::new(person, authentication, context, self.issue))?;
        text.push('.');
        text.push_str(&self.signature);
        Ok(text)
    }
}

impl SigningKey {
    /// A new private key as PKCS#8, to be wrapped and stored.
    ///
    /// # Errors
    /// [`SigningError::BadKey`] when the system has no randomness, and for HS256, which has no key pair.
    pub fn generate(algorithm: Algorithm) -> Result<Zeroizing<Vec<u8>>, SigningError> {
        let random = SystemRandom::new();
        let bad = |_| SigningError::BadKey(algorithm);
        let der = match algorithm {
            Algorithm::Es256 => {
                let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).map_err(bad)?;
                document.as_ref().to_vec()
            }
            Algorithm::EdDsa => Ed25519KeyPair::generate_pkcs8v1(&random)
                .map_err(bad)?
                .as_ref()
                .to_vec(),
            Algorithm::Rs256 => {
                use aws_lc_rs::encoding::AsDer;
                let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).map_err(bad)?;
                let der: aws_lc_rs::encoding::Pkcs8V1Der<'_> = pair.as_der().map_err(bad)?;
                der.as_ref().to_vec()
            }
            Algorithm::Hs256 => return Err(SigningError::BadKey(algorithm)),
        };
        Ok(Zeroizing::new(der))
    }

    /// What the key set and every assertion call it.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// A key from its PKCS#8 bytes, signing from `active_from` (Unix seconds) on. The `kid` is the RFC 7638 thumbprint.
    ///
    /// # Errors
    /// [`SigningError::BadKey`] for bytes that are no key of the algorithm.
    pub fn new(algorithm: Algorithm, active_from: i64, pkcs8: &[u8]) -> Result<Self, SigningError> {
        let bad = |_| SigningError::BadKey(algorithm);
        let pem = Zeroizing::new(pem_of(pkcs8));
        let encoding = match algorithm {
            Algorithm::Es256 => EncodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDsa => EncodingKey::from_ed_pem(pem.as_bytes()),
            Algorithm::Rs256 => EncodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::Hs256 => return Err(SigningError::BadKey(algorithm)),
        }
        .map_err(bad)?;
        let mut public = Jwk::from_encoding_key(&encoding, jwt_algorithm(algorithm)).map_err(bad)?;
        let kid = public.thumbprint(ThumbprintHash::SHA256).map_err(bad)?;
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        public.common.key_id = Some(kid.clone());
        let head = encoded_head(algorithm, Some(kid.clone()))?;
        Ok(Self {
            head,
            algorithm,
            active_from,
            encoding,
            public,
            kid,
        })
    }
}

/// The claims in the order of the contract; an absent value is an absent claim.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: String,
    sid: &'a str,
    auth_time: i64,
    amr: [&'static str; 1],
    #[serde(skip_serializing_if = "str::is_empty")]
    connection: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    preferred_username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    picture: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_number: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_number_verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    groups: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    wechat: Option<WechatIds<'a>>,
}

#[derive(Serialize)]
struct WechatIds<'a> {
    appid: &'a str,
    openid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    unionid: Option<&'a str>,
}

impl<'a> Claims<'a> {
    fn new(person: &'a Person, authentication: &'a Authentication, context: &Context<'a>, issue: Issue) -> Self {
        let phone = person.phone.as_deref().filter(|_| context.expose_phone);
        Self {
            iss: context.issuer,
            aud: context.audience,
            sub: &person.id,
            iat: issue.at,
            nbf: issue.at - NOT_BEFORE,
            exp: issue.at + context.ttl,
            // Without randomness the empty text, which says that it is no identifier.
            jti: issue.id.map(|id| URL_SAFE_NO_PAD.encode(id)).unwrap_or_default(),
            sid: context.sid,
            auth_time: authentication.time,
            amr: [authentication.method.as_str()],
            connection: &authentication.connection,
            preferred_username: person.username.as_deref(),
            name: person.name.as_deref(),
            picture: person.picture.as_deref(),
            phone_number: phone,
            phone_number_verified: phone.map(|_| true),
            email: person.email.as_deref(),
            groups: &person.groups,
            // A token has no WeChat account of its own.
            wechat: (context.expose_wechat_ids && !authentication.openid.is_empty()).then_some(WechatIds {
                appid: &authentication.app_id,
                openid: &authentication.openid,
                unionid: authentication.unionid.as_deref(),
            }),
        }
    }
}

fn jwt_algorithm(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::Hs256 => jsonwebtoken::Algorithm::HS256,
    }
}

/// jsonwebtoken takes each key family's DER in another form, and PEM in one.
fn pem_of(pkcs8: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(pkcs8);
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}

fn encoded_head(algorithm: Algorithm, kid: Option<String>) -> Result<Arc<str>, SigningError> {
    let mut header = Header::new(jwt_algorithm(algorithm));
    header.kid = kid;
    let json = serde_json::to_vec(&header).map_err(|error| SigningError::Sign(error.into()))?;
    Ok(URL_SAFE_NO_PAD.encode(json).into())
}

/// What is signed: RFC 7515 §5.1.
fn unsigned(head: &str, claims: &Claims<'_>) -> Result<String, SigningError> {
    let json = serde_json::to_vec(claims).map_err(|error| SigningError::Sign(error.into()))?;
    let mut text = String::with_capacity(head.len() + json.len() * 4 / 3 + ROOM_FOR_SIGNATURE);
    text.push_str(head);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(json, &mut text);
    Ok(text)
}

fn random_id() -> Option<[u8; 16]> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new().fill(&mut bytes).ok().map(|()| bytes)
}

/// Clocks of upstreams may be behind by this much.
const NOT_BEFORE: i64 = 30;
/// Two points and 64 bytes, encoded; RSA's grows.
const ROOM_FOR_SIGNATURE: usize = 90;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use jsonwebtoken::{DecodingKey, Validation};
    use serde_json::{Value, json};

    use super::*;
    use crate::identity::person::Method;

    fn person() -> Person {
        Person {
            id: "u_1".into(),
            username: Some("wang".into()),
            name: Some("王小明".into()),
            phone: Some("+8613800000000".into()),
            groups: vec!["ops".into()],
            ..Person::default()
        }
    }

    fn authentication() -> Authentication {
        Authentication {
            connection: "staff".into(),
            method: Method::MiniProgram,
            time: 90,
            app_id: "wx1".into(),
            openid: "o1".into(),
            unionid: None,
        }
    }

    fn context() -> Context<'static> {
        Context {
            issuer: "https://login.example",
            audience: "wiki.example",
            sid: "s1",
            expose_phone: true,
            expose_wechat_ids: false,
            ttl: 300,
        }
    }

    fn verify(token: &str, key: &DecodingKey, algorithm: jsonwebtoken::Algorithm) -> Value {
        let mut validation = Validation::new(algorithm);
        validation.set_audience(&["wiki.example"]);
        validation.set_issuer(&["https://login.example"]);
        validation.validate_exp = false;
        jsonwebtoken::decode::<Value>(token, key, &validation).unwrap().claims
    }

    #[test]
    fn every_algorithm_verifies_by_its_published_key() {
        for algorithm in [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256] {
            let key = SigningKey::new(algorithm, 0, &SigningKey::generate(algorithm).unwrap()).unwrap();
            let keys = SigningKeys::new(vec![key]);
            let token = keys
                .sign(
                    &Signer::Installation(algorithm),
                    &person(),
                    &authentication(),
                    &context(),
                    100,
                )
                .unwrap()
                .1;
            let header = jsonwebtoken::decode_header(&token).unwrap();
            let jwks = keys.jwks();
            let jwk = jwks.find(header.kid.as_deref().unwrap()).unwrap();
            assert_eq!(header.typ.as_deref(), Some("JWT"));
            let claims = verify(&token, &DecodingKey::from_jwk(jwk).unwrap(), jwt_algorithm(algorithm));
            assert_eq!(claims["sub"], "u_1");
        }
    }

    #[test]
    fn claims_are_those_of_the_contract() {
        let signer = Signer::Shared("0123456789abcdef0123456789abcdef".to_owned().into());
        let token = SigningKeys::new(vec![])
            .sign(&signer, &person(), &authentication(), &context(), 100)
            .unwrap()
            .1;
        let key = DecodingKey::from_secret(b"0123456789abcdef0123456789abcdef");
        let mut claims = verify(&token, &key, jsonwebtoken::Algorithm::HS256);
        assert_eq!(claims["jti"].as_str().unwrap().len(), 22);
        claims["jti"] = json!("…");
        insta::assert_json_snapshot!(claims);
    }

    #[test]
    fn ids_and_phone_are_exposed_only_where_the_site_says_so() {
        let signer = Signer::Shared("0123456789abcdef0123456789abcdef".to_owned().into());
        let key = DecodingKey::from_secret(b"0123456789abcdef0123456789abcdef");
        let context = Context {
            expose_phone: false,
            expose_wechat_ids: true,
            ..context()
        };
        let token = SigningKeys::new(vec![])
            .sign(&signer, &person(), &authentication(), &context, 100)
            .unwrap()
            .1;
        let claims = verify(&token, &key, jsonwebtoken::Algorithm::HS256);
        assert_eq!(claims["wechat"], json!({"appid": "wx1", "openid": "o1"}));
        assert!(claims.get("phone_number").is_none() && claims.get("phone_number_verified").is_none());
    }

    #[test]
    fn the_coming_key_is_published_before_it_signs() {
        let key =
            |from| SigningKey::new(Algorithm::Es256, from, &SigningKey::generate(Algorithm::Es256).unwrap()).unwrap();
        let (old, new) = (key(0), key(1_000));
        let kids = (old.kid.clone(), new.kid.clone());
        let keys = SigningKeys::new(vec![new, old]);
        assert_eq!(keys.jwks().keys.len(), 2);
        let kid_at = |now| {
            let signer = Signer::Installation(Algorithm::Es256);
            let signed = keys
                .sign(&signer, &person(), &authentication(), &context(), now)
                .unwrap();
            jsonwebtoken::decode_header(signed.1).unwrap().kid.unwrap()
        };
        assert_eq!((kid_at(999), kid_at(1_000)), kids);
    }

    #[test]
    fn an_assertion_says_the_same_again() {
        let key = |algorithm| SigningKey::new(algorithm, 0, &SigningKey::generate(algorithm).unwrap()).unwrap();
        let keys = SigningKeys::new(vec![key(Algorithm::Es256), key(Algorithm::Rs256)]);
        for signer in [
            Signer::Installation(Algorithm::Es256),
            Signer::Installation(Algorithm::Rs256),
            Signer::Shared("0123456789abcdef0123456789abcdef".to_owned().into()),
        ] {
            let sign = |now| {
                keys.sign(&signer, &person(), &authentication(), &context(), now)
                    .unwrap()
            };
            let (first, text) = sign(100);
            let (second, _) = sign(100);
            assert_eq!(first.text(&person(), &authentication(), &context()).unwrap(), text);
            assert_ne!(second.text(&person(), &authentication(), &context()).unwrap(), text);
        }
    }

    #[test]
    fn published_keys_hold_nothing_private() {
        let key = SigningKey::new(Algorithm::Es256, 0, &SigningKey::generate(Algorithm::Es256).unwrap()).unwrap();
        let published = serde_json::to_value(SigningKeys::new(vec![key]).jwks()).unwrap();
        let members: Vec<&str> = published["keys"][0]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        for member in &members {
            assert!(
                ["kty", "crv", "x", "y", "kid", "use", "alg"].contains(member),
                "{member}"
            );
        }
    }
}
