//! An image with its objects, and sets of such images.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::RgbImage;

use super::boxes::Objects;
use crate::files::{ScannedFile, read_image, scan};
use crate::sample::{Unlabelled, UnlabelledSet};
use crate::{Error, Result};

/// An image of the source domain with its objects.
///
/// Nothing marks it as of the source: the type does. In the reference every target image carries
/// one object instead, the box of `xywh` (0, 0, W - 1, H - 1) with domain label 0; that box is made
/// by the training step, which knows when an image is a target.
#[derive(Clone, Debug)]
pub struct Annotated {
    /// A short name, unique in its set.
    pub name: String,
    /// RGB, 8 bits a channel.
    pub image: RgbImage,
    /// All annotated objects.
    pub objects: Objects,
}

/// A random-access set of images with objects. Indices at or above [`Self::len`] panic.
pub trait DetectionSet: Send + Sync {
    /// Number of images.
    fn len(&self) -> usize;
    /// Whether there is no image at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Names of the classes; label `l` has the name at place `l - 1`.
    fn class_names(&self) -> &[String];
    /// Name of image `index`.
    fn name(&self, index: usize) -> String;
    /// The file of image `index`.
    fn path(&self, index: usize) -> PathBuf;
    /// Width and height of image `index` as annotated. Reads no file.
    fn size(&self, index: usize) -> (u32, u32);
    /// All objects of image `index`. Reads no file.
    fn objects(&self, index: usize) -> Objects;
    /// Pixels of image `index`, the same at every call.
    fn pixels(&self, index: usize) -> Result<RgbImage>;
    /// Image `index` with its objects.
    ///
    /// # Errors
    ///
    /// Those of [`Self::pixels`]; [`Error::Invalid`] if the image does not have the annotated size.
    fn get(&self, index: usize) -> Result<Annotated> {
        let image = self.pixels(index)?;
        let (width, height) = self.size(index);
        if image.dimensions() != (width, height) {
            return Err(Error::Invalid(format!(
                "{} is {} x {}, but {width} x {height} in its annotation; pair the right files",
                self.path(index).display(),
                image.width(),
                image.height()
            )));
        }
        Ok(Annotated {
            name: self.name(index),
            image,
            objects: self.objects(index),
        })
    }
}

impl<S: DetectionSet + ?Sized> DetectionSet for Arc<S> {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn class_names(&self) -> &[String] {
        (**self).class_names()
    }

    fn name(&self, index: usize) -> String {
        (**self).name(index)
    }

    fn path(&self, index: usize) -> PathBuf {
        (**self).path(index)
    }

    fn size(&self, index: usize) -> (u32, u32) {
        (**self).size(index)
    }

    fn objects(&self, index: usize) -> Objects {
        (**self).objects(index)
    }

    fn pixels(&self, index: usize) -> Result<RgbImage> {
        (**self).pixels(index)
    }
}

/// A target: images without objects, whose sizes are known before they are decoded.
pub trait DetectionImages: UnlabelledSet {
    /// Width and height of image `index`.
    fn size(&self, index: usize) -> Result<(u32, u32)>;
}

impl<S: DetectionImages + ?Sized> DetectionImages for Arc<S> {
    fn size(&self, index: usize) -> Result<(u32, u32)> {
        (**self).size(index)
    }
}

/// A set seen without its objects: how a set with ground truth becomes a target.
#[derive(Clone, Debug)]
pub struct WithoutObjects<S>(pub S);

impl<S: DetectionSet> UnlabelledSet for WithoutObjects<S> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> Result<Unlabelled> {
        Ok(Unlabelled {
            name: self.0.name(index),
            image: self.0.pixels(index)?,
            valid: None,
        })
    }

    fn files(&self, index: usize) -> Vec<PathBuf> {
        vec![self.0.path(index)]
    }
}

impl<S: DetectionSet> DetectionImages for WithoutObjects<S> {
    fn size(&self, index: usize) -> Result<(u32, u32)> {
        Ok(self.0.size(index))
    }
}

/// A folder of images as a target. Sizes are read from the files' headers.
#[derive(Clone, Debug)]
pub struct FolderImages(Vec<ScannedFile>);

impl FolderImages {
    /// Lists the files below `folder`, at any depth, that end in `suffix`.
    ///
    /// # Errors
    ///
    /// Those of [`scan`].
    pub fn open(folder: &Path, suffix: &str) -> Result<Self> {
        Ok(Self(scan(folder, suffix)?))
    }
}

impl UnlabelledSet for FolderImages {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> Result<Unlabelled> {
        let file = &self.0[index];
        Ok(Unlabelled {
            name: file.name.clone(),
            image: read_image(&file.path)?,
            valid: None,
        })
    }

    fn files(&self, index: usize) -> Vec<PathBuf> {
        vec![self.0[index].path.clone()]
    }
}

impl DetectionImages for FolderImages {
    fn size(&self, index: usize) -> Result<(u32, u32)> {
        header_size(&self.0[index].path)
    }
}

/// Width and height from the header of an image file.
pub(super) fn header_size(path: &Path) -> Result<(u32, u32)> {
    let io = |source| Error::Io {
        path: path.to_owned(),
        source,
    };
    let reader = image::ImageReader::open(path).map_err(io)?;
    let reader = reader.with_guessed_format().map_err(io)?;
    reader.into_dimensions().map_err(|error| Error::Decode {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}
