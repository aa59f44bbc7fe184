//! The domain of every cell of a map.

use candle_core::Tensor;
use mic_nn::init::Init;
use mic_nn::ops::{self, Conv2dOptions};
use mic_nn::params::Scope;

use crate::Result;

/// A classifier for each level: a 1x1 convolution with ReLU, and another one to one logit.
pub struct ImageHead {
    levels: Vec<[Conv; 2]>,
}

struct Conv {
    weight: Tensor,
    bias: Tensor,
}

impl Conv {
    fn new(scope: &Scope, inputs: usize, outputs: usize) -> Result<Self> {
        let weight = Init::Normal { std: 0.001 };
        Ok(Self {
            weight: scope.param("weight", (outputs, inputs, 1, 1), weight)?,
            bias: scope.param("bias", outputs, Init::Const(0.0))?,
        })
    }

    fn detached(&self) -> Self {
        Self {
            weight: self.weight.detach(),
            bias: self.bias.detach(),
        }
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let options = Conv2dOptions::default();
        Ok(ops::conv2d(x, &self.weight, Some(&self.bias), &options)?)
    }
}

impl ImageHead {
    /// Declares `da_img_conv1_level{l}` and `da_img_conv2_level{l}` below `scope`.
    ///
    /// # Errors
    /// When they cannot be declared.
    pub fn new(channels: usize, hidden: usize, levels: usize, scope: &Scope) -> Result<Self> {
        let conv = |number: usize, level: usize, inputs, outputs| {
            let name = format!("da_img_conv{number}_level{level}");
            Conv::new(&scope.sub(name), inputs, outputs)
        };
        let level = |l| Ok([conv(1, l, channels, hidden)?, conv(2, l, hidden, 1)?]);
        Ok(Self {
            levels: (0..levels).map(level).collect::<Result<_>>()?,
        })
    }

    /// The logits (B, 1, H, W) of a level's map (B, C, H, W), twice, with different gradients: that
    /// of the map is multiplied by one of `routes` each, that of the parameters is not.
    ///
    /// Parameters and map get their gradients from a pass of their own, so that each of the two is
    /// computed once, whatever the number of routes.
    ///
    /// # Errors
    /// A map of another number of channels.
    pub fn forward(&self, level: usize, map: &Tensor, routes: [f64; 2]) -> Result<[Tensor; 2]> {
        let [first, second] = &self.levels[level];
        let apply = |x: &Tensor, first: &Conv, second: &Conv| {
            second.forward(&ops::relu(&first.forward(x)?)?)
        };
        let logits = apply(&map.detach(), first, second)?;
        if !map.track_op() {
            return Ok([logits.clone(), logits]);
        }
        let of_map = apply(map, &first.detached(), &second.detached())?;
        // Zero, with the gradient of the map.
        let nothing = (&of_map - of_map.detach())?;
        let route = |factor: f64| -> Result<Tensor> {
            Ok((&logits + ops::gradient_reversal(&nothing, -factor)?)?)
        };
        Ok([route(routes[0])?, route(routes[1])?])
    }
}
