//! Pixel-wise cross-entropy, and the accuracy that is logged beside it.

use candle_core::{DType, Result, Tensor, WithDType};
use rayon::prelude::*;

use crate::ops::attach::attach;
use crate::ops::cast::{in_single, is_half, single};
use crate::ops::cpu::{Elem, Shared, View, dispatch, fresh, storage, tensor, view};
use crate::ops::math::Math;
use crate::ops::simd::vectorized;

const OP: &str = "cross_entropy";
/// Pixels a task handles.
const BLOCK: usize = 512;

/// What [`cross_entropy`] leaves out and how it weights.
#[derive(Clone, Debug)]
pub struct CrossEntropyOptions {
    /// The label of pixels that contribute nothing.
    pub ignore: Option<u32>,
    /// A factor for every pixel, (B, H, W) or (B), of the logits' dtype; a constant.
    pub weight: Option<Tensor>,
    /// A factor for every class, C of them.
    pub class_weight: Option<Vec<f64>>,
}

impl CrossEntropyOptions {
    /// The same with weights of 16 bits in single precision.
    fn single(&self) -> Result<Self> {
        Ok(Self {
            weight: self.weight.as_ref().map(single).transpose()?,
            ..self.clone()
        })
    }
}

impl Default for CrossEntropyOptions {
    /// Label 255 is ignored, nothing is weighted.
    fn default() -> Self {
        Self {
            ignore: Some(255),
            weight: None,
            class_weight: None,
        }
    }
}

/// `-log softmax(logits)[label]`, weighted, as a mean over ALL pixels: ignored ones and those of
/// weight 0 stay in the denominator, and weights do not change it (as in mmsegmentation, unlike
/// PyTorch's default).
///
/// `logits` are (B, C, H, W) or (B, C); `label` is U8 or U32 of shape (B, H, W) or (B), with
/// values in 0..C or the ignored one. The result is a scalar of the logits' dtype; it is NaN where
/// the logits are. The gradient flows to the logits alone.
///
/// # Errors
/// When shapes or dtypes do not fit, or a label is outside 0..C and not ignored.
pub fn cross_entropy(
    logits: &Tensor,
    label: &Tensor,
    options: &CrossEntropyOptions,
) -> Result<Tensor> {
    in_single!([logits] => cross_entropy(logits, label, &options.single()?));
    let sizes = Sizes::of(OP, logits, label)?;
    if let Some(weight) = &options.weight
        && (weight.dims() != label.dims() || weight.dtype() != logits.dtype())
    {
        candle_core::bail!(
            "{OP}: expected pixel weights {:?} of {:?}, got {:?} {:?}",
            label.dims(),
            logits.dtype(),
            weight.dims(),
            weight.dtype()
        )
    }
    if let Some(class_weight) = &options.class_weight
        && class_weight.len() != sizes.classes
    {
        candle_core::bail!(
            "{OP}: {} class weights for {} classes",
            class_weight.len(),
            sizes.classes
        )
    }
    #[cfg(feature = "cuda")]
    if logits.device().is_cuda() {
        return on_gpu(logits, label, options, sizes);
    }
    let labels = labels_of(OP, label)?;
    check_labels(&labels, label.dims(), sizes.classes, options.ignore)?;
    let logits = logits.contiguous()?;
    dispatch!(OP, logits.dtype(), T => {
        let factors = factors::<T>(&labels, options)?;
        cross_entropy_cpu::<T>(&logits, labels, factors, sizes)
    })
}

#[cfg(feature = "cuda")]
fn on_gpu(
    logits: &Tensor,
    label: &Tensor,
    options: &CrossEntropyOptions,
    sizes: Sizes,
) -> Result<Tensor> {
    let class_weight = options.class_weight.as_ref().map(|w| {
        let weights: Vec<f32> = w.iter().map(|&w| w as f32).collect();
        Tensor::from_vec(weights, w.len(), logits.device())
    });
    let labels = crate::cuda::PixelLabels {
        labels: label.contiguous()?,
        weight: options
            .weight
            .as_ref()
            .map(Tensor::contiguous)
            .transpose()?,
        class_weight: class_weight.transpose()?,
        ignore: options.ignore,
    };
    crate::cuda::cross_entropy(&logits.contiguous()?, labels, sizes.classes, sizes.pixels)
}

