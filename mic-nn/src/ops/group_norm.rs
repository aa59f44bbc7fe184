//! Group normalisation of (B, C, H, W) images (Wu and He, 2018).

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::attach::attach;
use super::cast::in_single;
use super::cpu::{Elem, dispatch, fresh, on_gpu, storage, tensor, view};
use super::math::map;
use super::simd::vectorized;
use super::sums::{Moments, sum_and_moment};

/// Normalises each of `groups` groups of neighbouring channels of every image of `x` (B, C, H, W):
/// `y = gamma (x - mean) / sqrt(var + eps) + beta`, with the biased variance, `gamma` and `beta`
/// (C).
///
/// # Errors
/// When C is no multiple of `groups`, or shapes or dtypes do not fit together.
pub fn group_norm(
    x: &Tensor,
    groups: usize,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    const OP: &str = "group_norm";
    in_single!([x, gamma, beta] => group_norm(x, groups, gamma, beta, eps));
    let &[_, channels, h, w] = x.dims() else {
        candle_core::bail!("{OP}: x is {:?}, expected (B, C, H, W)", x.dims())
    };
    if groups == 0 || channels % groups != 0 || x.elem_count() == 0 {
        candle_core::bail!(
            "{OP}: x {:?} with {groups} groups, expected a non-empty image and a divisor of \
             {channels}",
            x.dims()
        )
    }
    for (name, tensor) in [("gamma", gamma), ("beta", beta)] {
        if tensor.dims() != [channels] {
            candle_core::bail!("{OP}: {name} is {:?}, expected [{channels}]", tensor.dims())
        }
    }
    let sizes = Sizes {
        groups,
        members: channels / groups,
        pixels: h * w,
    };
    let (x, gamma, beta) = (x.contiguous()?, gamma.contiguous()?, beta.contiguous()?);
    on_gpu!(x => group_norm(&x, groups, &gamma, &beta, eps));
    dispatch!(OP, x.dtype(), T => group_norm_cpu::<T>(OP, &x, &gamma, &beta, eps, sizes))
}

#[derive(Clone, Copy)]
struct Sizes {
    groups: usize,
    /// Channels of a group.
    members: usize,
    pixels: usize,
}

impl Sizes {
    /// Elements of a group of one image.
    fn len(&self) -> usize {
        self.members * self.pixels
    }

    /// The channels of the `index`-th group, counting over all images.
    fn channels(&self, index: usize) -> std::ops::Range<usize> {
        let first = index % self.groups * self.members;
        first..first + self.members
    }
}

fn group_norm_cpu<T: Elem>(
    op: &'static str,
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
    sizes: Sizes,
) -> Result<Tensor> {
    let mut output = fresh::<T>(x.elem_count());
    let statistics: Vec<(T, T)> = {
        let input = view::<T>(op, x)?;
        let (gamma, beta) = (view::<T>(op, gamma)?, view::<T>(op, beta)?);
        let (gamma, beta) = (&*gamma, &*beta);
        output
            .par_chunks_mut(sizes.len())
            .zip(input.par_chunks(sizes.len()))
            .enumerate()
            .map(|(index, (y, x))| {
                let (gamma, beta) = (&gamma[sizes.channels(index)], &beta[sizes.channels(index)]);
                vectorized(
                    #[inline(always)]
                    || forward_group(x, gamma, beta, eps, sizes, y),
                )
            })
            .collect()
    };
    let (saved_x, saved_gamma) = (x.detach(), gamma.detach());
    let needs = [x, gamma, beta].map(Tensor::track_op);
    attach(
        op,
        [x, gamma, beta],
        storage(output),
        x.shape(),
        move |grad| {
            let (x, g) = (view::<T>(op, &saved_x)?, view::<T>(op, grad)?);
            let gamma = view::<T>(op, &saved_gamma)?;
            let gamma = &*gamma;
            let mut dx = fresh::<T>(x.len());
            // (sum of g, sum of g times normalised x) of every plane.
            let mut sums = vec![(0f64, 0f64); x.len() / sizes.pixels];
            dx.par_chunks_mut(sizes.len())
                .zip(sums.par_chunks_mut(sizes.members))
                .zip(x.par_chunks(sizes.len()).zip(g.par_chunks(sizes.len())))
                .enumerate()
                .for_each(|(index, ((dx, sums), (x, g)))| {
                    let gamma = &gamma[sizes.channels(index)];
                    vectorized(
                        #[inline(always)]
                        || backward_group(x, g, gamma, statistics[index], sizes, sums, dx),
                    );
                });
            let channels = gamma.len();
            let total = |pick: fn(&(f64, f64)) -> f64| -> Tensor {
                let of = |c| sums.iter().skip(c).step_by(channels).map(pick).sum();
                tensor::<T>((0..channels).map(|c| T::of(of(c))).collect(), channels)
            };
            Ok([
                needs[0].then(|| tensor(dx, saved_x.shape())),
                needs[1].then(|| total(|s| s.1)),
                needs[2].then(|| total(|s| s.0)),
            ])
        },
    )
}

