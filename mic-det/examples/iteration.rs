//! Seconds and memory of an iteration of MIC on SADA with the paper's detector, one image of each
//! domain, weights drawn at random:
//!
//! ```text
//! cargo run --release -p mic-det --example iteration -- [HEIGHT WIDTH [ITERATIONS]]
//! ```

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use mic_det::batch::{Batch, SourceBatch, TargetBatch, Truth};
use mic_det::detector::{DetectorConfig, Model};
use mic_det::train::step;
use mic_det::uda::{Adaptation, MaskedConsistency, Options, SgdOptions};
use mic_nn::params::Store;
use mic_nn::threads::train_in_pool;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

#[global_allocator]
static ALLOCATOR: mic_nn::memory::TensorAllocator = mic_nn::memory::TensorAllocator;

fn image(height: usize, width: usize, phase: f32) -> candle_core::Result<Tensor> {
    let wave = (0..3 * height * width).map(|i| 60.0 * (0.01 * i as f32 + phase).sin());
    Tensor::from_iter(wave, &Device::Cpu)?.reshape((1, 3, height, width))
}

fn batch(height: usize, width: usize, number: u64) -> mic_det::Result<Batch> {
    let (h, w) = (height as f32, width as f32);
    let boxes = vec![
        [0.1 * w, 0.3 * h, 0.18 * w, 0.5 * h],
        [0.4 * w, 0.4 * h, 0.45 * w, 0.55 * h],
        [0.6 * w, 0.2 * h, 0.9 * w, 0.8 * h],
    ];
    let phase = number as f32;
    Ok(Batch {
        source: SourceBatch {
            image: image(height, width, phase)?,
            sizes: vec![(height, width)],
            truth: vec![Truth {
                boxes,
                labels: vec![1, 3, 5],
            }],
        },
        target: Some(TargetBatch {
            image: image(height, width, phase + 0.5)?,
            sizes: vec![(height, width)],
            original: Vec::new(),
        }),
    })
}

#[allow(clippy::print_stdout)] // what an example is for
fn main() -> Result<(), Box<dyn std::error::Error>> {
    // SAFETY: nothing has run before this line, so there is one thread.
    unsafe { mic_nn::threads::stop_candle_spinning() };
    let numbers = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let numbers = numbers.collect::<Result<Vec<_>, _>>()?;
    let at = |place: usize, default| numbers.get(place).copied().unwrap_or(default);
    let (height, width) = (
        at(0, 608).next_multiple_of(32),
        at(1, 1216).next_multiple_of(32),
    );
    train_in_pool(None, || -> mic_det::Result<()> {
        let store = Store::trainable(ChaCha8Rng::seed_from_u64(0), DType::F32, &Device::Cpu);
        let student = Model::new(&DetectorConfig::reference(50, 9)?, store)?;
        let options = Options {
            // An untrained teacher is certain of nothing.
            masked: Some(MaskedConsistency {
                threshold: 0.1,
                ..MaskedConsistency::default()
            }),
            sgd: SgdOptions::default(),
            recompute: false,
        };
        let mut method = Adaptation::new(student, options)?;
        for number in 0..at(2, 3) as u64 {
            let batch = batch(height, width, number)?;
            let clock = Instant::now();
            let scalars = step(&mut method, 0, number, &batch)?;
            println!(
                "{height} x {width}: {:.2} s, {} objects, loss {:.4}, peak {} MiB",
                clock.elapsed().as_secs_f64(),
                scalars["pseudo.boxes"],
                scalars["loss"],
                mic_run::memory::peak().unwrap_or(0) >> 20
            );
        }
        Ok(())
    })??;
    Ok(())
}
