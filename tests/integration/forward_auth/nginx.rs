//! nginx with `examples/nginx/menshen.conf`.

use std::path::Path;
use std::process::Command;

use super::front::{Front, example, visit};
use super::plan;
use crate::support::World;

async fn nginx(world: &World) -> Front {
    let write = |directory: &Path, address: std::net::SocketAddr| {
        let site = include_str!("../../../examples/nginx/menshen.conf");
        let site = example(site, world, ("listen 80;", format!("listen {address};")));
        let place = directory.display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|name| format!("{name}_temp_path {place}/{name};\n"))
            .collect();
        let text = format!(
            "daemon off;\nworker_processes 1;\npid {place}/pid;\nerror_log stderr warn;\nevents {{}}\n\
             http {{\naccess_log off;\n{temporary}{site}}}\n"
        );
        std::fs::write(directory.join("nginx.conf"), text).unwrap();
    };
    let command = |directory: &Path| {
        let mut command = Command::new("nginx");
        command
            .arg("-p")
            .arg(directory)
            .arg("-c")
            .arg(directory.join("nginx.conf"))
            .args(["-e", "stderr"]);
        command
    };
    Front::start(write, command).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_lets_pass_whom_menshen_knows() {
    let world = plan().start().await;
    let front = nginx(&world).await;
    visit(&world, &front).await;
}
