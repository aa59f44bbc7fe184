//! Attention, softmax and linear layers.

use candle_core::Tensor;
use mic_nn::ops;
use rand::Rng;

use crate::array::Array;
use crate::case::{Case, Tolerance, check};
use crate::inputs::{Input, size};

/// `exp(x) / sum(exp(x))`.
fn probabilities(x: &[f64]) -> Vec<f64> {
    let largest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = x.iter().map(|v| (v - largest).exp()).collect();
    let total: f64 = powers.iter().sum();
    powers.iter().map(|p| p / total).collect()
}

#[test]
fn attention() {
    check("attention", 60, Tolerance::default(), |rng| {
        let (heads, depth) = (size(rng, 5), size(rng, 33));
        let (batch, queries, keys) = (size(rng, 3), size(rng, 33), size(rng, 65));
        let c = heads * depth;
        Case::new(
            format!("{heads} heads"),
            vec![
                Input::new(rng, "q", &[batch, queries, c]),
                Input::new(rng, "kv", &[batch, keys, 2 * c]),
            ],
            move |t| ops::attention(&t[0], &t[1], heads),
            move |a| {
                let (q, kv) = (&a[0], &a[1]);
                let weights = |n: usize, i: usize, head: usize| {
                    let score = |j: usize| {
                        let channels = head * depth..(head + 1) * depth;
                        let products = channels.map(|c| q.at([n, i, c]) * kv.at([n, j, c]));
                        products.sum::<f64>() / (depth as f64).sqrt()
                    };
                    probabilities(&(0..keys).map(score).collect::<Vec<_>>())
                };
                let all: Vec<Vec<f64>> = (0..batch * queries * heads)
                    .map(|i| weights(i / heads / queries, i / heads % queries, i % heads))
                    .collect();
                Array::build([batch, queries, c], |[n, i, channel]| {
                    let weights = &all[(n * queries + i) * heads + channel / depth];
                    let terms = weights.iter().enumerate();
                    terms.map(|(j, p)| p * kv.at([n, j, c + channel])).sum()
                })
            },
        )
    });
}

#[test]
fn softmax() {
    check("softmax", 60, Tolerance::default(), |rng| {
        let rank = rng.random_range(1..5);
        let shape: Vec<usize> = (0..rank)
            .map(|_| size(rng, [257, 65, 17, 9][rank - 1]))
            .collect();
        let dim = rng.random_range(0..rank);
        Case::new(
            format!("dim {dim}"),
            vec![Input::within(rng, "x", &shape, -9.0..9.0)],
            move |t| ops::softmax(&t[0], dim),
            move |a| {
                let (n, inner) = (shape[dim], shape[dim + 1..].iter().product::<usize>());
                let mut out = a[0].clone();
                for first in (0..out.data.len()).filter(|i| i / inner % n == 0) {
                    let places: Vec<usize> = (0..n).map(|k| first + k * inner).collect();
                    let x: Vec<f64> = places.iter().map(|&p| a[0].data[p]).collect();
                    let p = probabilities(&x);
                    places.iter().zip(p).for_each(|(&at, p)| out.data[at] = p);
                }
                out
            },
        )
    });
}

#[test]
fn linear() {
    check("linear", 60, Tolerance::default(), |rng| {
        let (cin, cout) = (size(rng, 65), size(rng, 65));
        let mut shape = match rng.random_range(0..4) {
            0 => vec![],
            1 => vec![size(rng, 257)],
            2 => vec![size(rng, 9), size(rng, 33)],
            // More rows than one task handles.
            _ => vec![rng.random_range(1020..1030)],
        };
        shape.push(cin);
        let x = Input::new(rng, "x", &shape);
        let w = Input::new(rng, "w", &[cout, cin]);
        let bias = rng
            .random_bool(0.5)
            .then(|| Input::new(rng, "bias", &[cout]));
        Case::new(
            "",
            [x, w].into_iter().chain(bias).collect(),
            |t: &[Tensor]| ops::linear(&t[0], &t[1], t.get(2)),
            move |a| {
                let rows = a[0].data.len() / cin;
                let y = Array::build([rows, cout], |[r, o]| {
                    let row = &a[0].data[r * cin..][..cin];
                    let products = row.iter().enumerate().map(|(i, x)| x * a[1].at([o, i]));
                    products.sum::<f64>() + a.get(2).map_or(0.0, |b| b.at([o]))
                });
                let mut dims = a[0].dims.clone();
                *dims.last_mut().unwrap() = cout;
                y.reshaped(&dims)
            },
        )
    });
}
