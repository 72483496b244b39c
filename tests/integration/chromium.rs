//! The main job in a real browser: the demo as a stranger starts it, the picture of the code read from the screen, the
//! simulated phone clicked through, the application's greeting.

use std::process::Stdio;
use std::time::Duration;

use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::world::install_crypto;

/// A child process that is ended with the test, and what it said first.
struct Running {
    _child: Child,
    said: String,
}

/// Starts a program and waits for a line that holds `mark`.
async fn start(program: &str, arguments: &[&str], mark: &str) -> Running {
    let mut child = Command::new(program)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{program} does not start ({error}): `make test` installs what is needed"));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    loop {
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let line = line
            .expect("too slow")
            .unwrap()
            .unwrap_or_else(|| panic!("{program} ended before {mark:?}"));
        if line.contains(mark) {
            // Its later lines must not fill the pipe.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Running {
                _child: child,
                said: line,
            };
        }
    }
}

async fn browser(driver: &Running) -> Client {
    let port: String = driver.said.chars().filter(char::is_ascii_digit).collect();
    let arguments = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--window-size=1280,1200",
        // As dense as the screens that people hold their phones to.
        "--force-device-scale-factor=2",
        "--lang=en-US",
    ];
    let options = json!({ "args": arguments, "prefs": { "intl.accept_languages": "en-US" } });
    let mut wanted = Capabilities::new();
    wanted.insert("goog:chromeOptions".to_owned(), options);
    let address = format!("http://127.0.0.1:{port}");
    install_crypto();
    ClientBuilder::rustls()
        .unwrap()
        .capabilities(wanted)
        .connect(&address)
        .await
        .expect("a browser")
}

/// What a camera reads off the screen.
fn read_code(screenshot: &[u8]) -> String {
    let picture = image::load_from_memory(screenshot).unwrap().to_luma8();
    let mut prepared = rqrr::PreparedImage::prepare(picture);
    let grids = prepared.detect_grids();
    assert_eq!(grids.len(), 1, "one code on the screen");
    grids[0].decode().expect("a code that can be read").1
}

/// The text of an element, also while it is still fading in.
async fn text(client: &Client, css: &str) -> String {
    let element = client
        .wait()
        .at_most(PATIENCE)
        .for_element(Locator::Css(css))
        .await
        .unwrap();
    element.prop("textContent").await.unwrap().unwrap_or_default()
}

/// Clicks the button that says exactly this; people of other screens have digits in their numbers, too.
async fn click(client: &Client, label: &str) {
    let path = format!("//button[normalize-space(.)='{label}' or .//*[normalize-space(.)='{label}']]");
    loop {
        let button = client.wait().at_most(PATIENCE).for_element(Locator::XPath(&path)).await;
        match button
            .unwrap_or_else(|error| panic!("no button {label:?}: {error}"))
            .click()
            .await
        {
            Ok(()) => return,
            // The page drew itself anew between the two.
            Err(error) if error.is_stale_element_reference() => {}
            Err(error) => panic!("{label:?} cannot be clicked: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_scans_the_code_on_the_screen_and_is_greeted_by_name() {
    let demo = start(
        env!("CARGO_BIN_EXE_menshen"),
        &["demo", "--listen", "127.0.0.1:0"],
        "http://",
    )
    .await;
    let address = demo
        .said
        .split_whitespace()
        .find(|word| word.starts_with("http://"))
        .unwrap()
        .to_owned();
    let driver = start("chromedriver", &["--port=0"], "started successfully on port").await;
    let client = browser(&driver).await;

    client.goto(&format!("{address}reports?q=1&x=%E4%B8%AD")).await.unwrap();
    let code = client
        .wait()
        .at_most(PATIENCE)
        .for_element(Locator::Css("#code"))
        .await
        .unwrap();
    let phone_page = read_code(&code.screenshot().await.unwrap());
    let page = client.window().await.unwrap();

    let phone = client.new_window(true).await.unwrap().handle;
    client.switch_to_window(phone.clone()).await.unwrap();
    client.goto(&phone_page).await.unwrap();
    click(&client, "Wang Xiaoming").await;
    let confirm = Locator::XPath("//button[contains(normalize-space(.), 'This was not me')]");
    client
        .wait()
        .at_most(PATIENCE)
        .for_element(confirm)
        .await
        .expect("the confirm screen");

    client.switch_to_window(page.clone()).await.unwrap();
    client
        .wait()
        .at_most(PATIENCE)
        .for_element(Locator::Css("[data-state=scanned]"))
        .await
        .expect("scanned");
    let number = text(&client, "#number").await;
    assert!(
        matches!(number.trim().parse(), Ok(10..=99)),
        "two digits, not {number:?}"
    );

    client.switch_to_window(phone).await.unwrap();
    click(&client, number.trim()).await;
    click(&client, "Allow").await;

    client.switch_to_window(page).await.unwrap();
    client
        .wait()
        .at_most(PATIENCE)
        .for_element(Locator::XPath("//*[contains(text(), '王小明')]"))
        .await
        .expect("a greeting by name");
    let url = client.current_url().await.unwrap();
    assert_eq!(url.as_str(), format!("{address}reports?q=1&x=%E4%B8%AD"));
    let shown = client.source().await.unwrap();
    assert!(
        shown.contains("wangxiaoming") && shown.contains("ES256"),
        "identity headers and a verified assertion"
    );
    client.close().await.unwrap();
}

const PATIENCE: Duration = Duration::from_secs(20);
