//! Adam with decoupled weight decay.

use std::collections::HashMap;

use candle_core::{Result, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::engine::{Engine, Numbers};
use super::in_place::Slot;
use super::sweep::Kernel;
use super::{Grads, GroupRules, Optimizer, ParamGroup};
use crate::ops::simd::vectorized;

/// The constants of [`AdamW`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// Decay rates of the two moments.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            betas: (0.9, 0.999),
            eps: 1e-8,
        }
    }
}

/// AdamW (Loshchilov and Hutter, 2019) with PyTorch's arithmetic. For a gradient g in step k of
/// the parameter p with learning rate r and weight decay d:
///
/// ```text
/// p <- p (1 - r d);  m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
/// p <- p - r / (1 - b1^k) * m / (sqrt(v) / sqrt(1 - b2^k) + eps)
/// ```
///
/// Steps are counted for each parameter; a parameter without a gradient is skipped. Without weight
/// decay this is Adam. The state is saved as PyTorch names it: `exp_avg`, `exp_avg_sq` and `step`.
pub struct AdamW {
    engine: Engine<2>,
    config: AdamWConfig,
}

impl AdamW {
    /// An optimiser of these parameters, which must be contiguous and F32 (or F64).
    pub fn new(parameters: &[(String, Var)], rules: &GroupRules, config: AdamWConfig) -> Self {
        let engine = Engine::new("adamw", ["exp_avg", "exp_avg_sq"], parameters, rules);
        Self { engine, config }
    }
}

impl Optimizer for AdamW {
    fn step(&mut self, grads: &Grads, lr: &dyn Fn(f64) -> f64) -> Result<()> {
        let config = self.config;
        self.engine
            .step(grads, lr, |numbers| Factors::new(numbers, config))
    }

    fn groups(&self) -> Vec<&ParamGroup> {
        self.engine.groups()
    }

    fn state(&self) -> Result<Vec<(String, Tensor)>> {
        self.engine.state()
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        self.engine.load_state(state)
    }
}

/// The numbers of one parameter's step, in the order of the formula.
#[derive(Clone, Copy)]
struct Factors {
    keep: f64,
    betas: (f64, f64),
    step_size: f64,
    root_correction: f64,
    eps: f64,
}

impl Factors {
    fn new(numbers: Numbers, config: AdamWConfig) -> Self {
        let steps = numbers.step as f64;
        let (b1, b2) = config.betas;
        Self {
            keep: 1.0 - numbers.lr * numbers.weight_decay,
            betas: config.betas,
            step_size: numbers.lr / (1.0 - b1.powf(steps)),
            root_correction: 1.0 / (1.0 - b2.powf(steps)).sqrt(),
            eps: config.eps,
        }
    }
}

impl Kernel<2> for Factors {
    fn apply<T: Slot>(&self, p: &mut [T], [m, v]: [&mut [T]; 2], g: &[T]) {
        let (b1, c1) = (T::of(self.betas.0), T::of(1.0 - self.betas.0));
        let (b2, c2) = (T::of(self.betas.1), T::of(1.0 - self.betas.1));
        let (keep, step, eps) = (T::of(self.keep), T::of(self.step_size), T::of(self.eps));
        let correction = T::of(self.root_correction);
        vectorized(
            #[inline(always)]
            || {
                for (((p, m), v), &g) in p.iter_mut().zip(m).zip(v).zip(g) {
                    *m = b1 * *m + c1 * g;
                    *v = b2 * *v + c2 * g * g;
                    *p = keep * *p - step * *m / ((*v).sqrt() * correction + eps);
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

    fn gradient_of(var: &Var, grads: &mut Grads, value: [f64; 2]) -> Result<()> {
        grads.clear();
        let value = Tensor::new(&value, &Device::Cpu)?.to_dtype(var.dtype())?;
        grads.accumulate(&backward(&(var.as_tensor() * value)?.sum_all()?)?)
    }

    #[test]
    fn three_steps_give_the_recorded_values() -> Result<()> {
        let p = Var::new(&[1f32, -2.0], &Device::Cpu)?;
        let other = Var::new(&[1f32], &Device::Cpu)?;
        let named = [
            ("p".to_string(), p.clone()),
            ("other".to_string(), other.clone()),
        ];
        let rules = GroupRules::uniform(1.0, 0.01);
        let mut optimizer = AdamW::new(&named, &rules, AdamWConfig::default());
        let mut grads = Grads::new(&named);
        let steps = [
            ([0.5, 0.1], [0.899_000_0, -2.098_000_0]),
            ([0.25, -0.3], [0.804_883_1, -2.046_483_0]),
            ([-1.0, 0.0], [0.824_713_9, -2.006_235_6]),
        ];
        for (grad, want) in steps {
            gradient_of(&p, &mut grads, grad)?;
            optimizer.step(&grads, &|base| 0.1 * base)?;
            for (p, want) in p.to_vec1::<f32>()?.into_iter().zip(want) {
                assert!((f64::from(p) - want).abs() < 3e-7, "{p} for {want}");
            }
        }
        // No gradient: not even decayed.
        assert_eq!(other.to_vec1::<f32>()?, [1.0]);
        assert_eq!(optimizer.state()?.len(), 3);
        Ok(())
    }

    #[test]
    fn saved_state_continues_exactly() -> Result<()> {
        let start = |name: &str| -> Result<(Var, Vec<(String, Var)>)> {
            let p = Var::new(&[1f64, -2.0], &Device::Cpu)?;
            Ok((p.clone(), vec![(name.to_string(), p)]))
        };
        let rules = GroupRules::uniform(0.1, 0.01);
        let (p, named) = start("p")?;
        let mut grads = Grads::new(&named);
        let mut first = AdamW::new(&named, &rules, AdamWConfig::default());
        gradient_of(&p, &mut grads, [0.5, 0.1])?;
        first.step(&grads, &|lr| lr)?;
        let state: HashMap<String, Tensor> = first.state()?.into_iter().collect();

        let (q, renamed) = start("p")?;
        q.set(&p)?;
        let mut second = AdamW::new(&renamed, &rules, AdamWConfig::default());
        second.load_state(&state)?;
        gradient_of(&p, &mut grads, [0.25, -0.3])?;
        first.step(&grads, &|lr| lr)?;
        second.step(&grads, &|lr| lr)?;
        assert_eq!(p.to_vec1::<f64>()?, q.to_vec1::<f64>()?);

        let (_, stranger) = start("stranger")?;
        let mut third = AdamW::new(&stranger, &rules, AdamWConfig::default());
        let error = third.load_state(&state).err().map(|e| e.to_string());
        assert!(error.is_some_and(|e| e.contains("3 saved entries belong to no parameter")));
        Ok(())
    }
}
