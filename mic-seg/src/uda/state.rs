//! What a method carries from one step to the next, besides the optimiser: the tensors of all its
//! networks. The steps themselves are numbered by the caller, and teachers have no other counter.

use std::collections::{HashMap, HashSet};

use candle_core::Tensor;
use mic_nn::params::Store;

use crate::{Error, Result};

/// The student's prefix in a state, as in the published checkpoints.
pub const STUDENT: &str = "model.";
/// The prefix of the method's teacher, as in the published checkpoints.
pub const TEACHER: &str = "ema_model.";
/// The prefix of a teacher of masked consistency alone.
pub const MASK_TEACHER: &str = "mic_teacher.";
/// The prefix of a discriminator, as in the published checkpoints.
pub const DISCRIMINATOR: &str = "model_D.";

const PREFIXES: [&str; 4] = [STUDENT, TEACHER, MASK_TEACHER, DISCRIMINATOR];

/// Parameters and buffers of every store, in order, behind its prefix. They share storage with
/// the networks.
pub(super) fn collect(stores: &[(&'static str, &Store)]) -> Vec<(String, Tensor)> {
    let named = |&(prefix, store): &(&str, &Store)| {
        let rename = |(name, tensor)| (format!("{prefix}{name}"), tensor);
        store.state().into_iter().map(rename).collect::<Vec<_>>()
    };
    stores.iter().flat_map(named).collect()
}

/// Copies a state into the stores. Names without one of the known prefixes are someone else's.
///
/// # Errors
/// A state that lacks a tensor, has one of another shape, or has one of a network that there is
/// not: names it. Nothing is changed then.
pub(super) fn restore(
    stores: &[(&'static str, &Store)],
    state: &HashMap<String, Tensor>,
) -> Result<()> {
    let own = collect(stores);
    for (name, tensor) in &own {
        let Some(saved) = state.get(name) else {
            return refuse(format!("it lacks {name}"));
        };
        if saved.dims() != tensor.dims() {
            let (saved, own) = (saved.dims(), tensor.dims());
            return refuse(format!(
                "{name} has shape {saved:?}, the network's has {own:?}"
            ));
        }
    }
    let known: HashSet<&str> = own.iter().map(|(name, _)| name.as_str()).collect();
    let strange = |name: &&String| {
        PREFIXES.iter().any(|p| name.starts_with(p)) && !known.contains(name.as_str())
    };
    if let Some(name) = state.keys().filter(strange).min() {
        return refuse(format!("the method has no {name}"));
    }
    for (prefix, store) in stores {
        let below = |(name, tensor): (&String, &Tensor)| {
            Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()))
        };
        store.load(&state.iter().filter_map(below).collect())?;
    }
    Ok(())
}

fn refuse<T>(what: String) -> Result<T> {
    Err(Error::Run(format!(
        "the saved state does not fit the method: {what}; continue with the configuration that the \
         run was started with"
    )))
}
