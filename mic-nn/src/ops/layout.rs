//! Changes between maps (B, C, H, W), tokens (B, N, C) and patches, each in one pass.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::attach::attach;
use super::cast::in_single;
use super::cpu::{Elem, dispatch, fresh, on_gpu, storage, tensor, view};

/// Side of the square tiles of the blocked transposition: two tiles fit the first-level cache.
const TILE: usize = 32;

/// Swaps the last two dimensions of (B, R, C), giving (B, C, R), contiguous.
pub fn swap_last(x: &Tensor) -> Result<Tensor> {
    let &[b, rows, cols] = x.dims() else {
        candle_core::bail!("swap_last: x is {:?}, expected (B, R, C)", x.dims())
    };
    swapped("swap_last", x, [b, rows, cols])
}

/// A map (B, C, H, W) as tokens (B, H*W, C).
pub fn map_to_tokens(x: &Tensor) -> Result<Tensor> {
    let &[b, c, h, w] = x.dims() else {
        candle_core::bail!("map_to_tokens: x is {:?}, expected (B, C, H, W)", x.dims())
    };
    swapped("map_to_tokens", &x.reshape((b, c, h * w))?, [b, c, h * w])
}

/// Tokens (B, H*W, C) as a map (B, C, H, W).
pub fn tokens_to_map(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (b, n, c) = match *x.dims() {
        [b, n, c] if n == height * width => (b, n, c),
        ref other => {
            candle_core::bail!("tokens_to_map: x is {other:?}, expected (B, {height} * {width}, C)")
        }
    };
    swapped("tokens_to_map", x, [b, n, c])?.reshape((b, c, height, width))
}

fn swapped(op: &'static str, x: &Tensor, dims: [usize; 3]) -> Result<Tensor> {
    in_single!([x] => swapped(op, x, dims));
    let x = x.contiguous()?;
    on_gpu!(x => swapped(op, &x, dims));
    dispatch!(op, x.dtype(), T => swapped_cpu::<T>(op, &x, dims))
}

fn swapped_cpu<T: Elem>(
    op: &'static str,
    x: &Tensor,
    [b, rows, cols]: [usize; 3],
) -> Result<Tensor> {
    let output = transposed::<T>(&view(op, x)?, b, rows, cols);
    attach(op, [x], storage(output), (b, cols, rows), move |grad| {
        let dx = transposed::<T>(&view(op, grad)?, b, cols, rows);
        Ok([Some(tensor(dx, (b, rows, cols)))])
    })
}

fn transposed<T: Elem>(input: &[T], batch: usize, rows: usize, cols: usize) -> Vec<T> {
    let mut output = fresh::<T>(batch * rows * cols);
    if rows * cols == 0 {
        return output;
    }
    // A task writes a band of TILE output rows, that is TILE input columns.
    let band = TILE * rows;
    let bands = cols.div_ceil(TILE);
    let write = |index: usize, out: &mut [T]| {
        let (image, first) = (index / bands, (index % bands) * TILE);
        let input = &input[image * rows * cols..(image + 1) * rows * cols];
        let width = out.len() / rows;
        for top in (0..rows).step_by(TILE) {
            let height = TILE.min(rows - top);
            for c in 0..width {
                let line = &mut out[c * rows + top..c * rows + top + height];
                for (r, o) in line.iter_mut().enumerate() {
                    *o = input[(top + r) * cols + first + c];
                }
            }
        }
    };
    output
        .par_chunks_mut(rows * cols)
        .enumerate()
        .for_each(|(image, plane)| {
            plane
                .par_chunks_mut(band)
                .enumerate()
                .for_each(|(i, out)| write(image * bands + i, out));
        });
    output
}

