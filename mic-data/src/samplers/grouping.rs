//! Batches whose samples are alike.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use rand::Rng;

use super::batches::Incomplete;
use crate::parallel::lock;
use crate::permutation::Permutation;

/// 0 for images wider than high, 1 for the others: batches of one group need little padding
/// (`h / w < 1` in the reference). Sizes are (w, h).
pub fn aspect_groups(sizes: impl IntoIterator<Item = (u32, u32)>) -> Vec<u8> {
    let group = |(width, height)| u8::from(height >= width);
    sizes.into_iter().map(group).collect()
}

/// The groups of a set, and the passes that were cut last.
#[derive(Debug)]
pub(super) struct Grouping {
    groups: Vec<u8>,
    /// Around the end of a pass, loader threads work in two passes.
    cut: Mutex<VecDeque<(u64, Arc<Pass>)>>,
}

/// The batches of one pass.
#[derive(Debug)]
pub(super) struct Pass {
    samples: Vec<u32>,
    ends: Vec<usize>,
}

impl Pass {
    pub(super) fn batch(&self, index: usize) -> &[u32] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.samples[start..self.ends[index]]
    }
}

impl Grouping {
    pub(super) fn new(groups: Vec<u8>) -> Self {
        Self {
            groups,
            cut: Mutex::default(),
        }
    }

    /// Samples of each group that has any.
    pub(super) fn counts(&self) -> Vec<u64> {
        let mut counts = vec![0; 256];
        for group in &self.groups {
            counts[usize::from(*group)] += 1;
        }
        counts.retain(|count| *count > 0);
        counts
    }

    /// A sample of the group of `index`, each equally likely.
    pub(super) fn another(&self, index: usize, rng: &mut impl Rng) -> usize {
        let group = self.groups[index];
        // Every draw hits a group with its share of the set, so few draws are needed; a group that
        // is all but empty is searched through.
        for _ in 0..64 {
            let other = rng.random_range(0..self.groups.len());
            if self.groups[other] == group {
                return other;
            }
        }
        let mut members = (0..self.groups.len()).filter(|other| self.groups[*other] == group);
        let count = members.clone().count();
        members.nth(rng.random_range(0..count)).unwrap_or(index)
    }

    /// The batches of a pass.
    pub(super) fn pass(
        &self,
        number: u64,
        order: &Permutation,
        whole: usize,
        incomplete: Incomplete,
    ) -> Arc<Pass> {
        let known = |cut: &VecDeque<(u64, Arc<Pass>)>| {
            let found = cut.iter().find(|(pass, _)| *pass == number);
            found.map(|(_, pass)| Arc::clone(pass))
        };
        if let Some(pass) = known(&lock(&self.cut)) {
            return pass;
        }
        let pass = Arc::new(self.cut_pass(order, whole, incomplete));
        let mut cut = lock(&self.cut);
        if known(&cut).is_none() {
            cut.push_back((number, Arc::clone(&pass)));
            if cut.len() > 2 {
                cut.pop_front();
            }
        }
        pass
    }

    fn cut_pass(&self, order: &Permutation, whole: usize, incomplete: Incomplete) -> Pass {
        // Positions of the pass by group.
        let mut members: Vec<Vec<u32>> = vec![Vec::new(); 256];
        for position in 0..self.groups.len() as u64 {
            let index = order.get(position) as usize;
            members[usize::from(self.groups[index])].push(position as u32);
        }
        let mut batches: Vec<Vec<u32>> = Vec::new();
        for group in &members {
            for batch in group.chunks(whole) {
                let mut batch = batch.to_vec();
                if batch.len() < whole {
                    match incomplete {
                        Incomplete::Drop => continue,
                        Incomplete::Keep => {}
                        Incomplete::Fill => {
                            let more = group.iter().cycle().take(whole - batch.len());
                            batch.extend(more);
                        }
                    }
                }
                batches.push(batch);
            }
        }
        batches.sort_by_key(|batch| batch[0]);
        let mut pass = Pass {
            samples: Vec::with_capacity(batches.iter().map(Vec::len).sum()),
            ends: Vec::with_capacity(batches.len()),
        };
        for batch in batches {
            let indices = batch.iter().map(|at| order.get(u64::from(*at)) as u32);
            pass.samples.extend(indices);
            pass.ends.push(pass.samples.len());
        }
        pass
    }
}
