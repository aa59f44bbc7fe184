//! The network's shape.

use std::path::PathBuf;

use super::check::{at_least_one, one_of, refuse, required, within};
use super::raw::{RawMit, RawModel};
use crate::Result;

/// The network.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The backbone.
    pub backbone: Backbone,
    /// Channels of the head and of its per-level embeddings, at least 1.
    pub head_channels: usize,
    /// Dilations of the head's separable ASPP, at least one, each at least 1.
    pub dilations: Vec<usize>,
    /// Channel dropout before the classifier, 0 to below 1.
    pub dropout: f64,
    /// Largest stochastic-depth rate of the backbone, 0 to below 1.
    pub drop_path: f64,
    /// Backbone weights to start from.
    pub pretrained: Option<PathBuf>,
}

/// A Mix Transformer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backbone {
    /// A published one, MiT-B0 to MiT-B5, by its number.
    Mit(u8),
    /// The small one for small images.
    Mini,
    /// One of a given shape.
    Custom(CustomMit),
}

/// Shape of a custom Mix Transformer; all lists have one entry a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomMit {
    /// Channels.
    pub embed_dims: Vec<usize>,
    /// Blocks.
    pub depths: Vec<usize>,
    /// Attention heads; they divide the channels.
    pub num_heads: Vec<usize>,
    /// Spatial reduction of the keys.
    pub sr_ratios: Vec<usize>,
    /// How pixels become tokens.
    pub stem: Stem,
}

/// How pixels become tokens; both have stride 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stem {
    /// One overlapping 7 x 7 convolution (the published one).
    Overlap,
    /// Two 3 x 3 convolutions of stride 2, for small images.
    Conv,
}

const STEMS: [(&str, Stem); 2] = [("overlap", Stem::Overlap), ("conv", Stem::Conv)];

impl ModelConfig {
    pub(super) fn check(raw: &RawModel) -> Result<Self> {
        let backbones = [
            ("mit_b0", Some(Backbone::Mit(0))),
            ("mit_b1", Some(Backbone::Mit(1))),
            ("mit_b2", Some(Backbone::Mit(2))),
            ("mit_b3", Some(Backbone::Mit(3))),
            ("mit_b4", Some(Backbone::Mit(4))),
            ("mit_b5", Some(Backbone::Mit(5))),
            ("mit_mini", Some(Backbone::Mini)),
            ("custom", None),
        ];
        let backbone = match one_of("model.backbone", &raw.backbone, &backbones)? {
            Some(published) => published,
            None => {
                let why = "model.backbone = \"custom\" needs the table with its widths and depths";
                Backbone::Custom(CustomMit::check(required(
                    "model.mit",
                    raw.mit.as_ref(),
                    why,
                )?)?)
            }
        };
        if raw.dilations.is_empty() || raw.dilations.contains(&0) {
            let expected = "at least one dilation, each at least 1";
            return refuse("model.dilations", format!("{:?}", raw.dilations), expected);
        }
        let below_one = "a number from 0 to below 1";
        Ok(Self {
            backbone,
            head_channels: at_least_one("model.head_channels", raw.head_channels as u64)? as usize,
            dilations: raw.dilations.clone(),
            dropout: within("model.dropout", raw.dropout, 0.0..1.0, below_one)?,
            drop_path: within("model.drop_path", raw.drop_path, 0.0..1.0, below_one)?,
            pretrained: raw.pretrained.as_ref().map(PathBuf::from),
        })
    }
}

impl CustomMit {
    fn check(raw: &RawMit) -> Result<Self> {
        let stages = raw.embed_dims.len();
        let lists = [
            ("model.mit.embed_dims", &raw.embed_dims),
            ("model.mit.depths", &raw.depths),
            ("model.mit.num_heads", &raw.num_heads),
            ("model.mit.sr_ratios", &raw.sr_ratios),
        ];
        for (key, list) in lists {
            if !(1..=4).contains(&list.len()) || list.len() != stages || list.contains(&0) {
                let expected = "one whole number of at least 1 for each stage, 1 to 4 stages, \
                                the same number of stages in all lists of model.mit";
                return refuse(key, format!("{list:?}"), expected);
            }
        }
        let mut heads = raw.embed_dims.iter().zip(&raw.num_heads);
        if let Some((channels, heads)) = heads.find(|(c, h)| *c % *h != 0) {
            let expected = format!("divisors of the stages' channels ({channels} is not)");
            return refuse("model.mit.num_heads", heads, expected);
        }
        let stem = one_of("model.mit.stem", &raw.stem, &STEMS)?;
        if stem == Stem::Conv && !raw.embed_dims[0].is_multiple_of(3) {
            let expected = "a multiple of 3 for the first stage, as the conv stem's inner layer \
                            has 2/3 of its channels";
            let found = format!("{:?}", raw.embed_dims);
            return refuse("model.mit.embed_dims", found, expected);
        }
        Ok(Self {
            embed_dims: raw.embed_dims.clone(),
            depths: raw.depths.clone(),
            num_heads: raw.num_heads.clone(),
            sr_ratios: raw.sr_ratios.clone(),
            stem,
        })
    }
}
