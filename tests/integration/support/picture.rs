//! Reading a drawn link code: the SVG of a page, filled as a renderer would, and found as a camera would.

use image::{GrayImage, Luma};

/// The text in a code that the gateway drew.
#[track_caller]
pub fn read_svg(svg: &str) -> String {
    let view = attribute(svg, "viewBox").expect("a viewBox");
    let view: Vec<f32> = view
        .split(' ')
        .map(|number| number.parse().expect("a number"))
        .collect();
    let &[left, top, edge, _] = &*view else {
        panic!("{view:?} is no viewBox")
    };
    let side = edge as u32 * SCALE;
    let mut image = GrayImage::from_pixel(side, side, Luma([255]));
    let mut fill = |(x, y): (f32, f32), size, shade| fill(&mut image, (x - left, y - top), size, shade);
    for element in svg
        .split('<')
        .filter(|element| element.starts_with("path") || element.starts_with("rect"))
    {
        let number = |name: &str| attribute(element, name).and_then(|text| text.parse::<f32>().ok());
        match (number("x"), number("y"), number("width")) {
            // The outer ring of a finder pattern, then its centre.
            (Some(x), Some(y), Some(6.0)) => {
                fill((x - 0.5, y - 0.5), (7.0, 7.0), 0);
                fill((x + 0.5, y + 0.5), (5.0, 5.0), 255);
            }
            (Some(x), Some(y), Some(width)) => {
                let is_card = attribute(element, "fill") == Some("#fff");
                fill((x, y), (width, width), if is_card { 255 } else { 0 });
            }
            _ => {}
        }
        // Each bar begins where it is seen from the end of the last.
        let (mut x, mut y) = (0.0, 0.0);
        for bar in attribute(element, "d").unwrap_or_default().split('m').skip(1) {
            let at = bar.find(['h', 'v']).expect("a bar");
            let (along, down) = bar[..at].split_at(bar[1..].find([' ', '-']).expect("two numbers") + 1);
            x += along.parse::<f32>().expect("x");
            y += down.trim_start().parse::<f32>().expect("y");
            let start = (x - 0.5, y - 0.5);
            let length: f32 = bar[at + 1..].parse().expect("a length");
            let across = bar[at..].starts_with('h');
            *(if across { &mut x } else { &mut y }) += length;
            let size = if across {
                (length + 1.0, 1.0)
            } else {
                (1.0, length + 1.0)
            };
            fill(start, size, 0);
        }
    }
    let mut prepared = rqrr::PreparedImage::prepare(image);
    let grids = prepared.detect_grids();
    grids.first().expect("a code").decode().expect("a readable code").1
}

fn fill(image: &mut GrayImage, (x, y): (f32, f32), (width, height): (f32, f32), shade: u8) {
    let pixel = |module: f32| (module * SCALE as f32).round() as u32;
    for row in pixel(y)..pixel(y + height) {
        for column in pixel(x)..pixel(x + width) {
            image.put_pixel(column, row, Luma([shade]));
        }
    }
}

fn attribute<'t>(element: &'t str, name: &str) -> Option<&'t str> {
    let (_, rest) = element.split_once(&format!(" {name}='"))?;
    rest.split('\'').next()
}

const SCALE: u32 = 4;
