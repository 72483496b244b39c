//! What a request for a mini-program code may ask for, as strictly as `getwxacodeunlimit` judges it.
//!
//! Order of the checks: types, scene, page, version, size. WeChat does not document an order.

use std::collections::HashSet;

use serde_json::{Map, Value};
use url::Url;

use super::error::WechatError;
use super::picture::Style;
use super::world::App;

/// A code that may be drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) scene: String,
    pub(super) page: String,
    pub(super) env_version: String,
    pub(super) style: Style,
}

impl Order {
    /// Judges a request body. `unchecked` collects the pages that were asked for with `check_path: false`.
    ///
    /// # Errors
    /// 40169, 40129, 85096 for the scene, 41030 and 85096 for the page, 40097 for the version, 40189 for the width,
    /// 47001 for a value of the wrong type, 45029 when more than 60,000 unchecked pages were asked for.
    pub(super) fn parse(
        body: &Map<String, Value>,
        app: &App,
        unchecked: &mut HashSet<String>,
    ) -> Result<Self, WechatError> {
        let scene = scene(body)?;
        let page = page(body, app, unchecked)?;
        let env_version = match body.get("env_version") {
            None | Some(Value::Null) => "release",
            Some(Value::String(version)) if ENV_VERSIONS.contains(&version.as_str()) => version,
            Some(_) => return Err(WechatError::ARGUMENTS),
        };
        let style = Style {
            width: width(body)?,
            transparent: flag(body, "is_hyaline"),
            colour: if flag(body, "auto_color") {
                DARK_GREEN
            } else {
                colour(body)
            },
        };
        Ok(Self {
            scene,
            page,
            env_version: env_version.to_owned(),
            style,
        })
    }

    /// The address that the drawn code holds: the phone page of the sandbox at `base`.
    pub(super) fn address(&self, base: &Url, app: &App) -> Url {
        let mut address = base.clone();
        address.set_path("/phone");
        address.set_fragment(None);
        address
            .query_pairs_mut()
            .clear()
            .append_pair("appid", app.app_id.as_str())
            .append_pair("scene", &self.scene)
            .append_pair("page", &self.page)
            .append_pair("env", &self.env_version);
        address
    }
}

fn scene(body: &Map<String, Value>) -> Result<String, WechatError> {
    let scene = match body.get("scene") {
        None | Some(Value::Null) => "",
        Some(Value::String(scene)) => scene,
        Some(_) => return Err(WechatError::BODY),
    };
    if scene.is_empty() || scene.chars().count() > SCENE_LENGTH {
        return Err(WechatError::SCENE_LENGTH);
    }
    if !scene
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || SCENE_SYMBOLS.contains(&byte))
    {
        return Err(WechatError::SCENE_CHARACTERS);
    }
    if scene.contains(RESERVED) {
        return Err(WechatError::SCANCODE_TIME);
    }
    Ok(scene.to_owned())
}

fn page(body: &Map<String, Value>, app: &App, unchecked: &mut HashSet<String>) -> Result<String, WechatError> {
    let page = match body.get("page") {
        None | Some(Value::Null) => "",
        Some(Value::String(page)) => page,
        Some(_) => return Err(WechatError::BODY),
    };
    if page.is_empty() {
        return app.released_pages.first().cloned().ok_or(WechatError::PAGE);
    }
    if page.contains(RESERVED) {
        return Err(WechatError::SCANCODE_TIME);
    }
    if page.starts_with('/') || page.contains('?') {
        return Err(WechatError::PAGE);
    }
    // Only a JSON `false` switches the check off: the string "false" is ignored.
    if body.get("check_path") != Some(&Value::Bool(false)) {
        return if app.released_pages.iter().any(|released| released == page) {
            Ok(page.to_owned())
        } else {
            Err(WechatError::PAGE)
        };
    }
    if unchecked.len() >= UNCHECKED_PAGES && !unchecked.contains(page) {
        return Err(WechatError::POOL_USED_UP);
    }
    unchecked.insert(page.to_owned());
    Ok(page.to_owned())
}

fn width(body: &Map<String, Value>) -> Result<u32, WechatError> {
    match body.get("width") {
        None | Some(Value::Null) => Ok(DEFAULT_WIDTH),
        Some(Value::Number(width)) => width
            .as_u64()
            .and_then(|width| u32::try_from(width).ok())
            .filter(|width| (280..=1280).contains(width))
            .ok_or(WechatError::WIDTH),
        Some(_) => Err(WechatError::BODY),
    }
}

fn colour(body: &Map<String, Value>) -> [u8; 3] {
    let component = |name| match body.get("line_color").and_then(|colour| colour.get(name)) {
        Some(Value::Number(value)) => value.as_u64().and_then(|value| u8::try_from(value).ok()).unwrap_or(0),
        Some(Value::String(value)) => value.parse().unwrap_or(0),
        _ => 0,
    };
    [component("r"), component("g"), component("b")]
}

