//! A run's networks, method, optimiser and batches, as the training loop drives them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use candle_core::Tensor;
use image::RgbImage;
use image::imageops::{FilterType, resize};
use mic_data::overlay::colourise;
use mic_data::rng::stream;
use mic_data::transform::keep_ratio;
use mic_data::{BadSample, Feed, LabelledSet, UdaBatch, UdaPipeline};
use mic_nn::forward::RandomDrops;
use mic_nn::optim::Grads;
use mic_nn::params::Buffer;
use mic_run::checkpoint::Content;
use mic_run::cli::message;
use mic_run::distributed::{
    BUCKET_BYTES, Communicator, average, broadcast_store, mean, same_everywhere,
};
use mic_run::histogram;
use mic_run::record::{self, Evaluation, Histogram, Picture, Scalars};
use mic_run::{Learner, NonFinite, Stepped};

use crate::config::Config;
use crate::evaluate::evaluate;
use crate::inference::Predictor;
use crate::optimise::Optimisation;
use crate::uda::{Draws, Training};
use crate::{Error, Result};

/// Scalar with the seconds that a step waited for its batch: a clock's, unlike the others.
pub const WAITED: &str = "data.seconds";
/// Test images that a run shows.
const PICTURES: usize = 3;
/// Largest width and height of each of them.
const PICTURE_SIZE: (u32, u32) = (384, 256);

/// What a run trains.
pub(crate) struct SegLearner {
    config: Config,
    method: Training,
    optimisation: Optimisation,
    /// This process's batches.
    feed: Feed<UdaPipeline>,
    test: Option<Arc<dyn LabelledSet>>,
    /// The other processes of the run.
    ranks: Box<dyn Communicator>,
    /// Sum of the gradients of the parts of a batch, where there are several.
    sum: Option<Grads>,
    /// Running statistics as they were before the step.
    before: Vec<(Buffer, Tensor)>,
}

impl SegLearner {
    /// A learner before its first step.
    pub(crate) fn new(
        config: &Config,
        method: Training,
        pipeline: UdaPipeline,
        test: Option<Arc<dyn LabelledSet>>,
        ranks: Box<dyn Communicator>,
    ) -> Self {
        let rank = (ranks.rank(), ranks.world_size());
        let parts = config.train.accumulate;
        Self {
            optimisation: Optimisation::new(config, &method.parameters()),
            feed: Feed::new(pipeline, &config.data.loading, rank),
            ranks,
            sum: (parts > 1).then(|| Grads::new(&method.parameters())),
            config: config.clone(),
            method,
            test,
            before: Vec::new(),
        }
    }

    /// The trained method, once all processes have come to the end.
    ///
    /// # Errors
    /// Another process that failed.
    pub(crate) fn into_method(mut self) -> Result<Training> {
        self.ranks.finish()?;
        Ok(self.method)
    }

    /// What is trained.
    pub(crate) fn method(&self) -> &Training {
        &self.method
    }

    /// Ends this process after an error while others are waiting for it.
    pub(crate) fn abort_if_others_wait(&mut self, error: &Error) {
        if self.ranks.world_size() > 1 {
            // The process may end in here.
            tracing::error!("{}", message(error));
            self.ranks.abort(1);
        }
    }

    /// Checks that all processes do the same run, and gives them the same networks.
    ///
    /// # Errors
    /// Configurations that differ, or processes that cannot speak to each other.
    pub(crate) fn agree(&mut self, done: u64) -> Result<()> {
        let text = self.config.to_toml()?;
        let step = format!("{done} steps done");
        same_everywhere(&mut *self.ranks, "the checkpoint", step.as_bytes())?;
        same_everywhere(&mut *self.ranks, "the configuration", text.as_bytes())?;
        let teachers = [self.method.teacher(), self.method.mask_teacher()];
        let teachers = teachers.into_iter().flatten().map(|t| t.store());
        let stores = std::iter::once(self.method.store()).chain(teachers);
        for store in stores {
            broadcast_store(&mut *self.ranks, "network", store)?;
        }
        Ok(())
    }

    /// Number of the draw that this process makes for a part of a step's batch: n processes of
    /// batch b draw together what one process draws that accumulates n batches of b.
    fn draw(&self, step: u64, part: u64) -> u64 {
        let part = step * self.config.train.accumulate as u64 + part;
        part * self.ranks.world_size() as u64 + self.ranks.rank() as u64
    }

