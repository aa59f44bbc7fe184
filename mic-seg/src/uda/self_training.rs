//! One training step: supervised source, self-training on mixed images (DACS; DAFormer, sec. 3),
//! and masked image consistency (MIC, sec. 3.2) on top of either.

use mic_nn::autograd::backward;
use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Tensor};
use mic_core::augment::{Normalization, StrongConfig};
use mic_core::{BlockMaskConfig, PseudoLabelConfig, PseudoLabels};
use mic_data::UdaBatch;
use mic_nn::forward::{Drops, Forward};
use mic_nn::models::mit::Mit;
use mic_nn::ops::{self, CrossEntropyOptions};
use mic_nn::optim::Grads;
use mic_nn::params::Store;

use super::class_mix::mix;
use super::teacher::Teacher;
use super::{Draws, FeatureDistance, MaskDraws, MixDraws, state};
use crate::config::{Images, MaskMode};
use crate::model::{Output, Segmentor, SegmentorConfig};
use crate::{Error, Result};

/// What a step does.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether to train on mixed images with pseudo-labels (DACS); else on the source alone.
    pub mixing: bool,
    /// Whether source images change their colours, too.
    pub augment_source: bool,
    /// Colour jitter and blur.
    pub strong: StrongConfig,
    /// How images are normalised.
    pub normalization: Normalization,
    /// Teacher momentum.
    pub alpha: f64,
    /// Pseudo-labels.
    pub pseudo: PseudoLabelConfig,
    /// Distance to ImageNet features.
    pub feature_distance: Option<FeatureDistance>,
    /// Masked image consistency.
    pub masked: Option<MaskedConsistency>,
}

/// Options of masked image consistency.
#[derive(Clone, Debug)]
pub struct MaskedConsistency {
    /// Which images are masked, and whether their colours change.
    pub mode: MaskMode,
    /// The hidden blocks.
    pub blocks: BlockMaskConfig,
    /// Factor of the masked loss.
    pub lambda: f64,
    /// Momentum and pseudo-labels of a teacher of its own; `None` shares the method's.
    pub own_teacher: Option<(f64, PseudoLabelConfig)>,
}

/// Sees named intermediate tensors of a step, such as `mix.img` or `masked.logits`.
pub type Tap<'a> = dyn FnMut(&str, &Tensor) + 'a;

/// Student, teachers and the gradient of the current step.
pub struct SelfTraining {
    options: Options,
    student: Segmentor,
    store: Store,
    teacher: Option<Teacher>,
    mask_teacher: Option<Teacher>,
    imagenet: Option<Mit>,
    grads: Grads,
}

/// Labels and optional pixel weights of a batch.
struct Supervision<'a> {
    label: &'a Tensor,
    weight: Option<&'a Tensor>,
}

