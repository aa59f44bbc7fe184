//! Weights in files: PyTorch checkpoints and safetensors, read without executing anything.
//!
//! [`load`] reads a file by its content, whatever its name ends in:
//!
//! - safetensors;
//! - what `torch.save` writes, since version 1.6 (a zip archive) and before (pickles and storages
//!   one after the other), of pickle protocols 0 to 5;
//! - bare pickles of numpy arrays, Python 2's included.
//!
//! A pickle is a program for building objects. Here it only ever builds data: calls of the few
//! constructors that make up a state dictionary (tensors, parameters, ordered dictionaries, numpy
//! arrays) have a meaning, all others become opaque values that are skipped, and a file that calls
//! for programs to be run is refused. No declared size is trusted, and nothing is recursive.
//!
//! Tensors are read one by one when they are asked for. [`Weights`] are renamed, split and joined
//! ([`Rename`]) before that, and [`Store::load_weights`](crate::params::Store::load_weights) fills
//! a model and reports what matched. [`save`] and [`save_torch`] write files that PyTorch's loaders
//! accept as they are.

mod checkpoint;
mod construct;
mod element;
mod error;
mod input;
mod pickle;
mod pickled;
mod rename;
mod report;
mod safetensors;
mod save;
mod save_torch;
mod set;
mod sniff;
mod stored;
pub mod tables;
mod torch;
mod value;

use std::path::Path;

pub use checkpoint::Checkpoint;
pub use error::{Error, Result};
pub use pickled::Pickled;
pub use rename::Rename;
pub use report::{LoadReport, Reshaped};
pub use save::save;
pub use save_torch::save_torch;
pub use set::Weights;

/// The model's tensors in a file; see [`Checkpoint::weights`] for how they are found.
///
/// # Errors
/// A file that cannot be opened, is damaged or is something else; one with several models or none.
pub fn load(path: &Path) -> Result<Weights> {
    let weights = Checkpoint::open(path)?.weights()?;
    tracing::debug!(file = %path.display(), tensors = weights.len(), "weights found");
    Ok(weights)
}