    /// The gradients and scalars of all parts of this process's share of the batch.
    fn share(&mut self, step: u64) -> Result<Scalars> {
        let parts = self.config.train.accumulate as u64;
        if let Some(sum) = &mut self.sum {
            sum.clear();
        }
        let mut scalars = Scalars::new();
        for part in 0..parts {
            let new = self.part(step, part).inspect_err(|_| {
                // The loader goes on with the next step's first part.
                for _ in part + 1..parts {
                    let _ = self.feed.next_batch();
                }
            });
            for (name, value) in new? {
                *scalars.entry(name).or_default() += value / parts as f64;
            }
            if let Some(sum) = &mut self.sum {
                sum.add(self.method.grads())?;
            }
        }
        if let Some(sum) = &mut self.sum {
            sum.scale(1.0 / parts as f64)?;
        }
        Ok(scalars)
    }

    /// Counts samples that were found bad before the first step.
    ///
    /// # Errors
    /// More of them than may be skipped.
    pub(crate) fn note_bad_samples(&mut self, bad: Vec<BadSample>) -> Result<()> {
        self.feed.bad().note(bad);
        Ok(self.feed.bad().check()?)
    }

    /// Tells every process what the others have found, so that all have one list, whose length the
    /// limit is for, and end together if it is too long.
    fn share_bad_samples(&mut self) -> Result<()> {
        let bad = self.feed.bad();
        if self.ranks.world_size() == 1 || bad.limit() == 0 {
            return Ok(());
        }
        let own = serde_json::to_vec(bad.fresh()).map_err(unreadable)?;
        for list in self.ranks.all_gather(&own)? {
            let list: Vec<BadSample> = serde_json::from_slice(&list).map_err(unreadable)?;
            bad.note(list);
        }
        Ok(bad.check()?)
    }

    /// The same means of the scalars and gradients on all processes.
    fn average(&mut self, scalars: &mut Scalars) -> Result<()> {
        let grads = match &mut self.sum {
            Some(sum) => sum,
            None => self.method.grads_mut(),
        };
        average(grads, &mut *self.ranks, BUCKET_BYTES)?;
        let mut values: Vec<f64> = scalars.values().copied().collect();
        mean(&mut *self.ranks, &mut values)?;
        for (value, mean) in scalars.values_mut().zip(values) {
            *value = mean;
        }
        Ok(())
    }

    fn buffers(&self) -> Vec<(Buffer, Tensor)> {
        let teachers = [self.method.teacher(), self.method.mask_teacher()];
        let teachers = teachers.into_iter().flatten().map(|t| t.store());
        let stores = std::iter::once(self.method.store()).chain(teachers);
        let buffers = stores.flat_map(|store| store.buffers());
        buffers.map(|(_, b)| (b.clone(), b.get())).collect()
    }

    /// Losses and gradients of part `part` of step `step`'s batch.
    fn part(&mut self, step: u64, part: u64) -> Result<Scalars> {
        let clock = Instant::now();
        let batch = self.feed.next_batch()?;
        let waited = clock.elapsed().as_secs_f64();
        let seed = self.config.seed;
        let draw = self.draw(step, part);
        let draws = Draws::sample(self.method.options(), seed, draw, &batch.source.label)?;
        let drops = RandomDrops::new(stream(seed, "dropout", draw));
        let done = self.method.step(step, &batch, &draws, &drops, None);
        let mut scalars = done.map_err(|error| match error {
            Error::NonFinite(found) => self.explain(found, &batch),
            other => other,
        })?;
        // As the sum over the parts is divided by their number.
        let parts = self.config.train.accumulate as f64;
        scalars.insert(WAITED.into(), waited * parts);
        Ok(scalars)
    }

    /// Names the weights and inputs that are not finite either.
    fn explain(&self, mut found: NonFinite, batch: &UdaBatch) -> Error {
        let state = match self.method.state() {
            Ok(state) => state,
            Err(error) => return error,
        };
        let mut named: Vec<(&str, &Tensor)> =
            state.iter().map(|(name, t)| (name.as_str(), t)).collect();
        named.push(("source images", &batch.source.image));
        if let Some(target) = &batch.target {
            named.push(("target images", &target.image));
        }
        found.tensors = NonFinite::among(named);
        found.into()
    }
}

impl Learner for SegLearner {
    type Error = Error;

    fn any(&mut self, flag: bool) -> Result<bool> {
        Ok(self.ranks.any(flag)?)
    }

