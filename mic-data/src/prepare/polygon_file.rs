//! The polygon files of Cityscapes (`_gtFine_polygons.json`) and the train ids drawn from them.

use std::path::Path;

use image::{GrayImage, Luma};
use serde::Deserialize;

use super::polygon_fill::fill_polygon;
use crate::files::{DECODE_LIMIT, read_bytes};
use crate::label_map::CITYSCAPES_IDS;
use crate::sample::IGNORE;
use crate::{Error, Result};

/// What a polygon file holds.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PolygonFile {
    /// Width of the image in pixels.
    #[serde(rename = "imgWidth")]
    pub width: u32,
    /// Height of the image in pixels.
    #[serde(rename = "imgHeight")]
    pub height: u32,
    /// From back to front.
    pub objects: Vec<PolygonObject>,
}

/// One outlined object.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PolygonObject {
    /// Name of its class; groups of objects end in `group`.
    pub label: String,
    /// Points `[x, y]` in pixels.
    pub polygon: Vec<[f64; 2]>,
    /// Present (1) in objects that were removed.
    #[serde(default)]
    pub deleted: serde_json::Value,
}

/// The largest coordinate that is believed. Objects may leave the image a little.
const FARTHEST: f64 = 1e6;

/// Reads a polygon file.
///
/// # Errors
///
/// [`Error::Io`] if it cannot be read, [`Error::Decode`] if it is no such file, claims an image
/// above [`DECODE_LIMIT`], or has an object without points or with a point that is no pixel.
pub fn read_polygons(path: &Path) -> Result<PolygonFile> {
    let wrong = |reason: String| Error::Decode {
        path: path.to_owned(),
        reason,
    };
    let bytes = read_bytes(path, DECODE_LIMIT)?;
    let file: PolygonFile = serde_json::from_slice(&bytes).map_err(|error| {
        wrong(format!(
            "{error}; a polygon file of Cityscapes has imgWidth, imgHeight, and objects with a \
             label and a polygon of finite numbers; copy it again"
        ))
    })?;
    let pixels = u64::from(file.width) * u64::from(file.height);
    if pixels == 0 || pixels > DECODE_LIMIT {
        return Err(wrong(format!(
            "it is for an image of {} x {} pixels; at least one and at most {DECODE_LIMIT} pixels \
             can be drawn",
            file.width, file.height
        )));
    }
    for (index, object) in file.objects.iter().enumerate() {
        let named = || format!("object {index} ({:?})", object.label);
        if object.polygon.is_empty() {
            return Err(wrong(format!("{} has no point; remove it", named())));
        }
        let far = |point: &&[f64; 2]| point.iter().any(|value| value.abs() > FARTHEST);
        if let Some(point) = object.polygon.iter().find(far) {
            return Err(wrong(format!(
                "{} has the point {point:?}; coordinates are in pixels, correct it",
                named()
            )));
        }
    }
    Ok(file)
}

impl PolygonFile {
    /// The label map with train ids; pixels without object are ignored. `path` is for messages.
    ///
    /// Deleted objects and those without an id (license plates) are not drawn; objects of classes
    /// that are not evaluated are drawn as ignored.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names an object of an unknown class.
    pub fn train_ids(&self, path: &Path) -> Result<GrayImage> {
        let mut label = GrayImage::from_pixel(self.width, self.height, Luma([IGNORE]));
        for (index, object) in self.objects.iter().enumerate() {
            if is_set(&object.deleted) {
                continue;
            }
            let Some(id) = class_id(&object.label) else {
                return Err(Error::Invalid(format!(
                    "{}: object {index} is a {:?}, which is no class of Cityscapes; correct the \
                     name or remove the object",
                    path.display(),
                    object.label
                )));
            };
            if id < 0 {
                continue;
            }
            let place = CITYSCAPES_IDS
                .iter()
                .position(|known| i32::from(*known) == id);
            let train = place.map_or(IGNORE, |place| place as u8);
            // Fractions are cut off, as in Pillow.
            let points = object.polygon.iter().map(|[x, y]| (*x as i32, *y as i32));
            fill_polygon(&mut label, &points.collect::<Vec<_>>(), train);
        }
        Ok(label)
    }
}

/// Whether Python would take the value for true: any object with the key is meant in practice.
fn is_set(value: &serde_json::Value) -> bool {
    use serde_json::Value;
    match value {
        Value::Null => false,
        Value::Bool(set) => *set,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// The Cityscapes id of a class; a group counts as what it is a group of.
fn class_id(name: &str) -> Option<i32> {
    let id = |name: &str| {
        let found = CLASSES.iter().find(|(known, _)| *known == name);
        found.map(|(_, id)| *id)
    };
    id(name).or_else(|| id(name.strip_suffix("group")?))
}

/// All classes of the Cityscapes annotation.
const CLASSES: [(&str, i32); 35] = [
    ("unlabeled", 0),
    ("ego vehicle", 1),
    ("rectification border", 2),
    ("out of roi", 3),
    ("static", 4),
    ("dynamic", 5),
    ("ground", 6),
    ("road", 7),
    ("sidewalk", 8),
    ("parking", 9),
    ("rail track", 10),
    ("building", 11),
    ("wall", 12),
    ("fence", 13),
    ("guard rail", 14),
    ("bridge", 15),
    ("tunnel", 16),
    ("pole", 17),
    ("polegroup", 18),
    ("traffic light", 19),
    ("traffic sign", 20),
    ("vegetation", 21),
    ("terrain", 22),
    ("sky", 23),
    ("person", 24),
    ("rider", 25),
    ("car", 26),
    ("truck", 27),
    ("bus", 28),
    ("caravan", 29),
    ("trailer", 30),
    ("train", 31),
    ("motorcycle", 32),
    ("bicycle", 33),
    ("license plate", -1),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_polegroups_are_told_apart() {
        assert_eq!(class_id("cargroup"), Some(26));
        assert_eq!(class_id("polegroup"), Some(18));
        assert_eq!(class_id("license plate"), Some(-1));
        assert_eq!(class_id("spaceship"), None);
        assert_eq!(class_id("group"), None);
    }
}
