//! One training step: SDAT (Rangwani et al., 2022, alg. 1) and what it is built of (CDAN, MCC), with
//! masked image consistency (MIC, sec. 3.2) on top.

use std::collections::BTreeMap;

use candle_core::Tensor;
use mic_core::{PseudoLabelConfig, PseudoLabels};
use mic_nn::autograd::backward;
use mic_nn::forward::{Drops, Forward, NormMode};
use mic_nn::ops::{self, CrossEntropyOptions};
use mic_nn::optim::{Grads, Optimizer, Sam, Sgd};

use super::log::Log;
use super::{Adversary, ClsBatch, Draws, Options, Statistics, Teacher, WeightedLosses};
use crate::losses::minimum_class_confusion;
use crate::model::{Network, Output};
use crate::{Error, Result};

/// Sees named intermediate tensors of a step, such as `teacher.logits` or `update.grad.head.bias`.
pub type Tap<'a> = dyn FnMut(&str, &Tensor) + 'a;

/// Student, teacher, adversary and their optimisers.
pub struct Adaptation {
    options: Options,
    pub(super) student: Network,
    pub(super) teacher: Option<Teacher>,
    pub(super) adversary: Option<Adversary>,
    sam: Option<Sam>,
    pub(super) sgd: Sgd,
    grads: Grads,
}

/// The masked target images and what the teacher says of the whole ones.
struct Masked {
    images: Tensor,
    pseudo: PseudoLabels,
}

impl Adaptation {
    /// Around a student that holds the weights to start from. `seed` is that of the discriminator's
    /// initial weights.
    ///
    /// # Errors
    /// Options that cannot be built.
    pub fn new(student: Network, options: Options, seed: u64) -> Result<Self> {
        let sgd = &options.sgd;
        let adversary = options
            .adversary
            .as_ref()
            .map(|adversary| Adversary::new(&student.config, adversary, sgd, seed));
        let teacher = options
            .masked
            .as_ref()
            .map(|masked| Teacher::new(&student, masked.alpha, masked.teacher_norm));
        let vars = student.store.vars();
        let rules = sgd.rules(&student.store, sgd.backbone_lr_mult);
        Ok(Self {
            adversary: adversary.transpose()?,
            teacher: teacher.transpose()?,
            sam: options.ascent.map(|ascent| Sam::new(&vars, ascent.sam)),
            sgd: Sgd::new(&vars, &rules, sgd.momentum),
            grads: Grads::new(&vars),
            student,
            options,
        })
    }

    /// The options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The student.
    pub fn student(&self) -> &Network {
        &self.student
    }

    /// The teacher, with masked image consistency.
    pub fn teacher(&self) -> Option<&Teacher> {
        self.teacher.as_ref()
    }

    /// The adversary, with adversarial adaptation.
    pub fn adversary(&self) -> Option<&Adversary> {
        self.adversary.as_ref()
    }

    /// The student's gradients that the latest step has applied.
    pub fn grads(&self) -> &Grads {
        &self.grads
    }

    /// The learning rate of bottleneck, head and discriminator at `step`; the backbone's is
    /// `backbone_lr_mult` times that.
    pub fn lr(&self, step: u64) -> f64 {
        let sgd = &self.options.sgd;
        sgd.schedule.lr(step as usize, sgd.lr)
    }

