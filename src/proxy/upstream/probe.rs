//! The health check: asks every address of an upstream for a path, and believes 2xx.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use http::{Method, StatusCode};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder};
use tracing::{info, warn};

use crate::config::settings::{Site, UpstreamAddress, UpstreamOptions};
use crate::proxy::upstream::endpoint::{Endpoint, Place};

/// One upstream, asked once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// As configured; with the address where a name has several.
    pub upstream: String,
    /// The status of its answer.
    pub answer: Result<u16, TrialError>,
}

/// Why an upstream did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrialError {
    /// Its name has no address.
    #[error("its name does not resolve: {0}")]
    Unresolved(String),
    /// `tls_ca` cannot be read.
    #[error("tls_ca cannot be read")]
    Authority,
    /// No connection can be made to such an address.
    #[error("there is no way to it")]
    NoPlace,
    /// Nothing in time.
    #[error("no answer in time")]
    TimedOut,
    /// The connection, its TLS, or the answer.
    #[error("{0}")]
    Failed(String),
}

/// Asks for ever; the caller ends it.
pub(super) async fn keep_asking(
    site: &str,
    path: &str,
    targets: &[UpstreamAddress],
    options: &UpstreamOptions,
    endpoints: &ArcSwap<Vec<Arc<Endpoint>>>,
) {
    loop {
        for endpoint in endpoints.load_full().iter() {
            let Some(address) = targets.get(endpoint.target) else {
                continue;
            };
            let well = ask(address, &endpoint.place, path, options).await;
            match endpoint.condition.probed(well) {
                Some(true) => info!(site, upstream = ?endpoint.place, "upstream is well again"),
                Some(false) => warn!(site, upstream = ?endpoint.place, path, "upstream fails its health check"),
                None => {}
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn ask(address: &UpstreamAddress, place: &Place, path: &str, options: &UpstreamOptions) -> bool {
    let answer = request(Method::GET, address, place, path, options).await;
    answer.is_ok_and(|status| status.is_success())
}

/// Asks every place of every address of a site once: its health check, or without one whether it answers at all.
pub(super) async fn try_out(site: &Site) -> Vec<Trial> {
    let options = &site.upstream;
    // A question that changes nothing in any application.
    let (method, path) = match &options.health_check {
        Some(path) => (Method::GET, path.as_str()),
        None => (Method::HEAD, "/"),
    };
    let trials = site.upstreams.iter().map(async |address| {
        let places: Vec<Place> = match (super::literal(address), address) {
            (Some(place), _) => vec![place],
            (None, UpstreamAddress::Network { host, port, .. }) => {
                match tokio::net::lookup_host((host.as_str(), *port)).await {
                    Ok(found) => found.map(Place::Network).collect(),
                    Err(error) => {
                        return vec![Trial {
                            upstream: address.to_string(),
                            answer: Err(TrialError::Unresolved(error.to_string())),
                        }];
                    }
                }
            }
            (None, UpstreamAddress::Unix { .. }) => Vec::new(),
        };
        let several = places.len() > 1;
        let trials = places.into_iter().map(async |place| Trial {
            upstream: match &place {
                Place::Network(at) if several => format!("{address} at {at}"),
                _ => address.to_string(),
            },
            answer: request(method.clone(), address, &place, path, options)
                .await
                .map(|status| status.as_u16()),
        });
        join_all(trials).await
    });
    join_all(trials).await.into_iter().flatten().collect()
}

async fn request(
    method: Method,
    address: &UpstreamAddress,
    place: &Place,
    path: &str,
    options: &UpstreamOptions,
) -> Result<StatusCode, TrialError> {
    // A client of its own each time: a check that reuses a connection does not see that no new one is taken.
    let builder = Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(options.connect_timeout)
        .timeout(TIMEOUT.min(options.read_timeout))
        .danger_accept_invalid_certs(!options.tls_verify);
    let builder = trust(builder, options).ok_or(TrialError::Authority)?;
    let name = options.tls_name.as_deref();
    let (builder, url) = aim(builder, address, place, path, name).ok_or(TrialError::NoPlace)?;
    let failed = |error: reqwest::Error| {
        let timed_out = error.is_timeout();
        // What the address holds is the operator's own, and the caller names it.
        match (timed_out, innermost(&error.without_url())) {
            (true, _) => TrialError::TimedOut,
            (false, cause) => TrialError::Failed(cause),
        }
    };
    let client = builder.build().map_err(failed)?;
    Ok(client.request(method, url).send().await.map_err(failed)?.status())
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// The same authorities as for requests; none when the file cannot be read.
fn trust(builder: ClientBuilder, options: &UpstreamOptions) -> Option<ClientBuilder> {
    let Some(path) = &options.tls_ca else {
        return Some(builder);
    };
    let bundle = std::fs::read(path).ok()?;
    Some(builder.tls_certs_only(Certificate::from_pem_bundle(&bundle).ok()?))
}

fn aim(
    builder: ClientBuilder,
    address: &UpstreamAddress,
    place: &Place,
    path: &str,
    name: Option<&str>,
) -> Option<(ClientBuilder, String)> {
    match (address, place) {
        (
            UpstreamAddress::Network {
                https,
                host,
                port,
                path: prefix,
            },
            Place::Network(address),
        ) => {
            let scheme = if *https { "https" } else { "http" };
            let host = name.unwrap_or(host);
            let authority = super::authority(host, *port, *https);
            Some((
                builder.resolve(host, *address),
                format!("{scheme}://{authority}{prefix}{path}"),
            ))
        }
        (UpstreamAddress::Unix { .. }, Place::Unix(socket)) => {
            Some((builder.unix_socket(socket.clone()), format!("http://localhost{path}")))
        }
        _ => None,
    }
}

const EVERY: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::Router;
    use axum::http::StatusCode;
    use axum::response::Redirect;
    use axum::routing::get;

    use super::*;
    use crate::config::settings::Balance;

    async fn application() -> std::net::SocketAddr {
        let router = Router::new()
            .route("/well", get(async || "yes"))
            .route("/ill", get(async || StatusCode::SERVICE_UNAVAILABLE))
            .route("/elsewhere", get(async || Redirect::to("/well")));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    #[tokio::test]
    async fn only_2xx_of_the_very_path_counts_as_well() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let options = UpstreamOptions {
            balance: Balance::RoundRobin,
            connect_timeout: Duration::from_secs(1),
            read_timeout: Duration::from_secs(1),
            total_timeout: None,
            health_check: None,
            pass_host: true,
            tls_verify: true,
            tls_ca: None,
            tls_name: None,
            http2: false,
        };
        let well = application().await;
        // Its name resolves to nothing: the check goes to the address that requests go to.
        let target = |port| UpstreamAddress::Network {
            https: false,
            host: "application.invalid".to_owned(),
            port,
            path: String::new(),
        };
        for (path, expected) in [
            ("/well", true),
            ("/ill", false),
            ("/elsewhere", false),
            ("/nothing", false),
        ] {
            let answer = ask(&target(well.port()), &Place::Network(well), path, &options).await;
            assert_eq!(answer, expected, "{path}");
        }
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        assert!(!ask(&target(closed.port()), &Place::Network(closed), "/well", &options).await);
    }
}
