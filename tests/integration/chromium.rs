//! The main job in a real browser: the demo as a stranger starts it, the picture of the code read from the screen, the
//! simulated phone clicked through, the application's greeting.

use std::process::Stdio;
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::wd::Capabilities;
use fantoccini::{Client, ClientBuilder, Locator};
use menshen::accounts::{new_user_id, proof};
use menshen::store::{NewUser, Store};
use secrecy::SecretString;
use serde_json::json;
use sqlx::Connection;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::account::{SECOND_APP, plan_of_two};
use crate::support::browser::picture_of;
use crate::support::picture::read_svg;
use crate::support::process::{Process, free_port};
use crate::support::upstream::Upstream;
use crate::support::world::{PUBLIC_HOST, install_crypto};

/// A child process that is ended with the test, and what it said first.
pub(crate) struct Running {
    _child: Child,
    pub(crate) said: String,
}

/// Starts a program and waits for a line that holds `mark`.
pub(crate) async fn start(program: &str, arguments: &[&str], mark: &str) -> Running {
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
    browser_with(driver, &[]).await
}

pub(crate) async fn browser_with(driver: &Running, more: &[&str]) -> Client {
    let port: String = driver.said.chars().filter(char::is_ascii_digit).collect();
    let mut arguments = vec![
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
    arguments.extend(more);
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
pub(crate) async fn text_of(client: &Client, css: &str) -> String {
    loop {
        let element = client.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await;
        match element.unwrap().prop("textContent").await {
            Ok(text) => return text.unwrap_or_default(),
            // The page drew itself anew between the two.
            Err(error) if error.is_stale_element_reference() => {}
            Err(error) => panic!("{css} cannot be read: {error}"),
        }
    }
}

/// Clicks the button that says exactly this; people of other screens have digits in their numbers, too.
pub(crate) async fn click(client: &Client, label: &str) {
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
    let number = text_of(&client, "#number").await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_follows_the_account_and_confirms_on_the_page_that_it_links_to() {
    let demo = start(
        env!("CARGO_BIN_EXE_menshen"),
        &["demo", "--listen", "127.0.0.1:0"],
        "http://",
    )
    .await;
    let mut words = demo.said.split_whitespace();
    let address = words.find(|word| word.starts_with("http://")).unwrap().to_owned();
    let driver = start("chromedriver", &["--port=0"], "started successfully on port").await;
    let client = browser(&driver).await;

    let tab = format!("{address}.menshen/login?connection=follow&rd=/reports?q=1");
    client.goto(&tab).await.unwrap();
    let code = wait_for(&client, "#code").await;
    // Menshen draws it as SVG, with round modules that the reader of these tests does not take off a screen.
    let drawn = picture_of(&code.attr("src").await.unwrap().unwrap());
    let account = read_svg(&String::from_utf8(drawn).unwrap());
    picture(&client, "account-tab").await;
    let page = client.window().await.unwrap();

    let phone = client.new_window(true).await.unwrap().handle;
    client.switch_to_window(phone.clone()).await.unwrap();
    client.set_window_size(390, 844).await.unwrap();
    client.goto(&account).await.unwrap();
    click(&client, "Li Lei").await;
    let link = wait_for(&client, ".chat .account a").await;
    picture(&client, "account-chat").await;
    link.click().await.unwrap();
    wait_for(&client, "#gate[data-state=ask]").await;
    let here = client.current_url().await.unwrap();
    assert_eq!(here.path(), "/.menshen/connections/follow/confirm");
    assert_eq!(here.fragment(), None, "the handle has left the address");
    let facts = text_of(&client, "#facts").await;
    assert!(facts.contains("127.0.0.1") && facts.contains("Chrome"), "{facts}");
    picture(&client, "account-confirm").await;
    // Again by a reload, which WeChat does when it was in the background.
    client.refresh().await.unwrap();
    wait_for(&client, "#gate[data-state=ask]").await;

    client.switch_to_window(page.clone()).await.unwrap();
    wait_for(&client, "[data-state=scanned]").await;
    picture(&client, "account-scanned").await;
    let number = text_of(&client, "#number").await;
    client.switch_to_window(phone).await.unwrap();
    click(&client, number.trim()).await;
    wait_for(&client, "#gate[data-state=done]").await;
    picture(&client, "account-done").await;

    client.switch_to_window(page).await.unwrap();
    let arrived = format!("{address}reports?q=1").parse().unwrap();
    client.wait().at_most(PATIENCE).for_url(&arrived).await.unwrap();
    let shown = client.source().await.unwrap();
    assert!(
        shown.contains("wechat_official_account"),
        "who they are is in the assertion"
    );
    client.close().await.unwrap();
}

/// Keeps what is on the screen where somebody wants to look at it.
async fn picture(client: &Client, name: &str) {
    if let Some(directory) = std::env::var_os("MENSHEN_SCREENSHOTS") {
        let file = std::path::Path::new(&directory).join(format!("{name}.png"));
        std::fs::write(file, client.screenshot().await.unwrap()).unwrap();
    }
}

/// An account with a password in the store of a gateway that runs.
async fn account(data: &std::path::Path, password: &str) {
    let url = format!("sqlite:{}", data.join("menshen.db").display());
    let store = Store::open(&SecretString::from(url.clone())).await.unwrap();
    let user = NewUser {
        id: new_user_id().unwrap(),
        username: Some("wangxiaoming".to_owned()),
        name: Some("王小明".to_owned()),
        ..NewUser::default()
    };
    store.insert_user(&user).await.unwrap();
    let hash = proof::hash(password).await.unwrap();
    let mut file = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("UPDATE users SET password_hash = $1")
        .bind(hash)
        .execute(&mut file)
        .await
        .unwrap();
}

pub(crate) async fn wait_for(client: &Client, css: &str) -> Element {
    let element = client.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await;
    element.unwrap_or_else(|error| panic!("no {css}: {error}"))
}

/// `config/sandbox.toml` on other ports, with a connection that asks.
fn asking(gateway: u16, wechat: u16, upstream: &str, data: &str) -> String {
    include_str!("../../config/sandbox.toml")
        .replace("127.0.0.1:8080", &format!("127.0.0.1:{gateway}"))
        .replace("127.0.0.1:9090", &format!("127.0.0.1:{wechat}"))
        .replace("127.0.0.1:3000", upstream)
        .replace("../.menshen", data)
        .replace("format = \"text\"", "format = \"json\"")
        .replace("phone = \"optional\"", "phone = \"optional\"\nassociation = \"ask\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_proves_an_account_in_the_browser_and_accepts_it_on_the_phone() {
    let (gateway, wechat) = (free_port(), free_port());
    let upstream = Upstream::start().await;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let file = directory.path().join("menshen.toml");
    let text = asking(
        gateway,
        wechat,
        &upstream.address().to_string(),
        &data.display().to_string(),
    );
    std::fs::write(&file, text).unwrap();
    let binary = env!("CARGO_BIN_EXE_menshen");
    let (listen, address) = (format!("127.0.0.1:{wechat}"), format!("http://127.0.0.1:{gateway}"));
    let _sandbox = start(
        binary,
        &["sandbox", "--listen", &listen, "--gateway", &address],
        "WeChat",
    )
    .await;
    let _gateway = Process::serve(&file).await;
    account(&data, "correct horse").await;
    let driver = start("chromedriver", &["--port=0"], "started successfully on port").await;
    let client = browser(&driver).await;

    client.goto(&format!("{address}/reports")).await.unwrap();
    let page = client.window().await.unwrap();
    let phone_page = wait_for(&client, "#simulated")
        .await
        .attr("href")
        .await
        .unwrap()
        .unwrap();
    let phone = client.new_window(true).await.unwrap().handle;
    client.switch_to_window(phone.clone()).await.unwrap();
    client.goto(&phone_page).await.unwrap();
    click(&client, "Li Lei").await;
    client.switch_to_window(page.clone()).await.unwrap();
    wait_for(&client, "[data-state=scanned]").await;
    let number = text_of(&client, "#number").await;
    client.switch_to_window(phone.clone()).await.unwrap();
    click(&client, number.trim()).await;
    click(&client, "Allow").await;
    assert_eq!(text_of(&client, ".screen-bind h2").await, "Continue on the computer");

    // The keyboard is where the person goes on; a wrong password is said at its field.
    client.switch_to_window(page.clone()).await.unwrap();
    wait_for(&client, "[data-state=bind]").await;
    let first = client.active_element().await.unwrap();
    assert_eq!(first.attr("name").await.unwrap().as_deref(), Some("login"));
    click_summary(&client, "Password").await;
    let form = "form:has([value=password])";
    wait_for(&client, &format!("{form} [name=login]"))
        .await
        .send_keys("wangxiaoming")
        .await
        .unwrap();
    let proof = format!("{form} [name=proof]");
    wait_for(&client, &proof).await.send_keys("wrong\n").await.unwrap();
    wait_for(&client, &format!("{proof}[aria-invalid=true]")).await;
    assert!(
        text_of(&client, "#refused")
            .await
            .starts_with("The account and the proof do not belong together.")
    );
    let focused = client.active_element().await.unwrap();
    assert_eq!(
        focused.attr("aria-describedby").await.unwrap().as_deref(),
        Some("refused")
    );
    assert_eq!(focused.prop("value").await.unwrap().as_deref(), Some(""));
    focused.send_keys("correct horse\n").await.unwrap();
    wait_for(&client, "[data-state=scanned]").await;
    assert_eq!(text_of(&client, "#headline").await, "Accept on your phone");
    assert!(text_of(&client, "#detail").await.contains("王**"));

    client.switch_to_window(phone).await.unwrap();
    click(&client, "Bind and sign in").await;
    client.switch_to_window(page).await.unwrap();
    client
        .wait()
        .at_most(PATIENCE)
        .for_url(&format!("{address}/reports").parse().unwrap())
        .await
        .unwrap();
    let seen = async || {
        while upstream.requests().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, seen())
        .await
        .expect("the application is asked");
    assert_eq!(upstream.last().header("remote-user").as_deref(), Some("wangxiaoming"));
    client.close().await.unwrap();
}

/// Opens the form of another method.
async fn click_summary(client: &Client, label: &str) {
    let path = format!("//summary[normalize-space(.)='{label}']");
    let summary = client
        .wait()
        .at_most(PATIENCE)
        .for_element(Locator::XPath(&path))
        .await
        .unwrap();
    summary.click().await.unwrap();
}

/// WeChat's page lies in a frame that may lead the window away, without a person's touch of this page.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_allows_it_in_wechats_frame_arrives_at_the_page_they_wanted() {
    let demo = start(
        env!("CARGO_BIN_EXE_menshen"),
        &["demo", "--listen", "127.0.0.1:0"],
        "http://",
    )
    .await;
    let mut words = demo.said.split_whitespace();
    let address = words.find(|word| word.starts_with("http://")).unwrap().to_owned();
    let driver = start("chromedriver", &["--port=0"], "started successfully on port").await;
    let client = browser(&driver).await;
    let page = format!("{address}.menshen/login?connection=website&rd=/reports?q=1");
    let arrived = format!("{address}reports?q=1").parse().unwrap();

    client.goto(&page).await.unwrap();
    let (address_of_frame, uuid) = enter_wechats_frame(&client).await;
    client.enter_parent_frame().await.unwrap();
    // Another device scans and allows: nobody touches this window.
    let phone: url::Url = address_of_frame.parse().unwrap();
    let decision = json!({ "uuid": uuid, "persona": "hanmeimei", "allow": true });
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = http
        .post(phone.join("/connect/confirm").unwrap())
        .json(&decision)
        .send()
        .await;
    assert_eq!(answer.unwrap().status(), 204);
    client.wait().at_most(PATIENCE).for_url(&arrived).await.unwrap();
    assert!(text_of(&client, "body").await.contains("韩梅梅"));

    // The stand-in's page has the phone's buttons as well; they work where the frame forbids forms.
    client.delete_all_cookies().await.unwrap();
    client.goto(&page).await.unwrap();
    enter_wechats_frame(&client).await;
    click(&client, "拒绝 Refuse").await;
    let refused = Locator::XPath("//*[@id='said'][contains(., 'Refused')]");
    client.wait().at_most(PATIENCE).for_element(refused).await.unwrap();
    client.goto(&page).await.unwrap();
    enter_wechats_frame(&client).await;
    click(&client, "允许 Allow").await;
    client.enter_parent_frame().await.unwrap();
    client.wait().at_most(PATIENCE).for_url(&arrived).await.unwrap();
    client.close().await.unwrap();
}

/// The address of the frame with WeChat's page, in which the browser is from now on, and the id of its code.
async fn enter_wechats_frame(client: &Client) -> (String, String) {
    let frame = client.wait().at_most(PATIENCE);
    let frame = frame.for_element(Locator::Css("iframe.wechat")).await.unwrap();
    let address = frame.attr("src").await.unwrap().unwrap();
    frame.enter_frame().await.unwrap();
    let code = client.wait().at_most(PATIENCE);
    let code = code.for_element(Locator::Css("main[data-uuid]")).await.unwrap();
    (address, code.attr("data-uuid").await.unwrap().unwrap())
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_person_connects_a_further_wechat_and_is_asked_before_it_is_done() {
    let world = plan_of_two(false).start().await;
    let origin = world.origin(PUBLIC_HOST);
    let driver = start("chromedriver", &["--port=0"], "started successfully on port").await;
    let client = browser_with(
        &driver,
        &[&format!("--host-resolver-rules=MAP {PUBLIC_HOST} 127.0.0.1")],
    )
    .await;
    client.set_window_size(390, 844).await.unwrap();

    let ticket = async || {
        let config = wait_for(&client, "#menshen")
            .await
            .prop("textContent")
            .await
            .unwrap()
            .unwrap();
        let config: serde_json::Value = serde_json::from_str(&config).unwrap();
        config["ticket"]["id"].as_str().unwrap().to_owned()
    };
    let number = async || -> i64 {
        wait_for(&client, "[data-state=scanned]").await;
        text_of(&client, "#number").await.trim().parse().unwrap()
    };
    client.goto(&format!("{origin}/.menshen/login")).await.unwrap();
    let mut phone = world.phone("lilei");
    phone.scan(&ticket().await).await.expect(200);
    phone.confirm(number().await).await.expect(200);
    wait_for(&client, ".own").await;

    wait_for(&client, "form[action='/.menshen/account/connect'] button")
        .await
        .click()
        .await
        .unwrap();
    assert_eq!(text_of(&client, "h1").await, "Connect another WeChat account");
    assert_eq!(text_of(&client, "#headline").await, "Scan with the other WeChat");
    let mut phone = world.phone("hanmeimei");
    phone.app_id = SECOND_APP.to_owned();
    phone.scan(&ticket().await).await.expect(200);
    let chosen = number().await;
    phone.confirm(chosen).await.expect(200);
    client
        .wait()
        .at_most(PATIENCE)
        .for_element(Locator::XPath("//*[@id='headline'][text()='Accept on your phone']"))
        .await
        .unwrap();
    phone.status().await.expect(200);
    phone.accept().await.expect(200);
    // Nothing is done without a click, though somebody is signed in who is the right one.
    wait_for(&client, "[data-state=ask]").await;
    assert_eq!(text_of(&client, "#headline").await, "Connect this WeChat account?");
    assert!(
        text_of(&client, "#detail")
            .await
            .starts_with("Only go on if that phone")
    );
    click(&client, "Connect").await;
    let note = text_of(&client, ".own [role=status]").await;
    assert_eq!(note, "The WeChat account is connected. It can sign you in from now on.");
    client.close().await.unwrap();
}
