//! The page of a ticket for browsers without JavaScript.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response};
use axum::response::{Html, IntoResponse};
use serde::Deserialize;

use crate::gate::destination::Destination;
use crate::login::browser::StatusView;
use crate::login::device::Device;
use crate::portal::Inner;
use crate::portal::code::Code;
use crate::portal::context::{RequestContext, locale, user_agent};
use crate::portal::login_page::login_url;
use crate::portal::pages::{TicketPage, TicketState};
use crate::portal::problem::Problem;
use crate::portal::query::Query;

#[derive(Debug, Deserialize)]
pub(super) struct PageQuery {
    rd: Option<String>,
}

/// `GET /.menshen/tickets/ID/page`
pub(super) async fn page(
    State(portal): State<Arc<Inner>>,
    Extension(context): Extension<RequestContext>,
    Path(id): Path<String>,
    Query(query): Query<PageQuery>,
    headers: HeaderMap,
) -> Result<Response<axum::body::Body>, Problem> {
    let watched = portal.login.watch(&id, context.ticket_cookies())?;
    let view = portal.login.status(&watched).await?;
    let connection = portal.login.connection_of(&watched.scene).ok_or(Code::TicketUnknown)?;
    let qr = format!("/.menshen/tickets/{}/qr", watched.scene.as_str());
    let rd = watched.half.return_to.resolve(query.rd.as_deref()).unwrap_or("/");
    let new_code_url = login_url(&connection.id, rd);
    let phone = portal.simulated_phone(connection, &watched.scene);
    let destination = Destination::parse(rd, &portal.gate, &context.own_origin());
    let locale = locale(&headers, portal.settings.branding.locale);
    let page = TicketPage {
        shell: portal.shell_for(&context, locale, destination.handoff()),
        id: watched.scene.as_str(),
        state: state(&view, &qr),
        rd: query.rd.as_deref(),
        new_code_url: &new_code_url,
        number_entry: portal.number_entry(),
        in_wechat: Device::is_wechat(user_agent(&headers)),
        simulated_phone_url: phone.as_deref(),
    };
    let mut response = Html(page.render()).into_response();
    portal.allow_form_to(&mut response, &destination);
    Ok(response)
}

fn state<'a>(view: &'a StatusView, qr: &'a str) -> TicketState<'a> {
    let name = view.user.as_ref().map(|user| &*user.name);
    match view.status {
        "pending" => TicketState::Pending {
            qr,
            expires_in: u64::try_from(view.expires_in).unwrap_or_default(),
            open_url: None,
            number: None,
        },
        "scanned" => TicketState::Scanned {
            number: view.number,
            name,
        },
        "confirmed" => TicketState::Confirmed {
            name,
            other_user: view.other_user,
        },
        "cancelled" => TicketState::Ended {
            code: Code::TicketCancelled,
        },
        "expired" => TicketState::Ended {
            code: Code::TicketExpired,
        },
        "failed" => TicketState::Ended {
            code: view
                .ending
                .and_then(|ending| Code::parse(ending.as_str()))
                .unwrap_or(Code::WrongState),
        },
        _ => TicketState::Ended { code: Code::WrongState },
    }
}
