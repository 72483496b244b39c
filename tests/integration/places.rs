//! Where a browser is, from a database that the operator has.

use std::path::Path;

use crate::support::World;

/// An ip2region database that knows 198.51.100.0/24 alone, where the browsers of an outer proxy are.
fn write_database(path: &Path, region: &str) {
    let mut bytes = vec![0; 256 + 256 * 256 * 8];
    let text = bytes.len();
    bytes.extend(region.as_bytes());
    let segment = bytes.len();
    bytes.extend([0, 100, 51, 198, 255, 100, 51, 198]);
    bytes.extend(u16::try_from(region.len()).unwrap().to_le_bytes());
    bytes.extend(u32::try_from(text).unwrap().to_le_bytes());
    let end = bytes.len();
    let mut point = |at: usize, to: usize| bytes[at..at + 4].copy_from_slice(&u32::try_from(to).unwrap().to_le_bytes());
    // Structure 2, found by the vector index.
    point(0, 2 | 1 << 16);
    point(8, segment);
    point(12, segment);
    let pair = 256 + (198 * 256 + 51) * 8;
    point(pair, segment);
    point(pair + 4, end);
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn the_phone_says_province_and_city_and_a_broken_database_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ip2region.xdb");
    write_database(&path, "中国|0|广东省|深圳市|电信");
    let plan = World::plan_https().set("login.geo_database", path.display().to_string());
    let world = plan.start().await;
    let place = async || {
        let mut browser = world.browser();
        let mut phone = world.phone("lilei");
        browser.scanned_by(&mut phone).await;
        phone.shown["browser"]["place"].clone()
    };
    assert_eq!(place().await, "广东省 深圳市");

    let settings = world.snapshot().settings.as_ref().clone();
    std::fs::write(&path, "no database").unwrap();
    let error = world
        .gateway()
        .reloader()
        .apply(settings.clone())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("login.geo_database") && error.contains("ip2region.xdb"),
        "{error}"
    );
    assert_eq!(place().await, "广东省 深圳市", "the former one goes on");

    write_database(&path, "中国|0|海南省|海口市|移动网络");
    world.gateway().reloader().apply(settings).await.unwrap();
    assert_eq!(place().await, "海南省 海口市");
}

#[tokio::test]
async fn without_a_database_and_where_it_does_not_know_half_the_address_is_said() {
    let world = World::plan_https().start().await;
    let mut browser = world.browser();
    let mut phone = world.phone("lilei");
    browser.scanned_by(&mut phone).await;
    assert_eq!(phone.shown["browser"]["place"], "198.51.*.*");
}
