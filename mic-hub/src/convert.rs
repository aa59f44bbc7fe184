//! From the names that others gave their tensors to ours.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use mic_nn::models::mit::{Mit, MitConfig};
use mic_nn::models::resnet::{ResNet, ResNetConfig, detectron_names};
use mic_nn::models::vit::{Vit, VitConfig, VitSize};
use mic_nn::params::{LoadReport, Store};
use mic_nn::weights::{self, Checkpoint, Rename, Weights, tables};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Deserialize;

use crate::{Error, Result};

/// The network that a file's weights are for, and with it the names that they have in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// Mix Transformer of `transformers` or of SegFormer's authors.
    MitB0,
    /// The same.
    MitB1,
    /// The same.
    MitB2,
    /// The same.
    MitB3,
    /// The same.
    MitB4,
    /// The same.
    MitB5,
    /// ResNet-50 of torchvision or timm.
    Resnet50,
    /// ResNet-101 of torchvision or timm.
    Resnet101,
    /// ResNet-101 with a deep stem, of MMSegmentation.
    Resnet101V1c,
    /// ResNet-50 of Detectron.
    Resnet50Detectron,
    /// ViT-B/16 of timm.
    VitBase,
    /// ViT-B/16 as masked autoencoders are fine-tuned.
    MaeBase,
    /// DINOv2 of timm or of its authors, ViT-S/14.
    Dinov2Small,
    /// The same, ViT-B/14.
    Dinov2Base,
    /// The same, ViT-L/14.
    Dinov2Large,
    /// A whole segmentation or detection network, which our programs read as it is.
    Whole,
}

/// A network of the kind that a file is for, to compare names and shapes with.
enum Model {
    Mit(MitConfig),
    ResNet(ResNetConfig),
    Vit(VitConfig),
}

impl Network {
    fn model(self) -> candle_core::Result<Option<Model>> {
        let mit = |number| MitConfig::variant(number).map(Model::Mit);
        let dinov2 = |size| Ok(Model::Vit(VitConfig::dinov2(size, 0)));
        let model = match self {
            Self::MitB0 => mit(0),
            Self::MitB1 => mit(1),
            Self::MitB2 => mit(2),
            Self::MitB3 => mit(3),
            Self::MitB4 => mit(4),
            Self::MitB5 => mit(5),
            Self::Resnet50 => ResNetConfig::torchvision(50).map(Model::ResNet),
            Self::Resnet101 => ResNetConfig::torchvision(101).map(Model::ResNet),
            Self::Resnet101V1c => ResNetConfig::v1c(101).map(Model::ResNet),
            Self::Resnet50Detectron => ResNetConfig::detection(50).map(Model::ResNet),
            Self::VitBase => Ok(Model::Vit(VitConfig::variant(VitSize::Base))),
            Self::MaeBase => Ok(Model::Vit(VitConfig::mae(VitSize::Base))),
            Self::Dinov2Small => dinov2(VitSize::Small),
            Self::Dinov2Base => dinov2(VitSize::Base),
            Self::Dinov2Large => dinov2(VitSize::Large),
            Self::Whole => return Ok(None),
        };
        model.map(Some)
    }

    /// Whether our programs read the file as it is, so that there is nothing to convert.
    pub fn as_it_is(self) -> bool {
        self == Self::Whole
    }

    fn names(self, weights: &Weights) -> Rename {
        match self {
            Self::MitB0 | Self::MitB1 | Self::MitB2 | Self::MitB3 | Self::MitB4 | Self::MitB5
                if weights
                    .names()
                    .any(|name| name.contains("patch_embeddings.")) =>
            {
                tables::hugging_face_segformer()
            }
            Self::Resnet50Detectron => detectron_names(),
            Self::Dinov2Small | Self::Dinov2Base | Self::Dinov2Large => tables::dinov2(),
            _ => Rename::new(),
        }
    }
}

