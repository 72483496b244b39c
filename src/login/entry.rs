//! How the mini program was opened, as it reports it: by a camera, a link, an application, a forwarded card.
//!
//! A signal and no proof, since a package can be taken apart and its calls repeated. It is worth something nonetheless:
//! where the *published* mini program is opened in a way that does not fit the ticket, somebody else chose that way for
//! the person. A ticket is made for one way: codes for cameras, links for the page on this very phone, launches for an
//! application. The number of a way is WeChat's launch scene (场景值).

use crate::config::settings::ConnectionKind;
use crate::login::device::DeviceKind;
use crate::login::scene::Opening;

/// What a mini program reports of its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Launch scene of `wx.getEnterOptionsSync()`; mini programs of others may leave it out.
    pub scene: Option<i64>,
    /// `referrerInfo.appId`: the AppID of what opened it.
    pub referrer: Option<&'a str>,
}

/// What the person is told about a start that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warning {
    /// The code came out of a picture: long-pressed or out of the album.
    Picture,
    /// Neither a camera nor a link nor a second opening.
    Unusual,
}

/// Why a start is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EntryRefusal {
    /// Somebody sent the page on.
    #[error("the mini program was opened from a forwarded card")]
    Forwarded,
    /// A ticket of an application, opened in any other way: somebody took it out of that application.
    #[error("the ticket of an application was not opened by one")]
    NotByApplication,
    /// Opened by an application whose AppID is not in `app_ids`.
    #[error("the mini program was opened by an application that is not listed")]
    ForeignApplication,
    /// A ticket with a code, opened by an application.
    #[error("a ticket with a code was opened by an application")]
    ByApplication,
    /// A ticket with a code, opened by another mini program: codes are for cameras.
    #[error("a ticket with a code was opened by another mini program")]
    ByMiniProgram,
    /// A link that no page opened: tapped within WeChat, where no page is given one, or of a kind that none is given.
    #[error("the mini program was opened by a link that somebody sent")]
    SentLink,
    /// A link to a ticket whose page is not on a phone, and was given none.
    #[error("the ticket of a page that has no link was opened by a link")]
    ByLink,
}

impl Entry<'_> {
    /// Judges a start by the ticket's connection, before anybody is asked.
    ///
    /// # Errors
    /// [`EntryRefusal`].
    pub fn judge(&self, kind: &ConnectionKind) -> Result<(), EntryRefusal> {
        let is = |numbers: &[i64]| self.scene.is_some_and(|scene| numbers.contains(&scene));
        if is(&FORWARDED) {
            return Err(EntryRefusal::Forwarded);
        }
        match kind {
            ConnectionKind::MiniprogramLaunch(_)
                if self.scene.is_some() && !is(&[APPLICATION]) && !is_opened_again(self.scene) =>
            {
                Err(EntryRefusal::NotByApplication)
            }
            ConnectionKind::MiniprogramLaunch(launch) => match self.referrer.filter(|app| !app.is_empty()) {
                Some(app) if !launch.app_ids.iter().any(|listed| listed == app) => {
                    Err(EntryRefusal::ForeignApplication)
                }
                _ => Ok(()),
            },
            _ if is(&[APPLICATION]) => Err(EntryRefusal::ByApplication),
            _ if is(&[MINI_PROGRAM]) => Err(EntryRefusal::ByMiniProgram),
            _ if is(&SENT_LINKS) => Err(EntryRefusal::SentLink),
            _ => Ok(()),
        }
    }
}

/// Judges a start once it is known what asks to be signed in: only a page on a phone was given a link.
///
/// # Errors
/// [`EntryRefusal::ByLink`].
pub fn judge_link(scene: Option<i64>, asks: DeviceKind) -> Result<(), EntryRefusal> {
    let on_a_phone = matches!(asks, DeviceKind::Phone | DeviceKind::Tablet);
    if !on_a_phone && scene.is_some_and(|scene| LINKS.contains(&scene)) {
        return Err(EntryRefusal::ByLink);
    }
    Ok(())
}

