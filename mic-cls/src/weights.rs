//! Weights of classifiers in files, under the names of the published checkpoints: a bare state dict
//! of the student.

use std::collections::HashMap;
use std::path::Path;

use candle_core::Tensor;
use mic_nn::models::vit;
use mic_nn::params::LoadReport;
use mic_nn::weights::{self, Weights};

use crate::model::{BackboneConfig, Network};
use crate::uda::{
    CONDITIONING, DISCRIMINATOR, OPTIMIZER, OPTIMIZER_OF_DISCRIMINATOR, REVERSALS, STUDENT, TEACHER,
};
use crate::{Error, Result};

/// Prefixes of tensors that are not the student's.
const OTHERS: [&str; 6] = [
    TEACHER,
    DISCRIMINATOR,
    OPTIMIZER,
    OPTIMIZER_OF_DISCRIMINATOR,
    CONDITIONING,
    REVERSALS,
];

/// The student's tensors of a weights file: a published checkpoint or one of this program.
///
/// # Errors
/// A missing, foreign or truncated file: names the file and the reason.
pub fn read(path: &Path) -> Result<Weights> {
    let weights = weights::load(path).map_err(run)?;
    let student = weights.retain(|name| !OTHERS.iter().any(|prefix| name.starts_with(prefix)));
    Ok(student.strip(STUDENT).strip("module."))
}

/// The teacher's tensors of a checkpoint of this program.
///
/// # Errors
/// Those of [`read`]; a file without a teacher.
pub fn read_teacher(path: &Path) -> Result<Weights> {
    let teacher = weights::load(path).map_err(run)?.below(TEACHER);
    if teacher.names().next().is_none() {
        return Err(Error::Run(format!(
            "{} has no teacher ({TEACHER}*): it was trained without masked images",
            path.display()
        )));
    }
    Ok(teacher)
}

/// The configuration (TOML) that a checkpoint was trained with; `None` in files of other programs.
///
/// # Errors
/// A file that cannot be read: names it.
pub fn read_config(path: &Path) -> Result<Option<String>> {
    let file = weights::Checkpoint::open(path).map_err(run)?;
    Ok(file.metadata().get("config").cloned())
}

/// Writes tensors and string metadata to a safetensors file, which is complete or absent.
///
/// # Errors
/// An unwritable folder or a full disk: names the file.
pub fn write(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: HashMap<String, String>,
) -> Result<()> {
    weights::save(path, tensors, &metadata).map_err(run)
}

/// Fills the backbone from a file with torchvision's or timm's names. The classifier of a ViT is
/// left out, position embeddings of another image size are resized, and `fc` of a ResNet is taken
/// where the model keeps it.
///
/// # Errors
/// A file that cannot be read, or that lacks a tensor of the backbone: names them.
pub fn load_backbone(network: &Network, path: &Path) -> Result<LoadReport> {
    let weights = read(path)?.retain(|name| !name.starts_with("head."));
    let weights = weights.strip("backbone.").prefixed("backbone.");
    let store = &network.store;
    let report = match &network.config.backbone {
        BackboneConfig::Vit(config) => vit::load(config, store, "backbone", &weights, None),
        _ => store.load_weights(&weights),
    };
    let report = report.map_err(run)?;
    let ours = |name: &String| name.starts_with("backbone.") && !name.starts_with("backbone.fc.");
    let fits = report.reshaped.iter().all(|tensor| !ours(&tensor.name))
        && !report.missing.iter().any(ours);
    check(path, &report, fits, "model.backbone")?;
    Ok(report)
}

/// Fills the whole network from a checkpoint.
///
/// # Errors
/// A file that cannot be read, or that lacks a tensor of the network or has another shape for it.
pub fn load_all(network: &Network, path: &Path) -> Result<LoadReport> {
    let report = network.store.load_weights(&read(path)?).map_err(run)?;
    let fits = report.complete();
    check(path, &report, fits, "model and the classes")?;
    Ok(report)
}

/// Fills the whole network from the teacher of a checkpoint.
///
/// # Errors
/// Those of [`load_all`]; a checkpoint without a teacher.
pub fn load_teacher(network: &Network, path: &Path) -> Result<LoadReport> {
    let report = network.store.load_weights(&read_teacher(path)?);
    let report = report.map_err(run)?;
    check(path, &report, report.complete(), "model and the classes")?;
    Ok(report)
}

fn check(path: &Path, report: &LoadReport, fits: bool, keys: &str) -> Result<()> {
    if fits && report.matched > 0 {
        return Ok(());
    }
    Err(Error::Run(format!(
        "{} does not fit the model: {report}; check {keys}",
        path.display()
    )))
}

fn run(error: weights::Error) -> Error {
    match error {
        weights::Error::File { .. } => Error::Run(format!("cannot read weights from {error}")),
        other => Error::Run(other.to_string()),
    }
}
