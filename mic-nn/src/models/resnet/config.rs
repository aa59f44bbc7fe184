//! What a [`ResNet`](super::ResNet) looks like.

use candle_core::Result;
use serde::{Deserialize, Serialize};

/// The residual block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlockKind {
    /// Two 3x3 convolutions.
    Basic,
    /// A 3x3 convolution between two of 1x1.
    Bottleneck,
}

/// How the image becomes a map at stride 2, before the max pooling to stride 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stem {
    /// One 7x7 convolution with stride 2, `conv1` and `bn1`.
    Plain,
    /// The same as `stem.conv1` and `stem.bn1` (maskrcnn-benchmark).
    Prefixed,
    /// Three 3x3 convolutions, the first with stride 2, `stem.0` to `stem.7` (V1c). The first two
    /// have half the channels.
    Deep,
}

/// The normalisation behind every convolution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NormKind {
    /// Batch norm that follows the forward pass's mode.
    Batch,
    /// Batch norm with trained weight and bias, but always with the running statistics
    /// (`norm_eval` of MMSegmentation).
    Running,
    /// Constants in training, too; see [`FrozenBatchNorm2d`](crate::layers::FrozenBatchNorm2d).
    Frozen {
        /// Added to the variance: 1e-5 in torchvision, 0 in maskrcnn-benchmark.
        eps: f64,
    },
}

/// Initial weights of convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConvInit {
    /// Normal with standard deviation `sqrt(2 / fan_out)` (torchvision, MMSegmentation).
    KaimingNormal,
    /// Uniform with bound `sqrt(3 / fan_in)` (maskrcnn-benchmark).
    LecunUniform,
}

/// Widths, depths and options of a [`ResNet`](super::ResNet).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResNetConfig {
    /// The residual block.
    pub block: BlockKind,
    /// Blocks of each stage.
    pub depths: Vec<usize>,
    /// The first convolutions.
    pub stem: Stem,
    /// Channels behind the stem.
    pub stem_channels: usize,
    /// Channels of the 3x3 convolutions of the first stage; every stage has twice as many as the
    /// one before.
    pub width: usize,
    /// Output channels of a block as a multiple of its width: 1 for basic blocks. A bottleneck has
    /// 4; 2 with twice the width is torchvision's `wide_resnet*_2`, and with 32 groups on top of
    /// that its `resnext50_32x4d`.
    pub expansion: usize,
    /// Groups of the 3x3 convolutions of bottlenecks.
    pub groups: usize,
    /// Stride of each stage's first block.
    pub strides: Vec<usize>,
    /// Dilation of each stage's 3x3 convolutions (of a basic block: of the first).
    pub dilations: Vec<usize>,
    /// Whether the first block of a dilated stage has half the dilation.
    pub contract_dilation: bool,
    /// Whether the stride of a bottleneck is in its first 1x1 convolution instead of the 3x3 one.
    pub stride_in_1x1: bool,
    /// The normalisation.
    pub norm: NormKind,
    /// How many parts from the input on are not trained: 1 is the stem, 2 the stem and `layer1`,
    /// and so on. They use running statistics; gradients pass through them to the image.
    pub frozen: usize,
    /// Initial weights of convolutions.
    pub init: ConvInit,
    /// Whether the last norm of every block starts with weight 0, so that blocks start as
    /// identities.
    pub zero_init_residual: bool,
    /// Classes of the classifier `fc`, if there is one.
    pub classes: Option<usize>,
}

impl ResNetConfig {
    /// ResNet-18, 34, 50, 101 or 152 as in torchvision ("v1.5": a bottleneck's stride is in its
    /// 3x3 convolution), without classifier. torchvision's own has 1000 `classes`.
    ///
    /// # Errors
    /// For any other depth.
    pub fn torchvision(depth: usize) -> Result<Self> {
        let (block, depths) = match depth {
            18 => (BlockKind::Basic, [2, 2, 2, 2]),
            34 => (BlockKind::Basic, [3, 4, 6, 3]),
            50 => (BlockKind::Bottleneck, [3, 4, 6, 3]),
            101 => (BlockKind::Bottleneck, [3, 4, 23, 3]),
            152 => (BlockKind::Bottleneck, [3, 8, 36, 3]),
            _ => candle_core::bail!(
                "there is no ResNet-{depth}; the depths are 18, 34, 50, 101 and 152"
            ),
        };
        Ok(Self {
            block,
            depths: depths.into(),
            stem: Stem::Plain,
            stem_channels: 64,
            width: 64,
            expansion: match block {
                BlockKind::Basic => 1,
                BlockKind::Bottleneck => 4,
            },
            groups: 1,
            strides: vec![1, 2, 2, 2],
            dilations: vec![1; 4],
            contract_dilation: false,
            stride_in_1x1: false,
            norm: NormKind::Batch,
            frozen: 0,
            init: ConvInit::KaimingNormal,
            zero_init_residual: false,
            classes: None,
        })
    }

