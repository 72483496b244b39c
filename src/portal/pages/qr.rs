//! Draws a link code as SVG.
//!
//! Dark modules on a white card in every colour scheme: a scanner needs the contrast, and not all of them read inverted
//! codes. Runs of modules are drawn as bars with round ends, across and down, so that touching modules melt into one
//! calm shape; the middle of every module, which is what a reader samples, is always the module's own colour.

use std::fmt::Write as _;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fast_qr::{ECL, QRBuilder, QRCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// Why a code could not be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DrawError {
    /// The text does not fit, or only in a code too fine for a phone in front of a screen.
    #[error("the text is too long for a QR code on a screen")]
    TooLong,
}

/// The text as an SVG document with a quiet zone of four modules (ISO/IEC 18004 §9.1), `logo` in its centre.
///
/// `logo` is a `data:` URI of a picture; anything else is left out, because an SVG shown as a picture may load nothing.
/// With a logo the error correction is H (30 %), without one M; the logo with its margin takes at most a fifth of the
/// width.
///
/// # Errors
/// [`DrawError::TooLong`] when the text does not fit into version 15 (77 modules).
pub fn draw(text: &str, logo: Option<&str>) -> Result<String, DrawError> {
    let logo = logo.filter(|uri| uri.starts_with("data:image/") && !uri.contains(['"', '<', '&', '\'']));
    let level = if logo.is_some() { ECL::H } else { ECL::M };
    let code = QRBuilder::new(text)
        .ecl(level)
        .build()
        .map_err(|_| DrawError::TooLong)?;
    if code.size > LARGEST {
        return Err(DrawError::TooLong);
    }
    let plate = logo.map(|_| plate(code.size));
    Ok(document(
        &Modules {
            code: &code,
            plate: plate.clone(),
        },
        logo.zip(plate),
    ))
}

/// An SVG document as a `data:` URI, readable rather than base64: a third shorter.
pub fn svg_data_uri(svg: &str) -> String {
    format!("data:image/svg+xml,{}", utf8_percent_encode(svg, ESCAPED))
}

/// A picture as a `data:` URI.
pub fn data_uri(media_type: &str, bytes: &[u8]) -> String {
    format!("data:{media_type};base64,{}", STANDARD.encode(bytes))
}

/// The modules that are drawn as bars: neither in the three finder patterns nor under the logo.
struct Modules<'a> {
    code: &'a QRCode,
    plate: Option<Range<usize>>,
}

impl Modules<'_> {
    fn dark(&self, x: usize, y: usize) -> bool {
        let size = self.code.size;
        let near = |at: usize| at < FINDER;
        let far = |at: usize| at >= size - FINDER;
        let finder = (near(x) && near(y)) || (far(x) && near(y)) || (near(x) && far(y));
        let covered = self
            .plate
            .as_ref()
            .is_some_and(|plate| plate.contains(&x) && plate.contains(&y));
        !finder && !covered && self.code[y][x].value()
    }
}

fn document(modules: &Modules<'_>, logo: Option<(&str, Range<usize>)>) -> String {
    let size = modules.code.size;
    let edge = size + 2 * QUIET;
    let far = QUIET + size - FINDER;
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {edge} {edge}'>\
         <rect width='{edge}' height='{edge}' fill='#fff'/>\
         <path d='{}' stroke='{INK}' stroke-linecap='round'/>",
        bars(modules)
    );
    for (x, y) in [(QUIET, QUIET), (far, QUIET), (QUIET, far)] {
        // Writing to a String cannot fail.
        let _ = write!(
            svg,
            "<rect x='{x}.5' y='{y}.5' width='6' height='6' rx='1.8' fill='none' stroke='{INK}'/>\
             <rect x='{}' y='{}' width='3' height='3' rx='.9' fill='{INK}'/>",
            x + 2,
            y + 2
        );
    }
    if let Some((uri, plate)) = logo {
        let (at, side) = (QUIET + plate.start, plate.len() - 1);
        let _ = write!(
            svg,
            "<image x='{at}.5' y='{at}.5' width='{side}' height='{side}' href='{uri}'/>"
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Path of all bars: runs of two and more in both directions, and a dot for a module without neighbours.
fn bars(modules: &Modules<'_>) -> String {
    let size = modules.code.size;
    let mut path = String::new();
    for line in 0..size {
        for (start, length) in runs(size, |at| modules.dark(at, line)) {
            let alone = length == 1 && {
                let above = line > 0 && modules.dark(start, line - 1);
                let below = line + 1 < size && modules.dark(start, line + 1);
                !above && !below
            };
            if length > 1 || alone {
                let _ = write!(path, "M{}.5,{}.5h{}", start + QUIET, line + QUIET, length - 1);
            }
        }
        for (start, length) in runs(size, |at| modules.dark(line, at)).filter(|(_, length)| *length > 1) {
            let _ = write!(path, "M{}.5,{}.5v{}", line + QUIET, start + QUIET, length - 1);
        }
    }
    path
}

/// Start and length of every run of dark modules on one line.
fn runs(size: usize, dark: impl Fn(usize) -> bool) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = (at..size).find(|at| dark(*at))?;
        at = (start..size).find(|at| !dark(*at)).unwrap_or(size);
        Some((start, at - start))
    })
}

/// The modules that the logo covers, the same across and down: a fifth of the width, in the middle.
fn plate(size: usize) -> Range<usize> {
    let side = size / 5;
    let side = if side % 2 == size % 2 { side } else { side - 1 };
    let start = (size - side) / 2;
    start..start + side
}

/// Width of a finder pattern.
const FINDER: usize = 7;

/// Light modules around the code.
const QUIET: usize = 4;

