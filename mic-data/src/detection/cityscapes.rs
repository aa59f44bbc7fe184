//! COCO files of Cityscapes and Foggy Cityscapes.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

use super::coco_write::{CocoAnnotation, CocoCategory, CocoDocument, CocoImage};
use super::contour::Mask;
use crate::files::{ScannedFile, read_label, scan};
use crate::label_map::{RawIds, RawLabel};
use crate::parallel::{lock, map_indices};
use crate::{Error, Result};

/// The classes with instances: label id of Cityscapes and name. Category ids are 1, 2, ...;
/// caravans and trailers have none.
pub const CITYSCAPES_CATEGORIES: [(u16, &str); 8] = [
    (24, "person"),
    (25, "rider"),
    (26, "car"),
    (27, "truck"),
    (28, "bus"),
    (31, "train"),
    (32, "motorcycle"),
    (33, "bicycle"),
];

/// In this order, in which the ids go on from one to the next.
const SPLITS: [&str; 3] = ["val", "train", "test"];

const POLYGONS: &str = "_gtFine_polygons.json";
const INSTANCES: &str = "_gtFine_instanceIds.png";

/// Outlines of at most this many pixels make the reference drop the instance.
const SPECK: usize = 2;

/// What [`convert_cityscapes`] reads and writes.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// Folder with `gtFine`. A split without folder gets a file without images.
    pub root: PathBuf,
    /// Folder for the COCO files; made if missing.
    pub output: PathBuf,
    /// Density of the fog in the image names, such as `"0.02"`; `None` is clear Cityscapes.
    pub fog: Option<String>,
    /// Threads.
    pub threads: usize,
}