/// The percentage of pixels whose largest logit is that of their label. Ignored pixels, and all
/// others without a class, count as wrong, and the first of equal logits wins.
///
/// `logits` and `label` are as in [`cross_entropy`]. NaN when there is no pixel at all.
///
/// # Errors
/// When shapes or dtypes do not fit.
pub fn pixel_accuracy(logits: &Tensor, label: &Tensor) -> Result<f64> {
    const OP: &str = "pixel_accuracy";
    if is_half(logits) {
        return pixel_accuracy(&single(logits)?, label);
    }
    let sizes = Sizes::of(OP, logits, label)?;
    let labels = labels_of(OP, label)?;
    let logits = logits.contiguous()?;
    let hits: usize = dispatch!(OP, logits.dtype(), T => {
        let z = view::<T>(OP, &logits)?;
        let z: &[T] = &z;
        (0..sizes.blocks()).into_par_iter().map(|b| hits(z, &labels, sizes.block(b))).sum()
    });
    Ok(100.0 * hits as f64 / labels.len() as f64)
}

#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    classes: usize,
    /// Pixels of an image.
    pixels: usize,
}

/// Neighbouring pixels of one image.
#[derive(Clone, Copy)]
struct Block {
    /// Index of the first pixel among the labels.
    label: usize,
    /// Index of its first logit.
    logit: usize,
    count: usize,
    classes: usize,
    /// Distance between the logits of one pixel.
    stride: usize,
}

impl Sizes {
    fn of(op: &str, logits: &Tensor, label: &Tensor) -> Result<Self> {
        let dims = logits.dims();
        let expected: Vec<usize> = match *dims {
            [b, _] => vec![b],
            [b, _, h, w] => vec![b, h, w],
            _ => candle_core::bail!("{op}: expected logits (B, C, H, W) or (B, C), got {dims:?}"),
        };
        if label.dims() != expected || dims[1] == 0 {
            candle_core::bail!(
                "{op}: logits {dims:?} need labels {expected:?} and at least one class, got labels {:?}",
                label.dims()
            )
        }
        Ok(Self {
            batch: dims[0],
            classes: dims[1],
            pixels: expected[1..].iter().product(),
        })
    }

    fn blocks(&self) -> usize {
        self.batch * self.pixels.div_ceil(BLOCK)
    }

    fn block(&self, index: usize) -> Block {
        let per_image = self.pixels.div_ceil(BLOCK);
        let (image, first) = (index / per_image, index % per_image * BLOCK);
        Block {
            label: image * self.pixels + first,
            logit: image * self.classes * self.pixels + first,
            count: BLOCK.min(self.pixels - first),
            classes: self.classes,
            stride: self.pixels,
        }
    }
}

impl Block {
    /// The logits of one class in the block.
    #[inline(always)]
    fn class<'a, T>(&self, data: &'a [T], class: usize) -> &'a [T] {
        &data[self.logit + class * self.stride..][..self.count]
    }
}

fn labels_of(op: &str, label: &Tensor) -> Result<Vec<u32>> {
    match label.dtype() {
        DType::U8 => {
            let bytes = label.flatten_all()?.to_vec1::<u8>()?;
            Ok(bytes.into_par_iter().map(u32::from).collect())
        }
        DType::U32 => label.flatten_all()?.to_vec1::<u32>(),
        other => candle_core::bail!("{op}: expected labels of dtype U8 or U32, got {other:?}"),
    }
}

fn check_labels(labels: &[u32], dims: &[usize], classes: usize, ignore: Option<u32>) -> Result<()> {
    let wrong = |&l: &u32| l as usize >= classes && Some(l) != ignore;
    let Some(index) = labels.par_iter().position_first(wrong) else {
        return Ok(());
    };
    let mut position = vec![0; dims.len()];
    let mut rest = index;
    for (p, &d) in position.iter_mut().zip(dims).rev() {
        (*p, rest) = (rest % d, rest / d);
    }
    candle_core::bail!(
        "{OP}: label {} at {position:?} is neither a class (0..{classes}) nor ignored ({ignore:?})",
        labels[index]
    )
}

/// The factor of every pixel's loss; 0 where it is ignored.
fn factors<T: Math>(labels: &[u32], options: &CrossEntropyOptions) -> Result<Vec<T>> {
    let weight = options
        .weight
        .as_ref()
        .map(Tensor::contiguous)
        .transpose()?;
    let weight: Option<View<'_, T>> = weight.as_ref().map(|w| view::<T>(OP, w)).transpose()?;
    let weight = weight.as_deref();
    let factor = |(index, &label): (usize, &u32)| {
        if Some(label) == options.ignore {
            return T::zero();
        }
        let class = options
            .class_weight
            .as_ref()
            .map_or(1.0, |w| w[label as usize]);
        weight.map_or(T::one(), |w| w[index]) * T::of(class)
    };
    Ok(labels.par_iter().enumerate().map(factor).collect())
}