    /// Trains on one batch. Returns the scalars to log: of the first pass `ascent.cls`,
    /// `ascent.mcc`, `ascent.masked`, `ascent.total` and `ascent.norm`; of the pass that updates
    /// `loss.cls`, `loss.cdan`, `loss.mcc`, `loss.masked`, `loss.transfer` (the sum of the latter
    /// three, before the trade-off) and `loss.total`, with SDAT at the perturbed weights; the
    /// percentages `accuracy.source` and `accuracy.domain`; `pseudo.weight`, `teacher.alpha`.
    ///
    /// Unmasked and masked images have a backward pass each, so that one graph is alive at a time.
    ///
    /// # Errors
    /// A batch that does not fit the method, or a loss that is not finite. Weights may be perturbed
    /// then: training cannot go on.
    pub fn step(
        &mut self,
        step: u64,
        batch: &ClsBatch,
        draws: &Draws,
        drops: &dyn Drops,
        mut tap: Option<&mut Tap>,
    ) -> Result<BTreeMap<String, f64>> {
        batch.check()?;
        let mut log = Log::new(step);
        let (sources, labels) = (batch.sources()?, batch.classes()?);
        // One batch norm sees both domains, where both are used.
        let images = match self.options.joint() {
            true => batch.images()?,
            false => batch.source.clone(),
        };
        let masked = self.masked(step, batch, draws, &mut log, &mut tap)?;
        let first = Forward::train(drops);
        let later = match self.options.statistics {
            Statistics::EveryPass => first,
            Statistics::CleanPass => Forward {
                norm: NormMode::BatchOnly,
                ..first
            },
        };
        let mut unmasked = first;
        self.grads.clear();

        // Ascent: to where the task losses are larger. The adversary has no part in it.
        if let (Some(sam), Some(ascent)) = (&mut self.sam, self.options.ascent) {
            let factor = if ascent.trade_off {
                self.options.trade_off
            } else {
                1.0
            };
            let output = self.student.net.forward(&images, &unmasked)?;
            let source = output.narrow(0, sources)?;
            show(&mut tap, "ascent.logits", &source.logits);
            let mut loss = log.loss("ascent.cls", cross_entropy(&source, &labels, None)?)?;
            if let Some(temperature) = self.options.mcc {
                let mcc = target_confusion(&output, sources, temperature)?;
                loss = (loss + (log.loss("ascent.mcc", mcc)? * factor)?)?;
            }
            self.grads.accumulate(&backward(&loss)?)?;
            if let Some(Masked { images, pseudo }) = &masked {
                let output = self.student.net.forward(images, &later)?;
                show(&mut tap, "ascent.masked.logits", &output.logits);
                let loss = cross_entropy(&output, &pseudo.label, Some(&pseudo.weight))?;
                let loss = (log.loss("ascent.masked", loss)? * factor)?;
                self.grads.accumulate(&backward(&loss)?)?;
            }
            let transfer = log.get("ascent.mcc") + log.get("ascent.masked");
            log.note("ascent.total", log.get("ascent.cls") + factor * transfer);
            show_grads(&mut tap, "ascent.grad.", &self.student, &self.grads);
            log.note("ascent.norm", sam.ascend(&mut self.grads)?);
            show_params(&mut tap, "perturbed.", &self.student);
            unmasked = later;
        }

        // The gradient that updates the weights, taken there.
        let trade_off = self.options.trade_off;
        let output = self.student.net.forward(&images, &unmasked)?;
        let source = output.narrow(0, sources)?;
        show(&mut tap, "update.logits", &source.logits);
        log.note(
            "accuracy.source",
            ops::pixel_accuracy(&source.logits, &labels)?,
        );
        let mut loss = log.loss("loss.cls", cross_entropy(&source, &labels, None)?)?;
        if let Some(adversary) = &mut self.adversary {
            adversary.grads.clear();
            let score = adversary.score(&output, sources, &first)?;
            show(&mut tap, "update.domain", &score.probabilities);
            log.note("accuracy.domain", score.accuracy);
            loss = (loss + (log.loss("loss.cdan", score.loss)? * trade_off)?)?;
        }
        if let Some(temperature) = self.options.mcc {
            let mcc = target_confusion(&output, sources, temperature)?;
            loss = (loss + (log.loss("loss.mcc", mcc)? * trade_off)?)?;
        }
        let gradients = backward(&loss)?;
        self.grads.accumulate(&gradients)?;
        if let Some(adversary) = &mut self.adversary {
            adversary.grads.accumulate(&gradients)?;
        }
        drop((gradients, loss, source, output));
        if let Some(Masked { images, pseudo }) = &masked {
            let output = self.student.net.forward(images, &later)?;
            show(&mut tap, "update.masked.logits", &output.logits);
            let weight = self.updates_by_confidence().then_some(&pseudo.weight);
            let loss = cross_entropy(&output, &pseudo.label, weight)?;
            let loss = (log.loss("loss.masked", loss)? * trade_off)?;
            self.grads.accumulate(&backward(&loss)?)?;
        }
        let transfer = log.get("loss.cdan") + log.get("loss.mcc") + log.get("loss.masked");
        log.note("loss.transfer", transfer);
        log.note("loss.total", log.get("loss.cls") + trade_off * transfer);
        show_grads(&mut tap, "update.grad.", &self.student, &self.grads);

        // Back to where the step began, and down from there.
        let schedule = self.options.sgd.schedule;
        let lr = |base| schedule.lr(step as usize, base);
        if let Some(adversary) = &mut self.adversary {
            adversary.update(&lr)?;
        }
        if let Some(sam) = &mut self.sam {
            sam.restore()?;
        }
        self.sgd.step(&self.grads, &lr)?;
        Ok(log.scalars)
    }

