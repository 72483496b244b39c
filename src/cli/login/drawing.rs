//! A code and a number in a terminal.
//!
//! Two modules to a character, as half blocks. Dark modules on a light ground whatever the terminal's own colours are,
//! since not every scanner reads inverted codes; without colours a dark terminal is assumed, which most are. The quiet
//! zone is drawn like the rest and does not depend on what is around.

use fast_qr::{ECL, QRBuilder};

/// The code as lines of text; `None` when the text is too long for a code that a phone reads off a screen.
pub(super) fn draw_code(text: &str, coloured: bool) -> Option<String> {
    // A terminal shows every module as it is: the least correction gives the smallest code.
    let code = QRBuilder::new(text).ecl(ECL::L).build().ok()?;
    if code.size > LARGEST {
        return None;
    }
    let dark = |x: usize, y: usize| {
        let inside = (QUIET..QUIET + code.size).contains(&x) && (QUIET..QUIET + code.size).contains(&y);
        inside && code[y - QUIET][x - QUIET].value()
    };
    let edge = code.size + 2 * QUIET;
    let mut drawn = String::new();
    for y in (0..edge).step_by(2) {
        if coloured {
            drawn.push_str(BLACK_ON_WHITE);
        }
        for x in 0..edge {
            // What is drawn is the ink with colours, and the ground without.
            drawn.push(half_block(dark(x, y) == coloured, dark(x, y + 1) == coloured));
        }
        if coloured {
            drawn.push_str(PLAIN);
        }
        drawn.push('\n');
    }
    Some(drawn)
}

/// The number in digits that can be read from across a desk.
pub(super) fn draw_number(number: u8) -> String {
    let digits: Vec<usize> = number
        .to_string()
        .bytes()
        .map(|digit| usize::from(digit.wrapping_sub(b'0')))
        .collect();
    let line = |row: usize| {
        let parts: Vec<String> = digits
            .iter()
            .map(|digit| {
                let dots = DIGITS.get(*digit).map_or("", |rows| rows[row]);
                dots.chars().map(|dot| if dot == '#' { "██" } else { "  " }).collect()
            })
            .collect();
        format!("    {}", parts.join("   ")).trim_end().to_owned()
    };
    (0..5).map(line).collect::<Vec<_>>().join("\n")
}

fn half_block(upper: bool, lower: bool) -> char {
    match (upper, lower) {
        (true, true) => '█',
        (true, false) => '▀',
        (false, true) => '▄',
        (false, false) => ' ',
    }
}

/// ISO/IEC 18004 §9.1.
const QUIET: usize = 4;
/// Modules of version 10: with its quiet zone it fits into 80 columns.
const LARGEST: usize = 57;
/// Of the 256 colours, so that no theme changes them.
const BLACK_ON_WHITE: &str = "\x1b[38;5;16;48;5;231m";
const PLAIN: &str = "\x1b[0m";

const DIGITS: [[&str; 5]; 10] = [
    ["###", "# #", "# #", "# #", "###"],
    [" # ", "## ", " # ", " # ", "###"],
    ["###", "  #", "###", "#  ", "###"],
    ["###", "  #", "###", "  #", "###"],
    ["# #", "# #", "###", "  #", "  #"],
    ["###", "#  ", "###", "  #", "###"],
    ["###", "#  ", "###", "# #", "###"],
    ["###", "  #", " # ", " # ", " # "],
    ["###", "# #", "###", "# #", "###"],
    ["###", "# #", "###", "  #", "###"],
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const LINK: &str = "https://login.example.com/m/AWr1cPgAAAAAAAAAAAAAAAAAAAAAAAAA";

    /// A picture of what the terminal shows, eight pixels to a module, read like a phone would.
    fn read(drawn: &str, ink_is_drawn: bool) -> String {
        let plain = drawn.replace(BLACK_ON_WHITE, "").replace(PLAIN, "");
        let rows: Vec<Vec<char>> = plain.lines().map(|line| line.chars().collect()).collect();
        let (wide, high) = (rows[0].len(), rows.len() * 2);
        assert!(rows.iter().all(|row| row.len() == wide));
        let inked = |x: usize, y: usize| {
            let drawn = match rows[y / 2][x] {
                '█' => true,
                '▀' => y.is_multiple_of(2),
                '▄' => !y.is_multiple_of(2),
                _ => false,
            };
            drawn == ink_is_drawn
        };
        let mut image =
            rqrr::PreparedImage::prepare_from_greyscale(
                wide * 8,
                high * 8,
                |x, y| {
                    if inked(x / 8, y / 8) { 0 } else { 255 }
                },
            );
        let grids = image.detect_grids();
        grids[0].decode().unwrap().1
    }

    #[test]
    fn the_code_is_read_back_with_colours_and_without() {
        assert_eq!(read(&draw_code(LINK, true).unwrap(), true), LINK);
        assert_eq!(read(&draw_code(LINK, false).unwrap(), false), LINK);
    }

    #[test]
    fn the_code_fits_a_terminal_and_has_its_quiet_zone() {
        let drawn = draw_code(LINK, false).unwrap();
        let lines: Vec<&str> = drawn.lines().collect();
        assert!(lines.len() <= 23, "{}", lines.len());
        assert!(lines.iter().all(|line| line.chars().count() <= 80));
        for quiet in [lines[0], lines[1]] {
            assert!(quiet.chars().all(|ground| ground == '█'), "{quiet}");
        }
        assert!(
            lines
                .iter()
                .all(|line| line.starts_with("████") && line.ends_with("████")
                    || line.chars().all(|ground| matches!(ground, '█' | '▀')))
        );
        assert_eq!(draw_code(&"x".repeat(400), true), None);
    }

    #[test]
    fn a_number_is_drawn_digit_by_digit() {
        assert_eq!(
            draw_number(47),
            "    ██  ██   ██████\n    ██  ██       ██\n    ██████     ██\n        ██     ██\n        ██     ██"
        );
    }
}
