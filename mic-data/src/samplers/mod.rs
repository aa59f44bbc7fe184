//! Which samples the batch of a step holds: functions of (seed, step), so that a run restarts at
//! any step, and the ranks of a run share the batches without talking to each other.

mod batches;
mod grouping;

pub use batches::{BatchSampler, Draw, Incomplete, SamplerConfig};
pub use grouping::aspect_groups;
