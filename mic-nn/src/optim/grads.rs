//! Gradients of several losses, added up.

use std::collections::HashMap;

use candle_core::{Result, Tensor, Var};
use rayon::prelude::*;

use super::in_place::{Slot, add_in_place, update};
use super::sweep::CHUNK;
use crate::autograd::Gradients;
use crate::ops::cpu::{Elem, dispatch, view};
use crate::ops::simd::vectorized;

const OP: &str = "grads";

struct Entry {
    name: String,
    var: Var,
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
            var: var.clone(),
            gradient: None,
            owned: false,
        });
        let names = parameters.iter().enumerate();
        Self {
            entries: entries.collect(),
            index: names.map(|(i, (name, _))| (name.clone(), i)).collect(),
        }
    }

    /// Adds the parameters' gradients of one backward pass.
    ///
    /// # Errors
    /// When a gradient changes its shape or dtype from one pass to the next.
    pub fn accumulate(&mut self, pass: &Gradients) -> Result<()> {
        for entry in &mut self.entries {
            let Some(new) = pass.get_id(entry.var.as_tensor().id()) else {
                continue;
            };
            let new = new.detach().contiguous()?;
            match &entry.gradient {
                // Others may hold the same storage: it is not changed.
                None => entry.gradient = Some(new),
                Some(sum) if !entry.owned => {
                    entry.gradient = Some((sum + new)?);
                    entry.owned = true;
                }
                Some(sum) => add_in_place(sum, &new)?,
            }
        }
        Ok(())
    }

    /// The gradient of a parameter, shaped like it; `None` when no loss has reached it.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.entries[*self.index.get(name)?].gradient.as_ref()
    }

    /// The parameters in order, each with its gradient.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Var, Option<&Tensor>)> {
        let entries = self.entries.iter();
        entries.map(|e| (e.name.as_str(), &e.var, e.gradient.as_ref()))
    }

    /// Gives the parameter `name` this gradient in place of its own, whose storage it uses again
    /// where no other tensor does. The value is copied.
    ///
    /// # Errors
    /// When there is no such parameter, or the value has not its shape and dtype; the gradient is
    /// unchanged then.
    pub fn overwrite(&mut self, name: &str, value: &Tensor) -> Result<()> {
        let Some(&index) = self.index.get(name) else {
            candle_core::bail!("{OP}: there is no parameter {name}")
        };
        let entry = &mut self.entries[index];
        let kind = |t: &Tensor| (t.dims().to_vec(), t.dtype());
        let (wanted, got) = (kind(entry.var.as_tensor()), kind(value));
        if wanted != got {
            candle_core::bail!("{OP}: a gradient of {got:?} for {name}, which is of {wanted:?}")
        }
        match &entry.gradient {
            Some(own) if entry.owned => {
                let value = value.flatten_all()?.contiguous()?;
                own.flatten_all()?.slice_set(&value, 0, 0)?;
            }
            _ => {
                entry.gradient = Some(value.detach().force_contiguous()?);
                entry.owned = true;
            }
        }
        Ok(())
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
        norm(
            self.entries
                .iter()
                .filter_map(|e| Some((e.gradient.as_ref()?, None))),
        )
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

    /// Scales all gradients by `max / (norm + 1e-6)` where that is less than 1, and returns the
    /// norm from before (PyTorch's `clip_grad_norm_`).
    ///
    /// # Errors
    /// When a gradient cannot be read, or `max` is not positive. With [`NonFinite::Error`] also
    /// when the norm is not finite; the message names the first parameter concerned, and nothing
    /// has been changed.
    pub fn clip_global_norm(&mut self, max: f64, non_finite: NonFinite) -> Result<f64> {
        if max.is_nan() || max <= 0.0 {
            candle_core::bail!("{OP}: the largest norm has to be positive, got {max}")
        }
        let norm = self.global_norm()?;
        if non_finite == NonFinite::Error {
            self.check_finite(norm)?;
        }
        let factor = max / (norm + 1e-6);
        if factor < 1.0 || factor.is_nan() {
            self.scale(factor)?;
        }
        Ok(norm)
    }

    /// An error that names the first gradient concerned, where `norm`, their norm, is not finite.
    pub(super) fn check_finite(&self, norm: f64) -> Result<()> {
        if norm.is_finite() {
            return Ok(());
        }
        match self.first_not_finite()? {
            Some(name) => candle_core::bail!(
                "{OP}: the gradient of {name} is not finite; the norm of all gradients is {norm}"
            ),
            None => candle_core::bail!("{OP}: the norm of all gradients is {norm}"),
        }
    }

    /// Adds the gradients of `others`, which are of the same parameters in the same order: another
    /// part of the batch.
    ///
    /// # Errors
    /// Gradients of other parameters, or of another shape or dtype.
    pub fn add(&mut self, others: &Self) -> Result<()> {
        let names = |grads: &Self| {
            grads
                .entries
                .iter()
                .map(|e| e.name.clone())
                .collect::<Vec<_>>()
        };
        if self.entries.len() != others.entries.len() || names(self) != names(others) {
            candle_core::bail!("{OP}: gradients of other parameters cannot be added")
        }
        for (entry, other) in self.entries.iter_mut().zip(&others.entries) {
            match (&entry.gradient, &other.gradient) {
                (_, None) => {}
                // Their storage is theirs.
                (None, Some(new)) => entry.gradient = Some(new.clone()),
                (Some(sum), Some(new)) if entry.owned => add_in_place(sum, new)?,
                (Some(sum), Some(new)) => {
                    entry.gradient = Some((sum + new)?);
                    entry.owned = true;
                }
            }
        }
        Ok(())
    }

    /// Multiplies all gradients with `factor`, in place where their storage is not shared.
    ///
    /// # Errors
    /// When a gradient cannot be changed.
    pub fn scale(&mut self, factor: f64) -> Result<()> {
        for entry in &mut self.entries {
            match &entry.gradient {
                Some(gradient) if entry.owned => {
                    dispatch!(OP, gradient.dtype(), T => scale_in_place::<T>(gradient, factor)?);
                }
                Some(gradient) => {
                    entry.gradient = Some((gradient * factor)?);
                    entry.owned = true;
                }
                None => {}
            }
        }
        Ok(())
    }
}

