//! One training step: supervised source and domain heads (SADA), and masked image consistency
//! (MIC, sec. 3.2) on top of either.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Tensor;
use mic_nn::autograd::backward;
use mic_nn::forward::Forward;
use mic_nn::optim::{Grads, Optimizer, Sgd};
use mic_nn::params::Buffer;
use mic_run::NonFinite;

use super::log::Log;
use super::{Draws, Options, PseudoBoxes, Teacher};
use crate::batch::{Batch, Pass};
use crate::detector::{Model, PassOptions};
use crate::rpn::Weighting;
use crate::tap::Tap;
use crate::{Error, Result};

/// Student, teacher and optimiser.
pub struct Adaptation {
    pub(super) options: Options,
    pub(super) student: Model,
    pub(super) teacher: Option<Teacher>,
    pub(super) sgd: Sgd,
    pub(super) grads: Grads,
    /// Parameters that a loss has ever reached. From then on they decay and follow their momentum
    /// in steps that do not reach them, too, as in the reference, which sets gradients to zero
    /// instead of removing them.
    pub(super) reached: BTreeSet<String>,
}

impl Adaptation {
    /// Around a student that holds the weights to start from.
    ///
    /// # Errors
    /// A teacher that cannot be built.
    pub fn new(student: Model, options: Options) -> Result<Self> {
        let teacher = options.masked.as_ref();
        let teacher = teacher.map(|masked| Teacher::new(&student, masked.alpha));
        let vars = student.store.vars();
        Ok(Self {
            teacher: teacher.transpose()?,
            sgd: options.sgd.build(&vars),
            grads: Grads::new(&vars),
            reached: BTreeSet::new(),
            student,
            options,
        })
    }

    /// The options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The student.
    pub fn student(&self) -> &Model {
        &self.student
    }

    /// The teacher, with masked image consistency.
    pub fn teacher(&self) -> Option<&Teacher> {
        self.teacher.as_ref()
    }

    /// The gradients that the latest step has applied.
    pub fn grads(&self) -> &Grads {
        &self.grads
    }

    /// The learning rate of weights at `step`.
    pub fn lr(&self, step: u64) -> f64 {
        let sgd = &self.options.sgd;
        sgd.schedule.lr(step as usize, sgd.lr)
    }

    /// Trains on one batch. Returns the scalars to log: the losses with the reference's names, as
    /// they enter the sum, `loss` (the sum) and with masked image consistency `pseudo.boxes`, the
    /// number of the teacher's objects; without any the masked losses are missing.
    ///
    /// Unmasked and masked images have a backward pass each, so that one graph is alive at a time.
    ///
    /// # Errors
    /// A batch that does not fit the network; [`NonFinite`] for a loss or gradient that is not
    /// finite. Weights, running statistics and optimiser are then as before the step; the
    /// teacher's weights have followed the student's once.
    pub fn step(
        &mut self,
        step: u64,
        batch: &Batch,
        draws: &Draws,
        tap: &mut Tap,
    ) -> Result<BTreeMap<String, f64>> {
        let classes = self.student.net.config().roi.classes;
        for (image, truth) in batch.source.truth.iter().enumerate() {
            truth.check(image, classes)?;
        }
        let buffers = self.student.store.buffers().into_iter();
        let before: Vec<(Buffer, Tensor)> = buffers.map(|(_, b)| (b.clone(), b.get())).collect();
        let mut log = Log::default();
        if let Err(error) = self.whole(step, batch, draws, &mut log, tap) {
            for (buffer, value) in before {
                buffer.set(value);
            }
            return Err(error);
        }
        Ok(log.scalars)
    }

