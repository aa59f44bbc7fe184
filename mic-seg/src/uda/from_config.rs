//! The method that a configuration names.

use mic_core::augment::{ColorJitterConfig, Normalization, StrongConfig};
use mic_core::{BlockMaskConfig, Confidence, PseudoLabelConfig};

use super::{FeatureDistance, MaskedConsistency, Options};
use crate::config::{Config, MaskOptions, Method, Threshold};

impl Options {
    /// The method of a checked configuration.
    pub fn of(config: &Config) -> Self {
        let colour = &config.colour;
        let normalise = &config.data.pipeline.normalise;
        let no_labels = PseudoLabelConfig::new(Confidence::None);
        let (mixing, alpha, pseudo, feature_distance) = match &config.method {
            Method::Supervised => (false, 0.0, no_labels, None),
            Method::Dacs(dacs) => {
                let pseudo = PseudoLabelConfig {
                    confidence: Confidence::ShareAbove(dacs.pseudo_threshold as f32),
                    ignore_top: dacs.ignore_top,
                    ignore_bottom: dacs.ignore_bottom,
                };
                let distance = dacs.feature_distance.as_ref().map(|d| FeatureDistance {
                    lambda: d.lambda,
                    classes: d.classes.clone(),
                    min_ratio: d.min_ratio,
                    num_classes: config.classes.len(),
                });
                (true, dacs.alpha, pseudo, distance)
            }
        };
        Self {
            mixing,
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
            feature_distance,
            masked: config.mask.as_ref().map(|mask| masked(mask, alpha, pseudo)),
        }
    }
}

fn masked(mask: &MaskOptions, alpha: f64, pseudo: PseudoLabelConfig) -> MaskedConsistency {
    let own_teacher = mask.has_own_teacher().then(|| {
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
