//! Depthwise convolution.

use candle_core::Tensor;
use mic_nn::ops::{self, Conv2dOptions};
use rand::Rng;

use super::emulator::{Emulator, emulators};
use super::memory::{Buffer, Struct};
use super::reference::{close, close_single, expected, floats, rng, tolerance, values};

#[test]
fn depthwise_convolution_agrees() {
    for emulator in emulators() {
        for seed in 0..14 {
            depthwise(emulator, seed);
        }
    }
}

fn depthwise(e: &Emulator, seed: u64) {
    let rng = &mut rng(seed);
    let mut pick = |values: &[usize]| values[rng.random_range(0..values.len())];
    let (batch, c) = (pick(&[1, 2, 3]), pick(&[1, 5, 32, 37]));
    let (kh, kw) = (pick(&[1, 3, 5, 7]), pick(&[1, 2, 3]));
    let (stride, dilation) = (
        (pick(&[1, 2, 3]), pick(&[1, 2])),
        (pick(&[1, 2, 3]), pick(&[1, 2])),
    );
    let padding = (pick(&[0, 1, 3]), pick(&[0, 1, 2]));
    let (span_y, span_x) = ((kh - 1) * dilation.0 + 1, (kw - 1) * dilation.1 + 1);
    let h = span_y + pick(&[0, 1, 4]);
    let w = span_x + pick(&[0, 2, 5]);
    let output =
        |size: usize, span: usize, pad: usize, step: usize| (size + 2 * pad - span) / step + 1;
    let (oh, ow) = (
        output(h, span_y, padding.0, stride.0),
        output(w, span_x, padding.1, stride.1),
    );
    let options = Conv2dOptions {
        stride,
        padding,
        dilation,
        groups: c,
    };
    let x = values(rng, e.storage, batch * h * w * c);
    let (weight, bias) = (floats(rng, c * kh * kw), floats(rng, c));
    let inputs = [
        (&x[..], &[batch, h, w, c][..]),
        (&weight, &[c, 1, kh, kw]),
        (&bias, &[c]),
    ];
    let op = |t: &[Tensor]| ops::depthwise_conv2d_nhwc(&t[0], &t[1], Some(&t[2]), &options);
    let want = expected(rng, e.storage, &inputs, op);
    let (inputs, results) = (batch * h * w * c, batch * oh * ow * c);
    assert_eq!(want.y.len(), results);

    let window = || {
        let ints = [
            h, w, c, oh, ow, kh, kw, stride.0, stride.1, padding.0, padding.1,
        ];
        Struct::of_ints(&[&ints[..], &[dilation.0, dilation.1]].concat())
    };
    let (x, g) = (e.put(&x), e.put(&want.g));
    let (weight, bias) = (Buffer::floats(&weight), Buffer::floats(&bias));
    let (y, dx) = (e.room(results), e.room(inputs));
    e.over(
        "depthwise_forward",
        results,
        &[&x, &weight, &bias, &(results as i64), &window(), &y],
    );
    e.over(
        "depthwise_backward_input",
        inputs,
        &[&g, &weight, &(inputs as i64), &window(), &dx],
    );
    let (taps, per_set, positions) = (kh * kw, 30, results / c);
    let sets = positions.div_ceil(per_set);
    let (partials, sums) = (
        Buffer::room(sets * (taps + 1) * c),
        Buffer::room((taps + 1) * c),
    );
    let grid = [c.div_ceil(32), sets, taps + 1];
    let (count, set) = (positions as i64, per_set as i64);
    let name = "depthwise_backward_parameters";
    e.launch(
        name,
        grid,
        [32, 8],
        &[&x, &g, &count, &set, &window(), &partials],
    );
    let columns = (taps + 1) * c;
    e.over(
        "sum_rows",
        columns,
        &[&partials, &sums, &(sets as i32), &(columns as i64)],
    );
    let dweight = Buffer::room(c * taps);
    e.over(
        "depthwise_turn",
        c * taps,
        &[&sums, &(c as i32), &(taps as i32), &dweight],
    );

    let what = format!("depthwise {options:?} {h} x {w}, {kh} x {kw}");
    close(&what, e.storage, &e.get(&y), &want.y, tolerance(1e-6));
    close(
        &what,
        e.storage,
        &e.get(&dx),
        &want.gradients[0],
        tolerance(1e-6),
    );
    close_single(
        &what,
        &dweight.read_floats(),
        &want.gradients[1],
        tolerance(3e-6),
    );
    close_single(
        &what,
        &sums.read_floats()[taps * c..],
        &want.gradients[2],
        tolerance(3e-6),
    );
}
