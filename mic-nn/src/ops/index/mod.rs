//! Reading and adding elements by index.
//!
//! candle's own `scatter_add` has a wrong gradient, and its loops run on one thread. Here every
//! element that is added to belongs to one task, which adds in the order of the indices: results
//! are the same for any number of threads.

mod gather;
mod grid;
mod index_select;
#[cfg(test)]
mod reference;
mod scatter_add;

pub use gather::gather;
pub use index_select::index_select;
pub use scatter_add::scatter_add;

use candle_core::{DType, Result, Tensor};

/// Elements that a task handles; fixed, so that results do not depend on the number of threads.
const CHUNK: usize = 1 << 14;

/// The elements of a tensor of U8, U32 or I64, row-major.
pub(super) fn read_ids(op: &str, name: &str, ids: &Tensor) -> Result<Vec<i64>> {
    match ids.dtype() {
        DType::U8 | DType::U32 | DType::I64 => ids.to_dtype(DType::I64)?.flatten_all()?.to_vec1(),
        other => candle_core::bail!("{op}: {name} is {other:?}, expected U8, U32 or I64"),
    }
}

/// [`read_ids`] as places of a dimension of `size` elements.
fn read_places(op: &str, ids: &Tensor, size: usize) -> Result<Vec<usize>> {
    let ids = read_ids(op, "index", ids)?;
    let place = |(n, id): (usize, i64)| match usize::try_from(id) {
        Ok(place) if place < size => Ok(place),
        _ => candle_core::bail!("{op}: index {id} (element {n}), expected 0 to {size} exclusive"),
    };
    ids.into_iter().enumerate().map(place).collect()
}
