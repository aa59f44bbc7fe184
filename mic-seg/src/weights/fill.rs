//! Filling networks from weights files, and what was found.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use mic_nn::models::vit;
use mic_nn::params::{LoadReport, Store};
use mic_nn::weights::Reshaped;

use super::{Form, Found, run};
use crate::model::{BackboneConfig, SegmentorConfig};
use crate::{Error, Result};

/// What is to be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Backbone and head.
    Network,
    /// The backbone alone; what a file has besides is ignored.
    Backbone,
}

/// What happens to tensors that the file lacks, that it has besides, or that are of another shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unmatched {
    /// They are an error.
    #[default]
    Refuse,
    /// They stay as they were. At least one tensor has to match.
    Allow,
}

/// What a file has given to a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The file.
    pub path: PathBuf,
    /// What kind of file it is.
    pub form: Form,
    /// Tensors that matched, were missing and were not expected.
    pub report: LoadReport,
    /// Other networks in the file, with the number of their tensors.
    pub left_out: BTreeMap<String, usize>,
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}): {}",
            self.path.display(),
            self.form,
            self.report
        )?;
        let names = self.left_out.iter();
        let names: Vec<String> = names
            .map(|(name, count)| format!("{name}: {count}"))
            .collect();
        match names.as_slice() {
            [] => Ok(()),
            names => write!(f, "; left out are {}", names.join(", ")),
        }
    }
}

const BACKBONE: &str = "backbone.";
/// Parameters of classifiers by the ends of their names; their first size is the number of classes.
const CLASSIFIERS: [&str; 3] = [".conv_seg.", ".linear_pred.", ".aspp_modules."];

impl Found {
    /// Copies the tensors into a network of this shape in `store`, and tells about it in the log.
    ///
    /// # Errors
    /// Unless they are allowed, tensors that do not match; none that match; a tensor that cannot be
    /// read. Names the file and the tensors, and how to mend it.
    pub fn fill(
        &self,
        model: &SegmentorConfig,
        store: &Store,
        part: Part,
        unmatched: Unmatched,
    ) -> Result<Loaded> {
        let weights = match part {
            Part::Network => self.weights.clone(),
            Part::Backbone => {
                let all = self.weights.clone();
                all.retain(|name| name.starts_with(BACKBONE))
            }
        };
        let mut report = match &model.backbone {
            // Position embeddings may be those of images of another size.
            BackboneConfig::Vit(config) => {
                vit::load(&config.vit, store, "backbone", &weights, None)
            }
            _ => store.load_weights(&weights),
        }
        .map_err(run)?;
        report.missing.retain(|name| match part {
            Part::Network => !(self.form.lacks_unused_classifier() && unused(name)),
            Part::Backbone => name.starts_with(BACKBONE),
        });
        let loaded = Loaded {
            path: self.path.clone(),
            form: self.form,
            left_out: self.left_out.clone(),
            report,
        };
        if loaded.report.matched == 0 || (unmatched == Unmatched::Refuse && !loaded.report.exact())
        {
            let hint = loaded.hint();
            return Err(Error::Run(format!(
                "{loaded}; this does not fit the network of the configuration: {hint}"
            )));
        }
        tracing::info!("{loaded}");
        Ok(loaded)
    }
}

/// Whether it is of the classifier that SegFormer's head never uses.
fn unused(name: &str) -> bool {
    name.starts_with("decode_head.") && name.contains("conv_seg.")
}

impl Loaded {
    /// How to mend a misfit.
    fn hint(&self) -> String {
        let report = &self.report;
        let hrda = |names: &[String]| names.iter().any(|n| n.starts_with("decode_head.head."));
        if hrda(&report.unexpected) {
            return "the file's network is of two resolutions; set [model.hrda]".into();
        }
        if hrda(&report.missing) {
            return "the file's network is of one resolution; remove [model.hrda]".into();
        }
        let classes: Option<Vec<_>> = report.reshaped.iter().map(classes).collect();
        if let Some((file, model)) = classes.and_then(|all| all.first().copied()) {
            return format!(
                "its classifier has {file} classes, the configuration {model}; give data.classes \
                 those of the file, or train from it without its head: --init-from {} \
                 --without-head",
                self.path.display()
            );
        }
        let head = |name: &String| name.starts_with("decode_head.");
        if !report.missing.is_empty() && report.missing.iter().all(head) {
            return format!(
                "the file lacks the head; to start from its backbone alone set model.pretrained = \
                 {:?}, or check model.head, model.fusion and model.head_channels",
                self.path.display().to_string()
            );
        }
        "check model.backbone, model.head and model.head_channels".into()
    }
}

/// The numbers of classes of a classifier's weight or bias that differs in nothing else.
fn classes(tensor: &Reshaped) -> Option<(usize, usize)> {
    let (file, model) = (tensor.file.split_first()?, tensor.model.split_first()?);
    let fusion = tensor.name.contains(".fuse_layer.");
    let named = !fusion && CLASSIFIERS.iter().any(|part| tensor.name.contains(part));
    (named && file.1 == model.1 && file.0 != model.0).then_some((*file.0, *model.0))
}
