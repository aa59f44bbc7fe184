//! Shuffled passes over a set, cut into batches.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::grouping::Grouping;
use crate::permutation::Permutation;
use crate::rng::stream;
use crate::{Error, Result};

/// What happens to a batch for which the pass has too few samples left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Incomplete {
    /// It is left out.
    Drop,
    /// It is shorter. For one rank only.
    Keep,
    /// It is filled up with the first samples of the pass (and group).
    Fill,
}

/// How a [`BatchSampler`] cuts.
#[derive(Clone, Debug)]
pub struct SamplerConfig {
    /// Samples in a batch of one rank.
    pub batch: usize,
    /// What happens to the end of a pass.
    pub incomplete: Incomplete,
    /// Seed of the run.
    pub seed: u64,
    /// Name of the stream; streams of different names are independent.
    pub purpose: String,
    /// This process.
    pub rank: usize,
    /// Number of processes; they see disjoint parts of the same batches.
    pub ranks: usize,
}

impl SamplerConfig {
    /// One process; the last, incomplete batch of a pass is left out.
    pub fn new(batch: usize, seed: u64, purpose: &str) -> Self {
        Self {
            batch,
            incomplete: Incomplete::Drop,
            seed,
            purpose: purpose.to_owned(),
            rank: 0,
            ranks: 1,
        }
    }
}

/// One sample of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Draw {
    /// Index in the set.
    pub index: usize,
    /// Number of the draw in the endless sequence, the same for every number of ranks: the key of
    /// the sample's augmentation.
    pub number: u64,
}

/// An endless sequence of batches: pass after pass through the set, each in a new random order and
/// without repetition. A batch never spans two passes.
///
/// `ranks` processes with batches of `b` see together what one process with batches of
/// `ranks * b` sees: rank `r` takes samples `r * b` to `(r + 1) * b` of every batch.
#[derive(Debug)]
pub struct BatchSampler {
    len: u64,
    config: SamplerConfig,
    /// Samples of a batch of all ranks.
    whole: u64,
    grouping: Option<Grouping>,
    per_pass: u64,
}

impl BatchSampler {
    /// Batches from a set of `len` samples.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an empty set or batch, a rank that is not below the number of ranks,
    /// a set with fewer samples than a batch if incomplete ones are dropped, and incomplete batches
    /// to keep with several ranks.
    pub fn new(len: usize, config: SamplerConfig) -> Result<Self> {
        let whole = whole_batch(len, &config)?;
        let per_pass = batches(len as u64, whole, config.incomplete);
        let sampler = Self {
            len: len as u64,
            whole,
            per_pass,
            grouping: None,
            config,
        };
        sampler.checked(&[len as u64])
    }

    /// Batches whose samples are of one group; sample `i` is of group `groups[i]`. Within a group
    /// samples keep the order of the pass; batches come in the order of their first samples.
    ///
    /// # Errors
    ///
    /// Those of [`BatchSampler::new`].
    pub fn grouped(groups: Vec<u8>, config: SamplerConfig) -> Result<Self> {
        let whole = whole_batch(groups.len(), &config)?;
        let len = groups.len() as u64;
        let grouping = Grouping::new(groups);
        let counts = grouping.counts();
        let per_pass = counts
            .iter()
            .map(|count| batches(*count, whole, config.incomplete))
            .sum();
        let sampler = Self {
            len,
            whole,
            per_pass,
            grouping: Some(grouping),
            config,
        };
        sampler.checked(&counts)
    }

    fn checked(self, counts: &[u64]) -> Result<Self> {
        let Self { len, whole, .. } = self;
        if self.per_pass == 0 {
            return Err(Error::Invalid(format!(
                "the {} set has {len} samples, fewer than a batch of {whole}; make the batch \
                 smaller or add samples",
                self.config.purpose
            )));
        }
        let uneven = counts.iter().any(|count| count % whole != 0);
        if self.config.ranks > 1 && self.config.incomplete == Incomplete::Keep && uneven {
            return Err(Error::Invalid(format!(
                "incomplete batches of the {} set cannot be kept with {} ranks, whose shares must \
                 be equal; drop them or fill them up",
                self.config.purpose, self.config.ranks
            )));
        }
        Ok(self)
    }

    /// Batches of a pass.
    pub fn batches_per_pass(&self) -> u64 {
        self.per_pass
    }

    /// The sample of a draw at attempt `attempt`, counted from 0, and the generator of its
    /// augmentation from the stream `purpose`: later attempts take the place of samples that cannot
    /// be read, any of the same group.
    pub(crate) fn attempt(
        &self,
        seed: u64,
        purpose: &str,
        draw: Draw,
        attempt: u64,
    ) -> (usize, ChaCha8Rng) {
        if attempt == 0 {
            return (draw.index, stream(seed, purpose, draw.number));
        }
        let mut rng = stream(seed, &format!("{purpose} again {attempt}"), draw.number);
        let index = match &self.grouping {
            Some(grouping) => grouping.another(draw.index, &mut rng),
            None => rng.random_range(0..self.len as usize),
        };
        (index, rng)
    }

    /// This rank's samples of the batch of a step.
    pub fn batch(&self, step: u64) -> Vec<Draw> {
        let (pass, batch) = (step / self.per_pass, step % self.per_pass);
        let order = Permutation::new(self.len, self.config.seed, &self.config.purpose, pass);
        let slots = self.config.rank * self.config.batch..;
        let slots = slots.take(self.config.batch).map(|slot| slot as u64);
        let draw = |slot: u64, index: u64| Draw {
            index: index as usize,
            number: step * self.whole + slot,
        };
        let Some(grouping) = &self.grouping else {
            let places = slots.map(|slot| (slot, batch * self.whole + slot));
            let places: Vec<_> = match self.config.incomplete {
                Incomplete::Fill => places.map(|(slot, at)| (slot, at % self.len)).collect(),
                _ => places.filter(|(_, at)| *at < self.len).collect(),
            };
            let draws = places
                .into_iter()
                .map(|(slot, at)| draw(slot, order.get(at)));
            return draws.collect();
        };
        let pass = grouping.pass(pass, &order, self.whole as usize, self.config.incomplete);
        let samples = pass.batch(batch as usize);
        slots
            .filter_map(|slot| Some(draw(slot, u64::from(*samples.get(slot as usize)?))))
            .collect()
    }
}

fn whole_batch(len: usize, config: &SamplerConfig) -> Result<u64> {
    let SamplerConfig {
        batch, rank, ranks, ..
    } = config;
    if len == 0 {
        return Err(Error::Invalid(format!(
            "the {} set has no image",
            config.purpose
        )));
    }
    if *batch == 0 || rank >= ranks || u32::try_from(len).is_err() {
        return Err(Error::Invalid(format!(
            "batches of {batch} for rank {rank} of {ranks} from {len} samples: the batch must be \
             at least 1, the rank below the number of ranks and the set below 2^32 samples"
        )));
    }
    Ok(*batch as u64 * *ranks as u64)
}

pub(super) fn batches(len: u64, whole: u64, incomplete: Incomplete) -> u64 {
    match incomplete {
        Incomplete::Drop => len / whole,
        Incomplete::Keep | Incomplete::Fill => len.div_ceil(whole),
    }
}
