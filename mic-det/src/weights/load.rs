//! Filling a detector from a file.

use std::fmt;
use std::path::Path;

use mic_nn::models::resnet::{BlockKind, NormKind};
use mic_nn::params::LoadReport;
use mic_nn::weights::{self, Weights};

use super::names::{BODY, Names};
use crate::conventions::Conventions;
use crate::detector::{DetectorConfig, Model};
use crate::{Error, Result};

/// What of a detector a file must fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The ResNet; whatever else the file has is left alone.
    Backbone,
    /// The ResNet, and of the rest what fits by name and shape: a start for other classes.
    Start,
    /// Everything that detection needs.
    Whole,
}

/// What a file filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Whose names the file has.
    pub names: Names,
    /// What matched, in our names.
    pub report: LoadReport,
    /// What the detector's configuration does otherwise than the file's authors, in words.
    pub doubts: Vec<String>,
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.names.describe(), self.report)?;
        for doubt in &self.doubts {
            write!(f, "; {doubt}")?;
        }
        Ok(())
    }
}

/// Fills `part` of the model from a file; see the [module](super) for what is read. Tensors that the
/// file lacks keep their values: of a ResNet without statistics, such as R-50.pkl, the frozen norm's
/// stay 0 and 1.
///
/// # Errors
/// A file that cannot be read, or of unknown names; a tensor of the part that the file lacks or has
/// in another shape: lists them.
pub fn load(model: &Model, path: &Path, part: Part) -> Result<Loaded> {
    load_from(model, weights::load(path)?, part)
}

/// The same from weights that were read already.
///
/// # Errors
/// Those of [`load`].
pub fn load_from(model: &Model, weights: Weights, part: Part) -> Result<Loaded> {
    let path = weights.path().display().to_string();
    let weights = unwrapped(weights);
    let config = model.net.config();
    let Some(names) = Names::of(&weights) else {
        let mut known: Vec<&str> = weights.names().take(3).collect();
        known.sort_unstable();
        return Err(Error::Run(format!(
            "{path} is no detector or ResNet of a known kind: its tensors have names such as {}; \
             expected those of Detectron, torchvision or maskrcnn-benchmark",
            known.join(", ")
        )));
    };
    let stem = weights
        .names()
        .any(|name| name.starts_with("backbone.body.stem."));
    let weights = names.translate(weights, config)?;
    let weights = match part {
        Part::Backbone => weights.retain(|name| name.starts_with(BODY)),
        Part::Start | Part::Whole => weights,
    };
    let report = model.store.load_weights(&weights)?;
    let loaded = Loaded {
        doubts: doubts(names, stem, config, &report),
        report,
        names,
    };
    let lacking = |name: &String| needed(name, part);
    let fits = !loaded.report.missing.iter().any(lacking)
        && !loaded.report.reshaped.iter().any(|r| lacking(&r.name));
    match fits && loaded.report.matched > 0 {
        true => Ok(loaded),
        false => Err(Error::Run(format!(
            "{path} does not fit the model ({loaded}); check model.backbone, model.body, \
             model.conventions and the classes"
        ))),
    }
}

/// Without what data parallelism and the teacher put before all names.
fn unwrapped(mut weights: Weights) -> Weights {
    for prefix in ["module.", "ema_model.", "module."] {
        if !weights.is_empty() && weights.names().all(|name| name.starts_with(prefix)) {
            weights = weights.strip(prefix);
        }
    }
    weights
}

/// Whether a tensor must be in the file. Domain heads serve training alone, anchors are known, and
/// a norm may do without statistics.
fn needed(name: &str, part: Part) -> bool {
    let statistic = name.ends_with("running_mean") || name.ends_with("running_var");
    let known = name.starts_with("rpn.anchor_generator.") || name.starts_with("da_heads.");
    match part {
        Part::Backbone | Part::Start => name.starts_with(BODY) && !statistic,
        Part::Whole => !known && !statistic,
    }
}

/// What the file's authors do otherwise. Of the same names, those with `stem` are not our own modern ones.
fn doubts(names: Names, stem: bool, config: &DetectorConfig, report: &LoadReport) -> Vec<String> {
    let mut doubts = Vec::new();
    let (body, modern) = (&config.body, config.conventions == Conventions::Modern);
    let (in_1x1, bottleneck) = (body.stride_in_1x1, body.block == BlockKind::Bottleneck);
    match names {
        Names::Detectron | Names::Reference if bottleneck && !in_1x1 => doubts.push(
            "its strides are in the 1x1 convolutions, the model's are not (model.body)".to_owned(),
        ),
        Names::Classifier | Names::Torchvision if in_1x1 => doubts.push(
            "its strides are in the 3x3 convolutions, the model's in the 1x1 (model.body)"
                .to_owned(),
        ),
        _ => {}
    }
    match names {
        Names::Torchvision if !modern => {
            doubts.push("it was trained with model.conventions = \"modern\"".to_owned());
        }
        Names::Reference if modern && stem => {
            doubts.push("it was trained with model.conventions = \"legacy\"".to_owned());
        }
        _ => {}
    }
    let without_statistics = report
        .missing
        .iter()
        .any(|name| name.starts_with(BODY) && name.ends_with("running_var"));
    if without_statistics && !matches!(body.norm, NormKind::Frozen { .. }) {
        doubts.push("it has no statistics, which suits a frozen norm only (model.norm)".to_owned());
    }
    doubts
}
