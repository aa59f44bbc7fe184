//! The method that a configuration names.

use mic_core::BlockMaskConfig;
use mic_core::augment::{ColorJitterConfig, Gates, Normalization, StrongConfig};
use mic_nn::optim::{SamConfig, SgdConfig};
use mic_nn::schedule::{InverseDecay, WarmStart};

use super::{
    AdversaryOptions, Ascent, Gating, MaskedConsistency, Options, PythonRandom, SgdOptions,
};
use crate::config::{Adversarial, Config, Gates as Drawn, MaskOptions, OptimizerConfig, Sharpness};

impl Options {
    /// The method of a checked configuration.
    pub fn of(config: &Config) -> Self {
        let method = &config.method;
        Self {
            mcc: method.mcc,
            adversary: method.adversarial.as_ref().map(adversary),
            ascent: method.sharpness.map(ascent),
            masked: config.mask.as_ref().map(|mask| masked(mask, config)),
            trade_off: method.trade_off,
            statistics: method.statistics,
            recompute: config.train.recompute,
            sgd: sgd(&config.optimizer),
        }
    }
}

impl Gating {
    /// What the published code draws from `seed` for a whole run: the jitter's coin always, the
    /// blur's where there may be blur.
    pub fn of_seed(strong: &StrongConfig, seed: u64) -> Self {
        let mut random = PythonRandom::new(seed);
        let jitter = random.uniform();
        let blur = if strong.blur { random.uniform() } else { 0.0 };
        Self::Run(strong.gates(jitter, blur))
    }
}

fn adversary(config: &Adversarial) -> AdversaryOptions {
    AdversaryOptions {
        hidden: config.hidden,
        randomized: config.randomized,
        by_entropy: config.entropy,
        loss: config.loss,
        reversal: WarmStart {
            alpha: config.reversal_alpha,
            max_iters: config.reversal_steps,
            ..WarmStart::default()
        },
    }
}

fn ascent(config: Sharpness) -> Ascent {
    Ascent {
        sam: SamConfig {
            rho: config.rho,
            adaptive: config.adaptive,
        },
        trade_off: config.trade_off,
    }
}

fn masked(mask: &MaskOptions, config: &Config) -> MaskedConsistency {
    let data = &config.raw.data;
    let strong = (mask.jitter > 0.0 || mask.blur).then_some(StrongConfig {
        jitter: ColorJitterConfig::with_strength(mask.jitter),
        // A strength of 0 would still round colours through HSV.
        jitter_threshold: if mask.jitter > 0.0 {
            mask.jitter_threshold
        } else {
            1.0
        },
        blur: mask.blur,
    });
    let gating = match (&strong, mask.gates) {
        (Some(strong), Drawn::Run) => Gating::of_seed(strong, config.seed),
        (Some(_), Drawn::Step) => Gating::Step,
        (None, _) => Gating::Run(Gates {
            jitter: false,
            blur: false,
        }),
    };
    MaskedConsistency {
        blocks: BlockMaskConfig {
            block: mask.block,
            ratio: mask.ratio,
        },
        strong,
        gating,
        normalization: Normalization {
            mean: data.mean.map(|v| v as f32),
            std: data.std.map(|v| v as f32),
        },
        alpha: mask.alpha,
        confidence: mask.confidence,
        weighted: mask.weighted,
        teacher_norm: mask.teacher_norm,
    }
}

fn sgd(config: &OptimizerConfig) -> SgdOptions {
    SgdOptions {
        lr: config.lr,
        backbone_lr_mult: config.backbone_lr_mult,
        weight_decay: config.weight_decay,
        decay_all: config.decay_all,
        momentum: SgdConfig {
            momentum: config.momentum,
            nesterov: config.nesterov,
        },
        schedule: InverseDecay {
            gamma: config.gamma,
            decay: config.power,
        },
    }
}
