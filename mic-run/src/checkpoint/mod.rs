//! Checkpoints: whole or not there, checked before use, in the order of their steps.
//!
//! A checkpoint is a folder `step-00001000` with
//!
//! - `weights.safetensors`: the networks, for evaluation, prediction and other programs;
//! - `training.safetensors`: what only training needs, such as the optimiser's moments;
//! - `state.json`: the [`Manifest`] with size and CRC-32 of the other two, itself under a CRC-32.
//!
//! It is written under another name, synchronised to the disk and renamed, so that a program that
//! is killed or a disk that is full leaves the older checkpoints as they were.

mod keep;
mod manifest;
mod read;
mod snapshot;
mod write;

use std::path::{Path, PathBuf};

pub use keep::{Keep, superseded};
pub use manifest::{Best, FileEntry, Manifest, Progress};
pub use read::{Checkpoint, Newest, find, newest, open};
pub use snapshot::{Content, Snapshot};
pub use write::{Writer, Written};

/// Name of the networks' file.
pub const WEIGHTS: &str = "weights.safetensors";
/// Name of the file with what only training needs.
pub const TRAINING: &str = "training.safetensors";
/// Name of the manifest.
pub const STATE: &str = "state.json";

const PREFIX: &str = "step-";
/// Begins the name of a checkpoint that is being written.
const PART: &str = ".part-";

/// The folder of the checkpoint after `step` steps, below `checkpoints`.
pub fn folder(checkpoints: &Path, step: u64) -> PathBuf {
    checkpoints.join(format!("{PREFIX}{step:08}"))
}

/// The step in a folder's name; `None` for other folders.
fn step_of(folder: &Path) -> Option<u64> {
    let name = folder.file_name()?.to_str()?;
    let digits = name.strip_prefix(PREFIX)?;
    let digit = |c: char| c.is_ascii_digit();
    (!digits.is_empty() && digits.chars().all(digit)).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests;
