//! Images with the boxes of a COCO file.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use image::RgbImage;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};

use super::boxes::{Boxes, Objects};
use super::sample::DetectionSet;
use crate::files::read_image;
use crate::{Error, Result};

/// The images of a COCO annotation file, in the order of their ids.
///
/// The file is read as a stream, and only boxes are kept: masks, key points and captions take no
/// memory.
#[derive(Clone, Debug)]
pub struct CocoSet {
    folder: PathBuf,
    class_names: Vec<String>,
    category_ids: Vec<u64>,
    images: Vec<Image>,
    /// By image; within an image in the order of the file.
    annotations: Vec<Annotation>,
    /// End in `annotations` of each image.
    ends: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Image {
    id: u64,
    size: (u32, u32),
    file: String,
}

#[derive(Clone, Debug)]
struct Annotation {
    id: u64,
    image: u64,
    category: u64,
    xywh: [f32; 4],
    area: f64,
    crowd: bool,
}

impl CocoSet {
    /// Reads the annotation file; images are read from `folder` when asked for.
    ///
    /// Without `classes`, the labels 1, 2, ... are the categories in the order of the file. With
    /// `classes`, they are these names, and objects of other categories are left out.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be read, [`Error::Decode`] with line and column for broken
    /// JSON, missing keys and values that are no box. [`Error::Invalid`] for repeated ids,
    /// annotations of unknown images or categories, images of no size, no image and no category,
    /// and for a name of `classes` that is no category.
    pub fn read(file: &Path, folder: &Path, classes: Option<&[String]>) -> Result<Self> {
        let opened = File::open(file).map_err(|source| Error::Io {
            path: file.to_owned(),
            source,
        })?;
        let reader = BufReader::with_capacity(1 << 18, opened);
        let document: Document =
            serde_json::from_reader(reader).map_err(|error| decode_error(file, &error))?;
        let invalid = |reason: String| Error::Invalid(format!("{}: {reason}", file.display()));
        Self::build(document, folder, classes).map_err(invalid)
    }

    fn build(
        document: Document,
        folder: &Path,
        classes: Option<&[String]>,
    ) -> std::result::Result<Self, String> {
        let Document {
            mut images,
            annotations,
            categories,
        } = document;
        images.sort_by_key(|image| image.id);
        check_images(&images)?;
        let (class_names, category_ids) = choose_classes(&categories, classes)?;
        let places: HashMap<u64, usize> = images
            .iter()
            .enumerate()
            .map(|(place, image)| (image.id, place))
            .collect();
        let known: HashMap<u64, bool> = categories
            .iter()
            .map(|(id, _)| (*id, category_ids.contains(id)))
            .collect();
        check_annotations(&annotations, &places, &known)?;
        let mut annotations: Vec<_> = annotations
            .into_iter()
            .filter(|annotation| known.get(&annotation.category) == Some(&true))
            .collect();
        // Stable: the order of the file stays within an image.
        annotations.sort_by_key(|annotation| annotation.image);
        let ends = images
            .iter()
            .map(|image| annotations.partition_point(|annotation| annotation.image <= image.id))
            .collect();
        Ok(Self {
            folder: folder.to_owned(),
            class_names,
            category_ids,
            images,
            annotations,
            ends,
        })
    }

    /// The id of image `index` in the file.
    pub fn image_id(&self, index: usize) -> u64 {
        self.images[index].id
    }

    /// The category ids of labels 1, 2, ... in the file.
    pub fn category_ids(&self) -> &[u64] {
        &self.category_ids
    }
}

impl DetectionSet for CocoSet {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn class_names(&self) -> &[String] {
        &self.class_names
    }

    fn name(&self, index: usize) -> String {
        self.images[index].file.clone()
    }

    fn path(&self, index: usize) -> PathBuf {
        self.folder.join(&self.images[index].file)
    }

    fn size(&self, index: usize) -> (u32, u32) {
        self.images[index].size
    }

