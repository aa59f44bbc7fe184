//! The network.

use std::path::PathBuf;

use mic_nn::models::resnet::{BlockKind, NormKind, ResNetConfig, Stem};
use mic_run::config::check::{at_least, not_negative, one_of, positive, refuse, required, share};

use super::raw::{RawInference, RawModel, RawResNet};
use crate::anchors::AnchorConfig;
use crate::conventions::Conventions;
use crate::detector::DetectorConfig;
use crate::matcher::Matcher;
use crate::roi::RoiConfig;
use crate::rpn::{Limits, RpnConfig};
use crate::sampler::BalancedSampler;
use crate::{Error, Result};

/// The network of a run; how many classes it has is known once the source is.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Of one class and without domain heads.
    detector: DetectorConfig,
    /// Weights that the backbone starts from.
    pub pretrained: Option<PathBuf>,
}

const CONVENTIONS: [(&str, Conventions); 2] = [
    ("legacy", Conventions::Legacy),
    ("modern", Conventions::Modern),
];

#[derive(Clone, Copy, PartialEq)]
enum Body {
    Detectron,
    Torchvision,
}

const BODIES: [(&str, Body); 2] = [
    ("detectron", Body::Detectron),
    ("torchvision", Body::Torchvision),
];

#[derive(Clone, Copy)]
enum Norm {
    Frozen,
    Running,
    Batch,
}

const NORMS: [(&str, Norm); 3] = [
    ("frozen", Norm::Frozen),
    ("running", Norm::Running),
    ("batch", Norm::Batch),
];

const BLOCKS: [(&str, BlockKind); 2] = [
    ("basic", BlockKind::Basic),
    ("bottleneck", BlockKind::Bottleneck),
];

/// Depths of the named backbones; `None` is `resnet` with its table.
const BACKBONES: [(&str, Option<usize>); 6] = [
    ("resnet18", Some(18)),
    ("resnet34", Some(34)),
    ("resnet50", Some(50)),
    ("resnet101", Some(101)),
    ("resnet152", Some(152)),
    ("resnet", None),
];

impl ModelConfig {
    pub(super) fn check(raw: &RawModel, inference: &RawInference) -> Result<Self> {
        let conventions = one_of("model.conventions", &raw.conventions, &CONVENTIONS)?;
        let detector = DetectorConfig {
            body: body(raw, conventions)?,
            channels: at_least("model.channels", raw.channels, 1)?,
            anchors: anchors(raw)?,
            rpn: rpn(&raw.rpn)?,
            roi: roi(raw, inference, conventions)?,
            domain: None,
            conventions,
        };
        let fits = detector.check();
        fits.map_err(|error| Error::Config(format!("model: {error}")))?;
        Ok(Self {
            detector,
            pretrained: raw.pretrained.as_ref().map(PathBuf::from),
        })
    }

    /// The detector for `classes` classes without counting the background; its domain heads are the
    /// caller's.
    pub fn detector(&self, classes: usize) -> DetectorConfig {
        let mut detector = self.detector.clone();
        detector.roi.classes = classes + 1;
        detector
    }
}

fn body(raw: &RawModel, conventions: Conventions) -> Result<ResNetConfig> {
    let config = match one_of("model.backbone", &raw.backbone, &BACKBONES)? {
        Some(depth) => ResNetConfig::torchvision(depth)?,
        None => {
            let why = "the sizes of backbone = \"resnet\"";
            custom(required("model.resnet", raw.resnet.as_ref(), why)?)?
        }
    };
    let bottleneck = config.block == BlockKind::Bottleneck;
    let own = match bottleneck && conventions == Conventions::Legacy {
        true => "detectron",
        false => "torchvision",
    };
    let name = raw.body.as_deref().unwrap_or(own);
    let body = one_of("model.body", name, &BODIES)?;
    if body == Body::Detectron && !bottleneck {
        let expected = "\"torchvision\", as the backbone has no 1x1 convolution for the stride";
        return refuse("model.body", "\"detectron\"", expected);
    }
    let pretrained = raw.pretrained.is_some();
    let own = if pretrained { "frozen" } else { "batch" };
    let norm = raw.norm.as_deref().unwrap_or(own);
    let own_eps = if body == Body::Detectron { 0.0 } else { 1e-5 };
    let eps = not_negative("model.norm_eps", raw.norm_eps.unwrap_or(own_eps))?;
    let frozen = raw.frozen.unwrap_or(if pretrained { 2 } else { 0 });
    if frozen > config.depths.len() + 1 {
        let expected = "at most 5: the stem and four stages";
        return refuse("model.frozen", frozen, expected);
    }
    let detectron = ResNetConfig::detection(50)?;
    let init = match body {
        Body::Detectron => detectron.init,
        Body::Torchvision => config.init,
    };
    Ok(ResNetConfig {
        stem: match body {
            Body::Detectron => Stem::Prefixed,
            Body::Torchvision => Stem::Plain,
        },
        stride_in_1x1: body == Body::Detectron,
        norm: match one_of("model.norm", norm, &NORMS)? {
            Norm::Frozen => NormKind::Frozen { eps },
            Norm::Running => NormKind::Running,
            Norm::Batch => NormKind::Batch,
        },
        frozen,
        init,
        ..config
    })
}

