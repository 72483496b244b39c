//! Several upstreams of one site.

use serde_json::json;

use crate::support::upstream::Upstream;
use crate::support::world::World;

async fn with_a_dead_one_first() -> (World, Upstream) {
    let second = Upstream::start().await;
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let upstreams = vec![format!("http://{dead}"), format!("http://{}", second.address())];
    let world = World::plan().set("sites.0.upstreams", upstreams).start().await;
    (world, second)
}

#[tokio::test]
async fn a_request_that_one_upstream_refuses_goes_to_another_whatever_its_method() {
    let (world, second) = with_a_dead_one_first().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    for number in 0..8 {
        let answer = browser
            .fetch_json(&format!("/orders/{number}"), &json!({ "number": number }))
            .await;
        assert_eq!(answer.status, 200, "order {number}");
    }
    let orders = second
        .requests()
        .into_iter()
        .filter(|request| request.target.starts_with("/orders/"))
        .count();
    assert_eq!(orders, 8, "each order arrived exactly once");
}

#[tokio::test]
async fn requests_are_shared_out_in_turn() {
    let second = Upstream::start().await;
    let first = Upstream::start().await;
    let upstreams = vec![
        format!("http://{}", first.address()),
        format!("http://{}", second.address()),
    ];
    let world = World::plan().set("sites.0.upstreams", upstreams).start().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    for number in 0..10 {
        browser.fetch("GET", &format!("/page/{number}")).await;
    }
    let pages = |upstream: &Upstream| {
        upstream
            .requests()
            .iter()
            .filter(|it| it.target.starts_with("/page/"))
            .count()
    };
    assert_eq!((pages(&first), pages(&second)), (5, 5));
}
