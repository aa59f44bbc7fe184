//! Training: from a configuration and its images to a trained network.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use image::{GrayImage, RgbImage};
use mic_data::class_stats::CachedStats;
use mic_data::rng::stream;
use mic_data::transform::keep_ratio;
use mic_data::{LabelledSet, UdaPipeline, Unlabelled, UnlabelledSet};
use mic_nn::forward::Forward;
use mic_nn::ops;
use mic_nn::params::Store;
use mic_nn::threads::train_in_pool;
use mic_run::Learner;
use mic_run::distributed::{Backend, Communicator, Launch, Single, connect};
use mic_run::memory::readable;
use mic_run::state::collect;
use mic_run::train::{Outcome, Plan, Session};

use crate::config::{Config, Images, SetConfig};
use crate::inference::{Predictor, argmax, input};
use crate::learner::SegLearner;
pub use crate::learner::WAITED;
use crate::metrics::{Confusion, Metrics};
use crate::model::{Backbone, SegmentorConfig};
use crate::uda::{Options, STUDENT, TEACHER, Training};
use crate::weights::{Part, Unmatched};
use crate::{Error, Result, footprint, sets, weights};

/// The images of a run, opened.
#[derive(Clone)]
pub struct Setup {
    source: Arc<dyn LabelledSet>,
    target: Option<Arc<dyn UnlabelledSet>>,
    test: Option<Arc<dyn LabelledSet>>,
}

impl Setup {
    /// Opens the sets that the configuration names. Target labels are not opened.
    ///
    /// # Errors
    /// A missing or empty folder: names it.
    pub fn new(config: &Config) -> Result<Self> {
        let data = &config.data;
        let cache = data.loading.open_cache();
        let cache = cache.map_err(|error| Error::Config(error.to_string()))?;
        let (cache, classes) = (cache.as_ref(), &config.classes);
        let (target, test) = (data.target.as_ref(), data.test.as_ref());
        let setup = Self {
            source: sets::source(&data.source, classes, cache)?,
            target: target
                .map(|set| sets::target(set, classes, cache))
                .transpose()?,
            // Read once an evaluation, which takes longer than decoding.
            test: test.map(|set| sets::labelled(set, classes)).transpose()?,
        };
        setup.check_mask(config)?;
        Ok(setup)
    }

    /// Without a crop only the images tell whether a mask block fits; the first one stands for all.
    fn check_mask(&self, config: &Config) -> Result<()> {
        let (Some(mask), None) = (&config.mask, config.data.pipeline.crop) else {
            return Ok(());
        };
        let check = |image: &Unlabelled, set: &SetConfig| {
            let own = image.image.dimensions();
            let size = set.resize.map_or(own, |limit| keep_ratio(own, limit));
            mask.check_fits(size, &format!("{} in {}", image.name, set.key))
        };
        if mask.mode.images != Images::Target {
            check(&self.first_source(config)?, &config.data.source)?;
        }
        if let (Some(set), Some(target)) = (&self.target, &config.data.target)
            && mask.mode.images != Images::Source
        {
            let first = first_good(set.len(), config, |index| set.get(index));
            check(&first?, target)?;
        }
        Ok(())
    }

    fn first_source(&self, config: &Config) -> Result<Unlabelled> {
        first_good(self.source.len(), config, |index| self.source.image(index))
    }

    /// The test images.
    pub fn test(&self) -> Option<&Arc<dyn LabelledSet>> {
        self.test.as_ref()
    }
}

/// The first image that can be read, past as many as may be skipped.
fn first_good(
    images: usize,
    config: &Config,
    get: impl Fn(usize) -> mic_data::Result<Unlabelled>,
) -> Result<Unlabelled> {
    let loading = &config.data.loading;
    let last = loading.skip_bad.min(images.saturating_sub(1));
    let good = (0..last).find_map(|index| get(index).ok());
    let first = good.map_or_else(|| get(last), Ok);
    Ok(first.map_err(|error| loading.advise(error))?)
}

/// A run that ended.
pub struct Trained {
    /// What it reports.
    pub outcome: Outcome,
    config: Config,
    method: Training,
}

/// What a run begins with, besides its configuration.
#[derive(Default)]
pub struct Start<'a> {
    /// Names and tensors of an earlier run's student.
    pub weights: Option<&'a HashMap<String, Tensor>>,
    /// Everything that steps change, from a checkpoint of this very run.
    pub resumed: Option<&'a HashMap<String, Tensor>>,
    /// This process among those of the run; `None` for one alone. Rank 0 has the session with
    /// folder and watchers.
    pub launch: Option<&'a Launch>,
    /// How the processes speak to each other.
    pub backend: Backend,
}

