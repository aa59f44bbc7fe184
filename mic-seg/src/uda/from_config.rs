//! The method that a configuration names.

use mic_core::augment::{ColorJitterConfig, Normalization, StrongConfig};
use mic_core::{BlockMaskConfig, Confidence, PseudoLabelConfig};

use super::{AdversarialOptions, FeatureDistance, MaskedConsistency, Options, TargetUse};
use crate::config::{Config, MaskOptions, Method, PseudoOptions, Threshold};

impl Options {
    /// The method of a checked configuration.
    pub fn of(config: &Config) -> Self {
        let colour = &config.colour;
        let normalise = &config.data.pipeline.normalise;
        let (alpha, pseudo) = match &config.method {
            Method::Supervised => (0.0, PseudoLabelConfig::new(Confidence::None)),
            Method::Dacs(dacs) => pseudo_labels(&dacs.pseudo),
            Method::Advseg(advseg) => pseudo_labels(&advseg.pseudo),
            Method::Minent { pseudo, .. } => pseudo_labels(pseudo),
        };
        let shares_teacher = matches!(config.method, Method::Supervised | Method::Dacs(_));
        let mask = config.mask.as_ref();
        Self {
            target: target(config),
            augment_source: colour.on_source,
            strong: StrongConfig {
                jitter: ColorJitterConfig::with_strength(colour.jitter),
                // A strength of 0 would still round colours through HSV.
                jitter_threshold: if colour.jitter > 0.0 {
                    colour.jitter_threshold
                } else {
                    1.0
                },
                blur: colour.blur,
            },
            normalization: Normalization {
                mean: normalise.mean.map(|v| v as f32),
                std: normalise.std.map(|v| v as f32),
            },
            alpha,
            pseudo,
            feature_distance: feature_distance(config),
            masked: mask.map(|mask| masked(mask, alpha, pseudo, shares_teacher)),
            detail: config.model.hrda.as_ref().map(|hrda| hrda.crop),
            recompute: config.model.recompute,
        }
    }
}

fn target(config: &Config) -> TargetUse {
    match &config.method {
        Method::Supervised => TargetUse::Nothing,
        Method::Dacs(_) => TargetUse::Mixing,
        Method::Advseg(advseg) => TargetUse::Adversarial(AdversarialOptions {
            lambda: advseg.lambda,
            loss: advseg.loss,
            channels: advseg.discriminator_channels,
            lr: advseg.discriminator_lr,
            ..AdversarialOptions::new(config.train.iterations)
        }),
        Method::Minent { lambda, .. } => TargetUse::Entropy { lambda: *lambda },
    }
}

fn pseudo_labels(options: &PseudoOptions) -> (f64, PseudoLabelConfig) {
    let pseudo = PseudoLabelConfig {
        confidence: Confidence::ShareAbove(options.threshold as f32),
        ignore_top: options.ignore_top,
        ignore_bottom: options.ignore_bottom,
    };
    (options.alpha, pseudo)
}

fn feature_distance(config: &Config) -> Option<FeatureDistance> {
    let Method::Dacs(dacs) = &config.method else {
        return None;
    };
    dacs.feature_distance.as_ref().map(|d| FeatureDistance {
        lambda: d.lambda,
        classes: d.classes.clone(),
        min_ratio: d.min_ratio,
        num_classes: config.classes.len(),
    })
}

/// Masked consistency; `shared` says whether the method has a teacher that it may share.
fn masked(
    mask: &MaskOptions,
    alpha: f64,
    pseudo: PseudoLabelConfig,
    shared: bool,
) -> MaskedConsistency {
    let own_teacher = (mask.has_own_teacher() || !shared).then(|| {
        let confidence = match mask.threshold {
            Threshold::Same => pseudo.confidence,
            Threshold::Value(value) => Confidence::ShareAbove(value as f32),
            Threshold::None => Confidence::None,
        };
        let pseudo = PseudoLabelConfig {
            confidence,
            ..pseudo
        };
        (mask.alpha.unwrap_or(alpha), pseudo)
    });
    MaskedConsistency {
        mode: mask.mode,
        blocks: BlockMaskConfig {
            block: mask.block,
            ratio: mask.ratio,
        },
        lambda: mask.lambda,
        own_teacher,
    }
}
