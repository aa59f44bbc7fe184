//! The passes of a training step, and the update at its end.

use candle_core::Tensor;
use mic_core::{PseudoLabelConfig, PseudoLabels};
use mic_nn::autograd::backward;
use mic_nn::forward::{Drops, Forward, NormMode};
use mic_nn::ops::{self, CrossEntropyOptions};
use mic_nn::optim::{Grads, Optimizer};
use mic_run::NonFinite;

use super::log::Log;
use super::{Adaptation, ClsBatch, Draws, Statistics, Tap, WeightedLosses};
use crate::losses::minimum_class_confusion;
use crate::model::{Network, Output};
use crate::{Error, Result};

/// What all passes of a step see.
pub(super) struct Inputs {
    /// The source images, and behind them the target's where the method uses both.
    pub images: Tensor,
    /// Number of source images.
    pub sources: usize,
    /// Their classes.
    pub labels: Tensor,
    /// Masked image consistency.
    pub masked: Option<Masked>,
}

/// The masked target images and what the teacher says of the whole ones.
pub(super) struct Masked {
    images: Tensor,
    pseudo: PseudoLabels,
}

impl Adaptation {
    /// The teacher follows the student and labels the whole target images; then they are masked.
    pub(super) fn masked(
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
        let target = batch.target()?;
        let Some(draws) = &draws.masked else {
            return Err(Error::Run(
                "the step needs draws of the masked images, and there are none".into(),
            ));
        };
        log.note("teacher.alpha", teacher.follow(step, &self.student)?);
        let config = PseudoLabelConfig::new(options.confidence);
        let pseudo = teacher.pseudo_labels(target, &config, tap)?;
        log.note("pseudo.weight", f64::from(pseudo.confidence));
        show(tap, "pseudo.label", &pseudo.label);
        show(tap, "pseudo.weight", &pseudo.weight);
        let mut images = target.clone();
        if let Some(strong) = &draws.strong {
            images = strong.apply(&images, &options.normalization)?;
        }
        let images = draws.blocks.apply(&images)?;
        show(tap, "masked.images", &images);
        Ok(Some(Masked { images, pseudo }))
    }

    /// With SDAT: to where the task losses are larger. The adversary has no part in it.
    pub(super) fn ascend(
        &mut self,
        inputs: &Inputs,
        drops: &dyn Drops,
        log: &mut Log,
        tap: &mut Option<&mut Tap>,
    ) -> Result<()> {
        self.grads.clear();
        let (Some(sam), Some(ascent)) = (&mut self.sam, self.options.ascent) else {
            return Ok(());
        };
        let (first, later) = modes(self.options.recompute, self.options.statistics, drops);
        let factor = match ascent.trade_off {
            true => self.options.trade_off,
            false => 1.0,
        };
        let output = self.student.net.forward(&inputs.images, &first)?;
        let source = output.narrow(0, inputs.sources)?;
        show(tap, "ascent.logits", &source.logits);
        let mut loss = log.loss("ascent.cls", cross_entropy(&source, &inputs.labels, None)?)?;
        if let Some(temperature) = self.options.mcc {
            let mcc = target_confusion(&output, inputs.sources, temperature)?;
            loss = (loss + (log.loss("ascent.mcc", mcc)? * factor)?)?;
        }
        self.grads.accumulate(&backward(&loss)?)?;
        drop((loss, source, output));
        if let Some(Masked { images, pseudo }) = &inputs.masked {
            let output = self.student.net.forward(images, &later)?;
            show(tap, "ascent.masked.logits", &output.logits);
            let loss = cross_entropy(&output, &pseudo.label, Some(&pseudo.weight))?;
            let loss = (log.loss("ascent.masked", loss)? * factor)?;
            self.grads.accumulate(&backward(&loss)?)?;
        }
        let transfer = log.get("ascent.mcc") + log.get("ascent.masked");
        log.note("ascent.total", log.get("ascent.cls") + factor * transfer);
        show_grads(tap, "ascent.grad.", &self.student, &self.grads);
        refuse_non_finite(&self.grads)?;
        log.note("ascent.norm", sam.ascend(&mut self.grads)?);
        show_params(tap, "perturbed.", &self.student);
        Ok(())
    }

