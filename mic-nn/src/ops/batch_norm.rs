//! Batch normalisation of (B, C, H, W) images (Ioffe and Szegedy, 2015).

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::attach::attach;
use super::cpu::{Elem, Shared, dispatch, storage, tensor, view};
use super::simd::vectorized;
use super::sums::{squared_distance, sum, sum_and_moment};

/// Batch, channels and pixels of (B, C, H, W).
#[derive(Clone, Copy)]
struct Planes {
    batch: usize,
    channels: usize,
    pixels: usize,
}

impl Planes {
    fn new(op: &str, x: &Tensor, per_channel: &[(&str, &Tensor)]) -> Result<Self> {
        let &[batch, channels, h, w] = x.dims() else {
            candle_core::bail!("{op}: x is {:?}, expected (B, C, H, W)", x.dims())
        };
        for (name, tensor) in per_channel {
            if tensor.dims() != [channels] {
                candle_core::bail!("{op}: {name} is {:?}, expected [{channels}]", tensor.dims())
            }
        }
        if x.elem_count() == 0 {
            candle_core::bail!("{op}: x {:?} is empty", x.dims())
        }
        Ok(Self {
            batch,
            channels,
            pixels: h * w,
        })
    }

    /// The planes of one channel, image by image.
    #[inline(always)]
    fn of<'a, T>(&self, data: &'a [T], channel: usize) -> impl Iterator<Item = &'a [T]> {
        data.chunks_exact(self.pixels)
            .skip(channel)
            .step_by(self.channels)
    }

    /// The same planes of shared output.
    ///
    /// # Safety
    /// No other task may use planes of the same channel.
    #[inline(always)]
    unsafe fn of_shared<'a, T>(
        &self,
        data: Shared<'a, T>,
        channel: usize,
    ) -> impl Iterator<Item = &'a mut [T]> {
        let this = *self;
        (0..this.batch).map(move |image| {
            let start = (image * this.channels + channel) * this.pixels;
            // SAFETY: one plane per image; exclusive by the caller's promise.
            unsafe { data.slice(start..start + this.pixels) }
        })
    }
}

/// Normalises every channel of `x` (B, C, H, W) over batch and pixels:
/// `y = gamma (x - mean) / sqrt(var + eps) + beta`, with `gamma` and `beta` (C).
///
/// Returns `y`, and detached `mean` and biased `var` (C) of this batch for running statistics.
///
/// # Errors
/// When a channel has fewer than two values, or shapes or dtypes (F32 or F64) do not fit together.
pub fn batch_norm(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
) -> Result<(Tensor, Tensor, Tensor)> {
    const OP: &str = "batch_norm";
    let p = Planes::new(OP, x, &[("gamma", gamma), ("beta", beta)])?;
    if p.batch * p.pixels < 2 {
        candle_core::bail!(
            "{OP}: x {:?} has one value per channel, expected at least two to take statistics of",
            x.dims()
        )
    }
    let (x, gamma, beta) = (x.contiguous()?, gamma.contiguous()?, beta.contiguous()?);
    dispatch!(OP, x.dtype(), T => train_cpu::<T>(OP, &x, &gamma, &beta, eps, p))
}

