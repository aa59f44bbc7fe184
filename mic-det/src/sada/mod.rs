//! Scale-aware domain adaptation (Chen et al., "Scale-Aware Domain Adaptive Faster R-CNN", IJCV
//! 2021): classifiers that tell the domains apart on every level of the pyramid and for every
//! region, trained against the detector by reversed gradients, and kept consistent.

mod image_head;
mod instance_head;

pub use image_head::ImageHead;
pub use instance_head::{InstanceHead, InstanceLevels};

use candle_core::{DType, Device, Tensor};
use mic_nn::forward::Forward;
use mic_nn::ops::{self, MultiLevelRoiAlign, Reduction};
use mic_nn::params::Scope;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::tap::Tap;

/// Widths and weights of the domain heads.
///
/// The weights scale the gradients that reach the detector's features; the heads themselves learn
/// from the plain sum of the three losses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SadaConfig {
    /// Width of the image heads.
    pub image_hidden: usize,
    /// Width of the instance heads.
    pub instance_hidden: usize,
    /// Dropout of the instance heads.
    pub dropout: f64,
    /// Reversed gradient of the image heads.
    pub image_weight: f64,
    /// Reversed gradient of the instance heads.
    pub instance_weight: f64,
    /// The gradient of the consistency is not reversed; it is scaled by this times the two above.
    pub consistency_weight: f64,
    /// Which regions the instance heads see.
    pub instance_levels: InstanceLevels,
}

impl Default for SadaConfig {
    /// The paper's Cityscapes run.
    fn default() -> Self {
        Self {
            image_hidden: 512,
            instance_hidden: 1024,
            dropout: 0.5,
            image_weight: 0.025,
            instance_weight: 0.1,
            consistency_weight: 0.1,
            instance_levels: InstanceLevels::First,
        }
    }
}

/// The three losses of the domain heads, each with weight 1.
pub struct DomainLosses {
    /// Domain of every cell of every map.
    pub image: Tensor,
    /// Domain of every region.
    pub instance: Tensor,
    /// Disagreement of the two about a region.
    pub consistency: Tensor,
}

/// What the domain heads see of a batch.
pub struct DomainInput<'a> {
    /// The pyramid's maps, finest first.
    pub maps: &'a [Tensor],
    /// Regions (R, 5).
    pub rois: &'a Tensor,
    /// Features (R, C) of the regions.
    pub features: &'a Tensor,
    /// Which images are of the source domain.
    pub source_images: &'a [bool],
    /// Which regions are.
    pub source_rois: &'a [bool],
}

/// Image and instance heads.
pub struct DomainHeads {
    image: ImageHead,
    instance: InstanceHead,
    config: SadaConfig,
    pool: MultiLevelRoiAlign,
}

impl DomainHeads {
    /// Declares `imghead` and `inshead` below `scope`: image heads for `levels` maps of `channels`
    /// channels, instance heads for region features of width `features` and every level that
    /// `pool` reads.
    ///
    /// # Errors
    /// When they cannot be declared.
    pub fn new(
        config: &SadaConfig,
        levels: usize,
        channels: usize,
        features: usize,
        pool: &MultiLevelRoiAlign,
        scope: &Scope,
    ) -> Result<Self> {
        let image = ImageHead::new(channels, config.image_hidden, levels, &scope.sub("imghead"))?;
        let instance = InstanceHead::new(
            features,
            config.instance_hidden,
            pool.spatial_scales.len(),
            config.dropout,
            config.instance_levels,
            &scope.sub("inshead"),
        )?;
        Ok(Self {
            image,
            instance,
            config: config.clone(),
            pool: pool.clone(),
        })
    }

