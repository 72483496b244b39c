//! `menshen health` and `menshen explain`, as an operator and a container run them.

use serde_json::Value;

use crate::support::World;
use crate::support::process::run;

#[tokio::test]
async fn a_container_is_healthy_while_its_gateway_serves_and_no_longer() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let plan = World::plan().set("server.admin_listen", free.to_string());
    let (world, mut process) = plan.start_process().await;
    let file = world.configuration().display().to_string();
    world
        .until(async || run(&["health", "--config", &file]).await.status.code() == Some(0))
        .await;
    // A mistake in the file is the operator's, not the gateway's: nobody restarts it for that.
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("no_such_key = 1\n{text}")).unwrap();
    assert_eq!(run(&["--config", &file, "health"]).await.status.code(), Some(0));

    process.terminate().await;
    process.ended().await;
    let output = run(&["health", "--config", &file]).await;
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains(&format!("no answer from {free}")), "{told}");
}

#[tokio::test]
async fn explain_says_what_the_gateway_then_does() {
    let (world, _process) = World::plan().start_process().await;
    let file = world.configuration().display().to_string();
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    browser.open("/reports").await.expect(200);
    let seen = world.upstream.last();
    let user = seen.header("remote-user").unwrap();
    let url = format!("{}/reports", world.origin(&browser.host));
    let explain = async |more: &[&str]| -> Value {
        let mut arguments = vec!["explain", "--config", &file, "--json"];
        arguments.extend(more);
        let output = run(&arguments).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let said = explain(&["--user", &user, "get", &url]).await;
    assert_eq!(said["decision"], "forward");
    for header in said["headers"].as_array().unwrap() {
        let name = header["name"].as_str().unwrap();
        if let Some(value) = header["value"].as_str() {
            assert_eq!(seen.header(name).as_deref(), Some(value), "{name}");
        }
    }
    assert_eq!(explain(&["GET", &url]).await["status"], 401);
    world.browser().open("/reports").await.expect(401);
    assert_eq!(
        run(&["explain", "--config", &file, "GET", "reports"])
            .await
            .status
            .code(),
        Some(2)
    );
}