impl SelfTraining {
    /// Builds the student over `store` (trainable, empty) and the teachers that the options need.
    /// `imagenet` is the frozen backbone of the feature distance.
    ///
    /// # Errors
    /// A model that cannot be built, or a feature distance without its backbone.
    pub fn new(
        model: &SegmentorConfig,
        store: Store,
        options: Options,
        imagenet: Option<Mit>,
    ) -> Result<Self> {
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
            teacher: options.mixing.then(|| teacher(options.alpha)).transpose()?,
            mask_teacher: own
                .filter(|_| options.mixing)
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

    /// Everything that changes over steps besides the optimiser, by name: the student's tensors
    /// below `model.`, its teacher's below `ema_model.`, masked consistency's own teacher's below
    /// `mic_teacher.`. They share storage with the networks: write or copy them before the next
    /// step.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        state::collect(&self.stores())
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

    /// Computes the losses of step `step` on `batch` and accumulates their gradients, to be
    /// applied by an optimiser. The teachers follow the student first. Returns the scalars to log:
    /// `decode.loss_seg`, `src.loss_imnet_feat_dist`, `mix.decode.loss_seg`,
    /// `masked.decode.loss_seg`, `pseudo.weight`; with a tap also the accuracies.
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
        mut tap: Option<&mut Tap>,
    ) -> Result<BTreeMap<String, f64>> {
        let mode = Forward::train(drops);
        let mut log = Log {
            step,
            scalars: BTreeMap::new(),
        };
        self.grads.clear();
        let teachers = [&mut self.teacher, &mut self.mask_teacher];
        for teacher in teachers.into_iter().flatten() {
            teacher.follow(step)?;
        }

        // Supervised source loss, and the distance of its features to ImageNet's.
        let source = &batch.source;
        let image = match &draws.source {
            Some(strong) => strong.apply(&source.image, &self.options.normalization)?,
            None => source.image.clone(),
        };
        let truth = Supervision {
            label: &source.label,
            weight: None,
        };
        let output = self.student.forward(&image, &mode)?;
        show(&mut tap, "source.logits", &output.logits);
        let mut loss =
            self.segmentation_loss(&output, &truth, "decode", &mut log, tap.is_some())?;
        if let Some(distance) = self.feature_distance(&output, &image, truth.label, &mut tap)? {
            log.add("src.loss_imnet_feat_dist", &distance)?;
            loss = (loss + distance)?;
        } else if self.options.feature_distance.is_some() {
            log.scalars
                .insert("src.loss_imnet_feat_dist".into(), f64::NAN);
        }
        self.grads.accumulate(&backward(&loss)?)?;
        drop((output, loss));

        // Self-training on mixed images.
        let target = batch.target.as_ref();
        let mut pseudo = None;
        if let Some(teacher) = &self.teacher {
            let target = target.ok_or_else(|| missing("target images"))?;
            let MixDraws { classes, strong } =
                draws.mix.as_ref().ok_or_else(|| missing("mixing draws"))?;
            let labels =
                teacher.pseudo_labels(target, &self.options.pseudo, "teacher", &mut tap)?;
            log.scalars
                .insert("pseudo.weight".into(), f64::from(labels.confidence));
            show(&mut tap, "pseudo.label", &labels.label);
            show(&mut tap, "pseudo.weight", &labels.weight);
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
                show(&mut tap, name, tensor);
            }
            let truth = Supervision {
                label: &label,
                weight: Some(&weight),
            };
            let output = self.student.forward(&image, &mode)?;
            show(&mut tap, "mix.logits", &output.logits);
            let loss =
                self.segmentation_loss(&output, &truth, "mix.decode", &mut log, tap.is_some())?;
            self.grads.accumulate(&backward(&loss)?)?;
            pseudo = Some(labels);
        }

