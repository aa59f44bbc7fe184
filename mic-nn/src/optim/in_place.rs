//! Changing a tensor's elements where they are.

use std::marker::PhantomData;
use std::sync::Mutex;

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor};

use rayon::prelude::*;

use super::sweep::CHUNK;
use crate::ops::cpu::{Elem, dispatch, view};
use crate::ops::math::accumulate;
use crate::ops::simd::vectorized;

/// An element type whose tensors can be changed in place.
pub(super) trait Slot: Elem {
    /// The elements of a storage of this type.
    fn of_storage(storage: &mut CpuStorage) -> Option<&mut [Self]>;
}

impl Slot for f32 {
    fn of_storage(storage: &mut CpuStorage) -> Option<&mut [f32]> {
        match storage {
            CpuStorage::F32(data) => Some(data),
            _ => None,
        }
    }
}

impl Slot for f64 {
    fn of_storage(storage: &mut CpuStorage) -> Option<&mut [f64]> {
        match storage {
            CpuStorage::F64(data) => Some(data),
            _ => None,
        }
    }
}

struct Update<T, F> {
    name: &'static str,
    f: Mutex<Option<F>>,
    element: PhantomData<fn(T)>,
}

impl<T: Slot, F: FnOnce(&mut [T]) -> Result<()>> InplaceOp1 for Update<T, F> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let name = self.name;
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("{name}: a contiguous tensor is needed")
        };
        let Some(data) = T::of_storage(storage) else {
            candle_core::bail!("{name}: expected a tensor of {:?}", T::DTYPE)
        };
        let Some(f) = self.f.lock().ok().and_then(|mut f| f.take()) else {
            candle_core::bail!("{name}: the update was used twice")
        };
        f(&mut data[start..end])
    }
}

/// Runs `f` on the elements of a contiguous tensor in main memory, in place.
///
/// The tensor is locked meanwhile: `f` must not reach it by another way.
pub(super) fn update<T: Slot>(
    name: &'static str,
    tensor: &Tensor,
    f: impl FnOnce(&mut [T]) -> Result<()>,
) -> Result<()> {
    tensor.inplace_op1(&Update {
        name,
        f: Mutex::new(Some(f)),
        element: PhantomData,
    })
}

/// `sum += new` for contiguous tensors of one shape and dtype, F32 or F64.
///
/// # Errors
/// When shapes or dtypes do not fit; the sum is unchanged then.
pub(crate) fn add_in_place(sum: &Tensor, new: &Tensor) -> Result<()> {
    const OP: &str = "adding gradients";
    if sum.dims() != new.dims() {
        candle_core::bail!(
            "{OP}: a gradient of shape {:?} is added to one of {:?}",
            new.dims(),
            sum.dims()
        )
    }
    dispatch!(OP, sum.dtype(), T => {
        let new = view::<T>(OP, new)?;
        update::<T>(OP, sum, |sum| {
            sum.par_chunks_mut(CHUNK)
                .zip(new.par_chunks(CHUNK))
                .for_each(|(sum, new)| {
                    vectorized(
                        #[inline(always)]
                        || accumulate(sum, new),
                    );
                });
            Ok(())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn changes_the_elements_of_this_tensor_only() -> Result<()> {
        let all = Tensor::zeros((3, 2), DType::F32, &Device::Cpu)?;
        update::<f32>("test", &all.narrow(0, 1, 1)?, |row| {
            row.fill(2.0);
            Ok(())
        })?;
        assert_eq!(all.to_vec2::<f32>()?, [[0., 0.], [2., 2.], [0., 0.]]);
        assert!(update::<f64>("test", &all, |_| Ok(())).is_err());
        Ok(())
    }
}
