//! Training: from a configuration and its images to a trained network.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use image::{GrayImage, RgbImage};
use mic_data::rng::stream;
use mic_data::transform::keep_ratio;
use mic_data::{ClassStats, LabelledSet, OrderedLoader, UdaPipeline, Unlabelled, UnlabelledSet};
use mic_nn::forward::{Forward, RandomDrops};
use mic_nn::ops;
use mic_nn::params::Store;
use mic_nn::threads::train_in_pool;

use crate::config::{Config, Images, SetConfig};
use crate::evaluate::evaluate;
use crate::inference::{Predictor, argmax, input};
use crate::metrics::{Confusion, Metrics};
use crate::model::{Backbone, SegmentorConfig};
use crate::optimise::Optimisation;
use crate::record::{Observer, Outcome, StepRecord};
use crate::uda::{Draws, Options, Training};
use crate::{Error, Result, memory, sets, weights};

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
        let labelled = |set| sets::labelled(set, &config.classes);
        let target = data.target.as_ref();
        let setup = Self {
            source: labelled(&data.source)?,
            target: target
                .map(|set| sets::unlabelled(set, &config.classes))
                .transpose()?,
            test: data.test.as_ref().map(labelled).transpose()?,
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
            check(&self.source.image(0)?, &config.data.source)?;
        }
        if let (Some(set), Some(target)) = (&self.target, &config.data.target)
            && mask.mode.images != Images::Source
        {
            check(&set.get(0)?, target)?;
        }
        Ok(())
    }

    /// The test images.
    pub fn test(&self) -> Option<&Arc<dyn LabelledSet>> {
        self.test.as_ref()
    }
}

/// A finished run.
pub struct Trained {
    /// What it reports.
    pub outcome: Outcome,
    config: Config,
    method: Training,
}

/// Trains as the configuration says, from random weights, from `train.init_from`, or from `init`
/// (names and tensors of an earlier run's student).
///
/// The same configuration, images and initial weights give the same network, bit for bit, for any
/// number of loader threads.
///
/// # Errors
/// Images that cannot be read, a loss that is not finite, or weights that do not fit.
pub fn run(
    config: &Config,
    setup: &Setup,
    init: Option<&HashMap<String, Tensor>>,
    observer: &mut (dyn Observer + Send),
) -> Result<Trained> {
    train_in_pool(None, || run_here(config, setup, init, observer))?
}

fn run_here(
    config: &Config,
    setup: &Setup,
    init: Option<&HashMap<String, Tensor>>,
    observer: &mut (dyn Observer + Send),
) -> Result<Trained> {
    memory::reset_peak();
    let started = Instant::now();
    let mut method = build(config, init)?;
    let mut optimisation = Optimisation::new(config, &method.parameters());
    let options = method.options().clone();
    let target = setup
        .target
        .clone()
        .filter(|_| options.target.needs_target());
    let pipeline = config.data.pipeline.clone();
    let threads = config.data.loader_threads.max(1);
    let count = || ClassStats::count(setup.source.as_ref(), config.classes.len(), threads);
    let stats = pipeline.rcs.as_ref().map(|_| count()).transpose()?;
    let source = setup.source.clone();
    let pipeline = UdaPipeline::new(source, target, pipeline, stats.as_ref(), config.seed)?;
    let mut loader = OrderedLoader::new(0, config.data.loader_threads, move |step| {
        pipeline.batch(step)
    });
    let mut steps = Vec::new();
    let mut evaluations = Vec::new();
    for step in 0..config.train.iterations {
        let clock = Instant::now();
        let batch = loader
            .next()
            .ok_or_else(|| Error::Run("the loader stopped early".into()))??;
        let draws = Draws::sample(&options, config.seed, step, &batch.source.label)?;
        let drops = RandomDrops::new(stream(config.seed, "dropout", step));
        let scalars = method.step(step, &batch, &draws, &drops, None)?;
        let lr = optimisation.apply(step, method.grads())?;
        method.after_update(step)?;
        let record = StepRecord {
            step,
            scalars,
            lr,
            seconds: clock.elapsed().as_secs_f64(),
        };
        observer.step(&record);
        steps.push(record);
        let done = step + 1;
        let every = config.train.eval_every;
        let due = every > 0 && done.is_multiple_of(every) || done == config.train.iterations;
        if let Some(test) = setup.test.as_ref().filter(|_| due) {
            let predictor = Predictor::over(method.store(), config)?;
            let metrics = evaluate(&predictor, test.as_ref(), &config.classes)?;
            observer.evaluated(done, &metrics);
            evaluations.push((done, metrics));
        }
    }
    let mut seconds: Vec<f64> = steps.iter().map(|s| s.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    let outcome = Outcome {
        seconds_per_step: seconds.get(seconds.len() / 2).copied().unwrap_or(0.0),
        seconds: started.elapsed().as_secs_f64(),
        peak_memory: memory::peak(),
        steps,
        evaluations,
    };
    Ok(Trained {
        outcome,
        config: config.clone(),
        method,
    })
}

/// The method with its networks, holding the weights that the run starts from.
fn build(config: &Config, init: Option<&HashMap<String, Tensor>>) -> Result<Training> {
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
    let backbone = pretrained.map(weights::read).transpose()?;
    let imagenet = match (&backbone, &options.feature_distance) {
        (Some(values), Some(_)) => {
            let store = fresh("student");
            Backbone::new(&model.backbone, &store.root())?;
            load(&store, values, pretrained, false)?;
            Some(Backbone::new(
                &model.backbone,
                &store.frozen_copy()?.root(),
            )?)
        }
        _ => None,
    };
    let method = Training::new(&model, options, imagenet, fresh)?;
    if let Some(values) = backbone {
        let values = values
            .into_iter()
            .map(|(name, tensor)| (format!("backbone.{name}"), tensor))
            .collect();
        load(method.store(), &values, pretrained, false)?;
    }
    if let Some(path) = config.train.init_from.as_deref() {
        load(method.store(), &weights::read(path)?, Some(path), true)?;
    }
    if let Some(values) = init {
        load(method.store(), values, None, true)?;
    }
    Ok(method)
}

/// Fills a store; `whole` demands every tensor, else those of the backbone are enough.
fn load(
    store: &Store,
    values: &HashMap<String, Tensor>,
    path: Option<&Path>,
    whole: bool,
) -> Result<()> {
    let report = store.load(values)?;
    let fits = if whole {
        report.complete()
    } else {
        report.reshaped.is_empty() && report.missing.iter().all(|n| n.starts_with("decode_head."))
    };
    if fits && report.matched > 0 {
        return Ok(());
    }
    let name = path.map_or("the given weights".into(), |p| p.display().to_string());
    Err(Error::Run(format!(
        "{name} do not fit the model: {report}; check model.backbone and the classes"
    )))
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
        let named = |prefix: &str, store: &Store| {
            let rename = |(name, tensor)| (format!("{prefix}{name}"), tensor);
            store.state().into_iter().map(rename).collect::<Vec<_>>()
        };
        let mut tensors = named("model.", self.method.store());
        if let Some(teacher) = self.method.teacher() {
            tensors.extend(named("ema_model.", teacher.store()));
        }
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
