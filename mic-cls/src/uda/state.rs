//! What a method carries from one step to the next: networks, optimisers and the counter of the
//! gradient reversal. The steps themselves are numbered by the caller.

use std::collections::{HashMap, HashSet};

use candle_core::{DType, Device, Tensor};
use mic_nn::optim::Optimizer;
use mic_nn::params::Store;

use super::Adaptation;
use crate::model::Conditioning;
use crate::{Error, Result};

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

const OURS: [&str; 7] = [
    STUDENT,
    TEACHER,
    DISCRIMINATOR,
    OPTIMIZER,
    OPTIMIZER_OF_DISCRIMINATOR,
    CONDITIONING,
    REVERSALS,
];

impl Adaptation {
    /// Everything that changes over steps, by name. Networks share their storage with it: write or
    /// copy it before the next step.
    ///
    /// # Errors
    /// When a momentum cannot be copied.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut state = self.fixed()?;
        state.extend(prefixed(OPTIMIZER, self.sgd.state()?));
        if let Some(adversary) = &self.adversary {
            state.extend(prefixed(OPTIMIZER_OF_DISCRIMINATOR, adversary.sgd.state()?));
        }
        Ok(state)
    }

    /// Continues from a [`state`](Self::state): the following steps, with the same numbers and
    /// draws, are those of the method that it was taken from, bit for bit. Names without one of the
    /// prefixes of this module are someone else's.
    ///
    /// # Errors
    /// A state that lacks a tensor, has one of another shape, or has one that the method has no use
    /// for: names it. Networks are unchanged then.
    pub fn restore(&mut self, saved: &HashMap<String, Tensor>) -> Result<()> {
        let own = self.fixed()?;
        for (name, tensor) in &own {
            let Some(saved) = saved.get(name) else {
                return refuse(format!("it lacks {name}"));
            };
            if saved.dims() != tensor.dims() {
                return refuse(format!(
                    "{name} has shape {:?}, the method's has {:?}",
                    saved.dims(),
                    tensor.dims()
                ));
            }
        }
        self.check_known(saved, own.iter().map(|(name, _)| name.as_str()))?;
        let fits = |result: candle_core::Result<()>| match result {
            Ok(()) => Ok(()),
            Err(error) => refuse(error.to_string()),
        };
        fits(self.sgd.load_state(&below(saved, OPTIMIZER)))?;
        if let Some(adversary) = &mut self.adversary {
            let momentum = below(saved, OPTIMIZER_OF_DISCRIMINATOR);
            fits(adversary.sgd.load_state(&momentum))?;
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
        for (prefix, store) in self.stores() {
            store.load(&below(saved, prefix))?;
        }
        Ok(())
    }

    /// Names with one of our prefixes have to be ours.
    fn check_known<'a>(
        &self,
        saved: &HashMap<String, Tensor>,
        own: impl Iterator<Item = &'a str>,
    ) -> Result<()> {
        let own: HashSet<&str> = own.collect();
        let momentum_of = |name: &str| match &self.adversary {
            Some(_) => name.starts_with(OPTIMIZER) || name.starts_with(OPTIMIZER_OF_DISCRIMINATOR),
            None => name.starts_with(OPTIMIZER),
        };
        let strange = |name: &&String| {
            OURS.iter().any(|prefix| name.starts_with(prefix))
                && !own.contains(name.as_str())
                && !momentum_of(name)
        };
        match saved.keys().filter(strange).min() {
            Some(name) => refuse(format!("the method has no {name}")),
            None => Ok(()),
        }
    }

    fn stores(&self) -> Vec<(&'static str, &Store)> {
        let mut stores = vec![(STUDENT, &self.student.store)];
        stores.extend(self.teacher.iter().map(|t| (TEACHER, &t.network().store)));
        stores.extend(self.adversary.iter().map(|a| (DISCRIMINATOR, &a.store)));
        stores
    }

    /// All of the state that has the same names at every step.
    fn fixed(&self) -> Result<Vec<(String, Tensor)>> {
        let stores = self.stores().into_iter();
        let mut state: Vec<_> = stores
            .flat_map(|(prefix, store)| prefixed(prefix, store.state()))
            .collect();
        if let Some(adversary) = &self.adversary {
            let count = Tensor::new(adversary.reversals as i64, &Device::Cpu)?;
            state.push((REVERSALS.to_owned(), count));
            if let Conditioning::Randomized {
                features,
                predictions,
            } = &adversary.conditioning
            {
                let matrices = [("features", features), ("predictions", predictions)];
                state
                    .extend(matrices.map(|(name, m)| (format!("{CONDITIONING}{name}"), m.clone())));
            }
        }
        Ok(state)
    }
}

fn prefixed(prefix: &str, state: Vec<(String, Tensor)>) -> Vec<(String, Tensor)> {
    let rename = |(name, tensor)| (format!("{prefix}{name}"), tensor);
    state.into_iter().map(rename).collect()
}

fn below(state: &HashMap<String, Tensor>, prefix: &str) -> HashMap<String, Tensor> {
    let strip = |(name, tensor): (&String, &Tensor)| {
        Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()))
    };
    state.iter().filter_map(strip).collect()
}

fn refuse<T>(what: String) -> Result<T> {
    Err(Error::Run(format!(
        "the saved state does not fit the method: {what}; continue with the configuration that the \
         run was started with"
    )))
}
