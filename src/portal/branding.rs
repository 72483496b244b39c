//! The operator's pictures and style, read once and served under names that change with their content.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;

use crate::config::settings;
use crate::portal::pages::ASSET_PREFIX;

/// What the operator brought along.
#[derive(Debug, Clone, Default)]
pub struct Branding {
    /// Address of the logo.
    pub logo_url: Option<String>,
    /// Address of the background.
    pub background_url: Option<String>,
    /// Address of the style sheet.
    pub css_url: Option<String>,
    files: Vec<BrandingFile>,
}

/// One file.
#[derive(Debug, Clone)]
pub struct BrandingFile {
    name: String,
    /// Content.
    pub bytes: Bytes,
    /// `Content-Type`.
    pub media_type: &'static str,
}

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct BrandingError {
    path: String,
    source: std::io::Error,
}

impl Branding {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// [`BrandingError`] for the first that cannot be read.
    pub fn read(settings: &settings::Branding) -> Result<Self, BrandingError> {
        let mut branding = Self::default();
        branding.logo_url = branding.add("logo", settings.logo.as_deref())?;
        branding.background_url = branding.add("background", settings.background.as_deref())?;
        branding.css_url = branding.add("brand", settings.css.as_deref())?;
        Ok(branding)
    }

    /// The file of this name below the asset prefix.
    pub fn file(&self, name: &str) -> Option<&BrandingFile> {
        self.files.iter().find(|file| file.name == name)
    }

    fn add(&mut self, stem: &str, path: Option<&Path>) -> Result<Option<String>, BrandingError> {
        let Some(path) = path else { return Ok(None) };
        let read = std::fs::read(path);
        let bytes = Bytes::from(read.map_err(|source| BrandingError {
            path: path.display().to_string(),
            source,
        })?);
        let extension = path
            .extension()
            .and_then(|text| text.to_str())
            .unwrap_or_default()
            .to_ascii_lowercase();
        let hash: String = digest(&SHA256, &bytes)
            .as_ref()
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let name = format!("{stem}.{hash}.{extension}");
        let url = format!("{ASSET_PREFIX}{name}");
        self.files.push(BrandingFile {
            name,
            bytes,
            media_type: media_type(&extension),
        });
        Ok(Some(url))
    }
}

fn media_type(extension: &str) -> &'static str {
    match extension {
        "css" => "text/css; charset=utf-8",
        "gif" => "image/gif",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "webp" => "image/webp",
        _ => "application/octet-stream",
    }
}
