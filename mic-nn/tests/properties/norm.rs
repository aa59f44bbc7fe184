//! Normalisations.

use candle_core::{Result, Tensor};
use mic_nn::ops;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::array::Array;
use crate::case::{Case, Tolerance, check};
use crate::inputs::{Input, size};

/// Small variances magnify the rounding of single precision.
const TOLERANCE: Tolerance = Tolerance {
    single: 5e-5,
    double: 1e-11,
};

/// Mean and biased variance.
fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares = values.iter().map(|v| (v - mean) * (v - mean));
    (mean, squares.sum::<f64>() / n)
}

fn parameters(rng: &mut ChaCha8Rng, channels: usize) -> [Input; 2] {
    [
        Input::within(rng, "gamma", &[channels], 0.5..1.5),
        Input::new(rng, "beta", &[channels]),
    ]
}

#[test]
fn layer_norm() {
    check("layer_norm", 60, TOLERANCE, |rng| {
        let rank = rng.random_range(1..4);
        let mut shape: Vec<usize> = (1..rank).map(|_| size(rng, 17)).collect();
        shape.push(size(rng, 257));
        let [gamma, beta] = parameters(rng, shape[rank - 1]);
        Case::new(
            "",
            vec![Input::distinct(rng, "x", &shape), gamma, beta],
            |t| ops::layer_norm(&t[0], &t[1], &t[2], 1e-3),
            |a| {
                let c = a[1].data.len();
                let rows = a[0].data.chunks(c).flat_map(|row| {
                    let (mean, var) = moments(row);
                    let one = move |(v, (g, b)): (&f64, (&f64, &f64))| {
                        (v - mean) / (var + 1e-3).sqrt() * g + b
                    };
                    row.iter().zip(a[1].data.iter().zip(&a[2].data)).map(one)
                });
                Array {
                    dims: a[0].dims.clone(),
                    data: rows.collect(),
                }
            },
        )
    });
}

/// `gamma (x - mean) / sqrt(var + eps) + beta` for the moments of a channel of an image.
fn normalised(a: &[Array], eps: f64, moments: impl Fn(usize, usize) -> (f64, f64)) -> Array {
    let [batch, channels, h, w] = a[0].sizes();
    let of = |n, c| moments(n, c);
    let all: Vec<Vec<(f64, f64)>> = (0..batch)
        .map(|n| (0..channels).map(|c| of(n, c)).collect())
        .collect();
    Array::build([batch, channels, h, w], |[n, c, y, x]| {
        let (mean, var) = all[n][c];
        (a[0].at([n, c, y, x]) - mean) / (var + eps).sqrt() * a[1].at([c]) + a[2].at([c])
    })
}

/// A channel's values over batch and pixels.
fn channel(x: &Array, c: usize) -> Vec<f64> {
    let [batch, _, h, w] = x.sizes();
    let places = (0..batch * h * w).map(|i| [i / (h * w), c, i / w % h, i % w]);
    places.map(|place| x.at(place)).collect()
}

/// A shape (B, C, H, W) with at least two values a channel.
fn image(rng: &mut ChaCha8Rng) -> [usize; 4] {
    loop {
        let shape = [4, 9, 17, 33].map(|most| size(rng, most));
        if shape[0] * shape[2] * shape[3] > 1 {
            return shape;
        }
    }
}

#[test]
fn batch_norm() {
    check("batch_norm", 50, TOLERANCE, |rng| {
        let shape = image(rng);
        let [gamma, beta] = parameters(rng, shape[1]);
        Case::new(
            "",
            vec![Input::distinct(rng, "x", &shape), gamma, beta],
            |t| Ok(ops::batch_norm(&t[0], &t[1], &t[2], 1e-3)?.0),
            |a| normalised(a, 1e-3, |_, c| moments(&channel(&a[0], c))),
        )
    });
}

#[test]
fn statistics_of_batch_norm() {
    check("batch_norm's statistics", 30, TOLERANCE, |rng| {
        let shape = image(rng);
        let [gamma, beta] = parameters(rng, shape[1]).map(Input::constant);
        Case::new(
            "mean and var",
            vec![Input::distinct(rng, "x", &shape).constant(), gamma, beta],
            |t| {
                let (_, mean, var) = ops::batch_norm(&t[0], &t[1], &t[2], 1e-3)?;
                Tensor::stack(&[mean, var], 1)
            },
            |a| {
                let [_, channels, _, _] = a[0].sizes();
                Array::build([channels, 2], |[c, which]| {
                    let (mean, var) = moments(&channel(&a[0], c));
                    [mean, var][which]
                })
            },
        )
    });
}

