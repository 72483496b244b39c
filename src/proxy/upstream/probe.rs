//! The health check: asks every address of an upstream for a path, and believes 2xx.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};
use tracing::{info, warn};

use crate::config::settings::{UpstreamAddress, UpstreamOptions};
use crate::proxy::upstream::endpoint::{Endpoint, Place};

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
    // A client of its own each time: a check that reuses a connection does not see that no new one is taken.
    let builder = Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(options.connect_timeout)
        .timeout(TIMEOUT.min(options.read_timeout))
        .danger_accept_invalid_certs(!options.tls_verify);
    let Some((builder, url)) = aim(builder, address, place, path) else {
        return false;
    };
    let Ok(client) = builder.build() else { return false };
    client
        .get(url)
        .send()
        .await
        .is_ok_and(|response| response.status().is_success())
}

fn aim(
    builder: ClientBuilder,
    address: &UpstreamAddress,
    place: &Place,
    path: &str,
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
