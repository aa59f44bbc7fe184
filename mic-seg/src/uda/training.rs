//! The training methods under one name.

use std::collections::{BTreeMap, HashMap};

use candle_core::{Tensor, Var};
use mic_data::UdaBatch;
use mic_nn::forward::Drops;
use mic_nn::optim::Grads;
use mic_nn::params::Store;

use super::trace::Tap;
use super::{Adversarial, Draws, EntropyMinimisation, Options, SelfTraining, TargetUse, Teacher};
use crate::model::{Backbone, Segmentor, SegmentorConfig};
use crate::{Error, Result};

/// A training method: the networks that it trains, and its step.
#[allow(clippy::large_enum_variant)] // one a run
pub enum Training {
    /// The source alone, or self-training.
    SelfTraining(SelfTraining),
    /// Adversarial training.
    Adversarial(Adversarial),
    /// Entropy minimisation.
    Entropy(EntropyMinimisation),
}

/// The same expression for every method.
macro_rules! each {
    ($training:expr, $method:ident => $body:expr) => {
        match $training {
            Training::SelfTraining($method) => $body,
            Training::Adversarial($method) => $body,
            Training::Entropy($method) => $body,
        }
    };
}

impl Training {
    /// Builds the method that the options name. `fresh` makes an empty trainable store for the
    /// network of that name: `student`, or `discriminator`. `imagenet` is the frozen backbone of
    /// the feature distance.
    ///
    /// # Errors
    /// A model that cannot be built, or options that do not fit it.
    pub fn new(
        model: &SegmentorConfig,
        options: Options,
        imagenet: Option<Backbone>,
        fresh: impl Fn(&str) -> Store,
    ) -> Result<Self> {
        let store = fresh("student");
        Ok(match options.target {
            TargetUse::Nothing | TargetUse::Mixing => {
                Self::SelfTraining(SelfTraining::new(model, store, options, imagenet)?)
            }
            TargetUse::Adversarial(_) => {
                let discriminator = fresh("discriminator");
                Self::Adversarial(Adversarial::new(model, store, discriminator, options)?)
            }
            TargetUse::Entropy { .. } => {
                Self::Entropy(EntropyMinimisation::new(model, store, options)?)
            }
        })
    }

    /// The options.
    pub fn options(&self) -> &Options {
        each!(self, method => method.options())
    }

    /// The student.
    pub fn student(&self) -> &Segmentor {
        each!(self, method => method.student())
    }

    /// The student's parameters and buffers.
    pub fn store(&self) -> &Store {
        each!(self, method => method.store())
    }

    /// The teacher of the method itself, if it has one; see
    /// [`mask_teacher`](Self::mask_teacher).
    pub fn teacher(&self) -> Option<&Teacher> {
        match self {
            Self::SelfTraining(method) => method.teacher(),
            Self::Adversarial(_) | Self::Entropy(_) => None,
        }
    }

    /// Masked consistency's own teacher, if it has one.
    pub fn mask_teacher(&self) -> Option<&Teacher> {
        each!(self, method => method.mask_teacher())
    }

    /// What the optimiser updates.
    pub fn parameters(&self) -> Vec<(String, Var)> {
        match self {
            Self::Adversarial(method) => method.parameters(),
            _ => self.store().vars(),
        }
    }

    /// The summed gradient of all losses of the latest [`step`](Self::step).
    pub fn grads(&self) -> &Grads {
        each!(self, method => method.grads())
    }

    /// As [`grads`](Self::grads), to be clipped.
    pub fn grads_mut(&mut self) -> &mut Grads {
        each!(self, method => method.grads_mut())
    }

    /// Computes the losses of step `step` on `batch` and accumulates their gradients, to be applied
    /// by an optimiser. Returns the scalars to log; with a tap also the accuracies.
    ///
    /// # Errors
    /// A batch that does not fit the method, or a loss that is not finite.
    pub fn step(
        &mut self,
        step: u64,
        batch: &UdaBatch,
        draws: &Draws,
        drops: &dyn Drops,
        tap: Option<&mut Tap>,
    ) -> Result<BTreeMap<String, f64>> {
        each!(self, method => method.step(step, batch, draws, drops, tap))
    }

    /// What follows the optimiser's update in the same step: the discriminator's own.
    ///
    /// # Errors
    /// If an update fails.
    pub fn after_update(&mut self, step: u64) -> Result<()> {
        match self {
            Self::Adversarial(method) => method.after_update(step),
            _ => Ok(()),
        }
    }

    /// Everything that changes over steps besides the optimiser, by name, with the prefixes
    /// `model.`, `ema_model.`, `mic_teacher.`, `model_D.` and `optimizer_D.`. The tensors share
    /// storage with the networks: write or copy them before the next step.
    ///
    /// # Errors
    /// If the discriminator's optimiser cannot be read.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        match self {
            Self::SelfTraining(method) => Ok(method.state()),
            Self::Adversarial(method) => method.state(),
            Self::Entropy(method) => Ok(method.state()),
        }
    }

    /// Continues from a [`state`](Self::state): the following steps, with the same numbers and
    /// draws, are those of the method that it was taken from, bit for bit.
    ///
    /// # Errors
    /// A state that does not fit the method; names the tensor.
    pub fn restore(&mut self, saved: &HashMap<String, Tensor>) -> Result<()> {
        each!(self, method => method.restore(saved))
    }
}

/// Refuses options that are for another network.
pub(super) fn check(model: &SegmentorConfig, options: &Options) -> Result<()> {
    let (drawn, needed) = (options.detail, model.hrda.as_ref().map(|hrda| hrda.crop));
    if drawn == needed {
        return Ok(());
    }
    Err(Error::Config(format!(
        "the method draws detail crops {drawn:?}, the network needs {needed:?}"
    )))
}

/// The teacher of masked consistency where the method has none to share.
pub(super) fn own_mask_teacher(
    model: &SegmentorConfig,
    student: &Store,
    options: &Options,
) -> Result<Option<Teacher>> {
    match &options.masked {
        None => Ok(None),
        Some(masked) => match masked.own_teacher {
            Some((alpha, _)) => Teacher::new(model, student, alpha).map(Some),
            None => Err(Error::Config(
                "masked consistency needs a teacher of its own where the method has none".into(),
            )),
        },
    }
}
