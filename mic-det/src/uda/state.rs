//! What a method carries from one step to the next: networks and optimiser. The steps themselves
//! are numbered by the caller.

use std::collections::HashMap;

use candle_core::Tensor;
use mic_nn::optim::Optimizer;
use mic_nn::params::Store;
use mic_run::state;

use super::Adaptation;
use crate::Result;

/// The student's prefix in a state.
pub const STUDENT: &str = "model.";
/// The teacher's prefix.
pub const TEACHER: &str = "ema_model.";
/// The prefix of the momentum of the student's parameters.
pub const OPTIMIZER: &str = "optimizer.model.";

impl Adaptation {
    /// Everything that changes over steps, by name. Networks share their storage with it: write or
    /// copy it before the next step.
    ///
    /// # Errors
    /// When a momentum cannot be copied.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut all = state::collect(&self.stores());
        all.extend(state::prefixed(OPTIMIZER, self.sgd.state()?));
        Ok(all)
    }

    /// Continues from a [`state`](Self::state): the following steps, with the same numbers and
    /// draws, are those of the method that it was taken from, bit for bit. Names without one of the
    /// prefixes of this module are someone else's.
    ///
    /// # Errors
    /// A state that lacks a tensor, has one of another shape, or has one that the method has no use
    /// for: names it. Networks are unchanged then.
    pub fn restore(&mut self, saved: &HashMap<String, Tensor>) -> Result<()> {
        state::check(&state::collect(&self.stores()), saved, &[STUDENT, TEACHER])?;
        let momentum = state::below(saved, OPTIMIZER);
        self.sgd.load_state(&momentum).map_err(state::misfit)?;
        let reached = |name: &String| Some(name.strip_suffix(".momentum_buffer")?.to_owned());
        self.reached = momentum.keys().filter_map(reached).collect();
        Ok(state::load(&self.stores(), saved)?)
    }

    fn stores(&self) -> Vec<(&'static str, &Store)> {
        let mut stores = vec![(STUDENT, &self.student.store)];
        stores.extend(self.teacher.iter().map(|t| (TEACHER, &t.model().store)));
        stores
    }
}
