//! Convolutions.

use candle_core::Tensor;
use mic_nn::ops::{self, Conv2dOptions};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::array::Array;
use crate::case::{Case, Tolerance, check};
use crate::inputs::{Input, size};

fn options(rng: &mut ChaCha8Rng, groups: usize) -> Conv2dOptions {
    Conv2dOptions {
        stride: (rng.random_range(1..4), rng.random_range(1..4)),
        padding: (rng.random_range(0..4), rng.random_range(0..4)),
        dilation: (rng.random_range(1..4), rng.random_range(1..4)),
        groups,
    }
}

/// Output positions in one direction; `None` where the kernel does not fit.
fn outputs(input: usize, kernel: usize, s: usize, p: usize, d: usize) -> Option<usize> {
    Some((input + 2 * p).checked_sub(d * (kernel - 1) + 1)? / s + 1)
}

/// The formula of `conv2d`'s documentation, for (B, C, H, W).
fn convolved(x: &Array, w: &Array, bias: Option<&Array>, o: &Conv2dOptions) -> Array {
    let [batch, _, h, width] = x.sizes();
    let [cout, cin, kh, kw] = w.sizes();
    let oh = outputs(h, kh, o.stride.0, o.padding.0, o.dilation.0).unwrap();
    let ow = outputs(width, kw, o.stride.1, o.padding.1, o.dilation.1).unwrap();
    Array::build([batch, cout, oh, ow], |[n, c, y, left]| {
        let first = c / (cout / o.groups) * cin;
        let mut total = bias.map_or(0.0, |b| b.at([c]));
        for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
            let row = (y * o.stride.0 + ky * o.dilation.0).wrapping_sub(o.padding.0);
            let col = (left * o.stride.1 + kx * o.dilation.1).wrapping_sub(o.padding.1);
            if row < h && col < width {
                let products =
                    (0..cin).map(|i| x.at([n, first + i, row, col]) * w.at([c, i, ky, kx]));
                total += products.sum::<f64>();
            }
        }
        total
    })
}

/// An image's and a kernel's size that fit the options.
fn sizes(rng: &mut ChaCha8Rng, o: &Conv2dOptions, most: usize) -> ([usize; 2], [usize; 2]) {
    loop {
        let image = [size(rng, most), size(rng, most)];
        let kernel = if rng.random_bool(0.2) {
            [1, 1]
        } else {
            [rng.random_range(1..6), rng.random_range(1..6)]
        };
        let fits = outputs(image[0], kernel[0], o.stride.0, o.padding.0, o.dilation.0).and(
            outputs(image[1], kernel[1], o.stride.1, o.padding.1, o.dilation.1),
        );
        if fits.is_some() {
            return (image, kernel);
        }
    }
}

fn bias(rng: &mut ChaCha8Rng, channels: usize) -> Option<Input> {
    rng.random_bool(0.5)
        .then(|| Input::new(rng, "bias", &[channels]))
}

fn conv2d_case(
    rng: &mut ChaCha8Rng,
    groups: usize,
    cin: usize,
    cout: usize,
    o: Conv2dOptions,
) -> Case<'static> {
    let ([h, width], [kh, kw]) = sizes(rng, &o, 17);
    let batch = size(rng, 3);
    let x = Input::new(rng, "x", &[batch, groups * cin, h, width]);
    let w = Input::new(rng, "w", &[groups * cout, cin, kh, kw]);
    let bias = bias(rng, groups * cout);
    Case::new(
        format!("{o:?}"),
        [x, w].into_iter().chain(bias).collect(),
        move |t: &[Tensor]| ops::conv2d(&t[0], &t[1], t.get(2), &o),
        move |a| convolved(&a[0], &a[1], a.get(2), &o),
    )
    .nan_spreads()
}

#[test]
fn conv2d_in_groups() {
    check("conv2d", 80, Tolerance::default(), |rng| {
        let (groups, cin, cout) = (size(rng, 5), size(rng, 9), size(rng, 9));
        let o = options(rng, groups);
        conv2d_case(rng, groups, cin, cout, o)
    });
}

#[test]
fn conv2d_without_stride_or_dilation() {
    check("conv2d", 40, Tolerance::default(), |rng| {
        let (cin, cout) = (size(rng, 33), size(rng, 33));
        let padding = (rng.random_range(0..3), rng.random_range(0..3));
        let o = Conv2dOptions {
            padding,
            ..Conv2dOptions::default()
        };
        conv2d_case(rng, 1, cin, cout, o)
    });
}

#[test]
fn conv2d_depthwise() {
    check("conv2d", 60, Tolerance::default(), |rng| {
        let groups = size(rng, 17);
        let mut o = options(rng, groups);
        if rng.random_bool(0.5) {
            (o.stride, o.dilation) = ((1, 1), (1, 1));
        }
        conv2d_case(rng, groups, 1, 1, o)
    });
}

#[test]
fn depthwise_conv2d_nhwc() {
    check("depthwise_conv2d_nhwc", 60, Tolerance::default(), |rng| {
        let most = if rng.random_bool(0.2) { 257 } else { 65 };
        let channels = size(rng, most);
        let mut o = options(rng, 1);
        if rng.random_bool(0.5) {
            (o.stride, o.dilation) = ((1, 1), (1, 1));
        }
        let ([h, width], [kh, kw]) = sizes(rng, &o, if channels > 33 { 8 } else { 17 });
        let batch = size(rng, 3);
        let x = Input::new(rng, "x", &[batch, h, width, channels]);
        let w = Input::new(rng, "w", &[channels, 1, kh, kw]);
        let bias = bias(rng, channels);
        Case::new(
            format!("{o:?}"),
            [x, w].into_iter().chain(bias).collect(),
            move |t: &[Tensor]| ops::depthwise_conv2d_nhwc(&t[0], &t[1], t.get(2), &o),
            move |a| {
                let [batch, h, width, _] = a[0].sizes();
                let x = Array::build([batch, channels, h, width], |[n, c, y, x]| {
                    a[0].at([n, y, x, c])
                });
                let grouped = Conv2dOptions {
                    groups: channels,
                    ..o
                };
                let y = convolved(&x, &a[1], a.get(2), &grouped);
                let [batch, _, oh, ow] = y.sizes();
                Array::build([batch, oh, ow, channels], |[n, i, j, c]| y.at([n, c, i, j]))
            },
        )
        .nan_spreads()
    });
}
