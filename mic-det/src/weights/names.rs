//! The names of other programs' tensors.

use mic_nn::models::fpn;
use mic_nn::models::resnet::{self, Stem};
use mic_nn::weights::{Rename, Weights};

use crate::Result;
use crate::detector::DetectorConfig;

/// Whose names the tensors of a file have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// maskrcnn-benchmark's, which are used here.
    Reference,
    /// torchvision's detectors.
    Torchvision,
    /// torchvision's classifiers: a ResNet alone.
    Classifier,
    /// Detectron's (Caffe2): a ResNet or a whole detector.
    Detectron,
}

impl Names {
    /// For messages.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Reference => "maskrcnn-benchmark's names",
            Self::Torchvision => "a torchvision detector's names",
            Self::Classifier => "a torchvision classifier's names",
            Self::Detectron => "Detectron's names",
        }
    }

    /// Whose names these are, if they are known.
    pub fn of(weights: &Weights) -> Option<Self> {
        let has = |start: &str| weights.names().any(|name| name.starts_with(start));
        if has("res2_0_branch") {
            Some(Self::Detectron)
        } else if has("backbone.fpn.inner_blocks.") || has("roi_heads.box_predictor.") {
            Some(Self::Torchvision)
        } else if has("backbone.body.") {
            Some(Self::Reference)
        } else if has("layer1.0.conv1.") {
            Some(Self::Classifier)
        } else {
            None
        }
    }

    /// The weights with the names of a detector of `config`.
    ///
    /// # Errors
    /// Two tensors of one name.
    pub(super) fn translate(self, weights: Weights, config: &DetectorConfig) -> Result<Weights> {
        let weights = match self {
            Self::Reference => weights,
            Self::Torchvision => weights.rename(&torchvision())?,
            Self::Classifier => weights.prefixed(BODY),
            Self::Detectron => {
                // Momentum in training checkpoints.
                let weights = weights.retain(|name| !name.contains("_momentum"));
                weights.rename(&detectron(config))?.rename(&in_place())?
            }
        };
        Ok(weights.rename(&stem(config.body.stem == Stem::Prefixed))?)
    }
}

/// Where the ResNet's tensors are.
pub(super) const BODY: &str = "backbone.body.";

/// maskrcnn-benchmark puts the first layers below `stem`, torchvision does not. The other names
/// are the same.
fn stem(prefixed: bool) -> Rename {
    let mut table = Rename::new();
    for layer in ["conv1", "bn1"] {
        let plain = format!("{BODY}{layer}.*");
        let below = format!("{BODY}stem.{layer}.*");
        table = match prefixed {
            true => table.to(&plain, &below),
            false => table.to(&below, &plain),
        };
    }
    table
}

/// The heads of a torchvision detector, theirs and ours. Files written before version 0.13 have the
/// second kind of names of layers that are sequences since.
const TORCHVISION_HEADS: [(&str, &str); 6] = [
    ("rpn.head.conv.0.0.*", "rpn.head.conv.*"),
    ("rpn.head.conv.*", "rpn.head.conv.*"),
    (
        "roi_heads.box_head.fc6.*",
        "roi_heads.box.feature_extractor.fc6.*",
    ),
    (
        "roi_heads.box_head.fc7.*",
        "roi_heads.box.feature_extractor.fc7.*",
    ),
    (
        "roi_heads.box_predictor.cls_score.*",
        "roi_heads.box.predictor.cls_score.*",
    ),
    (
        "roi_heads.box_predictor.bbox_pred.*",
        "roi_heads.box.predictor.bbox_pred.*",
    ),
];

fn torchvision() -> Rename {
    let mut table = Rename::new();
    for (theirs, ours) in TORCHVISION_HEADS {
        table = table.to(theirs, ours);
    }
    for kind in ["inner", "layer"] {
        for middle in [".0", ""] {
            let theirs = format!("backbone.fpn.{kind}_blocks.{{k}}{middle}.*");
            table = table.to(&theirs, &format!("backbone.fpn.fpn_{kind}{{k+1}}.*"));
        }
    }
    table
}

/// From our names to a torchvision detector's, for a pyramid of `levels` maps.
pub(super) fn to_torchvision(levels: usize) -> Rename {
    let mut table = Rename::new().drop("rpn.anchor_generator.*");
    for (theirs, ours) in TORCHVISION_HEADS {
        table = table.to(ours, theirs);
    }
    for kind in ["inner", "layer"] {
        for k in 0..levels {
            let ours = format!("backbone.fpn.fpn_{kind}{}.*", k + 1);
            table = table.to(&ours, &format!("backbone.fpn.{kind}_blocks.{k}.0.*"));
        }
    }
    table.then(stem(false))
}

/// From our names to maskrcnn-benchmark's.
pub(super) fn to_reference() -> Rename {
    stem(true)
}

/// Detectron's heads, pyramid and ResNet, the latter two without a prefix. The classifier is left
/// out.
///
/// Names as in maskrcnn-benchmark, utils/c2_model_loading.py.
fn detectron(config: &DetectorConfig) -> Rename {
    const HEAD: &str = "roi_heads.box.";
    let mut table = Rename::new();
    for (theirs, ours) in [("w", "weight"), ("b", "bias")] {
        for (from, to) in [
            ("conv_rpn_fpn2", "rpn.head.conv".to_owned()),
            ("rpn_cls_logits_fpn2", "rpn.head.cls_logits".to_owned()),
            ("rpn_bbox_pred_fpn2", "rpn.head.bbox_pred".to_owned()),
            ("fc6", format!("{HEAD}feature_extractor.fc6")),
            ("fc7", format!("{HEAD}feature_extractor.fc7")),
            ("cls_score", format!("{HEAD}predictor.cls_score")),
            ("bbox_pred", format!("{HEAD}predictor.bbox_pred")),
        ] {
            table = table.to(&format!("{from}_{theirs}"), &format!("{to}.{ours}"));
        }
    }
    let pyramid = fpn::detectron_names(&config.body.depths);
    table.then(pyramid).then(resnet::detectron_names())
}

/// Puts the tensors of a ResNet and of a pyramid where they are in a detector.
fn in_place() -> Rename {
    let mut table = Rename::new();
    for (prefix, start) in [
        (BODY, "stem."),
        (BODY, "layer{s}."),
        ("backbone.fpn.", "fpn_inner{k}."),
        ("backbone.fpn.", "fpn_layer{k}."),
    ] {
        table = table.to(&format!("{start}*"), &format!("{prefix}{start}*"));
    }
    table
}