    /// The losses. Dropout is drawn twice: the consistency has draws of its own.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn losses(
        &self,
        input: &DomainInput,
        mode: &Forward,
        tap: &mut Tap,
    ) -> Result<DomainLosses> {
        let SadaConfig {
            image_weight,
            instance_weight,
            consistency_weight,
            ..
        } = self.config;
        let pooled_maps = self.pool.spatial_scales.len();
        let levels = self
            .pool
            .mapping
            .levels(&input.rois.narrow(1, 1, 4)?, pooled_maps)?;

        let routes = [-image_weight, consistency_weight * image_weight];
        let (mut adversarial, mut consistent) = (Vec::new(), Vec::new());
        for (level, map) in input.maps.iter().enumerate() {
            let [first, second] = self.image.forward(level, map, routes)?;
            tap.show(&format!("img_logits.P{}", level + 2), || Ok(first.clone()))?;
            adversarial.push(first);
            consistent.push(second);
        }
        let image = image_loss(&adversarial, input.source_images)?;

        let features = ops::gradient_reversal(input.features, instance_weight)?;
        let logits = self
            .instance
            .forward(&features, &levels, "adversarial", mode)?;
        tap.show("ins_logits", || Ok(logits.clone()))?;
        let truth: Vec<f32> = input
            .source_rois
            .iter()
            .map(|&s| f32::from(u8::from(s)))
            .collect();
        let truth = Tensor::from_vec(truth, logits.dims(), &Device::Cpu)?;
        let instance = mean_bce(&logits, &truth)?;

        let forward = -consistency_weight * instance_weight;
        let features = ops::gradient_reversal(input.features, forward)?;
        let logits = self
            .instance
            .forward(&features, &levels, "consistency", mode)?;
        tap.show("ins_consist_logits", || Ok(logits.clone()))?;
        let maps = consistent[..pooled_maps]
            .iter()
            .map(|map| Ok(ops::sigmoid(map)?));
        let maps = maps.collect::<Result<Vec<_>>>()?;
        let of_image = ops::multi_level_roi_align(&maps, input.rois, &self.pool)?;
        let of_image = of_image.flatten_from(1)?.mean(1)?;
        let of_instance = ops::sigmoid(&logits)?;
        let reduction = match logits.elem_count() {
            0 => Reduction::Sum,
            _ => Reduction::Mean,
        };
        let consistency = ops::smooth_l1(&of_image, &of_instance, 0.0, reduction)?;
        Ok(DomainLosses {
            image,
            instance,
            consistency,
        })
    }
}

/// Binary cross-entropy of all levels' logits, each (B, 1, h, w), at the size of the first: a mean
/// over levels, images and cells. Logits are interpolated so that corners coincide.
fn image_loss(logits: &[Tensor], source: &[bool]) -> Result<Tensor> {
    let Some(first) = logits.first() else {
        return Ok(Tensor::zeros((), DType::F32, &Device::Cpu)?);
    };
    let (images, _, height, width) = first.dims4()?;
    let mut truth = Vec::with_capacity(images * height * width);
    for &source in source {
        let label = f32::from(u8::from(source));
        truth.extend(std::iter::repeat_n(label, height * width));
    }
    let truth = Tensor::from_vec(truth, first.dims(), &Device::Cpu)?;
    let mut sum: Option<Tensor> = None;
    for level in logits {
        let level = ops::resize_bilinear(level, (height, width), true)?;
        let loss = mean_bce(&level, &truth)?;
        sum = Some(match sum {
            Some(sum) => (sum + loss)?,
            None => loss,
        });
    }
    let sum = match sum {
        Some(sum) => sum,
        None => Tensor::zeros((), DType::F32, &Device::Cpu)?,
    };
    Ok((sum / logits.len() as f64)?)
}

/// The mean over all elements, 0 without any.
fn mean_bce(logits: &Tensor, truth: &Tensor) -> Result<Tensor> {
    let reduction = match logits.elem_count() {
        0 => Reduction::Sum,
        _ => Reduction::Mean,
    };
    Ok(ops::binary_cross_entropy_with_logits(
        logits, truth, reduction,
    )?)
}
