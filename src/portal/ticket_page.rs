//! The page of a ticket for browsers without JavaScript.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response};
use axum::response::{Html, IntoResponse};
use serde::Deserialize;

use crate::config::settings::Connection;
use crate::gate::destination::Destination;
use crate::login::browser::{StatusView, Watched};
use crate::login::device::Surroundings;
use crate::login::scene::Opening;
use crate::portal::Inner;
use crate::portal::code::Code;
use crate::portal::connect::connecting;
use crate::portal::context::{RequestContext, locale, user_agent};
use crate::portal::login_page::{bind_methods, comes_by_message, login_url};
use crate::portal::pages::{RefusedForm, TicketPage, TicketState};
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
    let watched = portal.watch(&context, &id)?;
    let view = portal.login.status(&watched).await?;
    portal
        .ticket_page(&context, &headers, &watched, &view, query.rd.as_deref(), None)
        .await
}

impl Inner {
    /// The page of a ticket where it stands; `refused` says why the last choice of an account was.
    pub(super) async fn ticket_page(
        &self,
        context: &RequestContext,
        headers: &HeaderMap,
        watched: &Watched,
        view: &StatusView,
        handed_back: Option<&str>,
        refused: Option<RefusedForm<'_>>,
    ) -> Result<Response<axum::body::Body>, Problem> {
        let id = watched.scene.as_str();
        let connection = self.login.connection_of(&watched.scene).ok_or(Code::TicketUnknown)?;
        let qr = format!("/.menshen/tickets/{id}/qr");
        let phone = self.simulated_phone(connection, &watched.scene);
        let rd = watched.half.return_to.resolve(handed_back).unwrap_or("/");
        // Who is signed in and has a ticket wants another login.
        let new_code_url = login_url(&connection.id, rd, self.signed_in(context).is_some());
        let destination = Destination::parse(rd, &self.gate, &context.own_origin());
        let locale = locale(headers, self.settings.branding.locale);
        let own = self.connecting_name(watched).await?;
        let surroundings = Surroundings::of(user_agent(headers));
        let opened = if surroundings == Surroundings::PhoneBrowser && view.status == "pending" {
            let open_url = self.login.open_url(&connection.id, &watched.scene, &watched.half).await;
            open_url
                .map(|url| Ok::<_, Problem>((url, self.login.number(&watched.scene, Opening::Ahead)?)))
                .transpose()?
        } else {
            None
        };
        let page = TicketPage {
            shell: self.shell_for(context, locale, destination.handoff()),
            id,
            state: state(view, &qr, opened.as_ref(), connection, refused),
            rd: handed_back,
            new_code_url: &new_code_url,
            number_entry: self.number_entry(),
            in_wechat: surroundings == Surroundings::WechatOnPhone,
            simulated_phone_url: phone.as_deref(),
            by_message: comes_by_message(connection),
            connecting: own.as_deref().map(connecting),
        };
        let mut response = Html(page.render()).into_response();
        self.allow_form_to(&mut response, &destination);
        self.note_popup(context, headers, &destination, &mut response);
        Ok(response)
    }
}

fn state<'a>(
    view: &'a StatusView,
    qr: &'a str,
    opened: Option<&'a (String, Option<u8>)>,
    connection: &'a Connection,
    refused: Option<RefusedForm<'a>>,
) -> TicketState<'a> {
    let name = view.user.as_ref().map(|user| &*user.name);
    match view.status {
        "pending" => TicketState::Pending {
            qr,
            expires_in: u64::try_from(view.expires_in).unwrap_or_default(),
            open_url: opened.map(|(url, _)| url.as_str()),
            number: opened.and_then(|(_, number)| *number),
        },
        "scanned" => TicketState::Scanned {
            number: view.number,
            name,
        },
        "bind" => name.map_or_else(
            || TicketState::Bind {
                methods: bind_methods(connection),
                may_create: !connection.login_only,
                refused,
            },
            |name| TicketState::Accept { name },
        ),
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
