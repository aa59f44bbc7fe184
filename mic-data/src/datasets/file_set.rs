//! Image files with the label files that belong to them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::GrayImage;

use crate::files::{read_image, read_pair};
use crate::sample::{Labelled, LabelledSet, Unlabelled, UnlabelledSet};
use crate::{Error, LabelMap, Result};

/// An image file of a set.
#[derive(Clone, Debug)]
pub struct FileSample {
    /// Unique in its set: the path below the image folder without the suffix.
    pub name: String,
    /// The image.
    pub image: PathBuf,
    /// Its label; `None` in sets whose labels are not looked for.
    pub label: Option<LabelFile>,
}

/// A label file.
#[derive(Clone, Debug)]
pub struct LabelFile {
    /// The file.
    pub path: PathBuf,
    /// From the values in it to train ids.
    pub map: Arc<LabelMap>,
    /// Under which path class statistics list it: that of the prepared label where the set has
    /// that form, else `path`.
    pub listed: PathBuf,
}

impl FileSample {
    /// Reads image and label.
    fn read(&self) -> Result<Labelled> {
        let label = self.label()?;
        read_pair(&self.name, &self.image, &label.path, &label.map)
    }

    fn read_image(&self) -> Result<Unlabelled> {
        Ok(Unlabelled {
            name: self.name.clone(),
            image: read_image(&self.image)?,
            valid: None,
        })
    }

    fn label(&self) -> Result<&LabelFile> {
        self.label.as_ref().ok_or_else(|| {
            Error::Invalid(format!(
                "the set of {} was opened without labels",
                self.image.display()
            ))
        })
    }
}

/// Files as a data set; they are read when asked for.
#[derive(Clone, Debug)]
pub struct FileSet {
    root: PathBuf,
    samples: Vec<FileSample>,
}

impl FileSet {
    /// The images alone: no label file is looked at from here on.
    #[must_use]
    pub fn without_labels(mut self) -> Self {
        self.samples
            .iter_mut()
            .for_each(|sample| sample.label = None);
        self
    }

    /// The samples in the given order. `root` is the folder that the set as a whole lies in, where
    /// its class statistics are kept.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names two images of one name, and the first image whose label is the
    /// image itself.
    pub fn new(root: &Path, samples: Vec<FileSample>) -> Result<Self> {
        let mut order: Vec<&FileSample> = samples.iter().collect();
        order.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = order.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(Error::Invalid(format!(
                "{} and {} are both called {:?}; names in a set must differ",
                pair[0].image.display(),
                pair[1].image.display(),
                pair[0].name
            )));
        }
        let own = |sample: &&FileSample| {
            sample
                .label
                .as_ref()
                .is_some_and(|label| label.path == sample.image)
        };
        if let Some(sample) = samples.iter().find(own) {
            return Err(Error::Invalid(format!(
                "{} is its own label; images and labels need folders or suffixes that tell them \
                 apart",
                sample.image.display()
            )));
        }
        Ok(Self {
            root: root.to_owned(),
            samples,
        })
    }

    /// The folder of the set as a whole.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The files.
    pub fn samples(&self) -> &[FileSample] {
        &self.samples
    }

    /// Number of images.
    pub fn count(&self) -> usize {
        self.samples.len()
    }
}

impl LabelledSet for FileSet {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn get(&self, index: usize) -> Result<Labelled> {
        self.samples[index].read()
    }

    fn image(&self, index: usize) -> Result<Unlabelled> {
        self.samples[index].read_image()
    }

    fn label(&self, index: usize) -> Result<(String, GrayImage)> {
        let sample = &self.samples[index];
        let label = sample.label()?;
        Ok((sample.name.clone(), label.map.read(&label.path)?))
    }

    fn files(&self, index: usize) -> Vec<PathBuf> {
        let sample = &self.samples[index];
        let label = sample.label.as_ref().map(|label| label.path.clone());
        std::iter::once(sample.image.clone()).chain(label).collect()
    }
}

impl UnlabelledSet for FileSet {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn get(&self, index: usize) -> Result<Unlabelled> {
        self.samples[index].read_image()
    }

    fn files(&self, index: usize) -> Vec<PathBuf> {
        vec![self.samples[index].image.clone()]
    }
}
