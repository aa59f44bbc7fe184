//! Stochastic gradient descent.

use std::collections::HashMap;

use candle_core::{Result, Tensor, Var};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::in_place::{Slot, update};
use super::optimizer::{CHUNK, Optimizer, check_used, gradient, stored, zeros_like};
use super::{Grads, GroupRules, ParamGroup};
use crate::ops::cpu::{dispatch, view};
use crate::ops::simd::vectorized;

const OP: &str = "sgd";

/// The constants of [`Sgd`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SgdConfig {
    /// Share of the last step's direction that is kept; 0 for none.
    pub momentum: f64,
    /// Looks ahead along the momentum.
    pub nesterov: bool,
}

struct Param {
    var: Var,
    group: ParamGroup,
    /// Absent until the first gradient, and without momentum.
    momentum: Option<Tensor>,
}

/// Gradient descent with PyTorch's momentum (no dampening) and coupled weight decay. For a
/// gradient g of the parameter p with learning rate r, weight decay d and momentum b:
///
/// ```text
/// g <- g + d p;  u <- b u + g (u = g in the first step);  p <- p - r u
/// ```
///
/// With `nesterov` the last step is `p <- p - r (g + b u)`. A parameter without a gradient is
/// skipped.
pub struct Sgd {
    params: Vec<Param>,
    config: SgdConfig,
}

impl Sgd {
    /// An optimiser of these parameters, which must be contiguous and F32 (or F64).
    pub fn new(parameters: &[(String, Var)], rules: &GroupRules, config: SgdConfig) -> Self {
        let params = parameters.iter().map(|(name, var)| Param {
            var: var.clone(),
            group: rules.group(name),
            momentum: None,
        });
        Self {
            params: params.collect(),
            config,
        }
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, grads: &Grads, lr: &dyn Fn(f64) -> f64) -> Result<()> {
        for param in &mut self.params {
            let Some(grad) = gradient(OP, grads, &param.group.name, &param.var)? else {
                continue;
            };
            let (lr, decay) = (lr(param.group.lr), param.group.weight_decay);
            let config = self.config;
            dispatch!(OP, param.var.dtype(), T => {
                let grad = view::<T>(OP, grad)?;
                if config.momentum == 0.0 {
                    update::<T>(OP, &param.var, |p| {
                        plain(p, &grad, lr, decay);
                        Ok(())
                    })?;
                    continue;
                }
                // A zero buffer takes up the first gradient as it is.
                let buffer = match &param.momentum {
                    Some(buffer) => buffer,
                    None => &*param.momentum.insert(zeros_like(&param.var)?),
                };
                update::<T>(OP, &param.var, |p| {
                    update::<T>(OP, buffer, |u| {
                        with_momentum(p, u, &grad, lr, decay, config);
                        Ok(())
                    })
                })?;
            });
        }
        Ok(())
    }

    fn groups(&self) -> Vec<&ParamGroup> {
        self.params.iter().map(|p| &p.group).collect()
    }

    fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let buffers = self.params.iter().filter_map(|p| {
            let buffer = p.momentum.as_ref()?;
            Some(buffer.copy().map(|b| (key(&p.group.name), b)))
        });
        buffers.collect()
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        let mut used = Vec::new();
        let mut loaded = Vec::new();
        for param in &self.params {
            let key = key(&param.group.name);
            loaded.push(match state.contains_key(&key) {
                true => Some(stored(OP, state, &key, &param.var)?),
                false => None,
            });
            used.push(key);
        }
        check_used(OP, state, &used)?;
        for (param, momentum) in self.params.iter_mut().zip(loaded) {
            param.momentum = momentum;
        }
        Ok(())
    }
}

fn key(name: &str) -> String {
    format!("{name}.momentum_buffer")
}

fn plain<T: Slot>(p: &mut [T], g: &[T], lr: f64, decay: f64) {
    let (lr, decay) = (T::of(lr), T::of(decay));
    p.par_chunks_mut(CHUNK)
        .zip(g.par_chunks(CHUNK))
        .for_each(|(p, g)| {
            vectorized(
                #[inline(always)]
                || {
                    for (p, &g) in p.iter_mut().zip(g) {
                        *p -= lr * (g + decay * *p);
                    }
                },
            );
        });
}

fn with_momentum<T: Slot>(
    p: &mut [T],
    u: &mut [T],
    g: &[T],
    lr: f64,
    decay: f64,
    config: SgdConfig,
) {
    let (lr, decay) = (T::of(lr), T::of(decay));
    let momentum = T::of(config.momentum);
    // The direction is `gradient * g + buffer * u`.
    let (gradient, buffer) = match config.nesterov {
        true => (T::one(), momentum),
        false => (T::zero(), T::one()),
    };
    p.par_chunks_mut(CHUNK)
        .zip(u.par_chunks_mut(CHUNK))
        .zip(g.par_chunks(CHUNK))
        .for_each(|((p, u), g)| {
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
        });
}

#[cfg(test)]
mod tests {
    use super::*;
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
            grads.accumulate(&(p.as_tensor() * grad)?.sum_all()?.backward()?)?;
            optimizer.step(&grads, &|lr| lr)?;
            // A round trip through the saved state changes nothing.
            let state: HashMap<String, Tensor> = optimizer.state()?.into_iter().collect();
            assert_eq!(state.len(), usize::from(config.momentum != 0.0));
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
