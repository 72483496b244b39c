//! An answer of the gateway, as it came.

use serde_json::Value;

/// Status, headers in their order, body.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// This answer, if it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}\n{}", self.head(), self.text());
        self
    }

    /// The error code, if the answer has this status.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.code().as_deref(), Some(code), "{}", answer.text());
        answer
    }

    /// A page that refuses, with this status.
    #[track_caller]
    pub fn refused_page(self, status: u16) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(
            !answer.all("set-cookie").any(|line| line.starts_with("__Host-menshen=")),
            "{}",
            answer.head()
        );
        answer
    }

    /// The first value of a header.
    pub fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }

    /// All values of a header.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let of_name = move |(held, value): &'a (String, String)| (held == name).then_some(value.as_str());
        self.headers.iter().filter_map(of_name)
    }

    /// The `Set-Cookie` line of a cookie.
    pub fn set_cookie(&self, name: &str) -> Option<&str> {
        self.all("set-cookie").find(|line| line.split('=').next() == Some(name))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}\n{}", self.head(), self.text()))
    }

    /// The code of an error in JSON.
    pub fn code(&self) -> Option<String> {
        let value: Value = serde_json::from_slice(&self.body).ok()?;
        Some(value["error"]["code"].as_str()?.to_owned())
    }

    /// Whether the application wrote it, and not the gateway.
    pub fn is_of_upstream(&self) -> bool {
        self.header(super::upstream::MARK).is_some()
    }

    /// For messages of failed tests.
    pub fn head(&self) -> String {
        let mut text = self.status.to_string();
        for (name, value) in &self.headers {
            text.push_str(&format!("\n{name}: {value}"));
        }
        text
    }
}
