//! GELU, the rectifier, softmax, and sums of rows.

use candle_core::{Result, Tensor};
use mic_nn::ops;

use super::emulator::{Emulator, emulators};
use super::memory::Buffer;
use super::reference::{close, close_single, expected, floats, rng, tolerance, values};

const SIZES: [usize; 5] = [1, 31, 256, 257, 1003];

fn check(
    emulator: &Emulator,
    name: &str,
    count: usize,
    op: impl Fn(&Tensor) -> Result<Tensor>,
    from_result: bool,
) {
    let rng = &mut rng(count as u64);
    let x = values(rng, emulator.storage, count);
    let want = expected(rng, emulator.storage, &[(&x, &[count])], |t| op(&t[0]));
    let (x, g) = (emulator.put(&x), emulator.put(&want.g));
    let (y, dx) = (emulator.room(count), emulator.room(count));
    let n = count as i64;
    emulator.over(&format!("{name}_forward"), count, &[&x, &y, &n]);
    let saved = if from_result { &y } else { &x };
    emulator.over(&format!("{name}_backward"), count, &[saved, &g, &dx, &n]);
    close(
        name,
        emulator.storage,
        &emulator.get(&y),
        &want.y,
        tolerance(5e-7),
    );
    let dx = emulator.get(&dx);
    close(
        name,
        emulator.storage,
        &dx,
        &want.gradients[0],
        tolerance(5e-7),
    );
}

#[test]
fn gelu_agrees() {
    for emulator in emulators() {
        for n in SIZES {
            check(emulator, "gelu", n, ops::gelu, false);
        }
    }
}

#[test]
fn relu_agrees() {
    for emulator in emulators() {
        for n in SIZES {
            check(emulator, "relu", n, ops::relu, true);
        }
    }
}

#[test]
fn gelu_far_from_zero_and_not_finite() {
    for emulator in emulators().iter().take(1) {
        let x = [-40.0, -13.0, -5.0, 5.0, 40.0, f32::NAN, f32::INFINITY];
        let (input, y) = (emulator.put(&x), emulator.room(x.len()));
        emulator.over("gelu_forward", x.len(), &[&input, &y, &(x.len() as i64)]);
        let y = emulator.get(&y);
        assert!(y[0].abs() < 1e-30 && y[1].abs() < 1e-30 && y[4] == 40.0);
        // -5 P(X <= -5), whose share of the largest value would hide its error.
        assert!((f64::from(y[2]) / (-5.0 * 2.866_515_718_791_94e-7) - 1.0).abs() < 2e-6);
        assert!(y[5].is_nan() && y[6] == f32::INFINITY);
    }
}

#[test]
fn softmax_agrees() {
    for emulator in emulators() {
        for (case, (outer, n, inner)) in [(1, 1, 1), (3, 7, 1), (2, 19, 37), (1, 300, 5)]
            .into_iter()
            .enumerate()
        {
            let rng = &mut rng(case as u64);
            let count = outer * n * inner;
            let x = values(rng, emulator.storage, count);
            let shape = [outer, n, inner];
            let op = |t: &[Tensor]| ops::softmax(&t[0], 1);
            let want = expected(rng, emulator.storage, &[(&x, &shape)], op);
            let (x, g) = (emulator.put(&x), emulator.put(&want.g));
            let (y, dx) = (emulator.room(count), emulator.room(count));
            let rows = outer * inner;
            let sizes = (rows as i64, n as i32, inner as i64);
            let (a, b, c) = (&sizes.0, &sizes.1, &sizes.2);
            emulator.over("softmax_forward", rows, &[&x, a, b, c, &y]);
            emulator.over("softmax_backward", rows, &[&y, &g, a, b, c, &dx]);
            let (y, dx) = (emulator.get(&y), emulator.get(&dx));
            close("softmax", emulator.storage, &y, &want.y, tolerance(1e-6));
            let within = tolerance(2e-6).after_rounding();
            // One class: the gradient is 0, and its rounding errors have nothing to compare with.
            if n > 1 {
                close(
                    "softmax gradient",
                    emulator.storage,
                    &dx,
                    &want.gradients[0],
                    within,
                );
            }
        }
    }
}

#[test]
fn rows_are_added_up() {
    for emulator in emulators().iter().take(1) {
        for (rows, columns) in [(1, 1), (5, 300), (33, 7)] {
            let partials = floats(&mut rng(3), rows * columns);
            let column = |c: usize| {
                partials
                    .iter()
                    .skip(c)
                    .step_by(columns)
                    .map(|&v| f64::from(v))
            };
            let want: Vec<f64> = (0..columns).map(|c| column(c).sum()).collect();
            let (input, out) = (Buffer::floats(&partials), Buffer::room(columns));
            let sizes = (rows as i32, columns as i64);
            emulator.over("sum_rows", columns, &[&input, &out, &sizes.0, &sizes.1]);
            close_single("sum_rows", &out.read_floats(), &want, tolerance(1e-6));
        }
    }
}