    /// The gradient that updates the weights, with SDAT taken at the perturbed ones.
    pub(super) fn descend(
        &mut self,
        inputs: &Inputs,
        drops: &dyn Drops,
        log: &mut Log,
        tap: &mut Option<&mut Tap>,
    ) -> Result<()> {
        let (first, later) = modes(self.options.recompute, self.options.statistics, drops);
        let unmasked = match self.sam {
            Some(_) => later,
            None => first,
        };
        let (sources, trade_off) = (inputs.sources, self.options.trade_off);
        let output = self.student.net.forward(&inputs.images, &unmasked)?;
        let source = output.narrow(0, sources)?;
        show(tap, "update.logits", &source.logits);
        let accuracy = ops::pixel_accuracy(&source.logits, &inputs.labels)?;
        log.note("accuracy.source", accuracy);
        let mut loss = log.loss("loss.cls", cross_entropy(&source, &inputs.labels, None)?)?;
        if let Some(adversary) = &mut self.adversary {
            adversary.grads.clear();
            let score = adversary.score(&output, sources, &first)?;
            show(tap, "update.domain", &score.probabilities);
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
        if let Some(Masked { images, pseudo }) = &inputs.masked {
            let output = self.student.net.forward(images, &later)?;
            show(tap, "update.masked.logits", &output.logits);
            let weight = self.updates_by_confidence().then_some(&pseudo.weight);
            let loss = cross_entropy(&output, &pseudo.label, weight)?;
            let loss = (log.loss("loss.masked", loss)? * trade_off)?;
            self.grads.accumulate(&backward(&loss)?)?;
        }
        let transfer = log.get("loss.cdan") + log.get("loss.mcc") + log.get("loss.masked");
        log.note("loss.transfer", transfer);
        log.note("loss.total", log.get("loss.cls") + trade_off * transfer);
        show_grads(tap, "update.grad.", &self.student, &self.grads);
        Ok(())
    }

    /// Back to where the step began, and down from there.
    pub(super) fn update(&mut self, step: u64) -> Result<()> {
        refuse_non_finite(&self.grads)?;
        let schedule = self.options.sgd.schedule;
        let lr = |base| schedule.lr(step as usize, base);
        if let Some(adversary) = &mut self.adversary {
            refuse_non_finite(&adversary.grads)?;
            adversary.update(&lr)?;
        }
        if let Some(sam) = &mut self.sam {
            sam.restore()?;
        }
        Ok(self.sgd.step(&self.grads, &lr)?)
    }

    /// Whether the confidence of pseudo-labels enters the loss that updates the weights.
    fn updates_by_confidence(&self) -> bool {
        let masked = self.options.masked.as_ref();
        let both = masked.is_some_and(|masked| masked.weighted == WeightedLosses::Both);
        both || self.sam.is_none()
    }
}

/// The first pass on unmasked images, and all others of the student.
fn modes(recompute: bool, statistics: Statistics, drops: &dyn Drops) -> (Forward<'_>, Forward<'_>) {
    let first = Forward {
        recompute,
        ..Forward::train(drops)
    };
    let later = match statistics {
        Statistics::EveryPass => first,
        Statistics::CleanPass => Forward {
            norm: NormMode::BatchOnly,
            ..first
        },
    };
    (first, later)
}

fn refuse_non_finite(grads: &Grads) -> Result<()> {
    let norm = grads.global_norm()?;
    if norm.is_finite() {
        return Ok(());
    }
    let tensor = grads.first_not_finite()?;
    let found = NonFinite {
        name: "gradient".to_owned(),
        value: norm,
        tensors: tensor
            .map(|name| format!("gradient of {name}"))
            .into_iter()
            .collect(),
    };
    Err(found.into())
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
