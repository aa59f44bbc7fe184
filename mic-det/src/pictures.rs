//! What a run and the data commands show: images with boxes.

use image::{Rgb, RgbImage};
use mic_data::check::Picture;
use mic_data::contact_sheet::contact_sheet;
use mic_data::detection::{DetectionImages, DetectionSet};
use mic_data::transform::{keep_ratio, resize_image};
use mic_run::record;

use crate::Result;
use crate::boxes::{Corners, Size, resize};
use crate::roi::Detections;

/// Largest width and height of an image that is shown.
const LARGEST: (u32, u32) = (512, 512);
/// Detections with a lower score are not shown.
const CERTAIN: f32 = 0.5;
/// Side of an image on a sheet.
const TILE: u32 = 320;

/// Colours of the labels 1, 2, ..., again from the beginning where they do not suffice.
const COLOURS: [[u8; 3]; 10] = [
    [230, 57, 70],
    [42, 157, 143],
    [255, 183, 3],
    [67, 97, 238],
    [247, 127, 0],
    [131, 56, 236],
    [6, 214, 160],
    [255, 0, 110],
    [0, 180, 216],
    [112, 224, 0],
];

/// An image no larger than is shown, with a frame around each box.
fn framed(image: &RgbImage, boxes: &[Corners], labels: &[u32]) -> RgbImage {
    let size = |(width, height): (u32, u32)| -> Size { (height as usize, width as usize) };
    let from = image.dimensions();
    let to = keep_ratio(from, LARGEST);
    let mut shown = match to.0 < from.0 {
        true => resize_image(image, to.0, to.1),
        false => image.clone(),
    };
    let to = shown.dimensions();
    for (&corners, &label) in boxes.iter().zip(labels) {
        let colour = COLOURS[(label as usize).saturating_sub(1) % COLOURS.len()];
        frame(
            &mut shown,
            resize(corners, size(from), size(to)),
            Rgb(colour),
        );
    }
    shown
}

/// Two pixels inside the box's border.
fn frame(image: &mut RgbImage, [x1, y1, x2, y2]: Corners, colour: Rgb<u8>) {
    let (width, height) = image.dimensions();
    let place = |v: f32, side: u32| (v.max(0.0).round() as u32).min(side.saturating_sub(1));
    let (left, right) = (place(x1, width), place(x2, width));
    let (top, bottom) = (place(y1, height), place(y2, height));
    for y in top..=bottom {
        for x in left..=right {
            let inside = x > left + 1 && x + 1 < right && y > top + 1 && y + 1 < bottom;
            if !inside {
                image.put_pixel(x, y, colour);
            }
        }
    }
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
            image: framed(&image, &objects.boxes.corners, &objects.labels),
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
            image: framed(&found.image, &[], &[]),
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
        let found = detect(&image)?.filter(|score| score >= CERTAIN);
        images.push(framed(&image, &objects.boxes.corners, &objects.labels));
        images.push(framed(&image, &found.boxes, &found.labels));
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
    fn frames_are_scaled_with_the_image_and_stay_inside() {
        let image = RgbImage::new(1024, 512);
        let shown = framed(&image, &[[100.0, 100.0, 2000.0, 300.0]], &[1]);
        assert_eq!(shown.dimensions(), (512, 256));
        assert_eq!(shown.get_pixel(50, 50).0, COLOURS[0]);
        assert_eq!(shown.get_pixel(511, 149).0, COLOURS[0]);
        assert_eq!(shown.get_pixel(60, 60).0, [0; 3]);
        assert_eq!(shown.get_pixel(48, 50).0, [0; 3]);
    }
}
