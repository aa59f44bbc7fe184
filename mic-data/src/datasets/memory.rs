//! A data set held in memory, decoded once.

use crate::Result;
use crate::parallel::map_indices;
use crate::sample::{Labelled, LabelledSet, Unlabelled, UnlabelledSet};

/// The samples of a small set ([`Labelled`] or [`Unlabelled`]), in the order of the set.
#[derive(Clone, Debug)]
pub struct InMemory<T> {
    samples: Vec<T>,
}

impl<T> InMemory<T> {
    /// A set of given samples.
    pub fn new(samples: Vec<T>) -> Self {
        Self { samples }
    }

    /// The samples.
    pub fn samples(&self) -> &[T] {
        &self.samples
    }
}

impl InMemory<Labelled> {
    /// Reads all of `set` with `threads` threads (0: in the calling thread).
    ///
    /// # Errors
    ///
    /// The error of the first sample that cannot be read.
    pub fn labelled<S: LabelledSet + ?Sized>(set: &S, threads: usize) -> Result<Self> {
        map_indices(set.len(), threads, |index| set.get(index)).map(Self::new)
    }
}

impl InMemory<Unlabelled> {
    /// Reads all of `set` with `threads` threads (0: in the calling thread).
    ///
    /// # Errors
    ///
    /// The error of the first sample that cannot be read.
    pub fn unlabelled<S: UnlabelledSet + ?Sized>(set: &S, threads: usize) -> Result<Self> {
        map_indices(set.len(), threads, |index| set.get(index)).map(Self::new)
    }
}

impl LabelledSet for InMemory<Labelled> {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn get(&self, index: usize) -> Result<Labelled> {
        Ok(self.samples[index].clone())
    }
}

impl UnlabelledSet for InMemory<Unlabelled> {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn get(&self, index: usize) -> Result<Unlabelled> {
        Ok(self.samples[index].clone())
    }
}
