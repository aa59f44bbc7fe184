//! A run's method and batches, as the training loop drives them.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use image::RgbImage;
use image::imageops::FilterType::Triangle;
use image::imageops::resize;
use mic_data::OrderedLoader;
use mic_data::classification::{
    ClassificationBatch, ClassificationPipeline, ClassifiedSet, EvaluationSet,
};
use mic_data::transform::keep_ratio;
use mic_run::checkpoint::Content;
use mic_run::histogram;
use mic_run::record::{Evaluation, Histogram, Picture};
use mic_run::{Learner, NonFinite, Stepped};

use crate::config::{Config, Evaluated};
use crate::evaluate::{batches, evaluate, logits};
use crate::metrics::{Confusion, argmax};
use crate::model::Network;
use crate::pictures::{self, confusion_matrix};
use crate::train::step;
use crate::uda::{Adaptation, ClsBatch, DISCRIMINATOR, STUDENT, TEACHER};
use crate::{Error, Result};

/// Test images that a run shows.
const PICTURES: usize = 12;
/// Largest width and height of each of them.
const PICTURE_SIZE: (u32, u32) = (128, 128);

/// What a run trains.
pub(crate) struct ClsLearner {
    config: Config,
    classes: Vec<String>,
    adaptation: Adaptation,
    pipeline: Arc<ClassificationPipeline>,
    loader: OrderedLoader<ClassificationBatch>,
    test: Option<Test>,
    /// Of the latest evaluation.
    confusion: Option<Confusion>,
}

/// What a run is measured on.
pub(crate) struct Test {
    /// All images.
    pub set: Arc<dyn ClassifiedSet>,
    /// The same in batches.
    pub batches: EvaluationSet,
}

impl ClsLearner {
    /// A learner before its first step.
    pub(crate) fn new(
        config: &Config,
        classes: &[String],
        adaptation: Adaptation,
        pipeline: ClassificationPipeline,
        test: Option<Test>,
    ) -> Self {
        let pipeline = Arc::new(pipeline);
        Self {
            loader: loader(&pipeline, 0, config.data.loader_threads),
            config: config.clone(),
            classes: classes.to_vec(),
            adaptation,
            pipeline,
            test,
            confusion: None,
        }
    }

    /// The trained method.
    pub(crate) fn into_adaptation(self) -> Adaptation {
        self.adaptation
    }

    fn evaluated(&self) -> &Network {
        match (self.config.train.evaluate, self.adaptation.teacher()) {
            (Evaluated::Teacher, Some(teacher)) => teacher.network(),
            _ => self.adaptation.student(),
        }
    }

    /// Some test images, the same ones each time, with what the network says of them.
    fn answers(&self, test: &Test) -> Result<Option<Picture>> {
        let (count, transform) = (PICTURES.min(test.set.len()), &self.config.data.transform);
        let tables = transform.tables();
        let answer = |i: usize| -> Result<(RgbImage, bool)> {
            let sample = test.set.get(i * test.set.len() / count)?;
            let image = transform.apply_evaluation(&sample.image);
            let (width, height) = image.dimensions();
            let mut input = vec![0f32; 3 * (width * height) as usize];
            tables.write(&image, false, (width, height), &mut input);
            let shape = (1, 3, height as usize, width as usize);
            let input = Tensor::from_vec(input, shape, &Device::Cpu)?;
            let logits = logits(self.evaluated(), &input)?.get(0)?.to_vec1()?;
            let small = match keep_ratio((width, height), PICTURE_SIZE) {
                small if small.0 < width => resize(&image, small.0, small.1, Triangle),
                _ => image,
            };
            Ok((small, argmax(&logits) == sample.class))
        };
        let answers = (0..count).map(answer).collect::<Result<Vec<_>>>()?;
        Ok(pictures::answers(&answers))
    }

    /// Names the weights and inputs that are not finite either.
    fn explain(&self, mut found: NonFinite, batch: &ClsBatch) -> Error {
        let state = match self.adaptation.state() {
            Ok(state) => state,
            Err(error) => return error,
        };
        let mut named: Vec<(&str, &Tensor)> = state.iter().map(|(n, t)| (n.as_str(), t)).collect();
        named.push(("source images", &batch.source));
        if let Some(target) = &batch.target {
            named.push(("target images", target));
        }
        found.tensors.extend(NonFinite::among(named));
        found.into()
    }
}

/// Batches from step `start` on.
fn loader(
    pipeline: &Arc<ClassificationPipeline>,
    start: u64,
    threads: usize,
) -> OrderedLoader<ClassificationBatch> {
    let pipeline = Arc::clone(pipeline);
    OrderedLoader::new(start, threads, move |step| pipeline.batch(step))
}

impl Learner for ClsLearner {
    type Error = Error;

    fn step(&mut self, number: u64) -> Result<Stepped> {
        let batch = self
            .loader
            .next()
            .ok_or_else(|| Error::Run("the loader stopped early".into()))??;
        let batch = ClsBatch {
            source: batch.source.image,
            labels: batch.source.class,
            target: batch.target.map(|target| target.image),
        };
        let lr = self.adaptation.lr(number);
        let done = step(&mut self.adaptation, self.config.seed, number, &batch);
        let scalars = done.map_err(|error| match error {
            Error::NonFinite(found) => self.explain(found, &batch),
            other => other,
        })?;
        Ok(Stepped { scalars, lr })
    }

    fn non_finite(error: &Error) -> Option<&NonFinite> {
        match error {
            Error::NonFinite(found) => Some(found),
            _ => None,
        }
    }

    /// A failed step has taken back everything itself.
    fn undo(&mut self) -> Result<()> {
        Ok(())
    }

    fn evaluate(&mut self, _done: u64) -> Result<Option<Evaluation>> {
        let Some(test) = &self.test else {
            return Ok(None);
        };
        let tally = evaluate(self.evaluated(), 5, batches(&test.batches))?;
        let evaluation = tally.evaluation(&self.classes, self.config.train.select);
        self.confusion = Some(tally.confusion);
        Ok(Some(evaluation))
    }

    fn pictures(&mut self, _done: u64) -> Result<Vec<Picture>> {
        let matrix = self.confusion.as_ref().map(confusion_matrix);
        let answers = self.test.as_ref().map(|test| self.answers(test));
        let answers = answers.transpose()?.flatten();
        Ok(matrix.into_iter().chain(answers).collect())
    }

    fn histograms(&mut self) -> Result<Vec<Histogram>> {
        Ok(histogram::all(&self.adaptation.student().store.params())?)
    }

    fn content(&self) -> Result<Content> {
        let network = |name: &str| {
            let networks = [STUDENT, TEACHER, DISCRIMINATOR];
            networks.iter().any(|prefix| name.starts_with(prefix))
        };
        let state = self.adaptation.state()?.into_iter();
        let (weights, training) = state.partition(|(name, _)| network(name));
        Ok(Content { weights, training })
    }

    fn restore(&mut self, content: &HashMap<String, Tensor>, done: u64) -> Result<()> {
        self.adaptation.restore(content)?;
        self.loader = loader(&self.pipeline, done, self.config.data.loader_threads);
        Ok(())
    }
}