/// The plan of the run that a configuration describes.
///
/// # Errors
/// A configuration that cannot be written.
pub fn plan(config: &Config) -> Result<Plan> {
    Ok(Plan {
        program: "mic-seg".into(),
        config: config.to_toml()?,
        seed: config.seed,
        iterations: config.train.iterations,
        eval_every: config.train.eval_every,
        options: config.run.clone(),
    })
}

/// Trains as the configuration says, from random weights, from `train.init_from`, or from what
/// `start` holds.
///
/// The same configuration, images and initial weights give the same network, bit for bit, for any
/// number of loader threads, and however often the run was stopped and resumed.
///
/// # Errors
/// Images that cannot be read, a loss that is not finite, or weights that do not fit.
pub fn run(
    config: &Config,
    setup: &Setup,
    start: Start<'_>,
    mut session: Session<'_>,
) -> Result<Trained> {
    train_in_pool(None, || {
        let mut learner = learner(config, setup, &start)?;
        let outcome = (|| {
            if let Some(content) = start.resumed {
                learner.restore(content, session.progress.step)?;
            }
            learner.agree(session.progress.step)?;
            // A resumed run has told it before, and is to go on at once.
            if session.folder.is_some() && session.progress.step == 0 {
                tell_footprint(config, setup, learner.method(), &mut session)?;
            }
            mic_run::train::train(&mut learner, &plan(config)?, session)
        })();
        let outcome = outcome.inspect_err(|error| learner.abort_if_others_wait(error))?;
        Ok(Trained {
            outcome,
            config: config.clone(),
            method: learner.into_method()?,
        })
    })?
}

/// Says how much memory the run will take.
fn tell_footprint(
    config: &Config,
    setup: &Setup,
    method: &Training,
    session: &mut Session<'_>,
) -> Result<()> {
    let size = match config.data.pipeline.crop {
        Some(crop) => crop,
        None => {
            let own = setup.first_source(config)?.image.dimensions();
            let limit = config.data.source.resize;
            limit.map_or(own, |limit| keep_ratio(own, limit))
        }
    };
    if let Some(found) = footprint::predict(config, method, size)? {
        session.note(&format!(
            "memory: about {} expected (present {}, gradients and optimiser {}, a checkpoint's copy {}, \
             a step {})",
            readable(found.total()),
            readable(found.present),
            readable(found.training),
            readable(found.checkpoint),
            readable(found.step)
        ));
    }
    Ok(())
}

fn learner(config: &Config, setup: &Setup, start: &Start<'_>) -> Result<SegLearner> {
    let method = build(config, start.weights)?;
    let needs_target = method.options().target.needs_target();
    let target = setup.target.clone().filter(|_| needs_target);
    let pipeline = config.data.pipeline.clone();
    let threads = config.data.loading.loader_threads.max(1);
    let count = || -> Result<CachedStats> {
        let counted = sets::source_stats(config, threads, &|| ())?;
        for note in &counted.notes {
            tracing::warn!("{note}");
        }
        Ok(counted)
    };
    let counted = pipeline.rcs.as_ref().map(|_| count()).transpose()?;
    let (stats, bad) = match counted {
        Some(counted) => (Some(counted.stats), counted.bad),
        None => (None, Vec::new()),
    };
    let source = setup.source.clone();
    let pipeline = UdaPipeline::new(source, target, pipeline, stats.as_ref(), config.seed)?;
    let test = setup.test.clone();
    let ranks: Box<dyn Communicator> = match start.launch {
        Some(launch) => connect(launch, start.backend, &Device::Cpu)?,
        None => Box::new(Single),
    };
    let mut learner = SegLearner::new(config, method, pipeline, test, ranks);
    learner.note_bad_samples(bad)?;
    Ok(learner)
}

/// The method with its networks, holding the weights that the run starts from.
pub(crate) fn build(config: &Config, init: Option<&HashMap<String, Tensor>>) -> Result<Training> {
    let model = SegmentorConfig::of(config)?;
    let options = Options::of(config);
    let fresh = |network: &str| {
        let purpose = match network {
            "student" => "initial weights",
            other => other,
        };
        let rng = stream(config.seed, purpose, 0);
        Store::trainable(rng, DType::F32, &Device::Cpu)
    };
    let pretrained = config.model.pretrained.as_deref();
    let pretrained = pretrained.map(weights::open).transpose()?;
    let imagenet = match (&pretrained, &options.feature_distance) {
        (Some(found), Some(_)) => {
            let store = fresh("student");
            let scope = |store: &Store| store.root().sub("backbone");
            Backbone::new(&model.backbone, &scope(&store))?;
            found.fill(&model, &store, Part::Backbone, Unmatched::Refuse)?;
            let frozen = store.frozen_copy()?;
            Some(Backbone::new(&model.backbone, &scope(&frozen))?)
        }
        _ => None,
    };
    let method = Training::new(&model, options, imagenet, fresh)?;
    if let Some(found) = pretrained {
        found.fill(&model, method.store(), Part::Backbone, Unmatched::Refuse)?;
    }
    if let Some(path) = config.train.init_from.as_deref() {
        let found = weights::open(path)?;
        let part = match config.train.init_head {
            true => Part::Network,
            false => Part::Backbone,
        };
        found.fill(&model, method.store(), part, Unmatched::Refuse)?;
    }
    if let Some(values) = init {
        let report = method.store().load(values)?;
        if !report.complete() || report.matched == 0 {
            return Err(Error::Run(format!(
                "the given weights do not fit the model: {report}; check model.backbone and the \
                 classes"
            )));
        }
    }
    Ok(method)
}

