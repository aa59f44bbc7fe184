//! Label maps in colour, and images as `data:` addresses.

use std::io::Cursor;

use anyhow::{Context, Result};
use image::{GrayImage, ImageFormat, Rgb, RgbImage};
use mic_run::report::base64;

use crate::reproduce::results::ClassEntry;

/// Test images in rows of pictures.
#[derive(Clone, Debug, Default)]
pub struct Gallery {
    /// What the pictures of a row show.
    pub captions: Vec<String>,
    /// One row a test image.
    pub rows: Vec<GalleryRow>,
    /// What the reader should know about the pictures.
    pub note: String,
    /// Whether colours stand for classes.
    pub coloured: bool,
}

/// Pictures of one test image.
#[derive(Clone, Debug)]
pub struct GalleryRow {
    /// Name of the image.
    pub name: String,
    /// One picture a caption.
    pub pictures: Vec<RgbImage>,
}

/// Paints train ids in the colours of the classes; ids that are no class are black.
pub fn paint(ids: &GrayImage, classes: &[ClassEntry]) -> RgbImage {
    RgbImage::from_fn(ids.width(), ids.height(), |x, y| {
        let id = usize::from(ids.get_pixel(x, y)[0]);
        Rgb(classes.get(id).map_or([0; 3], |class| class.colour))
    })
}

/// The image as a PNG in a `data:` address.
pub(super) fn data_address(image: &RgbImage) -> Result<String> {
    let mut bytes = Vec::new();
    image
        .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)
        .context("encoding a picture of the report as PNG")?;
    Ok(format!("data:image/png;base64,{}", base64::encode(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_without_a_class_are_black() {
        let classes = [ClassEntry {
            name: "road".into(),
            colour: [128, 64, 128],
        }];
        let ids = GrayImage::from_raw(3, 1, vec![0, 1, 255]).unwrap();
        assert_eq!(
            paint(&ids, &classes).into_raw(),
            [128, 64, 128, 0, 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn addresses_hold_a_png() {
        let address = data_address(&RgbImage::new(2, 2)).unwrap();
        assert!(
            address.starts_with("data:image/png;base64,iVBORw0KGgo"),
            "{address}"
        );
    }
}
