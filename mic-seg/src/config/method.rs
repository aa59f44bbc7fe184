//! How the network is trained.

use super::raw::{RawConfig, RawMethod};
use crate::Result;
use crate::uda::AdversarialLoss;
use mic_run::config::check::{
    at_least_one, not_negative, one_of, positive, refuse, required, share,
};

/// The training method.
#[derive(Clone, Debug, PartialEq)]
pub enum Method {
    /// Labelled source images only.
    Supervised,
    /// Self-training on a target domain with ClassMix (DACS; DAFormer, sec. 3).
    Dacs(DacsOptions),
    /// Adversarial training in output space (AdaptSegNet).
    Advseg(AdvsegOptions),
    /// Entropy minimisation (MinEnt of ADVENT).
    Minent {
        /// Factor of the entropy, at least 0.
        lambda: f64,
        /// Pseudo-labels of masked consistency.
        pseudo: PseudoOptions,
    },
}

/// A teacher and its pseudo-labels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PseudoOptions {
    /// Teacher momentum, 0 to 1.
    pub alpha: f64,
    /// Confidence threshold of pseudo-labels, 0 to 1.
    pub threshold: f64,
    /// Rows at the top without pseudo-labels.
    pub ignore_top: usize,
    /// Rows at the bottom without pseudo-labels.
    pub ignore_bottom: usize,
}

/// Adversarial training.
#[derive(Clone, Debug, PartialEq)]
pub struct AdvsegOptions {
    /// Factor of the student's adversarial loss, at least 0.
    pub lambda: f64,
    /// The loss of both sides.
    pub loss: AdversarialLoss,
    /// Learning rate of the discriminator at the start, above 0.
    pub discriminator_lr: f64,
    /// Channels of the discriminator's first layer, at least 1.
    pub discriminator_channels: usize,
    /// Pseudo-labels of masked consistency.
    pub pseudo: PseudoOptions,
}

/// Self-training.
#[derive(Clone, Debug, PartialEq)]
pub struct DacsOptions {
    /// Teacher and pseudo-labels.
    pub pseudo: PseudoOptions,
    /// Distance to the features of the pretrained backbone.
    pub feature_distance: Option<FeatureDistance>,
}

/// Distance of the backbone's features to those it started from (DAFormer, sec. 3.3).
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureDistance {
    /// Factor of the loss, above 0.
    pub lambda: f64,
    /// Train ids that count.
    pub classes: Vec<u8>,
    /// Share of a class that a downscaled label needs there, 0 to 1.
    pub min_ratio: f64,
}

/// Colour changes of images on their way into the student.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColourOptions {
    /// Strength of the jitter, 0 to 1; 0 for none.
    pub jitter: f64,
    /// The jitter is applied when a uniform draw exceeds this.
    pub jitter_threshold: f64,
    /// Gaussian blur half of the time.
    pub blur: bool,
    /// Whether source images change, too.
    pub on_source: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Supervised,
    Dacs,
    Advseg,
    Minent,
}

const KINDS: [(&str, Kind); 4] = [
    ("supervised", Kind::Supervised),
    ("dacs", Kind::Dacs),
    ("advseg", Kind::Advseg),
    ("minent", Kind::Minent),
];

const LOSSES: [(&str, AdversarialLoss); 2] = [
    ("ls", AdversarialLoss::LeastSquares),
    ("vanilla", AdversarialLoss::CrossEntropy),
];

impl Method {
    pub(super) fn check(raw: &RawConfig, classes: usize) -> Result<Self> {
        let method = &raw.method;
        let kind = one_of("method.kind", &method.kind, &KINDS)?;
        if let Kind::Supervised = kind {
            return Ok(Self::Supervised);
        }
        let why = format!(
            "method.kind = {:?} trains on images of a target domain; add the table, or set \
             method.kind = \"supervised\"",
            method.kind
        );
        required("data.target", raw.data.target.as_ref(), &why)?;
        let pseudo = PseudoOptions::check(method)?;
        Ok(match kind {
            Kind::Supervised => Self::Supervised,
            Kind::Dacs => Self::Dacs(DacsOptions {
                pseudo,
                feature_distance: feature_distance(raw, classes)?,
            }),
            Kind::Advseg => Self::Advseg(AdvsegOptions {
                lambda: not_negative("method.adversarial_lambda", method.adversarial_lambda)?,
                loss: one_of("method.adversarial_loss", &method.adversarial_loss, &LOSSES)?,
                discriminator_lr: positive("method.discriminator_lr", method.discriminator_lr)?,
                discriminator_channels: at_least_one(
                    "method.discriminator_channels",
                    method.discriminator_channels as u64,
                )? as usize,
                pseudo,
            }),
            Kind::Minent => Self::Minent {
                lambda: not_negative("method.entropy_lambda", method.entropy_lambda)?,
                pseudo,
            },
        })
    }
}

impl PseudoOptions {
    fn check(raw: &RawMethod) -> Result<Self> {
        Ok(Self {
            alpha: share("method.alpha", raw.alpha)?,
            threshold: share("method.pseudo_threshold", raw.pseudo_threshold)?,
            ignore_top: raw.ignore_top,
            ignore_bottom: raw.ignore_bottom,
        })
    }
}

fn feature_distance(raw: &RawConfig, classes: usize) -> Result<Option<FeatureDistance>> {
    let method = &raw.method;
    let lambda = not_negative("method.feature_distance", method.feature_distance)?;
    if lambda == 0.0 {
        return Ok(None);
    }
    let why = "method.feature_distance compares with the features of a pretrained backbone; name \
               its file, or set method.feature_distance = 0";
    required("model.pretrained", raw.model.pretrained.as_ref(), why)?;
    let ids = &method.feature_distance_classes;
    if let Some(id) = ids.iter().find(|id| usize::from(**id) >= classes) {
        let expected = format!("train ids below the number of classes, {classes}");
        return refuse("method.feature_distance_classes", id, expected);
    }
    let min_ratio_key = "method.feature_distance_min_ratio";
    Ok(Some(FeatureDistance {
        lambda,
        classes: ids.clone(),
        min_ratio: share(min_ratio_key, method.feature_distance_min_ratio)?,
    }))
}

impl ColourOptions {
    pub(super) fn check(raw: &RawMethod) -> Result<Self> {
        let threshold = raw.color_jitter_threshold;
        Ok(Self {
            jitter: share("method.color_jitter", raw.color_jitter)?,
            jitter_threshold: share("method.color_jitter_threshold", threshold)?,
            blur: raw.blur,
            on_source: raw.augment_source,
        })
    }
}
