//! Caddy with `examples/caddy/Caddyfile`.

use std::path::Path;
use std::process::Command;

use super::front::{Front, example, visit};
use super::plan;
use crate::support::World;

async fn caddy(world: &World) -> Front {
    let write = |directory: &Path, address: std::net::SocketAddr| {
        let site = include_str!("../../../examples/caddy/Caddyfile");
        // Any name: the test's has no certificate.
        let listen = (
            "wiki.example.com {",
            format!("http://wiki.test:{} {{\n\tbind 127.0.0.1", address.port()),
        );
        let site = example(&format!("# wiki.example.com\n{site}"), world, listen);
        let global = "{\n\tadmin off\n\tauto_https off\n}\n";
        std::fs::write(directory.join("Caddyfile"), format!("{global}{site}")).unwrap();
    };
    let command = |directory: &Path| {
        let mut command = Command::new("caddy");
        command
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(directory.join("Caddyfile"));
        command
            .env("XDG_DATA_HOME", directory)
            .env("XDG_CONFIG_HOME", directory)
            .env("HOME", directory);
        command
    };
    Front::start(write, command).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caddy_lets_pass_whom_menshen_knows() {
    let world = plan().start().await;
    let front = caddy(&world).await;
    visit(&world, &front).await;
}
