//! Reading the samples of a batch: one place for what the pipelines of all tasks have in common.

use crate::bad_samples::{BadSample, Checked};
use crate::parallel::{catching, map_indices};
use crate::{Error, Result};

/// Draws in place of one bad sample before its batch fails.
const REPLACEMENTS: u64 = 100;

/// How the samples of a batch are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Whether other draws take the place of samples that cannot be read.
    pub replace_bad: bool,
    /// Threads that read and transform the samples; 0 and 1: the calling thread alone. Their number
    /// changes nothing but the time.
    pub threads: usize,
}

impl Reading {
    /// The first bad sample is an error; one thread.
    pub const STRICT: Self = Self {
        replace_bad: false,
        threads: 1,
    };

    /// Bad samples are replaced; one thread.
    pub const REPLACING: Self = Self {
        replace_bad: true,
        threads: 1,
    };

    /// One sample for each slot: of the draws `pick(slot, 0)`, `pick(slot, 1)`, ... the first whose
    /// index `read` can read, transformed by `finish`.
    ///
    /// # Errors
    ///
    /// Without replacing, the error of the first bad sample; a panic is an error like others.
    /// [`Error::Invalid`] if a hundred replacements cannot be read either. Those of `finish`.
    pub(crate) fn samples<S: Sync, D, R, T: Send>(
        &self,
        set: &str,
        slots: &[S],
        pick: impl Fn(&S, u64) -> (usize, D) + Sync,
        read: impl Fn(usize) -> Result<R> + Sync,
        finish: impl Fn(R, D, &S) -> Result<T> + Sync,
    ) -> Result<Checked<Vec<T>>> {
        let one = |slot: usize| {
            let slot = &slots[slot];
            let mut bad = Vec::new();
            let read = self.first_good(set, &mut bad, |attempt| pick(slot, attempt), &read);
            let (sample, drawn) = read?;
            Ok((finish(sample, drawn, slot)?, bad))
        };
        let samples = map_indices(slots.len(), self.threads, one)?;
        let (value, bad): (Vec<T>, Vec<_>) = samples.into_iter().unzip();
        Ok(Checked {
            value,
            bad: bad.into_iter().flatten().collect(),
        })
    }

    fn first_good<D, R>(
        &self,
        set: &str,
        bad: &mut Vec<BadSample>,
        pick: impl Fn(u64) -> (usize, D),
        read: impl Fn(usize) -> Result<R>,
    ) -> Result<(R, D)> {
        for attempt in 0..=REPLACEMENTS {
            let (index, drawn) = pick(attempt);
            match catching(|| read(index)) {
                Ok(sample) => return Ok((sample, drawn)),
                Err(error) if !self.replace_bad => return Err(error),
                Err(error) => bad.push(BadSample {
                    set: set.to_owned(),
                    index,
                    reason: error.to_string(),
                }),
            }
        }
        let last = bad.last().map(BadSample::to_string);
        Err(Error::Invalid(format!(
            "none of {REPLACEMENTS} draws in place of a bad sample could be read either; check \
             that the files are still there. The last was {}",
            last.unwrap_or_default()
        )))
    }
}

/// Something that makes the batch of a step, the same at every call.
pub trait BatchPipeline: Send + Sync {
    /// What a step sees.
    type Batch: Send + 'static;

    /// The batch of a step, with what was replaced in it. Its tensors are on the CPU.
    ///
    /// # Errors
    ///
    /// Those of the data sets, unless other draws take the place of bad samples;
    /// [`Error::Invalid`] if a hundred of them cannot be read either, and for samples that cannot
    /// be joined to a batch.
    fn read_batch(&self, step: u64, reading: &Reading) -> Result<Checked<Self::Batch>>;

    /// The batch of a step, with other draws in place of samples that cannot be read. Count them
    /// with [`BadSamples`](crate::BadSamples).
    ///
    /// # Errors
    ///
    /// Those of [`BatchPipeline::read_batch`].
    fn checked_batch(&self, step: u64) -> Result<Checked<Self::Batch>> {
        self.read_batch(step, &Reading::REPLACING)
    }
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
        let slots = [0, 10, 20, 30, 40];
        let pick = |slot: &usize, attempt: u64| (slot + 4 + [0, 2, 5][attempt as usize], attempt);
        let finish = |read: usize, attempt: u64, slot: &usize| Ok((read, attempt, *slot));
        for threads in [0, 1, 2, 8] {
            let reading = Reading {
                threads,
                ..Reading::REPLACING
            };
            let read = reading.samples("source", &slots, pick, odd_only, finish);
            let read = read.unwrap();
            let expected = slots.map(|slot| (slot + 9, 2, slot));
            assert_eq!(read.value, expected);
            let indices: Vec<_> = read.bad.iter().map(|bad| bad.index).collect();
            assert_eq!(indices, [4, 6, 14, 16, 24, 26, 34, 36, 44, 46]);
            assert!(read.bad[0].reason.contains("broken decoder"));
            assert_eq!(read.bad[1].to_string(), "source sample 6: file 6");
        }
        let strict = Reading::STRICT.samples("source", &slots, pick, odd_only, finish);
        assert!(strict.unwrap_err().to_string().contains("broken decoder"));
        let never = |_: &usize, attempt| (2, attempt);
        let never = Reading::REPLACING.samples("source", &slots, never, odd_only, finish);
        let error = never.unwrap_err().to_string();
        assert!(
            error.contains("none of 100") && error.contains("file 2"),
            "{error}"
        );
    }
}
