//! The head: objectness and offsets of the anchors of every cell.

use candle_core::Tensor;
use mic_nn::init::Init;
use mic_nn::layers::{Conv2d, Conv2dConfig};
use mic_nn::ops;
use mic_nn::params::Scope;

use crate::Result;
use crate::boxes::Size;

/// A 3x3 convolution with ReLU, then one 1x1 convolution each for objectness and offsets, shared
/// by all levels.
pub struct RpnHead {
    conv: Conv2d,
    cls_logits: Conv2d,
    bbox_pred: Conv2d,
}

/// What the head says of every level, finest first.
pub struct Predictions {
    /// Logits (B, A, H, W) for A anchors a cell.
    pub objectness: Vec<Tensor>,
    /// Offsets (B, 4 A, H, W), the four of an anchor in a row.
    pub offsets: Vec<Tensor>,
}

impl RpnHead {
    /// Declares `conv`, `cls_logits` and `bbox_pred` below `scope`: `channels` channels, `shapes`
    /// anchors a cell; normal with standard deviation 0.01, bias 0.
    ///
    /// # Errors
    /// When they cannot be declared.
    pub fn new(channels: usize, shapes: usize, scope: &Scope) -> Result<Self> {
        let conv = |name: &str, outputs: usize, kernel: usize| {
            let config = Conv2dConfig {
                bias: Some(Init::Const(0.0)),
                ..Conv2dConfig::same(kernel, Init::Normal { std: 0.01 })
            };
            Conv2d::new(&scope.sub(name), channels, outputs, &config)
        };
        Ok(Self {
            conv: conv("conv", channels, 3)?,
            cls_logits: conv("cls_logits", shapes, 1)?,
            bbox_pred: conv("bbox_pred", 4 * shapes, 1)?,
        })
    }

    /// Applies the head to maps (B, C, H, W).
    ///
    /// # Errors
    /// Maps of another number of channels.
    pub fn forward(&self, features: &[Tensor]) -> Result<Predictions> {
        let mut predictions = Predictions {
            objectness: Vec::with_capacity(features.len()),
            offsets: Vec::with_capacity(features.len()),
        };
        for map in features {
            let hidden = ops::relu(&self.conv.forward(map)?)?;
            predictions
                .objectness
                .push(self.cls_logits.forward(&hidden)?);
            predictions.offsets.push(self.bbox_pred.forward(&hidden)?);
        }
        Ok(predictions)
    }
}

impl Predictions {
    /// Rows and columns of every level.
    ///
    /// # Errors
    /// Tensors of another rank.
    pub fn sizes(&self) -> Result<Vec<Size>> {
        let size = |map: &Tensor| {
            let (_, _, height, width) = map.dims4()?;
            Ok((height, width))
        };
        self.objectness.iter().map(size).collect()
    }
}
