use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::ops::attach::attach;
use crate::ops::cast::in_single;
use crate::ops::cpu::{dispatch, storage, tensor, view};
use crate::ops::math::Math;

const OP: &str = "entropy";

/// The entropy of `softmax(logits)` along dimension 1, in nats, as that of PyTorch's
/// `Categorical`; `normalised` divides it by `log C`, so that it lies in 0..=1.
///
/// `logits` are (B, C) or (B, C, H, W); the result is (B) or (B, H, W).
///
/// # Errors
/// When the logits have another rank, no class, or one class where `normalised` is asked for.
pub fn entropy(logits: &Tensor, normalised: bool) -> Result<Tensor> {
    in_single!([logits] => entropy(logits, normalised));
    let shape = match *logits.dims() {
        [b, _] => vec![b],
        [b, _, h, w] => vec![b, h, w],
        ref other => {
            candle_core::bail!("{OP}: expected logits (B, C) or (B, C, H, W), got {other:?}")
        }
    };
    let classes = logits.dims()[1];
    let least = if normalised { 2 } else { 1 };
    if classes < least {
        candle_core::bail!("{OP}: at least {least} classes are needed, got {classes}")
    }
    let scale = if normalised {
        1.0 / (classes as f64).ln()
    } else {
        1.0
    };
    let logits = logits.contiguous()?;
    dispatch!(OP, logits.dtype(), T => entropy_cpu::<T>(&logits, shape, scale))
}

/// The largest logit of a pixel, the sum of exponentials relative to it, and the entropy.
fn pixel<T: Math>(z: impl Iterator<Item = T> + Clone) -> (T, T, T) {
    let largest = z
        .clone()
        .fold(T::neg_infinity(), |m, z| if z > m { z } else { m });
    let (mut total, mut weighted) = (T::zero(), T::zero());
    for z in z {
        let e = (z - largest).exp_fast();
        total += e;
        // A class of probability 0 adds nothing, also where its logit is negative infinity.
        if e != T::zero() {
            weighted += e * (z - largest);
        }
    }
    (largest, total, total.ln() - weighted / total)
}

fn entropy_cpu<T: Math>(logits: &Tensor, shape: Vec<usize>, scale: f64) -> Result<Tensor> {
    let (classes, scale) = (logits.dims()[1], T::of(scale));
    // At least 1, for pieces of that size.
    let pixels = shape[1..].iter().product::<usize>().max(1);
    let output: Vec<T> = {
        let z = view::<T>(OP, logits)?;
        let z: &[T] = &z;
        let one = |index: usize| {
            let image = &z[index / pixels * classes * pixels..][..classes * pixels];
            let (_, _, h) = pixel(image.iter().skip(index % pixels).step_by(pixels).copied());
            h * scale
        };
        let count: usize = shape.iter().product();
        (0..count).into_par_iter().map(one).collect()
    };
    let saved = logits.detach();
    attach(OP, [logits], storage(output), shape, move |grad| {
        let (z, g) = (view::<T>(OP, &saved)?, view::<T>(OP, grad)?);
        let mut dz = vec![T::zero(); z.len()];
        dz.par_chunks_mut(classes * pixels)
            .zip(z.par_chunks(classes * pixels).zip(g.par_chunks(pixels)))
            .for_each(|(dz, (z, g))| {
                for (p, &g) in g.iter().enumerate() {
                    let (largest, total, h) = pixel(z.iter().skip(p).step_by(pixels).copied());
                    let log_sum = largest + total.ln();
                    for i in (p..z.len()).step_by(pixels) {
                        let probability = (z[i] - log_sum).exp_fast();
                        if probability != T::zero() {
                            dz[i] = -g * scale * probability * (z[i] - log_sum + h);
                        }
                    }
                }
            });
        Ok([Some(tensor(dz, saved.shape()))])
    })
}
