//! What a [`Detector`](super::Detector) looks like.

use mic_nn::models::fpn::{ExtraLevels, FpnConfig};
use mic_nn::models::resnet::{NormKind, ResNetConfig, Stem};

use crate::anchors::AnchorConfig;
use crate::conventions::Conventions;
use crate::roi::RoiConfig;
use crate::rpn::RpnConfig;
use crate::sada::SadaConfig;
use crate::{Error, Result};

/// Backbone, pyramid and heads.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectorConfig {
    /// The backbone.
    pub body: ResNetConfig,
    /// Channels of the pyramid.
    pub channels: usize,
    /// Anchors; a level more than the backbone has stages.
    pub anchors: AnchorConfig,
    /// Proposals.
    pub rpn: RpnConfig,
    /// Region heads.
    pub roi: RoiConfig,
    /// Domain heads, which only training needs.
    pub domain: Option<SadaConfig>,
    /// What boxes mean.
    pub conventions: Conventions,
}

impl DetectorConfig {
    /// The paper's detector: ResNet-50 (or another `depth`: 101, 152) with `classes` classes, the
    /// background included, and domain heads.
    ///
    /// # Errors
    /// Another depth.
    pub fn reference(depth: usize, classes: usize) -> Result<Self> {
        Ok(Self {
            body: ResNetConfig::detection(depth)?,
            channels: 256,
            anchors: AnchorConfig::default(),
            rpn: RpnConfig::default(),
            roi: RoiConfig {
                classes,
                ..RoiConfig::default()
            },
            domain: Some(SadaConfig::default()),
            conventions: Conventions::Legacy,
        })
    }

    /// torchvision's `fasterrcnn_resnet50_fpn` (or another `depth`: 18 to 152), with `classes`
    /// classes, the background included (its published weights: 91), and domain heads. `eps` is
    /// what its frozen norm adds to the variance: 0 with the published detection weights, 1e-5
    /// with those of a classifier.
    ///
    /// # Errors
    /// Another depth.
    pub fn torchvision(depth: usize, classes: usize, eps: f64) -> Result<Self> {
        let body = ResNetConfig {
            norm: NormKind::Frozen { eps },
            frozen: 2,
            stem: Stem::Plain,
            ..ResNetConfig::torchvision(depth)?
        };
        let mut config = Self::reference(50, classes)?;
        config.body = body;
        config.conventions = Conventions::Modern;
        config.roi.smooth_l1_beta = 1.0 / 9.0;
        Ok(config)
    }

    /// The pyramid.
    pub fn pyramid(&self) -> FpnConfig {
        FpnConfig {
            inputs: self.body.channels(),
            outputs: self.channels,
            extra: ExtraLevels::MaxPool,
        }
    }

    /// Checks that the parts fit together.
    ///
    /// # Errors
    /// Names the option that does not fit.
    pub fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::Config(message));
        self.body.check()?;
        self.anchors.check()?;
        let stages = self.body.depths.len();
        if self.anchors.sizes.len() != stages + 1 {
            return refuse(format!(
                "anchors of {} levels for a backbone of {stages} stages, expected one level a \
                 stage and one more",
                self.anchors.sizes.len()
            ));
        }
        if self.roi.classes < 2 {
            return refuse(format!(
                "{} classes, expected the background and at least one more",
                self.roi.classes
            ));
        }
        if !(1..=stages).contains(&self.roi.levels) {
            return refuse(format!(
                "regions are read from {} levels, expected 1 to {stages}",
                self.roi.levels
            ));
        }
        for (name, value) in [
            ("channels of the pyramid", self.channels),
            ("hidden width of the region head", self.roi.hidden),
            ("bins of a region", self.roi.resolution),
            ("regions an image", self.roi.sampler.batch),
            ("anchors an image", self.rpn.sampler.batch),
            ("detections an image", self.roi.detections),
        ] {
            if value == 0 {
                return refuse(format!("{name}: 0, expected at least 1"));
            }
        }
        Ok(())
    }
}
