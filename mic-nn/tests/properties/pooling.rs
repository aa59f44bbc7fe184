//! Pooling.

use mic_nn::ops::{self, Pool2dOptions};
use rand::Rng;

use crate::array::Array;
use crate::case::{Case, Tolerance, check};
use crate::inputs::{Input, size};

/// The larger one; NaN counts as largest.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

#[test]
fn max_pool2d() {
    check("max_pool2d", 80, Tolerance::default(), |rng| {
        let kernel = (rng.random_range(1..5), rng.random_range(1..5));
        let options = Pool2dOptions {
            kernel,
            stride: (rng.random_range(1..4), rng.random_range(1..4)),
            padding: (
                rng.random_range(0..=kernel.0 / 2),
                rng.random_range(0..=kernel.1 / 2),
            ),
        };
        let (h, w) = loop {
            let (h, w) = (size(rng, 33), size(rng, 65));
            if h + 2 * options.padding.0 >= kernel.0 && w + 2 * options.padding.1 >= kernel.1 {
                break (h, w);
            }
        };
        let shape = [size(rng, 3), size(rng, 5), h, w];
        Case::new(
            format!("{options:?}"),
            vec![Input::new(rng, "x", &shape)],
            move |t| ops::max_pool2d(&t[0], &options),
            move |a| {
                let count = |n: usize, k: usize, s: usize, p: usize| (n + 2 * p - k) / s + 1;
                let oh = count(h, kernel.0, options.stride.0, options.padding.0);
                let ow = count(w, kernel.1, options.stride.1, options.padding.1);
                Array::build([shape[0], shape[1], oh, ow], |[n, c, y, x]| {
                    let mut largest = f64::NEG_INFINITY;
                    for k in 0..kernel.0 * kernel.1 {
                        let (dy, dx) = (k / kernel.1, k % kernel.1);
                        let row = (y * options.stride.0 + dy).wrapping_sub(options.padding.0);
                        let col = (x * options.stride.1 + dx).wrapping_sub(options.padding.1);
                        if row < h && col < w {
                            largest = larger(largest, a[0].at([n, c, row, col]));
                        }
                    }
                    largest
                })
            },
        )
    });
}
