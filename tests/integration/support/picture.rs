//! Reading a drawn link code: the SVG of a page, filled as a renderer would, and found as a camera would.

use image::{GrayImage, Luma};

/// The text in a code that the gateway drew.
#[track_caller]
pub fn read_svg(svg: &str) -> String {
    let view = attribute(svg, "viewBox").expect("a viewBox");
    let edge: u32 = view
        .rsplit(' ')
        .next()
        .and_then(|edge| edge.parse().ok())
        .expect("an edge");
    let mut image = GrayImage::from_pixel(edge * SCALE, edge * SCALE, Luma([255]));
    for element in svg
        .split('<')
        .filter(|element| element.starts_with("path") || element.starts_with("rect"))
    {
        let number = |name: &str| attribute(element, name).and_then(|text| text.parse::<f32>().ok());
        match (number("x"), number("y"), number("width")) {
            // The outer ring of a finder pattern, then its centre.
            (Some(x), Some(y), Some(6.0)) => {
                fill(&mut image, (x - 0.5, y - 0.5), (7.0, 7.0), 0);
                fill(&mut image, (x + 0.5, y + 0.5), (5.0, 5.0), 255);
            }
            (Some(x), Some(y), Some(width)) => fill(&mut image, (x, y), (width, width), 0),
            _ => {}
        }
        for bar in attribute(element, "d").unwrap_or_default().split('M').skip(1) {
            let at = bar.find(['h', 'v']).expect("a bar");
            let (x, y) = bar[..at].split_once(',').expect("a start");
            let start = (x.parse::<f32>().expect("x") - 0.5, y.parse::<f32>().expect("y") - 0.5);
            let length: f32 = bar[at + 1..].parse().expect("a length");
            let across = bar[at..].starts_with('h');
            let size = if across {
                (length + 1.0, 1.0)
            } else {
                (1.0, length + 1.0)
            };
            fill(&mut image, start, size, 0);
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
