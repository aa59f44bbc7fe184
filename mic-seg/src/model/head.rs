//! The decode heads under one name.

use candle_core::{Result, Tensor};
use mic_nn::forward::Forward;
use mic_nn::ops;
use mic_nn::params::Scope;

use super::{
    DaformerHead, DaformerHeadConfig, DeeplabHead, DeeplabHeadConfig, LayerConfig, LinearHead,
    LinearHeadConfig, SegformerHead, SegformerHeadConfig,
};

/// Which head, and its shape.
#[derive(Clone, Debug, PartialEq)]
pub enum HeadConfig {
    /// DAFormer's.
    Daformer(DaformerHeadConfig),
    /// SegFormer's.
    Segformer(SegformerHeadConfig),
    /// DeepLabV2's.
    Deeplab(DeeplabHeadConfig),
    /// Batch norm and a 1x1 convolution.
    Linear(LinearHeadConfig),
}

impl HeadConfig {
    /// Number of classes.
    pub fn classes(&self) -> usize {
        match self {
            Self::Daformer(head) => head.classes,
            Self::Segformer(head) => head.classes,
            Self::Deeplab(head) => head.classes,
            Self::Linear(head) => head.classes,
        }
    }

    /// Whether the logits have the size of the backbone's last level; else they have the first's.
    pub fn on_last_level(&self) -> bool {
        matches!(self, Self::Deeplab(_))
    }

    /// The head of HRDA's scale attention, with `outputs` maps: the same kind, but DAFormer's has
    /// `channels` channels and fuses with a 1x1 convolution (HRDA, sec. 3.3).
    pub fn attention(&self, outputs: usize, channels: usize) -> Self {
        let mut head = self.clone();
        match &mut head {
            Self::Daformer(head) => {
                head.classes = outputs;
                head.embed = channels;
                head.channels = channels;
                head.fusion = LayerConfig::Conv { kernel: 1 };
            }
            Self::Segformer(head) => head.classes = outputs,
            Self::Deeplab(head) => head.classes = outputs,
            Self::Linear(head) => head.classes = outputs,
        }
        head
    }
}

impl From<DaformerHeadConfig> for HeadConfig {
    fn from(head: DaformerHeadConfig) -> Self {
        Self::Daformer(head)
    }
}

impl From<SegformerHeadConfig> for HeadConfig {
    fn from(head: SegformerHeadConfig) -> Self {
        Self::Segformer(head)
    }
}

impl From<DeeplabHeadConfig> for HeadConfig {
    fn from(head: DeeplabHeadConfig) -> Self {
        Self::Deeplab(head)
    }
}

impl From<LinearHeadConfig> for HeadConfig {
    fn from(head: LinearHeadConfig) -> Self {
        Self::Linear(head)
    }
}

/// A built head.
#[allow(clippy::large_enum_variant)] // one a network: its size is nothing beside its tensors
pub enum Head {
    /// DAFormer's.
    Daformer(DaformerHead),
    /// SegFormer's.
    Segformer(SegformerHead),
    /// DeepLabV2's.
    Deeplab(DeeplabHead),
    /// Batch norm and a 1x1 convolution.
    Linear(LinearHead),
}

impl Head {
    /// Declares the head's parameters below `scope`.
    pub fn new(config: &HeadConfig, scope: &Scope) -> Result<Self> {
        Ok(match config {
            HeadConfig::Daformer(head) => Self::Daformer(DaformerHead::new(head, scope)?),
            HeadConfig::Segformer(head) => Self::Segformer(SegformerHead::new(head, scope)?),
            HeadConfig::Deeplab(head) => Self::Deeplab(DeeplabHead::new(head, scope)?),
            HeadConfig::Linear(head) => Self::Linear(LinearHead::new(head, scope)?),
        })
    }

    /// Logits (B, classes, h, w) of the backbone's maps (B, C_i, H_i, W_i), finest first.
    pub fn forward(&self, features: &[Tensor], mode: &Forward) -> Result<Tensor> {
        match self {
            Self::Daformer(head) => head.forward(features, mode),
            Self::Segformer(head) => head.forward(features, mode),
            Self::Deeplab(head) => head.forward(features),
            Self::Linear(head) => head.forward(features, mode),
        }
    }
}

/// Refuses another number of maps than a head was built for.
pub(super) fn check_levels(features: &[Tensor], levels: usize) -> Result<()> {
    if features.len() != levels {
        candle_core::bail!(
            "the head takes {levels} feature maps, got {}",
            features.len()
        )
    }
    Ok(())
}

/// All maps at the first one's size, channel after channel.
pub(super) fn concatenate(levels: &[Tensor]) -> Result<Tensor> {
    let Some(finest) = levels.first() else {
        candle_core::bail!("there is no feature map to concatenate")
    };
    let (_, _, height, width) = finest.dims4()?;
    let resized = levels
        .iter()
        .map(|x| ops::resize_bilinear(x, (height, width), false))
        .collect::<Result<Vec<_>>>()?;
    Tensor::cat(&resized, 1)
}
