//! Parts of sets, and several sets as one.

use std::path::PathBuf;
use std::sync::Arc;

use image::RgbImage;

use super::boxes::Objects;
use super::sample::{DetectionImages, DetectionSet};
use crate::classification::same_classes;
use crate::joined::Joined;
use crate::sample::{Unlabelled, UnlabelledSet};
use crate::{Error, Result};

/// The images whose objects are worth training on (see [`Objects::is_usable`]).
///
/// The reference trains on these alone: of the source, where images without objects would teach
/// nothing, but also of the target, which needs the target's annotations. Here each is an option of
/// its own, and the one for the target is off unless asked for.
pub fn usable_images(set: &dyn DetectionSet) -> Vec<usize> {
    let usable = |index: &usize| set.objects(*index).is_usable();
    (0..set.len()).filter(usable).collect()
}

/// Some images of a set.
#[derive(Clone, Debug)]
pub struct Selected<S> {
    set: S,
    indices: Vec<usize>,
}

impl<S: DetectionSet> Selected<S> {
    /// The images `indices` of a set, in this order.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an index that the set does not have.
    pub fn new(set: S, indices: Vec<usize>) -> Result<Self> {
        if let Some(index) = indices.iter().find(|index| **index >= set.len()) {
            return Err(Error::Invalid(format!(
                "image {index} of a set of {}",
                set.len()
            )));
        }
        Ok(Self { set, indices })
    }

    /// The images that are worth training on.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is none.
    pub fn usable(set: S) -> Result<Self> {
        let indices = usable_images(&set);
        if indices.is_empty() {
            return Err(Error::Invalid(format!(
                "none of the {} images has a box to train on; check the annotations and the \
                 classes {:?}",
                set.len(),
                set.class_names()
            )));
        }
        Self::new(set, indices)
    }
}

impl<S: DetectionSet> DetectionSet for Selected<S> {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn class_names(&self) -> &[String] {
        self.set.class_names()
    }

    fn name(&self, index: usize) -> String {
        self.set.name(self.indices[index])
    }

    fn path(&self, index: usize) -> PathBuf {
        self.set.path(self.indices[index])
    }

    fn size(&self, index: usize) -> (u32, u32) {
        self.set.size(self.indices[index])
    }

    fn objects(&self, index: usize) -> Objects {
        self.set.objects(self.indices[index])
    }

    fn pixels(&self, index: usize) -> Result<RgbImage> {
        self.set.pixels(self.indices[index])
    }
}

/// Several sets, one after the other. Classes are those of the first.
pub struct DetectionConcat {
    sets: Joined<Box<dyn DetectionSet>>,
}

impl DetectionConcat {
    /// Joins sets.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is none, or they differ in their classes.
    pub fn new(sets: Vec<Box<dyn DetectionSet>>) -> Result<Self> {
        let Some(first) = sets.first() else {
            return Err(Error::Invalid("no set to join".to_owned()));
        };
        for (number, set) in sets.iter().enumerate().skip(1) {
            let name = format!("set {}", number + 1);
            same_classes(("set 1", first.class_names()), (&name, set.class_names()))?;
        }
        Ok(Self {
            sets: Joined::new(sets, |set| set.len()),
        })
    }
}

impl DetectionSet for DetectionConcat {
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

    fn path(&self, index: usize) -> PathBuf {
        let (set, index) = self.sets.find(index);
        set.path(index)
    }

    fn size(&self, index: usize) -> (u32, u32) {
        let (set, index) = self.sets.find(index);
        set.size(index)
    }

    fn objects(&self, index: usize) -> Objects {
        let (set, index) = self.sets.find(index);
        set.objects(index)
    }

    fn pixels(&self, index: usize) -> Result<RgbImage> {
        let (set, index) = self.sets.find(index);
        set.pixels(index)
    }
}

/// Several targets, one after the other.
pub struct ImagesConcat {
    sets: Joined<Arc<dyn DetectionImages>>,
}

impl ImagesConcat {
    /// Joins sets.
    pub fn new(sets: Vec<Arc<dyn DetectionImages>>) -> Self {
        Self {
            sets: Joined::new(sets, |set| set.len()),
        }
    }
}

impl UnlabelledSet for ImagesConcat {
    fn len(&self) -> usize {
        self.sets.len()
    }

    fn get(&self, index: usize) -> Result<Unlabelled> {
        let (set, index) = self.sets.find(index);
        set.get(index)
    }

    fn files(&self, index: usize) -> Vec<PathBuf> {
        let (set, index) = self.sets.find(index);
        set.files(index)
    }
}

impl DetectionImages for ImagesConcat {
    fn size(&self, index: usize) -> Result<(u32, u32)> {
        let (set, index) = self.sets.find(index);
        set.size(index)
    }
}