fn flag(body: &Map<String, Value>, name: &str) -> bool {
    body.get(name) == Some(&Value::Bool(true))
}

const SCENE_LENGTH: usize = 32;
const SCENE_SYMBOLS: &[u8] = b"!#$&'()*+,/:;=?@-._~";
const RESERVED: &str = "scancode_time";
const ENV_VERSIONS: [&str; 3] = ["release", "trial", "develop"];
const DEFAULT_WIDTH: u32 = 430;
const UNCHECKED_PAGES: usize = 60_000;
const DARK_GREEN: [u8; 3] = [12, 74, 54];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use serde_json::json;

    use super::super::world::AppId;
    use super::*;

    fn judge(body: Value) -> Result<Order, i64> {
        let app = App::mini_program(AppId::new("wxsandbox1").unwrap());
        let Value::Object(body) = body else { panic!("an object") };
        Order::parse(&body, &app, &mut HashSet::new()).map_err(|error| error.0)
    }

    #[test]
    fn each_mistake_has_its_code() {
        let cases = [
            (json!({}), 40169),
            (json!({ "scene": "" }), 40169),
            (json!({ "scene": "a".repeat(33) }), 40169),
            (json!({ "scene": "f81d4fae-7dec-11d0-a765-00a0c91e6bf6" }), 40169),
            (json!({ "scene": 47 }), 47001),
            (json!({ "scene": "a%20b" }), 40129),
            (json!({ "scene": "a b" }), 40129),
            (json!({ "scene": "门神" }), 40129),
            (json!({ "scene": "门".repeat(33) }), 40169),
            (json!({ "scene": "scancode_time=1" }), 85096),
            (json!({ "scene": "a", "page": "pages/scancode_time" }), 85096),
            (json!({ "scene": "a", "page": "/pages/login/login" }), 41030),
            (json!({ "scene": "a", "page": "pages/login/login?x=1" }), 41030),
            (json!({ "scene": "a", "page": "pages/other/other" }), 41030),
            (
                json!({ "scene": "a", "page": "pages/other/other", "check_path": "false" }),
                41030,
            ),
            (
                json!({ "scene": "a", "page": "/pages/other", "check_path": false }),
                41030,
            ),
            (json!({ "scene": "a", "env_version": "Release" }), 40097),
            (json!({ "scene": "a", "env_version": 1 }), 40097),
            (json!({ "scene": "a", "width": 279 }), 40189),
            (json!({ "scene": "a", "width": 1281 }), 40189),
            (json!({ "scene": "a", "width": "430" }), 47001),
        ];
        for (body, code) in cases {
            assert_eq!(judge(body.clone()), Err(code), "{body}");
        }
    }

    #[test]
    fn defaults_are_the_home_page_the_release_and_430_pixels() {
        let order = judge(json!({ "scene": "a" })).unwrap();
        assert_eq!(
            (order.page.as_str(), order.env_version.as_str()),
            ("pages/login/login", "release")
        );
        assert_eq!(
            order.style,
            Style {
                width: 430,
                transparent: false,
                colour: [0, 0, 0]
            }
        );
    }

    #[test]
    fn every_permitted_character_survives_the_way_into_the_address() {
        let scene = "aZ09!#$&'()*+,/:;=?@-._~";
        let order =
            judge(json!({ "scene": scene, "page": "p/x", "check_path": false, "env_version": "trial" })).unwrap();
        let app = App::mini_program(AppId::new("wxsandbox1").unwrap());
        let address = order.address(&Url::parse("http://127.0.0.1:9000/").unwrap(), &app);
        let pairs: Vec<_> = address.query_pairs().into_owned().collect();
        let expected = [
            ("appid", "wxsandbox1"),
            ("scene", scene),
            ("page", "p/x"),
            ("env", "trial"),
        ];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(address.path(), "/phone");
    }

    #[test]
    fn colours_are_read_as_numbers_and_as_strings() {
        let order = judge(json!({ "scene": "a", "line_color": { "r": "10", "g": 20, "b": "x" } })).unwrap();
        assert_eq!(order.style.colour, [10, 20, 0]);
    }

    #[test]
    fn the_60001st_unchecked_page_is_refused_and_known_ones_go_on() {
        let app = App::mini_program(AppId::new("wxsandbox1").unwrap());
        let mut pages: HashSet<String> = (0..60_000).map(|number| format!("p/{number}")).collect();
        let mut ask = |page: &str| {
            let Value::Object(body) = json!({ "scene": "a", "page": page, "check_path": false }) else {
                panic!()
            };
            Order::parse(&body, &app, &mut pages)
                .map_err(|error| error.0)
                .map(|order| order.page)
        };
        assert_eq!(ask("p/new"), Err(45029));
        assert_eq!(ask("p/7"), Ok("p/7".to_owned()));
    }
}