fn train_cpu<T: Elem>(
    op: &'static str,
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
    p: Planes,
) -> Result<(Tensor, Tensor, Tensor)> {
    let count = (p.batch * p.pixels) as f64;
    let mut output = vec![T::zero(); x.elem_count()];
    let statistics: Vec<(T, T)> = {
        let input = view::<T>(op, x)?;
        let (gamma, beta) = (view::<T>(op, gamma)?, view::<T>(op, beta)?);
        let (input, gamma, beta) = (&*input, &*gamma, &*beta);
        let shared = Shared::new(&mut output);
        (0..p.channels)
            .into_par_iter()
            .map(|c| {
                vectorized(
                    #[inline(always)]
                    || {
                        // Plain loops: an iterator's `sum` would not be compiled for wide vectors.
                        let mut total = 0f64;
                        for x in p.of(input, c) {
                            total += sum(x);
                        }
                        let mean = total / count;
                        // Measured from the rounded mean, so that its rounding can be taken out.
                        let center = T::of(mean);
                        let mut squares = 0f64;
                        for x in p.of(input, c) {
                            squares += squared_distance(x, center);
                        }
                        let rounding = mean - center.to_f64();
                        let var = (squares / count - rounding * rounding).max(0.0);
                        let scale = gamma[c] * T::of(1.0 / (var + eps).sqrt());
                        // SAFETY: one task a channel.
                        let planes = unsafe { p.of_shared(shared, c) };
                        for (y, x) in planes.zip(p.of(input, c)) {
                            for (y, x) in y.iter_mut().zip(x) {
                                *y = (*x - center).mul_add(scale, beta[c]);
                            }
                        }
                        (center, T::of(var))
                    },
                )
            })
            .collect()
    };
    let (mean, var): (Vec<T>, Vec<T>) = statistics.into_iter().unzip();
    let rstd: Vec<T> = var
        .iter()
        .map(|v| T::of(1.0 / ((*v).to_f64() + eps).sqrt()))
        .collect();
    let saved = Saved {
        op,
        p,
        x: x.detach(),
        gamma: gamma.detach(),
        needs: [x, gamma, beta].map(Tensor::track_op),
        mean: mean.clone(),
        rstd,
        batch_statistics: true,
    };
    let y = attach(
        op,
        [x, gamma, beta],
        storage(output),
        x.shape(),
        move |grad| saved.gradients(grad),
    )?;
    Ok((y, tensor(mean, p.channels), tensor(var, p.channels)))
}

/// Normalises `x` (B, C, H, W) with given statistics:
/// `y = gamma (x - running_mean) / sqrt(running_var + eps) + beta`, all of these (C).
///
/// Gradients flow to `x`, `gamma` and `beta`; the statistics are constants.
///
/// # Errors
/// When shapes or dtypes (F32 or F64, all the same) do not fit together.
pub fn batch_norm_eval(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    running_mean: &Tensor,
    running_var: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    const OP: &str = "batch_norm_eval";
    let named = [
        ("gamma", gamma),
        ("beta", beta),
        ("running_mean", running_mean),
        ("running_var", running_var),
    ];
    let p = Planes::new(OP, x, &named)?;
    let (x, gamma, beta) = (x.contiguous()?, gamma.contiguous()?, beta.contiguous()?);
    let (mean, var) = (running_mean.contiguous()?, running_var.contiguous()?);
    dispatch!(OP, x.dtype(), T => eval_cpu::<T>(OP, &x, [&gamma, &beta, &mean, &var], eps, p))
}

fn eval_cpu<T: Elem>(
    op: &'static str,
    x: &Tensor,
    [gamma, beta, mean, var]: [&Tensor; 4],
    eps: f64,
    p: Planes,
) -> Result<Tensor> {
    let mean = view::<T>(op, mean)?.to_vec();
    let rstd: Vec<T> = view::<T>(op, var)?
        .iter()
        .map(|v| T::of(1.0 / ((*v).to_f64() + eps).sqrt()))
        .collect();
    let mut output = vec![T::zero(); x.elem_count()];
    {
        let input = view::<T>(op, x)?;
        let (gamma, beta) = (view::<T>(op, gamma)?, view::<T>(op, beta)?);
        let (gamma, beta) = (&*gamma, &*beta);
        output
            .par_chunks_mut(p.pixels)
            .zip(input.par_chunks(p.pixels))
            .enumerate()
            .for_each(|(plane, (y, x))| {
                let c = plane % p.channels;
                let scale = gamma[c] * rstd[c];
                vectorized(
                    #[inline(always)]
                    || {
                        for (y, x) in y.iter_mut().zip(x) {
                            *y = (*x - mean[c]).mul_add(scale, beta[c]);
                        }
                    },
                );
            });
    }
    let saved = Saved {
        op,
        p,
        x: x.detach(),
        gamma: gamma.detach(),
        needs: [x, gamma, beta].map(Tensor::track_op),
        mean,
        rstd,
        batch_statistics: false,
    };
    attach(
        op,
        [x, gamma, beta],
        storage(output),
        x.shape(),
        move |grad| saved.gradients(grad),
    )
}

