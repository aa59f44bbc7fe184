//! Small images in the folders of classes.

#![allow(clippy::unwrap_used, unreachable_pub)] // helpers of several test targets

use std::fs;
use std::path::Path;

use image::{DynamicImage, Rgb, RgbImage};

/// An image 20 pixels wide that is another for each `red`.
pub fn picture(height: u32, red: u8) -> DynamicImage {
    RgbImage::from_fn(20, height, |x, y| Rgb([red, (x * 9) as u8, (y * 11) as u8])).into()
}

pub fn put(path: &Path, image: &DynamicImage) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.save(path).unwrap();
}
