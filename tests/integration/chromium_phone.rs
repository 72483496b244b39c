//! A real browser as a phone has it: the page that opens WeChat, and the sample application on the same phone.

use fantoccini::{Client, Locator};

use crate::chromium::{PATIENCE, Running, browser_with, click, start, text_of, wait_for};

const ANDROID: &str = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 \
    Mobile Safari/537.36";

/// The demo, its address, and a browser that calls itself a phone's.
async fn phone() -> (Running, Running, String, Client) {
    let demo = start(
        env!("CARGO_BIN_EXE_menshen"),
        &["demo", "--listen", "127.0.0.1:0"],
        "http://",
    )
    .await;
    let mut words = demo.said.split_whitespace();
    let address = words.find(|word| word.starts_with("http://")).unwrap().to_owned();
    let driver = start("chromedriver", &["--port=0"], "started successfully on port").await;
    let client = browser_with(&driver, &[&format!("--user-agent={ANDROID}")]).await;
    client.set_window_size(390, 844).await.unwrap();
    (demo, driver, address, client)
}

/// Keeps a picture for whoever wants to look: `SCREENSHOTS=directory`.
async fn picture(client: &Client, name: &str) {
    if let Some(directory) = std::env::var_os("SCREENSHOTS") {
        let picture = client.screenshot().await.unwrap();
        std::fs::write(std::path::Path::new(&directory).join(format!("{name}.png")), picture).unwrap();
    }
}

/// The window that a click has opened.
async fn opened(client: &Client, known: usize) {
    let windows = async {
        loop {
            let windows = client.windows().await.unwrap();
            if windows.len() > known {
                return windows;
            }
            tokio::task::yield_now().await;
        }
    };
    let windows = tokio::time::timeout(PATIENCE, windows).await.expect("another window");
    client.switch_to_window(windows[known].clone()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_on_a_phone_opens_wechat_and_finds_the_page_signed_in() {
    let (_demo, _driver, address, client) = phone().await;
    client.goto(&format!("{address}reports?q=1")).await.unwrap();
    let page = client.window().await.unwrap();
    assert_eq!(text_of(&client, "#headline").await, "Open WeChat to sign in");
    let number = text_of(&client, "#number").await;
    assert!(matches!(number.trim().parse(), Ok(10..=99)), "{number:?}");
    // Large, and before WeChat opens; the code waits behind a button.
    let shown = wait_for(&client, "#number").await;
    assert!(shown.is_displayed().await.unwrap());
    let (_, _, _, height) = shown.rectangle().await.unwrap();
    assert!(height >= 48.0, "{height}");
    assert!(!wait_for(&client, "#code").await.is_displayed().await.unwrap());
    let (_, top, _, height) = wait_for(&client, "#open").await.rectangle().await.unwrap();
    let inner = client.execute("return innerHeight", vec![]).await.unwrap();
    assert!(
        top + height <= inner.as_f64().unwrap(),
        "the button is seen without a scroll"
    );
    let wide = client
        .execute("return document.documentElement.scrollWidth", vec![])
        .await;
    assert!(wide.unwrap().as_u64().unwrap() <= 390, "nothing hangs over the edge");
    picture(&client, "phone-open").await;

    wait_for(&client, "#open").await.click().await.unwrap();
    opened(&client, 1).await;
    wait_for(&client, "main.link a").await.click().await.unwrap();
    click(&client, "Li Lei").await;
    assert!(text_of(&client, ".facts").await.contains("Chrome · Android"));
    picture(&client, "phone-confirm").await;
    click(&client, number.trim()).await;
    click(&client, "Allow").await;
    wait_for(&client, ".screen-done").await;

    client.switch_to_window(page).await.unwrap();
    let arrived = format!("{address}reports?q=1").parse().unwrap();
    client.wait().at_most(PATIENCE).for_url(&arrived).await.unwrap();
    client
        .wait()
        .at_most(PATIENCE)
        .for_element(Locator::XPath("//*[contains(text(), '李雷')]"))
        .await
        .expect("a greeting by name");
    client.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_another_phone_sees_the_code() {
    let (_demo, _driver, address, client) = phone().await;
    client.goto(&address).await.unwrap();
    wait_for(&client, "#other").await.click().await.unwrap();
    assert!(wait_for(&client, "#code").await.is_displayed().await.unwrap());
    picture(&client, "phone-both").await;
    // Then it is a page like every other: the number comes with the scan.
    let (page, phone) = (client.window().await.unwrap(), wait_for(&client, "#simulated").await);
    phone.click().await.unwrap();
    opened(&client, 1).await;
    click(&client, "Li Lei").await;
    wait_for(&client, ".screen-confirm").await;
    client.switch_to_window(page).await.unwrap();
    wait_for(&client, "[data-state=scanned]").await;
    assert!(wait_for(&client, "#number").await.is_displayed().await.unwrap());
    client.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_on_the_phone_signs_in_and_renews_its_token() {
    let (_demo, _driver, address, client) = phone().await;
    client.goto(&address).await.unwrap();
    let link = wait_for(&client, "#open").await.attr("href").await.unwrap().unwrap();
    let application = url::Url::parse(&link).unwrap().join("/application?lang=en").unwrap();
    client.goto(application.as_str()).await.unwrap();
    let page = client.window().await.unwrap();
    click(&client, "Sign in with WeChat").await;
    let number = text_of(&client, "#number:not([hidden])").await;
    picture(&client, "application-number").await;
    wait_for(&client, "#open:not([hidden])").await.click().await.unwrap();
    opened(&client, 1).await;
    click(&client, "Wang Xiaoming").await;
    assert!(
        text_of(&client, ".facts")
            .await
            .contains("an application on this phone")
    );
    picture(&client, "application-confirm").await;
    click(&client, number.trim()).await;
    click(&client, "Allow").await;
    click(&client, "Back to the application").await;
    client.switch_to_window(page).await.unwrap();
    let signed_in = Locator::XPath("//*[@id='lead'][contains(., '王小明')]");
    client
        .wait()
        .at_most(PATIENCE)
        .for_element(signed_in)
        .await
        .expect("signed in");
    let first = text_of(&client, "#facts").await;
    picture(&client, "application-done").await;
    click(&client, "Refresh the token").await;
    let renewed = async {
        while text_of(&client, "#facts").await == first {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, renewed).await.expect("another token");
    client.close().await.unwrap();
}