    fn objects(&self, index: usize) -> Objects {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        let annotations = &self.annotations[start..self.ends[index]];
        let label = |category: u64| {
            let place = self.category_ids.iter().position(|id| *id == category);
            place.map_or(0, |place| place as u32 + 1)
        };
        let xywh: Vec<_> = annotations
            .iter()
            .map(|annotation| annotation.xywh)
            .collect();
        Objects {
            boxes: Boxes::from_xywh(&xywh, self.size(index)),
            labels: annotations.iter().map(|a| label(a.category)).collect(),
            ignored: annotations.iter().map(|a| a.crowd).collect(),
            areas: annotations.iter().map(|a| a.area).collect(),
            ids: annotations.iter().map(|a| a.id).collect(),
        }
    }

    fn pixels(&self, index: usize) -> Result<RgbImage> {
        read_image(&self.path(index))
    }
}

fn check_images(images: &[Image]) -> std::result::Result<(), String> {
    if images.is_empty() {
        return Err("it names no image".to_owned());
    }
    if let Some(pair) = images.windows(2).find(|pair| pair[0].id == pair[1].id) {
        return Err(format!(
            "image id {} is given to {:?} and {:?}; ids must differ",
            pair[0].id, pair[0].file, pair[1].file
        ));
    }
    match images
        .iter()
        .find(|image| image.size.0 == 0 || image.size.1 == 0)
    {
        Some(image) => Err(format!(
            "image {:?} is {} x {} pixels",
            image.file, image.size.0, image.size.1
        )),
        None => Ok(()),
    }
}

/// Names and category ids of labels 1, 2, ...
fn choose_classes(
    categories: &[(u64, String)],
    classes: Option<&[String]>,
) -> std::result::Result<(Vec<String>, Vec<u64>), String> {
    for (place, (id, name)) in categories.iter().enumerate() {
        if categories[..place]
            .iter()
            .any(|other| other.0 == *id || other.1 == *name)
        {
            return Err(format!("category {id} {name:?} is there twice"));
        }
    }
    let names: Vec<&String> = match classes {
        Some(classes) => classes.iter().collect(),
        None => categories.iter().map(|(_, name)| name).collect(),
    };
    if names.is_empty() {
        return Err("there is no category".to_owned());
    }
    let mut ids = Vec::new();
    for name in &names {
        let found = categories.iter().find(|category| category.1 == **name);
        let found = found.ok_or_else(|| {
            let known: Vec<_> = categories.iter().map(|category| &category.1).collect();
            format!("{name:?} is none of its categories {known:?}")
        })?;
        ids.push(found.0);
    }
    Ok((names.into_iter().cloned().collect(), ids))
}

fn check_annotations(
    annotations: &[Annotation],
    images: &HashMap<u64, usize>,
    categories: &HashMap<u64, bool>,
) -> std::result::Result<(), String> {
    let stray = |what: &str, id: u64, of: u64, count: usize| {
        format!(
            "annotation {id} is of {what} {of}, which the file does not list ({count} such \
             annotations); remove them or add the {what}"
        )
    };
    let of_unknown_image = |a: &&Annotation| !images.contains_key(&a.image);
    if let Some(first) = annotations.iter().find(of_unknown_image) {
        let count = annotations.iter().filter(of_unknown_image).count();
        return Err(stray("image", first.id, first.image, count));
    }
    let of_unknown_category = |a: &&Annotation| !categories.contains_key(&a.category);
    if let Some(first) = annotations.iter().find(of_unknown_category) {
        let count = annotations.iter().filter(of_unknown_category).count();
        return Err(stray("category", first.id, first.category, count));
    }
    let mut ids: Vec<u64> = annotations.iter().map(|annotation| annotation.id).collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("annotation id {} is there twice", pair[0])),
        None => Ok(()),
    }
}

/// The parts of a COCO file that are used.
#[derive(Deserialize)]
struct Document {
    #[serde(deserialize_with = "images")]
    images: Vec<Image>,
    #[serde(deserialize_with = "annotations")]
    annotations: Vec<Annotation>,
    #[serde(deserialize_with = "categories")]
    categories: Vec<(u64, String)>,
}

// Keys are optional here so that a missing one is reported with the id of its entry.

#[derive(Deserialize)]
struct RawImage {
    id: Option<u64>,
    width: Option<u32>,
    height: Option<u32>,
    file_name: Option<String>,
}