/// Writes `instancesonly_filtered_gtFine_<split>_poly.json` (with `foggy_` in front for fog) for
/// val, train and test. Returns the files with their numbers of images and objects.
///
/// Every instance of an `instanceIds` image with a class of [`CITYSCAPES_CATEGORIES`] becomes an
/// object with the tight box and the area of its visible pixels, unless one of its parts (that no
/// other part encloses) has fewer than three pixels. Groups have no instances and are left out.
/// Images are taken by name and ids run through the splits from 0 on.
///
/// `progress` hears of (images done, images in all). Results of single images are kept in the
/// output folder until all is written, so that a conversion that was stopped goes on.
///
/// # Errors
///
/// [`Error::Io`], [`Error::Decode`] and [`Error::Invalid`] naming the file, for files that are
/// missing, damaged or differ in size from what their JSON says, and if there is no split at all.
pub fn convert_cityscapes(
    conversion: &Conversion,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Vec<(PathBuf, usize, usize)>> {
    let splits = find_splits(&conversion.root)?;
    let total = splits.iter().map(|split| split.files.len()).sum();
    let io = |source| Error::Io {
        path: conversion.output.clone(),
        source,
    };
    std::fs::create_dir_all(&conversion.output).map_err(io)?;
    let journal = Journal::open(&conversion.output.join(".cityscapes_instances.partial"))?;
    let done = AtomicUsize::new(0);
    let (mut next_image, mut next_annotation) = (0, 0);
    let mut written = Vec::new();
    for split in splits {
        let converted = map_indices(split.files.len(), conversion.threads, |index| {
            let scene = journal.scene(split.name, &split.files[index])?;
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
            Ok(scene)
        })?;
        let mut document = CocoDocument {
            categories: categories(),
            ..CocoDocument::default()
        };
        for (file, scene) in split.files.iter().zip(converted) {
            add_scene(
                &mut document,
                split.name,
                file,
                scene,
                conversion,
                next_image,
            );
            next_image += 1;
        }
        for annotation in &mut document.annotations {
            annotation.id = next_annotation;
            next_annotation += 1;
        }
        let fog = if conversion.fog.is_some() {
            "foggy_"
        } else {
            ""
        };
        let name = format!(
            "{fog}instancesonly_filtered_gtFine_{}_poly.json",
            split.name
        );
        let path = conversion.output.join(name);
        document.write(&path)?;
        written.push((path, document.images.len(), document.annotations.len()));
    }
    journal.remove()?;
    Ok(written)
}

struct SplitFiles {
    name: &'static str,
    files: Vec<ScannedFile>,
}

fn find_splits(root: &Path) -> Result<Vec<SplitFiles>> {
    let folder = root.join("gtFine");
    let mut splits = Vec::new();
    for name in SPLITS {
        let split = folder.join(name);
        let files = match split.is_dir() {
            true => scan(&split, POLYGONS)?,
            false => Vec::new(),
        };
        splits.push(SplitFiles { name, files });
    }
    if splits.iter().all(|split| split.files.is_empty()) {
        return Err(Error::Invalid(format!(
            "{} holds none of the folders {SPLITS:?}; it should be the folder gtFine of Cityscapes",
            folder.display()
        )));
    }
    Ok(splits)
}

fn categories() -> Vec<CocoCategory> {
    let numbered = CITYSCAPES_CATEGORIES.iter().zip(1..);
    numbered
        .map(|((_, name), id)| CocoCategory {
            id,
            name: (*name).to_owned(),
        })
        .collect()
}

fn add_scene(
    document: &mut CocoDocument,
    split: &str,
    file: &ScannedFile,
    scene: Scene,
    conversion: &Conversion,
    id: u64,
) {
    let image = match &conversion.fog {
        None => "leftImg8bit.png".to_owned(),
        Some(beta) => format!("leftImg8bit_foggy_beta_{beta}.png"),
    };
    let stem = file.name.rsplit('/').next().unwrap_or_default();
    document.images.push(CocoImage {
        id,
        width: scene.width,
        height: scene.height,
        file_name: format!("{split}/{}_{image}", file.name),
        seg_file_name: Some(format!("{stem}{INSTANCES}")),
    });
    let annotations = scene.objects.into_iter().map(|object| CocoAnnotation {
        id: 0,
        image_id: id,
        category_id: object.category,
        segmentation: object.outlines,
        iscrowd: 0,
        area: object.area as f64,
        bbox: object.bbox.map(|value| value as f32),
    });
    document.annotations.extend(annotations);
}

/// What the annotation files of one image hold.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Scene {
    width: u32,
    height: u32,
    objects: Vec<Instance>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Instance {
    category: u64,
    area: u64,
    /// `[x, y, width, height]`.
    bbox: [u32; 4],
    outlines: Vec<Vec<u32>>,
}

#[derive(Deserialize)]
struct PolygonFile {
    #[serde(rename = "imgWidth")]
    width: u32,
    #[serde(rename = "imgHeight")]
    height: u32,
}

fn read_scene(polygons: &Path, instances: &Path) -> Result<Scene> {
    let io = |source| Error::Io {
        path: polygons.to_owned(),
        source,
    };
    let reader = BufReader::new(File::open(polygons).map_err(io)?);
    let size: PolygonFile = serde_json::from_reader(reader).map_err(|error| Error::Decode {
        path: polygons.to_owned(),
        reason: format!("{error}; a polygon file of Cityscapes has imgWidth and imgHeight"),
    })?;
    let label = read_label(instances)?;
    if (label.width, label.height) != (size.width, size.height) {
        return Err(Error::Invalid(format!(
            "{} is {} x {}, but {} says {} x {}",
            instances.display(),
            label.width,
            label.height,
            polygons.display(),
            size.width,
            size.height
        )));
    }
    Ok(Scene {
        width: size.width,
        height: size.height,
        objects: instances_of(&label),
    })
}

/// First and last column and line, and number of pixels.
type Extent = (usize, usize, usize, usize, u64);

fn instances_of(label: &RawLabel) -> Vec<Instance> {
    // Ids of instances need 16 bits.
    let RawIds::Bits16(ids) = &label.ids else {
        return Vec::new();
    };
    let width = (label.width as usize).max(1);
    let mut extents: BTreeMap<u16, Extent> = BTreeMap::new();
    for (y, line) in ids.chunks_exact(width).enumerate() {
        let mut x = 0;
        for run in line.chunk_by(|a, b| a == b) {
            let (start, end) = (x, x + run.len() - 1);
            x = end + 1;
            if run[0] < 1000 {
                continue;
            }
            let extent = extents.entry(run[0]).or_insert((start, end, y, y, 0));
            extent.0 = extent.0.min(start);
            extent.1 = extent.1.max(end);
            extent.3 = y;
            extent.4 += run.len() as u64;
        }
    }
    let instance = |(id, extent): (u16, Extent)| {
        let (left, right, top, bottom, area) = extent;
        let class = CITYSCAPES_CATEGORIES
            .iter()
            .position(|(label, _)| *label == id / 1000)?;
        let (box_width, box_height) = (right - left + 1, bottom - top + 1);
        let mask = Mask::new(box_width, box_height, |x, y| {
            ids[(top + y) * width + left + x] == id
        });
        let outlines = mask.outlines();
        if outlines.iter().any(|outline| outline.len() <= SPECK) {
            return None;
        }
        let place = |(x, y): (u32, u32)| [x + left as u32, y + top as u32];
        let outlines = outlines.into_iter();
        Some(Instance {
            category: class as u64 + 1,
            area,
            bbox: [left, top, box_width, box_height].map(|value| value as u32),
            outlines: outlines
                .map(|o| o.into_iter().flat_map(place).collect())
                .collect(),
        })
    };
    extents.into_iter().filter_map(instance).collect()
}

/// Scenes that are done, one JSON line each.
struct Journal {
    path: PathBuf,
    known: HashMap<String, Entry>,
    file: Mutex<File>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    /// The instance image below `gtFine`.
    image: String,
    /// Its size and time of change, so that changed files are read again.
    bytes: u64,
    modified: u64,
    scene: Scene,
}

impl Journal {
    fn open(path: &Path) -> Result<Self> {
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new();
        let file = file
            .create(true)
            .read(true)
            .append(true)
            .open(path)
            .map_err(io)?;
        let mut known = HashMap::new();
        let mut reader = BufReader::new(&file);
        let (mut line, mut whole) = (Vec::new(), 0);
        while reader.read_until(b'\n', &mut line).map_err(io)? > 0 {
            // The line in work when the conversion was stopped is cut short.
            let Ok(entry) = serde_json::from_slice::<Entry>(&line) else {
                break;
            };
            if !line.ends_with(b"\n") {
                break;
            }
            whole += line.len() as u64;
            known.insert(entry.image.clone(), entry);
            line.clear();
        }
        drop(reader);
        file.set_len(whole).map_err(io)?;
        Ok(Self {
            path: path.to_owned(),
            known,
            file: Mutex::new(file),
        })
    }

    fn scene(&self, split: &str, polygons: &ScannedFile) -> Result<Scene> {
        let name = polygons
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let instances = name.replace(POLYGONS, INSTANCES);
        let instances = polygons.path.with_file_name(instances);
        let io = |source| Error::Io {
            path: instances.clone(),
            source,
        };
        let metadata = std::fs::metadata(&instances).map_err(io)?;
        let modified = metadata.modified().map_err(io)?;
        let since = modified
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let (bytes, modified) = (metadata.len(), since.as_nanos() as u64);
        let image = format!("{split}/{}", polygons.name);
        if let Some(entry) = self.known.get(&image)
            && (entry.bytes, entry.modified) == (bytes, modified)
        {
            return Ok(entry.scene.clone());
        }
        let scene = read_scene(&polygons.path, &instances)?;
        let entry = Entry {
            image,
            bytes,
            modified,
            scene,
        };
        let io = |source| Error::Io {
            path: self.path.clone(),
            source,
        };
        let mut line = serde_json::to_vec(&entry).map_err(|error| io(error.into()))?;
        line.push(b'\n');
        lock(&self.file).write_all(&line).map_err(io)?;
        Ok(entry.scene)
    }

    fn remove(self) -> Result<()> {
        let path = self.path;
        std::fs::remove_file(&path).map_err(|source| Error::Io { path, source })
    }
}
