//! One training step: supervised source, self-training on mixed images (DACS; DAFormer, sec. 3),
//! and masked image consistency (MIC, sec. 3.2) on top of either.

use std::collections::{BTreeMap, HashMap};

use candle_core::Tensor;
use mic_data::UdaBatch;
use mic_nn::autograd::backward;
use mic_nn::forward::{Drops, Forward};
use mic_nn::optim::Grads;
use mic_nn::params::Store;
use mic_run::state::collect;

use super::class_mix::mix;
use super::consistency::Consistency;
use super::pass::{Student, Supervision};
use super::trace::{Tap, Trace, missing};
use super::training::check;
use super::{Draws, MixDraws, Options, TargetUse, Teacher, state};
use crate::model::{Backbone, CropBox, Output, Segmentor, SegmentorConfig};
use crate::{Error, Result};

/// Student, teachers and the gradient of the current step.
pub struct SelfTraining {
    options: Options,
    student: Segmentor,
    store: Store,
    teacher: Option<Teacher>,
    mask_teacher: Option<Teacher>,
    imagenet: Option<Backbone>,
    grads: Grads,
}

impl SelfTraining {
    /// Builds the student over `store` (trainable, empty) and the teachers that the options need.
    /// `imagenet` is the frozen backbone of the feature distance.
    ///
    /// # Errors
    /// A model that cannot be built, a feature distance without its backbone, or options of another
    /// method or network.
    pub fn new(
        model: &SegmentorConfig,
        store: Store,
        options: Options,
        imagenet: Option<Backbone>,
    ) -> Result<Self> {
        check(model, &options)?;
        let mixing = match options.target {
            TargetUse::Nothing => false,
            TargetUse::Mixing => true,
            ref other => {
                let message = format!("self-training mixes images, it has no use for {other:?}");
                return Err(Error::Config(message));
            }
        };
        if options.feature_distance.is_some() && imagenet.is_none() {
            return Err(Error::Config(
                "the feature distance needs pretrained backbone weights: set model.pretrained, or \
                 method.feature_distance = 0"
                    .into(),
            ));
        }
        let student = Segmentor::new(model, &store.root())?;
        let teacher = |alpha| Teacher::new(model, &store, alpha);
        let own = options.masked.as_ref().and_then(|m| m.own_teacher);
        Ok(Self {
            teacher: mixing.then(|| teacher(options.alpha)).transpose()?,
            mask_teacher: own
                .filter(|_| mixing)
                .map(|(alpha, _)| teacher(alpha))
                .transpose()?,
            grads: Grads::new(&store.vars()),
            options,
            student,
            store,
            imagenet,
        })
    }

    /// The options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Sets whether the student's blocks are computed again in the backward pass.
    pub fn set_recompute(&mut self, recompute: bool) {
        self.options.recompute = recompute;
    }

    /// The student.
    pub fn student(&self) -> &Segmentor {
        &self.student
    }

    /// The student's parameters and buffers.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The method's teacher, if it has one.
    pub fn teacher(&self) -> Option<&Teacher> {
        self.teacher.as_ref()
    }

    /// Masked consistency's own teacher, if it has one.
    pub fn mask_teacher(&self) -> Option<&Teacher> {
        self.mask_teacher.as_ref()
    }

