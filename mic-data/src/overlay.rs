//! Label maps in colour, alone or over their image.

use image::{GrayImage, Rgb, RgbImage};

use crate::{Classes, Error, Result};

/// Each pixel in the colour of its class; black where there is no class.
///
/// # Errors
///
/// [`Error::Invalid`] names an id that is neither a class nor ignored, and its pixel.
pub fn colourise(label: &GrayImage, classes: &Classes) -> Result<RgbImage> {
    let black = RgbImage::new(label.width(), label.height());
    overlay(&black, label, classes, 1.0)
}

/// The class colours over the image with `opacity` from 0 (image alone) to 1 (colours alone).
/// Pixels without a class show the image.
///
/// # Errors
///
/// [`Error::Invalid`] if image and label differ in size, the opacity is outside 0 to 1, or an id
/// is neither a class nor ignored.
pub fn overlay(
    image: &RgbImage,
    label: &GrayImage,
    classes: &Classes,
    opacity: f32,
) -> Result<RgbImage> {
    if image.dimensions() != label.dimensions() {
        return Err(Error::Invalid(format!(
            "an image of {:?} and a label of {:?} (width, height) cannot be laid over each other",
            image.dimensions(),
            label.dimensions()
        )));
    }
    if !(0.0..=1.0).contains(&opacity) {
        return Err(Error::Invalid(format!(
            "opacity {opacity} is not between 0 and 1"
        )));
    }
    let blend = |below: u8, above: u8| {
        let (below, above) = (f32::from(below), f32::from(above));
        (below + (above - below) * opacity).round() as u8
    };
    let mut out = image.clone();
    for ((x, y, pixel), id) in out.enumerate_pixels_mut().zip(label.as_raw()) {
        if let Some(colour) = classes.palette().get(usize::from(*id)) {
            *pixel = Rgb(std::array::from_fn(|c| blend(pixel.0[c], colour[c])));
        } else if *id != classes.ignore() {
            return Err(Error::Invalid(format!(
                "id {id} at pixel x={x}, y={y} is none of the {} classes",
                classes.len()
            )));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_blend_by_opacity_and_ignored_pixels_show_the_image() {
        let classes = Classes::cityscapes();
        let image = RgbImage::from_pixel(3, 1, Rgb([100, 0, 50]));
        let label = GrayImage::from_raw(3, 1, vec![0, 13, 255]).unwrap();
        let out = overlay(&image, &label, &classes, 0.5).unwrap();
        assert_eq!(out.get_pixel(0, 0).0, [114, 32, 89]);
        assert_eq!(out.get_pixel(1, 0).0, [50, 0, 96]);
        assert_eq!(out.get_pixel(2, 0).0, [100, 0, 50]);
        let colours = colourise(&label, &classes).unwrap();
        assert_eq!(colours.as_raw(), &[128, 64, 128, 0, 0, 142, 0, 0, 0]);
    }

    #[test]
    fn unknown_ids_sizes_and_opacities_are_refused() {
        let classes = Classes::camvid();
        let image = RgbImage::new(2, 1);
        let label = GrayImage::from_raw(2, 1, vec![0, 11]).unwrap();
        let error = colourise(&label, &classes).unwrap_err().to_string();
        assert!(error.contains("id 11") && error.contains("x=1"), "{error}");
        let label = GrayImage::new(2, 1);
        assert!(overlay(&image, &label, &classes, 1.5).is_err());
        assert!(overlay(&image, &GrayImage::new(1, 2), &classes, 0.5).is_err());
    }
}
