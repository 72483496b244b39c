//! Draws a link code as SVG.
//!
//! Dark modules on a white card in every colour scheme: a scanner needs the contrast, and not all of them read inverted
//! codes. Runs of modules are drawn as bars with round ends, across and down, so that touching modules melt into one
//! calm shape; the middle of every module, which is what a reader samples, is always the module's own colour.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fast_qr::{ECL, Mask, Mode, QRBuilder, QRCode};
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
    let look = Look::with(logo);
    let code = look.encode(text.as_bytes(), None)?;
    Ok(look.frame(code.size).around(&look.bars(&code).path()))
}

/// An SVG document as a `data:` URI, readable rather than base64: a third shorter.
pub fn svg_data_uri(svg: &str) -> String {
    format!("{SVG_URI}{}", utf8_percent_encode(svg, ESCAPED))
}

/// A picture as a `data:` URI.
pub fn data_uri(media_type: &str, bytes: &[u8]) -> String {
    format!("data:{media_type};base64,{}", STANDARD.encode(bytes))
}

/// What codes have in common, whatever they say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    logo: Option<&'a str>,
}

/// What is around the bars of a code: all of the document that does not depend on the text.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    head: String,
    tail: String,
}

/// The modules that are drawn as bars: those that are dark, neither in the three finder patterns nor under the logo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bars {
    /// Modules in a row.
    size: usize,
    /// One bit for each, row after row, the lowest first.
    dark: Box<[u64]>,
}

impl<'a> Look<'a> {
    pub(super) fn with(logo: Option<&'a str>) -> Self {
        let safe = |uri: &&str| uri.starts_with("data:image/") && !uri.contains(['"', '<', '&', '\'']);
        Self {
            logo: logo.filter(safe),
        }
    }

    /// With the mask and in the mode that suit the text best; or with this mask, a byte for each character.
    pub(super) fn encode(self, text: &[u8], mask: Option<Mask>) -> Result<QRCode, DrawError> {
        let mut builder = QRBuilder::new(text);
        builder.ecl(if self.logo.is_some() { ECL::H } else { ECL::M });
        if let Some(mask) = mask {
            builder.mask(mask).mode(Mode::Byte);
        }
        let code = builder.build().map_err(|_| DrawError::TooLong)?;
        if code.size > LARGEST {
            return Err(DrawError::TooLong);
        }
        Ok(code)
    }

    pub(super) fn bars(self, code: &QRCode) -> Bars {
        let size = code.size;
        let near = |at: usize| at < FINDER;
        let far = |at: usize| at >= size - FINDER;
        let finder = |x, y| (near(x) && near(y)) || (far(x) && near(y)) || (near(x) && far(y));
        let plate = self.logo.map_or(0..0, |_| plate(size));
        let covered = |x, y| plate.contains(&x) && plate.contains(&y);
        let mut dark = vec![0; (size * size).div_ceil(64)].into_boxed_slice();
        for (y, x) in (0..size).flat_map(|y| (0..size).map(move |x| (y, x))) {
            if code[y][x].value() && !finder(x, y) && !covered(x, y) {
                let at = y * size + x;
                dark[at / 64] |= 1 << (at % 64);
            }
        }
        Bars { size, dark }
    }

    /// Coordinates count from the middle of the first module, so that bars begin and end at whole numbers.
    pub(super) fn frame(self, size: usize) -> Frame {
        let (edge, far) = (size + 2 * QUIET, size - FINDER);
        let finders = [(0, 0), (far, 0), (0, far)].map(|(x, y)| {
            format!(
                "<rect x='{x}' y='{y}' width='6' height='6' rx='1.8' fill='none' stroke='{INK}'/>\
                 <rect x='{}.5' y='{}.5' width='3' height='3' rx='.9' fill='{INK}'/>",
                x + 1,
                y + 1
            )
        });
        let image = self.logo.map_or_else(String::new, |uri| {
            let plate = plate(size);
            let (at, side) = (plate.start, plate.len() - 1);
            format!("<image x='{at}' y='{at}' width='{side}' height='{side}' href='{uri}'/>")
        });
        Frame {
            head: format!(
                "<svg xmlns='http://www.w3.org/2000/svg' viewBox='-{QUIET}.5 -{QUIET}.5 {edge} {edge}'>\
                 <rect x='-{QUIET}.5' y='-{QUIET}.5' width='{edge}' height='{edge}' fill='#fff'/>\
                 <path stroke='{INK}' stroke-linecap='round' d='"
            ),
            tail: format!("'/>{}{image}</svg>", finders.concat()),
        }
    }
}

impl Frame {
    /// The document.
    pub(super) fn around(&self, path: &str) -> String {
        [&*self.head, path, &*self.tail].concat()
    }

    /// What is around the bars where the document is a `data:` URI. A path has nothing to escape.
    pub(super) fn in_data_uri(&self) -> Self {
        let escaped = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
        Self {
            head: format!("{SVG_URI}{}", escaped(&self.head)),
            tail: escaped(&self.tail),
        }
    }
}

