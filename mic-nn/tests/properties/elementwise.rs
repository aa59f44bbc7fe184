//! Activations, sums and dropout.

use mic_nn::ops;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::array::Array;
use crate::case::{Case, Tolerance, check};
use crate::inputs::{Input, size};

/// A shape of 1 to 4 dimensions, sometimes longer than what a task handles.
fn dims(rng: &mut ChaCha8Rng) -> Vec<usize> {
    if rng.random_bool(0.1) {
        return vec![16_383 + rng.random_range(0..3)];
    }
    let rank = rng.random_range(1..5);
    (0..rank)
        .map(|_| size(rng, [257, 33, 17, 9][rank - 1]))
        .collect()
}

fn erf(x: f64) -> f64 {
    libm::erf(x)
}

#[test]
fn relu() {
    check("relu", 40, Tolerance::default(), |rng| {
        let shape = dims(rng);
        Case::new(
            "",
            vec![Input::new(rng, "x", &shape)],
            |t| ops::relu(&t[0]),
            |a| a[0].map(|v| if v < 0.0 { 0.0 } else { v }),
        )
    });
}

#[test]
fn gelu() {
    check("gelu", 40, Tolerance::default(), |rng| {
        let shape = dims(rng);
        Case::new(
            "",
            vec![Input::within(rng, "x", &shape, -6.0..6.0)],
            |t| ops::gelu(&t[0]),
            |a| a[0].map(|v| 0.5 * v * (1.0 + erf(v / 2f64.sqrt()))),
        )
    });
}

#[test]
fn sigmoid() {
    check("sigmoid", 40, Tolerance::default(), |rng| {
        let shape = dims(rng);
        Case::new(
            "",
            vec![Input::within(rng, "x", &shape, -20.0..20.0)],
            |t| ops::sigmoid(&t[0]),
            |a| a[0].map(|v| 1.0 / (1.0 + (-v).exp())),
        )
    });
}

#[test]
fn gradient_reversal() {
    // Taking (1 + c) x away, as a constant, makes value and gradient those of -c x.
    check("gradient_reversal", 20, Tolerance::default(), |rng| {
        let (shape, c) = (dims(rng), rng.random_range(0.1..2.0));
        Case::new(
            format!("coefficient {c}"),
            vec![Input::new(rng, "x", &shape)],
            move |t| ops::gradient_reversal(&t[0], c)? - (t[0].detach() * (1.0 + c))?,
            move |a| a[0].map(|v| -c * v),
        )
    });
}

#[test]
fn cast() {
    use candle_core::DType;
    // Widening and coming back changes nothing in either precision.
    check("cast", 20, Tolerance::default(), |rng| {
        let shape = dims(rng);
        Case::new(
            "to F64 and back",
            vec![Input::new(rng, "x", &shape)],
            |t| ops::cast(&ops::cast(&t[0], DType::F64)?, t[0].dtype()),
            |a| a[0].clone(),
        )
    });
}

#[test]
fn add() {
    check("add", 40, Tolerance::default(), |rng| {
        let shape = dims(rng);
        Case::new(
            "",
            vec![Input::new(rng, "a", &shape), Input::new(rng, "b", &shape)],
            |t| ops::add(&t[0], &t[1]),
            |a| a[0].zip(&a[1], |a, b| a + b),
        )
    });
}

/// `x * factor`, one factor for each of `factors.len()` equal pieces; a dropped piece is 0.
fn scaled(x: &Array, factors: &[f64]) -> Array {
    let piece = x.data.len() / factors.len();
    let value = |(i, &v): (usize, &f64)| {
        let factor = factors[i / piece];
        if factor == 0.0 { 0.0 } else { v * factor }
    };
    Array {
        dims: x.dims.clone(),
        data: x.data.iter().enumerate().map(value).collect(),
    }
}

fn choices(rng: &mut ChaCha8Rng, count: usize, rate: f64) -> (Vec<bool>, Vec<f64>) {
    let keep: Vec<bool> = (0..count).map(|_| rng.random_bool(0.6)).collect();
    let factor = |&k: &bool| if k { 1.0 / (1.0 - rate) } else { 0.0 };
    let factors = keep.iter().map(factor).collect();
    (keep, factors)
}

#[test]
fn drop_path() {
    check("drop_path", 30, Tolerance::default(), |rng| {
        let (shape, rate) = (dims(rng), rng.random_range(0.0..0.9));
        let (keep, factors) = choices(rng, shape[0], rate);
        Case::new(
            format!("rate {rate} keep {keep:?}"),
            vec![Input::new(rng, "x", &shape)],
            move |t| ops::drop_path(&t[0], &keep, rate),
            move |a| scaled(&a[0], &factors),
        )
    });
}

#[test]
fn add_drop_path() {
    check("add_drop_path", 30, Tolerance::default(), |rng| {
        let (shape, rate) = (dims(rng), rng.random_range(0.0..0.9));
        let (keep, factors) = choices(rng, shape[0], rate);
        Case::new(
            format!("rate {rate} keep {keep:?}"),
            vec![
                Input::new(rng, "residual", &shape),
                Input::new(rng, "branch", &shape),
            ],
            move |t| ops::add_drop_path(&t[0], &t[1], &keep, rate),
            move |a| a[0].zip(&scaled(&a[1], &factors), |a, b| a + b),
        )
    });
}

#[test]
fn dropout2d() {
    check("dropout2d", 30, Tolerance::default(), |rng| {
        let (shape, rate) = ([3, 9, 9, 17].map(|most| size(rng, most)), 0.3);
        let (keep, factors) = choices(rng, shape[0] * shape[1], rate);
        Case::new(
            format!("rate {rate} keep {keep:?}"),
            vec![Input::new(rng, "x", &shape)],
            move |t| ops::dropout2d(&t[0], &keep, rate),
            move |a| scaled(&a[0], &factors),
        )
    });
}

#[test]
fn dropout() {
    check("dropout", 30, Tolerance::default(), |rng| {
        let (shape, rate) = (dims(rng), 0.3);
        let (keep, factors) = choices(rng, shape.iter().product(), rate);
        Case::new(
            format!("rate {rate}"),
            vec![Input::new(rng, "x", &shape)],
            move |t| ops::dropout(&t[0], &keep, rate),
            move |a| scaled(&a[0], &factors),
        )
    });
}
