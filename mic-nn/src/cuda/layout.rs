//! Changes of layout, by candle's kernels.

use candle_core::{Result, Tensor};

use super::gpu::storage_of;
use crate::ops::attach::attach;

/// A contiguous (b, rows, cols), in whatever shape, as (b, cols, rows).
pub(crate) fn swapped(op: &'static str, x: &Tensor, dims: [usize; 3]) -> Result<Tensor> {
    let [b, rows, cols] = dims;
    let turned = move |t: &Tensor, rows: usize, cols: usize| {
        let t = t.reshape((b, rows, cols))?.transpose(1, 2)?;
        t.force_contiguous()
    };
    let y = turned(&x.detach(), rows, cols)?;
    let shape = x.shape().clone();
    attach(op, [x], storage_of(&y)?, (b, cols, rows), move |g| {
        Ok([Some(turned(g, cols, rows)?.reshape(&shape)?)])
    })
}

/// Tokens of a contiguous map (b, h * w, c) as patches (b, (h / r) (w / r), r * r * c); rows and
/// columns behind the last whole patch are left out.
pub(crate) fn patchify(
    x: &Tensor,
    (b, c): (usize, usize),
    (h, w): (usize, usize),
    r: usize,
) -> Result<Tensor> {
    let (ph, pw) = (h / r, w / r);
    // Rows of a patch and patches of a row change places; twice is once around.
    let turned = move |t: &Tensor, rows: usize, columns: usize| {
        let t = t.reshape((b * ph, rows, columns, r * c))?.transpose(1, 2)?;
        t.force_contiguous()
    };
    let map = x.detach().reshape((b, h, w, c))?;
    let map = map.narrow(1, 0, ph * r)?.narrow(2, 0, pw * r)?;
    let y = turned(&map.contiguous()?, r, pw)?;
    let shape = (b, ph * pw, r * r * c);
    attach("patchify", [x], storage_of(&y)?, shape, move |g| {
        let dx = turned(g, pw, r)?.reshape((b, ph * r, pw * r, c))?;
        let dx = dx.pad_with_zeros(1, 0, h - ph * r)?;
        let dx = dx.pad_with_zeros(2, 0, w - pw * r)?;
        Ok([Some(dx.reshape((b, h * w, c))?)])
    })
}
