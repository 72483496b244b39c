//! Between Pingora's session and the portal's ordinary HTTP types: bodies in, answers out.
//!
//! One writer for every answer of Menshen's own, since HTTP/1.1 and HTTP/2 take different harm from a wrong one: a
//! missing length closes the connection, a body after HEAD breaks the stream.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode, Version, header};
use http_body_util::BodyExt;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};

use crate::portal::code::Code;

/// What follows the head of an answer without an end.
pub struct Endless {
    /// Piece by piece.
    pub body: Body,
    /// In chunks (HTTP/1.1).
    pub chunked: bool,
}

/// Reads a request for the portal: its head as it is, its body up to [`MAX_BODY`] bytes within `limit`.
///
/// # Errors
/// The code of a refusal, or Pingora's error when the client is gone.
pub async fn read_request(
    session: &mut Session,
    path_and_query: &str,
    limit: Duration,
) -> Result<Result<Request<Body>, Code>> {
    let head = session.req_header();
    let declared = head
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > MAX_BODY as u64) {
        return Ok(Err(Code::TooLarge));
    }
    let mut request = Request::builder().method(head.method.clone()).uri(path_and_query);
    if let Some(headers) = request.headers_mut() {
        headers.extend(head.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    // Pingora does not say it by itself when a body is read here, and clients would wait for a second or for ever.
    if head.headers.contains_key(header::EXPECT) {
        session.write_continue_response().await?;
    }
    let body = match tokio::time::timeout(limit, read_body(session)).await {
        Ok(Ok(Some(body))) => body,
        Ok(Ok(None)) => return Ok(Err(Code::TooLarge)),
        Ok(Err(error)) => return Err(error.into_down()),
        Err(_) => return Ok(Err(Code::BadRequest)),
    };
    Ok(request.body(Body::from(body)).map_err(|_| Code::BadRequest))
}

/// `None`: too large.
async fn read_body(session: &mut Session) -> Result<Option<Bytes>> {
    let mut body = BytesMut::new();
    while let Some(chunk) = session.read_request_body().await? {
        if body.len() + chunk.len() > MAX_BODY {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body.freeze()))
}

/// Writes an answer, of one without an end the head: its body is returned.
///
/// # Errors
/// Pingora's error when the client is gone, marked as the client's doing.
pub async fn write_response(session: &mut Session, response: Response<Body>) -> Result<Option<Endless>> {
    let (parts, body) = response.into_parts();
    let head_only = session.req_header().method == Method::HEAD
        || parts.status == StatusCode::NO_CONTENT
        || parts.status == StatusCode::NOT_MODIFIED;
    let mut head = ResponseHeader::build(parts.status, Some(parts.headers.len() + 2))?;
    // Pingora writes `Connection` itself, by what it will do; HTTP/2 has none.
    if parts
        .headers
        .get(header::CONNECTION)
        .is_some_and(|value| value == "close")
    {
        session.set_keepalive(None);
    }
    for (name, value) in &parts.headers {
        if ![header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION].contains(name) {
            head.append_header(name.clone(), value.clone())?;
        }
    }
    let streams = parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value == "text/event-stream");
    if streams && !head_only {
        // A client of HTTP/1.0 reads until the end of the connection (RFC 9112 §6.1).
        let chunked = session.req_header().version == Version::HTTP_11;
        if chunked {
            head.insert_header(header::TRANSFER_ENCODING, "chunked")?;
        }
        session.set_keepalive(None);
        write_head(session, head, false).await?;
        return Ok(Some(Endless { body, chunked }));
    }
    let bytes = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => return Error::e_explain(ErrorType::InternalError, error.to_string()),
    };
    if parts.status != StatusCode::NO_CONTENT && parts.status != StatusCode::NOT_MODIFIED {
        head.insert_header(header::CONTENT_LENGTH, bytes.len())?;
    }
    let ends = head_only || bytes.is_empty();
    write_head(session, head, ends).await?;
    if !ends {
        session
            .write_response_body(Some(bytes), true)
            .await
            .map_err(|error| error.into_down())?;
    }
    if let ServerSession::H2(stream) = session.downstream_session.as_mut() {
        // A stream that is dropped while the client still sends is reset, and curl and browsers then report the reset
        // in place of the answer. HTTP/1.1 is drained by Pingora. Who goes on sending has heard the answer all the same.
        let _ = stream.drain_request_body().await;
    }
    Ok(None)
}

async fn write_head(session: &mut Session, head: ResponseHeader, ends: bool) -> Result<()> {
    let head = Box::new(head);
    let written = match session.downstream_session.as_mut() {
        // Pingora's own way ends the stream with an empty frame of data, and to gRPC a status in a head that does not
        // end the stream is none.
        ServerSession::H2(stream) if ends => stream.write_response_header(head, true),
        _ => session.write_response_header(head, ends).await,
    };
    written.map_err(|error| error.into_down())
}

/// No call of the portal needs more.
pub const MAX_BODY: usize = 64 * 1024;
