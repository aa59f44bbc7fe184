//! The discriminator of output-space adaptation: five strided convolutions (AdaptSegNet, sec. 3.2).

use candle_core::{Result, Tensor};
use mic_nn::init::Init;
use mic_nn::ops::{self, Conv2dOptions};
use mic_nn::params::Scope;

/// Shape of a [`Discriminator`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscriminatorConfig {
    /// Channels of the input: the number of classes.
    pub classes: usize,
    /// Channels of the first layer; each of the next three has twice as many. 64 in the paper.
    pub channels: usize,
}

/// Tells maps of class probabilities of two domains apart.
pub struct Discriminator {
    layers: Vec<(Tensor, Tensor)>,
}

const KERNEL: usize = 4;
/// Slope of the leaky ReLU below 0.
const SLOPE: f64 = 0.2;

impl Discriminator {
    /// Declares `main.conv1` to `main.conv4` and `main.classifier` below `scope`.
    pub fn new(config: &DiscriminatorConfig, scope: &Scope) -> Result<Self> {
        let names = ["conv1", "conv2", "conv3", "conv4", "classifier"];
        let mut inputs = config.classes;
        let mut layers = Vec::with_capacity(names.len());
        for (index, name) in names.into_iter().enumerate() {
            let outputs = match name {
                "classifier" => 1,
                _ => config.channels << index,
            };
            let scope = scope.sub("main").sub(name);
            let init = Init::torch_default(inputs * KERNEL * KERNEL);
            layers.push((
                scope.param("weight", (outputs, inputs, KERNEL, KERNEL), init)?,
                scope.param("bias", outputs, init)?,
            ));
            inputs = outputs;
        }
        Ok(Self { layers })
    }

    /// Logits (B, 1, H/32, W/32) of probabilities (B, classes, H, W). Without `trained` the
    /// discriminator's own parameters get no gradient.
    ///
    /// # Errors
    /// When the maps have other channels or are too small.
    pub fn forward(&self, probabilities: &Tensor, trained: bool) -> Result<Tensor> {
        let options = Conv2dOptions {
            stride: (2, 2),
            padding: (1, 1),
            ..Conv2dOptions::default()
        };
        let mut x = probabilities.clone();
        for (index, (weight, bias)) in self.layers.iter().enumerate() {
            if index > 0 {
                // At 0 this has the slope below 0, as PyTorch's leaky ReLU.
                x = ((&x * SLOPE)? + (ops::relu(&x)? * (1.0 - SLOPE))?)?;
            }
            x = match trained {
                true => ops::conv2d(&x, weight, Some(bias), &options)?,
                false => ops::conv2d(&x, &weight.detach(), Some(&bias.detach()), &options)?,
            };
        }
        Ok(x)
    }
}
