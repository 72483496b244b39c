//! What an application gives to WeChat's OpenSDK, so that WeChat opens the mini program with its ticket.

use serde::Serialize;

use crate::config::settings::{EnvVersion, MiniprogramLaunch};
use crate::login::scene::Scene;

/// What an application gives to `WXLaunchMiniProgram`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Launch {
    /// Original id of the mini program, `gh_…`.
    pub user_name: String,
    /// Page with its query: the scene, and the application's half.
    pub path: String,
    /// 0 released, 1 developed, 2 tried: not WeChat's names elsewhere.
    pub r#type: u8,
}

impl Launch {
    /// For a ticket of this scene, with the application's half.
    pub fn of(kind: &MiniprogramLaunch, scene: &Scene, half: Option<&str>) -> Self {
        // Both values are base64url, which needs no encoding.
        let half = half.map_or_else(String::new, |half| format!("&half={half}"));
        Self {
            user_name: kind.original_id.clone(),
            path: format!("{}?scene={}{half}", kind.page, scene.as_str()),
            r#type: match kind.env_version {
                EnvVersion::Release => 0,
                EnvVersion::Develop => 1,
                EnvVersion::Trial => 2,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::login::scene::{SceneKey, SceneKeys};
    use crate::store::fixtures::NOW;

    #[test]
    fn a_launch_is_what_the_open_sdk_takes() {
        let keys = SceneKeys::new(vec![SceneKey::new(1, 0, b"key")]);
        let scene = keys.mint("app", NOW).unwrap();
        for (env_version, r#type) in [
            (EnvVersion::Release, 0),
            (EnvVersion::Develop, 1),
            (EnvVersion::Trial, 2),
        ] {
            let kind = MiniprogramLaunch {
                original_id: "gh_0123456789ab".into(),
                app_ids: vec!["wxapp".into()],
                page: "pages/login/login".into(),
                env_version,
            };
            let launch = Launch::of(&kind, &scene, Some("aB-_"));
            assert_eq!((launch.user_name.as_str(), launch.r#type), ("gh_0123456789ab", r#type));
            let path = format!("pages/login/login?scene={}", scene.as_str());
            assert_eq!(launch.path, format!("{path}&half=aB-_"));
            assert_eq!(Launch::of(&kind, &scene, None).path, path);
        }
    }
}