#[derive(Deserialize)]
struct RawAnnotation {
    id: Option<u64>,
    image_id: Option<u64>,
    category_id: Option<u64>,
    bbox: Option<[f64; 4]>,
    area: Option<f64>,
    #[serde(default)]
    iscrowd: Option<Flag>,
}

#[derive(Deserialize)]
struct RawCategory {
    id: Option<u64>,
    name: Option<String>,
}

/// 0, 1, false or true.
#[derive(Deserialize)]
#[serde(untagged)]
enum Flag {
    Number(u8),
    Bool(bool),
}

fn images<'de, D: Deserializer<'de>>(input: D) -> std::result::Result<Vec<Image>, D::Error> {
    each(input, |raw: RawImage| {
        let id = raw.id.ok_or("an image has no \"id\"")?;
        let missing = |key: &str| format!("image {id} has no {key:?}");
        Ok(Image {
            id,
            size: (
                raw.width.ok_or_else(|| missing("width"))?,
                raw.height.ok_or_else(|| missing("height"))?,
            ),
            file: raw.file_name.ok_or_else(|| missing("file_name"))?,
        })
    })
}

fn annotations<'de, D: Deserializer<'de>>(
    input: D,
) -> std::result::Result<Vec<Annotation>, D::Error> {
    each(input, |raw: RawAnnotation| {
        let id = raw.id.ok_or("an annotation has no \"id\"")?;
        let missing = |key: &str| format!("annotation {id} has no {key:?}");
        let bbox = raw.bbox.ok_or_else(|| missing("bbox"))?;
        let xywh = bbox.map(|value| value as f32);
        // Beyond this, neighbouring pixels have the same coordinate.
        if !xywh.iter().all(|value| value.abs() < 1e7) {
            return Err(format!("annotation {id} has the impossible box {bbox:?}"));
        }
        Ok(Annotation {
            id,
            image: raw.image_id.ok_or_else(|| missing("image_id"))?,
            category: raw.category_id.ok_or_else(|| missing("category_id"))?,
            xywh,
            area: raw.area.unwrap_or(bbox[2] * bbox[3]),
            crowd: match raw.iscrowd {
                None => false,
                Some(Flag::Number(number)) => number != 0,
                Some(Flag::Bool(crowd)) => crowd,
            },
        })
    })
}

fn categories<'de, D: Deserializer<'de>>(
    input: D,
) -> std::result::Result<Vec<(u64, String)>, D::Error> {
    each(input, |raw: RawCategory| {
        let id = raw.id.ok_or("a category has no \"id\"")?;
        let name = raw
            .name
            .ok_or_else(|| format!("category {id} has no \"name\""))?;
        Ok((id, name))
    })
}

/// A list whose entries are converted one by one, so that only the results are in memory.
fn each<'de, D, Raw, T>(
    input: D,
    convert: impl Fn(Raw) -> std::result::Result<T, String>,
) -> std::result::Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    Raw: Deserialize<'de>,
{
    struct Each<Raw, F>(F, std::marker::PhantomData<Raw>);

    impl<'de, Raw, T, F> Visitor<'de> for Each<Raw, F>
    where
        Raw: Deserialize<'de>,
        F: Fn(Raw) -> std::result::Result<T, String>,
    {
        type Value = Vec<T>;

        fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
            formatter.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(
            self,
            mut list: A,
        ) -> std::result::Result<Vec<T>, A::Error> {
            let mut out = Vec::new();
            while let Some(raw) = list.next_element()? {
                out.push((self.0)(raw).map_err(A::Error::custom)?);
            }
            Ok(out)
        }
    }

    input.deserialize_seq(Each(convert, std::marker::PhantomData))
}

fn decode_error(path: &Path, error: &serde_json::Error) -> Error {
    if let Some(kind) = error.io_error_kind() {
        return Error::Io {
            path: path.to_owned(),
            source: kind.into(),
        };
    }
    let hint = match error.is_eof() {
        true => "; the file is cut short, copy it again",
        false => "; a COCO file has the lists images, annotations and categories",
    };
    Error::Decode {
        path: path.to_owned(),
        reason: format!("{error}{hint}"),
    }
}
