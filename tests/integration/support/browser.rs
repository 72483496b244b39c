//! A browser: cookies by name and path, fetch metadata, pages, event streams. It follows no redirect by itself.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::answer::Answer;
use super::invariants::SPOOFS;
use super::phone::Phone;
use super::wire::{Request, Wire};
use super::world::World;

/// A browser at one host.
pub struct Browser<'w> {
    pub world: &'w World,
    pub host: String,
    pub cookies: Vec<Cookie>,
    /// `Accept-Language`.
    pub language: String,
}

/// A cookie that a browser keeps.
#[derive(Debug, Clone)]
pub struct Cookie {
    pub name: String,
    pub value: String,
    pub path: String,
}

/// The login page and what its script reads.
#[derive(Debug, Clone)]
pub struct LoginPage {
    pub answer: Answer,
    /// The script's configuration.
    pub config: Value,
    /// The ticket's id.
    pub ticket: String,
}

/// A stream of `status` events.
pub struct Events {
    wire: Wire,
    text: String,
    /// Status and headers of the stream.
    pub answer: Answer,
}

/// A page whose code a phone has scanned.
pub struct Scanned {
    pub page: LoginPage,
    pub events: Events,
    /// What the page shows.
    pub number: i64,
}

impl<'w> Browser<'w> {
    pub fn new(world: &'w World, host: &str) -> Self {
        Self {
            world,
            host: host.to_owned(),
            cookies: Vec::new(),
            language: "en".to_owned(),
        }
    }

    /// Opens an address by hand: a top-level navigation.
    pub async fn open(&mut self, target: &str) -> Answer {
        let request = self.navigation("GET", target).header("Sec-Fetch-Site", "none");
        self.send(request).await
    }

    /// A script of this page calls without a body.
    pub async fn fetch(&mut self, method: &str, target: &str) -> Answer {
        let request = self.script(method, target);
        self.send(request).await
    }

    /// A script of this page sends JSON.
    pub async fn fetch_json(&mut self, target: &str, body: &Value) -> Answer {
        let request = self.script("POST", target).json(body);
        self.send(request).await
    }

    /// A form of this page is sent.
    pub async fn submit(&mut self, target: &str, fields: &[(&str, &str)]) -> Answer {
        let body: String = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let request = self
            .navigation("POST", target)
            .header("Sec-Fetch-Site", "same-origin")
            .header("Origin", &self.world.origin(&self.host))
            .body("application/x-www-form-urlencoded", body.as_bytes());
        self.send(request).await
    }

    /// Sends a request and keeps the cookies of the answer.
    pub async fn send(&mut self, request: Request) -> Answer {
        let answer = self.world.send(&request).await;
        self.keep(&answer);
        answer
    }

    /// A navigation of this browser, without `Sec-Fetch-Site`.
    pub fn navigation(&self, method: &str, target: &str) -> Request {
        self.request(method, target)
            .header(
                "Accept",
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            )
            .header("Sec-Fetch-Mode", "navigate")
            .header("Sec-Fetch-Dest", "document")
            .header("Sec-Fetch-User", "?1")
    }

    /// A call of a script of this page.
    pub fn script(&self, method: &str, target: &str) -> Request {
        let request = self
            .request(method, target)
            .header("Accept", "application/json")
            .header("Sec-Fetch-Mode", "cors")
            .header("Sec-Fetch-Dest", "empty")
            .header("Sec-Fetch-Site", "same-origin");
        if matches!(method, "GET" | "HEAD") {
            request
        } else {
            request.header("Origin", &self.world.origin(&self.host))
        }
    }

    /// Host, agent, language, cookies, and headers that no client may set.
    pub fn request(&self, method: &str, target: &str) -> Request {
        let mut request = Request::new(method, target)
            .header("Host", &self.world.authority(&self.host))
            .header("User-Agent", AGENT)
            .header("Accept-Language", &self.language);
        if self.world.is_https() {
            request = request
                .header("X-Forwarded-Proto", "https")
                .header("X-Forwarded-For", "198.51.100.4");
        }
        for (name, value) in SPOOFS {
            request = request.header(name, value);
        }
        let path = target.split('?').next().unwrap_or_default();
        let line = self.cookie_line(path);
        if line.is_empty() {
            request
        } else {
            request.header("Cookie", &line)
        }
    }

    /// The `Cookie` header for a path.
    pub fn cookie_line(&self, path: &str) -> String {
        let held = self.cookies.iter().filter(|cookie| cookie.matches(path));
        held.map(|cookie| format!("{}={}", cookie.name, cookie.value))
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// The value of a cookie, whatever its path.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let mut held = self.cookies.iter().filter(|cookie| cookie.name == name);
        held.next().map(|cookie| cookie.value.as_str())
    }

    /// Keeps or ends cookies as an answer says.
    pub fn keep(&mut self, answer: &Answer) {
        for line in answer.all("set-cookie") {
            let parsed = cookie::Cookie::parse(line.to_owned()).expect("a cookie");
            let path = parsed.path().unwrap_or("/").to_owned();
            self.cookies
                .retain(|held| held.name != parsed.name() || held.path != path);
            if parsed.max_age().is_none_or(|age| age.is_positive()) {
                self.cookies.push(Cookie {
                    name: parsed.name().to_owned(),
                    value: parsed.value().to_owned(),
                    path,
                });
            }
        }
    }

    /// The stream of a ticket.
    pub async fn events(&self, page: &LoginPage) -> Events {
        self.events_of(&page.ticket).await
    }