impl Warning {
    /// What is to be said about a start that was taken.
    pub fn of(scene: Option<i64>) -> Option<Self> {
        let scene = scene?;
        if FROM_PICTURE.contains(&scene) {
            return Some(Self::Picture);
        }
        let usual =
            SCANNED.contains(&scene) || LINKS.contains(&scene) || AGAIN.contains(&scene) || scene == APPLICATION;
        (!usual).then_some(Self::Unusual)
    }

    /// The text of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Picture => "picture",
            Self::Unusual => "unusual",
        }
    }
}

/// Whether what a page has shown before WeChat opened counts for who comes like this.
pub fn opening(scene: Option<i64>) -> Opening {
    let ahead = is_opened_again(scene) || scene.is_some_and(|scene| LINKS.contains(&scene) || scene == APPLICATION);
    if ahead { Opening::Ahead } else { Opening::ByCode }
}

/// Whether the start says nothing of how the ticket came to the phone: none was reported, or what was open before was
/// opened again.
pub fn is_opened_again(scene: Option<i64>) -> bool {
    scene.is_none_or(|scene| AGAIN.contains(&scene))
}

/// Sent on as a card: in a chat, in a group, by an application, with a ticket for the group, out of a chat's record.
const FORWARDED: [i64; 5] = [1007, 1008, 1036, 1044, 1096];
/// By the camera: an ordinary code, a round one.
const SCANNED: [i64; 2] = [1011, 1047];
/// Long-pressed or picked from the album: an ordinary code, a round one.
const FROM_PICTURE: [i64; 4] = [1012, 1013, 1048, 1049];
/// From the lists of recent ones, the desktop, the floating window, or coming back.
const AGAIN: [i64; 6] = [1001, 1023, 1038, 1089, 1090, 1104];
/// Another mini program.
const MINI_PROGRAM: i64 = 1037;
/// Scheme, URL link outside of WeChat: what a page on a phone is given.
const LINKS: [i64; 2] = [1065, 1194];
/// URL link or open tag inside WeChat, where a page shows its code; plain scheme, which needs no server.
const SENT_LINKS: [i64; 2] = [1167, 1286];
/// An application by WeChat's OpenSDK. What is opened again later reports another number.
const APPLICATION: i64 = 1069;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{EnvVersion, MiniprogramLaunch, WebScope};

    fn launch() -> ConnectionKind {
        ConnectionKind::MiniprogramLaunch(MiniprogramLaunch {
            original_id: "gh_1".into(),
            app_ids: vec!["wxapp1".into(), "wxapp2".into()],
            page: "pages/login/login".into(),
            env_version: EnvVersion::Release,
        })
    }

    /// Any kind with a code.
    fn code() -> ConnectionKind {
        ConnectionKind::OfficialAccountWeb { scope: WebScope::Base }
    }

    #[test]
    fn a_ticket_is_opened_in_the_way_that_it_was_made_for() {
        use EntryRefusal::{ByApplication, ByMiniProgram, ForeignApplication, Forwarded, NotByApplication, SentLink};
        let cases = [
            (launch(), Some(1069), Some("wxapp1"), Ok(())),
            (launch(), Some(1069), Some("wxapp2"), Ok(())),
            (launch(), Some(1069), Some(""), Ok(())),
            (launch(), Some(1069), None, Ok(())),
            // Opened again from the list of recent ones.
            (launch(), Some(1089), None, Ok(())),
            (launch(), None, None, Ok(())),
            (launch(), Some(1069), Some("wxother"), Err(ForeignApplication)),
            (launch(), None, Some("wxother"), Err(ForeignApplication)),
            (launch(), Some(1090), Some("wxother"), Err(ForeignApplication)),
            (launch(), Some(1037), Some("wxapp1"), Err(NotByApplication)),
            (launch(), Some(1058), None, Err(NotByApplication)),
            (launch(), Some(1), None, Err(NotByApplication)),
            (launch(), Some(1011), Some("wxapp1"), Err(NotByApplication)),
            (launch(), Some(1047), None, Err(NotByApplication)),
            (launch(), Some(1049), None, Err(NotByApplication)),
            (launch(), Some(1194), None, Err(NotByApplication)),
            (launch(), Some(1167), None, Err(NotByApplication)),
            (launch(), Some(1007), Some("wxapp1"), Err(Forwarded)),
            (code(), Some(1047), None, Ok(())),
            (code(), Some(1012), None, Ok(())),
            (code(), Some(1194), Some("wxother"), Ok(())),
            (code(), None, None, Ok(())),
            (code(), Some(1065), None, Ok(())),
            (code(), Some(1167), None, Err(SentLink)),
            (code(), Some(1286), None, Err(SentLink)),
            (code(), Some(1008), None, Err(Forwarded)),
            (code(), Some(1069), Some("wxapp1"), Err(ByApplication)),
            (code(), Some(1037), None, Err(ByMiniProgram)),
            // Warned about.
            (code(), Some(1043), None, Ok(())),
            (code(), Some(1058), None, Ok(())),
        ]
        .into_iter()
        .chain([1007, 1008, 1036, 1044, 1096].into_iter().flat_map(|card| {
            let refused = Err(Forwarded);
            [
                (launch(), Some(card), None, refused),
                (code(), Some(card), None, refused),
            ]
        }))
        .chain(AGAIN.into_iter().flat_map(|again| {
            [
                (launch(), Some(again), None, Ok(())),
                (code(), Some(again), None, Ok(())),
            ]
        }));
        for (kind, scene, referrer, expected) in cases {
            let entry = Entry { scene, referrer };
            assert_eq!(entry.judge(&kind), expected, "{entry:?} at {}", kind.as_str());
        }
    }

    #[test]
    fn a_link_leads_to_the_page_on_a_phone_and_to_no_other() {
        for scene in [1065, 1194] {
            for kind in [DeviceKind::Phone, DeviceKind::Tablet] {
                assert_eq!(judge_link(Some(scene), kind), Ok(()), "{scene}");
            }
            for kind in [DeviceKind::Desktop, DeviceKind::Terminal] {
                assert_eq!(judge_link(Some(scene), kind), Err(EntryRefusal::ByLink), "{scene}");
            }
        }
        for scene in [None, Some(1047), Some(1011), Some(1089)] {
            assert_eq!(judge_link(scene, DeviceKind::Desktop), Ok(()));
        }
    }

    #[test]
    fn the_number_that_was_shown_before_counts_for_links_applications_and_second_openings() {
        let ahead = [1065, 1194, 1069, 1001, 1023, 1038, 1089, 1090, 1104].map(Some);
        for scene in ahead.into_iter().chain([None]) {
            assert_eq!(opening(scene), Opening::Ahead, "{scene:?}");
        }
        for scene in [1011, 1012, 1013, 1047, 1048, 1049, 1043, 1058, 0, 9999] {
            assert_eq!(opening(Some(scene)), Opening::ByCode, "{scene}");
        }
    }

    #[test]
    fn pictures_and_what_nobody_expects_are_told_from_cameras_links_and_second_openings() {
        let usual = [1011, 1047, 1065, 1194, 1001, 1023, 1038, 1089, 1090, 1104, 1069];
        let silent = [None].into_iter().chain(usual.map(Some));
        let cases = silent
            .map(|scene| (scene, None))
            .chain([1012, 1013, 1048, 1049].map(|scene| (Some(scene), Some("picture"))))
            .chain([0, 1, -1, 1005, 1043, 1058, 1073, 9999].map(|scene| (Some(scene), Some("unusual"))));
        for (scene, warning) in cases {
            assert_eq!(Warning::of(scene).map(Warning::as_str), warning, "{scene:?}");
        }
    }
}
