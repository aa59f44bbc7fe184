//! A run's method and batches, as the training loop drives them.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::Tensor;
use image::RgbImage;
use mic_data::detection::{DetectionPipeline, DetectionSet};
use mic_data::{BadSample, Feed};
use mic_run::checkpoint::Content;
use mic_run::histogram;
use mic_run::record::{self, Evaluation, Histogram, Picture};
use mic_run::{Learner, NonFinite, Stepped};

use crate::batch::Batch;
use crate::config::{Config, Evaluated};
use crate::detector::Model;
use crate::evaluate::evaluate;
use crate::inference::detect_image;
use crate::metrics::Metrics;
use crate::pictures;
use crate::train::step;
use crate::uda::{Adaptation, STUDENT, TEACHER};
use crate::{Error, Result};

/// Test images that a run shows.
const PICTURES: usize = 6;

/// What a run trains.
pub(crate) struct DetLearner {
    config: Config,
    adaptation: Adaptation,
    feed: Feed<DetectionPipeline>,
    test: Option<Arc<dyn DetectionSet>>,
    /// Of the latest evaluation.
    metrics: Option<Metrics>,
}

impl DetLearner {
    /// A learner before its first step.
    pub(crate) fn new(
        config: &Config,
        adaptation: Adaptation,
        pipeline: DetectionPipeline,
        test: Option<Arc<dyn DetectionSet>>,
    ) -> Self {
        Self {
            feed: Feed::new(pipeline, &config.data.loading, (0, 1)),
            config: config.clone(),
            adaptation,
            test,
            metrics: None,
        }
    }

    /// The trained method, and the metrics of the last evaluation.
    pub(crate) fn finish(self) -> (Adaptation, Option<Metrics>) {
        (self.adaptation, self.metrics)
    }

    fn evaluated(&self) -> &Model {
        match (self.config.train.evaluate, self.adaptation.teacher()) {
            (Evaluated::Teacher, Some(teacher)) => teacher.model(),
            _ => self.adaptation.student(),
        }
    }

    /// Names the weights and inputs that are not finite either.
    fn explain(&self, mut found: NonFinite, batch: &Batch) -> Error {
        let state = match self.adaptation.state() {
            Ok(state) => state,
            Err(error) => return error,
        };
        let mut named: Vec<(&str, &Tensor)> = state.iter().map(|(n, t)| (n.as_str(), t)).collect();
        named.push(("source images", &batch.source.image));
        if let Some(target) = &batch.target {
            named.push(("target images", &target.image));
        }
        found.tensors.extend(NonFinite::among(named));
        found.into()
    }
}

impl Learner for DetLearner {
    type Error = Error;

    fn step(&mut self, number: u64) -> Result<Stepped> {
        let batch = self.feed.next_batch()?;
        let batch = Batch::from(batch);
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

    fn new_bad_samples(&mut self) -> Vec<record::BadSample> {
        let fresh = self.feed.take_fresh().into_iter();
        let told =
            fresh.map(|BadSample { set, index, reason }| record::BadSample { set, index, reason });
        told.collect()
    }

    fn restore_bad_samples(&mut self, known: &[record::BadSample]) {
        let known = known.iter().cloned();
        let known =
            known.map(|record::BadSample { set, index, reason }| BadSample { set, index, reason });
        self.feed.bad().restore(known);
    }

    fn evaluate(&mut self, _done: u64) -> Result<Option<Evaluation>> {
        let Some(test) = &self.test else {
            return Ok(None);
        };
        let data = &self.config.data;
        let metrics = evaluate(
            self.evaluated(),
            &data.transform,
            test,
            data.loading.loader_threads.max(1),
            &|_| (),
        )?;
        let mut evaluation = metrics.evaluation();
        evaluation.main = self.config.train.select.name().into();
        self.metrics = Some(metrics);
        Ok(Some(evaluation))
    }

    fn pictures(&mut self, _done: u64) -> Result<Vec<Picture>> {
        let Some(test) = &self.test else {
            return Ok(Vec::new());
        };
        let (model, transform) = (self.evaluated(), &self.config.data.transform);
        let detect = |image: &RgbImage| detect_image(model, transform, image);
        let picture = pictures::detections(test.as_ref(), PICTURES, &detect)?;
        Ok(picture.into_iter().collect())
    }

    fn histograms(&mut self) -> Result<Vec<Histogram>> {
        Ok(histogram::all(&self.adaptation.student().store.params())?)
    }

    fn content(&self) -> Result<Content> {
        let network = |name: &str| [STUDENT, TEACHER].iter().any(|p| name.starts_with(p));
        let state = self.adaptation.state()?.into_iter();
        let (weights, training) = state.partition(|(name, _)| network(name));
        Ok(Content { weights, training })
    }

    fn restore(&mut self, content: &HashMap<String, Tensor>, done: u64) -> Result<()> {
        self.adaptation.restore(content)?;
        self.feed.restart(done);
        Ok(())
    }
}
