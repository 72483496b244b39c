//! Another proxy in front, which asks the gateway about each request: first the questions alone, then nginx and Caddy
//! with the configurations of `examples/`, in which only names and addresses are replaced.

mod caddy;
mod front;
mod nginx;
mod questions;

use crate::support::World;
use crate::support::world::Plan;

/// Trusts what this machine says about clients; the site forwards nothing itself.
fn plan() -> Plan {
    World::plan()
        .set("server.trusted_proxies", vec!["127.0.0.1/32".to_owned()])
        .set("sites.0.upstreams", toml::Value::Array(Vec::new()))
        .append("[[sites.routes]]\npath = \"/closed/\"\naccess = \"deny\"\n")
}
