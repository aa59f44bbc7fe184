//! Images in one folder, their labels (if there are any) in another.

use std::path::{Path, PathBuf};

use super::pair::{Pair, find_pairs};
use crate::files::{ScannedFile, read_image, scan};
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
    /// From the ids in the label files to train ids.
    pub map: LabelMap,
}

/// A labelled data set: the image `images/a/b<image_suffix>` goes with the label
/// `labels/a/b<label_suffix>` and is named `a/b`. Sorted by name; files are read when asked for.
#[derive(Clone, Debug)]
pub struct Folder {
    pairs: Vec<Pair>,
    map: LabelMap,
}

impl Folder {
    /// Lists the files.
    ///
    /// # Errors
    ///
    /// [`Io`](crate::Error::Io) for a missing folder, [`Invalid`](crate::Error::Invalid) if there
    /// is no image with the suffix or an image without label.
    pub fn open(config: FolderConfig) -> Result<Self> {
        let pairs = find_pairs(
            &config.images,
            &config.labels,
            &config.image_suffix,
            &config.label_suffix,
        )?;
        Ok(Self {
            pairs,
            map: config.map,
        })
    }
}

impl LabelledSet for Folder {
    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn get(&self, index: usize) -> Result<Labelled> {
        self.pairs[index].read(&self.map)
    }

    fn image(&self, index: usize) -> Result<Unlabelled> {
        self.pairs[index].read_image()
    }
}

/// Images without labels: a target domain, or images to predict on.
#[derive(Clone, Debug)]
pub struct ImageFolder {
    files: Vec<ScannedFile>,
}

impl ImageFolder {
    /// Lists the files below `folder`, at any depth, that end in `suffix`.
    ///
    /// # Errors
    ///
    /// [`Io`](crate::Error::Io) for a missing folder, [`Invalid`](crate::Error::Invalid) if there
    /// is no such file.
    pub fn open(folder: &Path, suffix: &str) -> Result<Self> {
        let files = scan(folder, suffix)?;
        Ok(Self { files })
    }
}

impl UnlabelledSet for ImageFolder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn get(&self, index: usize) -> Result<Unlabelled> {
        let file = &self.files[index];
        Ok(Unlabelled {
            name: file.name.clone(),
            image: read_image(&file.path)?,
            valid: None,
        })
    }
}