impl Model {
    /// Its tensors, as far as names and shapes go.
    fn store(&self) -> candle_core::Result<Store> {
        let rng = ChaCha8Rng::seed_from_u64(0);
        let store = Store::trainable(rng, DType::F32, &Device::Cpu);
        let root = store.root();
        match self {
            Self::Mit(config) => Mit::new(config, &root).map(drop)?,
            Self::ResNet(config) => ResNet::new(config, &root).map(drop)?,
            Self::Vit(config) => Vit::new(config, &root).map(drop)?,
        }
        Ok(store)
    }
}

/// Key of the converted file's metadata: SHA-256 of the file that it was made from.
const SOURCE: &str = "source_sha256";

/// Where weights come from, for the converted file's metadata.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// Repository or page.
    pub place: &'a str,
    /// Commit, where there is one.
    pub commit: &'a str,
    /// SHA-256 of the file.
    pub sha256: &'a str,
    /// Licence of the weights.
    pub licence: &'a str,
}

/// Whether `out` was made from a file of this SHA-256.
pub fn is_done(out: &Path, sha256: &str) -> bool {
    let Ok(file) = Checkpoint::open(out) else {
        return false;
    };
    file.metadata().get(SOURCE).map(String::as_str) == Some(sha256)
}

/// Writes the weights of `file` to the safetensors file `out` under our names, and reports what
/// matched. Tensors that the network has no place for, such as a classifier's, are kept: programs
/// take what they need.
///
/// # Errors
/// A file that cannot be read; tensors of the network that it lacks or has in other shapes: names
/// them, and nothing is written. A folder that cannot be written.
pub fn convert(network: Network, file: &Path, out: &Path, source: &Source) -> Result<LoadReport> {
    let model = network.model().map_err(|error| weights_error(&error))?;
    let model = model.ok_or_else(|| {
        Error::Usage(format!(
            "{} is read as it is; there is nothing to convert",
            file.display()
        ))
    })?;
    let theirs = weights::load(file).map_err(|error| weights_error(&error))?;
    let ours = theirs.rename(&network.names(&theirs));
    let ours = ours.map_err(|error| weights_error(&error))?;
    let store = model.store().map_err(|error| weights_error(&error))?;
    let report = store.load_weights(&ours);
    let mut report = report.map_err(|error| weights_error(&error))?;
    if network == Network::Resnet50Detectron {
        // Folded into weight and bias in such files.
        report
            .missing
            .retain(|name| !name.ends_with("running_mean") && !name.ends_with("running_var"));
    }
    if !report.complete() {
        return Err(Error::Weights(format!(
            "{} does not fit the network that it is listed for ({network:?}): {report}; nothing was \
             written. Is it the right file?",
            file.display()
        )));
    }
    drop(store);
    let tensors: Vec<(String, Tensor)> = ours
        .iter()
        .collect::<weights::Result<_>>()
        .map_err(|error| weights_error(&error))?;
    if let Some(folder) = out.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    let entries = [
        ("source", source.place),
        ("source_commit", source.commit),
        (SOURCE, source.sha256),
        ("licence", source.licence),
    ];
    let metadata: HashMap<String, String> = entries
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    weights::save(out, &tensors, &metadata).map_err(|error| weights_error(&error))?;
    Ok(report)
}

fn weights_error(error: &dyn std::error::Error) -> Error {
    Error::Weights(mic_run::cli::message(error))
}

/// What of a [`LoadReport`] a person wants to know, one list a line.
pub fn report_text(report: &LoadReport) -> String {
    let list = |names: &[String]| match names.len() {
        0 => "none".to_owned(),
        count if count <= 6 => names.join(", "),
        count => format!("{}, and {} more", names[..6].join(", "), count - 6),
    };
    format!(
        "  matched: {} tensors\n  missing: {}\n  unexpected (kept): {}\n",
        report.matched,
        list(&report.missing),
        list(&report.unexpected)
    )
}
