//! The largest elements of every row.

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use super::attach::attach;
use super::cast::{cast, is_half, single};
use super::cpu::{Elem, dispatch, fresh, storage, tensor, view};

const OP: &str = "top_k";

/// Elements that are found in one pass; more are selected from keys of the whole row.
const FEW: usize = 16;

/// The `k` largest elements along the last dimension of `x`, largest first, and where they were.
///
/// Returns values and U32 indices, both shaped like `x` but for `k` in the last dimension. As in
/// PyTorch NaN counts as largest; among equals, where PyTorch leaves the order open, the first
/// comes first. The gradient of the values goes to the elements that were picked.
///
/// # Errors
/// When `x` is not floating-point, has no dimension, or has fewer than `k` elements in its last.
pub fn top_k(x: &Tensor, k: usize) -> Result<(Tensor, Tensor)> {
    if is_half(x) {
        let (values, places) = top_k(&single(x)?, k)?;
        return Ok((cast(&values, x.dtype())?, places));
    }
    let Some(&size) = x.dims().last() else {
        candle_core::bail!("{OP}: x is a number, expected at least one dimension")
    };
    if k > size || u32::try_from(size).is_err() {
        candle_core::bail!(
            "{OP}: the {k} largest of x {:?}, expected at most its last dimension, below 2^32",
            x.dims()
        )
    }
    let x = x.contiguous()?;
    dispatch!(OP, x.dtype(), T => top_k_cpu::<T>(&x, size, k))
}

fn top_k_cpu<T: Elem>(x: &Tensor, size: usize, k: usize) -> Result<(Tensor, Tensor)> {
    let rows = x.elem_count().checked_div(size).unwrap_or(0);
    let (mut values, mut indices) = (fresh::<T>(rows * k), vec![0u32; rows * k]);
    if !values.is_empty() {
        let input = view::<T>(OP, x)?;
        values
            .par_chunks_mut(k)
            .zip(indices.par_chunks_mut(k))
            .zip(input.par_chunks(size))
            .for_each(|((values, indices), x)| largest(x, values, indices));
    }
    let mut shape = x.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = k;
    }
    let picked = Tensor::from_vec(indices.clone(), shape.as_slice(), &Device::Cpu)?;
    let input = x.shape().clone();
    let values = attach(OP, [x], storage(values), shape, move |grad| {
        let mut dx = vec![T::zero(); input.elem_count()];
        if !indices.is_empty() {
            let grad = view::<T>(OP, grad)?;
            dx.par_chunks_mut(size)
                .zip(grad.par_chunks(k).zip(indices.par_chunks(k)))
                .for_each(|(dx, (grad, indices))| {
                    for (&g, &i) in grad.iter().zip(indices) {
                        dx[i as usize] = g;
                    }
                });
        }
        Ok([Some(tensor(dx, &input))])
    })?;
    Ok((values, picked))
}

/// The first elements of the row in descending order. No two keys are equal, so that neither
/// selecting nor sorting leaves anything open.
fn largest<T: Elem>(x: &[T], values: &mut [T], indices: &mut [u32]) {
    let k = values.len();
    let keys = if k <= FEW { few(x, k) } else { many(x, k) };
    for ((value, index), (_, i)) in values.iter_mut().zip(indices).zip(keys) {
        (*value, *index) = (x[i as usize], i);
    }
}

/// For a small `k`: one pass that holds each element against the last of those in hand.
fn few<T: Elem>(x: &[T], k: usize) -> Vec<(u64, u32)> {
    let key = |i: usize| (descending(x[i].to_f64()), i as u32);
    let mut best: Vec<_> = (0..k).map(key).collect();
    best.sort_unstable();
    let last = |best: &[(u64, u32)]| best.last().map_or(T::nan(), |&(_, i)| x[i as usize]);
    let mut bound = last(&best);
    for (i, &v) in x.iter().enumerate().skip(k) {
        if v > bound || (v.is_nan() && !bound.is_nan()) {
            let key = key(i);
            best.pop();
            best.insert(best.partition_point(|b| *b < key), key);
            bound = last(&best);
        }
    }
    best
}