/// What [`Grads::clip_global_norm`] does when the norm is infinite or NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonFinite {
    /// An error: the optimiser must not see these gradients.
    #[default]
    Error,
    /// PyTorch's default: the gradients are scaled all the same, by 0 or NaN.
    Scale,
}

fn scale_in_place<T: Slot>(gradient: &Tensor, factor: f64) -> Result<()> {
    let factor = T::of(factor);
    update::<T>(OP, gradient, |gradient| {
        gradient.par_chunks_mut(CHUNK).for_each(|gradient| {
            vectorized(
                #[inline(always)]
                || gradient.iter_mut().for_each(|g| *g *= factor),
            );
        });
        Ok(())
    })
}

/// The Euclidean norm of all tensors together, each multiplied by its weight where it has one of
/// the same shape. Added up in double precision and in a fixed order.
pub(super) fn norm<'a>(
    tensors: impl Iterator<Item = (&'a Tensor, Option<&'a Tensor>)>,
) -> Result<f64> {
    let mut total = 0f64;
    for (tensor, weight) in tensors {
        total += dispatch!(OP, tensor.dtype(), T => sum_of_squares::<T>(tensor, weight)?);
    }
    Ok(total.sqrt())
}

fn sum_of_squares<T: Elem>(tensor: &Tensor, weight: Option<&Tensor>) -> Result<f64> {
    let data = view::<T>(OP, tensor)?;
    let weight = weight.map(|w| view::<T>(OP, w)).transpose()?;
    let piece = |start: usize| {
        let range = start..(start + CHUNK).min(data.len());
        let data = &data[range.clone()];
        match &weight {
            None => squares(data, |i| data[i].to_f64()),
            Some(weight) => {
                let weight = &weight[range];
                squares(data, |i| (data[i] * weight[i]).to_f64())
            }
        }
    };
    if data.len() <= CHUNK {
        return Ok(piece(0));
    }
    let parts = (0..data.len().div_ceil(CHUNK)).into_par_iter();
    let parts: Vec<f64> = parts.map(|i| piece(i * CHUNK)).collect();
    Ok(parts.iter().sum())
}

