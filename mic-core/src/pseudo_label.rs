//! Pseudo-labels: what the teacher predicts on the whole target image, and how far to trust it
//! (MIC, sec. 3.2; for segmentation as in DACS and DAFormer).

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::error::{config, input};
use crate::slices::{is_plain_f32, with_slice};
use crate::softmax::max_probability;

/// How the weight of a pseudo-label follows from the teacher's probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// One weight for the whole batch: the share of positions whose largest probability is at
    /// least this threshold (MIC for segmentation, with 0.968).
    ShareAbove(f32),
    /// Weight 1 where the largest probability is at least this threshold, else 0. (Detection
    /// filters its boxes in this way, with 0.8.)
    Above(f32),
    /// The largest probability of each position (MIC for classification).
    MaxProbability,
    /// Weight 1 everywhere.
    None,
}

/// How to make pseudo-labels from a teacher's logits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PseudoLabelConfig {
    /// How far the teacher is trusted.
    pub confidence: Confidence,
    /// Rows at the top of the image that get weight 0 (image-shaped logits only).
    #[serde(default)]
    pub ignore_top: usize,
    /// Rows at the bottom of the image that get weight 0 (the ego vehicle's bonnet, for example).
    #[serde(default)]
    pub ignore_bottom: usize,
}

/// Labels and weights of one target batch.
#[derive(Clone, Debug)]
pub struct PseudoLabels {
    /// The most probable class, the first one on ties: U8 for up to 255 classes, else U32; shape
    /// (B, H, W), or (B) for classification.
    pub label: Tensor,
    /// Trust in each label, f32 in \[0, 1\], same shape as `label`.
    pub weight: Tensor,
    /// Mean weight of the batch before rows or pixels were excluded; for
    /// [`Confidence::ShareAbove`] this is the batch's one weight. Worth logging.
    pub confidence: f32,
}

impl PseudoLabelConfig {
    /// Labels every position, with no rows ignored.
    pub fn new(confidence: Confidence) -> Self {
        Self {
            confidence,
            ignore_top: 0,
            ignore_bottom: 0,
        }
    }

    /// Checks the values against their ranges.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if a threshold lies outside of \[0, 1\].
    pub fn check(&self) -> Result<()> {
        match self.confidence {
            Confidence::ShareAbove(tau) | Confidence::Above(tau) if !(0.0..=1.0).contains(&tau) => {
                config(format!("pseudo-label threshold {tau} is not in [0, 1]"))
            }
            _ => Ok(()),
        }
    }

    /// Pseudo-labels from the teacher's `logits`: float (B, C, H, W), or (B, C) for classification.
    /// No gradient is recorded.
    ///
    /// `valid`, U8 (B, H, W) or (B, 1, H, W), multiplies the weights: 0 excludes a pixel, 1 keeps
    /// it.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for an invalid configuration;
    /// [`Error::Input`](crate::Error::Input) for logits of another rank, a `valid` mask of another
    /// shape, rows to ignore in logits without rows, or both rows to ignore and a `valid` mask.
    pub fn label(&self, logits: &Tensor, valid: Option<&Tensor>) -> Result<PseudoLabels> {
        self.check()?;
        let (batch, classes, places) = match *logits.dims() {
            [b, c] => (b, c, vec![b]),
            [b, c, h, w] => (b, c, vec![b, h, w]),
            ref other => {
                return input(format!(
                    "teacher logits must have shape (B, C, H, W) or (B, C), got {other:?}"
                ));
            }
        };
        let margins = self.ignore_top > 0 || self.ignore_bottom > 0;
        if margins && valid.is_some() {
            return input(
                "rows to ignore and a valid mask exclude each other: set ignore_top and \
                 ignore_bottom to 0, or pass no mask"
                    .into(),
            );
        }
        if margins && places.len() != 3 {
            return input(format!(
                "ignore_top and ignore_bottom need logits (B, C, H, W), got {:?}",
                logits.dims()
            ));
        }
        if classes == 0 || logits.elem_count() == 0 {
            return input(format!("empty teacher logits {:?}", logits.dims()));
        }
        let logits = logits.detach();
        let logits = match logits.dtype() {
            DType::F32 | DType::F64 => logits,
            dtype if dtype.is_float() => logits.to_dtype(DType::F32)?,
            other => return input(format!("teacher logits must be floats, got {other:?}")),
        };
        let label_type = if classes <= 255 {
            DType::U8
        } else {
            DType::U32
        };
        let (label, probability) = if is_plain_f32(&logits) {
            let per_image = places[1..].iter().product();
            let (label, probability) = with_slice(&logits, |logits| {
                max_probability(logits, batch, classes, per_image)
            })?;
            let label = if label_type == DType::U8 {
                let label: Vec<u8> = label.into_iter().map(|class| class as u8).collect();
                Tensor::from_vec(label, places.as_slice(), &Device::Cpu)?
            } else {
                Tensor::from_vec(label, places.as_slice(), &Device::Cpu)?
            };
            (
                label,
                Tensor::from_vec(probability, places.as_slice(), &Device::Cpu)?,
            )
        } else {
            let max = logits.max_keepdim(1)?;
            let sum = logits.broadcast_sub(&max)?.exp()?.sum(1)?;
            (
                logits.argmax(1)?.to_dtype(label_type)?,
                sum.recip()?.to_dtype(DType::F32)?,
            )
        };
        let (weight, confidence) = self.weight(&probability)?;
        let weight = self.exclude(weight, valid)?;
        Ok(PseudoLabels {
            label,
            weight,
            confidence,
        })
    }

