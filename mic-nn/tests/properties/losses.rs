//! Losses.

use candle_core::{Device, Tensor};
use mic_nn::ops::{self, CrossEntropyOptions, Reduction};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::array::Array;
use crate::case::{Case, Tolerance, check};
use crate::inputs::{Input, size};

fn log_sum(x: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = x.clone().fold(f64::NEG_INFINITY, f64::max);
    largest + x.map(|v| (v - largest).exp()).sum::<f64>().ln()
}

/// Logits' shape (B, C) or (B, C, H, W), and the number of pixels of an image.
fn logits(rng: &mut ChaCha8Rng) -> (Vec<usize>, usize) {
    if rng.random_bool(0.3) {
        return (vec![size(rng, 33), size(rng, 33)], 1);
    }
    let (h, w) = (size(rng, 33), size(rng, 33));
    (vec![size(rng, 3), size(rng, 23), h, w], h * w)
}

#[test]
fn cross_entropy() {
    check("cross_entropy", 60, Tolerance::default(), |rng| {
        let (shape, pixels) = logits(rng);
        let classes = shape[1];
        let count = shape[0] * pixels;
        let ignore = rng.random_bool(0.5).then_some(255u32);
        let label: Vec<u32> = (0..count)
            .map(|_| match ignore {
                Some(ignored) if rng.random_bool(0.2) => ignored,
                _ => rng.random_range(0..classes as u32),
            })
            .collect();
        let class_weight = rng.random_bool(0.5).then(|| {
            (0..classes)
                .map(|_| rng.random_range(0.0..2.0))
                .collect::<Vec<f64>>()
        });
        let mut inputs = vec![Input::within(rng, "logits", &shape, -9.0..9.0)];
        let mut label_shape = shape.clone();
        label_shape.remove(1);
        if rng.random_bool(0.5) {
            inputs.push(Input::within(rng, "weight", &label_shape, 0.0..2.0).constant());
        }
        let (labels, weights) = (label.clone(), class_weight.clone());
        Case::new(
            format!("ignore {ignore:?}, class weights {class_weight:?}"),
            inputs,
            move |t| {
                let options = CrossEntropyOptions {
                    ignore,
                    weight: t.get(1).cloned(),
                    class_weight: weights.clone(),
                };
                let label = Tensor::from_vec(labels.clone(), label_shape.as_slice(), &Device::Cpu)?;
                ops::cross_entropy(&t[0], &label, &options)
            },
            move |a| {
                let loss = |i: usize| {
                    if Some(label[i]) == ignore {
                        return 0.0;
                    }
                    let class = label[i] as usize;
                    let logit =
                        |c: usize| a[0].data[(i / pixels * classes + c) * pixels + i % pixels];
                    let own = class_weight.as_ref().map_or(1.0, |w| w[class]);
                    let weight = a.get(1).map_or(1.0, |w| w.data[i]);
                    own * weight * (log_sum((0..classes).map(logit)) - logit(class))
                };
                let total: f64 = (0..count).map(loss).sum();
                Array::build([], |[]| total / count as f64)
            },
        )
    });
}

#[test]
fn entropy() {
    check("entropy", 40, Tolerance::default(), |rng| {
        let (mut shape, pixels) = logits(rng);
        let normalised = rng.random_bool(0.5);
        shape[1] = shape[1].max(2);
        let classes = shape[1];
        Case::new(
            format!("normalised {normalised}"),
            vec![Input::within(rng, "logits", &shape, -9.0..9.0)],
            move |t| ops::entropy(&t[0], normalised),
            move |a| {
                let one = |i: usize| {
                    let logit =
                        |c: usize| a[0].data[(i / pixels * classes + c) * pixels + i % pixels];
                    let total = log_sum((0..classes).map(logit));
                    let terms = (0..classes).map(|c| (logit(c) - total).exp() * (total - logit(c)));
                    terms.sum::<f64>()
                        / if normalised {
                            (classes as f64).ln()
                        } else {
                            1.0
                        }
                };
                let mut dims = a[0].dims.clone();
                dims.remove(1);
                Array {
                    data: (0..dims.iter().product()).map(one).collect(),
                    dims,
                }
            },
        )
    });
}

fn reduced(values: &Array, reduction: Reduction) -> Array {
    let total: f64 = values.data.iter().sum();
    let scalar = |value: f64| Array::build([], |[]| value);
    match reduction {
        Reduction::None => values.clone(),
        Reduction::Sum => scalar(total),
        Reduction::Mean => scalar(total / values.data.len() as f64),
        Reduction::BatchMean => scalar(total / values.dims[0] as f64),
    }
}

/// Checks a loss of pairs of elements whose targets lie in `targets`.
fn pairs(
    name: &str,
    inputs: std::ops::Range<f64>,
    targets: std::ops::Range<f64>,
    op: impl Fn(&Tensor, &Tensor, Reduction) -> candle_core::Result<Tensor> + Copy,
    formula: impl Fn(f64, f64) -> f64 + Copy,
) {
    check(name, 40, Tolerance::default(), |rng| {
        let rank = rng.random_range(1..4);
        let mut shape: Vec<usize> = (0..rank)
            .map(|_| size(rng, [257, 65, 17][rank - 1]))
            .collect();
        if rng.random_bool(0.05) {
            shape = vec![8191 + rng.random_range(0..3)];
        }
        let all = [
            Reduction::None,
            Reduction::Sum,
            Reduction::Mean,
            Reduction::BatchMean,
        ];
        let reduction = all[rng.random_range(0..4)];
        Case::new(
            format!("{reduction:?}"),
            vec![
                Input::within(rng, "input", &shape, inputs.clone()),
                Input::within(rng, "target", &shape, targets.clone()),
            ],
            move |t| op(&t[0], &t[1], reduction),
            move |a| reduced(&a[0].zip(&a[1], formula), reduction),
        )
    });
}

#[test]
fn binary_cross_entropy_with_logits() {
    pairs(
        "binary_cross_entropy_with_logits",
        -9.0..9.0,
        0.0..1.0,
        ops::binary_cross_entropy_with_logits,
        |x, t| {
            let p = 1.0 / (1.0 + (-x).exp());
            -t * p.ln() - (1.0 - t) * (1.0 - p).ln()
        },
    );
}

#[test]
fn kl_divergence() {
    pairs(
        "kl_divergence",
        -9.0..0.0,
        0.01..1.0,
        ops::kl_divergence,
        |x, t| t * (t.ln() - x),
    );
}

#[test]
fn smooth_l1() {
    let beta = 0.7;
    pairs(
        "smooth_l1",
        -2.0..2.0,
        -2.0..2.0,
        |x, t, reduction| ops::smooth_l1(x, t, beta, reduction),
        |x, t| {
            let d = (x - t).abs();
            if d < beta {
                d * d / (2.0 * beta)
            } else {
                d - beta / 2.0
            }
        },
    );
}
