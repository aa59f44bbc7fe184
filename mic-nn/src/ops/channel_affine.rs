//! A scale and a shift for every channel: batch normalisation with constant statistics.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::attach::attach;
use super::cpu::{Elem, View, dispatch, storage, tensor, view};
use super::simd::vectorized;
use super::sums::sum_and_moment;

const OP: &str = "channel_affine";

/// Elements a task handles at least, as far as there are that many; fixed, so that results do not
/// depend on the number of threads.
const CHUNK: usize = 1 << 14;

/// `y = x * scale + shift` with one scale and one shift a channel: `x` (B, C, ...), `scale` and
/// `shift` (C), all F32 or all F64. The same as PyTorch's
/// `x * scale[:, None, None] + shift[:, None, None]` for images.
///
/// Gradients flow to each of the three that is tracked; `x` is kept for the scale's only.
///
/// # Errors
/// When `x` is empty or has fewer than two dimensions, or shapes or dtypes do not fit together.
pub fn channel_affine(x: &Tensor, scale: &Tensor, shift: &Tensor) -> Result<Tensor> {
    let &[_, channels, ..] = x.dims() else {
        candle_core::bail!("{OP}: x is {:?}, expected (B, C, ...)", x.dims())
    };
    for (name, tensor) in [("scale", scale), ("shift", shift)] {
        if tensor.dims() != [channels] {
            candle_core::bail!("{OP}: {name} is {:?}, expected [{channels}]", tensor.dims())
        }
        if tensor.dtype() != x.dtype() {
            candle_core::bail!(
                "{OP}: {name} is {:?}, expected {:?} as x",
                tensor.dtype(),
                x.dtype()
            )
        }
    }
    if x.elem_count() == 0 {
        candle_core::bail!("{OP}: x {:?} is empty", x.dims())
    }
    let planes = Planes {
        channels,
        pixels: x.dims()[2..].iter().product(),
    };
    let (x, scale, shift) = (x.contiguous()?, scale.contiguous()?, shift.contiguous()?);
    dispatch!(OP, x.dtype(), T => affine_cpu::<T>(&x, &scale, &shift, planes))
}

/// The elements of (B, C, ...) that belong to one image and one channel lie together.
#[derive(Clone, Copy)]
struct Planes {
    channels: usize,
    pixels: usize,
}

impl Planes {
    /// Applies `f(channel, out plane, input plane)` to all planes.
    fn map<T: Elem>(self, input: &[T], f: impl Fn(usize, &mut [T], &[T]) + Sync) -> Vec<T> {
        let mut output = vec![T::zero(); input.len()];
        let together = (CHUNK / self.pixels).max(1);
        let size = together * self.pixels;
        output
            .par_chunks_mut(size)
            .zip(input.par_chunks(size))
            .enumerate()
            .for_each(|(chunk, (out, input))| {
                vectorized(
                    #[inline(always)]
                    || {
                        let planes = out.chunks_mut(self.pixels).zip(input.chunks(self.pixels));
                        for (i, (out, input)) in planes.enumerate() {
                            f((chunk * together + i) % self.channels, out, input);
                        }
                    },
                );
            });
        output
    }

    /// For every channel the sums of `grad` and of `grad * x`.
    fn sums<T: Elem>(self, grad: &[T], x: &[T]) -> Vec<(T, T)> {
        let of = |data, channel| -> std::iter::StepBy<_> {
            <[T]>::chunks_exact(data, self.pixels)
                .skip(channel)
                .step_by(self.channels)
        };
        (0..self.channels)
            .into_par_iter()
            .map(|channel| {
                vectorized(
                    #[inline(always)]
                    || {
                        let (mut total, mut moment) = (0f64, 0f64);
                        for (grad, x) in of(grad, channel).zip(of(x, channel)) {
                            let (a, b) = sum_and_moment(grad, x, T::zero());
                            total += a;
                            moment += b;
                        }
                        (T::of(total), T::of(moment))
                    },
                )
            })
            .collect()
    }
}

fn affine_cpu<T: Elem>(x: &Tensor, scale: &Tensor, shift: &Tensor, p: Planes) -> Result<Tensor> {
    let output = {
        let (x, scale, shift) = (
            view::<T>(OP, x)?,
            view::<T>(OP, scale)?,
            view::<T>(OP, shift)?,
        );
        let (scale, shift): (&[T], &[T]) = (&scale, &shift);
        p.map(
            &x,
            #[inline(always)]
            |channel, y, x| {
                let (scale, shift) = (scale[channel], shift[channel]);
                for (y, x) in y.iter_mut().zip(x) {
                    *y = x.mul_add(scale, shift);
                }
            },
        )
    };
    let [needs_x, needs_scale, needs_shift] = [x, scale, shift].map(Tensor::track_op);
    let saved_x = needs_scale.then(|| x.detach());
    let saved_scale = scale.detach();
    attach(
        OP,
        [x, scale, shift],
        storage(output),
        x.shape(),
        move |grad| {
            let g = view::<T>(OP, grad)?;
            let dx = match needs_x {
                true => Some(tensor(
                    scaled(&g, &view(OP, &saved_scale)?, p),
                    grad.shape(),
                )),
                false => None,
            };
            if !needs_scale && !needs_shift {
                return Ok([dx, None, None]);
            }
            // Without a scale to train, the products are computed in vain, but once a step.
            let x: Option<View<T>> = saved_x.as_ref().map(|x| view(OP, x)).transpose()?;
            let sums = p.sums(&g, x.as_deref().unwrap_or(&g));
            let (dshift, dscale): (Vec<T>, Vec<T>) = sums.into_iter().unzip();
            Ok([
                dx,
                needs_scale.then(|| tensor(dscale, p.channels)),
                needs_shift.then(|| tensor(dshift, p.channels)),
            ])
        },
    )
}

