//! Maximum and average pooling.

use candle_core::Tensor;
use mic_nn::ops::{self, Pool2dOptions};
use rand::Rng;

use super::emulator::emulators;
use super::memory::{Buffer, Struct};
use super::reference::{close, expected, rng, tolerance, values};

struct Case {
    planes: usize,
    size: [usize; 2],
    output: [usize; 2],
    options: Pool2dOptions,
}

fn case(rng: &mut impl Rng) -> Case {
    let kernel = (rng.random_range(1..5), rng.random_range(1..5));
    let options = Pool2dOptions {
        kernel,
        stride: (rng.random_range(1..6), rng.random_range(1..6)),
        padding: (
            rng.random_range(0..=kernel.0 / 2),
            rng.random_range(0..=kernel.1 / 2),
        ),
    };
    let size = [
        kernel.0 + rng.random_range(0..20),
        kernel.1 + rng.random_range(0..20),
    ];
    let output = |size: usize, kernel: usize, stride: usize, pad: usize| {
        (size + 2 * pad - kernel) / stride + 1
    };
    let (stride, pad) = (options.stride, options.padding);
    let output = [
        output(size[0], kernel.0, stride.0, pad.0),
        output(size[1], kernel.1, stride.1, pad.1),
    ];
    Case {
        planes: rng.random_range(1..4),
        size,
        output,
        options,
    }
}

#[test]
fn max_pooling_agrees() {
    for e in emulators() {
        for seed in 0..12 {
            let rng = &mut rng(seed);
            let Case {
                planes,
                size: [h, w],
                output: [oh, ow],
                options: o,
            } = case(rng);
            // Few different values: equal ones are common.
            let x: Vec<f32> = values(rng, e.storage, planes * h * w)
                .iter()
                .map(|v| v.round())
                .collect();
            let op = |t: &[Tensor]| ops::max_pool2d(&t[0], &o);
            let want = expected(rng, e.storage, &[(&x, &[1, planes, h, w])], op);
            let pool = Struct::of_ints(&[
                h,
                w,
                oh,
                ow,
                o.kernel.0,
                o.kernel.1,
                o.stride.0,
                o.stride.1,
                o.padding.0,
                o.padding.1,
            ]);
            let (x, g) = (e.put(&x), e.put(&want.g));
            let (y, chosen) = (
                e.room(planes * oh * ow),
                Buffer::unset(4 * planes * oh * ow),
            );
            let dx = e.room(planes * h * w);
            e.planes(
                "max_pool_forward",
                planes,
                oh * ow,
                &[&x, &pool, &y, &chosen],
            );
            e.planes(
                "max_pool_backward",
                planes,
                h * w,
                &[&g, &chosen, &pool, &dx],
            );
            close("max_pool", e.storage, &e.get(&y), &want.y, tolerance(0.0));
            close(
                "max_pool dx",
                e.storage,
                &e.get(&dx),
                &want.gradients[0],
                tolerance(1e-6),
            );
        }
    }
}

#[test]
fn a_maximum_of_nan_is_nan() {
    for e in emulators().iter().take(1) {
        let x = e.put(&[1.0, f32::NAN, 3.0, f32::NEG_INFINITY]);
        let (y, chosen) = (e.room(3), Buffer::unset(12));
        let pool = Struct::of_ints(&[1, 4, 1, 3, 1, 2, 1, 1, 0, 0]);
        e.planes("max_pool_forward", 1, 3, &[&x, &pool, &y, &chosen]);
        let y = e.get(&y);
        assert!(y[0].is_nan() && y[1].is_nan() && y[2] == 3.0, "{y:?}");
    }
}

#[test]
fn average_pooling_agrees() {
    for e in emulators() {
        for seed in 0..12 {
            let rng = &mut rng(seed);
            let Case {
                planes,
                size: [h, w],
                output: [oh, ow],
                options: o,
            } = case(rng);
            let include = seed % 2 == 0;
            let op = |t: &[Tensor]| ops::avg_pool2d(&t[0], &o, include);
            let windows = |size, outputs, kernel, stride, pad| {
                Struct::of_ints(&[size, outputs, kernel, stride, pad, usize::from(include)])
            };
            let rows = windows(h, oh, o.kernel.0, o.stride.0, o.padding.0);
            let columns = windows(w, ow, o.kernel.1, o.stride.1, o.padding.1);
            average(e, seed, [planes, h, w, oh, ow], op, rows, columns);
        }
    }
}

#[test]
fn adaptive_pooling_agrees() {
    for e in emulators() {
        for (seed, [h, w, oh, ow]) in [
            [1, 1, 1, 1],
            [7, 5, 3, 2],
            [6, 16, 6, 5],
            [3, 4, 7, 9],
            [33, 20, 2, 1],
        ]
        .into_iter()
        .enumerate()
        {
            let op = |t: &[Tensor]| ops::adaptive_avg_pool2d(&t[0], (oh, ow));
            let rows = Struct::of_ints(&[h, oh, 0, 0, 0, 0]);
            let columns = Struct::of_ints(&[w, ow, 0, 0, 0, 0]);
            average(e, seed as u64, [2, h, w, oh, ow], op, rows, columns);
        }
    }
}

fn average(
    e: &super::emulator::Emulator,
    seed: u64,
    [planes, h, w, oh, ow]: [usize; 5],
    op: impl Fn(&[Tensor]) -> candle_core::Result<Tensor>,
    rows: Struct<'_>,
    columns: Struct<'_>,
) {
    let rng = &mut rng(seed);
    let x = values(rng, e.storage, planes * h * w);
    let want = expected(rng, e.storage, &[(&x, &[1, planes, h, w])], op);
    let (x, g) = (e.put(&x), e.put(&want.g));
    let (y, dx) = (e.room(planes * oh * ow), e.room(planes * h * w));
    e.planes(
        "avg_pool_forward",
        planes,
        oh * ow,
        &[&x, &rows, &columns, &y],
    );
    e.planes(
        "avg_pool_backward",
        planes,
        h * w,
        &[&g, &rows, &columns, &dx],
    );
    close("avg_pool", e.storage, &e.get(&y), &want.y, tolerance(1e-6));
    close(
        "avg_pool dx",
        e.storage,
        &e.get(&dx),
        &want.gradients[0],
        tolerance(1e-6),
    );
}

#[test]
fn global_pooling_agrees() {
    for e in emulators() {
        for (planes, h, w) in [(1, 1, 1), (5, 7, 9), (3, 40, 33)] {
            let rng = &mut rng(7);
            let x = values(rng, e.storage, planes * h * w);
            let op = |t: &[Tensor]| ops::global_avg_pool2d(&t[0]);
            let want = expected(rng, e.storage, &[(&x, &[1, planes, h, w])], op);
            let (x, g) = (e.put(&x), e.put(&want.g));
            let (y, dx, pixels) = (e.room(planes), e.room(planes * h * w), (h * w) as i32);
            e.launch(
                "global_avg_pool_forward",
                [planes, 1, 1],
                [256, 1],
                &[&x, &pixels, &y],
            );
            e.planes(
                "global_avg_pool_backward",
                planes,
                h * w,
                &[&g, &pixels, &dx],
            );
            close(
                "global_avg_pool",
                e.storage,
                &e.get(&y),
                &want.y,
                tolerance(2e-6),
            );
            close(
                "global_avg_pool dx",
                e.storage,
                &e.get(&dx),
                &want.gradients[0],
                tolerance(1e-6),
            );
        }
    }
}
