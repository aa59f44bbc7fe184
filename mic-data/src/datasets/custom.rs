//! One's own files by pattern or list.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file_set::{FileSample, FileSet, LabelFile};
use super::folder::FolderConfig;
use super::list::{Line, read_list};
use super::pairing::refuse_missing;
use super::pattern::Pattern;
use crate::files::scan_with;
use crate::{Error, LabelMap, Result};

/// Opens the images below `root` that match `images`, with the labels that `labels` (if given)
/// makes of their paths, sorted by name. A name is the path without the file's extension.
///
/// # Errors
///
/// [`Error::Io`] for a missing root; [`Error::Invalid`] if nothing matches, if the patterns have
/// other wildcards, or for an image without label.
pub fn open_pattern(
    root: &Path,
    images: &Pattern,
    labels: Option<(&Pattern, LabelMap)>,
) -> Result<FileSet> {
    let labels = labels.map(|(pattern, map)| (pattern, Arc::new(map)));
    let found = scan_with(root, |path| images.captures(path).map(|_| path.to_owned()))?;
    if found.is_empty() {
        return Err(Error::Invalid(format!(
            "no file below {} matches {:?}; * stays inside a folder, **/ goes through folders",
            root.display(),
            images.text()
        )));
    }
    let samples = found.into_iter().map(|file| {
        let label = match &labels {
            None => None,
            Some((pattern, map)) => {
                let captures = images.captures(&file.name).unwrap_or_default();
                let path = root.join(pattern.fill(images, &captures)?);
                Some(label_file(path, map))
            }
        };
        Ok(FileSample {
            name: without_extension(&file.name),
            image: file.path,
            label,
        })
    });
    let samples: Vec<FileSample> = samples.collect::<Result<_>>()?;
    refuse_missing(&samples)?;
    FileSet::new(root, samples)
}

/// Opens the images that a text file names, in its order: lines `image<TAB>label` with paths below
/// `root`, or names as in `folders` (with or without the image suffix). If `labelled` is false,
/// labels are left out.
///
/// # Errors
///
/// [`Error::Io`] for an unreadable list; [`Error::Invalid`] names the line whose file is missing.
pub fn open_list(
    list: &Path,
    root: &Path,
    folders: &FolderConfig,
    labelled: bool,
) -> Result<FileSet> {
    let map = Arc::new(folders.map.clone());
    let samples = read_list(list)?.into_iter().map(|line| {
        let at_line = |what: &str, path: &Path| {
            Error::Invalid(format!(
                "{} line {}: {what} {} is not there",
                list.display(),
                line.number,
                path.display()
            ))
        };
        let (name, image, label) = paths(&line, root, folders);
        if !image.is_file() {
            return Err(at_line("image", &image));
        }
        if labelled && !label.is_file() {
            return Err(at_line("label", &label));
        }
        Ok(FileSample {
            name,
            image,
            label: labelled.then(|| label_file(label, &map)),
        })
    });
    FileSet::new(root, samples.collect::<Result<_>>()?)
}

/// The name, image and label of a line.
fn paths(line: &Line, root: &Path, folders: &FolderConfig) -> (String, PathBuf, PathBuf) {
    if let Some(label) = &line.second {
        let name = without_extension(&line.first);
        return (name, root.join(&line.first), root.join(label));
    }
    let name = line.first.strip_suffix(&folders.image_suffix);
    let name = name.unwrap_or(&line.first).to_owned();
    let image = folders
        .images
        .join(format!("{name}{}", folders.image_suffix));
    let label = folders
        .labels
        .join(format!("{name}{}", folders.label_suffix));
    (name, image, label)
}

fn label_file(path: PathBuf, map: &Arc<LabelMap>) -> LabelFile {
    LabelFile {
        listed: path.clone(),
        path,
        map: map.clone(),
    }
}

fn without_extension(path: &str) -> String {
    let name = path.rfind('/').map_or(0, |slash| slash + 1);
    let dot = path[name..].rfind('.').filter(|dot| *dot > 0);
    dot.map_or(path, |dot| &path[..name + dot]).to_owned()
}
