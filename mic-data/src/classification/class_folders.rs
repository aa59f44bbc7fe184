//! A tree with one folder a class.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use image::RgbImage;

use super::sample::ClassifiedSet;
use crate::files::read_image;
use crate::{Error, Result};

/// File names of images end in one of these, in any case.
const SUFFIXES: [&str; 3] = [".jpg", ".jpeg", ".png"];

/// torchvision reads these, too; leaving them out without a word would make another data set.
const UNREAD: [&str; 7] = [".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif"];

/// `root/<class>/**/<image>`: the classes are the folders, sorted by name; images are sorted within
/// their class. Hidden names are left out. The rules are those of torchvision's `ImageFolder`.
#[derive(Clone, Debug)]
pub struct ClassFolders {
    root: PathBuf,
    classes: Vec<String>,
    /// File below the root, and class.
    images: Vec<(String, u32)>,
}

impl ClassFolders {
    /// Lists the files. The images are read when asked for.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] for a missing or unreadable folder; [`Error::Invalid`] if there is no class
    /// folder, for a class without image, images of other kinds than PNG and JPEG, names that are
    /// not UTF-8 and a folder that contains itself through a link.
    pub fn open(root: &Path) -> Result<Self> {
        let classes = folder_names(root)?;
        if classes.is_empty() {
            return Err(Error::Invalid(format!(
                "{} holds no folder; it should hold one for each class",
                root.display()
            )));
        }
        Self::with_classes(root, classes)
    }

    /// As [`ClassFolders::open`], with given classes in a given order. Folders of other names are
    /// left out.
    ///
    /// # Errors
    ///
    /// Those of [`ClassFolders::open`].
    pub fn with_classes(root: &Path, classes: Vec<String>) -> Result<Self> {
        let mut images = Vec::new();
        for (class, name) in classes.iter().enumerate() {
            let before = images.len();
            let below = files_below(root, name)?;
            images.extend(below.into_iter().map(|file| (file, class as u32)));
            if images.len() == before {
                return Err(Error::Invalid(format!(
                    "{} holds no image for class {name:?}; images must end in {}",
                    root.join(name).display(),
                    SUFFIXES.join(", ")
                )));
            }
        }
        Ok(Self {
            root: root.to_owned(),
            classes,
            images,
        })
    }

    /// The file of image `index`.
    pub fn path(&self, index: usize) -> PathBuf {
        self.root.join(&self.images[index].0)
    }
}

impl ClassifiedSet for ClassFolders {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn class_names(&self) -> &[String] {
        &self.classes
    }

    fn name(&self, index: usize) -> String {
        self.images[index].0.clone()
    }

    fn class(&self, index: usize) -> u32 {
        self.images[index].1
    }

    fn pixels(&self, index: usize) -> Result<RgbImage> {
        read_image(&self.path(index))
    }

    fn file(&self, index: usize) -> Option<PathBuf> {
        Some(self.path(index))
    }
}

/// Checks that two domains have the same classes in the same order.
///
/// # Errors
///
/// [`Error::Invalid`] with the classes that one of them lacks.
pub fn same_classes(first: (&str, &[String]), second: (&str, &[String])) -> Result<()> {
    if first.1 == second.1 {
        return Ok(());
    }
    let sets = [first.1, second.1].map(|names| names.iter().collect::<BTreeSet<_>>());
    let only = |a: usize, b: usize| -> Vec<_> { sets[a].difference(&sets[b]).collect() };
    let (in_first, in_second) = (only(0, 1), only(1, 0));
    let lacks = |name: &str, classes: &[_]| match classes {
        [] => String::new(),
        classes => format!("; only {name} has {classes:?}"),
    };
    let mut reason = lacks(first.0, &in_first) + &lacks(second.0, &in_second);
    if reason.is_empty() {
        reason = "; they have another order".to_owned();
    }
    Err(Error::Invalid(format!(
        "{} and {} must have the same classes{reason}",
        first.0, second.0
    )))
}

/// Names of the folders inside `root`, sorted.
pub(super) fn folder_names(root: &Path) -> Result<Vec<String>> {
    let entries = entries(root)?.into_iter();
    let mut names: Vec<String> = entries.filter(|e| e.1).map(|e| e.0).collect();
    names.sort();
    Ok(names)
}

/// Image files below `root/<below>` as paths from the root. Folders are sorted by path and files by
/// name within their folder.
pub(super) fn files_below(root: &Path, below: &str) -> Result<Vec<String>> {
    let mut folders = Vec::new();
    descend(root, below, &mut Vec::new(), &mut folders)?;
    folders.sort();
    Ok(folders.into_iter().flat_map(|(_, files)| files).collect())
}

/// A folder with the image files in it.
type Listing = (String, Vec<String>);

fn descend(
    root: &Path,
    below: &str,
    above: &mut Vec<PathBuf>,
    folders: &mut Vec<Listing>,
) -> Result<()> {
    let path = root.join(below);
    let real = fs::canonicalize(&path).map_err(|source| Error::Io {
        path: path.clone(),
        source,
    })?;
    if above.contains(&real) {
        return Err(Error::Invalid(format!(
            "{} is a link to a folder that contains it; remove the link",
            path.display()
        )));
    }
    above.push(real);
    let mut files = Vec::new();
    for (name, is_folder) in entries(&path)? {
        let relative = format!("{below}/{name}");
        if is_folder {
            descend(root, &relative, above, folders)?;
        } else if ends_in(&name, &SUFFIXES) {
            files.push(relative);
        } else if ends_in(&name, &UNREAD) {
            return Err(Error::Invalid(format!(
                "{}/{relative} is an image of a kind that is not read; convert it to PNG or JPEG",
                root.display()
            )));
        }
    }
    files.sort();
    folders.push((below.to_owned(), files));
    above.pop();
    Ok(())
}

fn ends_in(name: &str, suffixes: &[&str]) -> bool {
    let name = name.to_ascii_lowercase();
    suffixes.iter().any(|suffix| name.ends_with(suffix))
}

/// Names in a folder that are not hidden, and whether they are folders.
fn entries(folder: &Path) -> Result<Vec<(String, bool)>> {
    let io = |path: &Path, source| Error::Io {
        path: path.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| io(folder, e))? {
        let path = entry.map_err(|e| io(folder, e))?.path();
        let name = path.file_name().unwrap_or_default();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let name = name.to_str().ok_or_else(|| {
            Error::Invalid(format!(
                "{} has a name that is not UTF-8; rename it",
                path.display()
            ))
        })?;
        let is_folder = fs::metadata(&path).map_err(|e| io(&path, e))?.is_dir();
        found.push((name.to_owned(), is_folder));
    }
    Ok(found)
}
