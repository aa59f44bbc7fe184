//! The forms in which segmentation networks and their backbones are published, told by the names
//! of their tensors, and the tables from those names to ours.

use std::fmt;

use mic_nn::weights::{self, Rename, Weights, tables};

/// Where a weights file comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A checkpoint of a training run, of `mic-seg` or of MIC, HRDA and DAFormer, or the published
    /// part of one: the student stands below `model.`, beside or without other networks.
    Training,
    /// A segmentation network alone (MMSegmentation): `backbone.*`, `decode_head.*`.
    Segmentor,
    /// A segmentation network of SegFormer's authors: as [`Form::Segmentor`], the head's levels
    /// numbered from 1 and concatenated the last one first.
    SegformerAuthors,
    /// A segmentation network of the Hugging Face hub (nvidia/segformer-*).
    SegformerHub,
    /// MiT of the Hugging Face hub (nvidia/mit-*).
    MitHub,
    /// MiT of MMSegmentation 0.20 and later, with or without a head.
    MitMmsegmentation,
    /// A backbone alone: MiT of SegFormer's authors, a ResNet-V1c, a vision transformer of timm or
    /// DINOv2.
    Backbone,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Training => "a checkpoint of a training run",
            Self::Segmentor => "a segmentation network",
            Self::SegformerAuthors => "a SegFormer of its authors",
            Self::SegformerHub => "a SegFormer of the Hugging Face hub",
            Self::MitHub => "a MiT of the Hugging Face hub",
            Self::MitMmsegmentation => "a MiT of MMSegmentation",
            Self::Backbone => "a backbone",
        })
    }
}

/// The student's prefix in training checkpoints.
const STUDENT: &str = "model.";
/// What begins the names of a segmentation network.
const NETWORK: [&str; 2] = ["backbone.", "decode_head."];
/// What begins the names of a backbone alone.
const BACKBONES: [&str; 8] = [
    "patch_embed",
    "block1.",
    "stem.",
    "conv1.",
    "layer1.",
    "pos_embed",
    "cls_token",
    "blocks.",
];
/// Classifiers of images, and heads that only training uses.
const USELESS: [&str; 5] = [
    "head.",
    "fc.",
    "classifier.",
    "backbone.head.",
    "auxiliary_head.",
];

impl Form {
    /// The form of these tensors; `None` for those of some other network.
    pub(super) fn of(weights: &Weights) -> Option<Self> {
        let any = |prefix: &str| weights.names().any(|name| name.starts_with(prefix));
        let any_of = |prefixes: &[&str]| prefixes.iter().any(|prefix| any(prefix));
        let student = NETWORK.map(|part| format!("{STUDENT}{part}"));
        Some(if student.iter().any(|prefix| any(prefix)) {
            Self::Training
        } else if any_of(&["segformer.encoder.", "encoder.patch_embeddings."]) {
            match any("decode_head.") {
                true => Self::SegformerHub,
                false => Self::MitHub,
            }
        } else if any_of(&["layers.0.0.projection.", "backbone.layers.0.0.projection."]) {
            Self::MitMmsegmentation
        } else if any("decode_head.linear_c1.") {
            Self::SegformerAuthors
        } else if any_of(&NETWORK) {
            Self::Segmentor
        } else if any_of(&BACKBONES) {
            Self::Backbone
        } else {
            return None;
        })
    }

    /// The network's tensors under our names, `backbone.*` and `decode_head.*`; other networks and
    /// classifiers are left out.
    pub(super) fn network(self, weights: Weights) -> weights::Result<Weights> {
        let named = match self {
            Self::Training => {
                let student = weights.below(STUDENT);
                match Self::of(&student) {
                    Some(inner) if inner != Self::Training => inner.network(student)?,
                    _ => student,
                }
            }
            Self::Segmentor => weights,
            Self::SegformerAuthors => weights.rename(&authors_head())?,
            Self::SegformerHub => {
                let table = hub_head().then(tables::hugging_face_segformer());
                weights.rename(&table)?.rename(&into_backbone())?
            }
            Self::MitHub => weights
                .rename(&tables::hugging_face_segformer())?
                .rename(&into_backbone())?,
            Self::MitMmsegmentation => weights
                .strip("backbone.")
                .rename(&tables::mmsegmentation_mit())?
                .rename(&into_backbone())?,
            Self::Backbone => {
                let backbone = weights.retain(|name| !useless(name));
                backbone.rename(&tables::dinov2())?.prefixed("backbone.")
            }
        };
        Ok(named.retain(|name| !useless(name)))
    }

    /// Whether files of this form lack the classifier that SegFormer's head keeps and never uses.
    pub(super) fn lacks_unused_classifier(self) -> bool {
        matches!(self, Self::SegformerHub)
    }
}

fn useless(name: &str) -> bool {
    USELESS.iter().any(|prefix| name.starts_with(prefix))
}

/// MiT's names from the top to those below `backbone.`.
fn into_backbone() -> Rename {
    let parts = ["patch_embed{s}.*", "block{s}.*", "norm{s}.*"];
    let table = parts.iter().fold(Rename::new(), |table, part| {
        table.to(part, &format!("backbone.{part}"))
    });
    table.drop("head.*")
}

/// Number of levels that SegFormer's head concatenates, there the last one first.
const LEVELS: usize = 4;

