//! Writes a sheet of street scenes with the boxes of a detection set, clear on the left and in fog
//! on the right.
//!
//! `cargo run -p mic-data --example foggy_scenes -- sheet.png [width height [beta [rows]]]`

use std::error::Error;

use image::{Rgb, RgbImage, imageops};
use mic_data::detection::DetectionSet;
use mic_data::scenes::{
    Class, Fog, PALETTE, SceneConfig, SceneObjects, SceneObjectsConfig, Split, Style,
};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let path = args
        .first()
        .ok_or("usage: foggy_scenes FILE.png [WIDTH HEIGHT [BETA [ROWS]]]")?;
    let number = |i: usize, default: f32| args.get(i).map_or(Ok(default), |a| a.parse::<f32>());
    let (width, height) = (number(1, 256.0)? as u32, number(2, 128.0)? as u32);
    let (beta, rows) = (number(3, 0.06)?, number(4, 5.0)? as usize);
    let mut sheet =
        RgbImage::from_pixel(2 * (width + 4), rows as u32 * (height + 4), Rgb([255; 3]));
    for (column, fog) in [None, Some(Fog::new(beta)?)].into_iter().enumerate() {
        let config = SceneObjectsConfig {
            scene: SceneConfig::new(width, height, Style::Source),
            split: Split::Train,
            count: rows,
            seed: 1,
            fog,
        };
        let set = SceneObjects::new(&config, 1)?;
        for row in 0..rows {
            let (x, y) = (column as u32 * (width + 4), row as u32 * (height + 4));
            imageops::replace(&mut sheet, &framed(&set, row)?, x.into(), y.into());
        }
    }
    let zoom = (2000 / sheet.width()).max(1);
    let (w, h) = (zoom * sheet.width(), zoom * sheet.height());
    imageops::resize(&sheet, w, h, imageops::FilterType::Nearest).save(path)?;
    Ok(())
}

/// An image with a frame on the outermost pixels of every box.
fn framed(set: &SceneObjects, index: usize) -> Result<RgbImage, Box<dyn Error>> {
    let mut image = set.pixels(index)?;
    let objects = set.objects(index);
    for (corners, &label) in objects.boxes.corners.iter().zip(&objects.labels) {
        let [x0, y0, x1, y1] = corners.map(|v| v as u32);
        let colour = PALETTE[usize::from(Class::THINGS[label as usize - 1].id())];
        for (x, y) in (x0..=x1)
            .flat_map(|x| [(x, y0), (x, y1)])
            .chain((y0..=y1).flat_map(|y| [(x0, y), (x1, y)]))
        {
            image.put_pixel(x, y, Rgb(colour));
        }
    }
    Ok(image)
}
