//! Bilinear and nearest resizing.

use candle_core::Tensor;
use mic_nn::ops;

use super::emulator::emulators;
use super::memory::Struct;
use super::reference::{close, expected, rng, tolerance, values};

/// Input and output sizes.
const CASES: [[usize; 4]; 9] = [
    [1, 1, 3, 5],
    [3, 5, 1, 1],
    [4, 7, 8, 14],
    [9, 6, 5, 4],
    [13, 3, 5, 30],
    [2, 31, 33, 7],
    [16, 16, 64, 64],
    [64, 33, 16, 9],
    [7, 40, 7, 1],
];

fn axis(input: usize, output: usize, align: bool) -> Struct<'static> {
    let (n, m) = (input as f32, output as f32);
    let step = match (align, output) {
        (true, 0..=1) => 0.0,
        (true, _) => (n - 1.0) / (m - 1.0),
        (false, _) => n / m,
    };
    Struct::of_ints(&[input, output])
        .float(step)
        .int(i32::from(align))
}

#[test]
fn bilinear_resizing_agrees() {
    for e in emulators() {
        for (seed, [h, w, oh, ow]) in CASES.into_iter().enumerate() {
            for align in [false, true] {
                let (planes, rng) = (3, &mut rng(seed as u64));
                let x = values(rng, e.storage, planes * h * w);
                let op = |t: &[Tensor]| ops::resize_bilinear(&t[0], (oh, ow), align);
                let want = expected(rng, e.storage, &[(&x, &[1, planes, h, w])], op);
                let (y, dx) = (e.room(planes * oh * ow), e.room(planes * h * w));
                let (x, g) = (e.put(&x), e.put(&want.g));
                let (rows, columns) = (axis(h, oh, align), axis(w, ow, align));
                e.planes(
                    "resize_bilinear_forward",
                    planes,
                    oh * ow,
                    &[&x, &rows, &columns, &y],
                );
                e.planes(
                    "resize_bilinear_backward",
                    planes,
                    h * w,
                    &[&g, &rows, &columns, &dx],
                );
                let what = format!("bilinear {h} x {w} to {oh} x {ow}, {align}");
                // Positions are F32: their rounding, which grows with the size, moves the weights.
                let rounding = 2.0 * f64::from(f32::EPSILON) * h.max(w).max(oh).max(ow) as f64;
                close(
                    &what,
                    e.storage,
                    &e.get(&y),
                    &want.y,
                    tolerance(2e-6 + rounding),
                );
                close(
                    &what,
                    e.storage,
                    &e.get(&dx),
                    &want.gradients[0],
                    tolerance(2e-6 + rounding),
                );
            }
        }
    }
}

#[test]
fn nearest_resizing_agrees() {
    for e in emulators() {
        for (seed, [h, w, oh, ow]) in CASES.into_iter().enumerate() {
            let (planes, rng) = (2, &mut rng(seed as u64));
            let x = values(rng, e.storage, planes * h * w);
            let op = |t: &[Tensor]| ops::resize_nearest(&t[0], (oh, ow));
            let want = expected(rng, e.storage, &[(&x, &[planes, 1, h, w])], op);
            let (y, dx) = (e.room(planes * oh * ow), e.room(planes * h * w));
            let (x, g) = (e.put(&x), e.put(&want.g));
            let [a, b, c, d] = [h, w, oh, ow].map(|v| v as i32);
            e.planes(
                "resize_nearest_forward",
                planes,
                oh * ow,
                &[&x, &a, &b, &c, &d, &y],
            );
            e.planes(
                "resize_nearest_backward",
                planes,
                h * w,
                &[&g, &a, &b, &c, &d, &dx],
            );
            let what = format!("nearest {h} x {w} to {oh} x {ow}");
            close(&what, e.storage, &e.get(&y), &want.y, tolerance(0.0));
            close(
                &what,
                e.storage,
                &e.get(&dx),
                &want.gradients[0],
                tolerance(1e-6),
            );
        }
    }
}
