//! Codes as pictures: drawing them as WeChat would deliver them, and reading them as a phone's camera would.
//!
//! WeChat's round code cannot be read by anything but WeChat; the sandbox draws an ordinary QR code instead, so that
//! a test, or any phone in the same network, can read what it holds.

use std::io::Cursor;

use fast_qr::{ECL, QRBuilder, QRCode};
use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, ImageReader, Limits, Rgb, RgbImage, Rgba, RgbaImage};

/// How a code looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    /// Width and height in pixels.
    pub(super) width: u32,
    /// PNG without a background instead of JPEG.
    pub(super) transparent: bool,
    /// Of the dark modules.
    pub(super) colour: [u8; 3],
}

/// The text does not fit a picture of that size, or the encoder failed.
#[derive(Debug, thiserror::Error)]
#[error("the code cannot be drawn")]
pub(super) struct CannotDraw(());

/// Draws `text` as JPEG, or as PNG when the style is transparent.
///
/// # Errors
/// [`CannotDraw`] when not even the least redundant code fits the width.
pub(super) fn draw(text: &str, style: Style) -> Result<Vec<u8>, CannotDraw> {
    let code = encode(text, style.width)?;
    let modules = u32::try_from(code.size).map_err(|_| CannotDraw(()))?;
    let scale = style.width / (modules + 2 * QUIET_ZONE);
    let margin = (style.width - modules * scale) / 2;
    let dark = |x: u32, y: u32| {
        let (Some(x), Some(y)) = (x.checked_sub(margin), y.checked_sub(margin)) else {
            return false;
        };
        let (column, row) = (x / scale, y / scale);
        column < modules && row < modules && code[row as usize][column as usize].value()
    };
    let [red, green, blue] = style.colour;
    let mut bytes = Vec::new();
    if style.transparent {
        let picture = RgbaImage::from_fn(style.width, style.width, |x, y| {
            if dark(x, y) {
                Rgba([red, green, blue, 255])
            } else {
                Rgba([255, 255, 255, 0])
            }
        });
        picture
            .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)
            .map_err(|_| CannotDraw(()))?;
    } else {
        let picture = RgbImage::from_fn(style.width, style.width, |x, y| {
            if dark(x, y) {
                Rgb(style.colour)
            } else {
                Rgb([255, 255, 255])
            }
        });
        JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY)
            .encode_image(&picture)
            .map_err(|_| CannotDraw(()))?;
    }
    Ok(bytes)
}

/// The text of the first code in a JPEG or PNG picture. Transparent parts count as white.
pub(super) fn read(picture: &[u8]) -> Option<String> {
    let mut reader = ImageReader::new(Cursor::new(picture)).with_guessed_format().ok()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    reader.limits(limits);
    let pixels = reader.decode().ok()?.into_rgba8();
    let (width, height) = (pixels.width() as usize, pixels.height() as usize);
    let mut prepared = rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| {
        u32::try_from(x)
            .ok()
            .zip(u32::try_from(y).ok())
            .and_then(|(x, y)| pixels.get_pixel_checked(x, y))
            .map_or(255, |pixel| brightness(*pixel))
    });
    prepared
        .detect_grids()
        .iter()
        .find_map(|grid| grid.decode().ok())
        .map(|(_, text)| text)
}

/// The most redundant code whose modules are still large enough to be photographed, else the one that fits at all.
fn encode(text: &str, width: u32) -> Result<QRCode, CannotDraw> {
    let fits = |level, pixels| {
        let code = QRBuilder::new(text).ecl(level).build().ok()?;
        let side = u32::try_from(code.size).ok()? + 2 * QUIET_ZONE;
        (width / side >= pixels).then_some(code)
    };
    fits(ECL::Q, COMFORTABLE)
        .or_else(|| fits(ECL::M, COMFORTABLE))
        .or_else(|| fits(ECL::L, 1))
        .ok_or(CannotDraw(()))
}

fn brightness(Rgba([red, green, blue, alpha]): Rgba<u8>) -> u8 {
    let luma = (u32::from(red) * 299 + u32::from(green) * 587 + u32::from(blue) * 114) / 1000;
    let over_white = (luma * u32::from(alpha) + 255 * (255 - u32::from(alpha))) / 255;
    u8::try_from(over_white).unwrap_or(255)
}

/// Modules of white around a code (ISO/IEC 18004).
const QUIET_ZONE: u32 = 4;
/// Pixels per module below which cameras begin to fail.
const COMFORTABLE: u32 = 4;
const JPEG_QUALITY: u8 = 92;
const MAX_SIDE: u32 = 6000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    const ADDRESS: &str = "http://127.0.0.1:43210/phone?appid=wxsandbox0000000001&scene=AWc9x0sB7dK2-_v8Qe4LrT1yUoPzN3mC&page=pages%2Flogin%2Flogin&env=release";

    #[test]
    fn what_is_drawn_can_be_read_at_every_size_and_in_both_formats() {
        for (width, transparent, colour) in [
            (280, false, [0, 0, 0]),
            (430, false, [0, 0, 0]),
            (1280, false, [12, 74, 54]),
            (430, true, [0, 0, 0]),
        ] {
            let picture = draw(
                ADDRESS,
                Style {
                    width,
                    transparent,
                    colour,
                },
            )
            .unwrap();
            let magic: &[u8] = if transparent {
                &[0x89, b'P', b'N', b'G']
            } else {
                &[0xff, 0xd8, 0xff]
            };
            assert!(picture.starts_with(magic), "{width} {transparent}");
            assert_eq!(read(&picture).as_deref(), Some(ADDRESS), "{width} {transparent}");
        }
    }

    #[test]
    fn a_text_that_no_code_holds_is_refused() {
        assert!(
            draw(
                &"x".repeat(3000),
                Style {
                    width: 430,
                    transparent: false,
                    colour: [0, 0, 0]
                }
            )
            .is_err()
        );
    }

    #[test]
    fn a_picture_without_a_code_and_a_file_that_is_none_read_as_nothing() {
        assert_eq!(read(b"GIF89a"), None);
        let mut blank = Vec::new();
        RgbImage::from_pixel(50, 50, Rgb([255, 255, 255]))
            .write_to(&mut Cursor::new(&mut blank), ImageFormat::Png)
            .unwrap();
        assert_eq!(read(&blank), None);
    }
}
