//! Pooling, two hidden layers, and the predictions of class and box.

use candle_core::Tensor;
use mic_nn::init::Init;
use mic_nn::layers::Linear;
use mic_nn::ops::{self, MultiLevelRoiAlign};
use mic_nn::params::Scope;

use super::RoiConfig;
use crate::conventions::Conventions;
use crate::{Error, Result};

/// `RoIAlign -> fc6 -> ReLU -> fc7 -> ReLU`, then `cls_score` and `bbox_pred`.
pub struct BoxHead {
    fc6: Linear,
    fc7: Linear,
    cls_score: Linear,
    bbox_pred: Linear,
    pool: MultiLevelRoiAlign,
}

impl BoxHead {
    /// Declares `feature_extractor.fc6`, `.fc7`, `predictor.cls_score` and `.bbox_pred` below
    /// `scope`, for maps of `channels` channels at `strides`.
    ///
    /// # Errors
    /// Fewer strides than levels to read from.
    pub fn new(
        config: &RoiConfig,
        channels: usize,
        strides: &[usize],
        conventions: Conventions,
        scope: &Scope,
    ) -> Result<Self> {
        let Some(strides) = strides.get(..config.levels).filter(|s| !s.is_empty()) else {
            return Err(Error::Config(format!(
                "regions are read from {} levels, expected 1 to {}",
                config.levels,
                strides.len()
            )));
        };
        let side = config.resolution;
        let inputs = channels * side * side;
        let hidden = |name: &str, inputs: usize| {
            let bound = (3.0 / inputs as f64).sqrt();
            let scope = scope.sub("feature_extractor").sub(name);
            let init = Init::Uniform { bound };
            Linear::new(&scope, inputs, config.hidden, init, Init::Const(0.0))
        };
        let predictor = |name: &str, outputs: usize, std: f64| {
            let scope = scope.sub("predictor").sub(name);
            let init = Init::Normal { std };
            Linear::new(&scope, config.hidden, outputs, init, Init::Const(0.0))
        };
        Ok(Self {
            fc6: hidden("fc6", inputs)?,
            fc7: hidden("fc7", config.hidden)?,
            cls_score: predictor("cls_score", config.classes, 0.01)?,
            bbox_pred: predictor("bbox_pred", 4 * config.classes, 0.001)?,
            pool: MultiLevelRoiAlign {
                output_size: (side, side),
                spatial_scales: strides.iter().map(|&s| 1.0 / s as f64).collect(),
                sampling_ratio: config.sampling_ratio,
                aligned: false,
                mapping: conventions.level_mapping(),
            },
        })
    }

    /// How regions are read from maps.
    pub fn pool(&self) -> &MultiLevelRoiAlign {
        &self.pool
    }

    /// Features (R, hidden) of regions (R, 5): number of the image, x1, y1, x2, y2.
    ///
    /// # Errors
    /// Maps or regions that do not fit.
    pub fn features(&self, maps: &[Tensor], rois: &Tensor) -> Result<Tensor> {
        let levels = self.pool.spatial_scales.len();
        let Some(maps) = maps.get(..levels) else {
            return Err(Error::Run(format!(
                "{} feature maps for regions of {levels} levels",
                maps.len()
            )));
        };
        let pooled = ops::multi_level_roi_align(maps, rois, &self.pool)?;
        let flat = pooled.flatten_from(1)?;
        let hidden = ops::relu(&self.fc6.forward(&flat)?)?;
        Ok(ops::relu(&self.fc7.forward(&hidden)?)?)
    }

    /// Logits (R, classes) and offsets (R, 4 classes), the four of a class in a row.
    ///
    /// # Errors
    /// Features of another width.
    pub fn predict(&self, features: &Tensor) -> Result<(Tensor, Tensor)> {
        let logits = self.cls_score.forward(features)?;
        Ok((logits, self.bbox_pred.forward(features)?))
    }
}