    /// The teacher follows the student and labels the whole target images; then they are masked.
    fn masked(
        &mut self,
        step: u64,
        batch: &ClsBatch,
        draws: &Draws,
        log: &mut Log,
        tap: &mut Option<&mut Tap>,
    ) -> Result<Option<Masked>> {
        let (Some(teacher), Some(options)) = (&mut self.teacher, &self.options.masked) else {
            return Ok(None);
        };
        log.note("teacher.alpha", teacher.follow(step, &self.student)?);
        let config = PseudoLabelConfig::new(options.confidence);
        let pseudo = teacher.pseudo_labels(&batch.target, &config, tap)?;
        log.note("pseudo.weight", f64::from(pseudo.confidence));
        show(tap, "pseudo.label", &pseudo.label);
        show(tap, "pseudo.weight", &pseudo.weight);
        let Some(draws) = &draws.masked else {
            return Err(Error::Run(
                "the step needs draws of the masked images, and there are none".into(),
            ));
        };
        let mut images = batch.target.clone();
        if let Some(strong) = &draws.strong {
            images = strong.apply(&images, &options.normalization)?;
        }
        let images = draws.blocks.apply(&images)?;
        show(tap, "masked.images", &images);
        Ok(Some(Masked { images, pseudo }))
    }

    /// Whether the confidence of pseudo-labels enters the loss that updates the weights.
    fn updates_by_confidence(&self) -> bool {
        let masked = self.options.masked.as_ref();
        let both = masked.is_some_and(|masked| masked.weighted == WeightedLosses::Both);
        both || self.sam.is_none()
    }
}

/// The mean cross-entropy of labels (B), each with its weight.
fn cross_entropy(output: &Output, labels: &Tensor, weight: Option<&Tensor>) -> Result<Tensor> {
    let options = CrossEntropyOptions {
        ignore: None,
        weight: weight.cloned(),
        class_weight: None,
    };
    Ok(ops::cross_entropy(&output.logits, labels, &options)?)
}

/// Minimum class confusion of the images behind the first `sources`.
fn target_confusion(output: &Output, sources: usize, temperature: f64) -> Result<Tensor> {
    let targets = output.logits.dim(0)? - sources;
    let target = output.logits.narrow(0, sources, targets)?;
    Ok(minimum_class_confusion(&target, temperature)?)
}

pub(super) fn show(tap: &mut Option<&mut Tap>, name: &str, tensor: &Tensor) {
    if let Some(tap) = tap {
        tap(name, tensor);
    }
}

fn show_grads(tap: &mut Option<&mut Tap>, prefix: &str, network: &Network, grads: &Grads) {
    let Some(tap) = tap else { return };
    for (name, _) in network.store.params() {
        if let Some(grad) = grads.get(&name) {
            tap(&format!("{prefix}{name}"), grad);
        }
    }
}

fn show_params(tap: &mut Option<&mut Tap>, prefix: &str, network: &Network) {
    let Some(tap) = tap else { return };
    for (name, tensor) in network.store.params() {
        tap(&format!("{prefix}{name}"), &tensor);
    }
}
