//! The domain discriminator with its optimiser.

use mic_data::rng::stream;
use mic_nn::forward::Forward;
use mic_nn::optim::{Grads, GroupRules, Optimizer, Sgd};
use mic_nn::params::Store;

use candle_core::{DType, Device};

use super::{AdversaryOptions, SgdOptions};
use crate::Result;
use crate::losses::{DomainScore, domain_score};
use crate::model::{
    ClassifierConfig, Conditioning, DiscriminatorConfig, DomainDiscriminator, Output,
};

/// What the features are trained against. It is never perturbed by SAM, and has an optimiser of its
/// own with the student's schedule.
pub struct Adversary {
    discriminator: DomainDiscriminator,
    pub(super) store: Store,
    pub(super) conditioning: Conditioning,
    pub(super) sgd: Sgd,
    pub(super) grads: Grads,
    /// How often the features' gradient has been reversed.
    pub(super) reversals: u64,
    options: AdversaryOptions,
}

impl Adversary {
    pub(super) fn new(
        model: &ClassifierConfig,
        options: &AdversaryOptions,
        sgd: &SgdOptions,
        seed: u64,
    ) -> Result<Self> {
        let (features, classes) = (model.features(), model.classes);
        let conditioning = match options.randomized {
            None => Conditioning::Multilinear,
            Some(dim) => {
                let rng = stream(seed, "randomised map", 0);
                Conditioning::randomized(rng, features, classes, dim)?
            }
        };
        let config = DiscriminatorConfig {
            inputs: conditioning.outputs(features, classes)?,
            hidden: options.hidden,
        };
        let rng = stream(seed, "initial discriminator", 0);
        let store = Store::trainable(rng, DType::F32, &Device::Cpu);
        let discriminator = DomainDiscriminator::new(&config, &store.root())?;
        let rules: GroupRules = sgd.rules(&store, 1.0);
        Ok(Self {
            discriminator,
            conditioning,
            sgd: Sgd::new(&store.vars(), &rules, sgd.momentum),
            grads: Grads::new(&store.vars()),
            store,
            reversals: 0,
            options: options.clone(),
        })
    }

    /// The loss on a joint batch whose first `sources` images are the source's. Every call takes the
    /// next coefficient of the gradient reversal.
    pub(super) fn score(
        &mut self,
        output: &Output,
        sources: usize,
        mode: &Forward,
    ) -> Result<DomainScore> {
        let reversal = self.options.reversal.coefficient(self.reversals as usize);
        self.reversals += 1;
        let kind = (self.options.loss, self.options.by_entropy);
        Ok(domain_score(
            &self.discriminator,
            &self.conditioning,
            output,
            sources,
            reversal,
            kind,
            mode,
        )?)
    }

    /// Applies the gradients of this step.
    pub(super) fn update(&mut self, lr: &dyn Fn(f64) -> f64) -> Result<()> {
        Ok(self.sgd.step(&self.grads, lr)?)
    }

    /// The discriminator's parameters and buffers.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The discriminator's gradients of the latest step.
    pub fn grads(&self) -> &Grads {
        &self.grads
    }

    /// How many coefficients of the gradient reversal have been used.
    pub fn reversals(&self) -> u64 {
        self.reversals
    }
}

impl SgdOptions {
    /// Learning rate and decay of the parameters in `store`; those below `backbone.` have
    /// `backbone` times the rate.
    pub(super) fn rules(&self, store: &Store, backbone: f64) -> GroupRules {
        use mic_nn::optim::Rule;
        let rule = |(name, var): (String, candle_core::Var)| {
            let in_backbone = name.starts_with("backbone.");
            // Norms and biases are the parameters of one dimension.
            let decays = self.decay_all || var.rank() > 1;
            Rule {
                lr_mult: if in_backbone { backbone } else { 1.0 },
                decay_mult: if decays { 1.0 } else { 0.0 },
                key: name,
            }
        };
        GroupRules {
            base_lr: self.lr,
            base_weight_decay: self.weight_decay,
            // Each parameter's own name: the longest key that is part of it.
            rules: store.vars().into_iter().map(rule).collect(),
        }
    }
}
