//! Adversarial training in output space (AdaptSegNet, sec. 3), with masked image consistency on
//! top: the student learns target predictions that a discriminator takes for those of the source.

use std::collections::{BTreeMap, HashMap};

use candle_core::{Tensor, Var};
use mic_data::UdaBatch;
use mic_nn::autograd::backward;
use mic_nn::forward::{Drops, Forward};
use mic_nn::ops::{self, Reduction};
use mic_nn::optim::{AdamW, AdamWConfig, Grads, GroupRules, Optimizer};
use mic_nn::params::Store;
use mic_run::state::{below, collect, prefixed};

use super::consistency::Consistency;
use super::pass::Student;
use super::trace::{Tap, Trace, missing};
use super::training::{check, own_mask_teacher};
use super::{AdversarialLoss, AdversarialOptions, Draws, Options, TargetUse, Teacher, state};
use crate::model::{Discriminator, DiscriminatorConfig, Segmentor, SegmentorConfig};
use crate::{Error, Result};

/// The state of the discriminator's own optimiser, in the state of the method.
const OPTIMIZER: &str = "optimizer_D.";
/// What the discriminator calls the domains.
const SOURCE: f64 = 0.0;
const TARGET: f64 = 1.0;

/// Student, discriminator, and masked consistency's teacher.
pub struct Adversarial {
    options: Options,
    adversarial: AdversarialOptions,
    student: Segmentor,
    store: Store,
    mask_teacher: Option<Teacher>,
    discriminator: Discriminator,
    discriminator_store: Store,
    optimizer: AdamW,
    grads: Grads,
}

