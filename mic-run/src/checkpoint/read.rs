//! Finding and reading checkpoints.

use std::fs;
use std::path::{Path, PathBuf};

use super::write::checksum;
use super::{Content, Manifest, STATE, TRAINING, WEIGHTS, step_of};
use crate::{Error, Result};

/// A checkpoint whose files have been found whole.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    path: PathBuf,
    manifest: Manifest,
}

impl Checkpoint {
    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its tensors.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn content(&self) -> Result<Content> {
        let tensors = |name: &str| {
            let read = || {
                let file = mic_nn::weights::Checkpoint::open(&self.path.join(name))?;
                match file.dictionaries().as_slice() {
                    [(_, 0)] | [] => Ok(Vec::new()),
                    // By its place, so that no name in it is taken for a wrapper's.
                    _ => file.weights_at("")?.iter().collect(),
                }
            };
            read().map_err(|error: mic_nn::weights::Error| Error::Run(error.to_string()))
        };
        Ok(Content {
            weights: tensors(WEIGHTS)?,
            training: tensors(TRAINING)?,
        })
    }
}

/// Reads a checkpoint's manifest and checks all of its files against it.
///
/// # Errors
/// A folder that is no checkpoint, is damaged, or was written by another version.
pub fn open(path: &Path) -> Result<Checkpoint> {
    let state = path.join(STATE);
    let bytes = fs::read(&state).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::damaged(path, format!("it has no {STATE}: it is no checkpoint"))
        }
        _ => Error::io(&state)(error),
    })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::damaged(&state, "it is no text: it is damaged"))?;
    let manifest = Manifest::unseal(&state, &text)?;
    let step = manifest.progress.step;
    if step_of(path).is_some_and(|named| named != step) {
        return Err(Error::damaged(
            path,
            format!("it holds step {step}: it was renamed or mixed up"),
        ));
    }
    for name in [WEIGHTS, TRAINING] {
        let entry = manifest.files.iter().find(|file| file.name == name);
        let entry = entry.ok_or_else(|| Error::damaged(&state, format!("{name} is not listed")))?;
        let path = path.join(name);
        let (bytes, crc32) = checksum(&path).map_err(Error::io(&path))?;
        if bytes != entry.bytes {
            let reason = format!(
                "it has {bytes} bytes instead of {}: it is damaged",
                entry.bytes
            );
            return Err(Error::damaged(&path, reason));
        }
        if crc32 != entry.crc32 {
            let reason = format!(
                "its checksum is {crc32:08x}, it should be {:08x}: it is damaged",
                entry.crc32
            );
            return Err(Error::damaged(&path, reason));
        }
    }
    Ok(Checkpoint {
        path: path.to_owned(),
        manifest,
    })
}

/// The checkpoints below `checkpoints`, whole or not, by ascending step. A missing folder has none.
///
/// # Errors
/// A folder that cannot be read.
pub fn find(checkpoints: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(checkpoints) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(checkpoints)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io(checkpoints))?.path();
        if let Some(step) = step_of(&path) {
            found.push((step, path));
        }
    }
    found.sort();
    Ok(found)
}

/// The newest checkpoint that is whole, and those that were passed over for it.
#[derive(Debug)]
pub struct Newest {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// Newer ones that cannot be used, with the reason of each.
    pub skipped: Vec<Error>,
}

/// The newest checkpoint below `checkpoints` that is whole; `None` where there is none at all.
///
/// # Errors
/// Checkpoints of which none is whole: gives each one's reason.
pub fn newest(checkpoints: &Path) -> Result<Option<Newest>> {
    let mut skipped = Vec::new();
    for (_, path) in find(checkpoints)?.into_iter().rev() {
        match open(&path) {
            Ok(checkpoint) => {
                return Ok(Some(Newest {
                    checkpoint,
                    skipped,
                }));
            }
            Err(error) => skipped.push(error),
        }
    }
    if skipped.is_empty() {
        return Ok(None);
    }
    let reasons: Vec<String> = skipped.iter().map(Error::to_string).collect();
    Err(Error::Run(format!(
        "no checkpoint below {} can be used: {}; start anew with --overwrite, or from other \
         weights with --init-from",
        checkpoints.display(),
        reasons.join("; ")
    )))
}

/// Step of the best evaluation that the checkpoint at `path` knows of.
pub(super) fn best_of(path: &Path) -> Option<u64> {
    let state = path.join(STATE);
    let text = fs::read_to_string(&state).ok()?;
    let manifest = Manifest::unseal(&state, &text).ok()?;
    manifest.progress.best.map(|best| best.step)
}
