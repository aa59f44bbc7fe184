//! Resizing.

use mic_nn::ops;
use rand::Rng;

use crate::array::Array;
use crate::case::{Case, Tolerance, check};
use crate::inputs::{Input, size};

/// Positions in single precision are rounded; so are weights.
const TOLERANCE: Tolerance = Tolerance {
    single: 5e-5,
    double: 1e-12,
};

/// The source position of an output one.
fn source(output: usize, from: usize, to: usize, align_corners: bool) -> f64 {
    let (o, n, m) = (output as f64, from as f64, to as f64);
    match (align_corners, to) {
        (true, 1) => 0.0,
        (true, _) => o * (n - 1.0) / (m - 1.0),
        (false, _) => ((o + 0.5) * n / m - 0.5).max(0.0),
    }
}

#[test]
fn resize_bilinear() {
    check("resize_bilinear", 80, TOLERANCE, |rng| {
        let shape = [3, 5, 33, 33].map(|most| size(rng, most));
        let (oh, ow) = (size(rng, 65), size(rng, 65));
        let align_corners = rng.random_bool(0.5);
        Case::new(
            format!("to {oh}x{ow}, align_corners {align_corners}"),
            vec![Input::new(rng, "x", &shape)],
            move |t| ops::resize_bilinear(&t[0], (oh, ow), align_corners),
            move |a| {
                let [b, c, h, w] = shape;
                // Two pixels and the weight of the second.
                let taps = |o: usize, from: usize, to: usize| {
                    let at = source(o, from, to, align_corners);
                    let first = (at as usize).min(from - 1);
                    (
                        first,
                        (first + 1).min(from - 1),
                        (at - first as f64).min(1.0),
                    )
                };
                // A pixel of weight 0 does not count, were it NaN.
                let term =
                    |weight: f64, value: f64| if weight < 1e-5 { 0.0 } else { weight * value };
                Array::build([b, c, oh, ow], |[n, c, y, x]| {
                    let (top, bottom, v) = taps(y, h, oh);
                    let (left, right, u) = taps(x, w, ow);
                    let row = |r: usize| {
                        term(1.0 - u, a[0].at([n, c, r, left])) + term(u, a[0].at([n, c, r, right]))
                    };
                    term(1.0 - v, row(top)) + term(v, row(bottom))
                })
            },
        )
        .nan_spreads()
    });
}

#[test]
fn resize_nearest() {
    check("resize_nearest", 60, TOLERANCE, |rng| {
        let shape = [3, 5, 33, 33].map(|most| size(rng, most));
        let (oh, ow) = (size(rng, 65), size(rng, 65));
        Case::new(
            format!("to {oh}x{ow}"),
            vec![Input::new(rng, "x", &shape)],
            move |t| ops::resize_nearest(&t[0], (oh, ow)),
            move |a| {
                let [b, c, h, w] = shape;
                Array::build([b, c, oh, ow], |[n, c, y, x]| {
                    a[0].at([n, c, y * h / oh, x * w / ow])
                })
            },
        )
    });
}
