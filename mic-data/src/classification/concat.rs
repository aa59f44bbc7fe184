//! Several domains as one.

use std::path::PathBuf;

use image::RgbImage;

use super::class_folders::same_classes;
use super::sample::ClassifiedSet;
use crate::joined::Joined;
use crate::sample::{Unlabelled, UnlabelledSet};
use crate::{Error, Result};

/// Several labelled sets, one after the other. Classes are those of the first.
pub struct Concat {
    sets: Joined<Box<dyn ClassifiedSet>>,
}

impl Concat {
    /// Joins sets.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is none, or they differ in their classes.
    pub fn new(sets: Vec<Box<dyn ClassifiedSet>>) -> Result<Self> {
        let Some(first) = sets.first() else {
            return Err(Error::Invalid("no domain to join".to_owned()));
        };
        for (number, set) in sets.iter().enumerate().skip(1) {
            let name = format!("domain {}", number + 1);
            same_classes(
                ("domain 1", first.class_names()),
                (&name, set.class_names()),
            )?;
        }
        Ok(Self {
            sets: Joined::new(sets, |set| set.len()),
        })
    }
}

impl ClassifiedSet for Concat {
    fn len(&self) -> usize {
        self.sets.len()
    }

    fn class_names(&self) -> &[String] {
        self.sets.first().map_or(&[], |set| set.class_names())
    }

    fn name(&self, index: usize) -> String {
        let (set, index) = self.sets.find(index);
        set.name(index)
    }

    fn class(&self, index: usize) -> u32 {
        let (set, index) = self.sets.find(index);
        set.class(index)
    }

    fn pixels(&self, index: usize) -> Result<RgbImage> {
        let (set, index) = self.sets.find(index);
        set.pixels(index)
    }

    fn file(&self, index: usize) -> Option<PathBuf> {
        let (set, index) = self.sets.find(index);
        set.file(index)
    }
}

/// Several sets of images without labels, one after the other.
pub struct ConcatImages {
    sets: Joined<Box<dyn UnlabelledSet>>,
}

impl ConcatImages {
    /// Joins sets.
    pub fn new(sets: Vec<Box<dyn UnlabelledSet>>) -> Self {
        Self {
            sets: Joined::new(sets, |set| set.len()),
        }
    }
}

impl UnlabelledSet for ConcatImages {
    fn len(&self) -> usize {
        self.sets.len()
    }

    fn get(&self, index: usize) -> Result<Unlabelled> {
        let (set, index) = self.sets.find(index);
        set.get(index)
    }
}