/// Modules of version 15: at 240 CSS pixels still almost 3 pixels each.
const LARGEST: usize = 77;

/// Nearly black, a little warm; 16:1 on white.
const INK: &str = "#201c18";

/// What may not stand in a `data:` URI inside an attribute or a style sheet.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%').add(b'#').add(b'<').add(b'>').add(b'"').add(b'&');

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    const LINK: &str = "https://login.example.com/m/AWjN3mEq4nYB2Qk7v0cTzXr5sLwP9aGd";
    const LOGO: &str = "data:image/png;base64,iVBORw0KGgo=";

    /// Shapes of the document, as a renderer would fill them.
    enum Shape {
        Bar { from: (f32, f32), to: (f32, f32) },
        Ring { x: f32, y: f32 },
        Centre { x: f32, y: f32 },
    }

    /// Reads back what [`document`] writes; an element that it does not know fails the test.
    fn shapes(svg: &str) -> (usize, Vec<Shape>) {
        let mut shapes = Vec::new();
        let mut edge = 0;
        for element in svg.split('<').filter(|part| !part.is_empty()) {
            let value = |name: &str| {
                let (_, rest) = element.split_once(&format!(" {name}='"))?;
                Some(rest.split('\'').next()?.to_owned())
            };
            let number = |name: &str| value(name).map(|text| text.parse::<f32>().unwrap());
            match element.split([' ', '>']).next().unwrap() {
                "svg" => edge = value("viewBox").unwrap().rsplit(' ').next().unwrap().parse().unwrap(),
                "rect" => match (number("x"), number("y"), number("width")) {
                    (Some(x), Some(y), Some(6.0)) => shapes.push(Shape::Ring { x, y }),
                    (Some(x), Some(y), Some(3.0)) => shapes.push(Shape::Centre { x, y }),
                    (None, None, Some(width)) => assert_eq!(width, edge as f32),
                    other => panic!("unexpected rect {other:?}"),
                },
                "path" => {
                    for bar in value("d").unwrap().split('M').skip(1) {
                        let split = bar.find(['h', 'v']).unwrap();
                        let (x, y) = bar[..split].split_once(',').unwrap();
                        let from: (f32, f32) = (x.parse().unwrap(), y.parse().unwrap());
                        let length: f32 = bar[split + 1..].parse().unwrap();
                        let across = bar[split..].starts_with('h');
                        let to = if across {
                            (from.0 + length, from.1)
                        } else {
                            (from.0, from.1 + length)
                        };
                        shapes.push(Shape::Bar { from, to });
                    }
                }
                "image" | "/svg" | "/svg>" => {}
                other => panic!("unexpected element {other}"),
            }
        }
        (edge, shapes)
    }

    fn covers(shape: &Shape, x: f32, y: f32) -> bool {
        match shape {
            Shape::Bar { from, to } => {
                let (nearest_x, nearest_y) = (x.clamp(from.0, to.0), y.clamp(from.1, to.1));
                (x - nearest_x).hypot(y - nearest_y) <= 0.5
            }
            Shape::Ring { x: left, y: top } => {
                let distance = (x - left - 3.0).abs().max((y - top - 3.0).abs());
                (2.5..=3.5).contains(&distance)
            }
            Shape::Centre { x: left, y: top } => (*left..*left + 3.0).contains(&x) && (*top..*top + 3.0).contains(&y),
        }
    }

    fn decode(svg: &str, scale: usize) -> String {
        let (edge, shapes) = shapes(svg);
        let image = image::GrayImage::from_fn((edge * scale) as u32, (edge * scale) as u32, |x, y| {
            let at = |pixel: u32| (pixel as f32 + 0.5) / scale as f32;
            let dark = shapes.iter().any(|shape| covers(shape, at(x), at(y)));
            image::Luma([if dark { 32 } else { 255 }])
        });
        let mut prepared = rqrr::PreparedImage::prepare(image);
        let grids = prepared.detect_grids();
        assert_eq!(grids.len(), 1);
        grids[0].decode().unwrap().1
    }

    #[test]
    fn a_drawn_code_decodes_to_its_text() {
        for scale in [3, 7] {
            assert_eq!(decode(&draw(LINK, None).unwrap(), scale), LINK);
        }
    }

    #[test]
    fn a_code_with_a_logo_decodes_to_its_text() {
        let svg = draw(LINK, Some(LOGO)).unwrap();
        assert!(svg.contains(LOGO));
        assert_eq!(decode(&svg, 5), LINK);
    }

    #[test]
    fn the_logo_takes_at_most_a_fifth_of_the_width() {
        for size in (21..=LARGEST).step_by(4) {
            let plate = plate(size);
            assert!(plate.len() * 5 <= size, "{size}");
            assert_eq!(plate.start, size - plate.end, "{size}");
        }
    }

    #[test]
    fn only_a_picture_in_a_data_uri_is_a_logo() {
        for logo in [
            "https://example.com/logo.png",
            "data:text/html,x",
            "data:image/png,'/><script>",
        ] {
            assert!(!draw(LINK, Some(logo)).unwrap().contains("<image"), "{logo}");
        }
    }

    #[test]
    fn a_text_too_long_for_a_screen_is_an_error() {
        assert_eq!(draw(&"x".repeat(1000), None), Err(DrawError::TooLong));
        assert_eq!(draw(&"x".repeat(10_000), None), Err(DrawError::TooLong));
    }

    #[test]
    fn a_code_is_small_as_a_data_uri() {
        let uri = svg_data_uri(&draw(LINK, None).unwrap());
        assert!(uri.len() < 8 * 1024, "{}", uri.len());
        assert!(!uri.contains(['"', '<', '>', '#', '\n']));
    }
}
