//! Times non-maximum suppression of 12,000 boxes in an image of 1600 x 800.
//!
//! `cargo run -p mic-nn --example nms_time`

#![allow(clippy::print_stdout)] // The times are all this program says.

use std::time::Instant;

use candle_core::{Device, Result, Tensor};
use mic_nn::ops::{NmsRule, nms};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const BOXES: usize = 12_000;

fn main() -> Result<()> {
    for (name, kind) in [
        ("200 objects, 60 boxes each", 0),
        ("boxes of all sizes anywhere", 1),
        ("small boxes anywhere", 2),
    ] {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let boxes: Vec<f32> = (0..BOXES).flat_map(|n| one(&mut rng, kind, n)).collect();
        let boxes = Tensor::from_vec(boxes, (BOXES, 4), &Device::Cpu)?;
        let scores: Vec<f32> = (0..BOXES).map(|_| rng.random()).collect();
        let scores = Tensor::from_vec(scores, BOXES, &Device::Cpu)?;
        for threshold in [0.5, 0.7] {
            let mut best = f64::INFINITY;
            let mut kept = 0;
            for _ in 0..20 {
                let start = Instant::now();
                kept = nms(&boxes, &scores, threshold, NmsRule::Legacy)?.elem_count();
                best = best.min(start.elapsed().as_secs_f64());
            }
            println!(
                "{name}, threshold {threshold}: {kept} kept, {:.2} ms",
                1e3 * best
            );
        }
    }
    Ok(())
}

fn one(rng: &mut ChaCha8Rng, kind: usize, number: usize) -> [f32; 4] {
    let object = (number % 200) as f32;
    let ([x, y, w, h], spread) = match kind {
        0 => {
            let place = [97.0 * object % 1600.0, 61.0 * object % 800.0];
            ([place[0], place[1], 20.0 + object, 220.0 - object], 0.25)
        }
        1 => ([800.0, 400.0, 130.0, 130.0], 0.9),
        _ => ([800.0, 400.0, 12.0, 12.0], 0.3),
    };
    let mut around = |v: f32, by: f32| v + by * rng.random_range(-1.0..1.0f32);
    let (w, h) = (around(w, spread * w), around(h, spread * h));
    let (dx, dy) = match kind {
        0 => (spread * w, spread * h),
        _ => (800.0, 400.0),
    };
    let (x, y) = (around(x, dx), around(y, dy));
    [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0]
}
