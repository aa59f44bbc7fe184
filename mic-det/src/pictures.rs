//! What a run and the data commands show: images with boxes.

use image::RgbImage;
use mic_data::check::Picture;
use mic_data::contact_sheet::contact_sheet;
use mic_data::detection::{DetectionImages, DetectionSet, Objects};
use mic_data::transform::{keep_ratio, resize_image};
use mic_run::record;

use crate::Result;
use crate::boxes::{Size, resize};
use crate::draw::{DrawnBox, class_colour, draw, drawn};
use crate::roi::Detections;

/// Largest width and height of an image that is shown.
const LARGEST: (u32, u32) = (640, 640);
/// Detections with a lower score are not shown.
const CERTAIN: f32 = 0.5;
/// Side of an image on a sheet.
const TILE: u32 = 480;

/// An image no larger than is shown, with boxes that are in pixels of the image as it was.
fn framed(image: &RgbImage, mut boxes: Vec<DrawnBox>) -> RgbImage {
    let size = |(width, height): (u32, u32)| -> Size { (height as usize, width as usize) };
    let from = image.dimensions();
    let to = keep_ratio(from, LARGEST);
    let mut shown = match to.0 < from.0 {
        true => resize_image(image, to.0, to.1),
        false => image.clone(),
    };
    for one in &mut boxes {
        one.corners = resize(one.corners, size(from), size(shown.dimensions()));
    }
    draw(&mut shown, &boxes);
    shown
}

/// Annotated objects with the names of their classes.
fn annotated(objects: &Objects, classes: &[String]) -> Vec<DrawnBox> {
    let boxes = objects.boxes.corners.iter().zip(&objects.labels);
    let name = |label: u32| classes.get((label as usize).wrapping_sub(1)).cloned();
    boxes
        .map(|(&corners, &label)| DrawnBox {
            corners,
            colour: class_colour(label),
            text: name(label).unwrap_or_default(),
        })
        .collect()
}

/// Places spread evenly over a set of `len` images.
fn spread(len: usize, count: usize) -> impl Iterator<Item = usize> {
    let count = count.min(len);
    (0..count).map(move |place| place * len / count)
}

/// Images of a set with their objects; those that cannot be read are left out.
pub(crate) fn annotated_samples(set: &dyn DetectionSet, key: &str, count: usize) -> Vec<Picture> {
    let sample = |index: usize| {
        let image = set.pixels(index).ok()?;
        let objects = set.objects(index);
        Some(Picture {
            caption: format!("{key}: {}", set.name(index)),
            image: framed(&image, annotated(&objects, set.class_names())),
        })
    };
    spread(set.len(), count).filter_map(sample).collect()
}

/// Images of a target; those that cannot be read are left out.
pub(crate) fn image_samples(set: &dyn DetectionImages, key: &str, count: usize) -> Vec<Picture> {
    let sample = |index: usize| {
        let found = set.get(index).ok()?;
        Some(Picture {
            caption: format!("{key}: {}", found.name),
            image: framed(&found.image, Vec::new()),
        })
    };
    spread(set.len(), count).filter_map(sample).collect()
}

/// Test images in pairs: with their objects, and with what `detect` is certain of. `None` for a set
/// without images.
pub(crate) fn detections(
    set: &dyn DetectionSet,
    count: usize,
    detect: &dyn Fn(&RgbImage) -> Result<Detections>,
) -> Result<Option<record::Picture>> {
    let mut images = Vec::new();
    for index in spread(set.len(), count) {
        let image = set.pixels(index)?;
        let objects = set.objects(index);
        let classes = set.class_names();
        images.push(framed(&image, annotated(&objects, classes)));
        images.push(framed(&image, drawn(&detect(&image)?, classes, CERTAIN)));
    }
    if images.is_empty() {
        return Ok(None);
    }
    let sheet = contact_sheet(&images, 4, TILE)?;
    Ok(Some(record::Picture {
        name: "test/detections".into(),
        width: sheet.width(),
        height: sheet.height(),
        rgb: sheet.into_raw(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_scaled_with_the_image_and_stay_inside() {
        let image = RgbImage::new(1280, 640);
        let one = DrawnBox {
            corners: [100.0, 100.0, 2000.0, 300.0],
            colour: class_colour(2),
            text: String::new(),
        };
        let shown = framed(&image, vec![one]);
        assert_eq!(shown.dimensions(), (640, 320));
        for (x, y) in [(50, 50), (639, 149)] {
            assert_eq!(shown.get_pixel(x, y).0, class_colour(2), "{x}, {y}");
        }
        for (x, y) in [(60, 60), (48, 50)] {
            assert_eq!(shown.get_pixel(x, y).0, [0; 3], "{x}, {y}");
        }
    }
}
