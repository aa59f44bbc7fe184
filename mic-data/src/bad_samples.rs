//! Going on past samples that cannot be read.
//!
//! A bad sample is replaced by another draw, which depends on the seed and the number of the draw
//! alone. What was replaced travels with the batch ([`Checked`]) and is counted where batches are
//! used, in the order of the steps ([`BadSamples`]): so a run stops at the same step whatever the
//! number of loader threads.

use std::collections::BTreeMap;
use std::fmt;

use crate::parallel::catching;
use crate::{Error, Result};

/// Draws in place of one bad sample before its batch fails.
const REPLACEMENTS: u64 = 100;

/// A sample that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSample {
    /// The set: `"source"` or `"target"`.
    pub set: &'static str,
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

/// The bad samples of a run, and how many of them it may have.
///
/// The count begins anew when a run is resumed.
#[derive(Clone, Debug, Default)]
pub struct BadSamples {
    limit: usize,
    /// By set and index.
    found: BTreeMap<(&'static str, usize), String>,
}

impl BadSamples {
    /// Allows `limit` bad samples, each counted once; 0 allows none.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            found: BTreeMap::new(),
        }
    }

    /// The batch, its bad samples counted.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] lists all bad samples so far if they are more than allowed.
    pub fn admit<T>(&mut self, checked: Checked<T>) -> Result<T> {
        for BadSample { set, index, reason } in checked.bad {
            self.found.insert((set, index), reason);
        }
        if self.found.len() <= self.limit {
            return Ok(checked.value);
        }
        let lines = self.list().map(|bad| format!("\n  {bad}"));
        Err(Error::Invalid(format!(
            "{} samples cannot be used, more than the {} that may be skipped; mend or remove \
             them, or allow more:{}",
            self.found.len(),
            self.limit,
            lines.collect::<String>()
        )))
    }

    /// The bad samples so far, by set and index.
    pub fn list(&self) -> impl Iterator<Item = BadSample> {
        self.found.iter().map(|((set, index), reason)| BadSample {
            set,
            index: *index,
            reason: reason.clone(),
        })
    }
}

/// The first of the draws `pick(0)`, `pick(1)`, ... whose index `read` can read. Without a list
/// for bad ones, the error of the first is returned. A panic is an error like others.
pub(crate) fn read_one<D, T>(
    set: &'static str,
    mut bad: Option<&mut Vec<BadSample>>,
    pick: impl Fn(u64) -> (usize, D),
    read: impl Fn(usize) -> Result<T>,
) -> Result<(T, D)> {
    for attempt in 0..=REPLACEMENTS {
        let (index, drawn) = pick(attempt);
        match (catching(|| read(index)), &mut bad) {
            (Ok(sample), _) => return Ok((sample, drawn)),
            (Err(error), None) => return Err(error),
            (Err(error), Some(bad)) => bad.push(BadSample {
                set,
                index,
                reason: error.to_string(),
            }),
        }
    }
    let last = bad.and_then(|bad| bad.last().map(BadSample::to_string));
    Err(Error::Invalid(format!(
        "none of {REPLACEMENTS} draws in place of a bad sample could be read either; check that \
         the files are still there. The last was {}",
        last.unwrap_or_default()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn odd_only(index: usize) -> Result<usize> {
        match index % 2 {
            1 => Ok(index),
            _ if index == 4 => panic!("broken decoder"),
            _ => Err(Error::Invalid(format!("file {index}"))),
        }
    }

    #[test]
    fn the_next_good_draw_takes_the_place_of_bad_ones() {
        let pick = |attempt: u64| (4 + [0, 2, 5][attempt as usize], attempt);
        let mut bad = Vec::new();
        let read = read_one("source", Some(&mut bad), pick, odd_only).unwrap();
        assert_eq!(read, (9, 2));
        let indices: Vec<_> = bad.iter().map(|bad| bad.index).collect();
        assert_eq!(indices, [4, 6]);
        assert!(bad[0].reason.contains("broken decoder"));
        assert_eq!(bad[1].to_string(), "source sample 6: file 6");
        let strict = read_one("source", None, |a| (6 + a as usize, ()), odd_only);
        assert_eq!(strict.unwrap_err().to_string(), "file 6");
        let never = read_one("source", Some(&mut bad), |_| (2, ()), odd_only);
        assert!(never.unwrap_err().to_string().contains("file 2"));
    }

    #[test]
    fn every_sample_counts_once_and_one_too_many_ends_the_run() {
        let checked = |indices: &[usize]| Checked {
            value: indices.len(),
            bad: indices
                .iter()
                .map(|index| BadSample {
                    set: "target",
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
}
