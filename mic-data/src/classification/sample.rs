//! An image with its class, and sets of such images.

use std::path::PathBuf;
use std::sync::Arc;

use image::RgbImage;

use crate::Result;
use crate::sample::{Unlabelled, UnlabelledSet};

/// An image of one class.
#[derive(Clone, Debug)]
pub struct Classified {
    /// A short name, unique in its set.
    pub name: String,
    /// RGB, 8 bits a channel.
    pub image: RgbImage,
    /// Place of its class in [`ClassifiedSet::class_names`].
    pub class: u32,
}

/// A random-access set of images with a class each.
pub trait ClassifiedSet: Send + Sync {
    /// Number of images.
    fn len(&self) -> usize;
    /// Whether there is no image at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Names of the classes; the place is the class id.
    fn class_names(&self) -> &[String];
    /// Name of image `index`. Panics if `index` is not below [`Self::len`], as do the others.
    fn name(&self, index: usize) -> String;
    /// Class of image `index`, below the number of classes. Reads no file.
    fn class(&self, index: usize) -> u32;
    /// Pixels of image `index`, the same at every call.
    fn pixels(&self, index: usize) -> Result<RgbImage>;
    /// The file of image `index`, if it is one of its own.
    fn file(&self, _index: usize) -> Option<PathBuf> {
        None
    }
    /// Image `index` with its class.
    fn get(&self, index: usize) -> Result<Classified> {
        Ok(Classified {
            name: self.name(index),
            image: self.pixels(index)?,
            class: self.class(index),
        })
    }
}

impl<S: ClassifiedSet + ?Sized> ClassifiedSet for Arc<S> {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn class_names(&self) -> &[String] {
        (**self).class_names()
    }

    fn name(&self, index: usize) -> String {
        (**self).name(index)
    }

    fn class(&self, index: usize) -> u32 {
        (**self).class(index)
    }

    fn pixels(&self, index: usize) -> Result<RgbImage> {
        (**self).pixels(index)
    }

    fn file(&self, index: usize) -> Option<PathBuf> {
        (**self).file(index)
    }
}

/// A set seen without its classes: how a set with ground truth becomes a target.
#[derive(Clone, Debug)]
pub struct WithoutClasses<S>(pub S);

impl<S: ClassifiedSet> UnlabelledSet for WithoutClasses<S> {
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
}
