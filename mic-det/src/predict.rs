//! Detections in image files: pictures with boxes, and a COCO file.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use image::RgbImage;
use mic_data::files::{InputFile, read_image, write_rgb};
use serde::Serialize;

use crate::conventions::Conventions;
use crate::draw::{draw, drawn};
use crate::roi::Detections;
use crate::{Error, Result};

/// An image file and the picture that its prediction becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The image.
    pub image: PathBuf,
    /// The image with boxes, a PNG.
    pub picture: PathBuf,
}

/// The jobs for images: `<name>_boxes.png` in `out`, those of a folder in the same inner folders as
/// their images.
///
/// # Errors
/// [`Error::Config`] for two images whose pictures would have the same name, and for a picture that
/// would replace an input.
pub fn plan(images: Vec<InputFile>, out: &Path) -> Result<Vec<Job>> {
    let jobs: Vec<Job> = images
        .into_iter()
        .map(|file| Job {
            picture: out.join(format!("{}_boxes.png", file.name.display())),
            image: file.path,
        })
        .collect();
    let mut first: HashMap<&PathBuf, &PathBuf> = HashMap::new();
    for job in &jobs {
        if let Some(other) = first.insert(&job.picture, &job.image) {
            return Err(Error::Config(format!(
                "the pictures of {} and {} would have the same name, {}; predict them into two \
                 folders, or rename one image",
                other.display(),
                job.image.display(),
                job.picture.display()
            )));
        }
    }
    let real = |path: &Path| path.canonicalize().ok();
    let inputs: HashSet<PathBuf> = jobs.iter().filter_map(|job| real(&job.image)).collect();
    let replaced = |job: &&Job| real(&job.picture).is_some_and(|path| inputs.contains(&path));
    match jobs.iter().find(replaced) {
        None => Ok(jobs),
        Some(job) => Err(Error::Config(format!(
            "a picture would replace the input {}; choose another output folder",
            job.picture.display()
        ))),
    }
}

/// An object that was found, as COCO's results have it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FoundObject {
    /// Id of the image.
    pub image_id: u64,
    /// Id of the class.
    pub category_id: u32,
    /// Its name.
    pub category: String,
    /// `[x, y, width, height]` in pixels.
    pub bbox: [f32; 4],
    /// Probability of the class.
    pub score: f32,
}

/// What is told of an image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// Its id: 1, 2, ... in the order of the inputs.
    pub id: u64,
    /// The image.
    pub file_name: PathBuf,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The image with boxes.
    pub picture: PathBuf,
    /// What was found, by class.
    pub objects: Vec<FoundObject>,
}

/// What detections are told and drawn with.
#[derive(Clone, Copy, Debug)]
pub struct Telling<'a> {
    /// Names of the classes; label `l` has the name at place `l - 1`.
    pub classes: &'a [String],
    /// What boxes mean.
    pub conventions: Conventions,
    /// Detections of a lower score are neither told nor drawn.
    pub least: f32,
}

/// Reads the image of `job`, detects in it, and writes its picture.
///
/// # Errors
/// An image that cannot be read, a detection that fails, or a file that cannot be written.
pub fn predict_file(
    id: u64,
    job: &Job,
    telling: &Telling,
    detect: impl FnOnce(&RgbImage) -> Result<Detections>,
) -> Result<Prediction> {
    let mut image = read_image(&job.image)?;
    let found = detect(&image).map_err(|error| match error {
        Error::Run(reason) => Error::Run(format!("{}: {reason}", job.image.display())),
        other => other,
    })?;
    let found = found.filter(|score| score >= telling.least);
    draw(&mut image, &drawn(&found, telling.classes, telling.least));
    if let Some(folder) = job.picture.parent() {
        std::fs::create_dir_all(folder).map_err(|source| mic_data::Error::Io {
            path: folder.to_owned(),
            source,
        })?;
    }
    write_rgb(&job.picture, &image)?;
    Ok(Prediction {
        id,
        width: image.width(),
        height: image.height(),
        file_name: job.image.clone(),
        picture: job.picture.clone(),
        objects: objects(id, &found, telling),
    })
}

fn objects(image_id: u64, found: &Detections, telling: &Telling) -> Vec<FoundObject> {
    let boxes = found
        .boxes
        .iter()
        .zip(found.labels.iter().zip(&found.scores));
    let object = |(&corners, (&label, &score)): (_, (&u32, &f32))| FoundObject {
        image_id,
        category_id: label,
        category: telling
            .classes
            .get((label as usize).wrapping_sub(1))
            .cloned()
            .unwrap_or_default(),
        bbox: telling.conventions.to_xywh(corners),
        score,
    };
    boxes.map(object).collect()
}

/// All predictions in the shape of a COCO file; `annotations` alone are what COCO's evaluation takes
/// as results.
///
/// # Errors
/// A value that JSON cannot express.
pub fn coco_document(predictions: &[Prediction], classes: &[String]) -> Result<String> {
    let failed = |error: serde_json::Error| Error::Run(format!("cannot write JSON: {error}"));
    let images = predictions.iter().map(|p| {
        serde_json::json!({
            "id": p.id, "file_name": p.file_name, "width": p.width, "height": p.height,
        })
    });
    let categories = classes.iter().enumerate();
    let categories = categories.map(|(i, name)| serde_json::json!({"id": i + 1, "name": name}));
    let objects: Vec<&FoundObject> = predictions.iter().flat_map(|p| &p.objects).collect();
    let document = serde_json::json!({
        "images": images.collect::<Vec<_>>(),
        "categories": categories.collect::<Vec<_>>(),
        "annotations": serde_json::to_value(objects).map_err(failed)?,
    });
    let text = serde_json::to_string(&document).map_err(failed)?;
    Ok(text + "\n")
}
