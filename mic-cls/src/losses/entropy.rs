//! Entropy of predictions, and the weights that prefer certain ones.

use candle_core::{Result, Tensor};

const EPS: f64 = 1e-5;

/// `-sum_k p_k ln(p_k + 1e-5)` of probabilities (B, K), as (B). The epsilon stands in the logarithm
/// alone, as in the published code: certain predictions have a slightly negative entropy.
///
/// # Errors
/// Another rank.
pub fn entropy(probabilities: &Tensor) -> Result<Tensor> {
    let logarithm = (probabilities + EPS)?.log()?;
    (probabilities * logarithm)?.sum(1)?.neg()
}

/// `1 + exp(-entropy)` of every sample, scaled so that they sum to B (CDAN+E; MCC, eq. 5): constants
/// (B) for probabilities (B, K).
///
/// # Errors
/// Another rank.
pub fn entropy_weights(probabilities: &Tensor) -> Result<Tensor> {
    let probabilities = probabilities.detach();
    let weights = (entropy(&probabilities)?.neg()?.exp()? + 1.0)?;
    let count = weights.elem_count() as f64;
    (weights.broadcast_div(&weights.sum_all()?)? * count)?.contiguous()
}
