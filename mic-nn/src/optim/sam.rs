//! Sharpness-aware minimisation.

use candle_core::{Result, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::Grads;
use super::engine::gradient;
use super::grads::norm;
use super::in_place::Slot;
use super::sweep::{Job, Kernel, sweep};
use crate::ops::simd::vectorized;

const OP: &str = "sam";

/// The constants of [`Sam`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamConfig {
    /// Length of the step upwards.
    pub rho: f64,
    /// Measures the step relative to each parameter's magnitude (adaptive SAM).
    pub adaptive: bool,
}

impl Default for SamConfig {
    fn default() -> Self {
        Self {
            rho: 0.05,
            adaptive: false,
        }
    }
}

struct Param {
    name: String,
    var: Var,
    /// The value before the ascent (1, elements); kept from step to step.
    saved: Option<Tensor>,
    /// Whether the ascent has moved the parameter.
    moved: bool,
}

/// Sharpness-aware minimisation (Foret et al., 2021): the gradient that updates the parameters is
/// taken where the loss of a first pass is larger. With the gradients g of that pass:
///
/// ```text
/// p <- p + e,  e = rho g / (||g|| + 1e-12)                     ||.|| over all parameters
/// p <- p + e,  e = rho p^2 g / (|| |p| g || + 1e-12)           adaptive
/// ```
///
/// A step of training is two passes; any optimiser takes the second gradients:
///
/// ```text
/// grads.clear();
/// grads.accumulate(&backward(&first_loss)?)?;  drop(first_loss);
/// sam.ascend(&mut grads)?;                     // moves the parameters, clears the gradients
/// grads.accumulate(&backward(&second_loss()?)?)?;
/// sam.restore()?;                              // to the bit
/// optimizer.step(&grads, &lr)?;
/// ```
///
/// Parameters are changed in place and candle does not notice when a value changes between a
/// forward pass and its backward pass: a graph that was recorded before [`Sam::ascend`] must not
/// be walked after it, nor one from between the two after [`Sam::restore`]. Parameters without a
/// gradient in the first pass stay as they are. Weight decay is no part of g.
pub struct Sam {
    params: Vec<Param>,
    config: SamConfig,
}

impl Sam {
    /// For these parameters, which must be contiguous and F32 (or F64).
    pub fn new(parameters: &[(String, Var)], config: SamConfig) -> Self {
        let params = parameters.iter().map(|(name, var)| Param {
            name: name.clone(),
            var: var.clone(),
            saved: None,
            moved: false,
        });
        Self {
            params: params.collect(),
            config,
        }
    }

    /// Moves the parameters up along `grads`, clears `grads` and returns the norm that was divided
    /// by.
    ///
    /// # Errors
    /// When the parameters have not been restored since the last ascent, a gradient does not fit
    /// its parameter, or the norm is not finite. Nothing has been changed then.
    pub fn ascend(&mut self, grads: &mut Grads) -> Result<f64> {
        if self.params.iter().any(|p| p.moved) {
            candle_core::bail!("{OP}: the parameters were not restored after the last ascent")
        }
        let mut active = Vec::with_capacity(self.params.len());
        for param in &mut self.params {
            if let Some(grad) = gradient(OP, grads, &param.name, &param.var)? {
                active.push((param, grad));
            }
        }
        let weights = |param: &Param| self.config.adaptive.then(|| param.var.as_tensor().clone());
        let pairs: Vec<_> = active.iter().map(|(p, g)| (*g, weights(p))).collect();
        let norm = norm(pairs.iter().map(|(grad, weight)| (*grad, weight.as_ref())))?;
        if !norm.is_finite() {
            // Names the culprit; the gradients stay as they are.
            grads.check_finite(norm)?;
            candle_core::bail!("{OP}: the norm of the gradients times the parameters is {norm}")
        }
        let ascent = Ascent {
            scale: self.config.rho / (norm + 1e-12),
            adaptive: self.config.adaptive,
        };
        for (param, _) in &mut active {
            if param.saved.is_none() {
                let (count, var) = (param.var.elem_count(), &param.var);
                param.saved = Some(Tensor::zeros((1, count), var.dtype(), var.device())?);
            }
            param.moved = true;
        }
        let jobs: Vec<_> = active
            .iter()
            .map(|(param, grad)| Job {
                param: &param.var,
                memory: param.saved.as_ref(),
                input: grad,
                kernel: ascent,
            })
            .collect();
        sweep(OP, &jobs)?;
        grads.clear();
        Ok(norm)
    }

    /// Puts the parameters back to where they were before [`Sam::ascend`], to the bit. (Subtracting
    /// the step again, as other implementations do, leaves rounding errors.) Does nothing when no
    /// ascent came before.
    ///
    /// # Errors
    /// When a parameter cannot be written.
    pub fn restore(&mut self) -> Result<()> {
        let moved = self.params.iter().filter(|param| param.moved);
        let jobs: Vec<_> = moved
            .filter_map(|param| {
                Some(Job {
                    param: &param.var,
                    memory: None,
                    input: param.saved.as_ref()?,
                    kernel: Restore,
                })
            })
            .collect();
        sweep(OP, &jobs)?;
        drop(jobs);
        self.params.iter_mut().for_each(|param| param.moved = false);
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Ascent {
    scale: f64,
    adaptive: bool,
}

impl Kernel<1> for Ascent {
    fn apply<T: Slot>(&self, p: &mut [T], [saved]: [&mut [T]; 1], g: &[T]) {
        let scale = T::of(self.scale);
        saved.copy_from_slice(p);
        vectorized(
            #[inline(always)]
            || {
                if self.adaptive {
                    for (p, &g) in p.iter_mut().zip(g) {
                        *p += *p * *p * g * scale;
                    }
                } else {
                    for (p, &g) in p.iter_mut().zip(g) {
                        *p += g * scale;
                    }
                }
            },
        );
    }
}

struct Restore;

impl Kernel<0> for Restore {
    fn apply<T: Slot>(&self, p: &mut [T], _: [&mut [T]; 0], saved: &[T]) {
        p.copy_from_slice(saved);
    }
}
