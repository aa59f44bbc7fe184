//! Images with the boxes of Pascal VOC annotations.

use std::path::{Path, PathBuf};

use image::RgbImage;

use super::boxes::{Boxes, Objects};
use super::sample::{DetectionSet, header_size};
use super::voc_xml::{Difficult, parse_voc};
use crate::files::{read_image, scan};
use crate::parallel::map_indices;
use crate::{Error, Result};

/// Annotation files above this size are refused.
const MAX_BYTES: u64 = 64 << 20;

/// Where the files of a [`VocSet`] are and how to read them.
#[derive(Clone, Debug)]
pub struct VocConfig {
    /// Folder with `JPEGImages`, `Annotations` and `ImageSets/Main`.
    pub root: PathBuf,
    /// The images of `ImageSets/Main/<split>.txt`; without it all annotated images, by name.
    pub split: Option<String>,
    /// The classes in the order of their labels. Objects of other classes are left out.
    pub classes: Vec<String>,
    /// What becomes of difficult objects.
    pub difficult: Difficult,
    /// Coordinate of the first pixel in the files: 1 in Pascal VOC, 0 from some other tools.
    pub origin: u32,
    /// Threads that read the annotations.
    pub threads: usize,
}

/// A data set in the layout of Pascal VOC, as Sim10k has it and KITTI often gets it. All
/// annotations are read at the start, the images when asked for.
#[derive(Clone, Debug)]
pub struct VocSet {
    classes: Vec<String>,
    records: Vec<Record>,
}

#[derive(Clone, Debug)]
struct Record {
    name: String,
    image: PathBuf,
    objects: Objects,
}

impl VocSet {
    /// Reads the annotations.
    ///
    /// # Errors
    ///
    /// Those of [`parse_voc`]; [`Error::Io`] for missing files; [`Error::Invalid`] for annotations
    /// without image, an empty split, and if no object is of any of the classes.
    pub fn open(config: &VocConfig) -> Result<Self> {
        let folder = config.root.join("Annotations");
        let names: Vec<String> = match &config.split {
            Some(split) => read_split(&config.root, split)?,
            None => scan(&folder, ".xml")?
                .into_iter()
                .map(|file| file.name)
                .collect(),
        };
        let read = |index: usize| read_record(config, &folder, &names[index]);
        let read = map_indices(names.len(), config.threads, read)?;
        let mut seen = std::collections::BTreeSet::new();
        let mut next_id = 1;
        let mut records = Vec::with_capacity(read.len());
        for (mut record, classes) in read {
            seen.extend(classes);
            for id in &mut record.objects.ids {
                *id = next_id;
                next_id += 1;
            }
            records.push(record);
        }
        // A small split may lack a class; none at all means other names.
        if !config.classes.iter().any(|class| seen.contains(class)) {
            return Err(Error::Invalid(format!(
                "no object below {} is of the classes {:?}; theirs are {seen:?}",
                folder.display(),
                config.classes
            )));
        }
        Ok(Self {
            classes: config.classes.clone(),
            records,
        })
    }
}

/// A record with the names of all its classes.
fn read_record(config: &VocConfig, folder: &Path, name: &str) -> Result<(Record, Vec<String>)> {
    let path = folder.join(format!("{name}.xml"));
    let text = read_text(&path)?;
    let parsed = parse_voc(&text, &path)?;
    let images = config.root.join("JPEGImages");
    let image = find_image(&images, name, parsed.file_name.as_deref()).ok_or_else(|| {
        Error::Invalid(format!(
            "{}: there is no image {name}.jpg or {name}.png in {}",
            path.display(),
            images.display()
        ))
    })?;
    let size = match parsed.size {
        Some(size) => size,
        None => header_size(&image)?,
    };
    let mut objects = Objects {
        boxes: Boxes {
            corners: Vec::new(),
            size,
        },
        ..Objects::default()
    };
    let mut classes = Vec::new();
    for object in parsed.objects {
        let label = config
            .classes
            .iter()
            .position(|class| *class == object.name);
        if let Some(label) = label
            && !(object.difficult && config.difficult == Difficult::Drop)
        {
            let corners = object.corners.map(|corner| corner - config.origin as f32);
            objects.boxes.corners.push(corners);
            objects.labels.push(label as u32 + 1);
            let ignored = object.difficult && config.difficult == Difficult::Ignore;
            objects.ignored.push(ignored);
            objects.ids.push(0);
        }
        classes.push(object.name);
    }
    objects.areas = objects.boxes.areas().into_iter().map(f64::from).collect();
    let name = name.to_owned();
    Ok((
        Record {
            name,
            image,
            objects,
        },
        classes,
    ))
}

fn find_image(folder: &Path, stem: &str, file_name: Option<&str>) -> Option<PathBuf> {
    let by_stem = ["jpg", "png", "jpeg"].map(|suffix| folder.join(format!("{stem}.{suffix}")));
    let by_name = file_name.map(|name| folder.join(name));
    by_stem
        .into_iter()
        .chain(by_name)
        .find(|path| path.is_file())
}

fn read_split(root: &Path, split: &str) -> Result<Vec<String>> {
    let path = root.join("ImageSets/Main").join(format!("{split}.txt"));
    let text = read_text(&path)?;
    // A second word, where there is one, says whether the image has a certain class.
    let names = text
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let names: Vec<String> = names.map(str::to_owned).collect();
    if names.is_empty() {
        return Err(Error::Invalid(format!("{} names no image", path.display())));
    }
    Ok(names)
}

fn read_text(path: &Path) -> Result<String> {
    let io = |source| Error::Io {
        path: path.to_owned(),
        source,
    };
    let size = std::fs::metadata(path).map_err(io)?.len();
    if size > MAX_BYTES {
        return Err(Error::Decode {
            path: path.to_owned(),
            reason: format!("{size} bytes are too many for an annotation"),
        });
    }
    let bytes = std::fs::read(path).map_err(io)?;
    String::from_utf8(bytes).map_err(|error| Error::Decode {
        path: path.to_owned(),
        reason: format!("{error}; save the file as UTF-8"),
    })
}

impl DetectionSet for VocSet {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn class_names(&self) -> &[String] {
        &self.classes
    }

    fn name(&self, index: usize) -> String {
        self.records[index].name.clone()
    }

    fn path(&self, index: usize) -> PathBuf {
        self.records[index].image.clone()
    }

    fn size(&self, index: usize) -> (u32, u32) {
        self.records[index].objects.boxes.size
    }

    fn objects(&self, index: usize) -> Objects {
        self.records[index].objects.clone()
    }

    fn pixels(&self, index: usize) -> Result<RgbImage> {
        read_image(&self.records[index].image)
    }
}