#[test]
fn batch_norm_eval() {
    check("batch_norm_eval", 50, TOLERANCE, |rng| {
        let shape = [4, 9, 17, 33].map(|most| size(rng, most));
        let [gamma, beta] = parameters(rng, shape[1]);
        let mean = Input::new(rng, "running_mean", &shape[1..2]).constant();
        let var = Input::within(rng, "running_var", &shape[1..2], 0.1..2.0).constant();
        let op = |t: &[Tensor]| -> Result<Tensor> {
            ops::batch_norm_eval(&t[0], &t[1], &t[2], &t[3], &t[4], 1e-3)
        };
        Case::new(
            "",
            vec![Input::new(rng, "x", &shape), gamma, beta, mean, var],
            op,
            |a| normalised(a, 1e-3, |_, c| (a[3].at([c]), a[4].at([c]))),
        )
    });
}

/// `max(x + residual, 0)`; NaN stays NaN.
fn rectified(x: &Array, residual: Option<&Array>) -> Array {
    let relu = |v: f64| if v < 0.0 { 0.0 } else { v };
    match residual {
        Some(residual) => x.zip(residual, |x, r| relu(x + r)),
        None => x.map(relu),
    }
}

#[test]
fn batch_norm_with_rectifier() {
    check(
        "batch_norm_relu, batch_norm_add_relu",
        50,
        TOLERANCE,
        |rng| {
            let shape = image(rng);
            let [gamma, beta] = parameters(rng, shape[1]);
            let x = Input::distinct(rng, "x", &shape);
            let residual = rng
                .random_bool(0.5)
                .then(|| Input::new(rng, "residual", &shape));
            Case::new(
                "",
                [x, gamma, beta].into_iter().chain(residual).collect(),
                |t: &[Tensor]| match t.get(3) {
                    Some(r) => Ok(ops::batch_norm_add_relu(&t[0], r, &t[1], &t[2], 1e-3)?.0),
                    None => Ok(ops::batch_norm_relu(&t[0], &t[1], &t[2], 1e-3)?.0),
                },
                |a| {
                    let y = normalised(a, 1e-3, |_, c| moments(&channel(&a[0], c)));
                    rectified(&y, a.get(3))
                },
            )
        },
    );
}

#[test]
fn batch_norm_eval_with_rectifier() {
    check(
        "batch_norm_relu_eval, batch_norm_add_relu_eval",
        50,
        TOLERANCE,
        |rng| {
            let shape = [4, 9, 17, 33].map(|most| size(rng, most));
            let [gamma, beta] = parameters(rng, shape[1]);
            let mean = Input::new(rng, "running_mean", &shape[1..2]).constant();
            let var = Input::within(rng, "running_var", &shape[1..2], 0.1..2.0).constant();
            let x = Input::new(rng, "x", &shape);
            let residual = rng
                .random_bool(0.5)
                .then(|| Input::new(rng, "residual", &shape));
            Case::new(
                "",
                [x, gamma, beta, mean, var]
                    .into_iter()
                    .chain(residual)
                    .collect(),
                |t: &[Tensor]| match t.get(5) {
                    Some(r) => {
                        ops::batch_norm_add_relu_eval(&t[0], r, &t[1], &t[2], &t[3], &t[4], 1e-3)
                    }
                    None => ops::batch_norm_relu_eval(&t[0], &t[1], &t[2], &t[3], &t[4], 1e-3),
                },
                |a| {
                    let y = normalised(a, 1e-3, |_, c| (a[3].at([c]), a[4].at([c])));
                    rectified(&y, a.get(5))
                },
            )
        },
    );
}

#[test]
fn group_norm() {
    check("group_norm", 50, TOLERANCE, |rng| {
        let (groups, members) = (size(rng, 4), size(rng, 5));
        let [batch, _, h, w] = image(rng);
        let [gamma, beta] = parameters(rng, groups * members);
        let x = Input::distinct(rng, "x", &[batch, groups * members, h, w]);
        Case::new(
            format!("{groups} groups"),
            vec![x, gamma, beta],
            move |t| ops::group_norm(&t[0], groups, &t[1], &t[2], 1e-3),
            move |a| {
                let len = members * h * w;
                let group = |n: usize, c: usize| {
                    let start = (n * groups + c / members) * len;
                    moments(&a[0].data[start..start + len])
                };
                normalised(a, 1e-3, group)
            },
        )
    });
}
