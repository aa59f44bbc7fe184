//! Region proposal network (Ren et al., "Faster R-CNN", sec. 3.1), one head for all levels of a
//! pyramid.

mod head;
mod loss;
mod proposals;

pub use head::{Cell, Predictions, RpnHead};
pub use loss::{RpnLosses, objectness_loss};
pub use proposals::Proposals;

use candle_core::Tensor;
use mic_nn::params::Scope;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::anchors::{AnchorConfig, Anchors, Grid};
use crate::batch::{Known, Pass};
use crate::boxes::Size;
use crate::conventions::Conventions;
use crate::matcher::Matcher;
use crate::sampler::{BalancedSampler, Picks};
use crate::tap::Tap;

/// How a loss is weighted by confidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weighting {
    /// Not at all.
    #[default]
    None,
    /// By the student's own probability on the image at hand: of an object (proposals; the weight
    /// is part of the gradient), of the likeliest class (boxes; it is not).
    Prob,
}

/// How many proposals remain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Of a level, before suppression.
    pub pre_nms: usize,
    /// Of a level, after suppression (`Legacy`).
    pub post_nms: usize,
    /// In the end: of a whole batch in training with `Legacy`, else of an image.
    pub total: usize,
}

/// Options of the region proposal network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RpnConfig {
    /// Limits in training.
    #[serde(deserialize_with = "crate::config::partial::train_limits")]
    pub train: Limits,
    /// Limits in evaluation, and of a teacher.
    #[serde(deserialize_with = "crate::config::partial::test_limits")]
    pub test: Limits,
    /// Overlap above which the lower-scored proposal is dropped.
    pub nms: f64,
    /// Which anchors learn what.
    #[serde(deserialize_with = "crate::config::partial::anchor_matcher")]
    pub matcher: Matcher,
    /// How many of them learn.
    #[serde(deserialize_with = "crate::config::partial::anchor_sampler")]
    pub sampler: BalancedSampler,
    /// Where the loss of the offsets turns from quadratic to linear.
    pub smooth_l1_beta: f64,
}

impl Default for RpnConfig {
    /// The paper's Cityscapes run.
    fn default() -> Self {
        let same = |n| Limits {
            pre_nms: n,
            post_nms: n,
            total: n,
        };
        Self {
            train: same(2000),
            test: same(1000),
            nms: 0.7,
            matcher: Matcher {
                high: 0.7,
                low: 0.3,
                low_quality: true,
            },
            sampler: BalancedSampler {
                batch: 256,
                positive_fraction: 0.5,
            },
            smooth_l1_beta: 1.0 / 9.0,
        }
    }
}

/// Anchors and head.
pub struct Rpn {
    anchors: Anchors,
    head: RpnHead,
    config: RpnConfig,
    conventions: Conventions,
}

impl Rpn {
    /// Declares `anchor_generator` and `head` below `scope`, for maps of `channels` channels.
    ///
    /// # Errors
    /// Options that do not fit.
    pub fn new(
        config: &RpnConfig,
        anchors: &AnchorConfig,
        channels: usize,
        conventions: Conventions,
        scope: &Scope,
    ) -> Result<Self> {
        let shapes = anchors.ratios.len();
        Ok(Self {
            anchors: Anchors::new(anchors, conventions, &scope.sub("anchor_generator"))?,
            head: RpnHead::new(channels, shapes, &scope.sub("head"))?,
            config: config.clone(),
            conventions,
        })
    }

    /// Objectness and offsets of every anchor over `features`, finest first, without gradient.
    ///
    /// # Errors
    /// Maps that do not fit the head.
    pub fn predict(&self, features: &[Tensor]) -> Result<Predictions> {
        self.head.forward(features)
    }

    /// The anchors below `predictions` in a batch padded to `image`.
    ///
    /// # Errors
    /// Another number of maps than levels.
    pub fn grid(&self, predictions: &Predictions, image: Size) -> Result<Grid> {
        self.anchors.grid(&predictions.sizes()?, image)
    }

    /// Proposals for evaluation, by descending score, for images of `sizes`.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn test_proposals(
        &self,
        predictions: &Predictions,
        grid: &Grid,
        sizes: &[Size],
    ) -> Result<Vec<Proposals>> {
        self.select(predictions, grid, sizes, &self.config.test, false)
    }

    /// Proposals for training: the boxes that are known of an image stand at the end, with
    /// objectness 1.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn train_proposals(
        &self,
        predictions: &Predictions,
        grid: &Grid,
        sizes: &[Size],
        known: &[Known],
    ) -> Result<Vec<Proposals>> {
        let mut proposals = self.select(predictions, grid, sizes, &self.config.train, true)?;
        for (proposals, known) in proposals.iter_mut().zip(known) {
            let extra = known.extra_proposals();
            proposals.boxes.extend_from_slice(extra);
            let ones = std::iter::repeat_n(1.0, extra.len());
            proposals.objectness.extend(ones);
        }
        Ok(proposals)
    }

    /// The losses of the labelled images of `pass` over their maps `features`; `name` is that of the
    /// pass.
    ///
    /// # Errors
    /// When a tensor operation fails.
    pub fn losses(
        &self,
        features: &[Tensor],
        grid: &Grid,
        pass: &Pass,
        weighting: Weighting,
        name: &str,
        picks: &dyn Picks,
        tap: &mut Tap,
    ) -> Result<RpnLosses> {
        let targets = self.targets(grid, pass, name, picks, tap)?;
        self.loss(features, grid, &targets, weighting)
    }
}