impl Bars {
    /// Where one of both is dark and the other is not.
    pub(super) fn flip(&mut self, other: &Self) {
        for (word, other) in self.dark.iter_mut().zip(&other.dark) {
            *word ^= other;
        }
    }

    /// Path of all bars: runs of two and more in both directions, and a dot for a module without neighbours.
    pub(super) fn path(&self) -> String {
        let mut pen = Pen::default();
        let (mut above, mut row) = (0, self.row(0));
        for y in 0..self.size {
            let below = self.row(y + 1);
            let alone = row & !(row << 1 | row >> 1 | above | below);
            let across = row & !(row << 1) & row >> 1;
            for x in ones(across | alone) {
                pen.bar(x, y, Direction::Right, (row >> x).trailing_ones() - 1);
            }
            for x in ones(row & !above & below) {
                let more = (y + 1..self.size).take_while(|y| self.row(*y) >> x & 1 == 1);
                pen.bar(x, y, Direction::Down, more.count() as u32);
            }
            (above, row) = (row, below);
        }
        pen.path
    }

    /// The modules of a row, the first one lowest; none below the last row.
    fn row(&self, y: usize) -> u128 {
        if y >= self.size {
            return 0;
        }
        let (word, shift) = (y * self.size / 64, y * self.size % 64);
        let words = [0, 1, 2].map(|next| self.dark.get(word + next).map_or(0, |word| u128::from(*word)));
        let bits = (words[0] | words[1] << 64) >> shift | words[2] << 1 << (127 - shift);
        bits & ((1 << self.size) - 1)
    }
}

/// The places of the bits that are set.
fn ones(mut bits: u128) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let place = (bits != 0).then(|| bits.trailing_zeros())?;
        bits &= bits - 1;
        Some(place)
    })
}

/// Writes a path. Each bar begins where it is seen from the end of the last: that is shorter than where it is in all.
#[derive(Default)]
struct Pen {
    path: String,
    x: i32,
    y: i32,
}

impl Pen {
    /// Goes right or down, by this many modules from the middle of the first one.
    fn bar(&mut self, x: u32, y: usize, direction: Direction, length: u32) {
        let (x, y, length) = (x as i32, y as i32, length as i32);
        self.path.push('m');
        self.number(x - self.x);
        // A sign separates as well.
        if y >= self.y {
            self.path.push(' ');
        }
        self.number(y - self.y);
        self.path.push(if direction == Direction::Right { 'h' } else { 'v' });
        self.number(length);
        (self.x, self.y) = match direction {
            Direction::Right => (x + length, y),
            Direction::Down => (x, y + length),
        };
    }

    /// Less than a hundred.
    fn number(&mut self, number: i32) {
        let digit = |digit: u32| char::from(b'0' + digit as u8);
        if number < 0 {
            self.path.push('-');
        }
        let number = number.unsigned_abs();
        if number >= 10 {
            self.path.push(digit(number / 10));
        }
        self.path.push(digit(number % 10));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Right,
    Down,
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
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b'%')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'"')
    .add(b'&')
    .add(b'\'');

/// What the address of an SVG document begins with that holds the document itself.
const SVG_URI: &str = "data:image/svg+xml,";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::CodePainter;
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
                    (Some(x), Some(y), Some(width)) => assert_eq!((x, y, width), (-4.5, -4.5, edge as f32)),
                    other => panic!("unexpected rect {other:?}"),
                },
                "path" => {
                    let mut to = (0.0, 0.0);
                    for bar in value("d").unwrap().split('m').skip(1) {
                        let split = bar.find(['h', 'v']).unwrap();
                        // The second number begins with a sign or behind a space.
                        let second = bar[1..split].find([' ', '-']).unwrap() + 1;
                        let (x, y): (f32, f32) = (
                            bar[..second].parse().unwrap(),
                            bar[second..split].trim_start().parse().unwrap(),
                        );
                        let from = (to.0 + x, to.1 + y);
                        let length: f32 = bar[split + 1..].parse().unwrap();
                        let across = bar[split..].starts_with('h');
                        to = if across {
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
            let at = |pixel: u32| (pixel as f32 + 0.5) / scale as f32 - 4.5;
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
    fn the_code_of_a_link_decodes_to_it() {
        for logo in [None, Some(LOGO.to_owned())] {
            let painter = CodePainter::new(logo, Some("https://login.example.com/m/".to_owned()));
            for scene in ["AWjN3mEq4nYB2Qk7v0cTzXr5sLwP9aGd", "________________________________"] {
                let link = format!("https://login.example.com/m/{scene}");
                assert_eq!(decode(&painter.svg(&link).unwrap(), 5), link);
            }
        }
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
        assert!(!uri.contains(['"', '\'', '<', '>', '#', '\n']));
    }
}
