//! Training: from a configuration and batches to a trained network.

use std::collections::BTreeMap;
use std::ops::Range;

use mic_data::rng::stream;
use mic_nn::forward::RandomDrops;

use crate::config::Config;
use crate::model::{ClassifierConfig, Network};
use crate::uda::{Adaptation, ClsBatch, Draws, Options};
use crate::{Result, weights};

/// The method that a configuration names, with its networks, holding the weights that the run starts
/// from: random ones, those of `model.pretrained`, or those of `train.init_from`.
///
/// # Errors
/// A network that cannot be built; weights that cannot be read or do not fit.
pub fn build(config: &Config, classes: usize) -> Result<Adaptation> {
    let rng = stream(config.seed, "initial weights", 0);
    let student = Network::new(&ClassifierConfig::of(config, classes), rng)?;
    if let Some(path) = &config.model.pretrained {
        weights::load_backbone(&student, path)?;
    }
    if let Some(path) = &config.train.init_from {
        weights::load_all(&student, path)?;
    }
    Adaptation::new(student, Options::of(config), config.seed)
}

/// One step: draws what the step needs from the run's seed and trains on `batch`. With the same
/// state, seed, number and batch it does the same, bit for bit.
///
/// # Errors
/// Those of [`Adaptation::step`].
pub fn step(
    adaptation: &mut Adaptation,
    seed: u64,
    step: u64,
    batch: &ClsBatch,
) -> Result<BTreeMap<String, f64>> {
    let (images, _, height, width) = batch.target.dims4()?;
    let draws = Draws::sample(adaptation.options(), seed, step, (images, height, width))?;
    let drops = RandomDrops::new(stream(seed, "dropout", step));
    adaptation.step(step, batch, &draws, &drops, None)
}

/// Trains for the steps of `range` on `batches` of their numbers; `done` sees the method and the
/// scalars after each.
///
/// # Errors
/// Those of `batches`, `done` and [`step`].
pub fn run(
    adaptation: &mut Adaptation,
    seed: u64,
    range: Range<u64>,
    mut batches: impl FnMut(u64) -> Result<ClsBatch>,
    mut done: impl FnMut(u64, &Adaptation, BTreeMap<String, f64>) -> Result<()>,
) -> Result<()> {
    for number in range {
        let batch = batches(number)?;
        let scalars = step(adaptation, seed, number, &batch)?;
        done(number, adaptation, scalars)?;
    }
    Ok(())
}
