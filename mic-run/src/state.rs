//! What a method carries from one step to the next, as named tensors, and back: its networks behind a
//! prefix each, and whatever else it has.

use std::collections::{HashMap, HashSet};

use candle_core::Tensor;
use mic_nn::params::Store;

use crate::{Error, Result};

/// Networks with the prefixes of their tensors' names.
pub type Networks<'a> = [(&'static str, &'a Store)];

/// Parameters and buffers of every network, in order, behind its prefix. They share storage with the
/// networks.
pub fn collect(networks: &Networks<'_>) -> Vec<(String, Tensor)> {
    let named = |&(prefix, store): &(&str, &Store)| prefixed(prefix, store.state());
    networks.iter().flat_map(named).collect()
}

/// Puts `prefix` before all names.
pub fn prefixed(prefix: &str, tensors: Vec<(String, Tensor)>) -> Vec<(String, Tensor)> {
    let rename = |(name, tensor)| (format!("{prefix}{name}"), tensor);
    tensors.into_iter().map(rename).collect()
}

/// The tensors whose names begin with `prefix`, without it.
pub fn below(saved: &HashMap<String, Tensor>, prefix: &str) -> HashMap<String, Tensor> {
    let strip = |(name, tensor): (&String, &Tensor)| {
        Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()))
    };
    saved.iter().filter_map(strip).collect()
}

/// Checks that `saved` has every tensor of `own` in its shape, and that names that begin with one of
/// `prefixes` are among `own`; names with other beginnings are someone else's.
///
/// # Errors
/// Names the tensor.
pub fn check(
    own: &[(String, Tensor)],
    saved: &HashMap<String, Tensor>,
    prefixes: &[&str],
) -> Result<()> {
    for (name, tensor) in own {
        let Some(saved) = saved.get(name) else {
            return Err(misfit(format!("it lacks {name}")));
        };
        if saved.dims() != tensor.dims() {
            let (saved, own) = (saved.dims(), tensor.dims());
            return Err(misfit(format!(
                "{name} has shape {saved:?}, the method's has {own:?}"
            )));
        }
    }
    let known: HashSet<&str> = own.iter().map(|(name, _)| name.as_str()).collect();
    let strange = |name: &&String| {
        prefixes.iter().any(|p| name.starts_with(p)) && !known.contains(name.as_str())
    };
    match saved.keys().filter(strange).min() {
        Some(name) => Err(misfit(format!("the method has no {name}"))),
        None => Ok(()),
    }
}

/// Copies the tensors behind each network's prefix into it.
///
/// # Errors
/// If a value cannot be written.
pub fn load(networks: &Networks<'_>, saved: &HashMap<String, Tensor>) -> Result<()> {
    for (prefix, store) in networks {
        store.load(&below(saved, prefix))?;
    }
    Ok(())
}

/// The error of a saved state that is another method's.
pub fn misfit(what: impl std::fmt::Display) -> Error {
    Error::Run(format!(
        "the saved state does not fit the method: {what}; continue with the configuration that the \
         run was started with"
    ))
}
