//! Images that a command line names.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::natural::natural;
use super::scan;
use crate::{Error, Result};

/// An image file that an input stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    /// The file.
    pub path: PathBuf,
    /// Its path inside the folder that was named, or its own name; without the ending.
    pub name: PathBuf,
}

/// What [`input_files`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputFiles {
    /// The images in the order of the inputs; those of a folder in [`natural`] order.
    pub images: Vec<InputFile>,
    /// Files in folders that are no images.
    pub left_out: usize,
}

const IMAGES: [&str; 3] = ["png", "jpg", "jpeg"];
const VIDEOS: [&str; 10] = [
    "mp4", "avi", "mov", "mkv", "webm", "m4v", "mpg", "mpeg", "wmv", "flv",
];

/// The image files among `inputs` and, at any depth, below the folders among them: PNG and JPEG, each
/// once.
///
/// # Errors
///
/// [`Error::Invalid`] for an input that is missing or a video, and for a folder without images.
pub fn input_files(inputs: &[PathBuf]) -> Result<InputFiles> {
    let mut files = InputFiles::default();
    for input in inputs {
        if input.is_dir() {
            let below = below(input)?;
            files.images.extend(below.images);
            files.left_out += below.left_out;
        } else if input.is_file() {
            refuse_video(input)?;
            files.images.push(InputFile {
                path: input.clone(),
                name: input.file_stem().unwrap_or_default().into(),
            });
        } else {
            return Err(Error::Invalid(format!(
                "input {} is neither a file nor a folder",
                input.display()
            )));
        }
    }
    // A file may be named twice, or once more by its folder.
    let mut known = HashSet::new();
    files.images.retain(|file| known.insert(file.path.clone()));
    Ok(files)
}

fn below(folder: &Path) -> Result<InputFiles> {
    let mut all = match scan(folder, "") {
        Ok(files) => files,
        Err(Error::Invalid(_)) => Vec::new(),
        Err(error) => return Err(error),
    };
    all.sort_by(|a, b| natural(&a.name, &b.name));
    let count = all.len();
    let video = all.iter().find(|file| has_ending(&file.path, &VIDEOS));
    let video = video.map(|file| file.path.clone());
    let images: Vec<InputFile> = all
        .into_iter()
        .filter(|file| has_ending(&file.path, &IMAGES))
        .map(|file| InputFile {
            path: file.path,
            name: PathBuf::from(file.name).with_extension(""),
        })
        .collect();
    if images.is_empty() {
        video.as_deref().map_or(Ok(()), refuse_video)?;
        return Err(Error::Invalid(format!(
            "folder {} has no .png, .jpg or .jpeg file",
            folder.display()
        )));
    }
    Ok(InputFiles {
        left_out: count - images.len(),
        images,
    })
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    endings.iter().any(|known| extension == *known)
}

fn refuse_video(path: &Path) -> Result<()> {
    if !has_ending(path, &VIDEOS) {
        return Ok(());
    }
    let file = path.display();
    Err(Error::Invalid(format!(
        "{file} is a video, and videos are not decoded here; extract its frames into a folder, for \
         example with\n  mkdir frames && ffmpeg -i {file} frames/%06d.png\nand predict that folder: \
         its frames are taken in their order"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        folder
    }

    #[test]
    fn frames_come_in_their_order_and_once() {
        let frames = folder(&["a/f10.png", "a/f9.JPG", "a/f1.jpeg", "a/note.txt", "x.png"]);
        let inputs = [frames.path().join("x.png"), frames.path().into()];
        let found = input_files(&inputs).unwrap();
        let names: Vec<&Path> = found.images.iter().map(|f| f.name.as_path()).collect();
        assert_eq!(names, ["x", "a/f1", "a/f9", "a/f10"].map(Path::new));
        assert_eq!(found.left_out, 1);
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let files = folder(&["c/note.txt", "d/v.MP4"]);
        for (input, part) in [
            ("none.png", "none.png is neither"),
            ("c", "no .png"),
            ("d", "ffmpeg -i"),
            ("d/v.MP4", "ffmpeg -i"),
        ] {
            let error = input_files(&[files.path().join(input)]).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
