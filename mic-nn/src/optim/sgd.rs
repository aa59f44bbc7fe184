//! Stochastic gradient descent.

use std::collections::HashMap;

use candle_core::{Result, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::engine::{Engine, Numbers};
use super::in_place::Slot;
use super::sweep::Kernel;
use super::{Grads, GroupRules, Optimizer, ParamGroup};
use crate::ops::simd::vectorized;

/// The constants of [`Sgd`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SgdConfig {
    /// Share of the last step's direction that is kept; 0 for none.
    pub momentum: f64,
    /// Looks ahead along the momentum.
    pub nesterov: bool,
}

/// Gradient descent with PyTorch's momentum (no dampening) and coupled weight decay. For a
/// gradient g of the parameter p with learning rate r, weight decay d and momentum b:
///
/// ```text
/// g <- g + d p;  u <- b u + g (u = g in the first step);  p <- p - r u
/// ```
///
/// With `nesterov` the last step is `p <- p - r (g + b u)`. A parameter without a gradient is
/// skipped. The momentum is saved as `momentum_buffer`.
pub struct Sgd {
    memory: Memory,
    config: SgdConfig,
}

enum Memory {
    None(Engine<0>),
    Momentum(Engine<1>),
}

impl Sgd {
    /// An optimiser of these parameters, which must be contiguous and F32 (or F64).
    pub fn new(parameters: &[(String, Var)], rules: &GroupRules, config: SgdConfig) -> Self {
        const OP: &str = "sgd";
        let memory = match config.momentum == 0.0 {
            true => Memory::None(Engine::new(OP, [], parameters, rules)),
            false => Memory::Momentum(Engine::new(OP, ["momentum_buffer"], parameters, rules)),
        };
        Self { memory, config }
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, grads: &Grads, lr: &dyn Fn(f64) -> f64) -> Result<()> {
        let config = self.config;
        match &mut self.memory {
            Memory::None(engine) => engine.step(grads, lr, Plain),
            Memory::Momentum(engine) => engine.step(grads, lr, |n| WithMomentum(n, config)),
        }
    }

    fn groups(&self) -> Vec<&ParamGroup> {
        match &self.memory {
            Memory::None(engine) => engine.groups(),
            Memory::Momentum(engine) => engine.groups(),
        }
    }

    fn state(&self) -> Result<Vec<(String, Tensor)>> {
        match &self.memory {
            Memory::None(engine) => engine.state(),
            Memory::Momentum(engine) => engine.state(),
        }
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        match &mut self.memory {
            Memory::None(engine) => engine.load_state(state),
            Memory::Momentum(engine) => engine.load_state(state),
        }
    }
}

struct Plain(Numbers);

impl Kernel<0> for Plain {
    fn apply<T: Slot>(&self, p: &mut [T], _: [&mut [T]; 0], g: &[T]) {
        let (lr, decay) = (T::of(self.0.lr), T::of(self.0.weight_decay));
        vectorized(
            #[inline(always)]
            || {
                for (p, &g) in p.iter_mut().zip(g) {
                    *p -= lr * (g + decay * *p);
                }
            },
        );
    }
}

struct WithMomentum(Numbers, SgdConfig);

impl Kernel<1> for WithMomentum {
    fn apply<T: Slot>(&self, p: &mut [T], [u]: [&mut [T]; 1], g: &[T]) {
        let (lr, decay) = (T::of(self.0.lr), T::of(self.0.weight_decay));
        let momentum = T::of(self.1.momentum);
        // The direction is `gradient * g + buffer * u`. A zero buffer takes up the first gradient
        // as it is.
        let (gradient, buffer) = match self.1.nesterov {
            true => (T::one(), momentum),
            false => (T::zero(), T::one()),
        };
        vectorized(
            #[inline(always)]
            || {
                for ((p, u), &g) in p.iter_mut().zip(u).zip(g) {
                    let g = g + decay * *p;
                    *u = momentum * *u + g;
                    *p -= lr * (gradient * g + buffer * *u);
                }
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autograd::backward;
    use candle_core::Device;

    fn run(config: SgdConfig, decay: f64) -> Result<Vec<Vec<f32>>> {
        let p = Var::new(&[1f32, -2.0], &Device::Cpu)?;
        let named = [("p".to_string(), p.clone())];
        let mut optimizer = Sgd::new(&named, &GroupRules::uniform(0.1, decay), config);
        let mut grads = Grads::new(&named);
        let mut path = Vec::new();
        for grad in [[0.5f32, 0.1], [0.25, -0.3], [-1.0, 0.0]] {
            grads.clear();
            let grad = Tensor::new(&grad, &Device::Cpu)?;
            grads.accumulate(&backward(&(p.as_tensor() * grad)?.sum_all()?)?)?;
            optimizer.step(&grads, &|lr| lr)?;
            // A round trip through the saved state changes nothing.
            let state: HashMap<String, Tensor> = optimizer.state()?.into_iter().collect();
            assert_eq!(state.len(), 2 * usize::from(config.momentum != 0.0));
            optimizer.load_state(&state)?;
            path.push(p.to_vec1::<f32>()?);
        }
        Ok(path)
    }

    fn close(path: &[Vec<f32>], want: [[f64; 2]; 3]) -> bool {
        let pairs = path.iter().flatten().zip(want.iter().flatten());
        pairs
            .into_iter()
            .all(|(&a, &b)| (f64::from(a) - b).abs() < 3e-7)
    }

    #[test]
    fn three_steps_give_the_recorded_values() -> Result<()> {
        let config = SgdConfig {
            momentum: 0.9,
            nesterov: false,
        };
        let want = [
            [0.949_950_0, -2.009_900_1],
            [0.879_857_5, -1.988_709_6],
            [0.916_730_2, -1.969_538_7],
        ];
        assert!(close(&run(config, 5e-4)?, want));
        Ok(())
    }

    #[test]
    fn without_momentum_and_with_nesterov() -> Result<()> {
        let want = [[0.95, -2.01], [0.925, -1.98], [1.025, -1.98]];
        assert!(close(&run(SgdConfig::default(), 0.0)?, want));
        let config = SgdConfig {
            momentum: 0.9,
            nesterov: true,
        };
        // Directions g + 0.9 u with u = 0.5, 0.7, -0.37 and 0.1, -0.21, -0.189.
        let want = [[0.905, -2.019], [0.817, -1.9701], [0.9503, -1.953_09]];
        assert!(close(&run(config, 0.0)?, want));
        Ok(())
    }
}
