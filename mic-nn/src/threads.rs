//! Threads of candle's own element-wise loops.

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
