//! Wide vector instructions, chosen at run time.
//!
//! The crate is compiled for the plain x86-64 baseline, so loops vectorise to four floats at a
//! time. [`vectorized`] compiles the loops of a closure again for AVX-512 and for AVX2 with FMA and
//! runs the widest version that the processor has.

use rayon::prelude::*;

use super::cpu::{Elem, fresh};
use super::math::map;

/// Runs `f` compiled for the widest vectors of this processor.
///
/// The closure has to be inlined into the wide function for this to have any effect: write
/// `vectorized(#[inline(always)] || ...)`, and mark every function that it calls in a loop
/// `#[inline(always)]`. Call it for a chunk of work, not for a few elements, and inside rayon
/// closures rather than around them (a closure that rayon runs is a function of its own).
///
/// `mul_add` becomes one instruction in the wide versions; without FMA it is a slow library call.
#[inline(always)]
pub(crate) fn vectorized<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("fma")
        {
            // SAFETY: the features have just been detected.
            return unsafe { avx512(f) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the features have just been detected.
            return unsafe { avx2(f) };
        }
    }
    f()
}

#[cfg(target_arch = "x86_64")]
#[inline(never)]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
fn avx512<R>(f: impl FnOnce() -> R) -> R {
    f()
}

#[cfg(target_arch = "x86_64")]
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
fn avx2<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// Elements a task of [`elementwise`] handles.
const CHUNK: usize = 1 << 14;

/// A vector of `f([a[i], b[i], ...])` for the elements of `K` slices of one length, in parallel and
/// with wide vectors where `f` is inlined: `#[inline(always)] |[x]| ...`.
pub(crate) fn elementwise<T: Elem, const K: usize>(
    slices: [&[T]; K],
    f: impl Fn([T; K]) -> T + Sync,
) -> Vec<T> {
    let mut out = fresh::<T>(slices.iter().fold(usize::MAX, |n, s| n.min(s.len())));
    out.par_chunks_mut(CHUNK)
        .enumerate()
        .for_each(|(chunk, out)| {
            let range = chunk * CHUNK..chunk * CHUNK + out.len();
            vectorized(
                #[inline(always)]
                || map(out, slices.map(|s| &s[range.clone()]), &f),
            );
        });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computes_what_the_closure_computes() {
        let x: Vec<f32> = (0..1003).map(|i| i as f32 * 0.5).collect();
        let mut y = vec![1f32; x.len()];
        let last = vectorized(
            #[inline(always)]
            || {
                for (y, &x) in y.iter_mut().zip(&x) {
                    *y += 2.0 * x;
                }
                y[y.len() - 1]
            },
        );
        assert_eq!(last, 1003.0);
        assert!(y.iter().enumerate().all(|(i, &y)| y == 1.0 + i as f32));
    }
}
