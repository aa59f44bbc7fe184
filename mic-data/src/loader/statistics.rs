//! Whether training waits for its data.

use std::time::{Duration, Instant};

/// What a loader has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoaderStats {
    /// Results handed out.
    pub handed_out: u64,
    /// How long the first result took: nothing can be ready by then.
    pub first_wait: Duration,
    /// How long the caller waited for all later ones.
    pub waited: Duration,
    /// The time since the first result was handed out, waiting included.
    pub elapsed: Duration,
    /// The most bytes of finished results that waited at once.
    pub peak_memory: u64,
    /// Results made again because they turned out larger than the memory limit allowed.
    pub made_again: u64,
}

impl LoaderStats {
    /// The share of the time that the caller waited, from 0 to 1. Training is bound by its loader
    /// if this is well above 0; more loader threads or a cache help.
    pub fn waiting_share(&self) -> f64 {
        if self.elapsed.is_zero() {
            return 0.0;
        }
        self.waited.as_secs_f64() / self.elapsed.as_secs_f64()
    }
}

/// The clock behind [`LoaderStats`].
#[derive(Default)]
pub(super) struct Clock {
    handed_out: u64,
    first_wait: Duration,
    waited: Duration,
    /// When the first result went out.
    since: Option<Instant>,
}

impl Clock {
    /// Notes a result for which the caller had waited since `asked`.
    pub(super) fn handed_out(&mut self, asked: Instant) {
        let waited = asked.elapsed();
        self.handed_out += 1;
        if self.since.is_some() {
            self.waited += waited;
        } else {
            self.first_wait = waited;
            self.since = Some(Instant::now());
        }
    }

    pub(super) fn read(&self) -> LoaderStats {
        LoaderStats {
            handed_out: self.handed_out,
            first_wait: self.first_wait,
            waited: self.waited,
            elapsed: self.since.map(|since| since.elapsed()).unwrap_or_default(),
            ..LoaderStats::default()
        }
    }
}
