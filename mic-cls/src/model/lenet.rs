//! The network of CDAN's digits protocol (Long et al., 2018, sec. 4.1; the authors' code,
//! `network.py`): two convolutions and a fully connected layer.

use candle_core::{Result, Tensor};
use mic_nn::forward::Forward;
use mic_nn::init::Init;
use mic_nn::layers::{Conv2d, Conv2dConfig, Dropout, Dropout2d, Linear};
use mic_nn::ops::{self, Pool2dOptions};
use mic_nn::params::Scope;

/// Sizes of a [`LeNet`].
#[derive(Clone, Debug, PartialEq)]
pub struct LeNetConfig {
    /// Height and width of the images in pixels, at least 16.
    pub image_size: usize,
    /// Outputs of the two convolutions.
    pub channels: [usize; 2],
    /// Features.
    pub features: usize,
    /// Dropout behind the second convolution (channels) and behind the features (elements).
    pub dropout: f64,
}

impl Default for LeNetConfig {
    /// CDAN's, for images of 28 x 28 pixels.
    fn default() -> Self {
        Self {
            image_size: 28,
            channels: [20, 50],
            features: 500,
            dropout: 0.5,
        }
    }
}

impl LeNetConfig {
    /// Side of the map behind the second pooling; `None` where nothing is left of it.
    fn side(&self) -> Option<usize> {
        let halved = |side: usize| side.checked_sub(KERNEL - 1).map(|side| side / 2);
        halved(self.image_size)
            .and_then(halved)
            .filter(|&side| side > 0)
    }
}

const KERNEL: usize = 5;

/// `conv 5x5, max pool 2, relu, conv 5x5, channel dropout, max pool 2, relu, linear, relu, dropout`.
///
/// It sees one channel: the mean of the image's three, which for grey images is the image itself.
pub struct LeNet {
    convolutions: [Conv2d; 2],
    channel_dropout: Dropout2d,
    features: Linear,
    dropout: Dropout,
    image_size: usize,
}

impl LeNet {
    /// Declares `conv_params.0`, `conv_params.3` and `fc_params.0` below `scope`, with PyTorch's
    /// default initial values.
    ///
    /// # Errors
    /// Images that are too small for two convolutions.
    pub fn new(config: &LeNetConfig, scope: &Scope) -> Result<Self> {
        let Some(side) = config.side() else {
            candle_core::bail!(
                "lenet needs images of at least 16 x 16 pixels, got {0} x {0}",
                config.image_size
            )
        };
        let [first, second] = config.channels;
        let convolution = |name: &str, inputs: usize, outputs: usize| {
            let init = Init::torch_default(inputs * KERNEL * KERNEL);
            let config = Conv2dConfig {
                padding: 0,
                bias: Some(init),
                ..Conv2dConfig::same(KERNEL, init)
            };
            Conv2d::new(&scope.sub(name), inputs, outputs, &config)
        };
        let site = |name: &str| scope.sub(name).path().to_owned();
        Ok(Self {
            convolutions: [
                convolution("conv_params.0", 1, first)?,
                convolution("conv_params.3", first, second)?,
            ],
            channel_dropout: Dropout2d::new(site("conv_params.4"), config.dropout),
            features: Linear::torch_default(
                &scope.sub("fc_params.0"),
                second * side * side,
                config.features,
            )?,
            dropout: Dropout::new(site("fc_params.2"), config.dropout),
            image_size: config.image_size,
        })
    }

    /// Features (B, F) of an image batch (B, C, H, W).
    ///
    /// # Errors
    /// Images of another size than the configuration's.
    pub fn forward(&self, image: &Tensor, mode: &Forward) -> Result<Tensor> {
        let (batch, _, height, width) = image.dims4()?;
        if (height, width) != (self.image_size, self.image_size) {
            candle_core::bail!(
                "lenet was built for images of {0} x {0} pixels, got {height} x {width}",
                self.image_size
            )
        }
        let pool = Pool2dOptions {
            kernel: (2, 2),
            stride: (2, 2),
            padding: (0, 0),
        };
        let grey = image.mean_keepdim(1)?;
        let x = self.convolutions[0].forward(&grey)?;
        let x = ops::relu(&ops::max_pool2d(&x, &pool)?)?;
        let x = self.convolutions[1].forward(&x)?;
        let x = self.channel_dropout.forward(&x, mode)?;
        let x = ops::relu(&ops::max_pool2d(&x, &pool)?)?;
        let x = self.features.forward(&x.reshape((batch, ()))?)?;
        self.dropout.forward(&ops::relu(&x)?, mode)
    }
}
