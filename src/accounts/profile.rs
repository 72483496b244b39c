//! Names and pictures that WeChat tells, for users that have none.
//!
//! What an operator or an import wrote stays. A picture of WeChat's own is replaced at every login: its address ends when
//! the person changes the picture.

use url::Url;

use crate::store::{StoreError, User, UserChange};

use super::directory::Directory;
use super::fields;

impl Directory {
    /// Completes a user who has just logged in, and gives them back as they are then. What is not fit to be a name or the
    /// address of a picture is left out.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing was written.
    pub async fn complete(
        &self,
        user: User,
        name: Option<&str>,
        picture: Option<&str>,
        now: i64,
    ) -> Result<User, StoreError> {
        let change = completion(&user, name, picture);
        if change.name.is_none() && change.picture.is_none() {
            return Ok(user);
        }
        self.store().update_user(&user.id, &change, now).await?;
        Ok(self.store().user(&user.id).await?.unwrap_or(user))
    }
}

fn completion(user: &User, name: Option<&str>, picture: Option<&str>) -> UserChange {
    let name = name
        .filter(|_| user.name.is_none())
        .and_then(|text| fields::name(text).ok());
    let picture = picture
        .filter(|_| user.picture.as_deref().is_none_or(is_wechats))
        .and_then(|text| fields::picture(text).ok())
        .filter(|picture| picture.starts_with("https://") && user.picture.as_deref() != Some(picture));
    UserChange {
        name: name.map(Some),
        picture: picture.map(Some),
        ..UserChange::default()
    }
}

/// WeChat's pictures are at `thirdwx.qlogo.cn` and its siblings.
fn is_wechats(picture: &str) -> bool {
    let url = Url::parse(picture).ok();
    url.as_ref()
        .and_then(Url::host_str)
        .is_some_and(|host| host == "qlogo.cn" || host.ends_with(".qlogo.cn"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::fixtures::{self, NOW};

    const OLD: &str = "https://thirdwx.qlogo.cn/old/132";
    const NEW: &str = "https://thirdwx.qlogo.cn/new/132";
    const OWN: &str = "https://intranet.test/lilei.png";

    #[tokio::test]
    async fn only_what_is_missing_is_filled_in() {
        let store = fixtures::store().await;
        fixtures::user(&store, "u_1").await;
        let table = [
            (None, None, Some("李雷"), Some(NEW), Some("李雷"), Some(NEW)),
            (Some("Li"), None, Some("李雷"), Some(NEW), Some("Li"), Some(NEW)),
            (Some("Li"), Some(OLD), None, Some(NEW), Some("Li"), Some(NEW)),
            (Some("Li"), Some(OWN), Some("李雷"), Some(NEW), Some("Li"), Some(OWN)),
            (None, Some(OLD), None, None, None, Some(OLD)),
            (None, None, Some(" \n"), Some("javascript:alert(1)"), None, None),
            (
                None,
                None,
                Some("李\u{202e}雷"),
                Some("http://thirdwx.qlogo.cn/x"),
                None,
                None,
            ),
            (
                None,
                Some("https://qlogo.cn.evil.test/x"),
                None,
                Some(NEW),
                None,
                Some("https://qlogo.cn.evil.test/x"),
            ),
        ];
        let directory = Directory::new((*store).clone());
        for (name, picture, told_name, told_picture, expected_name, expected_picture) in table {
            let change = UserChange {
                name: Some(name.map(str::to_owned)),
                picture: Some(picture.map(str::to_owned)),
                ..UserChange::default()
            };
            store.update_user("u_1", &change, NOW).await.unwrap();
            let user = store.user("u_1").await.unwrap().unwrap();
            let user = directory.complete(user, told_name, told_picture, NOW).await.unwrap();
            let stored = store.user("u_1").await.unwrap().unwrap();
            assert_eq!(user, stored);
            assert_eq!(
                (user.name.as_deref(), user.picture.as_deref()),
                (expected_name, expected_picture)
            );
        }
    }
}
