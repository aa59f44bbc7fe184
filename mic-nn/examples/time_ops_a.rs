//! Times convolutions, batch and group normalisation and resizing at the sizes of a Mix Transformer
//! segmentation network. Prints the fastest of several runs of the forward pass and of the
//! gradients of each of the first two inputs.
//!
//! `RAYON_NUM_THREADS=1 cargo run -p mic-nn --example time_ops_a [name]`

#![allow(clippy::print_stdout)]

use mic_nn::autograd::backward;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Result, Tensor, Var};
use mic_nn::gradcheck::wave;
use mic_nn::ops::{
    Conv2dOptions, batch_norm, batch_norm_eval, conv2d, depthwise_conv2d_nhwc, group_norm,
    resize_bilinear, resize_nearest,
};

const BUDGET: Duration = Duration::from_millis(400);

/// Seconds: of processor time with one thread, which other programs disturb less, else elapsed.
fn clock() -> Result<f64> {
    if std::env::var("RAYON_NUM_THREADS").as_deref() != Ok("1") {
        static START: OnceLock<Instant> = OnceLock::new();
        return Ok(START.get_or_init(Instant::now).elapsed().as_secs_f64());
    }
    let mut nanoseconds = 0.0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let stat = std::fs::read_to_string(task?.path().join("schedstat"))?;
        let time = stat.split(' ').next().unwrap_or_default();
        nanoseconds += time.parse::<f64>().map_err(candle_core::Error::wrap)?;
    }
    Ok(nanoseconds * 1e-9)
}

fn fastest(mut f: impl FnMut() -> Result<()>) -> Result<f64> {
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while start.elapsed() < BUDGET || best.is_infinite() {
        let run = clock()?;
        f()?;
        best = best.min(clock()? - run);
    }
    Ok(best * 1e3)
}