/// The sum of `value(i)` squared over the elements of `data`.
fn squares<T>(data: &[T], value: impl Fn(usize) -> f64) -> f64 {
    const LANES: usize = 16;
    vectorized(
        #[inline(always)]
        || {
            let mut lanes = [0f64; LANES];
            let whole = data.len() / LANES * LANES;
            for start in (0..whole).step_by(LANES) {
                for (lane, total) in lanes.iter_mut().enumerate() {
                    let value = value(start + lane);
                    *total += value * value;
                }
            }
            for i in whole..data.len() {
                let value = value(i);
                lanes[i - whole] += value * value;
            }
            lanes.iter().sum()
        },
    )
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
    use crate::autograd::backward;
    use candle_core::Device;

    #[test]
    fn several_losses_add_up_and_absent_parameters_stay_absent() -> Result<()> {
        let a = Var::new(&[3f32, 4.0], &Device::Cpu)?;
        let b = Var::new(&[1f32], &Device::Cpu)?;
        let unused = Var::new(&[1f32], &Device::Cpu)?;
        let named = |n: &str, v: &Var| (n.to_string(), v.clone());
        let mut grads = Grads::new(&[named("a", &a), named("b", &b), named("unused", &unused)]);
        let first = backward(&a.sum_all()?)?;
        grads.accumulate(&first)?;
        grads.accumulate(&backward(&a.sqr()?.sum_all()?)?)?;
        grads.accumulate(&backward(&(a.sum_all()? * 2.0)?)?)?;
        grads.accumulate(&backward(&(b.sum_all()? * -5.0)?)?)?;
        let value = |name: &str| grads.get(name).unwrap().to_vec1::<f32>();
        assert_eq!(value("a")?, [9.0, 11.0]);
        assert_eq!(value("b")?, [-5.0]);
        assert!(grads.get("unused").is_none() && grads.get("other").is_none());
        // The store of the first pass is untouched.
        assert_eq!(first.get(&a).unwrap().to_vec1::<f32>()?, [1.0, 1.0]);
        let norm = (81f64 + 121.0 + 25.0).sqrt();
        assert!((grads.global_norm()? - norm).abs() < 1e-12);
        let clip = NonFinite::Error;
        assert!((grads.clip_global_norm(300.0, clip)? - norm).abs() < 1e-12);
        assert!((grads.clip_global_norm(1.0, clip)? - norm).abs() < 1e-12);
        assert!((grads.global_norm()? - 1.0).abs() < 1e-6);
        // Once more, in place.
        assert!((grads.clip_global_norm(0.5, clip)? - 1.0).abs() < 1e-6);
        assert!((grads.global_norm()? - 0.5).abs() < 1e-6);
        assert!(grads.clip_global_norm(0.0, clip).is_err());
        assert!(grads.is_finite()?);
        grads.clear();
        assert!(grads.get("a").is_none());
        Ok(())
    }

    #[test]
    fn a_gradient_is_overwritten_but_not_what_shares_its_storage() -> Result<()> {
        let a = Var::new(&[[1f32, 2.0]], &Device::Cpu)?;
        let unused = Var::new(&[1f32], &Device::Cpu)?;
        let named = |n: &str, v: &Var| (n.to_string(), v.clone());
        let mut grads = Grads::new(&[named("a", &a), named("unused", &unused)]);
        let pass = backward(&a.sum_all()?)?;
        grads.accumulate(&pass)?;
        let values = Tensor::new(&[[9f32, 3.0], [4.0, 5.0]], &Device::Cpu)?;
        for row in [0, 1] {
            grads.overwrite("a", &values.narrow(0, row, 1)?)?;
            let row = values.get(row)?.to_vec1::<f32>()?;
            assert_eq!(grads.get("a").unwrap().to_vec2::<f32>()?, [row]);
        }
        grads.overwrite("unused", &Tensor::new(&[7f32], &Device::Cpu)?)?;
        let given: Vec<_> = grads
            .iter()
            .map(|(n, v, g)| (n, v.rank(), g.is_some()))
            .collect();
        assert_eq!(given, [("a", 2, true), ("unused", 1, true)]);
        // What the gradients came from is untouched, also by what happens to them later.
        grads.clip_global_norm(1e-3, NonFinite::Error)?;
        assert_eq!(pass.get(&a).unwrap().to_vec2::<f32>()?, [[1.0, 1.0]]);
        assert_eq!(values.to_vec2::<f32>()?, [[9.0, 3.0], [4.0, 5.0]]);
        let wrong = grads.overwrite("a", &values).unwrap_err().to_string();
        assert!(wrong.contains("for a, which is of"), "{wrong}");
        assert!(grads.overwrite("b", &values).is_err());
        Ok(())
    }

    #[test]
    fn the_culprit_of_a_bad_gradient_is_named() -> Result<()> {
        let a = Var::new(&[0f32, 4.0], &Device::Cpu)?;
        let mut grads = Grads::new(&[("a".to_string(), a.clone())]);
        grads.accumulate(&backward(&a.sqrt()?.sum_all()?)?)?;
        assert_eq!(grads.first_not_finite()?, Some("a"));
        assert!(!grads.is_finite()?);
        let error = grads.clip_global_norm(1.0, NonFinite::Error).err();
        assert!(error.is_some_and(|e| e.to_string().contains("gradient of a is not finite")));
        assert_eq!(grads.get("a").unwrap().to_vec1::<f32>()?[1], 0.25);
        grads.clip_global_norm(1.0, NonFinite::Scale)?;
        let scaled = grads.get("a").unwrap().to_vec1::<f32>()?;
        assert!(scaled[0].is_nan() && scaled[1] == 0.0);
        Ok(())
    }
}
