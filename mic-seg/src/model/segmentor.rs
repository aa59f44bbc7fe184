//! Backbone and head together.

use candle_core::{Result, Tensor};
use mic_nn::forward::Forward;
use mic_nn::models::mit::{Mit, MitConfig};
use mic_nn::ops;
use mic_nn::params::Scope;

use super::{DaformerHead, DaformerHeadConfig};

/// Shape of a [`Segmentor`].
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentorConfig {
    /// The backbone.
    pub backbone: MitConfig,
    /// The head.
    pub head: DaformerHeadConfig,
}

/// What one forward pass yields.
pub struct Output {
    /// Maps of the backbone's stages, finest first.
    pub features: Vec<Tensor>,
    /// Logits (B, classes, H/4, W/4).
    pub logits: Tensor,
}

/// An encoder-decoder segmentation network. Student and teacher are both of this type.
pub struct Segmentor {
    backbone: Mit,
    head: DaformerHead,
}

impl Segmentor {
    /// Declares `backbone.*` and `decode_head.*` below `scope`.
    pub fn new(config: &SegmentorConfig, scope: &Scope) -> Result<Self> {
        Ok(Self {
            backbone: Mit::new(&config.backbone, &scope.sub("backbone"))?,
            head: DaformerHead::new(&config.head, &scope.sub("decode_head"))?,
        })
    }

    /// Features and low-resolution logits of an image batch (B, 3, H, W).
    pub fn forward(&self, image: &Tensor, mode: &Forward) -> Result<Output> {
        let features = self.backbone.forward(image, mode)?;
        let logits = self.head.forward(&features, mode)?;
        Ok(Output { features, logits })
    }

    /// Logits (B, classes, H, W) at the image's own size.
    pub fn encode_decode(&self, image: &Tensor, mode: &Forward) -> Result<Tensor> {
        let (_, _, height, width) = image.dims4()?;
        ops::resize_bilinear(&self.forward(image, mode)?.logits, (height, width), false)
    }
}