impl Trained {
    /// The configuration of the run.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Names and tensors of the student: parameters and buffers.
    pub fn weights(&self) -> HashMap<String, Tensor> {
        self.method.store().state().into_iter().collect()
    }

    /// Writes the student and, as `ema_model.*`, its teacher, with the configuration.
    ///
    /// # Errors
    /// An unwritable file.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut networks = vec![(STUDENT, self.method.store())];
        networks.extend(self.method.teacher().map(|t| (TEACHER, t.store())));
        let tensors = collect(&networks);
        let config = self.config.to_toml()?;
        weights::write(path, &tensors, HashMap::from([("config".into(), config)]))
    }

    /// The student, ready to predict.
    ///
    /// # Errors
    /// If the weights cannot be copied.
    pub fn predictor(&self) -> Result<Predictor> {
        Predictor::over(self.method.store(), &self.config)
    }

    /// The teacher's labels of images of one size, which form one batch; `None` without a teacher.
    /// As in training, batch norm uses the batch's statistics.
    ///
    /// # Errors
    /// Images that differ in size.
    pub fn teacher_labels(&self, images: &[&RgbImage]) -> Result<Option<Vec<GrayImage>>> {
        let (Some(teacher), Some(first)) = (self.method.teacher(), images.first()) else {
            return Ok(None);
        };
        let (width, height) = first.dimensions();
        let data = &self.config.data;
        let resize = data.target.as_ref().and_then(|set| set.resize);
        let batch = input(images, resize, &data.pipeline.normalise)?;
        let mode = Forward::batch_statistics();
        let logits = teacher.net().encode_decode(&batch, &mode)?;
        let size = (height as usize, width as usize);
        let logits = ops::resize_bilinear(&logits, size, false)?;
        let label = |image| {
            let label = argmax(&logits.narrow(0, image, 1)?)?;
            GrayImage::from_raw(width, height, label)
                .ok_or_else(|| Error::Run("the prediction has another size".into()))
        };
        (0..images.len())
            .map(label)
            .collect::<Result<_>>()
            .map(Some)
    }

    /// How well the teacher's labels agree with those of `set`, in batches of the training's size;
    /// `None` without a teacher. The labels serve this figure only.
    ///
    /// # Errors
    /// Images that cannot be read or that differ in size.
    pub fn pseudo_label_metrics(&self, set: &dyn LabelledSet) -> Result<Option<Metrics>> {
        let mut confusion = Confusion::new(self.config.classes.len());
        for first in (0..set.len()).step_by(self.config.train.batch) {
            let last = (first + self.config.train.batch).min(set.len());
            let samples = (first..last)
                .map(|i| set.get(i))
                .collect::<mic_data::Result<Vec<_>>>()?;
            let images: Vec<&RgbImage> = samples.iter().map(|s| &s.image).collect();
            let Some(labels) = self.teacher_labels(&images)? else {
                return Ok(None);
            };
            for (label, sample) in labels.iter().zip(&samples) {
                confusion.add(label.as_raw(), sample.label.as_raw());
            }
        }
        Ok(Some(confusion.metrics()))
    }

    /// `image` as the masked student sees it, drawn for `step`; `None` without masking.
    ///
    /// # Errors
    /// A block that does not fit the image.
    pub fn masked_example(&self, image: &RgbImage, step: u64) -> Result<Option<RgbImage>> {
        let Some(masked) = &self.method.options().masked else {
            return Ok(None);
        };
        let (w, h) = (image.width() as usize, image.height() as usize);
        let mut rng = stream(self.config.seed, "masked example", step);
        let mask = masked.blocks.sample(&mut rng, 1, h, w)?;
        let visible = mask.mask(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
        let hidden = self
            .config
            .data
            .pipeline
            .normalise
            .mean
            .map(|m| m.round() as u8);
        let mut shown = image.clone();
        for (pixel, visible) in shown.pixels_mut().zip(visible) {
            if visible == 0.0 {
                pixel.0 = hidden;
            }
        }
        Ok(Some(shown))
    }
}
