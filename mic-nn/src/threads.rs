//! Threads for training, and those of candle's own element-wise loops.

use candle_core::{Error, Result};

/// Stack of a training thread. Deep graphs are walked and dropped recursively, which a thread's
/// usual 2 MiB do not hold: they overflow at about 8000 ops, these not before a million.
const STACK: usize = 256 << 20;

/// Runs `f` inside a thread pool of its own whose threads have a stack large enough for the graph
/// of any network. The memory of a stack is only taken as far as it is used.
///
/// Inside a pool parallel loops start without waking another thread first, so this is also where
/// training is fastest. `threads` is their number; `None` takes one for each processor, or
/// `RAYON_NUM_THREADS`.
///
/// # Errors
/// When the threads cannot be started.
pub fn train_in_pool<R: Send>(threads: Option<usize>, f: impl FnOnce() -> R + Send) -> Result<R> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads.unwrap_or(0))
        .thread_name(|index| format!("train-{index}"))
        .stack_size(STACK)
        .build()
        .map_err(|error| Error::msg(format!("cannot start the training threads: {error}")))?;
    Ok(pool.install(f))
}

/// Keeps candle's helper threads from spinning while they have nothing to do.
///
/// Between two of its parallel loops candle lets them spin, which on a machine with few cores
/// takes time from the loops of this crate. A value of `CANDLE_BARRIER_POOL_SPIN_LIMIT` that the
/// user has set stays.
///
/// # Safety
/// The process must have one thread only: call this first in `main`.
pub unsafe fn stop_candle_spinning() {
    const LIMIT: &str = "CANDLE_BARRIER_POOL_SPIN_LIMIT";
    if std::env::var_os(LIMIT).is_none() {
        // SAFETY: no other thread can read the environment, by this function's contract.
        unsafe { std::env::set_var(LIMIT, "0") };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autograd::backward;
    use candle_core::{Device, Var};

    #[test]
    fn deep_graphs_are_walked_and_dropped() -> Result<()> {
        let gradient = train_in_pool(Some(2), || -> Result<f32> {
            assert_eq!(rayon::current_num_threads(), 2);
            let x = Var::new(1f32, &Device::Cpu)?;
            let mut y = x.as_tensor().clone();
            for _ in 0..50_000 {
                y = y.affine(1.0, 0.0)?;
            }
            let grads = backward(&y)?;
            grads.get(&x).map_or(Ok(0.0), |g| g.to_scalar())
        })??;
        assert_eq!(gradient, 1.0);
        Ok(())
    }
}
