//! The codes of one connection: links that differ in their last characters only, of which every login page has a new one.
//!
//! They are not encoded one by one. Error correction, the places of the bits and masks are linear (ISO/IEC 18004 §7.5–7.8:
//! all of it is exclusive or), so that with version, level and mask fixed, a bit of the text flips the same modules whatever
//! the others are. What each one flips is found once, by encoding the text with that bit alone; a code is then the flips of
//! the bits that are set. Encoding would choose among eight masks for each text; here one of the links chooses for all, as
//! every mask can be read and what is random in the links has no shape that could come out on one of them.

use std::fmt;
use std::sync::OnceLock;

use super::qr::{Bars, DrawError, Frame, Look, draw, svg_data_uri};

/// Draws the codes of one connection.
pub struct CodePainter {
    logo: Option<String>,
    /// What links begin with, where there are any.
    prefix: Option<String>,
    /// Made when the first is drawn; `None` where they do not fit.
    links: OnceLock<Option<LinkCodes>>,
}

/// What the codes of all links with one beginning and one length are made of.
struct LinkCodes {
    svg: Frame,
    uri: Frame,
    /// Of the link that ends in zero bytes.
    zeros: Bars,
    /// For each bit of each character at the end, the lowest first.
    flips: Vec<Bars>,
}

impl fmt::Debug for CodePainter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodePainter")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl CodePainter {
    /// With the connection's logo, a `data:` URI, and with what its links begin with.
    pub fn new(logo: Option<String>, prefix: Option<String>) -> Self {
        Self {
            logo,
            prefix,
            links: OnceLock::new(),
        }
    }

    /// The code as an SVG document. Any text can be drawn, links faster.
    ///
    /// # Errors
    /// [`DrawError::TooLong`].
    pub fn svg(&self, text: &str) -> Result<String, DrawError> {
        match self.link(text) {
            Some((links, end)) => Ok(links.svg.around(&links.bars(end).path())),
            None => draw(text, self.logo.as_deref()),
        }
    }

    /// The same document as a `data:` URI.
    ///
    /// # Errors
    /// [`DrawError::TooLong`].
    pub fn data_uri(&self, text: &str) -> Result<String, DrawError> {
        match self.link(text) {
            Some((links, end)) => Ok(links.uri.around(&links.bars(end).path())),
            None => Ok(svg_data_uri(&draw(text, self.logo.as_deref())?)),
        }
    }

    /// How this text is drawn and what it ends in, if it is a link.
    fn link<'a>(&self, text: &'a str) -> Option<(&LinkCodes, &'a str)> {
        let prefix = self.prefix.as_deref()?;
        let end = text.strip_prefix(prefix)?;
        if end.len() != SAMPLE.len() || !end.is_ascii() {
            return None;
        }
        let links = self
            .links
            .get_or_init(|| LinkCodes::of(prefix, Look::with(self.logo.as_deref())).ok());
        Some((links.as_ref()?, end))
    }
}

impl LinkCodes {
    fn of(prefix: &str, look: Look<'_>) -> Result<Self, DrawError> {
        let mask = look.encode(&[prefix, SAMPLE].concat().into_bytes(), None)?.mask;
        let bars_of = |end: [u8; SAMPLE.len()]| {
            let code = look.encode(&[prefix.as_bytes(), &end].concat(), mask)?;
            Ok((look.bars(&code), code.size))
        };
        let (zeros, size) = bars_of([0; SAMPLE.len()])?;
        let mut flips = Vec::with_capacity(SAMPLE.len() * BITS);
        for (place, bit) in (0..SAMPLE.len()).flat_map(|place| (0..BITS).map(move |bit| (place, bit))) {
            let mut end = [0; SAMPLE.len()];
            end[place] = 1 << bit;
            let (mut flip, _) = bars_of(end)?;
            flip.flip(&zeros);
            flips.push(flip);
        }
        let svg = look.frame(size);
        Ok(Self {
            uri: svg.in_data_uri(),
            svg,
            zeros,
            flips,
        })
    }

    fn bars(&self, end: &str) -> Bars {
        let mut bars = self.zeros.clone();
        for (character, flips) in end.bytes().zip(self.flips.chunks(BITS)) {
            for (bit, flip) in flips.iter().enumerate() {
                if character >> bit & 1 == 1 {
                    bars.flip(flip);
                }
            }
        }
        bars
    }
}

/// A scene as any other.
const SAMPLE: &str = "AWjN3mEq4nYB2Qk7v0cTzXr5sLwP9aGd";

/// Of a character of ASCII.
const BITS: usize = 7;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const PREFIX: &str = "https://login.example.com/m/";
    const LOGO: &str = "data:image/png;base64,iVBORw0KGgo=";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn a_link_is_drawn_as_it_is_encoded_in_one_piece(
            scenes in proptest::collection::vec("[A-Za-z0-9_-]{32}", 8),
            logo in any::<bool>(),
        ) {
            let look = Look::with(logo.then_some(LOGO));
            let encoded = |end: &str, mask| look.encode(format!("{PREFIX}{end}").as_bytes(), mask).unwrap();
            let mask = encoded(SAMPLE, None).mask;
            let links = LinkCodes::of(PREFIX, look).unwrap();
            for scene in scenes {
                prop_assert_eq!(links.bars(&scene), look.bars(&encoded(&scene, mask)), "{}", scene);
            }
        }
    }

    #[test]
    fn what_is_no_link_is_drawn_all_the_same() {
        let painter = CodePainter::new(None, Some(PREFIX.to_owned()));
        for text in [
            "http://weixin.qq.com/q/0123456789",
            &format!("{PREFIX}short"),
            &format!("{PREFIX}{}", "ü".repeat(16)),
        ] {
            assert_eq!(painter.svg(text), draw(text, None), "{text}");
            assert_eq!(
                painter.data_uri(text),
                draw(text, None).map(|svg| svg_data_uri(&svg)),
                "{text}"
            );
        }
        assert_eq!(painter.svg(&"x".repeat(1000)), Err(DrawError::TooLong));
        let long = CodePainter::new(None, Some("x".repeat(1000)));
        assert_eq!(
            long.svg(&format!("{}{SAMPLE}", "x".repeat(1000))),
            Err(DrawError::TooLong)
        );
    }

    #[test]
    fn the_address_of_a_code_holds_its_document() {
        for logo in [None, Some(LOGO.to_owned())] {
            let painter = CodePainter::new(logo, Some(PREFIX.to_owned()));
            let text = format!("{PREFIX}AmsAKU8ql0bliu2jlc6P-v-CSXu2vaSI");
            let svg = painter.svg(&text).unwrap();
            assert_eq!(painter.data_uri(&text).unwrap(), svg_data_uri(&svg));
        }
    }
}
