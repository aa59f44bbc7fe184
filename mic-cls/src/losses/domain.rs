//! The adversarial loss of conditional domain adaptation (CDAN; Long et al., 2018).

use candle_core::{DType, Result, Tensor};
use mic_nn::forward::Forward;
use mic_nn::ops::{self, Reduction};

use super::entropy_weights;
use crate::model::{Conditioning, DomainDiscriminator, Output};

/// How the discriminator's errors are measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DomainLoss {
    /// Cross-entropy of probabilities as in the published code: logarithms are bounded by -100, and
    /// a discriminator that is certain and wrong gets almost no gradient.
    #[default]
    Probabilities,
    /// Cross-entropy of logits: the same values and gradients elsewhere, and exact ones there.
    Logits,
}

/// The discriminator's answers for one batch and their loss.
pub struct DomainScore {
    /// The mean loss, a scalar.
    pub loss: Tensor,
    /// Probabilities (Bs + Bt, 1) of the source, source rows first; no gradient.
    pub probabilities: Tensor,
    /// Percentage of right answers.
    pub accuracy: f64,
}

/// Scores a batch whose first `sources` images are of the source domain, the others of the target.
///
/// The discriminator sees the features joined with the softmax of the logits, which are constants
/// here; the gradient that reaches the features is multiplied by `-reversal`. With `by_entropy` every
/// sample counts by its [`entropy_weights`] (CDAN+E).
///
/// # Errors
/// Shapes that do not fit.
pub fn domain_score(
    discriminator: &DomainDiscriminator,
    conditioning: &Conditioning,
    output: &Output,
    sources: usize,
    reversal: f64,
    (kind, by_entropy): (DomainLoss, bool),
    mode: &Forward,
) -> Result<DomainScore> {
    let predictions = ops::softmax(&output.logits.detach(), 1)?;
    let joined = conditioning.map(&output.features, &predictions)?;
    let joined = ops::gradient_reversal(&joined, reversal)?;
    let logits = discriminator.forward(&joined, mode)?;
    let count = logits.dim(0)?;
    let domains = (0..count).map(|i| if i < sources { 1f32 } else { 0.0 });
    let domains = Tensor::from_iter(domains, logits.device())?
        .to_dtype(logits.dtype())?
        .unsqueeze(1)?;
    let mut losses = match kind {
        DomainLoss::Probabilities => {
            cross_entropy_of_probabilities(&ops::sigmoid(&logits)?, &domains)?
        }
        DomainLoss::Logits => {
            ops::binary_cross_entropy_with_logits(&logits, &domains, Reduction::None)?
        }
    };
    if by_entropy {
        losses = (losses * entropy_weights(&predictions)?.unsqueeze(1)?)?;
    }
    let probabilities = ops::sigmoid(&logits.detach())?;
    Ok(DomainScore {
        loss: losses.mean_all()?,
        accuracy: binary_accuracy(&probabilities, &domains)?,
        probabilities,
    })
}

/// Percentage of probabilities that are on the right side; exactly one half counts as the source.
pub(crate) fn binary_accuracy(probabilities: &Tensor, domains: &Tensor) -> Result<f64> {
    let read = |tensor: &Tensor| -> Result<Vec<f32>> {
        tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1()
    };
    let (probabilities, domains) = (read(probabilities)?, read(domains)?);
    let right = probabilities
        .iter()
        .zip(&domains)
        .filter(|(p, d)| (**p >= 0.5) == (**d >= 0.5));
    Ok(100.0 * right.count() as f64 / probabilities.len().max(1) as f64)
}

/// `-t max(ln p, -100) - (1 - t) max(ln(1 - p), -100)` element by element, with the gradient
/// `(p - t) / max(p (1 - p), 1e-12)`, which PyTorch's `binary_cross_entropy` has: finite everywhere.
fn cross_entropy_of_probabilities(p: &Tensor, t: &Tensor) -> Result<Tensor> {
    let constant = p.detach();
    let complement = constant.affine(-1.0, 1.0)?;
    let bounded = |x: &Tensor| x.log()?.maximum(-100.0);
    let value = ((t * bounded(&constant)?)? + (t.affine(-1.0, 1.0)? * bounded(&complement)?)?)?;
    let variance = (&constant * &complement)?.maximum(1e-12)?;
    let slope = ((&constant - t)? / variance)?;
    // A product whose value is taken away again leaves its gradient.
    let linear = (p * slope)?;
    value.neg()? + (&linear - linear.detach())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};
    use mic_nn::autograd::backward;

    #[test]
    fn certain_and_wrong_answers_cost_100_and_have_finite_gradients() -> Result<()> {
        let cpu = &Device::Cpu;
        let p = Var::new(&[0f32, 1.0, 0.5, 1e-30], cpu)?;
        let t = Tensor::new(&[1f32, 0.0, 1.0, 1.0], cpu)?;
        let loss = cross_entropy_of_probabilities(p.as_tensor(), &t)?;
        let expected = [100.0, 100.0, std::f32::consts::LN_2, 69.0776];
        for (ours, expected) in loss.to_vec1::<f32>()?.iter().zip(expected) {
            assert!((ours - expected).abs() < 1e-4, "{ours}, {expected}");
        }
        let grads = backward(&loss.sum_all()?)?;
        let slope = grads.get(&p).map(|g| g.to_vec1::<f32>()).transpose()?;
        let expected = [-1e12f32, 1e12, -2.0, -1e12];
        for (ours, expected) in slope.unwrap().iter().zip(expected) {
            assert!((ours / expected - 1.0).abs() < 1e-5, "{ours}, {expected}");
        }
        Ok(())
    }

    #[test]
    fn one_half_counts_as_the_source() -> Result<()> {
        let cpu = &Device::Cpu;
        let p = Tensor::new(&[0.5f32, 0.49], cpu)?;
        let t = Tensor::new(&[1f32, 0.0], cpu)?;
        assert_eq!(binary_accuracy(&p, &t)?, 100.0);
        Ok(())
    }
}