    /// Everything that changes over steps besides the optimiser, by name: the student's tensors
    /// below `model.`, its teacher's below `ema_model.`, masked consistency's own teacher's below
    /// `mic_teacher.`. They share storage with the networks: write or copy them before the next
    /// step.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        collect(&self.stores())
    }

    /// Continues from a [`state`](Self::state): the following steps, with the same numbers and
    /// draws, are those of the method that it was taken from, bit for bit.
    ///
    /// # Errors
    /// A state that does not fit the method; names the tensor. Nothing is changed then.
    pub fn restore(&mut self, saved: &HashMap<String, Tensor>) -> Result<()> {
        state::restore(&self.stores(), saved)
    }

    fn stores(&self) -> Vec<(&'static str, &Store)> {
        let mut stores = vec![(state::STUDENT, &self.store)];
        stores.extend(self.teacher.iter().map(|t| (state::TEACHER, t.store())));
        let own = self.mask_teacher.iter();
        stores.extend(own.map(|t| (state::MASK_TEACHER, t.store())));
        stores
    }

    /// The summed gradient of all losses of the latest [`step`](Self::step).
    pub fn grads(&self) -> &Grads {
        &self.grads
    }

    /// As [`grads`](Self::grads), to be clipped.
    pub fn grads_mut(&mut self) -> &mut Grads {
        &mut self.grads
    }

    /// Computes the losses of step `step` on `batch` and accumulates their gradients, to be
    /// applied by an optimiser. The teachers follow the student first. Returns the scalars to log:
    /// `decode.loss_seg`, `src.loss_imnet_feat_dist`, `mix.decode.loss_seg`,
    /// `masked.decode.loss_seg`, with HRDA also `*.decode.hr.loss_seg`, and `pseudo.weight`; with a
    /// tap also the accuracies.
    ///
    /// Every loss has its own backward pass, so that one graph is alive at a time.
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
        let teachers = [&mut self.teacher, &mut self.mask_teacher];
        for teacher in teachers.into_iter().flatten() {
            teacher.follow(step)?;
        }
        let student = Student {
            net: &self.student,
            mode: Forward::train(drops).recomputing(self.options.recompute),
        };

        // Supervised source loss, and the distance of its features to ImageNet's.
        let source = &batch.source;
        let normalization = &self.options.normalization;
        let (image, output, losses) = student.source_pass(source, draws, normalization, trace)?;
        let mut loss = losses.total()?;
        let crop = draws.crops.source.as_ref();
        if let Some(distance) =
            self.feature_distance(&output, &image, &source.label, crop, trace)?
        {
            trace.loss("src.loss_imnet_feat_dist", &distance)?;
            loss = (loss + distance)?;
        } else if self.options.feature_distance.is_some() {
            trace.scalar("src.loss_imnet_feat_dist", f64::NAN);
        }
        self.grads.accumulate(&backward(&loss)?)?;
        drop((output, losses, loss));

        // Self-training on mixed images.
        let mut pseudo = None;
        if let Some(teacher) = &self.teacher {
            let target = batch.target.as_ref();
            let target = target.ok_or_else(|| missing("target images"))?;
            let MixDraws { classes, strong } =
                draws.mix.as_ref().ok_or_else(|| missing("mixing draws"))?;
            let labels = teacher.pseudo_labels(target, &self.options.pseudo, "teacher", trace)?;
            trace.scalar("pseudo.weight", f64::from(labels.confidence));
            trace.show("pseudo.label", &labels.label);
            trace.show("pseudo.weight", &labels.weight);
            let mask = classes.mask(&source.label)?;
            let image = mix(&mask, &source.image, &target.image)?;
            let image = strong.apply(&image, &self.options.normalization)?;
            let label = mix(&mask, &source.label, &labels.label)?;
            let weight = mix(&mask, &labels.weight.ones_like()?, &labels.weight)?;
            for (name, tensor) in [
                ("mix.mask", &mask),
                ("mix.img", &image),
                ("mix.label", &label),
                ("mix.weight", &weight),
            ] {
                trace.show(name, tensor);
            }
            let truth = Supervision {
                label: &label,
                weight: Some(&weight),
            };
            let crop = draws.crops.mixed.as_ref();
            let (_, losses) = student.pass("mix", &image, crop, &truth, trace)?;
            self.grads.accumulate(&backward(&losses.total()?)?)?;
            pseudo = Some(labels);
        }

        // Masked image consistency.
        let consistency = Consistency::of(&self.options, self.mask_teacher.as_ref());
        if let Some(consistency) = consistency {
            let loss = consistency.loss(&student, batch, draws, pseudo, trace)?;
            self.grads.accumulate(&backward(&loss)?)?;
        }
        Ok(trace.take())
    }

    /// The distance of the features of all views (HRDA with the detail's features has two), added
    /// up; `None` without one, or where no position counts.
    fn feature_distance(
        &self,
        output: &Output,
        image: &Tensor,
        label: &Tensor,
        crop: Option<&CropBox>,
        trace: &mut Trace,
    ) -> Result<Option<Tensor>> {
        let (Some(options), Some(imagenet)) = (&self.options.feature_distance, &self.imagenet)
        else {
            return Ok(None);
        };
        let mut total: Option<Tensor> = None;
        for (index, (view, part)) in self
            .student
            .feature_views(image, crop)?
            .into_iter()
            .enumerate()
        {
            let reference = imagenet.forward(&view, &Forward::eval())?;
            let (student, label) = match (part, &output.detail) {
                (Some(part), Some(detail)) => (detail.features.last(), part.of(label)?),
                _ => (output.features.last(), label.clone()),
            };
            let (Some(reference), Some(student)) = (reference.last(), student) else {
                return Err(missing("backbone features"));
            };
            let positions = options.positions(&label, student.dim(3)?)?;
            if index == 0 {
                trace.show("source.feat3", student);
                trace.show("fd.imnet_feat3", reference);
                trace.show("fd.mask", &positions);
            }
            let distance = options.loss(student, reference, &positions)?;
            total = match (total, distance) {
                (Some(a), Some(b)) => Some((a + b)?),
                (a, b) => a.or(b),
            };
        }
        Ok(total)
    }
}
