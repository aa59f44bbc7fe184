//! Atrous spatial pyramid pooling: branches of different dilations side by side, then a 3x3
//! convolution over all of them (DeepLabV3, sec. 3.3; separable branches: DAFormer, sec. 3.2).

use candle_core::{Result, Tensor};
use mic_nn::forward::Forward;
use mic_nn::ops;
use mic_nn::params::Scope;

use super::conv_module::{ConvModule, SeparableConv};

/// Options of an `Aspp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsppConfig {
    /// Dilation of each branch; 1 is a 1x1 convolution, others are 3x3.
    pub dilations: Vec<usize>,
    /// Whether dilated convolutions are depthwise, followed by a 1x1 one.
    pub separable: bool,
    /// Whether the first branch is the mean over the image.
    pub pool: bool,
}

enum Branch {
    Plain(ConvModule),
    Separable(SeparableConv),
}

impl Branch {
    fn forward(&self, x: &Tensor, mode: &Forward) -> Result<Tensor> {
        match self {
            Self::Plain(conv) => conv.forward(x, mode),
            Self::Separable(conv) => conv.forward(x, mode),
        }
    }
}

/// (B, Cin, H, W) to (B, Cout, H, W).
pub(super) struct Aspp {
    pool: Option<ConvModule>,
    branches: Vec<Branch>,
    bottleneck: ConvModule,
}

impl Aspp {
    /// Declares `image_pool.1`, `aspp_modules.*` and `bottleneck` below `scope`.
    pub(super) fn new(
        config: &AsppConfig,
        scope: &Scope,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self> {
        let pool = config.pool.then(|| {
            let scope = scope.sub("image_pool").sub(1);
            ConvModule::square(&scope, inputs, outputs, (1, 1))
        });
        let pool = pool.transpose()?;
        let branch = |(index, &dilation): (usize, &usize)| {
            let scope = scope.sub("aspp_modules").sub(index);
            Ok(match (dilation, config.separable) {
                (1, _) => Branch::Plain(ConvModule::square(&scope, inputs, outputs, (1, 1))?),
                (d, false) => Branch::Plain(ConvModule::square(&scope, inputs, outputs, (3, d))?),
                (d, true) => {
                    Branch::Separable(SeparableConv::new(&scope, inputs, outputs, (3, d))?)
                }
            })
        };
        let branches = config.dilations.iter().enumerate().map(branch);
        let branches = branches.collect::<Result<Vec<_>>>()?;
        let count = branches.len() + usize::from(config.pool);
        let scope = scope.sub("bottleneck");
        Ok(Self {
            bottleneck: ConvModule::square(&scope, count * outputs, outputs, (3, 1))?,
            pool,
            branches,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, mode: &Forward) -> Result<Tensor> {
        let (_, _, height, width) = x.dims4()?;
        let mut outputs = Vec::new();
        if let Some(pool) = &self.pool {
            let mean = ops::adaptive_avg_pool2d(x, (1, 1))?;
            let mean = pool.forward(&mean, mode)?;
            outputs.push(ops::resize_bilinear(&mean, (height, width), false)?);
        }
        for branch in &self.branches {
            outputs.push(branch.forward(x, mode)?);
        }
        self.bottleneck.forward(&Tensor::cat(&outputs, 1)?, mode)
    }
}