    fn whole(
        &mut self,
        step: u64,
        batch: &Batch,
        draws: &Draws,
        log: &mut Log,
        tap: &mut Tap,
    ) -> Result<()> {
        let mode = Forward::train(draws.drops.as_ref()).recomputing(self.options.recompute);
        let domain = self.student.net.config().domain.is_some() && batch.target.is_some();
        let student = &self.student;
        self.grads.clear();

        // The teacher follows the student and detects on whole target images.
        let masked = match (&mut self.teacher, &self.options.masked) {
            (Some(teacher), Some(masked)) => {
                let target = batch
                    .target
                    .as_ref()
                    .ok_or_else(|| missing("target images"))?;
                let mask = draws.masked.as_ref().ok_or_else(|| missing("mask draws"))?;
                let images = mask.apply(&target.image)?;
                tap.show("masked_images", || Ok(images.clone()))?;
                teacher.follow(step, student)?;
                let found = teacher.detect(target)?;
                for (i, found) in found.iter().enumerate() {
                    tap.show_boxes(&format!("teacher.img{i}.boxes"), &found.boxes)?;
                    tap.show_numbers(&format!("teacher.img{i}.scores"), &found.scores)?;
                }
                let pseudo = PseudoBoxes::of(&found, masked.threshold);
                for (i, truth) in pseudo.images.iter().zip(&pseudo.truth) {
                    tap.show_boxes(&format!("pseudo.img{i}.boxes"), &truth.boxes)?;
                }
                log.note("pseudo.boxes", pseudo.len() as f64);
                let (images, sizes) = match pseudo.is_empty() {
                    true => (images, Vec::new()),
                    false => pseudo.select(&images, &target.sizes)?,
                };
                Some((masked, images, sizes, pseudo))
            }
            _ => None,
        };

        // Source and target: supervised losses of the one, domain losses of both.
        let pass = match domain {
            true => Pass::joint(batch)?,
            false => {
                let source = &batch.source;
                Pass::labelled(&source.image, &source.sizes, &source.truth)
            }
        };
        let options = PassOptions {
            name: "main",
            weighting: Weighting::None,
            domain,
            picks: draws.picks.as_ref(),
        };
        let losses = student.net.losses(&pass, &options, &mode, tap)?;
        let mut terms = Vec::new();
        for (name, loss) in losses.named() {
            log.loss(name, loss, 1.0)?;
            terms.push(loss.clone());
        }
        drop(losses);
        self.grads.accumulate(&backward(&sum(terms)?)?)?;

        // Masked target images: class and objectness learn from the teacher's objects, boxes do
        // not.
        if let Some((masked, images, sizes, pseudo)) = masked.filter(|m| !m.3.is_empty()) {
            let pass = Pass::labelled(&images, &sizes, &pseudo.truth);
            let options = PassOptions {
                name: "masked",
                weighting: masked.weighting,
                domain: false,
                picks: draws.picks.as_ref(),
            };
            let losses = student.net.losses(&pass, &options, &mode, tap)?;
            let mut terms = Vec::new();
            for (name, loss) in losses.named() {
                tap.show(&format!("masked.raw.{name}"), || Ok(loss.clone()))?;
                let factor = if name.ends_with("box_reg") {
                    0.0
                } else {
                    masked.lambda
                };
                log.loss(&format!("{name}_mask"), loss, factor)?;
                if factor != 0.0 {
                    terms.push((loss * factor)?);
                }
            }
            drop(losses);
            if !terms.is_empty() {
                self.grads.accumulate(&backward(&sum(terms)?)?)?;
            }
        }
        let losses = log
            .scalars
            .iter()
            .filter(|(name, _)| name.starts_with("loss_"));
        let total = losses.map(|(_, value)| value).sum();
        log.note("loss", total);
        self.update(step)
    }

    fn update(&mut self, step: u64) -> Result<()> {
        if let Some(name) = self.grads.first_not_finite()? {
            return Err(NonFinite {
                name: "gradient".into(),
                value: f64::NAN,
                tensors: vec![name.to_owned()],
            }
            .into());
        }
        let mut zeros = Vec::new();
        for (name, var, gradient) in self.grads.iter() {
            match gradient {
                Some(_) if !self.reached.contains(name) => {
                    self.reached.insert(name.to_owned());
                }
                None if self.reached.contains(name) => {
                    zeros.push((name.to_owned(), var.zeros_like()?));
                }
                _ => {}
            }
        }
        for (name, zero) in zeros {
            self.grads.overwrite(&name, &zero)?;
        }
        let schedule = &self.options.sgd.schedule;
        let lr = |base| schedule.lr(step as usize, base);
        Ok(self.sgd.step(&self.grads, &lr)?)
    }
}

fn sum(terms: Vec<Tensor>) -> Result<Tensor> {
    let mut terms = terms.into_iter();
    let first = terms.next().ok_or_else(|| missing("losses"))?;
    Ok(terms.try_fold(first, |sum, term| sum + term)?)
}

fn missing(what: &str) -> Error {
    Error::Run(format!("the step needs {what}, and there are none"))
}
