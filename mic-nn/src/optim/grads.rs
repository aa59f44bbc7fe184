//! Gradients of several losses, added up.

use std::collections::HashMap;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, TensorId, Var};
use rayon::prelude::*;

use super::in_place::{Slot, update};
use crate::ops::cpu::{Elem, dispatch, view};
use crate::ops::simd::vectorized;

const OP: &str = "grads";
/// Elements a task adds up.
const CHUNK: usize = 1 << 14;

struct Entry {
    name: String,
    id: TensorId,
    gradient: Option<Tensor>,
    /// Whether the gradient's storage is ours alone, to be changed in place.
    owned: bool,
}

/// The sum of the gradients of the named parameters.
///
/// Separate backward passes, added up here, keep only one loss's graph alive at a time. A
/// parameter that no loss has reached has no gradient, which is not the same as a zero gradient:
/// optimisers leave it alone.
pub struct Grads {
    entries: Vec<Entry>,
    index: HashMap<String, usize>,
}

impl Grads {
    /// No gradients yet, for these parameters.
    pub fn new(parameters: &[(String, Var)]) -> Self {
        let entries = parameters.iter().map(|(name, var)| Entry {
            name: name.clone(),
            id: var.as_tensor().id(),
            gradient: None,
            owned: false,
        });
        let names = parameters.iter().enumerate();
        Self {
            entries: entries.collect(),
            index: names.map(|(i, (name, _))| (name.clone(), i)).collect(),
        }
    }

    /// Adds the parameters' gradients of one backward pass; everything else in `store` is left
    /// out, so that it is freed with the store.
    ///
    /// # Errors
    /// When a gradient changes its shape or dtype from one pass to the next.
    pub fn accumulate(&mut self, store: &GradStore) -> Result<()> {
        for entry in &mut self.entries {
            let Some(new) = store.get_id(entry.id) else {
                continue;
            };
            let new = new.detach().contiguous()?;
            match &entry.gradient {
                // The store may hand the same storage to others: it is not changed.
                None => entry.gradient = Some(new),
                Some(sum) if !entry.owned => {
                    entry.gradient = Some((sum + new)?);
                    entry.owned = true;
                }
                Some(sum) => dispatch!(OP, sum.dtype(), T => add_in_place::<T>(sum, &new)?),
            }
        }
        Ok(())
    }

    /// The gradient of a parameter, shaped like it; `None` when no loss has reached it.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.entries[*self.index.get(name)?].gradient.as_ref()
    }

    /// Forgets all gradients.
    pub fn clear(&mut self) {
        for entry in &mut self.entries {
            entry.gradient = None;
            entry.owned = false;
        }
    }

    /// The Euclidean norm of all gradients together, added up in double precision.
    ///
    /// # Errors
    /// When a gradient cannot be read.
    pub fn global_norm(&self) -> Result<f64> {
        let mut total = 0f64;
        for gradient in self.entries.iter().filter_map(|e| e.gradient.as_ref()) {
            total += dispatch!(OP, gradient.dtype(), T => sum_of_squares::<T>(gradient)?);
        }
        Ok(total.sqrt())
    }

    /// Whether every element of every gradient is finite.
    ///
    /// # Errors
    /// When a gradient cannot be read.
    pub fn is_finite(&self) -> Result<bool> {
        Ok(self.first_not_finite()?.is_none())
    }

    /// The first parameter, in the parameters' order, whose gradient is not finite.
    ///
    /// # Errors
    /// When a gradient cannot be read.
    pub fn first_not_finite(&self) -> Result<Option<&str>> {
        for entry in &self.entries {
            if let Some(gradient) = &entry.gradient
                && !dispatch!(OP, gradient.dtype(), T => all_finite::<T>(gradient)?)
            {
                return Ok(Some(&entry.name));
            }
        }
        Ok(None)
    }

    /// Scales all gradients by `max / norm` where their norm is larger than `max`, and returns the
    /// norm from before.
    ///
    /// # Errors
    /// When a gradient cannot be read or `max` is not positive.
    pub fn clip_global_norm(&mut self, max: f64) -> Result<f64> {
        if max.is_nan() || max <= 0.0 {
            candle_core::bail!("{OP}: the largest norm has to be positive, got {max}")
        }
        let norm = self.global_norm()?;
        if norm > max {
            for entry in &mut self.entries {
                if let Some(gradient) = &entry.gradient {
                    entry.gradient = Some((gradient * (max / norm))?);
                    entry.owned = true;
                }
            }
        }
        Ok(norm)
    }
}