/// Groups (B, H*W, C) tokens of an `height` x `width` map into `r` x `r` patches:
/// (B, (H/r)*(W/r), r*r*C), rows that do not fill a patch dropped. With a linear layer behind it
/// this is a convolution with kernel and stride `r` and no padding.
pub fn patchify(x: &Tensor, height: usize, width: usize, r: usize) -> Result<Tensor> {
    in_single!([x] => patchify(x, height, width, r));
    let (b, c) = match *x.dims() {
        [b, n, c] if n == height * width && c > 0 => (b, c),
        ref other => candle_core::bail!(
            "patchify: x is {other:?}, expected (B, {height} * {width}, C), C > 0"
        ),
    };
    if r == 0 || r > height || r > width {
        candle_core::bail!("patchify: no patch of {r} x {r} fits a map of {height} x {width}")
    }
    let x = x.contiguous()?;
    on_gpu!(x => patchify(&x, (b, c), (height, width), r));
    dispatch!("patchify", x.dtype(), T => patchify_cpu::<T>(&x, b, height, width, c, r))
}

fn patchify_cpu<T: Elem>(
    x: &Tensor,
    b: usize,
    h: usize,
    w: usize,
    c: usize,
    r: usize,
) -> Result<Tensor> {
    let (ph, pw) = (h / r, w / r);
    let input = view::<T>("patchify", x)?;
    let mut output = fresh::<T>(b * ph * pw * r * r * c);
    let line = r * c;
    output
        .par_chunks_mut(r * line)
        .enumerate()
        .for_each(|(patch, out)| {
            let (image, at) = (patch / (ph * pw), patch % (ph * pw));
            let (py, px) = (at / pw, at % pw);
            for (dy, out) in out.chunks_mut(line).enumerate() {
                let start = ((image * h + py * r + dy) * w + px * r) * c;
                out.copy_from_slice(&input[start..start + line]);
            }
        });
    drop(input);
    attach(
        "patchify",
        [x],
        storage(output),
        (b, ph * pw, r * line),
        move |grad| {
            let grad = view::<T>("patchify", grad)?;
            let mut dx = vec![T::zero(); b * h * w * c];
            dx.par_chunks_mut(w * c).enumerate().for_each(|(row, out)| {
                let (image, y) = (row / h, row % h);
                let (py, dy) = (y / r, y % r);
                if py < ph {
                    for (px, out) in out[..pw * line].chunks_mut(line).enumerate() {
                        let start = (((image * ph + py) * pw + px) * r + dy) * line;
                        out.copy_from_slice(&grad[start..start + line]);
                    }
                }
            });
            Ok([Some(tensor(dx, (b, h * w, c)))])
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{max_relative_error, wave};

    #[test]
    fn swap_last_equals_candle_and_has_its_gradient() -> Result<()> {
        for shape in [[2, 3, 5], [1, 70, 33], [2, 33, 64]] {
            let x = wave(&shape, 1.0, 0.9, 0.1)?;
            let ours = swap_last(&x)?.flatten_all()?.to_vec1::<f64>()?;
            let theirs = x.transpose(1, 2)?.contiguous()?.flatten_all()?;
            assert_eq!(ours, theirs.to_vec1::<f64>()?);
            assert!(max_relative_error(&[x], 20, |x| swap_last(&x[0])?.sqr())? < 1e-7);
        }
        Ok(())
    }

    #[test]
    fn patchify_with_a_product_is_a_strided_convolution() -> Result<()> {
        let (h, w, c, r, out) = (5, 7, 3, 2, 4);
        let map = wave(&[2, c, h, w], 1.0, 0.9, 0.1)?;
        let weight = wave(&[out, c, r, r], 1.0, 1.7, 0.4)?;
        let expected = map.conv2d(&weight, 0, r, 1, 1)?.flatten_from(2)?;
        let tokens = map_to_tokens(&map)?;
        let flat = weight.permute((0, 2, 3, 1))?.contiguous()?;
        let flat = flat.reshape((out, r * r * c))?;
        let ours = patchify(&tokens, h, w, r)?.broadcast_matmul(&flat.t()?)?;
        let difference = (ours.transpose(1, 2)? - expected)?.abs()?.max_all()?;
        assert!(difference.to_scalar::<f64>()? < 1e-12);
        let error = max_relative_error(&[tokens], 60, |x| patchify(&x[0], h, w, r)?.sqr())?;
        assert!(error < 1e-7);
        Ok(())
    }
}
