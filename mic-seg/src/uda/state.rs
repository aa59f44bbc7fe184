//! What a method carries from one step to the next, besides the optimiser: the tensors of all its
//! networks. The steps themselves are numbered by the caller, and teachers have no other counter.

use std::collections::HashMap;

use candle_core::Tensor;
use mic_run::state::{self, Networks};

use crate::Result;

/// The student's prefix in a state, as in the published checkpoints.
pub const STUDENT: &str = "model.";
/// The prefix of the method's teacher, as in the published checkpoints.
pub const TEACHER: &str = "ema_model.";
/// The prefix of a teacher of masked consistency alone.
pub const MASK_TEACHER: &str = "mic_teacher.";
/// The prefix of a discriminator, as in the published checkpoints.
pub const DISCRIMINATOR: &str = "model_D.";

const PREFIXES: [&str; 4] = [STUDENT, TEACHER, MASK_TEACHER, DISCRIMINATOR];

/// Copies a state into the networks. Names without one of the known prefixes are someone else's.
///
/// # Errors
/// A state that lacks a tensor, has one of another shape, or has one of a network that there is
/// not: names it. Nothing is changed then.
pub(super) fn restore(networks: &Networks<'_>, saved: &HashMap<String, Tensor>) -> Result<()> {
    state::check(&state::collect(networks), saved, &PREFIXES)?;
    Ok(state::load(networks, saved)?)
}
