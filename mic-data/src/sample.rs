//! What a data set yields: an image with its labels, or an image alone.

use std::path::PathBuf;
use std::sync::Arc;

use image::{GrayImage, RgbImage};

use crate::Result;

/// The label value that no loss and no metric counts.
pub const IGNORE: u8 = 255;

/// An image with a label map of the same size (train ids, [`IGNORE`] for pixels without a class).
#[derive(Clone, Debug)]
pub struct Labelled {
    /// A short name, unique in its set (the file's stem for files).
    pub name: String,
    /// RGB, 8 bits a channel.
    pub image: RgbImage,
    /// One train id a pixel.
    pub label: GrayImage,
}

/// An image of the target domain. It has no labels, so none can reach training.
#[derive(Clone, Debug)]
pub struct Unlabelled {
    /// A short name, unique in its set.
    pub name: String,
    /// RGB, 8 bits a channel.
    pub image: RgbImage,
    /// Where pseudo-labels count (1) and where they do not (0); `None` is everywhere.
    pub valid: Option<GrayImage>,
}

/// A random-access set of labelled images.
pub trait LabelledSet: Send + Sync {
    /// Number of images.
    fn len(&self) -> usize;
    /// Whether there is no image at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Image `index`, the same at every call. Panics if `index` is not below [`Self::len`].
    fn get(&self, index: usize) -> Result<Labelled>;
    /// The image of [`get`](Self::get) alone. Sets on disk leave the label file unread.
    fn image(&self, index: usize) -> Result<Unlabelled> {
        let Labelled { name, image, .. } = self.get(index)?;
        Ok(Unlabelled {
            name,
            image,
            valid: None,
        })
    }
    /// The name and the label of [`get`](Self::get) alone. Sets on disk leave the image unread.
    fn label(&self, index: usize) -> Result<(String, GrayImage)> {
        let Labelled { name, label, .. } = self.get(index)?;
        Ok((name, label))
    }
    /// The files that sample `index` is read from, the image first; none for samples that are drawn
    /// or held in memory. Reads no file.
    fn files(&self, _index: usize) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// A random-access set of images without labels.
pub trait UnlabelledSet: Send + Sync {
    /// Number of images.
    fn len(&self) -> usize;
    /// Whether there is no image at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Image `index`, the same at every call. Panics if `index` is not below [`Self::len`].
    fn get(&self, index: usize) -> Result<Unlabelled>;
    /// The files that sample `index` is read from, the image first; none for samples that are drawn
    /// or held in memory. Reads no file.
    fn files(&self, _index: usize) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// A labelled set seen without its labels: how a data set with ground truth becomes a target.
#[derive(Clone, Debug)]
pub struct WithoutLabels<S>(pub S);

impl<S: LabelledSet> UnlabelledSet for WithoutLabels<S> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> Result<Unlabelled> {
        self.0.image(index)
    }

    fn files(&self, index: usize) -> Vec<PathBuf> {
        let mut files = self.0.files(index);
        files.truncate(1);
        files
    }
}

impl<S: LabelledSet + ?Sized> LabelledSet for Arc<S> {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn get(&self, index: usize) -> Result<Labelled> {
        (**self).get(index)
    }

    fn image(&self, index: usize) -> Result<Unlabelled> {
        (**self).image(index)
    }

    fn label(&self, index: usize) -> Result<(String, GrayImage)> {
        (**self).label(index)
    }

    fn files(&self, index: usize) -> Vec<PathBuf> {
        (**self).files(index)
    }
}

impl<S: UnlabelledSet + ?Sized> UnlabelledSet for Arc<S> {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn get(&self, index: usize) -> Result<Unlabelled> {
        (**self).get(index)
    }

    fn files(&self, index: usize) -> Vec<PathBuf> {
        (**self).files(index)
    }
}