    /// The same by id.
    pub async fn events_of(&self, ticket: &str) -> Events {
        let request = self
            .script("GET", &format!("/.menshen/tickets/{ticket}/events"))
            .without("Accept")
            .header("Accept", "text/event-stream");
        let mut wire = Wire::open(self.world.address).await;
        wire.write(&request.bytes()).await;
        let answer = wire.head().await;
        self.world.check(&request, &answer);
        Events {
            wire,
            text: String::new(),
            answer,
        }
    }

    /// The status object, at once.
    pub async fn status(&mut self, page: &LoginPage) -> Answer {
        self.fetch("GET", &format!("/.menshen/tickets/{}", page.ticket)).await
    }

    /// Redeems by script.
    pub async fn redeem(&mut self, page: &LoginPage) -> Answer {
        let target = format!("/.menshen/tickets/{}/redeem", page.ticket);
        let body = if page.config["hand_back_rd"] == true {
            json!({ "rd": page.config["rd"] })
        } else {
            json!({})
        };
        self.fetch_json(&target, &body).await
    }

    /// Opens a page, waits at its stream, and has a phone scan it.
    pub async fn scanned_by(&mut self, phone: &mut Phone<'_>) -> Scanned {
        let page = self.open("/").await.login_page();
        let mut events = self.events(&page).await;
        phone.scan(&page.ticket).await.expect(200);
        let number = events.until("scanned").await["number"].as_i64();
        Scanned {
            page,
            events,
            number: number.unwrap_or_default(),
        }
    }

    /// The whole login of a person, up to the session; nothing else of the flow is looked at.
    pub async fn log_in(&mut self, persona: &str) -> LoginPage {
        let page = self.open("/").await.login_page();
        self.finish_login(&page, persona).await.expect(200);
        page
    }

    /// From a login page to the answer of `redeem`.
    pub async fn finish_login(&mut self, page: &LoginPage, persona: &str) -> Answer {
        let mut events = self.events(page).await;
        let mut phone = self.world.phone(persona);
        phone.scan(&page.ticket).await.expect(200);
        let number = events.until("scanned").await["number"].as_i64();
        let answer = if phone.shown["phone"] == "required" {
            phone.confirm_with_phone(number.unwrap_or_default()).await
        } else {
            phone.confirm(number.unwrap_or_default()).await
        };
        answer.expect(200);
        events.until("confirmed").await;
        self.redeem(page).await
    }
}

impl Cookie {
    /// RFC 6265 §5.1.4.
    pub fn matches(&self, path: &str) -> bool {
        path.strip_prefix(self.path.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || self.path.ends_with('/'))
    }
}

impl Events {
    /// The next `status` event; comments are passed over.
    #[track_caller]
    pub fn next(&mut self) -> impl Future<Output = Value> {
        let place = std::panic::Location::caller();
        async move {
            self.try_next()
                .await
                .unwrap_or_else(|| panic!("the stream ended, at {place}"))
        }
    }

    /// The next `status` event, or `None` at the end of the stream.
    pub async fn try_next(&mut self) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let data: Vec<&str> = event.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
                if event.lines().any(|line| line == "event: status") {
                    return Some(serde_json::from_str(&data.join("\n")).expect("JSON"));
                }
                continue;
            }
            let chunk = self.wire.chunk().await?;
            self.text.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
    }

    /// The first event that says this status.
    #[track_caller]
    pub fn until(&mut self, status: &str) -> impl Future<Output = Value> {
        let place = std::panic::Location::caller();
        async move {
            loop {
                let event = self.try_next().await;
                let event = event.unwrap_or_else(|| panic!("the stream ended before {status}, at {place}"));
                if event["status"] == status {
                    return event;
                }
            }
        }
    }
}

impl Answer {
    /// Reads the login page.
    #[track_caller]
    pub fn login_page(self) -> LoginPage {
        let html = self.text();
        let config = between(&html, "<script type=\"application/json\" id=\"menshen\">", "</script>")
            .unwrap_or_else(|| panic!("no login page:\n{}\n{html}", self.head()));
        let config: Value = serde_json::from_str(config).expect("JSON");
        let ticket = config["ticket"]["id"].as_str().expect("a ticket").to_owned();
        LoginPage {
            answer: self,
            config,
            ticket,
        }
    }
}

impl LoginPage {
    /// Address of the code's picture: a `data:` URI or a path.
    #[track_caller]
    pub fn picture_address(&self) -> String {
        let html = self.answer.text();
        let image = between(&html, "<img class=\"code\"", ">").expect("a code on the page");
        unescape(between(image, "src=\"", "\"").expect("a picture"))
    }

    /// The bytes of the code's picture.
    #[track_caller]
    pub fn picture(&self) -> Vec<u8> {
        picture_of(&self.picture_address())
    }
}

/// The bytes of a `data:` URI.
#[track_caller]
pub fn picture_of(address: &str) -> Vec<u8> {
    let (head, data) = address
        .strip_prefix("data:")
        .and_then(|rest| rest.split_once(','))
        .unwrap_or_else(|| panic!("{address} is no data URI"));
    if head.ends_with(";base64") {
        STANDARD.decode(data).expect("base64")
    } else {
        percent_decode_str(data).collect()
    }
}

/// A value of an attribute as a browser reads it.
pub fn unescape(text: &str) -> String {
    [
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#38;", "&"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

/// What stands between two texts, the first time.
pub fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

const AGENT: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/141.0.0.0 Safari/537.36";
