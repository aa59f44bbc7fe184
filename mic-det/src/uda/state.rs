//! What a method carries from one step to the next: networks and optimiser. The steps themselves
//! are numbered by the caller.

use std::collections::{HashMap, HashSet};

use candle_core::Tensor;
use mic_nn::optim::Optimizer;
use mic_nn::params::Store;

use super::Adaptation;
use crate::{Error, Result};

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
        let mut state = self.networks();
        state.extend(prefixed(OPTIMIZER, self.sgd.state()?));
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
        let own = self.networks();
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
        let own: HashSet<&str> = own.iter().map(|(name, _)| name.as_str()).collect();
        let strange = |name: &&String| {
            let networks = [STUDENT, TEACHER];
            networks.iter().any(|prefix| name.starts_with(prefix)) && !own.contains(name.as_str())
        };
        if let Some(name) = saved.keys().filter(strange).min() {
            return refuse(format!("the method has no {name}"));
        }
        let momentum = below(saved, OPTIMIZER);
        if let Err(error) = self.sgd.load_state(&momentum) {
            return refuse(error.to_string());
        }
        let reached = |name: &String| Some(name.strip_suffix(".momentum_buffer")?.to_owned());
        self.reached = momentum.keys().filter_map(reached).collect();
        for (prefix, store) in self.stores() {
            store.load(&below(saved, prefix))?;
        }
        Ok(())
    }

    fn stores(&self) -> Vec<(&'static str, &Store)> {
        let mut stores = vec![(STUDENT, &self.student.store)];
        stores.extend(self.teacher.iter().map(|t| (TEACHER, &t.model().store)));
        stores
    }

    fn networks(&self) -> Vec<(String, Tensor)> {
        let stores = self.stores().into_iter();
        stores
            .flat_map(|(prefix, store)| prefixed(prefix, store.state()))
            .collect()
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
