//! Predictions for image files: an overlay, the ids, and the share of each class.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use image::{GrayImage, RgbImage};
use mic_data::Classes;
use mic_data::files::{read_image, scan, write_grey, write_rgb};
use mic_data::overlay::overlay;
use serde::Serialize;

use crate::{Error, Result};

/// An image file and the files that its prediction becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The image.
    pub image: PathBuf,
    /// Colour PNG: the image under the colours of its classes.
    pub overlay: PathBuf,
    /// Grey PNG of train ids.
    pub ids: PathBuf,
}

/// What is told of a prediction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// The image.
    pub image: PathBuf,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The overlay's file.
    pub overlay: PathBuf,
    /// The ids' file.
    pub ids: PathBuf,
    /// Share of the image's pixels by class name, 0 to 1; they add up to 1.
    pub shares: BTreeMap<String, f64>,
}

/// The jobs for `inputs`, each an image file or a folder of PNG and JPEG files, read at any depth.
/// `<stem>_overlay.png` and `<stem>_id.png` go into `out`, those of a folder into the same inner
/// folders as their images.
///
/// # Errors
///
/// [`Error::Config`] for an input that is missing, a folder without images, two images whose
/// predictions would have the same name, and a prediction that would replace an input.
pub fn plan(inputs: &[PathBuf], out: &Path) -> Result<Vec<Job>> {
    let mut images = Vec::new();
    for input in inputs {
        if input.is_dir() {
            images.extend(images_below(input)?);
        } else if input.is_file() {
            let stem = input.file_stem().unwrap_or_default();
            images.push((input.clone(), PathBuf::from(stem)));
        } else {
            return Err(Error::Config(format!(
                "input {} is neither a file nor a folder",
                input.display()
            )));
        }
    }
    // A file may be named twice, or once more by its folder.
    let mut known = HashSet::new();
    images.retain(|(image, _): &(PathBuf, PathBuf)| known.insert(image.clone()));
    refuse_same_names(&images)?;
    let jobs: Vec<Job> = images
        .into_iter()
        .map(|(image, name)| {
            let file = |kind: &str| out.join(format!("{}_{kind}.png", name.display()));
            Job {
                overlay: file("overlay"),
                ids: file("id"),
                image,
            }
        })
        .collect();
    refuse_replaced_inputs(&jobs)?;
    Ok(jobs)
}

/// Image files below `folder` with their paths inside it, extension cut off.
fn images_below(folder: &Path) -> Result<Vec<(PathBuf, PathBuf)>> {
    let files = match scan(folder, "") {
        Ok(files) => files,
        Err(mic_data::Error::Invalid(_)) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let is_image = |path: &Path| {
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        ["png", "jpg", "jpeg"]
            .iter()
            .any(|known| extension == *known)
    };
    let images: Vec<_> = files
        .into_iter()
        .filter(|file| is_image(&file.path))
        .map(|file| (file.path, PathBuf::from(file.name).with_extension("")))
        .collect();
    if images.is_empty() {
        return Err(Error::Config(format!(
            "folder {} has no .png, .jpg or .jpeg file",
            folder.display()
        )));
    }
    Ok(images)
}

fn refuse_same_names(images: &[(PathBuf, PathBuf)]) -> Result<()> {
    let mut first: HashMap<&PathBuf, &PathBuf> = HashMap::new();
    for (image, name) in images {
        if let Some(other) = first.insert(name, image) {
            return Err(Error::Config(format!(
                "the predictions of {} and {} would have the same name, {}; predict them into \
                 two folders, or rename one image",
                other.display(),
                image.display(),
                name.display()
            )));
        }
    }
    Ok(())
}

fn refuse_replaced_inputs(jobs: &[Job]) -> Result<()> {
    let real = |path: &Path| path.canonicalize().ok();
    let inputs: HashSet<PathBuf> = jobs.iter().filter_map(|job| real(&job.image)).collect();
    let mut outputs = jobs.iter().flat_map(|job| [&job.overlay, &job.ids]);
    match outputs.find(|path| real(path).is_some_and(|real| inputs.contains(&real))) {
        None => Ok(()),
        Some(path) => Err(Error::Config(format!(
            "a prediction would replace the input {}; choose another output folder",
            path.display()
        ))),
    }
}

/// Reads the image of `job`, predicts it, and writes its files. `opacity` of the overlay is from 0
/// (image alone) to 1 (colours alone).
///
/// # Errors
///
/// An image that cannot be read or predicted, or a file that cannot be written.
pub fn predict_file(
    job: &Job,
    classes: &Classes,
    opacity: f32,
    predict: impl FnOnce(&RgbImage) -> Result<GrayImage>,
) -> Result<Prediction> {
    let image = read_image(&job.image)?;
    let ids = predict(&image).map_err(|error| match error {
        Error::Run(reason) => Error::Run(format!("{}: {reason}", job.image.display())),
        other => other,
    })?;
    for path in [&job.overlay, &job.ids] {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|source| mic_data::Error::Io {
                path: folder.to_owned(),
                source,
            })?;
        }
    }
    write_rgb(&job.overlay, &overlay(&image, &ids, classes, opacity)?)?;
    write_grey(&job.ids, &ids)?;
    Ok(Prediction {
        image: job.image.clone(),
        width: image.width(),
        height: image.height(),
        overlay: job.overlay.clone(),
        ids: job.ids.clone(),
        shares: shares(&ids, classes),
    })
}

