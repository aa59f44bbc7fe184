//! Gradients that add up over several losses, parameter groups, and optimisers with PyTorch's
//! semantics.
//!
//! ```text
//! grads.clear();
//! for loss in losses { grads.accumulate(&backward(&loss)?)?; }
//! optimizer.step(&grads, &|base| schedule.lr(iteration, base))?;
//! ```

mod adamw;
mod engine;
mod grads;
mod groups;
pub(crate) mod in_place;
mod optimizer;
mod sam;
mod sgd;
mod sweep;

pub use adamw::{AdamW, AdamWConfig};
pub use grads::{Grads, NonFinite};
pub use groups::{GroupRules, ParamGroup, Rule};
pub use optimizer::Optimizer;
pub use sam::{Sam, SamConfig};
pub use sgd::{Sgd, SgdConfig};