fn add_in_place<T: Slot>(sum: &Tensor, new: &Tensor) -> Result<()> {
    if sum.dims() != new.dims() {
        candle_core::bail!(
            "{OP}: a gradient of shape {:?} is added to one of {:?}",
            new.dims(),
            sum.dims()
        )
    }
    let new = view::<T>(OP, new)?;
    update::<T>(OP, sum, |sum| {
        sum.par_chunks_mut(CHUNK)
            .zip(new.par_chunks(CHUNK))
            .for_each(|(sum, new)| {
                for (s, &n) in sum.iter_mut().zip(new) {
                    *s += n;
                }
            });
        Ok(())
    })
}

fn sum_of_squares<T: Elem>(gradient: &Tensor) -> Result<f64> {
    let data = view::<T>(OP, gradient)?;
    let parts: Vec<f64> = data
        .par_chunks(CHUNK)
        .map(|chunk| {
            vectorized(
                #[inline(always)]
                || {
                    let mut lanes = [0f64; 16];
                    for piece in chunk.chunks(16) {
                        for (lane, &g) in lanes.iter_mut().zip(piece) {
                            let g = candle_core::WithDType::to_f64(g);
                            *lane += g * g;
                        }
                    }
                    lanes.iter().sum()
                },
            )
        })
        .collect();
    Ok(parts.iter().sum())
}

fn all_finite<T: Elem>(gradient: &Tensor) -> Result<bool> {
    let data = view::<T>(OP, gradient)?;
    Ok(data
        .par_chunks(CHUNK)
        .all(|c| c.iter().all(|g| g.is_finite())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn several_losses_add_up_and_absent_parameters_stay_absent() -> Result<()> {
        let a = Var::new(&[3f32, 4.0], &Device::Cpu)?;
        let b = Var::new(&[1f32], &Device::Cpu)?;
        let unused = Var::new(&[1f32], &Device::Cpu)?;
        let named = |n: &str, v: &Var| (n.to_string(), v.clone());
        let mut grads = Grads::new(&[named("a", &a), named("b", &b), named("unused", &unused)]);
        let first = a.sum_all()?.backward()?;
        grads.accumulate(&first)?;
        grads.accumulate(&a.sqr()?.sum_all()?.backward()?)?;
        grads.accumulate(&(a.sum_all()? * 2.0)?.backward()?)?;
        grads.accumulate(&(b.sum_all()? * -5.0)?.backward()?)?;
        let value = |name: &str| grads.get(name).unwrap().to_vec1::<f32>();
        assert_eq!(value("a")?, [9.0, 11.0]);
        assert_eq!(value("b")?, [-5.0]);
        assert!(grads.get("unused").is_none() && grads.get("other").is_none());
        // The store of the first pass is untouched.
        assert_eq!(first.get(&a).unwrap().to_vec1::<f32>()?, [1.0, 1.0]);
        let norm = (81f64 + 121.0 + 25.0).sqrt();
        assert!((grads.global_norm()? - norm).abs() < 1e-12);
        assert!((grads.clip_global_norm(1.0)? - norm).abs() < 1e-12);
        assert!((grads.global_norm()? - 1.0).abs() < 1e-6);
        assert!(grads.is_finite()?);
        grads.clear();
        assert!(grads.get("a").is_none());
        Ok(())
    }

    #[test]
    fn the_culprit_of_a_bad_gradient_is_named() -> Result<()> {
        let a = Var::new(&[0f32, 4.0], &Device::Cpu)?;
        let mut grads = Grads::new(&[("a".to_string(), a.clone())]);
        grads.accumulate(&a.sqrt()?.sum_all()?.backward()?)?;
        assert_eq!(grads.first_not_finite()?, Some("a"));
        assert!(!grads.is_finite()?);
        Ok(())
    }
}