fn cross_entropy_cpu<T: Math>(
    logits: &Tensor,
    labels: Vec<u32>,
    factors: Vec<T>,
    sizes: Sizes,
) -> Result<Tensor> {
    let mut log_sums = fresh::<T>(labels.len());
    let total: f64 = {
        let z = view::<T>(OP, logits)?;
        let z: &[T] = &z;
        let sums = Shared::new(&mut log_sums);
        let parts: Vec<f64> = (0..sizes.blocks())
            .into_par_iter()
            .map(|index| {
                let block = sizes.block(index);
                // SAFETY: blocks of pixels are disjoint.
                let sums = unsafe { sums.slice(block.label..block.label + block.count) };
                log_sum_exp(z, block, sums);
                loss(z, block, sums, &labels, &factors)
            })
            .collect();
        parts.iter().sum()
    };
    let count = labels.len() as f64;
    let mean = vec![T::of(total / count)];
    let saved = logits.detach();
    attach(OP, [logits], storage(mean), (), move |grad| {
        let z = view::<T>(OP, &saved)?;
        let z: &[T] = &z;
        let scale = view::<T>(OP, grad)?.first().copied().unwrap_or_default() / T::of(count);
        let mut dz = fresh::<T>(z.len());
        let out = Shared::new(&mut dz);
        (0..sizes.blocks()).into_par_iter().for_each(|index| {
            gradient(
                z,
                sizes.block(index),
                &log_sums,
                &labels,
                &factors,
                scale,
                out,
            );
        });
        Ok([Some(tensor(dz, saved.shape()))])
    })
}

fn log_sum_exp<T: Math>(z: &[T], block: Block, out: &mut [T]) {
    vectorized(
        #[inline(always)]
        || {
            let mut largest = [T::neg_infinity(); BLOCK];
            let mut total = [T::zero(); BLOCK];
            for class in 0..block.classes {
                for (m, &z) in largest.iter_mut().zip(block.class(z, class)) {
                    *m = if z > *m { z } else { *m };
                }
            }
            for class in 0..block.classes {
                let z = block.class(z, class);
                for ((t, &m), &z) in total.iter_mut().zip(&largest).zip(z) {
                    *t += (z - m).exp_nonpositive();
                }
            }
            for ((o, &m), &t) in out.iter_mut().zip(&largest).zip(&total) {
                *o = m + t.ln_normal();
            }
        },
    );
}

fn loss<T: Math>(z: &[T], block: Block, sums: &[T], labels: &[u32], factors: &[T]) -> f64 {
    let mut total = 0f64;
    for (p, &sum) in sums.iter().enumerate() {
        let factor = factors[block.label + p];
        // An ignored pixel's label is no class; its loss is 0 whatever its logits are.
        if factor != T::zero() {
            let z = z[block.logit + labels[block.label + p] as usize * block.stride + p];
            total += WithDType::to_f64((sum - z) * factor);
        }
    }
    total
}

fn gradient<T: Math>(
    z: &[T],
    block: Block,
    log_sums: &[T],
    labels: &[u32],
    factors: &[T],
    scale: T,
    out: Shared<'_, T>,
) {
    let pixels = block.label..block.label + block.count;
    let (sums, labels, factors) = (
        &log_sums[pixels.clone()],
        &labels[pixels.clone()],
        &factors[pixels],
    );
    vectorized(
        #[inline(always)]
        || {
            let mut scales = [T::zero(); BLOCK];
            for (s, &f) in scales.iter_mut().zip(factors) {
                *s = f * scale;
            }
            for class in 0..block.classes {
                let start = block.logit + class * block.stride;
                // SAFETY: blocks of pixels are disjoint within each class's plane.
                let dz = unsafe { out.slice(start..start + block.count) };
                let pixels = block
                    .class(z, class)
                    .iter()
                    .zip(sums)
                    .zip(labels)
                    .zip(&scales);
                for (d, (((&z, &sum), &label), &scale)) in dz.iter_mut().zip(pixels) {
                    let hit = if label == class as u32 {
                        T::one()
                    } else {
                        T::zero()
                    };
                    let value = ((z - sum).exp_fast() - hit) * scale;
                    // Exactly 0 where the pixel is ignored, also for logits that are not finite.
                    *d = if scale == T::zero() { T::zero() } else { value };
                }
            }
        },
    );
}

fn hits<T: Elem>(z: &[T], labels: &[u32], block: Block) -> usize {
    vectorized(
        #[inline(always)]
        || {
            let mut largest = [T::neg_infinity(); BLOCK];
            let mut best = [u32::MAX; BLOCK];
            for class in 0..block.classes {
                let z = block.class(z, class);
                for ((m, b), &z) in largest.iter_mut().zip(&mut best).zip(z) {
                    let better = z > *m;
                    *m = if better { z } else { *m };
                    *b = if better { class as u32 } else { *b };
                }
            }
            let labels = &labels[block.label..block.label + block.count];
            labels.iter().zip(&best).filter(|(l, b)| l == b).count()
        },
    )
}

#[cfg(test)]
mod tests;
