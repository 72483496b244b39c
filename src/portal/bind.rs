//! The browser's choice of an account over HTTP: JSON for the script, a form for the page without it.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response};
use axum::response::{IntoResponse, Redirect};
use axum::{Extension, Json};
use serde::Deserialize;

use crate::accounts::Claim;
use crate::config::settings::BindMethod;
use crate::login::binding::{Asker, Choice};
use crate::login::browser::Watched;
use crate::login::error::LoginError;
use crate::portal::code::Code;
use crate::portal::context::{RequestContext, locale};
use crate::portal::pages::{RefusedForm, page_url};
use crate::portal::problem::Problem;
use crate::portal::tickets::{StatusObject, json_or_form};
use crate::portal::{Inner, OwnPage, require_same_origin};

#[derive(Default, Deserialize)]
pub(super) struct BindBody {
    #[serde(default)]
    action: String,
    #[serde(default)]
    method: String,
    #[serde(default)]
    login: String,
    #[serde(default)]
    proof: String,
    /// Of the form only: the long return address, which the next page needs.
    #[serde(default)]
    rd: Option<String>,
}

/// `POST /.menshen/tickets/ID/bind`: 200 with the status object; a form is led back to the ticket's page.
pub(super) async fn bind(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response<axum::body::Body>, Problem> {
    require_same_origin(&context)?;
    let (body, form): (BindBody, bool) = json_or_form(&headers, &body)?;
    let watched = portal.login.watch(&id, context.ticket_cookies())?;
    if watched.half.host != context.host {
        return Err(Code::TicketUnknown.into());
    }
    let asker = Asker {
        limit_key: context.limit_key,
        request_id: &context.request_id,
    };
    let chosen = portal.login.choose_account(&watched, body.choice()?, asker).await;
    match chosen {
        Ok(_) if form => Ok(back_to_page(&watched, &body)),
        Ok(view) => {
            let locale = locale(&headers, portal.settings.branding.locale);
            Ok(Json(StatusObject::of(&view, locale)).into_response())
        }
        Err(error) if form => portal.refused_form(&context, &headers, &watched, &body, error).await,
        Err(error) => Err(error.into()),
    }
}

impl BindBody {
    fn choice(&self) -> Result<Choice<'_>, Problem> {
        match &*self.action {
            "create" => Ok(Choice::Create),
            "bind" => {
                let method = self.method().ok_or(Code::BadRequest)?;
                if self.login.len() > LONGEST_LOGIN || self.proof.len() > LONGEST_PROOF {
                    return Err(Code::BadRequest.into());
                }
                Ok(Choice::Bind(Claim {
                    method,
                    login: &self.login,
                    proof: &self.proof,
                }))
            }
            _ => Err(Code::BadRequest.into()),
        }
    }

    fn method(&self) -> Option<BindMethod> {
        [BindMethod::BindCode, BindMethod::Password]
            .into_iter()
            .find(|method| method.as_str() == self.method)
    }
}

impl Inner {
    /// A form that was refused: the form again with the reason while there is still a choice, else where the ticket stands.
    async fn refused_form(
        &self,
        context: &RequestContext,
        headers: &HeaderMap,
        watched: &Watched,
        body: &BindBody,
        error: LoginError,
    ) -> Result<Response<axum::body::Body>, Problem> {
        match error {
            LoginError::NotBound(_) | LoginError::TooMany(_) => {
                let problem = Problem::from(error);
                let view = self.login.status(watched).await?;
                if view.status != "bind" || view.user.is_some() {
                    return Ok(back_to_page(watched, body));
                }
                self.login.metrics.refused(problem.code.as_str());
                let refused = RefusedForm {
                    code: problem.code,
                    method: body.method(),
                    login: &body.login,
                };
                let rd = body.rd.as_deref();
                let page = self
                    .ticket_page(context, headers, watched, &view, rd, Some(refused))
                    .await?;
                let mut response = (problem.code.status(), page).into_response();
                response.headers_mut().extend(problem.headers());
                response.extensions_mut().insert(OwnPage);
                Ok(response)
            }
            LoginError::WrongState | LoginError::Ended(_) | LoginError::Cancelled | LoginError::Expired => {
                Ok(back_to_page(watched, body))
            }
            error => Err(error.into()),
        }
    }
}

fn back_to_page(watched: &Watched, body: &BindBody) -> Response<axum::body::Body> {
    Redirect::to(&page_url(watched.scene.as_str(), body.rd.as_deref())).into_response()
}

/// Bytes: an e-mail address has at most 254, a user name in any script some more.
const LONGEST_LOGIN: usize = 1024;
/// Bytes: what is hashed has no more.
const LONGEST_PROOF: usize = 1024;