fn time(name: &str, shapes: &[&[usize]], f: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<()> {
    if std::env::args()
        .nth(1)
        .is_some_and(|filter| !name.contains(&filter))
    {
        return Ok(());
    }
    let vars = shapes
        .iter()
        .map(|shape| Var::from_tensor(&wave(shape, 1.0, 0.37, 0.1)?.to_dtype(DType::F32)?))
        .collect::<Result<Vec<_>>>()?;
    let tracked: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let constant: Vec<Tensor> = tracked.iter().map(Tensor::detach).collect();
    let forward = fastest(|| f(&constant).map(drop))?;
    print!("{name:44} {forward:9.3}");
    // One input at a time, so that the gradients of data and parameters are seen apart.
    for i in 0..vars.len().min(2) {
        let mut inputs = constant.clone();
        inputs[i] = tracked[i].clone();
        let grad = |y: &Tensor| backward(&y.sum_all()?).map(drop);
        // What is not the op: the objective, and candle's sum of gradients.
        let y = Var::from_tensor(&f(&constant)?)?;
        let objective = fastest(|| grad(y.as_tensor()))?;
        let both = fastest(|| grad(&f(&inputs)?))?;
        print!(" {:9.3}", both - objective - forward);
    }
    println!();
    Ok(())
}

fn options(stride: usize, padding: usize, dilation: usize, groups: usize) -> Conv2dOptions {
    Conv2dOptions {
        stride: (stride, stride),
        padding: (padding, padding),
        dilation: (dilation, dilation),
        groups,
    }
}

fn main() -> Result<()> {
    println!(
        "{:44} {:>9} {:>9} {:>9}",
        "milliseconds", "forward", "d data", "d weight"
    );
    for (b, c, h, w) in [
        (1, 256, 128, 128),
        (1, 512, 64, 64),
        (1, 1280, 32, 32),
        (1, 2048, 16, 16),
        (2, 96, 16, 32),
        (2, 192, 8, 16),
        (2, 384, 4, 8),
    ] {
        let o = options(1, 1, 1, 1);
        time(
            &format!("depthwise nhwc 3x3 {b}x{c}@{h}x{w}"),
            &[&[b, h, w, c], &[c, 1, 3, 3], &[c]],
            |t| depthwise_conv2d_nhwc(&t[0], &t[1], Some(&t[2]), &o),
        )?;
    }
    for (b, c, h, w, d) in [
        (1, 1024, 128, 128, 6),
        (2, 64, 16, 32, 6),
        (1, 256, 64, 64, 1),
    ] {
        let o = options(1, d, d, c);
        time(
            &format!("depthwise nchw 3x3 {b}x{c}@{h}x{w} d{d}"),
            &[&[b, c, h, w], &[c, 1, 3, 3]],
            |t| conv2d(&t[0], &t[1], None, &o),
        )?;
    }
    for (b, cin, h, w, cout, k, o) in [
        (1, 3, 512, 512, 64, 7, options(4, 3, 1, 1)),
        (1, 64, 128, 128, 128, 3, options(2, 1, 1, 1)),
        (1, 320, 32, 32, 512, 3, options(2, 1, 1, 1)),
        (1, 64, 128, 128, 64, 8, options(8, 0, 1, 1)),
        (1, 64, 128, 128, 64, 3, options(1, 1, 1, 1)),
        (1, 256, 32, 32, 256, 3, options(1, 1, 1, 1)),
        (1, 256, 32, 32, 1024, 1, options(1, 0, 1, 1)),
        (1, 1024, 128, 128, 256, 1, options(1, 0, 1, 1)),
        (1, 512, 32, 32, 512, 3, options(1, 2, 2, 1)),
        (2, 3, 64, 128, 24, 7, options(4, 3, 1, 1)),
        (2, 24, 16, 32, 48, 3, options(2, 1, 1, 1)),
        (2, 96, 4, 8, 160, 3, options(2, 1, 1, 1)),
        (2, 64, 16, 32, 64, 3, options(1, 1, 1, 1)),
        (2, 256, 16, 32, 64, 1, options(1, 0, 1, 1)),
        (2, 64, 16, 32, 19, 1, options(1, 0, 1, 1)),
    ] {
        let s = o.stride.0;
        time(
            &format!("conv {k}x{k} s{s} {b}x{cin}@{h}x{w} -> {cout}"),
            &[&[b, cin, h, w], &[cout, cin, k, k]],
            |t| conv2d(&t[0], &t[1], None, &o),
        )?;
    }
    for (b, c, h, w) in [(2, 256, 128, 128), (2, 64, 16, 32), (2, 1024, 16, 16)] {
        let shapes: [&[usize]; 3] = [&[b, c, h, w], &[c], &[c]];
        let mean = Tensor::zeros(c, DType::F32, &Device::Cpu)?;
        let var = Tensor::ones(c, DType::F32, &Device::Cpu)?;
        time(&format!("batch_norm {b}x{c}@{h}x{w}"), &shapes, |t| {
            Ok(batch_norm(&t[0], &t[1], &t[2], 1e-5)?.0)
        })?;
        time(&format!("batch_norm_eval {b}x{c}@{h}x{w}"), &shapes, |t| {
            batch_norm_eval(&t[0], &t[1], &t[2], &mean, &var, 1e-5)
        })?;
        time(&format!("group_norm 32 {b}x{c}@{h}x{w}"), &shapes, |t| {
            group_norm(&t[0], 32, &t[1], &t[2], 1e-5)
        })?;
    }
    for (b, c, h, w, size) in [
        (2, 19, 128, 128, (512, 512)),
        (2, 19, 16, 32, (64, 128)),
        (1, 256, 16, 16, (128, 128)),
        (2, 64, 2, 4, (16, 32)),
        (2, 3, 512, 512, (256, 256)),
    ] {
        time(
            &format!("bilinear {b}x{c}@{h}x{w} -> {}x{}", size.0, size.1),
            &[&[b, c, h, w]],
            |t| resize_bilinear(&t[0], size, false),
        )?;
    }
    time(
        "nearest 1x256@64x64 -> 128x128",
        &[&[1, 256, 64, 64]],
        |t| resize_nearest(&t[0], (128, 128)),
    )
}
