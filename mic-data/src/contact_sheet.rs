//! Many images on one page.

use image::{Rgb, RgbImage, imageops};

use crate::transform::{keep_ratio, resize_image};
use crate::{Error, Result};

/// Pixels between images.
const GAP: u32 = 8;

/// The colour between images.
const PAPER: Rgb<u8> = Rgb([245, 245, 245]);

/// Images in rows of `columns`, each scaled to fit a square of `tile` pixels and centred in it.
///
/// # Errors
///
/// [`Error::Invalid`] if there is no image, column or tile, or one of the images has no pixel.
pub fn contact_sheet(images: &[RgbImage], columns: usize, tile: u32) -> Result<RgbImage> {
    if images.is_empty() || columns == 0 || tile == 0 {
        return Err(Error::Invalid(format!(
            "a contact sheet of {} images in {columns} columns of {tile} pixels; each must be at \
             least 1",
            images.len()
        )));
    }
    if images
        .iter()
        .any(|image| image.width() == 0 || image.height() == 0)
    {
        return Err(Error::Invalid(
            "an image without pixels cannot be shown".to_owned(),
        ));
    }
    let sizes: Vec<(u32, u32)> = images
        .iter()
        .map(|image| keep_ratio(image.dimensions(), (tile, tile)))
        .map(|(width, height)| (width.max(1), height.max(1)))
        .collect();
    let columns = columns.min(images.len());
    // Rows are as high as their highest image.
    let heights: Vec<u32> = sizes
        .chunks(columns)
        .map(|row| row.iter().map(|size| size.1).max().unwrap_or(0))
        .collect();
    let width = GAP + columns as u32 * (tile + GAP);
    let height = GAP + heights.iter().map(|height| height + GAP).sum::<u32>();
    let mut sheet = RgbImage::from_pixel(width, height, PAPER);
    let mut y = GAP;
    for (row, height) in heights.iter().enumerate() {
        let first = row * columns;
        for (column, (image, size)) in images[first..]
            .iter()
            .zip(&sizes[first..])
            .take(columns)
            .enumerate()
        {
            let small = resize_image(image, size.0, size.1);
            let left = GAP + column as u32 * (tile + GAP) + (tile - size.0) / 2;
            let top = y + (height - size.1) / 2;
            imageops::replace(&mut sheet, &small, i64::from(left), i64::from(top));
        }
        y += height + GAP;
    }
    Ok(sheet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_stand_in_rows() {
        let image = |value, width, height| RgbImage::from_pixel(width, height, Rgb([value; 3]));
        let images = [image(10, 40, 20), image(20, 20, 40), image(30, 5, 5)];
        let sheet = contact_sheet(&images, 2, 40).unwrap();
        assert_eq!(sheet.dimensions(), (8 + 2 * 48, 8 + 2 * 48));
        assert_eq!(sheet.get_pixel(8, 28).0, [10; 3]);
        assert_eq!(sheet.get_pixel(8, 8).0, PAPER.0);
        assert_eq!(sheet.get_pixel(76, 8).0, [20; 3]);
        assert_eq!(sheet.get_pixel(28, 76).0, [30; 3]);
        assert!(contact_sheet(&[], 2, 40).is_err());
        assert!(contact_sheet(&images, 0, 40).is_err());
    }
}
