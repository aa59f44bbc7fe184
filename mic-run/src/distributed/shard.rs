//! Which draws of the sampler belong to which rank.

use std::ops::Range;

use crate::{Error, Result};

/// The part of the draws that is rank `rank`'s, of `world_size`.
///
/// A run with a batch of B images takes the draws s B .. (s + 1) B of its sampler at step s. Rank r
/// of n takes s B + r B / n .. s B + (r + 1) B / n of them: all ranks together see what one process
/// with the whole batch sees, in the same order, and the number of ranks can change between two
/// parts of a run.
///
/// ```
/// # fn main() -> mic_run::Result<()> {
/// // Step 3, a batch of 4, the second of 2 processes.
/// assert_eq!(mic_run::distributed::shard(12..16, 1, 2)?, 14..16);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// When the draws cannot be shared out equally: the mean of the ranks' losses would not be the
/// mean over the batch.
pub fn shard(draws: Range<u64>, rank: usize, world_size: usize) -> Result<Range<u64>> {
    let batch = draws.end.saturating_sub(draws.start);
    let (rank, ranks) = (rank as u64, world_size as u64);
    if rank >= ranks {
        return Err(Error::Usage(format!("there is no rank {rank} of {ranks}")));
    }
    if !batch.is_multiple_of(ranks) {
        return Err(Error::Usage(format!(
            "a batch of {batch} cannot be shared out equally among {ranks} processes: choose a \
             batch size that is a multiple of {ranks}, or another number of processes"
        )));
    }
    let share = batch / ranks;
    let start = draws.start + rank * share;
    Ok(start..start + share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_follow_one_another_and_are_all_draws() {
        for ranks in [1, 2, 3, 6] {
            let shares = (0..ranks).map(|rank| shard(12..18, rank, ranks).unwrap());
            let draws: Vec<u64> = shares.flatten().collect();
            assert_eq!(draws, (12..18).collect::<Vec<_>>());
        }
        let error = shard(0..6, 1, 4).unwrap_err().to_string();
        assert!(error.contains("a batch of 6 cannot be shared out equally among 4"));
        assert!(shard(0..6, 2, 2).is_err());
        assert!(shard(0..6, 0, 0).is_err());
    }
}
