//! A range of a data set.

use std::ops::Range;
use std::path::PathBuf;

use image::GrayImage;

use crate::sample::{Labelled, LabelledSet, Unlabelled, UnlabelledSet};
use crate::{Error, Result};

/// The samples `range` of a set.
#[derive(Clone, Debug)]
pub struct Subset<S> {
    set: S,
    range: Range<usize>,
}

impl<S: LabelledSet> Subset<S> {
    /// The samples `range` of a labelled set.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the set does not have that range.
    pub fn labelled(set: S, range: Range<usize>) -> Result<Self> {
        let len = set.len();
        Self::new(set, range, len)
    }
}

impl<S: UnlabelledSet> Subset<S> {
    /// The samples `range` of an unlabelled set.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the set does not have that range.
    pub fn unlabelled(set: S, range: Range<usize>) -> Result<Self> {
        let len = set.len();
        Self::new(set, range, len)
    }
}

impl<S> Subset<S> {
    fn new(set: S, range: Range<usize>, len: usize) -> Result<Self> {
        if range.start > range.end || range.end > len {
            return Err(Error::Invalid(format!(
                "samples {range:?} of a set of {len}; choose a range inside 0..{len}"
            )));
        }
        Ok(Self { set, range })
    }

    fn inner(&self, index: usize) -> usize {
        assert!(
            index < self.range.len(),
            "sample {index} of {:?}",
            self.range
        );
        self.range.start + index
    }
}

impl<S: LabelledSet> LabelledSet for Subset<S> {
    fn len(&self) -> usize {
        self.range.len()
    }

    fn get(&self, index: usize) -> Result<Labelled> {
        self.set.get(self.inner(index))
    }

    fn image(&self, index: usize) -> Result<Unlabelled> {
        self.set.image(self.inner(index))
    }

    fn label(&self, index: usize) -> Result<(String, GrayImage)> {
        self.set.label(self.inner(index))
    }

    fn files(&self, index: usize) -> Vec<PathBuf> {
        self.set.files(self.inner(index))
    }
}

impl<S: UnlabelledSet> UnlabelledSet for Subset<S> {
    fn len(&self) -> usize {
        self.range.len()
    }

    fn get(&self, index: usize) -> Result<Unlabelled> {
        self.set.get(self.inner(index))
    }

    fn files(&self, index: usize) -> Vec<PathBuf> {
        self.set.files(self.inner(index))
    }
}
