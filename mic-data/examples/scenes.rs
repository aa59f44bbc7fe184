//! Writes a contact sheet of street scenes: one row a scene with image, boxes, labels and depth,
//! source scenes on the left and target scenes on the right.
//!
//! `cargo run -p mic-data --example scenes -- sheet.png [width height [rows [seed]]]`

use std::error::Error;

use image::{Rgb, RgbImage, imageops};
use mic_data::scenes::{PALETTE, Scene, SceneConfig, Split, StreetScenes, Style};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let path = args
        .first()
        .ok_or("usage: scenes FILE.png [WIDTH HEIGHT [ROWS [SEED]]]")?;
    let number = |i: usize, default: u64| args.get(i).map_or(Ok(default), |a| a.parse::<u64>());
    let (width, height) = (number(1, 128)? as u32, number(2, 64)? as u32);
    let (rows, seed) = (number(3, 6)? as usize, number(4, 1)?);
    let (cell_w, cell_h) = (width + 4, height + 4);
    let mut sheet = RgbImage::from_pixel(6 * cell_w, rows as u32 * cell_h, Rgb([255; 3]));
    for (group, style) in [Style::Source, Style::Target].into_iter().enumerate() {
        let set = StreetScenes::new(
            SceneConfig::new(width, height, style),
            seed,
            Split::Train,
            rows,
        )?;
        for row in 0..rows {
            let scene = set.scene(row)?;
            let cells = [boxed(&scene), labels(&scene), depth(&scene)];
            for (column, cell) in cells.iter().enumerate() {
                let x = (3 * group + column) as u32 * cell_w + 2;
                let y = row as u32 * cell_h + 2;
                imageops::replace(&mut sheet, cell, i64::from(x), i64::from(y));
            }
        }
    }
    // Small scenes are enlarged until the sheet is about 2000 pixels wide.
    let zoom = (2000 / sheet.width()).max(1);
    let (w, h) = (zoom * sheet.width(), zoom * sheet.height());
    imageops::resize(&sheet, w, h, imageops::FilterType::Nearest).save(path)?;
    Ok(())
}

fn colour_of(class: u8) -> Rgb<u8> {
    Rgb(PALETTE.get(usize::from(class)).copied().unwrap_or([0; 3]))
}

fn labels(scene: &Scene) -> RgbImage {
    RgbImage::from_fn(scene.image.width(), scene.image.height(), |x, y| {
        colour_of(scene.label.get_pixel(x, y)[0])
    })
}

/// The image with a frame on the outermost pixels of every box.
fn boxed(scene: &Scene) -> RgbImage {
    let mut image = scene.image.clone();
    for b in &scene.boxes {
        for y in b.y0..b.y1 {
            for x in b.x0..b.x1 {
                if x == b.x0 || x + 1 == b.x1 || y == b.y0 || y + 1 == b.y1 {
                    let frame = colour_of(b.class);
                    let old = image.get_pixel(x, y).0;
                    let mixed =
                        [0, 1, 2].map(|c| ((u16::from(old[c]) + u16::from(frame[c])) / 2) as u8);
                    image.put_pixel(x, y, Rgb(mixed));
                }
            }
        }
    }
    image
}

/// Near is bright.
fn depth(scene: &Scene) -> RgbImage {
    let width = scene.image.width();
    RgbImage::from_fn(width, scene.image.height(), |x, y| {
        let metres = scene.depth[(y * width + x) as usize];
        Rgb([(255.0 * (4.0 / metres.max(4.0)).sqrt()) as u8; 3])
    })
}
