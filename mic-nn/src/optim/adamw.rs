//! Adam with decoupled weight decay.

use std::collections::HashMap;

use candle_core::{Result, Tensor, Var};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::in_place::{Slot, update};
use super::optimizer::{
    CHUNK, Optimizer, check_used, count, gradient, stored, stored_count, zeros_like,
};
use super::{Grads, GroupRules, ParamGroup};
use crate::ops::cpu::{dispatch, view};
use crate::ops::simd::vectorized;

const OP: &str = "adamw";

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

struct Moments {
    mean: Tensor,
    square: Tensor,
    steps: u64,
}

struct Param {
    var: Var,
    group: ParamGroup,
    /// Absent until the first gradient.
    moments: Option<Moments>,
}

/// AdamW (Loshchilov and Hutter, 2019) with PyTorch's arithmetic. For a gradient g in step k of
/// the parameter p with learning rate r and weight decay d:
///
/// ```text
/// p <- p (1 - r d);  m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
/// p <- p - r / (1 - b1^k) * m / (sqrt(v) / sqrt(1 - b2^k) + eps)
/// ```
///
/// Steps are counted for each parameter; a parameter without a gradient is skipped.
pub struct AdamW {
    params: Vec<Param>,
    config: AdamWConfig,
}

impl AdamW {
    /// An optimiser of these parameters, which must be contiguous and F32 (or F64).
    pub fn new(parameters: &[(String, Var)], rules: &GroupRules, config: AdamWConfig) -> Self {
        let params = parameters.iter().map(|(name, var)| Param {
            var: var.clone(),
            group: rules.group(name),
            moments: None,
        });
        Self {
            params: params.collect(),
            config,
        }
    }
}

impl Optimizer for AdamW {
    fn step(&mut self, grads: &Grads, lr: &dyn Fn(f64) -> f64) -> Result<()> {
        for param in &mut self.params {
            let Some(grad) = gradient(OP, grads, &param.group.name, &param.var)? else {
                continue;
            };
            let moments = match &mut param.moments {
                Some(moments) => moments,
                empty => empty.insert(Moments {
                    mean: zeros_like(&param.var)?,
                    square: zeros_like(&param.var)?,
                    steps: 0,
                }),
            };
            moments.steps += 1;
            let factors = Factors::new(
                lr(param.group.lr),
                param.group.weight_decay,
                moments.steps,
                &self.config,
            );
            dispatch!(OP, param.var.dtype(), T => {
                let grad = view::<T>(OP, grad)?;
                update::<T>(OP, &param.var, |p| {
                    update::<T>(OP, &moments.mean, |m| {
                        update::<T>(OP, &moments.square, |v| {
                            apply(p, m, v, &grad, factors);
                            Ok(())
                        })
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
        let mut state = Vec::new();
        for param in &self.params {
            if let Some(moments) = &param.moments {
                let [mean, square, steps] = keys(&param.group.name);
                state.push((mean, moments.mean.copy()?));
                state.push((square, moments.square.copy()?));
                state.push((steps, count(moments.steps)?));
            }
        }
        Ok(state)
    }

    fn load_state(&mut self, state: &HashMap<String, Tensor>) -> Result<()> {
        let mut used = Vec::new();
        let mut loaded = Vec::new();
        for param in &self.params {
            let [mean, square, steps] = keys(&param.group.name);
            let moments = match stored_count(OP, state, &steps)? {
                Some(steps) => Some(Moments {
                    mean: stored(OP, state, &mean, &param.var)?,
                    square: stored(OP, state, &square, &param.var)?,
                    steps,
                }),
                None => None,
            };
            if moments.is_some() {
                used.extend([mean, square, steps]);
            }
            loaded.push(moments);
        }
        check_used(OP, state, &used)?;
        for (param, moments) in self.params.iter_mut().zip(loaded) {
            param.moments = moments;
        }
        Ok(())
    }
}

fn keys(name: &str) -> [String; 3] {
    ["exp_avg", "exp_avg_sq", "step"].map(|part| format!("{name}.{part}"))
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
    fn new(lr: f64, weight_decay: f64, steps: u64, config: &AdamWConfig) -> Self {
        let steps = steps as f64;
        let (b1, b2) = config.betas;
        Self {
            keep: 1.0 - lr * weight_decay,
            betas: config.betas,
            step_size: lr / (1.0 - b1.powf(steps)),
            root_correction: 1.0 / (1.0 - b2.powf(steps)).sqrt(),
            eps: config.eps,
        }
    }
}

fn apply<T: Slot>(p: &mut [T], m: &mut [T], v: &mut [T], g: &[T], f: Factors) {
    let (b1, c1) = (T::of(f.betas.0), T::of(1.0 - f.betas.0));
    let (b2, c2) = (T::of(f.betas.1), T::of(1.0 - f.betas.1));
    let (keep, step, eps) = (T::of(f.keep), T::of(f.step_size), T::of(f.eps));
    let correction = T::of(f.root_correction);
    let piece = |p: &mut [T], m: &mut [T], v: &mut [T], g: &[T]| {
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
    };
    if p.len() <= CHUNK {
        return piece(p, m, v, g);
    }
    p.par_chunks_mut(CHUNK)
        .zip(m.par_chunks_mut(CHUNK))
        .zip(v.par_chunks_mut(CHUNK))
        .zip(g.par_chunks(CHUNK))
        .for_each(|(((p, m), v), g)| piece(p, m, v, g));
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn gradient_of(var: &Var, grads: &mut Grads, value: [f64; 2]) -> Result<()> {
        grads.clear();
        let value = Tensor::new(&value, &Device::Cpu)?.to_dtype(var.dtype())?;
        grads.accumulate(&(var.as_tensor() * value)?.sum_all()?.backward()?)
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
