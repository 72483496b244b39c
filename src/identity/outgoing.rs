//! Everything that one upstream receives about one session, built once and cloned per request.

use http::{HeaderName, HeaderValue};

use crate::config::Settings;
use crate::config::settings::{Algorithm, Site};
use crate::identity::assertion::{Assertion, Context, Signer, SigningError, SigningKeys};
use crate::identity::headers::{self, BadHeaderName, HeaderPlan};
use crate::identity::person::{Authentication, Person};

/// How a site wants to be told about people.
#[derive(Debug, Clone)]
pub struct SitePlan {
    identity: HeaderPlan,
    assertion_header: HeaderName,
    signer: Signer,
    issuer: String,
    audience: String,
    expose_phone: bool,
    expose_wechat_ids: bool,
    ttl: i64,
}

/// Headers for one session at one site.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Identity headers and the assertion, in the order of sending.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// The configuration names a header that is none, or HS256 without a secret; `check` reports both.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A bad name.
    #[error(transparent)]
    Header(#[from] BadHeaderName),
    /// No secret.
    #[error("site {0:?} needs an assertion_secret for HS256")]
    NoSecret(String),
}

impl SitePlan {
    /// The plan of a validated site.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub fn of(settings: &Settings, site: &Site) -> Result<Self, PlanError> {
        let signer = match (settings.identity.algorithm, &site.assertion_secret) {
            (Algorithm::Hs256, Some(secret)) => Signer::Shared(secret.clone()),
            (Algorithm::Hs256, None) => return Err(PlanError::NoSecret(site.name.clone())),
            (algorithm, _) => Signer::Installation(algorithm),
        };
        let assertion_header = headers::name(&settings.identity.assertion_header)?;
        Ok(Self {
            identity: HeaderPlan::of(&site.headers)?,
            assertion_header,
            signer,
            issuer: settings.issuer().to_owned(),
            audience: site.audience.clone(),
            expose_phone: site.expose_phone,
            expose_wechat_ids: site.expose_wechat_ids,
            ttl: i64::try_from(settings.identity.assertion_ttl.as_secs()).unwrap_or(300),
        })
    }

    /// Builds the headers and signs the assertion.
    ///
    /// # Errors
    /// See [`SigningError`].
    pub fn sign(
        &self,
        keys: &SigningKeys,
        person: &Person,
        authentication: &Authentication,
        sid: &str,
        now: i64,
    ) -> Result<(Assertion, Outgoing), SigningError> {
        let (assertion, text) = keys.sign(&self.signer, person, authentication, &self.context(sid), now)?;
        Ok((assertion, self.headers(person, authentication, sid, text)))
    }

    /// Builds the headers with an assertion that was signed for the same session by the same plan.
    ///
    /// # Errors
    /// See [`Assertion::text`].
    pub fn build(
        &self,
        assertion: &Assertion,
        person: &Person,
        authentication: &Authentication,
        sid: &str,
    ) -> Result<Outgoing, SigningError> {
        let text = assertion.text(person, authentication, &self.context(sid))?;
        Ok(self.headers(person, authentication, sid, text))
    }

    /// When an assertion must be signed anew, in Unix seconds: after half of its life.
    pub fn refresh_at(&self, assertion: &Assertion) -> i64 {
        assertion.issued_at() + self.ttl / 2
    }

    fn context<'a>(&'a self, sid: &'a str) -> Context<'a> {
        Context {
            issuer: &self.issuer,
            audience: &self.audience,
            sid,
            expose_phone: self.expose_phone,
            expose_wechat_ids: self.expose_wechat_ids,
            ttl: self.ttl,
        }
    }

    fn headers(&self, person: &Person, authentication: &Authentication, sid: &str, assertion: String) -> Outgoing {
        let mut headers = self.identity(person, authentication, sid);
        if let Ok(mut value) = HeaderValue::try_from(assertion) {
            value.set_sensitive(true);
            headers.push((self.assertion_header.clone(), value));
        }
        Outgoing { headers }
    }

    /// The identity headers alone, without an assertion.
    pub fn identity(
        &self,
        person: &Person,
        authentication: &Authentication,
        sid: &str,
    ) -> Vec<(HeaderName, HeaderValue)> {
        self.identity.build(person, authentication, sid, self.expose_phone)
    }

    /// Names that this site's upstream may receive from Menshen.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.identity.names().chain(std::iter::once(&self.assertion_header))
    }
}