fn custom(raw: &RawResNet) -> Result<ResNetConfig> {
    let block = one_of("model.resnet.block", &raw.block, &BLOCKS)?;
    if raw.depths.len() != 4 || raw.depths.contains(&0) {
        let found = format!("{:?}", raw.depths);
        let expected = "the blocks of four stages, at least 1 each";
        return refuse("model.resnet.depths", found, expected);
    }
    let like = ResNetConfig::torchvision(if block == BlockKind::Basic { 18 } else { 50 })?;
    Ok(ResNetConfig {
        depths: raw.depths.clone(),
        stem_channels: at_least("model.resnet.stem", raw.stem, 1)?,
        width: at_least("model.resnet.width", raw.width, 1)?,
        ..like
    })
}

fn anchors(raw: &RawModel) -> Result<AnchorConfig> {
    let anchors = AnchorConfig {
        sizes: raw.anchor_sizes.clone(),
        ratios: raw.anchor_ratios.clone(),
        ..AnchorConfig::default()
    };
    if anchors.sizes.len() != anchors.strides.len() {
        let expected = format!(
            "{} sizes, one for each level of the pyramid",
            anchors.strides.len()
        );
        return refuse(
            "model.anchor_sizes",
            format!("{:?}", anchors.sizes),
            expected,
        );
    }
    for &size in &anchors.sizes {
        positive("model.anchor_sizes", size)?;
    }
    if anchors.ratios.is_empty() {
        return refuse("model.anchor_ratios", "[]", "at least one ratio");
    }
    for &ratio in &anchors.ratios {
        positive("model.anchor_ratios", ratio)?;
    }
    Ok(anchors)
}

fn rpn(raw: &RpnConfig) -> Result<RpnConfig> {
    for (name, limits) in [("train", &raw.train), ("test", &raw.test)] {
        let Limits {
            pre_nms,
            post_nms,
            total,
        } = *limits;
        for (key, value) in [
            ("pre_nms", pre_nms),
            ("post_nms", post_nms),
            ("total", total),
        ] {
            at_least(&format!("model.rpn.{name}.{key}"), value, 1)?;
        }
    }
    share("model.rpn.nms", raw.nms)?;
    matcher("model.rpn.matcher", &raw.matcher)?;
    sampler("model.rpn.sampler", &raw.sampler)?;
    not_negative("model.rpn.smooth_l1_beta", raw.smooth_l1_beta)?;
    Ok(raw.clone())
}

fn roi(raw: &RawModel, inference: &RawInference, conventions: Conventions) -> Result<RoiConfig> {
    let roi = &raw.roi;
    matcher("model.roi.matcher", &roi.matcher)?;
    sampler("model.roi.sampler", &roi.sampler)?;
    let beta = roi.smooth_l1_beta.unwrap_or(match conventions {
        Conventions::Legacy => 1.0,
        Conventions::Modern => 1.0 / 9.0,
    });
    Ok(RoiConfig {
        classes: 2,
        hidden: at_least("model.roi.hidden", roi.hidden, 1)?,
        resolution: at_least("model.roi.resolution", roi.resolution, 1)?,
        sampling_ratio: roi.sampling_ratio,
        levels: 4,
        matcher: roi.matcher,
        sampler: roi.sampler,
        smooth_l1_beta: not_negative("model.roi.smooth_l1_beta", beta)?,
        score: share("inference.score", inference.score)?,
        nms: share("inference.nms", inference.nms)?,
        detections: at_least("inference.detections", inference.detections, 1)?,
    })
}

fn matcher(key: &str, matcher: &Matcher) -> Result<()> {
    let low = share(&format!("{key}.low"), matcher.low.into())?;
    let high = share(&format!("{key}.high"), matcher.high.into())?;
    if low > high {
        return refuse(
            &format!("{key}.low"),
            low,
            format!("at most {key}.high = {high}"),
        );
    }
    Ok(())
}

fn sampler(key: &str, sampler: &BalancedSampler) -> Result<()> {
    at_least(&format!("{key}.batch"), sampler.batch, 1)?;
    share(
        &format!("{key}.positive_fraction"),
        sampler.positive_fraction,
    )?;
    Ok(())
}
