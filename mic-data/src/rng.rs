//! Keyed random streams: every random step draws from its own generator, so that the number of
//! threads, the order of work and a restart change nothing.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The generator for one purpose at one step (or for one image) of a seeded run.
///
/// `purpose` is a short constant such as `"crop"`; two purposes never share a stream.
pub fn stream(seed: u64, purpose: &str, step: u64) -> ChaCha8Rng {
    let hash = fnv1a(purpose.as_bytes());
    let mut key = [0u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&hash.to_le_bytes());
    key[16..24].copy_from_slice(&step.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// FNV-1a: stable across platforms and compiler versions. Not for hostile input.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn streams_differ_by_every_part_of_the_key_and_repeat() {
        let draw = |seed, purpose, step| stream(seed, purpose, step).random::<u64>();
        assert_eq!(draw(1, "crop", 2), draw(1, "crop", 2));
        assert_ne!(draw(1, "crop", 2), draw(2, "crop", 2));
        assert_ne!(draw(1, "crop", 2), draw(1, "flip", 2));
        assert_ne!(draw(1, "crop", 2), draw(1, "crop", 3));
    }
}
