//! Region heads (Girshick, "Fast R-CNN"; Lin et al., "Feature Pyramid Networks", sec. 4.2): class
//! and refined box of every proposal.

mod head;
mod loss;
mod post_process;
mod sampling;

pub use head::BoxHead;
pub use loss::{RoiLosses, classifier_loss};
pub use post_process::{Detections, post_process};
pub use sampling::{Regions, sample_regions};

use serde::{Deserialize, Serialize};

use crate::matcher::Matcher;
use crate::sampler::BalancedSampler;

/// Options of the region heads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoiConfig {
    /// Classes, the background included.
    pub classes: usize,
    /// Width of the two hidden layers.
    pub hidden: usize,
    /// Bins of a region in each direction.
    pub resolution: usize,
    /// Samples of a bin in each direction; 0 takes as many as it has pixels of the map.
    pub sampling_ratio: usize,
    /// Levels of the pyramid that regions are read from, from the finest on.
    pub levels: usize,
    /// Which proposals learn what.
    pub matcher: Matcher,
    /// How many of them learn.
    pub sampler: BalancedSampler,
    /// Where the loss of the offsets turns from quadratic to linear.
    pub smooth_l1_beta: f64,
    /// Detections need a higher score.
    pub score: f64,
    /// Overlap above which the lower-scored detection of a class is dropped.
    pub nms: f64,
    /// Detections of an image at most (`Legacy`: more where scores tie).
    pub detections: usize,
}

impl Default for RoiConfig {
    /// The paper's Cityscapes run.
    fn default() -> Self {
        Self {
            classes: 9,
            hidden: 1024,
            resolution: 7,
            sampling_ratio: 2,
            levels: 4,
            matcher: Matcher {
                high: 0.5,
                low: 0.5,
                low_quality: false,
            },
            sampler: BalancedSampler {
                batch: 256,
                positive_fraction: 0.25,
            },
            smooth_l1_beta: 1.0,
            score: 0.05,
            nms: 0.5,
            detections: 100,
        }
    }
}
