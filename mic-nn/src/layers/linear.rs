//! Fully connected layer.

use candle_core::{Result, Tensor};

use crate::init::Init;
use crate::ops;
use crate::params::Scope;

/// `y = x W^T + b` over the last dimension: (..., Cin) to (..., Cout).
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Declares `weight` (Cout, Cin) and `bias` (Cout) below `scope`.
    pub fn new(
        scope: &Scope,
        inputs: usize,
        outputs: usize,
        weight: Init,
        bias: Init,
    ) -> Result<Self> {
        Ok(Self {
            weight: scope.param("weight", (outputs, inputs), weight)?,
            bias: Some(scope.param("bias", outputs, bias)?),
        })
    }

    /// PyTorch's default initialisation.
    pub fn torch_default(scope: &Scope, inputs: usize, outputs: usize) -> Result<Self> {
        let init = Init::torch_default(inputs);
        Self::new(scope, inputs, outputs, init, init)
    }

    /// Applies the layer to (..., Cin).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::linear(x, &self.weight, self.bias.as_ref())
    }
}
