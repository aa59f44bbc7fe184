//! Going on past samples that cannot be read.
//!
//! A bad sample is replaced by another draw, which depends on the seed and the number of the draw
//! alone. What was replaced travels with the batch ([`Checked`]) and is counted where batches are
//! used, in the order of the steps ([`BadSamples`]): so a run stops at the same step whatever the
//! number of loader threads.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Bad samples that a message lists.
const LISTED: usize = 50;

/// A sample that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadSample {
    /// The set: `"source"` or `"target"`.
    pub set: String,
    /// Its place in the set.
    pub index: usize,
    /// The error, which names the file.
    pub reason: String,
}

impl fmt::Display for BadSample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { set, index, reason } = self;
        write!(f, "{set} sample {index}: {reason}")
    }
}

/// A batch, with the bad samples in whose place it has others.
#[derive(Clone, Debug)]
pub struct Checked<T> {
    /// The batch.
    pub value: T,
    /// What was replaced; a sample drawn twice is listed twice.
    pub bad: Vec<BadSample>,
}

impl<T> Checked<T> {
    /// The same bad samples with another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Checked<U> {
        Checked {
            value: f(self.value),
            bad: self.bad,
        }
    }
}

/// The bad samples of a run, and how many of them it may have.
#[derive(Clone, Debug, Default)]
pub struct BadSamples {
    limit: usize,
    /// By set and index.
    found: BTreeMap<(String, usize), String>,
    /// Found since they were last taken.
    fresh: Vec<BadSample>,
}

impl BadSamples {
    /// Allows `limit` bad samples, each counted once; 0 allows none.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// How many there may be.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Counts those that are not known yet.
    pub fn note(&mut self, bad: impl IntoIterator<Item = BadSample>) {
        for bad in bad {
            let place = self.found.entry((bad.set.clone(), bad.index));
            if let Entry::Vacant(place) = place {
                place.insert(bad.reason.clone());
                self.fresh.push(bad);
            }
        }
    }

    /// Takes back the list of a run that goes on; they are not news.
    pub fn restore(&mut self, bad: impl IntoIterator<Item = BadSample>) {
        for bad in bad {
            self.fresh
                .retain(|new| (&new.set, new.index) != (&bad.set, bad.index));
            self.found.insert((bad.set, bad.index), bad.reason);
        }
    }

    /// Checks their number.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] lists the bad samples so far if they are more than allowed.
    pub fn check(&self) -> Result<()> {
        if self.found.len() <= self.limit {
            return Ok(());
        }
        let lines = self.list().take(LISTED).map(|bad| format!("\n  {bad}"));
        let more = match self.found.len().saturating_sub(LISTED) {
            0 => String::new(),
            more => format!("\n  and {more} more"),
        };
        Err(Error::Invalid(format!(
            "{} samples cannot be used, more than the {} that may be skipped; mend or remove \
             them, or allow more with data.skip_bad = N or --skip-bad N:{}{more}",
            self.found.len(),
            self.limit,
            lines.collect::<String>()
        )))
    }

    /// The batch, its bad samples counted.
    ///
    /// # Errors
    ///
    /// Those of [`BadSamples::check`].
    pub fn admit<T>(&mut self, checked: Checked<T>) -> Result<T> {
        self.note(checked.bad);
        self.check()?;
        Ok(checked.value)
    }

    /// Those found since the last [`BadSamples::take_fresh`], in the order of finding.
    pub fn fresh(&self) -> &[BadSample] {
        &self.fresh
    }

    /// The same, which are no news from here on.
    pub fn take_fresh(&mut self) -> Vec<BadSample> {
        std::mem::take(&mut self.fresh)
    }

    /// The bad samples so far, by set and index.
    pub fn list(&self) -> impl Iterator<Item = BadSample> {
        self.found.iter().map(|((set, index), reason)| BadSample {
            set: set.clone(),
            index: *index,
            reason: reason.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_counts_once_and_one_too_many_ends_the_run() {
        let checked = |indices: &[usize]| Checked {
            value: indices.len(),
            bad: indices
                .iter()
                .map(|index| BadSample {
                    set: "target".to_owned(),
                    index: *index,
                    reason: format!("cannot decode {index}.png"),
                })
                .collect(),
        };
        let mut bad = BadSamples::new(2);
        assert_eq!(bad.admit(checked(&[])).unwrap(), 0);
        assert_eq!(bad.admit(checked(&[7, 3, 7])).unwrap(), 3);
        assert_eq!(bad.admit(checked(&[3])).unwrap(), 1);
        let error = bad.admit(checked(&[5])).unwrap_err().to_string();
        for part in ["3 samples", "than the 2", "3.png", "5.png", "7.png"] {
            assert!(error.contains(part), "{part:?} is missing in: {error}");
        }
        assert!(BadSamples::new(0).admit(checked(&[1])).is_err());
    }

    #[test]
    fn a_sample_is_news_once_also_after_a_restart() {
        let sample = |index| BadSample {
            set: "source".to_owned(),
            index,
            reason: String::new(),
        };
        let mut bad = BadSamples::new(3);
        bad.note([sample(4), sample(2), sample(4)]);
        assert_eq!(bad.take_fresh(), [sample(4), sample(2)]);
        let mut resumed = BadSamples::new(3);
        resumed.note([sample(4)]);
        resumed.restore(bad.list());
        resumed.note([sample(2), sample(9)]);
        assert_eq!(resumed.fresh(), [sample(9)]);
        assert_eq!(resumed.list().count(), 3);
        resumed.note([sample(5)]);
        assert!(resumed.check().is_err());
    }
}
