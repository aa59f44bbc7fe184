//! The two families of conventions that detectors are trained with.

use mic_nn::ops::{LevelMapping, NmsRule};
use serde::{Deserialize, Serialize};

/// What a box and its size mean, and how proposals are chosen. Weights of one family do not work
/// with the conventions of the other.
///
/// | | `Legacy` | `Modern` |
/// | --- | --- | --- |
/// | width of a box | `x2 - x1 + 1` | `x2 - x1` |
/// | largest coordinate in an image | `W - 1` | `W` |
/// | anchors | around the first pixel block, rounded before scaling | around (0, 0), rounded after |
/// | stride of a level | given | image size over map size, rounded down |
/// | anchors over the image's border | do not learn | learn |
/// | training proposals | the best of the whole batch, at most `post_nms` a level | the best of each image |
/// | order of detections | by class, then in the order of proposals | by score |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Conventions {
    /// Those of maskrcnn-benchmark, which SADA and MIC were published with.
    #[default]
    Legacy,
    /// Those of torchvision.
    Modern,
}

impl Conventions {
    /// What is added to a difference of corners to get a width or height.
    pub fn extra(self) -> f32 {
        match self {
            Self::Legacy => 1.0,
            Self::Modern => 0.0,
        }
    }

    /// Non-maximum suppression.
    pub fn nms_rule(self) -> NmsRule {
        match self {
            Self::Legacy => NmsRule::Legacy,
            Self::Modern => NmsRule::Modern,
        }
    }

    /// Which map of the pyramid a region is read from, for maps from stride 4 on.
    pub fn level_mapping(self) -> LevelMapping {
        match self {
            Self::Legacy => LevelMapping::legacy(),
            // torchvision keeps the larger epsilon.
            Self::Modern => LevelMapping {
                epsilon: 1e-6,
                ..LevelMapping::modern()
            },
        }
    }

    /// Boxes of which a side is shorter are no proposals.
    pub(crate) fn smallest_proposal(self) -> f32 {
        match self {
            Self::Legacy => 0.0,
            Self::Modern => 1e-3,
        }
    }

    /// Boxes of which a side is shorter are no detections.
    pub(crate) fn smallest_detection(self) -> f32 {
        match self {
            Self::Legacy => f32::NEG_INFINITY,
            Self::Modern => 1e-2,
        }
    }
}