    /// Weights before exclusion, and their mean.
    fn weight(&self, probability: &Tensor) -> Result<(Tensor, f32)> {
        let count = probability.elem_count() as f64;
        let ones = || Tensor::ones(probability.shape(), DType::F32, probability.device());
        Ok(match self.confidence {
            Confidence::None => (ones()?, 1.0),
            Confidence::MaxProbability => {
                let mean = sum(probability)? / count;
                (probability.clone(), mean as f32)
            }
            Confidence::Above(tau) => {
                let above = probability.ge(f64::from(tau))?.to_dtype(DType::F32)?;
                let mean = sum(&above)? / count;
                (above, mean as f32)
            }
            Confidence::ShareAbove(tau) => {
                let above = probability.ge(f64::from(tau))?.to_dtype(DType::F32)?;
                let share = (sum(&above)? / count) as f32;
                (
                    Tensor::full(share, probability.shape(), probability.device())?,
                    share,
                )
            }
        })
    }

    fn exclude(&self, weight: Tensor, valid: Option<&Tensor>) -> Result<Tensor> {
        if let Some(valid) = valid {
            let &[batch, .., height, width] = valid.dims() else {
                return input(format!(
                    "a valid mask must be (B, H, W), got {:?}",
                    valid.dims()
                ));
            };
            if valid.elem_count() != batch * height * width
                || weight.dims() != [batch, height, width]
            {
                return input(format!(
                    "the valid mask has shape {:?}, the pseudo-labels {:?}",
                    valid.dims(),
                    weight.dims()
                ));
            }
            let valid = valid.reshape(weight.shape())?.to_dtype(DType::F32)?;
            return Ok((weight * valid)?);
        }
        if self.ignore_top == 0 && self.ignore_bottom == 0 {
            return Ok(weight);
        }
        let height = weight.dim(1)?;
        let kept = self.ignore_top..height.saturating_sub(self.ignore_bottom);
        let rows: Vec<f32> = (0..height)
            .map(|row| if kept.contains(&row) { 1.0 } else { 0.0 })
            .collect();
        let rows = Tensor::from_vec(rows, (1, height, 1), weight.device())?;
        Ok(weight.broadcast_mul(&rows)?)
    }
}

/// The sum in f64: f32 cannot count beyond 2^24 pixels.
fn sum(values: &Tensor) -> Result<f64> {
    if values.device().is_cpu() {
        return with_slice(values, |values: &[f32]| {
            values.iter().map(|&v| f64::from(v)).sum()
        });
    }
    Ok(values.to_dtype(DType::F64)?.sum_all()?.to_scalar()?)
}