/// The head of the Hugging Face hub's SegFormer.
fn hub_head() -> Rename {
    Rename::new()
        .to(
            "decode_head.linear_c.{s}.proj.*",
            "decode_head.linear_c.{s}.proj.*",
        )
        .reverse_inputs(
            "decode_head.linear_fuse.weight",
            "decode_head.linear_fuse.conv.weight",
            LEVELS,
        )
        .to("decode_head.batch_norm.*", "decode_head.linear_fuse.bn.*")
        .to("decode_head.classifier.*", "decode_head.linear_pred.*")
}

/// The head of SegFormer's authors.
fn authors_head() -> Rename {
    Rename::new()
        .to(
            "decode_head.linear_c{s}.proj.*",
            "decode_head.linear_c.{s-1}.proj.*",
        )
        .reverse_inputs(
            "decode_head.linear_fuse.conv.weight",
            "decode_head.linear_fuse.conv.weight",
            LEVELS,
        )
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::{Device, Tensor};

    use super::*;

    fn weights(names: &[&str]) -> Weights {
        let tensor = |name: &&str| {
            // The fusion of four levels has four inputs, numbered.
            let values = [0f32, 1.0, 2.0, 3.0];
            let tensor = Tensor::from_slice(&values, (1, 4), &Device::Cpu).unwrap();
            ((*name).to_owned(), tensor)
        };
        Weights::from(names.iter().map(tensor).collect::<HashMap<_, _>>())
    }

    fn renamed(names: &[&str]) -> (Form, Vec<String>) {
        let weights = weights(names);
        let form = Form::of(&weights).unwrap();
        let found = form.network(weights).unwrap();
        let mut names: Vec<String> = found.names().map(str::to_owned).collect();
        names.sort();
        (form, names)
    }

    #[test]
    fn every_form_is_known_by_its_names() {
        let ours = ["backbone.norm1.weight", "decode_head.conv_seg.bias"];
        for (form, theirs, ours) in [
            (
                Form::Training,
                vec![
                    "model.backbone.norm1.weight",
                    "model.decode_head.conv_seg.bias",
                    "ema_model.backbone.norm1.weight",
                    "imnet_model.backbone.norm1.weight",
                    "mic.teacher.ema_model.backbone.norm1.weight",
                    "model_D.main.conv1.weight",
                ],
                ours.to_vec(),
            ),
            (
                Form::Segmentor,
                vec![
                    "backbone.norm1.weight",
                    "decode_head.conv_seg.bias",
                    "auxiliary_head.conv_seg.bias",
                ],
                ours.to_vec(),
            ),
            (
                Form::SegformerAuthors,
                vec![
                    "backbone.norm1.weight",
                    "decode_head.linear_c1.proj.weight",
                    "decode_head.linear_c4.proj.bias",
                ],
                vec![
                    "backbone.norm1.weight",
                    "decode_head.linear_c.0.proj.weight",
                    "decode_head.linear_c.3.proj.bias",
                ],
            ),
            (
                Form::SegformerHub,
                vec![
                    "segformer.encoder.layer_norm.0.weight",
                    "decode_head.linear_c.0.proj.weight",
                    "decode_head.batch_norm.running_mean",
                    "decode_head.classifier.bias",
                ],
                vec![
                    "backbone.norm1.weight",
                    "decode_head.linear_c.0.proj.weight",
                    "decode_head.linear_fuse.bn.running_mean",
                    "decode_head.linear_pred.bias",
                ],
            ),
            (
                Form::MitHub,
                vec![
                    "segformer.encoder.patch_embeddings.2.proj.weight",
                    "classifier.weight",
                ],
                vec!["backbone.patch_embed3.proj.weight"],
            ),
            (
                Form::MitMmsegmentation,
                vec!["layers.0.0.projection.weight", "layers.3.2.bias"],
                vec!["backbone.norm4.bias", "backbone.patch_embed1.proj.weight"],
            ),
            (
                Form::Backbone,
                vec!["patch_embed1.proj.weight", "head.weight", "head.bias"],
                vec!["backbone.patch_embed1.proj.weight"],
            ),
            (
                Form::Backbone,
                vec!["stem.0.weight", "layer1.0.conv1.weight", "fc.weight"],
                vec!["backbone.layer1.0.conv1.weight", "backbone.stem.0.weight"],
            ),
            (
                Form::Backbone,
                vec!["pos_embed", "register_tokens", "mask_token"],
                vec!["backbone.pos_embed", "backbone.reg_token"],
            ),
        ] {
            let found = renamed(&theirs);
            assert_eq!(
                found,
                (form, ours.iter().map(|n| (*n).to_owned()).collect())
            );
        }
        assert_eq!(
            Form::of(&weights(&["roberta.embeddings", "lm_head.bias"])),
            None
        );
    }

    #[test]
    fn fusions_of_the_last_level_first_are_turned() {
        let fusion = "decode_head.linear_fuse.conv.weight";
        for (theirs, level) in [
            (
                "decode_head.linear_fuse.weight",
                "segformer.encoder.layer_norm.0.bias",
            ),
            (fusion, "decode_head.linear_c1.proj.bias"),
        ] {
            let weights = weights(&[theirs, level]);
            let found = Form::of(&weights).unwrap().network(weights).unwrap();
            let fused = found.tensor(fusion).unwrap().flatten_all().unwrap();
            assert_eq!(fused.to_vec1::<f32>().unwrap(), [3.0, 2.0, 1.0, 0.0]);
        }
        // MMSegmentation's own SegFormer, which DAFormer is built on, has our order.
        let found = renamed(&[fusion, "decode_head.linear_c.0.proj.bias"]);
        assert_eq!(found.0, Form::Segmentor);
    }
}