    /// ResNetV1c as DeepLabV2 uses it in MMSegmentation: a deep stem, and dilation instead of
    /// stride in the last two stages, so that the output has stride 8.
    ///
    /// # Errors
    /// As [`ResNetConfig::torchvision`].
    pub fn v1c(depth: usize) -> Result<Self> {
        Ok(Self {
            stem: Stem::Deep,
            strides: vec![1, 2, 1, 1],
            dilations: vec![1, 1, 2, 4],
            contract_dilation: true,
            zero_init_residual: true,
            ..Self::torchvision(depth)?
        })
    }

    /// The backbone of maskrcnn-benchmark's detectors: stride in the first 1x1 convolution, batch
    /// norm frozen without eps, stem and `layer1` not trained.
    ///
    /// # Errors
    /// For depths other than 50, 101 and 152.
    pub fn detection(depth: usize) -> Result<Self> {
        let config = Self::torchvision(depth)?;
        if config.block != BlockKind::Bottleneck {
            candle_core::bail!(
                "there is no ResNet-{depth} for detection; the depths are 50, 101 and 152"
            )
        }
        Ok(Self {
            stem: Stem::Prefixed,
            stride_in_1x1: true,
            norm: NormKind::Frozen { eps: 0.0 },
            frozen: 2,
            init: ConvInit::LecunUniform,
            ..config
        })
    }

    /// Output channels of every stage.
    pub fn channels(&self) -> Vec<usize> {
        (0..self.depths.len())
            .map(|stage| self.width_of(stage).saturating_mul(self.expansion))
            .collect()
    }

    /// Channels of the 3x3 convolutions of a stage, from 0.
    pub(super) fn width_of(&self, stage: usize) -> usize {
        let factor = 2usize.saturating_pow(stage.try_into().unwrap_or(u32::MAX));
        self.width.saturating_mul(factor)
    }

    /// Dilation of the 3x3 convolution of a block.
    pub(super) fn dilation_of(&self, stage: usize, block: usize) -> usize {
        let dilation = self.dilations[stage];
        match self.contract_dilation && block == 0 && dilation > 1 {
            true => dilation / 2,
            false => dilation,
        }
    }

    /// Checks that lists have one length, that sizes are at least 1, and that the options fit
    /// together.
    ///
    /// # Errors
    /// Names the option that does not fit.
    pub fn check(&self) -> Result<()> {
        let stages = self.depths.len();
        if stages == 0 {
            candle_core::bail!("depths is empty, expected at least one stage")
        }
        for (name, list) in [
            ("depths", &self.depths),
            ("strides", &self.strides),
            ("dilations", &self.dilations),
        ] {
            if list.len() != stages {
                candle_core::bail!("{name} has {} entries, depths {stages}", list.len())
            }
            if list.contains(&0) {
                candle_core::bail!("{name} is {list:?}, expected at least 1 each")
            }
        }
        for (name, value) in [
            ("stem_channels", self.stem_channels),
            ("width", self.width),
            ("expansion", self.expansion),
            ("groups", self.groups),
            ("classes", self.classes.unwrap_or(1)),
        ] {
            if value == 0 {
                candle_core::bail!("{name} is 0, expected at least 1")
            }
        }
        if self.stem == Stem::Deep && !self.stem_channels.is_multiple_of(2) {
            candle_core::bail!(
                "stem_channels is {}, expected an even number for a deep stem",
                self.stem_channels
            )
        }
        if !self.width.is_multiple_of(self.groups) {
            candle_core::bail!(
                "width {} is no multiple of groups {}",
                self.width,
                self.groups
            )
        }
        self.check_options(stages)
    }

    fn check_options(&self, stages: usize) -> Result<()> {
        if self.block == BlockKind::Basic {
            let (expansion, groups) = (self.expansion, self.groups);
            if expansion != 1 || groups != 1 || self.stride_in_1x1 {
                candle_core::bail!(
                    "basic blocks have expansion 1 and groups 1 and no 1x1 convolution for the \
                     stride, not expansion {expansion}, groups {groups}, stride_in_1x1 {}",
                    self.stride_in_1x1
                )
            }
        }
        if self.frozen > stages + 1 {
            candle_core::bail!(
                "frozen is {}, expected at most {}: the stem and {stages} stages",
                self.frozen,
                stages + 1
            )
        }
        if let NormKind::Frozen { eps } = self.norm {
            if !(eps >= 0.0 && eps.is_finite()) {
                candle_core::bail!("eps of the frozen norm is {eps}, expected 0 or more")
            }
            if self.zero_init_residual {
                candle_core::bail!(
                    "zero_init_residual with a frozen norm would switch every block off for good"
                )
            }
        }
        Ok(())
    }
}
