//! Times the parts of the method at the size of a training step: `cargo run -p mic-core --example timings`.
#![allow(clippy::print_stdout)]

use std::time::Instant;

use candle_core::{DType, Device, Tensor, Var};
use mic_core::augment::{GaussianBlur, Normalization, Sharing, Strong, StrongConfig};
use mic_core::{
    BlockMaskConfig, Confidence, EmaTeacher, PseudoLabelConfig, Result, masked_consistency,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The median time of nine runs, after one to warm up.
fn time<T>(name: &str, mut run: impl FnMut() -> Result<T>) -> Result<T> {
    let mut result = run()?;
    let mut times: Vec<f64> = (0..9)
        .map(|_| {
            let start = Instant::now();
            result = run()?;
            Ok(start.elapsed().as_secs_f64() * 1e3)
        })
        .collect::<Result<_>>()?;
    times.sort_by(f64::total_cmp);
    println!("{name:<40} {:8.2} ms", times[4]);
    Ok(result)
}

fn main() -> Result<()> {
    let cpu = &Device::Cpu;
    let rng = &mut ChaCha8Rng::seed_from_u64(0);
    let images = Tensor::randn(0f32, 1.0, (2, 3, 512, 512), cpu)?;
    let config = StrongConfig::default();
    let norm = &Normalization::IMAGENET;
    let jitter = config.jitter.sample(rng, 2)?;
    let blur = GaussianBlur { sigma: 1.15 };
    time("colour jitter, 2x3x512x512", || jitter.apply(&images, norm))?;
    time("blur, sigma 1.15, 2x3x512x512", || blur.apply(&images))?;
    let strong = Strong {
        jitter: vec![jitter.clone()],
        blur: vec![blur],
    };
    time("jitter and blur, 2x3x512x512", || {
        strong.apply(&images, norm)
    })?;
    time("jitter and blur, drawn per image", || {
        config
            .sample(rng, 2, config.gates(1.0, 1.0), Sharing::PerImage)?
            .apply(&images, norm)
    })?;
    let mask = BlockMaskConfig {
        block: 32,
        ratio: 0.7,
    }
    .sample(rng, 2, 512, 512)?;
    time("block mask, 2x3x512x512", || mask.apply(&images))?;

    let logits = Tensor::randn(0f32, 3.0, (2, 19, 512, 512), cpu)?;
    let labels = PseudoLabelConfig::new(Confidence::ShareAbove(0.968));
    let pseudo = time("pseudo-labels, 2x19x512x512", || {
        labels.label(&logits, None)
    })?;
    let student = Var::from_tensor(&logits)?;
    time("consistency loss and backward, same size", || {
        Ok(masked_consistency(&student, &pseudo)?.backward()?)
    })?;

    let weights = Var::zeros((85, 1_000_000), DType::F32, cpu)?;
    let mut teacher = EmaTeacher::new([("weights".to_string(), weights)], 0.999)?;
    let mut step = 0;
    time("teacher update, 85 million weights", || {
        step += 1;
        teacher.update(step)
    })?;
    Ok(())
}
