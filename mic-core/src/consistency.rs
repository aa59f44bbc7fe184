//! The masked consistency loss: the student has to predict on the masked image what the teacher
//! predicted on the whole one: `L = q * H(student(masked image), p)` for pseudo-labels p of weight q
//! (MIC, sec. 3.2).
//!
//! Written in candle operations that all have a backward pass, so it works with any candle model on
//! any device; f32 and f64 are computed as they are, half precision in f32. `mic-nn` has a fused
//! version for large images.

use candle_core::{D, DType, Tensor};

use crate::error::input;
use crate::{PseudoLabels, Result};

/// The masked consistency loss of student logits (B, C, H, W) or (B, C) for pseudo-labels: the
/// cross-entropy of each position times its weight, averaged over *all* positions. A scalar.
///
/// Where a U8 `label` equals 255 (pseudo-labels never do, but labels mixed with them may), the
/// position is ignored.
///
/// # Errors
/// As [`cross_entropy`].
pub fn masked_consistency(student_logits: &Tensor, pseudo: &PseudoLabels) -> Result<Tensor> {
    let ignore = (pseudo.label.dtype() == DType::U8).then_some(255);
    cross_entropy(student_logits, &pseudo.label, Some(&pseudo.weight), ignore)
}

/// Cross-entropy of `logits` (B, C, ...) and integer labels (B, ...), a scalar.
///
/// Each position's loss is multiplied by its `weight` (B, ...); positions with the label `ignore`
/// contribute 0. The result is the mean over *all* positions: neither ignored positions nor small
/// weights shrink the denominator, so the loss of a batch that the teacher is unsure of is small.
/// That is what MIC and DAFormer train with, and it differs from PyTorch's mean over the positions
/// that are not ignored.
///
/// Gradients flow into `logits` only.
///
/// # Errors
/// [`Error::Input`](crate::Error::Input) if shapes do not fit, if the logits are no floats or the
/// labels no integers, or if a label is neither a class nor `ignore`.
pub fn cross_entropy(
    logits: &Tensor,
    labels: &Tensor,
    weight: Option<&Tensor>,
    ignore: Option<u32>,
) -> Result<Tensor> {
    let positions = match logits.dims() {
        [batch, _, rest @ ..] => [&[*batch], rest].concat(),
        other => return input(format!("logits must have shape (B, C, ...), got {other:?}")),
    };
    let classes = logits.dim(1)?;
    for (name, tensor) in [("labels", Some(labels)), ("weights", weight)] {
        let Some(tensor) = tensor else { continue };
        if tensor.dims() != positions {
            return input(format!(
                "{name} for logits {:?} must have shape {positions:?}, got {:?}; resize or reshape first",
                logits.dims(),
                tensor.dims()
            ));
        }
    }
    if !logits.dtype().is_float() || !matches!(labels.dtype(), DType::U8 | DType::U32 | DType::I64)
    {
        return input(format!(
            "cross-entropy needs float logits and U8, U32 or I64 labels, got {:?} and {:?}",
            logits.dtype(),
            labels.dtype()
        ));
    }
    if labels.elem_count() == 0 {
        return input(format!(
            "cross-entropy of an empty batch, logits {:?}",
            logits.dims()
        ));
    }
    // Half precision keeps its forward pass; the loss and its sums need more digits.
    let logits = match logits.dtype() {
        DType::F32 | DType::F64 => logits.clone(),
        _ => logits.to_dtype(DType::F32)?,
    };
    let mut weight = weight
        .map(|w| w.detach().to_dtype(logits.dtype()))
        .transpose()?;
    // From here on `index` holds classes only, and `weight` is 0 where a label is ignored.
    let mut index = labels.to_dtype(DType::I64)?;
    if let Some(ignore) = ignore {
        let ignored = index.eq(i64::from(ignore))?;
        index = ignored.where_cond(&index.zeros_like()?, &index)?;
        weight = Some(match weight {
            // Not a product: a weight of NaN at an ignored position must not count.
            Some(weight) => ignored.where_cond(&weight.zeros_like()?, &weight)?,
            None => ignored.eq(0u8)?.to_dtype(logits.dtype())?,
        });
    }
    check_classes(&index, classes, ignore)?;
    // The largest logit is a constant here: log-softmax does not change when it is subtracted.
    let shifted = logits.broadcast_sub(&logits.detach().max_keepdim(1)?)?;
    let log_sum = shifted.exp()?.sum_keepdim(1)?.log()?;
    let picked = shifted.gather(&index.unsqueeze(1)?.contiguous()?, 1)?;
    let mut loss = (log_sum - picked)?.squeeze(1)?;
    if let Some(weight) = weight {
        loss = (loss * weight)?;
    }
    // Summing rows first keeps f32 sums short: one long sum loses digits.
    Ok((loss.sum(D::Minus1)?.sum_all()? / labels.elem_count() as f64)?)
}

fn check_classes(index: &Tensor, classes: usize, ignore: Option<u32>) -> Result<()> {
    let flat = index.flatten_all()?;
    let (low, high) = (
        flat.min(0)?.to_scalar::<i64>()?,
        flat.max(0)?.to_scalar::<i64>()?,
    );
    if low < 0 || high >= classes as i64 {
        let wrong = if low < 0 { low } else { high };
        return input(format!(
            "label {wrong} is not a class: the logits have {classes} classes, ignored is {ignore:?}"
        ));
    }
    Ok(())
}
