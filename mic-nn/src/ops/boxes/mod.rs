//! Ops over boxes (x1, y1, x2, y2).

mod bilinear;
mod multi_level;
mod nms;
mod roi_align;

pub use multi_level::{LevelMapping, MultiLevelRoiAlign, multi_level_roi_align};
pub use nms::{NmsRule, batched_nms, nms};
pub use roi_align::{RoiAlignOptions, roi_align};

use candle_core::{Result, Tensor};

use super::cpu::Elem;

/// Whether the last row and column of a box belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoxSize {
    /// Corners are points: a width is `x2 - x1` (torchvision, detectron2).
    Continuous,
    /// Corners are pixels that both belong to the box: a width is `x2 - x1 + 1`
    /// (maskrcnn-benchmark).
    Inclusive,
}

impl BoxSize {
    /// What is added to a difference of corners.
    fn extra<T: Elem>(self) -> T {
        match self {
            Self::Continuous => T::zero(),
            Self::Inclusive => T::one(),
        }
    }
}

/// The rows of a (K, `width`) tensor of constants.
fn rows<T: Elem, const N: usize>(op: &str, name: &str, tensor: &Tensor) -> Result<Vec<[T; N]>> {
    if tensor.rank() != 2 || tensor.dims()[1] != N {
        candle_core::bail!("{op}: {name} is {:?}, expected (K, {N})", tensor.dims())
    }
    if tensor.dtype() != T::DTYPE {
        candle_core::bail!(
            "{op}: {name} is {:?}, expected {:?}",
            tensor.dtype(),
            T::DTYPE
        )
    }
    let flat = tensor.flatten_all()?.to_vec1::<T>()?;
    Ok(flat.as_chunks::<N>().0.to_vec())
}
