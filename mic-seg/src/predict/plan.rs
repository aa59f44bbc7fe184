//! From inputs on the command line to images and the files of their predictions.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use mic_data::files::{InputFile, input_files};

use super::Output;
use crate::{Error, Result};

/// An image file and the files that its prediction becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The image.
    pub image: PathBuf,
    /// The files.
    pub files: Vec<(Output, PathBuf)>,
}

/// What is to be predicted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The images in the order of the inputs; those of a folder in
    /// [natural order](mic_data::files::natural).
    pub jobs: Vec<Job>,
    /// Files in folders that are no images.
    pub left_out: usize,
}

/// The jobs for `inputs`, each an image file or a folder of PNG and JPEG files, read at any depth.
/// `<stem>_<output>.png` go into `out`, those of a folder into the same inner folders as their
/// images.
///
/// # Errors
///
/// [`Error::Config`] for an input that is missing or a video, a folder without images, two images
/// whose predictions would have the same name, and a prediction that would replace an input.
pub fn plan(inputs: &[PathBuf], out: &Path, outputs: &[Output]) -> Result<Plan> {
    let found = input_files(inputs).map_err(|error| match error {
        mic_data::Error::Invalid(message) => Error::Config(message),
        other => other.into(),
    })?;
    let job = |image: InputFile| {
        let file = |output: &Output| (*output, out.join(output.file(&image.name)));
        Job {
            files: outputs.iter().map(file).collect(),
            image: image.path,
        }
    };
    let jobs: Vec<Job> = found.images.into_iter().map(job).collect();
    refuse_same_names(&jobs)?;
    refuse_replaced_inputs(&jobs)?;
    Ok(Plan {
        jobs,
        left_out: found.left_out,
    })
}

fn refuse_same_names(jobs: &[Job]) -> Result<()> {
    let mut first: HashMap<&PathBuf, &PathBuf> = HashMap::new();
    for job in jobs {
        for (_, file) in &job.files {
            if let Some(other) = first.insert(file, &job.image) {
                return Err(Error::Config(format!(
                    "the predictions of {} and {} would have the same name, {}; predict them into \
                     two folders, or rename one image",
                    other.display(),
                    job.image.display(),
                    file.display()
                )));
            }
        }
    }
    Ok(())
}

fn refuse_replaced_inputs(jobs: &[Job]) -> Result<()> {
    let real = |path: &Path| path.canonicalize().ok();
    let inputs: HashSet<PathBuf> = jobs.iter().filter_map(|job| real(&job.image)).collect();
    let mut outputs = jobs.iter().flat_map(|job| &job.files);
    match outputs.find(|(_, path)| real(path).is_some_and(|real| inputs.contains(&real))) {
        None => Ok(()),
        Some((_, path)) => Err(Error::Config(format!(
            "a prediction would replace the input {}; choose another output folder",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};
    use mic_data::files::write_rgb;

    use super::super::Ids;
    use super::*;

    const ID: &[Output] = &[Output::Id];

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

    fn files(plan: &Plan) -> Vec<&Path> {
        let files = plan.jobs.iter().flat_map(|job| &job.files);
        files.map(|(_, file)| file.as_path()).collect()
    }

    #[test]
    fn folders_keep_their_shape_and_files_their_stem() {
        let images = folder(&["a/x.1.png", "b/x.1.JPG", "b/notes.txt", ".hidden.png"]);
        let single = images.path().join("b/notes.txt");
        let inputs = [images.path().into(), single.clone(), single];
        let plan = plan(&inputs, Path::new("out"), ID).unwrap();
        let expected = ["out/a/x.1_id.png", "out/b/x.1_id.png", "out/notes_id.png"];
        assert_eq!(files(&plan), expected.map(Path::new));
        assert_eq!(plan.left_out, 1);
    }

    #[test]
    fn frames_come_in_their_order() {
        let frames = folder(&["f10.png", "f9.png", "f1.jpg"]);
        let plan = plan(&[frames.path().into()], Path::new("out"), ID).unwrap();
        let expected = ["out/f1_id.png", "out/f9_id.png", "out/f10_id.png"];
        assert_eq!(files(&plan), expected.map(Path::new));
    }

    #[test]
    fn submissions_lie_in_one_folder() {
        let images = folder(&["a/x_leftImg8bit.png", "b/y_leftImg8bit.png"]);
        let outputs = [Output::Submission(Ids::Label)];
        let inputs = [images.path().to_owned()];
        let found = plan(&inputs, Path::new("out"), &outputs).unwrap();
        let expected = ["out/x_leftImg8bit.png", "out/y_leftImg8bit.png"];
        assert_eq!(files(&found), expected.map(Path::new));
        let clash = folder(&["a/x.png", "b/x.png"]);
        let error = plan(&[clash.path().into()], Path::new("out"), &outputs).unwrap_err();
        assert!(error.to_string().contains("same name"), "{error}");
    }

    #[test]
    fn clashes_missing_inputs_and_videos_are_refused() {
        let names = ["a/x.png", "b/x.png", "b/x_id.png", "c/note.txt", "d/v.MP4"];
        let images = folder(&names);
        let at = |name: &str| images.path().join(name);
        for (inputs, out, part) in [
            (vec![at("a"), at("b")], "out", "x_id.png"),
            (vec![at("b")], "b", "would replace the input"),
            (vec![at("none.png")], "out", "none.png is neither"),
            (vec![at("c")], "out", "no .png"),
            (vec![at("d")], "out", "ffmpeg -i"),
            (vec![at("d/v.MP4")], "out", "ffmpeg -i"),
        ] {
            let error = plan(&inputs, &at(out), ID).unwrap_err();
            assert!(matches!(error, Error::Config(_)), "{error:?}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
