//! Training: from a configuration and its images to a trained network.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Tensor};
use mic_data::detection::DetectionPipeline;
use mic_data::rng::stream;
use mic_nn::params::Store;
use mic_nn::threads::train_in_pool;
use mic_run::Learner;
use mic_run::train::{Outcome, Plan, Session};

use crate::batch::Batch;
use crate::config::Config;
use crate::detector::Model;
use crate::learner::DetLearner;
use crate::metrics::Metrics;
use crate::sets::Sets;
use crate::tap::Tap;
use crate::uda::{Adaptation, Draws, Options};
use crate::weights::{self, Loaded, Part};
use crate::{Error, Result, checkpoint};

/// The method that a configuration names, with its networks for `classes` classes (without the
/// background), holding the weights that the run starts from: random ones, those of
/// `model.pretrained`, or those of `train.init_from`.
///
/// # Errors
/// A network that cannot be built; weights that cannot be read or do not fit.
pub fn build(config: &Config, classes: usize) -> Result<Adaptation> {
    let rng = stream(config.seed, "initial weights", 0);
    let store = Store::trainable(rng, DType::F32, &Device::Cpu);
    let student = Model::new(&config.detector(classes), store)?;
    if let Some(path) = &config.model.pretrained {
        tell(&weights::load(&student, path, Part::Backbone)?);
    }
    if let Some(path) = &config.train.init_from {
        tell(&checkpoint::load_student(&student, path, Part::Start)?);
    }
    Adaptation::new(student, Options::of(config))
}

/// What does not look right is worth a warning.
fn tell(loaded: &Loaded) {
    tracing::info!("{loaded}");
    for doubt in &loaded.doubts {
        tracing::warn!("{}: {doubt}", loaded.names.describe());
    }
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
    batch: &Batch,
) -> Result<BTreeMap<String, f64>> {
    let draws = Draws::sample(adaptation.options(), seed, step, batch.target.as_ref())?;
    adaptation.step(step, batch, &draws, &mut Tap::none())
}

/// A run that ended.
pub struct Trained {
    /// What it reports.
    pub outcome: Outcome,
    /// The trained method.
    pub adaptation: Adaptation,
    /// Of the last evaluation, if there was one.
    pub metrics: Option<Metrics>,
}

/// What the training loop is to do.
///
/// # Errors
/// A configuration that TOML cannot express.
pub fn plan(config: &Config) -> Result<Plan> {
    Ok(Plan {
        program: "mic-det".into(),
        config: config.to_toml()?,
        seed: config.seed,
        iterations: config.train.iterations,
        eval_every: config.train.eval_every,
        options: config.run.clone(),
    })
}

/// Trains as the configuration says, from the beginning or from what `resumed` holds: everything that
/// steps change, from a checkpoint of this very run.
///
/// The same configuration and images give the same network, bit for bit, for any number of loader
/// threads, and however often the run was stopped and resumed.
///
/// # Errors
/// Images that cannot be read, a loss that is not finite, weights that do not fit, files that cannot
/// be written.
pub fn run(
    config: &Config,
    sets: &Sets,
    resumed: Option<&HashMap<String, Tensor>>,
    session: Session<'_>,
) -> Result<Trained> {
    train_in_pool(None, || {
        let mut learner = learner(config, sets)?;
        if let Some(content) = resumed {
            learner.restore(content, session.progress.step)?;
        }
        let outcome = mic_run::train::train(&mut learner, &plan(config)?, session)?;
        let (adaptation, metrics) = learner.finish();
        Ok(Trained {
            outcome,
            adaptation,
            metrics,
        })
    })?
}

fn learner(config: &Config, sets: &Sets) -> Result<DetLearner> {
    let classes = sets.source.class_names().len();
    Ok(DetLearner::new(
        config,
        build(config, classes)?,
        pipeline(config, sets)?,
        sets.test.clone(),
    ))
}

/// Checks that batches can be made, before anything is written.
///
/// # Errors
/// [`Error::Config`] names the set.
pub fn check(config: &Config, sets: &Sets) -> Result<()> {
    pipeline(config, sets).map(|_| ())
}

fn pipeline(config: &Config, sets: &Sets) -> Result<DetectionPipeline> {
    let settings = config.data.pipeline(config.train.batch);
    let (source, target) = (sets.source.clone(), sets.target.clone());
    let pipeline = DetectionPipeline::new(source, target, settings, config.seed, (0, 1));
    pipeline.map_err(|error| Error::Config(format!("train.batch or data: {error}")))
}
