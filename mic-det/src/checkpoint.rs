//! Weights in the checkpoints of this program.

use std::borrow::Cow;
use std::path::Path;

use mic_nn::models::resnet::{Stem, detectron_names};
use mic_nn::params::LoadReport;
use mic_nn::weights::{self, Checkpoint, Rename, Weights};

use crate::detector::Model;
use crate::uda::{OPTIMIZER, STUDENT, TEACHER};
use crate::{Error, Result};

/// The weights file that a path stands for: a run folder's last checkpoint, the file in a
/// checkpoint's folder, or the path itself.
fn file_of(path: &Path) -> Cow<'_, Path> {
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
    Ok(Checkpoint::open(&file_of(path))?
        .metadata()
        .get("config")
        .cloned())
}

/// Fills the network with the student of a checkpoint.
///
/// # Errors
/// A file that cannot be read, or that lacks a tensor of the network or has another shape for it.
pub fn load_student(model: &Model, path: &Path) -> Result<LoadReport> {
    let others = [TEACHER, OPTIMIZER];
    let weights = weights::load(&file_of(path))?;
    let student = weights.retain(|name| !others.iter().any(|prefix| name.starts_with(prefix)));
    fill(model, student.strip(STUDENT), path)
}

/// Fills the network with the teacher of a checkpoint.
///
/// # Errors
/// Those of [`load_student`]; a checkpoint without a teacher.
pub fn load_teacher(model: &Model, path: &Path) -> Result<LoadReport> {
    let teacher = weights::load(&file_of(path))?.below(TEACHER);
    if teacher.is_empty() {
        return Err(Error::Run(format!(
            "{} has no teacher ({TEACHER}*): it was trained without masked images",
            path.display()
        )));
    }
    fill(model, teacher, path)
}

/// Domain heads serve training alone: a file without them fits.
fn fill(model: &Model, weights: Weights, path: &Path) -> Result<LoadReport> {
    let report = model.store.load_weights(&weights)?;
    let needed = |name: &String| !name.starts_with("da_heads.");
    let fits = report.reshaped.iter().all(|tensor| !needed(&tensor.name))
        && !report.missing.iter().any(needed);
    if fits && report.matched > 0 {
        return Ok(report);
    }
    Err(Error::Run(format!(
        "{} does not fit the model: {report}; check model and the classes",
        path.display()
    )))
}

/// Fills the ResNet with the weights of a classifier: Detectron's or torchvision's names.
///
/// # Errors
/// A file that cannot be read, or that lacks a tensor of the ResNet: names it. A frozen norm may do
/// without statistics.
pub fn load_backbone(model: &Model, path: &Path) -> Result<LoadReport> {
    let file = weights::load(path)?;
    let has = |start: &str| file.names().any(|name| name.starts_with(start));
    let (detectron, plain) = (has("res2_0_branch"), has("conv1."));
    let weights = match model.net.config().body.stem {
        _ if detectron => file.rename(&detectron_names())?,
        Stem::Prefixed if plain => {
            let table = Rename::new()
                .to("conv1.*", "stem.conv1.*")
                .to("bn1.*", "stem.bn1.*");
            file.rename(&table)?
        }
        _ => file,
    };
    let body = "backbone.body.";
    let report = model.store.load_weights(&weights.prefixed(body))?;
    let statistics = |name: &str| name.ends_with("running_mean") || name.ends_with("running_var");
    let ours = |name: &String| name.starts_with(body);
    let fits = report.reshaped.iter().all(|tensor| !ours(&tensor.name))
        && !report
            .missing
            .iter()
            .any(|name| ours(name) && !statistics(name));
    if fits && report.matched > 0 {
        return Ok(report);
    }
    Err(Error::Run(format!(
        "{} does not fit the backbone: {report}; check model.backbone and model.body",
        path.display()
    )))
}
