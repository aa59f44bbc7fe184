//! Weights in the checkpoints of this program.

use std::borrow::Cow;
use std::path::Path;

use mic_nn::weights::{self, Checkpoint};

use crate::detector::Model;
use crate::uda::{OPTIMIZER, STUDENT, TEACHER};
use crate::weights::{Loaded, Part, load_from};
use crate::{Error, Result};

/// The weights file that a path stands for: a run folder's last checkpoint, the file in a
/// checkpoint's folder, or the path itself.
pub fn file_of(path: &Path) -> Cow<'_, Path> {
    if path.is_dir() {
        let names = [mic_run::folder::WEIGHTS, mic_run::checkpoint::WEIGHTS];
        let files = names.map(|name| path.join(name));
        if let Some(file) = files.into_iter().find(|file| file.is_file()) {
            return file.into();
        }
    }
    path.into()
}

/// The configuration (TOML) that a checkpoint was trained with; `None` in files of other programs.
///
/// # Errors
/// A file that cannot be read: names it.
pub fn read_config(path: &Path) -> Result<Option<String>> {
    let file = Checkpoint::open(&file_of(path))?;
    Ok(file.metadata().get("config").cloned())
}

/// Fills `part` of the network with the student of a checkpoint, or with a published detector.
///
/// # Errors
/// A file that cannot be read, or that lacks a tensor of the part or has another shape for it.
pub fn load_student(model: &Model, path: &Path, part: Part) -> Result<Loaded> {
    let others = [TEACHER, OPTIMIZER];
    let file = weights::load(&file_of(path))?;
    let own = file.names().any(|name| name.starts_with(STUDENT));
    let weights = match own {
        true => file.retain(|name| !others.iter().any(|prefix| name.starts_with(prefix))),
        false => file,
    };
    load_from(model, weights.strip(STUDENT), part)
}

/// Fills the network with the teacher of a checkpoint.
///
/// # Errors
/// Those of [`load_student`]; a checkpoint without a teacher.
pub fn load_teacher(model: &Model, path: &Path) -> Result<Loaded> {
    let teacher = weights::load(&file_of(path))?.below(TEACHER);
    if teacher.is_empty() {
        return Err(Error::Run(format!(
            "{} has no teacher ({TEACHER}*): it was trained without masked images",
            path.display()
        )));
    }
    load_from(model, teacher, Part::Whole)
}