/// What the backward pass needs.
struct Saved<T> {
    op: &'static str,
    p: Planes,
    x: Tensor,
    gamma: Tensor,
    needs: [bool; 3],
    mean: Vec<T>,
    rstd: Vec<T>,
    /// Whether mean and variance depend on `x`.
    batch_statistics: bool,
}

impl<T: Elem> Saved<T> {
    fn gradients(&self, grad: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let (p, [needs_x, needs_gamma, needs_beta]) = (self.p, self.needs);
        let (x, grad) = (view::<T>(self.op, &self.x)?, view::<T>(self.op, grad)?);
        let gamma = view::<T>(self.op, &self.gamma)?;
        let (x, grad, gamma) = (&*x, &*grad, &*gamma);
        let mut dx = vec![T::zero(); if needs_x { x.len() } else { 0 }];
        let shared = Shared::new(&mut dx);
        let needs_sums = self.batch_statistics || needs_gamma || needs_beta;
        let count = (p.batch * p.pixels) as f64;
        let sums: Vec<(T, T)> = (0..p.channels)
            .into_par_iter()
            .map(|c| {
                vectorized(
                    #[inline(always)]
                    || {
                        let (mean, rstd) = (self.mean[c], self.rstd[c]);
                        let (mut dbeta, mut moment) = (0f64, 0f64);
                        if needs_sums {
                            for (g, x) in p.of(grad, c).zip(p.of(x, c)) {
                                let (a, b) = sum_and_moment(g, x, mean);
                                dbeta += a;
                                moment += b;
                            }
                        }
                        let scale = gamma[c] * rstd;
                        if needs_x {
                            // SAFETY: one task a channel.
                            let planes = unsafe { p.of_shared(shared, c) };
                            let planes = planes.zip(p.of(grad, c).zip(p.of(x, c)));
                            if self.batch_statistics {
                                let r = rstd.to_f64();
                                let slope = T::of(-scale.to_f64() * moment * r * r / count);
                                let shift = T::of(-scale.to_f64() * dbeta / count);
                                for (d, (g, x)) in planes {
                                    for ((d, g), x) in d.iter_mut().zip(g).zip(x) {
                                        let along = (*x - mean).mul_add(slope, shift);
                                        *d = g.mul_add(scale, along);
                                    }
                                }
                            } else {
                                for (d, (g, _)) in planes {
                                    for (d, g) in d.iter_mut().zip(g) {
                                        *d = *g * scale;
                                    }
                                }
                            }
                        }
                        (T::of(moment * rstd.to_f64()), T::of(dbeta))
                    },
                )
            })
            .collect();
        let (dgamma, dbeta): (Vec<T>, Vec<T>) = sums.into_iter().unzip();
        Ok([
            needs_x.then(|| tensor(dx, self.x.shape())),
            needs_gamma.then(|| tensor(dgamma, p.channels)),
            needs_beta.then(|| tensor(dbeta, p.channels)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autograd::backward;
    use crate::gradcheck::{max_relative_error, wave};
    use candle_core::{D, DType, Device, Var};

    fn naive(
        x: &Tensor,
        mean: &Tensor,
        var: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
    ) -> Result<Tensor> {
        let flat = |t: &Tensor| t.reshape((1, t.elem_count(), 1, 1));
        let rstd = (flat(var)? + 1e-5)?.sqrt()?.recip()?;
        x.broadcast_sub(&flat(mean)?)?
            .broadcast_mul(&rstd)?
            .broadcast_mul(&flat(gamma)?)?
            .broadcast_add(&flat(beta)?)
    }

    fn difference(a: &Tensor, b: &Tensor) -> Result<f64> {
        let d = (a.to_dtype(DType::F64)? - b)?.abs()?.flatten_all()?;
        d.max(D::Minus1)?.to_scalar()
    }

    #[test]
    fn matches_its_definition_and_differences() -> Result<()> {
        for shape in [[2, 5, 3, 7], [1, 3, 40, 37], [3, 2, 1, 1]] {
            let channels = shape[1];
            let x = wave(&shape, 1.5, 1.3, 0.2)?;
            let gamma = (wave(&[channels], 0.5, 1.0, 0.0)? + 1.0)?;
            let beta = wave(&[channels], 0.5, 2.0, 0.0)?;
            let mean = x.mean((0, 2, 3))?;
            let centered = x.broadcast_sub(&mean.reshape((1, channels, 1, 1))?)?;
            let var = centered.sqr()?.mean((0, 2, 3))?;
            let (y, m, v) = batch_norm(&x, &gamma, &beta, 1e-5)?;
            assert!(difference(&m, &mean)? < 1e-13 && difference(&v, &var)? < 1e-13);
            assert!(difference(&y, &naive(&x, &mean, &var, &gamma, &beta)?)? < 1e-12);
            let inputs = [x, gamma, beta];
            let error =
                max_relative_error(
                    &inputs,
                    40,
                    |t| Ok(batch_norm(&t[0], &t[1], &t[2], 1e-5)?.0),
                )?;
            assert!(error < 1e-6, "{shape:?}: {error}");
            let (mean, var) = ((mean + 0.1)?, (var + 0.2)?);
            let [x, gamma, beta] = &inputs;
            let y = batch_norm_eval(x, gamma, beta, &mean, &var, 1e-5)?;
            assert!(difference(&y, &naive(x, &mean, &var, gamma, beta)?)? < 1e-12);
            let error = max_relative_error(&inputs, 40, |t| {
                batch_norm_eval(&t[0], &t[1], &t[2], &mean, &var, 1e-5)
            })?;
            assert!(error < 1e-6, "{shape:?}: {error}");
        }
        Ok(())
    }

    #[test]
    fn statistics_are_accurate_far_from_zero() -> Result<()> {
        let x = (wave(&[2, 1, 300, 400], 1.0, 0.37, 0.0)? + 1000.0)?.to_dtype(DType::F32)?;
        let ones = Tensor::ones(1, DType::F32, &Device::Cpu)?;
        let (_, mean, var) = batch_norm(&x, &ones, &ones, 1e-5)?;
        let exact = x.to_dtype(DType::F64)?;
        let expected = exact.mean_all()?.to_scalar::<f64>()?;
        let variance = (exact - expected)?.sqr()?.mean_all()?.to_scalar::<f64>()?;
        assert!((f64::from(mean.to_vec1::<f32>()?[0]) - expected).abs() < 1e-4);
        assert!((f64::from(var.to_vec1::<f32>()?[0]) - variance).abs() < 1e-6);
        Ok(())
    }

    #[test]
    fn views_work_untracked_inputs_get_nothing_and_errors_are_clear() -> Result<()> {
        let x = wave(&[3, 4, 2, 5], 1.0, 1.3, 0.2)?;
        let one = Tensor::ones(5, DType::F64, &Device::Cpu)?;
        let error = max_relative_error(&[x.clone(), one.clone()], 30, |t| {
            Ok(batch_norm(&t[0].permute((0, 3, 1, 2))?, &t[1], &t[1], 1e-5)?.0)
        })?;
        assert!(error < 1e-6);
        let gamma = Var::from_tensor(&one)?;
        let (y, mean, _) = batch_norm(&x.permute((0, 3, 1, 2))?, &gamma, &one, 1e-5)?;
        assert!(!mean.track_op());
        let grads = backward(&y.sqr()?.sum_all()?)?;
        assert!(grads.get(&gamma).is_some() && grads.get(&x).is_none());
        let single = Tensor::zeros((1, 5, 1, 1), DType::F64, &Device::Cpu)?;
        let message = batch_norm(&single, &one, &one, 1e-5)
            .unwrap_err()
            .to_string();
        assert!(message.contains("at least two"));
        let message = batch_norm(&x, &one, &one, 1e-5).unwrap_err().to_string();
        assert!(message.contains("gamma is [5], expected [4]"));
        Ok(())
    }
}
