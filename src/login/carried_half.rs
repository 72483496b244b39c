//! The browser's half on its way through WeChat.
//!
//! Where page and phone are one device, WeChat covers the page as soon as it opens, and systems put to sleep what is
//! covered: the page could not say who asks until the person has come back to it. So the link that opens the mini
//! program carries the half with it, sealed for this one scene, and the mini program hands it over with its scan. What
//! the phone shows is the page's half all the same; a mini program that hands nothing over waits for the page.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::login::browser_half::BrowserFacts;
use crate::login::device::{Device, DeviceKind};
use crate::login::scene::Scene;
use crate::session::seal::{Purpose, SealingRing};

/// Positional on the wire, and short: a link has room for 256 characters.
#[derive(Serialize, Deserialize)]
struct Carried {
    site: String,
    host: String,
    browser: String,
    os: String,
    kind: DeviceKind,
    address: IpAddr,
    time: i64,
}

/// Seals what the phone is shown for this scene. `None` for a ticket that logs nobody in: its page is no phone's.
pub fn carry(ring: &SealingRing, facts: &BrowserFacts, scene: &Scene, now: i64) -> Option<String> {
    if facts.bind_to.is_some() {
        return None;
    }
    let carried = Carried {
        site: facts.site.clone(),
        host: facts.host.clone(),
        browser: facts.device.browser.clone(),
        os: facts.device.os.clone(),
        kind: facts.device.kind,
        address: facts.address,
        time: facts.time,
    };
    let mut bytes = vec![VERSION];
    bytes.extend(postcard::to_stdvec(&carried).ok()?);
    ring.seal(Purpose::CarriedHalf, &[scene.as_str()], &bytes, now).ok()
}

/// Opens what came with a scan of this scene.
pub fn open(ring: &SealingRing, text: &str, scene: &Scene) -> Option<BrowserFacts> {
    let bytes = ring.open(Purpose::CarriedHalf, &[scene.as_str()], text.as_bytes())?;
    let (&VERSION, rest) = bytes.split_first()? else {
        return None;
    };
    let (carried, []) = postcard::take_from_bytes::<Carried>(rest).ok()? else {
        return None;
    };
    Some(BrowserFacts {
        site: carried.site,
        host: carried.host,
        device: Device::named(carried.browser, carried.os, carried.kind),
        address: carried.address,
        time: carried.time,
        bind_to: None,
    })
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::login::browser_half::BindTo;
    use crate::login::scene::{SceneKey, SceneKeys};
    use crate::session::seal::SealingKey;

    fn facts(device: Device) -> BrowserFacts {
        BrowserFacts {
            site: "库存管理系统 Stock".into(),
            host: "stock.corp.example.com".into(),
            device,
            address: "2001:db8:1234:5678:9abc:def0:1234:5678".parse().unwrap(),
            time: 1_795_172_731,
            bind_to: None,
        }
    }

    fn ring() -> SealingRing {
        SealingRing::new(vec![SealingKey::new(1, 0, &[1; 32]).unwrap()])
    }

    fn scenes() -> SceneKeys {
        SceneKeys::new(vec![SceneKey::new(1, 0, b"key")])
    }

    const PHONE: &str = "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) \
        Chrome/142.0.0.0 Mobile Safari/537.36";

    #[test]
    fn what_is_carried_arrives_for_its_scene_and_fits_into_a_link() {
        let (ring, scenes) = (ring(), scenes());
        let (scene, other) = (scenes.mint("staff", 100).unwrap(), scenes.mint("staff", 100).unwrap());
        for device in [
            Device::of(PHONE),
            Device::of(""),
            Device::program(DeviceKind::Application, PHONE),
        ] {
            let facts = facts(device);
            let text = carry(&ring, &facts, &scene, 100).unwrap();
            assert!(text.len() <= 200, "{}", text.len());
            assert_eq!(open(&ring, &text, &scene), Some(facts));
            assert_eq!(open(&ring, &text, &other), None);
        }
    }

    #[test]
    fn a_ticket_that_connects_an_account_carries_nothing() {
        let mut facts = facts(Device::of(PHONE));
        facts.bind_to = Some(BindTo {
            user_id: "u_1".into(),
            session_id: "s1".into(),
        });
        let scene = scenes().mint("staff", 100).unwrap();
        assert_eq!(carry(&ring(), &facts, &scene, 100), None);
    }

    proptest! {
        #[test]
        fn nothing_else_opens(text in "\\PC{0,220}", bytes in proptest::collection::vec(any::<u8>(), 0..90)) {
            let scene = scenes().mint("staff", 100).unwrap();
            prop_assert_eq!(open(&ring(), &text, &scene), None);
            // Sealed by us and still not a half.
            let sealed = ring().seal(Purpose::CarriedHalf, &[scene.as_str()], &bytes, 100).unwrap();
            if let Some(facts) = open(&ring(), &sealed, &scene) {
                prop_assert_eq!(bytes[0], VERSION);
                prop_assert!(facts.bind_to.is_none());
            }
        }
    }
}