    fn step(&mut self, step: u64) -> Result<Stepped> {
        self.before = self.buffers();
        let share = self.share(step);
        // A loss that is not finite on one process stops, or skips, the step on all of them. Other
        // errors end this process, which the others notice.
        let bad = matches!(share, Err(Error::NonFinite(_)));
        let goes_on = bad || share.is_ok();
        let somewhere = goes_on && self.ranks.any(bad)?;
        if goes_on {
            self.share_bad_samples()?;
        }
        if somewhere && !bad {
            return Err(NonFinite {
                name: "a loss of another process".into(),
                value: f64::NAN,
                tensors: Vec::new(),
            }
            .into());
        }
        let mut scalars = share?;
        if self.ranks.world_size() > 1 {
            self.average(&mut scalars)?;
        }
        let grads = match &mut self.sum {
            Some(sum) => sum,
            None => self.method.grads_mut(),
        };
        let lr = self.optimisation.apply(step, grads, &mut scalars)?;
        self.method.after_update(step)?;
        Ok(Stepped { scalars, lr })
    }

    fn non_finite(error: &Error) -> Option<&NonFinite> {
        match error {
            Error::NonFinite(found) => Some(found),
            _ => None,
        }
    }

    fn undo(&mut self) -> Result<()> {
        for (buffer, value) in self.before.drain(..) {
            buffer.set(value);
        }
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
        let mut text = Vec::new();
        if self.ranks.rank() == 0 {
            let predictor = Predictor::over(self.method.store(), &self.config)?;
            let metrics = evaluate(&predictor, test.as_ref(), &self.config.classes)?;
            let evaluation = metrics.evaluation(&self.config.classes);
            if self.ranks.world_size() == 1 {
                return Ok(Some(evaluation));
            }
            text = serde_json::to_vec(&evaluation).map_err(unreadable)?;
        }
        // All processes know the scores: which is the best, and when to stop.
        self.ranks.broadcast(&mut text)?;
        serde_json::from_slice(&text).map(Some).map_err(unreadable)
    }

    fn pictures(&mut self, _done: u64) -> Result<Vec<Picture>> {
        let Some(test) = &self.test else {
            return Ok(Vec::new());
        };
        let predictor = Predictor::over(self.method.store(), &self.config)?;
        let classes = &self.config.classes;
        let count = PICTURES.min(test.len());
        let picture = |i: usize| -> Result<Picture> {
            let sample = test.get(i * test.len() / count)?;
            let prediction = predictor.predict(&sample.image)?;
            let truth = colourise(&sample.label, classes)?;
            let prediction = colourise(&prediction, classes)?;
            let name = format!("test/{}", plain(&sample.name));
            Ok(side_by_side(name, [&sample.image, &truth, &prediction]))
        };
        (0..count).map(picture).collect()
    }

    fn histograms(&mut self) -> Result<Vec<Histogram>> {
        Ok(histogram::all(&self.method.store().params())?)
    }

    fn content(&self) -> Result<Content> {
        let (training, weights) = self
            .method
            .state()?
            .into_iter()
            .partition(|(name, _)| name.starts_with("optimizer_D."));
        let mut training: Vec<(String, Tensor)> = training;
        training.extend(self.optimisation.state()?);
        Ok(Content { weights, training })
    }

    fn restore(&mut self, content: &HashMap<String, Tensor>, done: u64) -> Result<()> {
        self.method.restore(content)?;
        self.optimisation.restore(content)?;
        let parts = self.config.train.accumulate as u64;
        self.feed.restart(done * parts);
        Ok(())
    }
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::Run(format!(
        "what is to be told to other processes cannot be written or read: {error}"
    ))
}

/// A name of the characters that a picture's name may have.
fn plain(name: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    name.chars()
        .map(|c| if keep(c) { c } else { '_' })
        .collect()
}

/// Image, label and prediction in one row, scaled down where they are large.
fn side_by_side(name: String, parts: [&RgbImage; 3]) -> Picture {
    let own = parts[0].dimensions();
    let (width, height) = match keep_ratio(own, PICTURE_SIZE) {
        small if small.0 < own.0 => small,
        _ => own,
    };
    let mut row = RgbImage::new(3 * width, height);
    let filters = [
        FilterType::Triangle,
        FilterType::Nearest,
        FilterType::Nearest,
    ];
    for (index, (part, filter)) in parts.into_iter().zip(filters).enumerate() {
        let part = resize(part, width, height, filter);
        let x = index as u32 * width;
        image::imageops::replace(&mut row, &part, i64::from(x), 0);
    }
    Picture {
        name,
        width: 3 * width,
        height,
        rgb: row.into_raw(),
    }
}
