//! Peak memory with and without recomputation. Alone in its binary, since it counts every byte.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use mic_nn::autograd::backward;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Result};
use mic_nn::forward::{Forward, RandomDrops};
use mic_nn::gradcheck::wave;
use mic_nn::models::mit::{Mit, MitConfig, Stem};
use mic_nn::optim::Grads;
use mic_nn::params::Store;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, with the bytes in use counted.
struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn recomputation_needs_less_than_half_the_memory() -> Result<()> {
    let store = Store::trainable(ChaCha8Rng::seed_from_u64(3), DType::F32, &Device::Cpu);
    let config = MitConfig {
        embed_dims: vec![16, 32],
        depths: vec![6, 6],
        num_heads: vec![1, 2],
        sr_ratios: vec![4, 2],
        mlp_ratio: 4,
        drop_path_rate: 0.1,
        stem: Stem::Overlap,
    };
    let network = Mit::new(&config, &store.root())?;
    let image = wave(&[2, 3, 64, 64], 1.0, 1.37, 0.3)?.to_dtype(DType::F32)?;
    let mut grads = Grads::new(&store.vars());
    // Peak during a step above what is in use before it, and what is in use between the passes.
    let mut step = |recompute: bool| -> Result<(usize, usize)> {
        grads.clear();
        let before = LIVE.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let drops = RandomDrops::new(ChaCha8Rng::seed_from_u64(5));
        let mode = Forward::train(&drops).recomputing(recompute);
        let features = network.forward(&image, &mode)?;
        let loss = (features[0].sqr()?.mean_all()? + features[1].sqr()?.mean_all()?)?;
        let held = LIVE.load(Ordering::Relaxed) - before;
        grads.accumulate(&backward(&loss)?)?;
        Ok((PEAK.load(Ordering::Relaxed) - before, held))
    };
    step(false)?; // threads and tables that stay
    let plain = step(false)?;
    let recomputed = step(true)?;
    let percent = |(a, b): (usize, usize)| 100 * a / b;
    let (peak, held) = ((recomputed.0, plain.0), (recomputed.1, plain.1));
    assert!(
        percent(peak) < 50,
        "peak memory: {peak:?} bytes, {} %",
        percent(peak)
    );
    assert!(
        percent(held) < 25,
        "kept: {held:?} bytes, {} %",
        percent(held)
    );
    Ok(())
}