fn scaled<T: Elem>(grad: &[T], scale: &[T], p: Planes) -> Vec<T> {
    p.map(
        grad,
        #[inline(always)]
        |channel, dx, grad| {
            let scale = scale[channel];
            for (d, g) in dx.iter_mut().zip(grad) {
                *d = *g * scale;
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autograd::backward;
    use crate::gradcheck::{max_relative_error, wave};
    use candle_core::{DType, Device, Var};

    #[test]
    fn matches_its_definition_and_differences() -> Result<()> {
        for shape in [
            &[2, 5, 3, 7][..],
            &[1, 3, 130, 140],
            &[600, 31, 1, 1],
            &[4, 3],
        ] {
            let channels = shape[1];
            let x = wave(shape, 1.5, 1.3, 0.2)?;
            let scale = (wave(&[channels], 0.5, 1.0, 0.0)? + 1.0)?;
            let shift = wave(&[channels], 0.5, 2.0, 0.0)?;
            let y = channel_affine(&x, &scale, &shift)?;
            let mut per_channel = vec![1; shape.len()];
            per_channel[1] = channels;
            let expected = x
                .broadcast_mul(&scale.reshape(&per_channel[..])?)?
                .broadcast_add(&shift.reshape(&per_channel[..])?)?;
            let worst = (y - expected)?.abs()?.flatten_all()?.max(0)?;
            assert!(worst.to_scalar::<f64>()? < 1e-14);
            let error = max_relative_error(&[x, scale, shift], 40, |t| {
                channel_affine(&t[0], &t[1], &t[2])
            })?;
            assert!(error < 1e-6, "{shape:?}: {error}");
        }
        Ok(())
    }

    #[test]
    fn only_tracked_inputs_get_a_gradient() -> Result<()> {
        let x = wave(&[2, 3, 2, 2], 1.0, 1.3, 0.2)?;
        let scale = wave(&[3], 1.0, 0.9, 0.4)?;
        for tracked in 1..8 {
            let vars = [
                Var::from_tensor(&x)?,
                Var::from_tensor(&scale)?,
                Var::from_tensor(&scale)?,
            ];
            let inputs: Vec<Tensor> = (0..3)
                .map(|i| match tracked & (1 << i) {
                    0 => vars[i].as_detached_tensor(),
                    _ => vars[i].as_tensor().clone(),
                })
                .collect();
            let y = channel_affine(&inputs[0], &inputs[1], &inputs[2])?;
            let grads = backward(&y.sum_all()?)?;
            for (i, var) in vars.iter().enumerate() {
                assert_eq!(grads.get(var).is_some(), tracked & (1 << i) != 0);
            }
            if tracked & 4 != 0 {
                let shift = grads.get(&vars[2]).map(Tensor::to_vec1::<f64>);
                assert_eq!(shift.transpose()?, Some(vec![8.0; 3]));
            }
        }
        let y = channel_affine(&x, &scale, &scale)?;
        assert!(!y.track_op());
        Ok(())
    }

    #[test]
    fn views_work_and_errors_are_clear() -> Result<()> {
        let x = wave(&[2, 4, 3, 5], 1.0, 1.3, 0.2)?;
        let five = wave(&[5], 1.0, 0.9, 0.4)?;
        let error = max_relative_error(&[x.clone(), five.clone()], 30, |t| {
            channel_affine(&t[0].permute((0, 3, 1, 2))?, &t[1], &t[1])
        })?;
        assert!(error < 1e-6);
        let message = |x: &Tensor, scale: &Tensor, shift: &Tensor| {
            channel_affine(x, scale, shift).unwrap_err().to_string()
        };
        let four = wave(&[4], 1.0, 0.9, 0.4)?;
        assert!(message(&x, &five, &four).contains("scale is [5], expected [4]"));
        assert!(message(&x, &four, &five).contains("shift is [5], expected [4]"));
        assert!(message(&five, &five, &five).contains("x is [5], expected (B, C, ...)"));
        let single = four.to_dtype(DType::F32)?;
        assert!(message(&x, &four, &single).contains("shift is F32, expected F64"));
        let empty = Tensor::zeros((0, 4, 3, 5), DType::F64, &Device::Cpu)?;
        assert!(message(&empty, &four, &four).contains("is empty"));
        let bytes = Tensor::zeros((1, 1, 2, 2), DType::U8, &Device::Cpu)?;
        let byte = Tensor::zeros(1, DType::U8, &Device::Cpu)?;
        assert!(message(&bytes, &byte, &byte).contains("U8"));
        Ok(())
    }
}