        // Masked image consistency.
        if let Some(masked) = &self.options.masked {
            let MaskDraws { strong, blocks } =
                draws.masked.as_ref().ok_or_else(|| missing("mask draws"))?;
            if let (Some(teacher), Some((_, config)), Some(target)) =
                (&self.mask_teacher, &masked.own_teacher, target)
            {
                let labels = teacher.pseudo_labels(target, config, "mic_teacher", &mut tap)?;
                show(&mut tap, "mic_pseudo.label", &labels.label);
                show(&mut tap, "mic_pseudo.weight", &labels.weight);
                pseudo = Some(labels);
            }
            let (image, label, weight) = masked_batch(masked.mode.images, batch, pseudo.as_ref())?;
            let image = match strong {
                Some(strong) => strong.apply(&image, &self.options.normalization)?,
                None => image,
            };
            let image = blocks.apply(&image)?;
            if tap.is_some() {
                show(&mut tap, "masked.block_mask", &blocks.mask(image.device())?);
            }
            show(&mut tap, "masked.img", &image);
            show(&mut tap, "masked.label", &label);
            if let Some(weight) = &weight {
                show(&mut tap, "masked.weight", weight);
            }
            let truth = Supervision {
                label: &label,
                weight: weight.as_ref(),
            };
            let output = self.student.forward(&image, &mode)?;
            show(&mut tap, "masked.logits", &output.logits);
            let key = "masked.decode";
            let loss = self.segmentation_loss(&output, &truth, key, &mut log, tap.is_some())?;
            let loss = (loss * masked.lambda)?;
            log.add("masked.decode.loss_seg", &loss)?;
            self.grads.accumulate(&backward(&loss)?)?;
        }
        Ok(log.scalars)
    }

    /// Cross-entropy at the labels' size, averaged over all pixels.
    fn segmentation_loss(
        &self,
        output: &Output,
        truth: &Supervision,
        key: &str,
        log: &mut Log,
        accuracy: bool,
    ) -> Result<Tensor> {
        let (_, height, width) = truth.label.dims3()?;
        let logits = ops::resize_bilinear(&output.logits, (height, width), false)?;
        let options = CrossEntropyOptions {
            weight: truth.weight.cloned(),
            ..CrossEntropyOptions::default()
        };
        let loss = ops::cross_entropy(&logits, truth.label, &options)?;
        log.add(&format!("{key}.loss_seg"), &loss)?;
        if accuracy {
            let accuracy = ops::pixel_accuracy(&logits, truth.label)?;
            log.scalars.insert(format!("{key}.acc_seg"), accuracy);
        }
        Ok(loss)
    }

    fn feature_distance(
        &self,
        output: &Output,
        image: &Tensor,
        label: &Tensor,
        tap: &mut Option<&mut Tap>,
    ) -> Result<Option<Tensor>> {
        let (Some(options), Some(imagenet)) = (&self.options.feature_distance, &self.imagenet)
        else {
            return Ok(None);
        };
        let reference = imagenet.forward(image, &Forward::eval())?;
        let (Some(reference), Some(student)) = (reference.last(), output.features.last()) else {
            return Err(missing("backbone features"));
        };
        let positions = options.positions(label, student.dim(3)?)?;
        show(tap, "source.feat3", student);
        show(tap, "fd.imnet_feat3", reference);
        show(tap, "fd.mask", &positions);
        Ok(options.loss(student, reference, &positions)?)
    }
}

/// Images, labels and weights of the masked batch, by mode.
fn masked_batch(
    images: Images,
    batch: &UdaBatch,
    pseudo: Option<&PseudoLabels>,
) -> Result<(Tensor, Tensor, Option<Tensor>)> {
    let source = &batch.source;
    // Without pseudo-labels (training on the source alone) every mode masks the source.
    let (Some(pseudo), Some(target)) = (pseudo, &batch.target) else {
        return Ok((source.image.clone(), source.label.clone(), None));
    };
    Ok(match images {
        Images::Source => (source.image.clone(), source.label.clone(), None),
        Images::Target => (
            target.image.clone(),
            pseudo.label.clone(),
            Some(pseudo.weight.clone()),
        ),
        Images::Mixed => {
            let first =
                |a: &Tensor, b: &Tensor| Tensor::cat(&[a.narrow(0, 0, 1)?, b.narrow(0, 0, 1)?], 0);
            let ones = pseudo.weight.ones_like()?;
            (
                first(&source.image, &target.image)?,
                first(&source.label, &pseudo.label)?,
                Some(first(&ones, &pseudo.weight)?),
            )
        }
    })
}

struct Log {
    step: u64,
    scalars: BTreeMap<String, f64>,
}

impl Log {
    fn add(&mut self, key: &str, loss: &Tensor) -> Result<()> {
        let value = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        if !value.is_finite() {
            return Err(Error::Run(format!(
                "loss {key} is {value} at step {}: the run stops here; a smaller optimizer.lr or a \
                 longer optimizer.warmup usually helps",
                self.step
            )));
        }
        self.scalars.insert(key.to_string(), value);
        Ok(())
    }
}

pub(super) fn show(tap: &mut Option<&mut Tap>, name: &str, tensor: &Tensor) {
    if let Some(tap) = tap {
        tap(name, tensor);
    }
}

fn missing(what: &str) -> Error {
    Error::Run(format!("the step needs {what}, and there are none"))
}
