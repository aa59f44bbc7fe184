//! Entropy minimisation: target predictions are to be certain (MinEnt of ADVENT, sec. 3.1), with
//! masked image consistency on top.

use std::collections::{BTreeMap, HashMap};

use candle_core::Tensor;
use mic_data::UdaBatch;
use mic_nn::autograd::backward;
use mic_nn::forward::{Drops, Forward};
use mic_nn::ops;
use mic_nn::optim::Grads;
use mic_nn::params::Store;
use mic_run::state::collect;

use super::consistency::Consistency;
use super::pass::Student;
use super::trace::{Tap, Trace, missing};
use super::training::{check, own_mask_teacher};
use super::{Draws, Options, TargetUse, Teacher, state};
use crate::model::{Segmentor, SegmentorConfig};
use crate::{Error, Result};

/// Student, and masked consistency's teacher.
pub struct EntropyMinimisation {
    options: Options,
    lambda: f64,
    student: Segmentor,
    store: Store,
    mask_teacher: Option<Teacher>,
    grads: Grads,
}

impl EntropyMinimisation {
    /// Builds the student over `store` (trainable, empty) and the teacher that masked consistency
    /// needs.
    ///
    /// # Errors
    /// A model that cannot be built, or options of another method or network.
    pub fn new(model: &SegmentorConfig, store: Store, options: Options) -> Result<Self> {
        check(model, &options)?;
        let TargetUse::Entropy { lambda } = options.target else {
            let message = format!("entropy minimisation has no use for {:?}", options.target);
            return Err(Error::Config(message));
        };
        let student = Segmentor::new(model, &store.root())?;
        Ok(Self {
            mask_teacher: own_mask_teacher(model, &store, &options)?,
            grads: Grads::new(&store.vars()),
            options,
            lambda,
            student,
            store,
        })
    }

    /// The options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The student.
    pub fn student(&self) -> &Segmentor {
        &self.student
    }

    /// The student's parameters and buffers.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Masked consistency's teacher, if there is one.
    pub fn mask_teacher(&self) -> Option<&Teacher> {
        self.mask_teacher.as_ref()
    }

    /// The gradients of the latest [`step`](Self::step).
    pub fn grads(&self) -> &Grads {
        &self.grads
    }

    /// As [`grads`](Self::grads), to be clipped.
    pub fn grads_mut(&mut self) -> &mut Grads {
        &mut self.grads
    }

    /// As [`SelfTraining::state`](super::SelfTraining::state).
    pub fn state(&self) -> Vec<(String, Tensor)> {
        collect(&self.stores())
    }

    /// Continues from a [`state`](Self::state).
    ///
    /// # Errors
    /// A state that does not fit the method; names the tensor. Nothing is changed then.
    pub fn restore(&mut self, saved: &HashMap<String, Tensor>) -> Result<()> {
        state::restore(&self.stores(), saved)
    }

    fn stores(&self) -> Vec<(&'static str, &Store)> {
        let mut stores = vec![(state::STUDENT, &self.store)];
        let teacher = self.mask_teacher.iter();
        stores.extend(teacher.map(|t| (state::MASK_TEACHER, t.store())));
        stores
    }

    /// As [`SelfTraining::step`](super::SelfTraining::step). Logs `decode.loss_seg`,
    /// `ent.loss.main` and `masked.decode.loss_seg`.
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
        let trace = &mut Trace::new(tap);
        self.grads.clear();
        if let Some(teacher) = &mut self.mask_teacher {
            teacher.follow(step)?;
        }
        let student = Student {
            net: &self.student,
            mode: Forward::train(drops).recomputing(self.options.recompute),
        };

        // Supervised source loss.
        let source = &batch.source;
        let normalization = &self.options.normalization;
        let (_, _, losses) = student.source_pass(source, draws, normalization, trace)?;
        self.grads.accumulate(&backward(&losses.total()?)?)?;
        drop(losses);

        // The entropy of target predictions, as a share of the largest possible.
        let target = batch.target.as_ref();
        let target = target.ok_or_else(|| missing("target images"))?;
        let crop = draws.crops.target.as_ref();
        let output = student
            .net
            .forward_train(&target.image, crop, &student.mode)?;
        trace.show("target.logits", &output.logits);
        let (_, _, height, width) = target.image.dims4()?;
        let logits = ops::resize_bilinear(&output.logits, (height, width), false)?;
        let entropy = ops::entropy(&logits, true)?; // (B, H, W)
        let loss = (entropy.mean(2)?.mean_all()? * self.lambda)?;
        trace.loss("ent.loss.main", &loss)?;
        self.grads.accumulate(&backward(&loss)?)?;
        drop((output, logits, entropy, loss));

        // Masked image consistency.
        let consistency = Consistency::of(&self.options, self.mask_teacher.as_ref());
        if let Some(consistency) = consistency {
            let loss = consistency.loss(&student, batch, draws, None, trace)?;
            self.grads.accumulate(&backward(&loss)?)?;
        }
        Ok(trace.take())
    }
}
