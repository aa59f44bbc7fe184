//! Images in one folder, their labels (if there are any) in another.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::GrayImage;

use super::file_set::{FileSample, FileSet};
use super::pairing::find_pairs;
use crate::files::scan;
use crate::sample::{Labelled, LabelledSet, Unlabelled, UnlabelledSet};
use crate::{LabelMap, Result};

/// Where the files of a [`Folder`] are.
#[derive(Clone, Debug)]
pub struct FolderConfig {
    /// Folder of the images, read at any depth.
    pub images: PathBuf,
    /// Folder of the labels, with the same inner folders as `images`.
    pub labels: PathBuf,
    /// End of the image file names, such as `_leftImg8bit.png`.
    pub image_suffix: String,
    /// What stands in the label file names instead, such as `_gtFine_labelIds.png`.
    pub label_suffix: String,
    /// From the values in the label files to train ids.
    pub map: LabelMap,
}

/// A labelled data set: the image `images/a/b<image_suffix>` goes with the label
/// `labels/a/b<label_suffix>` and is named `a/b`. Sorted by name; files are read when asked for.
#[derive(Clone, Debug)]
pub struct Folder(FileSet);

impl Folder {
    /// Lists the files.
    ///
    /// # Errors
    ///
    /// [`Io`](crate::Error::Io) for a missing folder, [`Invalid`](crate::Error::Invalid) if there
    /// is no image with the suffix or an image without label.
    pub fn open(config: FolderConfig) -> Result<Self> {
        let samples = find_pairs(
            &config.images,
            &config.labels,
            &config.image_suffix,
            &config.label_suffix,
            &Arc::new(config.map),
        )?;
        let root = config.images.parent().unwrap_or(&config.images);
        Ok(Self(FileSet::new(root, samples)?))
    }

    /// The files.
    pub fn into_files(self) -> FileSet {
        self.0
    }
}

impl LabelledSet for Folder {
    fn len(&self) -> usize {
        self.0.count()
    }

    fn get(&self, index: usize) -> Result<Labelled> {
        LabelledSet::get(&self.0, index)
    }

    fn image(&self, index: usize) -> Result<Unlabelled> {
        self.0.image(index)
    }

    fn label(&self, index: usize) -> Result<(String, GrayImage)> {
        self.0.label(index)
    }

    fn files(&self, index: usize) -> Vec<PathBuf> {
        LabelledSet::files(&self.0, index)
    }
}

/// Images without labels: a target domain, or images to predict on.
#[derive(Clone, Debug)]
pub struct ImageFolder(FileSet);

impl ImageFolder {
    /// Lists the files below `folder`, at any depth, that end in `suffix`.
    ///
    /// # Errors
    ///
    /// [`Io`](crate::Error::Io) for a missing folder, [`Invalid`](crate::Error::Invalid) if there
    /// is no such file.
    pub fn open(folder: &Path, suffix: &str) -> Result<Self> {
        let files = scan(folder, suffix)?.into_iter();
        let samples = files.map(|file| FileSample {
            name: file.name,
            image: file.path,
            label: None,
        });
        Ok(Self(FileSet::new(folder, samples.collect())?))
    }

    /// The files.
    pub fn into_files(self) -> FileSet {
        self.0
    }
}

impl UnlabelledSet for ImageFolder {
    fn len(&self) -> usize {
        self.0.count()
    }

    fn get(&self, index: usize) -> Result<Unlabelled> {
        UnlabelledSet::get(&self.0, index)
    }

    fn files(&self, index: usize) -> Vec<PathBuf> {
        UnlabelledSet::files(&self.0, index)
    }
}
