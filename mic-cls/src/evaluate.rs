//! Measuring a classifier on labelled images.

use candle_core::Tensor;
use mic_data::classification::EvaluationSet;
use mic_nn::forward::Forward;

use crate::metrics::Tally;
use crate::model::Network;
use crate::{Error, Result};

/// Labelled images of one evaluation batch.
#[derive(Clone, Debug)]
pub struct EvalBatch {
    /// Images f32 (B, 3, H, W), normalised.
    pub images: Tensor,
    /// Their classes (B).
    pub labels: Tensor,
}

/// Classifies all batches with running statistics and adds up what was right, also among the `k`
/// most probable classes.
///
/// # Errors
/// A batch that cannot be read or does not fit the network; no image at all.
pub fn evaluate(
    network: &Network,
    k: usize,
    batches: impl IntoIterator<Item = Result<EvalBatch>>,
) -> Result<Tally> {
    let mut tally = Tally::new(network.config.classes, k);
    for batch in batches {
        let batch = batch?;
        let logits = logits(network, &batch.images)?;
        tally.add(&logits, &batch.labels)?;
    }
    match tally.loss() {
        Some(_) => Ok(tally),
        None => Err(Error::Run("there is no image to evaluate on".into())),
    }
}

/// The batches of a set, in its order.
pub fn batches(set: &EvaluationSet) -> impl Iterator<Item = Result<EvalBatch>> {
    (0..set.batches()).map(|index| {
        let batch = set.batch(index)?;
        Ok(EvalBatch {
            images: batch.image,
            labels: batch.class,
        })
    })
}

/// Class scores (B, K) of images (B, 3, H, W) with running statistics and without a graph.
///
/// # Errors
/// Images that do not fit the network.
pub fn logits(network: &Network, images: &Tensor) -> Result<Tensor> {
    Ok(network
        .net
        .forward(images, &Forward::eval())?
        .logits
        .detach())
}
