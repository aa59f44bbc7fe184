//! How many pixels each class has in each image of a set, counted or read from the three files
//! that the original's preparation tools write.

mod cache;
mod json;

pub use cache::{CachedStats, StatsPlace, entries};
pub use json::{Entry, STATS_FILES, read_entries, write_entries};

use crate::bad_samples::BadSample;
use crate::parallel::{catching, map_indices};
use crate::sample::{IGNORE, LabelledSet};
use crate::{Error, Result};

/// Pixel counts per image and class, ignored pixels left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassStats {
    classes: usize,
    names: Vec<String>,
    /// By image, then by class.
    counts: Vec<Vec<u64>>,
}

impl ClassStats {
    /// Statistics from given counts: for each image its name and the pixels of each class.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] names an image that does not have `classes` counts.
    pub fn from_counts(
        classes: usize,
        images: impl IntoIterator<Item = (String, Vec<u64>)>,
    ) -> Result<Self> {
        let (names, counts): (Vec<_>, Vec<_>) = images.into_iter().unzip();
        let stats = Self {
            classes,
            names,
            counts,
        };
        stats.check()?;
        Ok(stats)
    }

    /// Reads every label of `set` with `threads` threads (0: in the calling thread) and counts.
    ///
    /// # Errors
    ///
    /// The error of the first sample that cannot be read; [`Error::Invalid`] names a sample with
    /// an id that is neither one of `classes` nor [`IGNORE`].
    pub fn count<S: LabelledSet + ?Sized>(set: &S, classes: usize, threads: usize) -> Result<Self> {
        Self::count_with(set, classes, threads, &|| ())
    }

    /// As [`ClassStats::count`]; `counted` is called after every image.
    ///
    /// # Errors
    ///
    /// Those of [`ClassStats::count`].
    pub fn count_with<S: LabelledSet + ?Sized>(
        set: &S,
        classes: usize,
        threads: usize,
        counted: &(dyn Fn() + Sync),
    ) -> Result<Self> {
        let images = map_indices(set.len(), threads, |index| {
            let image = count_one(set, index, classes)?;
            counted();
            Ok(image)
        })?;
        Self::from_counts(classes, images)
    }

    /// As [`ClassStats::count_with`], past labels that cannot be used: their images count as
    /// without any class, and are given back.
    ///
    /// # Errors
    ///
    /// None of single labels.
    pub fn count_past_bad<S: LabelledSet + ?Sized>(
        set: &S,
        classes: usize,
        threads: usize,
        counted: &(dyn Fn() + Sync),
    ) -> Result<(Self, Vec<BadSample>)> {
        let images = map_indices(set.len(), threads, |index| {
            let image = catching(|| count_one(set, index, classes));
            counted();
            Ok(image.map_err(|error| BadSample {
                set: "source".to_owned(),
                index,
                reason: error.to_string(),
            }))
        })?;
        let mut bad = Vec::new();
        let images = images.into_iter().map(|image| {
            image.unwrap_or_else(|sample| {
                let empty = (format!("bad sample {}", sample.index), vec![0; classes]);
                bad.push(sample);
                empty
            })
        });
        let stats = Self::from_counts(classes, images.collect::<Vec<_>>())?;
        Ok((stats, bad))
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Names of the images, in the order of the set.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Pixels by image (in the order of the set) and class.
    pub fn counts(&self) -> &[Vec<u64>] {
        &self.counts
    }

    /// Pixels by class over all images.
    pub fn totals(&self) -> Vec<u64> {
        let mut totals = vec![0; self.classes];
        for counts in &self.counts {
            for (total, count) in totals.iter_mut().zip(counts) {
                *total += count;
            }
        }
        totals
    }

    fn check(&self) -> Result<()> {
        let wrong = (self.names.iter().zip(&self.counts)).find(|(_, c)| c.len() != self.classes);
        if let Some((name, counts)) = wrong {
            return Err(Error::Invalid(format!(
                "image {name:?} has counts of {} classes instead of {}",
                counts.len(),
                self.classes
            )));
        }
        if self.names.len() != self.counts.len() {
            return Err(Error::Invalid(format!(
                "{} image names but {} lists of counts",
                self.names.len(),
                self.counts.len()
            )));
        }
        Ok(())
    }
}

/// The name of an image and the pixels of each class in its label.
fn count_one<S: LabelledSet + ?Sized>(
    set: &S,
    index: usize,
    classes: usize,
) -> Result<(String, Vec<u64>)> {
    let (name, label) = set.label(index)?;
    let mut counts = vec![0; usize::from(IGNORE) + 1];
    for id in label.as_raw() {
        counts[usize::from(*id)] += 1;
    }
    let unknown = (classes..usize::from(IGNORE)).find(|id| counts[*id] > 0);
    if let Some(id) = unknown {
        return Err(Error::Invalid(format!(
            "the label of {name:?} has {} pixels of id {id}, but there are {classes} classes; \
             correct the class list or the label map",
            counts[id]
        )));
    }
    counts.truncate(classes);
    Ok((name, counts))
}
