//! What a method carries from one step to the next: networks, optimisers and the counter of the
//! gradient reversal. The steps themselves are numbered by the caller.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use mic_nn::optim::Optimizer;
use mic_nn::params::Store;
use mic_run::state;

use super::Adaptation;
use crate::Result;
use crate::model::Conditioning;

/// The student's prefix in a state.
pub const STUDENT: &str = "model.";
/// The teacher's prefix.
pub const TEACHER: &str = "ema_model.";
/// The discriminator's prefix.
pub const DISCRIMINATOR: &str = "model_D.";
/// The prefix of the momentum of the student's parameters.
pub const OPTIMIZER: &str = "optimizer.model.";
/// The prefix of the momentum of the discriminator's parameters.
pub const OPTIMIZER_OF_DISCRIMINATOR: &str = "optimizer.model_D.";
/// The prefix of the fixed matrices of a randomised map.
pub const CONDITIONING: &str = "conditioning.";
/// How many coefficients of the gradient reversal have been used, I64.
pub const REVERSALS: &str = "reversal.steps";

impl Adaptation {
    /// Everything that changes over steps, by name. Networks share their storage with it: write or
    /// copy it before the next step.
    ///
    /// # Errors
    /// When a momentum cannot be copied.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut all = self.fixed()?;
        all.extend(state::prefixed(OPTIMIZER, self.sgd.state()?));
        if let Some(adversary) = &self.adversary {
            let momentum = adversary.sgd.state()?;
            all.extend(state::prefixed(OPTIMIZER_OF_DISCRIMINATOR, momentum));
        }
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
        // The optimisers check their momenta themselves; without a discriminator it has none.
        let mut ours = vec![STUDENT, TEACHER, DISCRIMINATOR, CONDITIONING, REVERSALS];
        if self.adversary.is_none() {
            ours.push(OPTIMIZER_OF_DISCRIMINATOR);
        }
        state::check(&self.fixed()?, saved, &ours)?;
        let momentum = state::below(saved, OPTIMIZER);
        self.sgd.load_state(&momentum).map_err(state::misfit)?;
        if let Some(adversary) = &mut self.adversary {
            let momentum = state::below(saved, OPTIMIZER_OF_DISCRIMINATOR);
            adversary.sgd.load_state(&momentum).map_err(state::misfit)?;
            if let Some(count) = saved.get(REVERSALS) {
                adversary.reversals = count.to_dtype(DType::I64)?.to_scalar::<i64>()? as u64;
            }
            if let Conditioning::Randomized {
                features,
                predictions,
            } = &mut adversary.conditioning
            {
                for (name, matrix) in [("features", features), ("predictions", predictions)] {
                    if let Some(saved) = saved.get(&format!("{CONDITIONING}{name}")) {
                        *matrix = saved.copy()?;
                    }
                }
            }
        }
        Ok(state::load(&self.stores(), saved)?)
    }

    fn stores(&self) -> Vec<(&'static str, &Store)> {
        let mut stores = vec![(STUDENT, &self.student.store)];
        stores.extend(self.teacher.iter().map(|t| (TEACHER, &t.network().store)));
        stores.extend(self.adversary.iter().map(|a| (DISCRIMINATOR, &a.store)));
        stores
    }

    /// All of the state that has the same names at every step.
    fn fixed(&self) -> Result<Vec<(String, Tensor)>> {
        let mut all = state::collect(&self.stores());
        if let Some(adversary) = &self.adversary {
            let count = Tensor::new(adversary.reversals as i64, &Device::Cpu)?;
            all.push((REVERSALS.to_owned(), count));
            if let Conditioning::Randomized {
                features,
                predictions,
            } = &adversary.conditioning
            {
                let matrices = [("features", features), ("predictions", predictions)];
                all.extend(matrices.map(|(name, m)| (format!("{CONDITIONING}{name}"), m.clone())));
            }
        }
        Ok(all)
    }
}
