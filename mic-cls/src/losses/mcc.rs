//! Minimum class confusion (Jin et al., 2020).

use candle_core::{Result, Tensor};
use mic_nn::ops;

use super::entropy_weights;

/// How far the classes are confused with each other on a target batch, from 0 to below 1, for its
/// logits (B, K).
///
/// With p = softmax(logits / temperature) and w the [`entropy_weights`] of p:
///
/// ```text
/// C = p^T diag(w) p;   C_ij <- C_ij / sum_k C_jk;   loss = sum_{i != j} C_ij / K
/// ```
///
/// The published code divides columns where the paper divides rows; C is symmetric, so that the loss
/// is the same. The gradient flows through both factors and the sums, not through w.
///
/// # Errors
/// Another rank.
pub fn minimum_class_confusion(logits: &Tensor, temperature: f64) -> Result<Tensor> {
    let (_, classes) = logits.dims2()?;
    let p = ops::softmax(&(logits / temperature)?, 1)?;
    let weights = entropy_weights(&p)?.unsqueeze(1)?;
    let confusion = p.broadcast_mul(&weights)?.t()?.matmul(&p)?;
    let confusion = confusion.broadcast_div(&confusion.sum(1)?)?;
    let others = Tensor::eye(classes, p.dtype(), p.device())?.affine(-1.0, 1.0)?;
    (confusion * others)?.sum_all()? / classes as f64
}
