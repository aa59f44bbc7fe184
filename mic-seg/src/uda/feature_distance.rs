//! Distance to the features of a frozen, ImageNet-trained backbone on thing classes (DAFormer,
//! sec. 3.4): keeps what the backbone already knows about objects.

use candle_core::{DType, Result, Tensor};
use mic_data::sample::IGNORE;

/// What enters the distance, and its factor.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureDistance {
    /// Factor of the loss.
    pub lambda: f64,
    /// Train ids that count; without any every position counts, whatever its label.
    pub classes: Vec<u8>,
    /// A position takes the majority label of its pixels if that label covers at least this share.
    pub min_ratio: f64,
    /// Number of classes of the task.
    pub num_classes: usize,
}

impl FeatureDistance {
    /// Positions that count, U8 (B, h, w), for labels U8 (B, H, W) and features `width` wide.
    pub fn positions(&self, label: &Tensor, width: usize) -> Result<Tensor> {
        let factor = label.dim(2)? / width.max(1);
        let coarse = downscale_label(label, factor, self.min_ratio, self.num_classes)?;
        let (b, h, w) = coarse.dims3()?;
        let ids = coarse.flatten_all()?.to_vec1::<u8>()?;
        let all = self.classes.is_empty();
        let counts = ids
            .iter()
            .map(|id| u8::from(all || self.classes.contains(id)));
        Tensor::from_vec(counts.collect(), (b, h, w), label.device())
    }

    /// `lambda * mean over positions of |student - reference|_2` for features (B, C, h, w) and
    /// positions U8 (B, h, w). `None` where no position counts: the reference logs NaN there, with
    /// no gradient. Where the features are equal the gradient is 0.
    pub fn loss(
        &self,
        student: &Tensor,
        reference: &Tensor,
        positions: &Tensor,
    ) -> Result<Option<Tensor>> {
        let dtype = student.dtype();
        let squared = (student - reference)?.sqr()?.sum(1)?; // (B, h, w)
        if squared.dims() != positions.dims() {
            candle_core::bail!(
                "feature distance: positions {:?}, features {:?}",
                positions.dims(),
                squared.dims()
            )
        }
        let count = positions
            .to_dtype(DType::F64)?
            .sum_all()?
            .to_scalar::<f64>()?;
        if count == 0.0 {
            return Ok(None);
        }
        // The square root's gradient at 0 is infinite: such places get the constant 1 instead and
        // are then multiplied by 0.
        let counted = (positions.to_dtype(DType::U8)? * squared.detach().gt(0f64)?)?;
        let safe = counted.where_cond(&squared, &squared.ones_like()?)?;
        let sum = (safe.sqrt()? * counted.to_dtype(dtype)?)?.sum_all()?;
        Ok(Some((sum * (self.lambda / count))?))
    }
}

/// The majority label of every `factor` x `factor` window of U8 (B, H, W), the smallest id on
/// ties; [`IGNORE`] where its share is below `min_ratio` or where it is the ignore label.
/// Incomplete windows at the right and bottom are dropped.
pub fn downscale_label(
    label: &Tensor,
    factor: usize,
    min_ratio: f64,
    num_classes: usize,
) -> Result<Tensor> {
    let (b, h, w) = label.dims3()?;
    if factor == 0 || num_classes > usize::from(IGNORE) {
        candle_core::bail!("downscale_label: factor {factor}, {num_classes} classes")
    }
    let ids = label.flatten_all()?.to_vec1::<u8>()?;
    let (oh, ow) = (h / factor, w / factor);
    let mut coarse = Vec::with_capacity(b * oh * ow);
    let mut counts = vec![0u32; num_classes + 1];
    for image in ids.chunks((h * w).max(1)) {
        for y in 0..oh {
            for x in 0..ow {
                counts.fill(0);
                for line in image[y * factor * w..(y + 1) * factor * w].chunks(w) {
                    for &id in &line[x * factor..(x + 1) * factor] {
                        // The ignore label is counted as one more class.
                        counts[usize::from(id).min(num_classes)] += 1;
                    }
                }
                let mut best = 0;
                for class in 1..=num_classes {
                    if counts[class] > counts[best] {
                        best = class;
                    }
                }
                let share = counts[best] as f32 / (factor * factor) as f32;
                let known = best < num_classes && share >= min_ratio as f32;
                coarse.push(if known { best as u8 } else { IGNORE });
            }
        }
    }
    Tensor::from_vec(coarse, (b, oh, ow), label.device())
}