/// Writes the normalised group and returns its mean and reciprocal standard deviation.
#[inline(always)]
fn forward_group<T: Elem>(
    x: &[T],
    gamma: &[T],
    beta: &[T],
    eps: f64,
    sizes: Sizes,
    y: &mut [T],
) -> (T, T) {
    let mut moments = Moments::default();
    moments.add(x);
    let center = T::of(moments.mean());
    let rstd = T::of(1.0 / (moments.variance() + eps).sqrt());
    let planes = y
        .chunks_exact_mut(sizes.pixels)
        .zip(x.chunks_exact(sizes.pixels));
    for ((y, x), (&gamma, &beta)) in planes.zip(gamma.iter().zip(beta)) {
        let scale = gamma * rstd;
        map(
            y,
            [x],
            #[inline(always)]
            |[x]| (x - center).mul_add(scale, beta),
        );
    }
    (center, rstd)
}

#[inline(always)]
fn backward_group<T: Elem>(
    x: &[T],
    g: &[T],
    gamma: &[T],
    (mean, rstd): (T, T),
    sizes: Sizes,
    sums: &mut [(f64, f64)],
    dx: &mut [T],
) {
    let (count, r) = (x.len() as f64, rstd.to_f64());
    let (mut total, mut moment) = (0f64, 0f64);
    let planes = x
        .chunks_exact(sizes.pixels)
        .zip(g.chunks_exact(sizes.pixels));
    for ((x, g), (gamma, sums)) in planes.clone().zip(gamma.iter().zip(sums)) {
        let [a, b] = sum_and_moment(g, x, mean);
        *sums = (a, b * r);
        total += (*gamma).to_f64() * a;
        moment += (*gamma).to_f64() * b * r;
    }
    let slope = T::of(-r * r * moment / count);
    let shift = T::of(-r * total / count);
    for (((x, g), gamma), dx) in planes.zip(gamma).zip(dx.chunks_exact_mut(sizes.pixels)) {
        let scale = *gamma * rstd;
        map(
            dx,
            [g, x],
            #[inline(always)]
            |[g, x]| g.mul_add(scale, (x - mean).mul_add(slope, shift)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{max_relative_error, wave};
    use candle_core::D;

    #[test]
    fn matches_its_definition_and_differences() -> Result<()> {
        for (shape, groups) in [([2, 6, 3, 7], 2), ([1, 3, 40, 37], 3), ([2, 4, 2, 1], 1)] {
            let [b, c, h, w] = shape;
            let x = wave(&shape, 1.5, 1.3, 0.2)?;
            let gamma = (wave(&[c], 0.5, 1.0, 0.0)? + 1.0)?;
            let beta = wave(&[c], 0.5, 2.0, 0.0)?;
            let rows = x.reshape((b * groups, c / groups * h * w))?;
            let centered = rows.broadcast_sub(&rows.mean_keepdim(1)?)?;
            let std = (centered.sqr()?.mean_keepdim(1)? + 1e-5)?.sqrt()?;
            let expected = centered
                .broadcast_div(&std)?
                .reshape(&shape)?
                .broadcast_mul(&gamma.reshape((1, c, 1, 1))?)?
                .broadcast_add(&beta.reshape((1, c, 1, 1))?)?;
            let y = group_norm(&x, groups, &gamma, &beta, 1e-5)?;
            let d = (y - expected)?.abs()?.flatten_all()?.max(D::Minus1)?;
            assert!(d.to_scalar::<f64>()? < 1e-12);
            let error = max_relative_error(&[x, gamma, beta], 40, |t| {
                group_norm(&t[0], groups, &t[1], &t[2], 1e-5)
            })?;
            assert!(error < 1e-6, "{shape:?}: {error}");
        }
        Ok(())
    }

    #[test]
    fn views_work_and_errors_are_clear() -> Result<()> {
        let x = wave(&[2, 3, 5, 4], 1.0, 1.3, 0.2)?;
        let gamma = wave(&[4], 1.0, 1.3, 0.2)?;
        let error = max_relative_error(&[x.clone(), gamma.clone()], 30, |t| {
            group_norm(&t[0].permute((0, 3, 1, 2))?, 2, &t[1], &t[1], 1e-5)
        })?;
        assert!(error < 1e-6);
        let message = group_norm(&x, 2, &gamma, &gamma, 1e-5)
            .unwrap_err()
            .to_string();
        assert!(message.contains("divisor of 3"));
        let message = group_norm(&x, 3, &gamma, &gamma, 1e-5)
            .unwrap_err()
            .to_string();
        assert!(message.contains("gamma is [4], expected [3]"));
        Ok(())
    }
}
