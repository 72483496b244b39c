//! The files that pages refer to, embedded, under names that change with their content.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};

/// Path below which [`asset`] names live.
pub const ASSET_PREFIX: &str = "/.menshen/assets/";

/// An embedded file. Its name changes with its content: `Cache-Control: public, max-age=31536000, immutable`.
#[derive(Debug, Clone)]
pub struct Asset {
    /// The file.
    pub bytes: &'static [u8],
    /// `Content-Type`.
    pub media_type: &'static str,
    /// `ETag`, with its quotes.
    pub etag: String,
}

/// The file with this name, as the pages refer to it below [`ASSET_PREFIX`].
pub fn asset(name: &str) -> Option<Asset> {
    let file = FILES.iter().find(|file| file.name() == name)?;
    Some(Asset {
        bytes: file.bytes,
        media_type: file.media_type,
        etag: format!("\"{}\"", file.hash),
    })
}

pub(super) fn stylesheet_url() -> &'static str {
    &FILES[0].url
}

pub(super) fn script_url() -> &'static str {
    &FILES[1].url
}

pub(super) fn icon_url() -> &'static str {
    &FILES[2].url
}

struct File {
    bytes: &'static [u8],
    media_type: &'static str,
    hash: String,
    url: String,
}

impl File {
    fn new(stem: &str, extension: &str, media_type: &'static str, bytes: &'static [u8]) -> Self {
        let sum = digest(&SHA256, bytes);
        let hash: String = sum
            .as_ref()
            .iter()
            .take(HASH_BYTES)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let url = format!("{ASSET_PREFIX}{stem}.{hash}.{extension}");
        Self {
            bytes,
            media_type,
            hash,
            url,
        }
    }

    fn name(&self) -> &str {
        self.url.trim_start_matches(ASSET_PREFIX)
    }
}

static FILES: LazyLock<[File; 3]> = LazyLock::new(|| {
    [
        File::new(
            "portal",
            "css",
            "text/css; charset=utf-8",
            include_bytes!("assets/portal.css"),
        ),
        File::new(
            "login",
            "js",
            "text/javascript; charset=utf-8",
            include_bytes!("assets/login.js"),
        ),
        File::new("mark", "svg", "image/svg+xml", include_bytes!("assets/mark.svg")),
    ]
});

/// 64 bits tell versions of one file apart.
const HASH_BYTES: usize = 8;