fn many<T: Elem>(x: &[T], k: usize) -> Vec<(u64, u32)> {
    let values = x.iter().enumerate();
    let mut keys: Vec<_> = values
        .map(|(i, &v)| (descending(v.to_f64()), i as u32))
        .collect();
    if k < keys.len() {
        keys.select_nth_unstable(k);
        keys.truncate(k);
    }
    keys.sort_unstable();
    keys
}

/// A number that is smaller the larger `v` is: equal for both zeros, and least for NaN.
fn descending(v: f64) -> u64 {
    if v.is_nan() {
        return 0;
    }
    let bits = (v + 0.0).to_bits();
    // Ascending as unsigned numbers: negative values in reverse, below the positive ones.
    let ascending = if bits >> 63 == 1 {
        !bits
    } else {
        bits | 1 << 63
    };
    !ascending
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{max_relative_error, wave};
    use candle_core::DType;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn matches_a_stable_sort_on_random_rows_and_views() -> Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(12);
        for _ in 0..60 {
            let (rows, size) = (rng.random_range(0..4), rng.random_range(1..50));
            let k = rng.random_range(0..=size);
            // Few different values, both zeros among them.
            let data: Vec<f64> = (0..rows * size)
                .map(|_| f64::from(rng.random_range(-4i8..5)) * 0.0_f64.max(rng.random()).round())
                .collect();
            let x = Tensor::from_vec(data.clone(), (rows, size), &Device::Cpu)?;
            let (values, indices) = top_k(&x.t()?.contiguous()?.t()?, k)?;
            assert_eq!(
                (values.dims(), indices.dims()),
                (&[rows, k][..], &[rows, k][..])
            );
            let (values, indices) = (values.flatten_all()?, indices.flatten_all()?);
            let (values, indices) = (values.to_vec1::<f64>()?, indices.to_vec1::<u32>()?);
            for (row, data) in data.chunks(size).enumerate() {
                let mut order: Vec<usize> = (0..size).collect();
                order.sort_by(|&a, &b| data[b].partial_cmp(&data[a]).unwrap());
                for (n, &i) in order[..k].iter().enumerate() {
                    assert_eq!(indices[row * k + n], i as u32);
                    assert_eq!(values[row * k + n], data[i]);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn gradient_matches_differences() -> Result<()> {
        let x = wave(&[2, 3, 7], 1.0, 1.3, 0.2)?;
        let error = max_relative_error(&[x], 42, |x| Ok(top_k(&x[0], 3)?.0))?;
        assert!(error < 1e-7);
        Ok(())
    }

    #[test]
    fn nan_is_largest_and_infinities_are_in_order() -> Result<()> {
        let inf = f32::INFINITY;
        let x = Tensor::new(&[-inf, 1f32, f32::NAN, inf, -0.0, 0.0, -2.0], &Device::Cpu)?;
        for k in 1..8 {
            let (values, indices) = top_k(&x, k)?;
            assert_eq!(indices.to_vec1::<u32>()?, [2, 3, 1, 4, 5, 6, 0][..k]);
            assert!(values.to_vec1::<f32>()?[0].is_nan());
        }
        Ok(())
    }

    #[test]
    fn misuse_is_named() -> Result<()> {
        let message = |r: Result<(Tensor, Tensor)>| r.err().map(|e| e.to_string());
        let x = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
        assert!(
            message(top_k(&x, 4)).is_some_and(|m| m.contains("top_k: the 4 largest of x [2, 3]"))
        );
        let number = Tensor::new(1f32, &Device::Cpu)?;
        assert!(message(top_k(&number, 1)).is_some_and(|m| m.contains("at least one dimension")));
        let bytes = x.to_dtype(DType::U8)?;
        assert!(message(top_k(&bytes, 1)).is_some_and(|m| m.contains("top_k: dtype U8")));
        Ok(())
    }
}
