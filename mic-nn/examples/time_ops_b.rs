//! Times the forward and backward pass of token ops, losses and optimisers at the sizes of MiT.
//!
//! `RAYON_NUM_THREADS=1 cargo run -p mic-nn --example time_ops_b [part of a name]`

#![allow(clippy::print_stdout)]

use mic_nn::autograd::backward;
use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor, Var};
use mic_nn::gradcheck::wave;
use mic_nn::ops::{
    CrossEntropyOptions, add_drop_path, attention, cross_entropy, gelu, layer_norm, linear, softmax,
};
use mic_nn::optim::{AdamW, AdamWConfig, Grads, GroupRules, Optimizer};

fn input(shape: &[usize], frequency: f64) -> Result<Var> {
    Var::from_tensor(&wave(shape, 1.0, frequency, 0.3)?.to_dtype(DType::F32)?)
}

/// The least times of a forward and of a backward pass, in milliseconds.
fn time(filter: &str, name: &str, gflop: f64, f: impl Fn() -> Result<Tensor>) -> Result<()> {
    if !name.contains(filter) {
        return Ok(());
    }
    let (mut forward, mut backward) = (f64::MAX, f64::MAX);
    let begin = Instant::now();
    let mut runs = 0;
    while runs < 3 || (begin.elapsed().as_secs_f64() < 1.0 && runs < 200) {
        let start = Instant::now();
        let y = f()?;
        forward = forward.min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        drop(backward(&y)?);
        backward = backward.min(start.elapsed().as_secs_f64());
        runs += 1;
    }
    print!("{name:34} {:8.3} {:8.3} ms", forward * 1e3, backward * 1e3);
    if gflop > 0.0 {
        print!(
            "  {:6.1} {:6.1} GFLOP/s",
            gflop / forward,
            2.0 * gflop / backward
        );
    }
    println!();
    Ok(())
}

fn main() -> Result<()> {
    let filter = std::env::args().nth(1).unwrap_or_default();
    println!(
        "{} threads; columns: forward, backward",
        rayon::current_num_threads()
    );
    // (batch, queries, keys, channels, heads): the miniature's stages, then MiT-B5's at 512 x 512.
    let stages = [
        (2, 512, 32, 24, 1),
        (2, 128, 32, 48, 1),
        (2, 32, 32, 96, 3),
        (1, 16384, 256, 64, 1),
        (1, 4096, 256, 128, 2),
        (1, 1024, 256, 320, 5),
        (1, 256, 256, 512, 8),
    ];
    for (b, n, m, c, heads) in stages {
        let tokens = format!("{b}x{n}x{c}");
        let x = input(&[b, n, c], 1.37)?;
        let (w, bias) = (input(&[4 * c, c], 0.7)?, input(&[4 * c], 0.9)?);
        let product = |a: usize, b: usize| 2e-9 * (n * a * b) as f64;
        let gflop = b as f64 * product(c, 4 * c);
        time(
            &filter,
            &format!("linear {tokens} -> {}", 4 * c),
            gflop,
            || linear(&x, &w, Some(&bias)),
        )?;
        let (back, h) = (input(&[c, 4 * c], 0.7)?, input(&[b, n, 4 * c], 0.7)?);
        time(
            &filter,
            &format!("linear {b}x{n}x{} -> {c}", 4 * c),
            gflop,
            || linear(&h, &back, None),
        )?;
        let (gamma, beta) = (input(&[c], 0.7)?, input(&[c], 0.9)?);
        time(&filter, &format!("layer_norm {tokens}"), 0.0, || {
            layer_norm(&x, &gamma, &beta, 1e-6)
        })?;
        time(&filter, &format!("gelu {b}x{n}x{}", 4 * c), 0.0, || {
            gelu(&h)
        })?;
        let keep = vec![true; b];
        time(&filter, &format!("add_drop_path {tokens}"), 0.0, || {
            add_drop_path(&x, &x, &keep, 0.1)
        })?;
        let kv = input(&[b, m, 2 * c], 0.61)?;
        let gflop = b as f64 * 2.0 * product(m, c);
        time(
            &filter,
            &format!("attention {tokens} keys {m}"),
            gflop,
            || attention(&x, &kv, heads),
        )?;
    }
    for (b, c, h, w) in [(2, 14, 64, 128), (2, 19, 512, 512)] {
        let z = input(&[b, c, h, w], 1.37)?;
        let label: Vec<u8> = (0..b * h * w).map(|i| (i / 7 % c) as u8).collect();
        let label = Tensor::from_vec(label, (b, h, w), &Device::Cpu)?;
        let options = CrossEntropyOptions::default();
        time(
            &filter,
            &format!("cross_entropy {b}x{c}x{h}x{w}"),
            0.0,
            || cross_entropy(&z, &label, &options),
        )?;
        time(
            &filter,
            &format!("softmax {b}x{c}x{h}x{w} dim 1"),
            0.0,
            || softmax(&z, 1),
        )?;
    }
    let p = input(&[20_000_000], 0.01)?;
    let named = [("p".to_string(), p.clone())];
    let mut optimizer = AdamW::new(
        &named,
        &GroupRules::uniform(1e-4, 0.01),
        AdamWConfig::default(),
    );
    let mut grads = Grads::new(&named);
    grads.accumulate(&backward(&p.sum_all()?)?)?;
    let mut least = f64::MAX;
    for _ in 0..8 {
        let start = Instant::now();
        optimizer.step(&grads, &|lr| lr)?;
        least = least.min(start.elapsed().as_secs_f64());
    }
    println!(
        "{:34} {:8.3} ms",
        "adamw, 20 million parameters",
        least * 1e3
    );
    Ok(())
}
