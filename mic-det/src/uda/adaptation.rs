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
use super::{Draws, Masked, Options, PseudoBoxes, Teacher};
use crate::batch::{Batch, Pass};
use crate::detector::{Losses, Model, PassOptions};
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

    /// From now on computes the backbone's activations again in the backward pass, or keeps them.
    pub fn set_recompute(&mut self, recompute: bool) {
        self.options.recompute = recompute;
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
        let done = self
            .accumulate(step, batch, draws, &mut log, tap)
            .and_then(|()| self.update(step));
        if let Err(error) = done {
            for (buffer, value) in before {
                buffer.set(value);
            }
            return Err(error);
        }
        Ok(log.scalars)
    }

    /// The gradients of all losses.
    fn accumulate(
        &mut self,
        step: u64,
        batch: &Batch,
        draws: &Draws,
        log: &mut Log,
        tap: &mut Tap,
    ) -> Result<()> {
        let mode = Forward::train(draws.drops.as_ref()).recomputing(self.options.recompute);
        let picks = draws.picks.as_ref();
        self.grads.clear();

        // The teacher follows the student and detects on whole target images.
        let masked = self.masked_images(step, batch, draws, log, tap)?;

        // Source and target: supervised losses of the one, domain losses of both.
        let domain = self.student.net.config().domain.is_some() && batch.target.is_some();
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
            picks,
        };
        let losses = self.student.net.losses(&pass, &options, &mode, tap)?;
        self.learn(losses, &options, &|_| 1.0, log, tap)?;

        // Masked target images: class and objectness learn from the teacher's objects, boxes do
        // not.
        if let (Some(masked), Some(settings)) = (masked, self.options.masked.clone()) {
            let pass = Pass::labelled(&masked.image, &masked.sizes, &masked.pseudo.truth);
            let options = PassOptions {
                name: "masked",
                weighting: settings.weighting,
                domain: false,
                picks,
            };
            let losses = self.student.net.losses(&pass, &options, &mode, tap)?;
            let factor = |name: &str| match name.ends_with("box_reg") {
                true => 0.0,
                false => settings.lambda,
            };
            self.learn(losses, &options, &factor, log, tap)?;
        }
        log.sum();
        Ok(())
    }

    /// The masked images of those target images in which the teacher, having followed the student,
    /// is certain of an object.
    fn masked_images(
        &mut self,
        step: u64,
        batch: &Batch,
        draws: &Draws,
        log: &mut Log,
        tap: &mut Tap,
    ) -> Result<Option<Masked>> {
        let (Some(teacher), Some(settings)) = (&mut self.teacher, &self.options.masked) else {
            return Ok(None);
        };
        let target = batch.target.as_ref();
        let target = target.ok_or_else(|| missing("target images"))?;
        let mask = draws.masked.as_ref().ok_or_else(|| missing("mask draws"))?;
        teacher.follow(step, &self.student)?;
        let found = teacher.detect(target)?;
        for (i, found) in found.iter().enumerate() {
            found.show(&format!("teacher.img{i}"), tap)?;
        }
        let pseudo = PseudoBoxes::of(&found, settings.threshold);
        pseudo.show(tap)?;
        log.note("pseudo.boxes", pseudo.len() as f64);
        if pseudo.is_empty() {
            return Ok(None);
        }
        Masked::of(target, mask, pseudo, tap).map(Some)
    }

    /// Adds the gradients of a pass's losses, each times its factor; without a factor a loss is
    /// logged alone.
    fn learn(
        &mut self,
        losses: Losses,
        pass: &PassOptions,
        factor: &dyn Fn(&str) -> f64,
        log: &mut Log,
        tap: &mut Tap,
    ) -> Result<()> {
        let suffix = if pass.name == "masked" { "_mask" } else { "" };
        let mut sum: Option<Tensor> = None;
        for (name, loss) in losses.named() {
            tap.show(&format!("{}.raw.{name}", pass.name), || Ok(loss.clone()))?;
            let factor = factor(name);
            log.loss(&format!("{name}{suffix}"), loss, factor)?;
            let term = match factor {
                0.0 => continue,
                1.0 => loss.clone(),
                factor => (loss * factor)?,
            };
            sum = Some(match sum {
                Some(sum) => (sum + term)?,
                None => term,
            });
        }
        drop(losses);
        match sum {
            Some(sum) => Ok(self.grads.accumulate(&backward(&sum)?)?),
            None => Ok(()),
        }
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

fn missing(what: &str) -> Error {
    Error::Run(format!("the step needs {what}, and there are none"))
}
