//! Training: from a configuration and its images to a trained network.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use candle_core::Tensor;
use mic_data::classification::{
    ClassificationPipeline, ClassificationPipelineConfig, ClassifiedSet, EvaluationSet,
};
use mic_data::rng::stream;
use mic_nn::forward::RandomDrops;
use mic_nn::threads::train_in_pool;
use mic_run::Learner;
use mic_run::train::{Outcome, Plan, Session};

use crate::config::Config;
use crate::evaluate::{batches, evaluate};
use crate::learner::{ClsLearner, Test};
use crate::metrics::Tally;
use crate::model::{ClassifierConfig, Network};
use crate::sets::Sets;
use crate::uda::{Adaptation, ClsBatch, Draws, Options, STUDENT, TEACHER};
use crate::{Error, Result, weights};

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
    let draws = match &batch.target {
        Some(target) => {
            let (images, _, height, width) = target.dims4()?;
            Draws::sample(adaptation.options(), seed, step, (images, height, width))?
        }
        None => Draws::default(),
    };
    let drops = RandomDrops::new(stream(seed, "dropout", step));
    adaptation.step(step, batch, &draws, &drops, None)
}

/// A run that ended.
pub struct Trained {
    /// What it reports.
    pub outcome: Outcome,
    /// The trained method.
    pub adaptation: Adaptation,
    /// The configuration, with the names of the classes.
    pub config: Config,
}

impl Trained {
    /// Writes the student and, as `ema_model.*`, its teacher, with the configuration.
    ///
    /// # Errors
    /// An unwritable file.
    pub fn save(&self, path: &Path) -> Result<()> {
        let tensors = self.adaptation.state()?.into_iter();
        let networks = tensors.filter(|(name, _)| {
            let wanted = [STUDENT, TEACHER];
            wanted.iter().any(|prefix| name.starts_with(prefix))
        });
        let config = HashMap::from([("config".to_owned(), self.config.to_toml()?)]);
        weights::write(path, &networks.collect::<Vec<_>>(), config)
    }

    /// What the student says of the images of a labelled set.
    ///
    /// # Errors
    /// Images that cannot be read, or none.
    pub fn measure(&self, set: Arc<dyn ClassifiedSet>) -> Result<Tally> {
        let set = self.batches(set)?;
        evaluate(self.adaptation.student(), 5, batches(&set))
    }

    /// What the teacher says of the images of a labelled set, in batches as in training (without the
    /// images that are left over); `None` without a teacher or a whole batch.
    ///
    /// # Errors
    /// Images that cannot be read.
    pub fn measure_teacher(&self, set: Arc<dyn ClassifiedSet>) -> Result<Option<Tally>> {
        let whole = set.len() / self.config.train.batch;
        let Some(teacher) = self.adaptation.teacher().filter(|_| whole > 0) else {
            return Ok(None);
        };
        let set = self.batches(set)?;
        let mut tally = Tally::new(teacher.network().config.classes, 1);
        for batch in batches(&set).take(whole) {
            let batch = batch?;
            tally.add(&teacher.logits(&batch.images)?, &batch.labels)?;
        }
        Ok(Some(tally))
    }

    fn batches(&self, set: Arc<dyn ClassifiedSet>) -> Result<EvaluationSet> {
        let transform = self.config.data.transform.clone();
        let batch = self.config.train.batch;
        Ok(EvaluationSet::new(set, batch, transform)?)
    }
}

/// What the training loop is to do.
///
/// # Errors
/// A configuration that TOML cannot express.
pub fn plan(config: &Config) -> Result<Plan> {
    Ok(Plan {
        program: "mic-cls".into(),
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
        Ok(Trained {
            outcome,
            adaptation: learner.into_adaptation(),
            config: config.clone().with_classes(sets.source.class_names())?,
        })
    })?
}

fn learner(config: &Config, sets: &Sets) -> Result<ClsLearner> {
    let classes = sets.source.class_names();
    let test = sets.test.as_ref().map(|set| -> Result<Test> {
        let transform = config.data.transform.clone();
        Ok(Test {
            set: set.clone(),
            batches: EvaluationSet::new(set.clone(), config.train.batch, transform)?,
        })
    });
    Ok(ClsLearner::new(
        config,
        classes,
        build(config, classes.len())?,
        pipeline(config, sets)?,
        test.transpose()?,
    ))
}

/// Checks that there are enough images for a batch, before anything is written.
///
/// # Errors
/// [`Error::Config`] names the set.
pub fn check(config: &Config, sets: &Sets) -> Result<()> {
    pipeline(config, sets).map(|_| ())
}

fn pipeline(config: &Config, sets: &Sets) -> Result<ClassificationPipeline> {
    let pipeline = ClassificationPipelineConfig {
        batch: config.train.batch,
        transform: config.data.transform.clone(),
    };
    let (source, target) = (sets.source.clone(), sets.target.clone());
    let pipeline = ClassificationPipeline::new(source, target, pipeline, config.seed, (0, 1));
    pipeline.map_err(|error| Error::Config(format!("train.batch or data: {error}")))
}
