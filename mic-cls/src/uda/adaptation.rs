//! One training step: SDAT (Rangwani et al., 2022, alg. 1) and what it is built of (CDAN, MCC), with
//! masked image consistency (MIC, sec. 3.2) on top.

use std::collections::BTreeMap;

use candle_core::Tensor;
use mic_nn::forward::Drops;
use mic_nn::optim::{Grads, Sam, Sgd};
use mic_nn::params::Buffer;

use super::log::Log;
use super::passes::Inputs;
use super::{Adversary, ClsBatch, Draws, Options, Teacher};
use crate::Result;
use crate::model::Network;

/// Sees named intermediate tensors of a step, such as `teacher.logits` or `update.grad.head.bias`.
pub type Tap<'a> = dyn FnMut(&str, &Tensor) + 'a;

/// Student, teacher, adversary and their optimisers.
pub struct Adaptation {
    pub(super) options: Options,
    pub(super) student: Network,
    pub(super) teacher: Option<Teacher>,
    pub(super) adversary: Option<Adversary>,
    pub(super) sam: Option<Sam>,
    pub(super) sgd: Sgd,
    pub(super) grads: Grads,
}

/// What a step changes before it is known to succeed.
struct Before {
    buffers: Vec<(Buffer, Tensor)>,
    reversals: u64,
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

    /// From now on computes the backbone's activations again in the backward pass, or keeps them.
    pub fn set_recompute(&mut self, recompute: bool) {
        self.options.recompute = recompute;
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
    /// A batch that does not fit the method; [`NonFinite`](mic_run::NonFinite) for a loss or gradient
    /// that is not finite. Student, discriminator and optimisers are then as before the step, and
    /// so are all running statistics; the teacher's weights have followed the student's once.
    pub fn step(
        &mut self,
        step: u64,
        batch: &ClsBatch,
        draws: &Draws,
        drops: &dyn Drops,
        mut tap: Option<&mut Tap>,
    ) -> Result<BTreeMap<String, f64>> {
        batch.check()?;
        let before = self.before();
        let mut log = Log::default();
        match self.whole(step, batch, draws, drops, &mut log, &mut tap) {
            Ok(()) => Ok(log.scalars),
            Err(error) => {
                self.undo(before)?;
                Err(error)
            }
        }
    }

    fn whole(
        &mut self,
        step: u64,
        batch: &ClsBatch,
        draws: &Draws,
        drops: &dyn Drops,
        log: &mut Log,
        tap: &mut Option<&mut Tap>,
    ) -> Result<()> {
        let masked = self.masked(step, batch, draws, log, tap)?;
        let inputs = Inputs {
            // One batch norm sees both domains, where both are used.
            images: match self.options.joint() {
                true => batch.images()?,
                false => batch.source.clone(),
            },
            sources: batch.sources()?,
            labels: batch.classes()?,
            masked,
        };
        self.ascend(&inputs, drops, log, tap)?;
        self.descend(&inputs, drops, log, tap)?;
        self.update(step)
    }

    fn before(&self) -> Before {
        let teacher = self.teacher.as_ref().map(|t| &t.network().store);
        let adversary = self.adversary.as_ref().map(|a| &a.store);
        let others = teacher.into_iter().chain(adversary);
        let stores = std::iter::once(&self.student.store).chain(others);
        let buffers = stores.flat_map(|store| store.buffers());
        Before {
            buffers: buffers.map(|(_, b)| (b.clone(), b.get())).collect(),
            reversals: self.adversary.as_ref().map_or(0, |a| a.reversals),
        }
    }

    fn undo(&mut self, before: Before) -> Result<()> {
        for (buffer, value) in before.buffers {
            buffer.set(value);
        }
        if let Some(adversary) = &mut self.adversary {
            adversary.reversals = before.reversals;
        }
        if let Some(sam) = &mut self.sam {
            sam.restore()?;
        }
        Ok(())
    }
}