impl Adversarial {
    /// Builds the student over `store` (trainable, empty), the discriminator over
    /// `discriminator_store` (the same), and the teacher that masked consistency needs.
    ///
    /// # Errors
    /// A model that cannot be built, or options of another method or network.
    pub fn new(
        model: &SegmentorConfig,
        store: Store,
        discriminator_store: Store,
        options: Options,
    ) -> Result<Self> {
        check(model, &options)?;
        let TargetUse::Adversarial(adversarial) = options.target.clone() else {
            let message = format!("adversarial training has no use for {:?}", options.target);
            return Err(Error::Config(message));
        };
        let student = Segmentor::new(model, &store.root())?;
        let shape = DiscriminatorConfig {
            classes: model.head.classes(),
            channels: adversarial.channels,
        };
        let discriminator = Discriminator::new(&shape, &discriminator_store.root())?;
        let config = AdamWConfig {
            betas: adversarial.betas,
            ..AdamWConfig::default()
        };
        let rules = GroupRules::uniform(adversarial.lr, 0.0);
        let optimizer = AdamW::new(&named(&discriminator_store), &rules, config);
        Ok(Self {
            mask_teacher: own_mask_teacher(model, &store, &options)?,
            grads: Grads::new(&all(&store, &discriminator_store)),
            options,
            adversarial,
            student,
            store,
            discriminator,
            discriminator_store,
            optimizer,
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

    /// The discriminator's parameters.
    pub fn discriminator_store(&self) -> &Store {
        &self.discriminator_store
    }

    /// What the main optimiser updates: the student and, as in the reference, below `model_D.` the
    /// discriminator, which [`after_update`](Self::after_update) then updates a second time.
    pub fn parameters(&self) -> Vec<(String, Var)> {
        all(&self.store, &self.discriminator_store)
    }

    /// The gradients of the latest [`step`](Self::step), for both optimisers.
    pub fn grads(&self) -> &Grads {
        &self.grads
    }

    /// As [`grads`](Self::grads), to be clipped.
    pub fn grads_mut(&mut self) -> &mut Grads {
        &mut self.grads
    }

    /// As [`SelfTraining::state`](super::SelfTraining::state): the student below `model.`, masked
    /// consistency's teacher below `mic_teacher.`, the discriminator below `model_D.` and its own
    /// optimiser below `optimizer_D.`.
    ///
    /// # Errors
    /// If the optimiser's state cannot be read.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut all = collect(&self.stores());
        all.extend(prefixed(OPTIMIZER, self.optimizer.state()?));
        Ok(all)
    }

    /// Continues from a [`state`](Self::state).
    ///
    /// # Errors
    /// A state that does not fit the method; names the tensor.
    pub fn restore(&mut self, saved: &HashMap<String, Tensor>) -> Result<()> {
        state::restore(&self.stores(), saved)?;
        Ok(self.optimizer.load_state(&below(saved, OPTIMIZER))?)
    }

    fn stores(&self) -> Vec<(&'static str, &Store)> {
        let mut stores = vec![(state::STUDENT, &self.store)];
        let teacher = self.mask_teacher.iter();
        stores.extend(teacher.map(|t| (state::MASK_TEACHER, t.store())));
        stores.push((state::DISCRIMINATOR, &self.discriminator_store));
        stores
    }

    /// As [`SelfTraining::step`](super::SelfTraining::step), for both players. Logs
    /// `decode.loss_seg`, `G_trg.loss.main`, `masked.decode.loss_seg`, `D_src.loss.main` and
    /// `D_trg.loss.main`.
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
        let (_, output, losses) = student.source_pass(source, draws, normalization, trace)?;
        let source_logits = output.logits.detach();
        self.grads.accumulate(&backward(&losses.total()?)?)?;
        drop((output, losses));

        // The student's side: target predictions are to look like source ones.
        let target = batch.target.as_ref();
        let target = target.ok_or_else(|| missing("target images"))?;
        let crop = draws.crops.target.as_ref();
        let output = student
            .net
            .forward_train(&target.image, crop, &student.mode)?;
        trace.show("target.logits", &output.logits);
        let target_logits = output.logits.detach();
        let fake = self.discriminate(&output.logits, &target.image, false)?;
        trace.show("disc_out.generator", &fake);
        let loss = (self.distance(&fake, SOURCE)? * self.adversarial.lambda)?;
        trace.loss("G_trg.loss.main", &loss)?;
        self.grads.accumulate(&backward(&loss)?)?;
        drop((output, fake, loss));

        // Masked image consistency.
        let consistency = Consistency::of(&self.options, self.mask_teacher.as_ref());
        if let Some(consistency) = consistency {
            let loss = consistency.loss(&student, batch, draws, None, trace)?;
            self.grads.accumulate(&backward(&loss)?)?;
        }

        // The discriminator's side: which domain is it?
        for (name, logits, image, domain) in [
            ("src", &source_logits, &source.image, SOURCE),
            ("trg", &target_logits, &target.image, TARGET),
        ] {
            let told = self.discriminate(logits, image, true)?;
            let tap = if name == "src" { "source" } else { "target" };
            trace.show(&format!("disc_out.{tap}"), &told);
            let loss = (self.distance(&told, domain)? / 2.0)?;
            trace.loss(&format!("D_{name}.loss.main"), &loss)?;
            self.grads.accumulate(&backward(&loss)?)?;
        }
        Ok(trace.take())
    }

    /// The discriminator's own update, after the main optimiser's.
    ///
    /// # Errors
    /// If an update fails.
    pub fn after_update(&mut self, step: u64) -> Result<()> {
        let lr = self.adversarial.lr_at(step);
        Ok(self.optimizer.step(&self.grads, &|_| lr)?)
    }

    /// The discriminator's output for logits at the image's size (half of it with HRDA).
    fn discriminate(&self, logits: &Tensor, image: &Tensor, trained: bool) -> Result<Tensor> {
        let (_, _, height, width) = image.dims4()?;
        let size = match self.student.hrda() {
            Some(_) => (height / 2, width / 2),
            None => (height, width),
        };
        let logits = ops::resize_bilinear(logits, size, false)?;
        Ok(self
            .discriminator
            .forward(&ops::softmax(&logits, 1)?, trained)?)
    }

    /// The mean distance of the discriminator's output to a domain's number.
    fn distance(&self, told: &Tensor, domain: f64) -> Result<Tensor> {
        Ok(match self.adversarial.loss {
            AdversarialLoss::LeastSquares => (told - domain)?.sqr()?.mean_all()?,
            AdversarialLoss::CrossEntropy => {
                let domain = told.ones_like()?.affine(domain, 0.0)?.detach();
                ops::binary_cross_entropy_with_logits(told, &domain, Reduction::Mean)?
            }
        })
    }
}

/// The discriminator's variables by their names in the state.
fn named(discriminator: &Store) -> Vec<(String, Var)> {
    let rename = |(name, var)| (format!("{}{name}", state::DISCRIMINATOR), var);
    discriminator.vars().into_iter().map(rename).collect()
}

fn all(student: &Store, discriminator: &Store) -> Vec<(String, Var)> {
    let mut all = student.vars();
    all.extend(named(discriminator));
    all
}