fn shares(ids: &GrayImage, classes: &Classes) -> BTreeMap<String, f64> {
    let mut pixels = vec![0u64; 256];
    for id in ids.as_raw() {
        pixels[usize::from(*id)] += 1;
    }
    let total = ids.as_raw().len().max(1) as f64;
    let named = classes.names().iter().cloned().zip(pixels);
    named.map(|(name, n)| (name, n as f64 / total)).collect()
}

#[cfg(test)]
mod tests {
    use image::{Luma, Rgb};

    use super::*;

    /// A folder with these small images.
    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            write_rgb(&path, &RgbImage::from_pixel(4, 2, Rgb([8, 9, 10]))).unwrap();
        }
        folder
    }

    #[test]
    fn folders_keep_their_shape_and_files_their_stem() {
        let images = folder(&["a/x.1.png", "b/x.1.JPG", "b/notes.txt"]);
        let single = images.path().join("b/notes.txt");
        let inputs = [images.path().into(), single.clone(), single];
        let jobs = plan(&inputs, Path::new("out")).unwrap();
        let ids: Vec<&Path> = jobs.iter().map(|job| job.ids.as_path()).collect();
        let expected = ["out/a/x.1_id.png", "out/b/x.1_id.png", "out/notes_id.png"];
        assert_eq!(ids, expected.map(Path::new));
    }

    #[test]
    fn clashes_and_missing_inputs_are_refused() {
        let images = folder(&["a/x.png", "b/x.png", "b/x_id.png", "c/note.txt"]);
        let at = |name: &str| images.path().join(name);
        for (inputs, out, part) in [
            (vec![at("a"), at("b")], "out", "same name, x"),
            (vec![at("b")], "b", "would replace the input"),
            (vec![at("none.png")], "out", "none.png is neither"),
            (vec![at("c")], "out", "no .png"),
        ] {
            let error = plan(&inputs, &at(out)).unwrap_err();
            assert!(matches!(error, Error::Config(_)), "{error:?}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn a_prediction_is_written_whole() {
        let images = folder(&["x.png"]);
        let out = images.path().join("out");
        let jobs = plan(&[images.path().join("x.png")], &out).unwrap();
        let half = |image: &RgbImage| {
            let (width, height) = image.dimensions();
            Ok(GrayImage::from_fn(width, height, |x, _| {
                Luma([(x / 2) as u8])
            }))
        };
        let classes = Classes::camvid();
        let told = predict_file(&jobs[0], &classes, 1.0, half).unwrap();
        assert_eq!((told.width, told.height), (4, 2));
        assert_eq!((told.shares["sky"], told.shares["building"]), (0.5, 0.5));
        assert_eq!(told.shares.values().sum::<f64>(), 1.0);
        let overlay = read_image(&out.join("x_overlay.png")).unwrap();
        assert_eq!(overlay.get_pixel(3, 0).0, classes.palette()[1]);
        let ids = read_image(&out.join("x_id.png")).unwrap();
        assert_eq!(ids.get_pixel(3, 1).0, [1; 3]);
    }
}
