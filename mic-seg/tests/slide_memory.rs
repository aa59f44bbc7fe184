//! Sliding over an image takes the memory of the windows in flight, however many there are.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers outside #[test] functions

mod tiny;

use candle_core::{DType, Device, Tensor};
use mic_nn::memory::{TensorAllocator, in_use, peak, reset_peak};
use mic_nn::params::Store;
use mic_seg::config::{Config, Inference};
use mic_seg::inference::logits;
use mic_seg::model::{Segmentor, SegmentorConfig};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tiny::NETWORK;

#[global_allocator]
static ALLOCATOR: TensorAllocator = TensorAllocator;

const RUN: &str = r#"
[data.source]
kind = "scenes"
domain = "source"
count = 1
[method]
kind = "supervised"
"#;

fn network(hrda: &str) -> Segmentor {
    let text = format!("{NETWORK}{hrda}{RUN}");
    let config = Config::from_toml_str(&text, "test.toml", &[]).unwrap();
    let store = Store::trainable(ChaCha8Rng::seed_from_u64(1), DType::F32, &Device::Cpu);
    let shape = SegmentorConfig::of(&config).unwrap();
    Segmentor::new(&shape, &store.root()).unwrap();
    Segmentor::new(&shape, &store.frozen_copy().unwrap().root()).unwrap()
}

/// Bytes that sliding over the image needs at its fullest besides what is there already, and the mean
/// of the logits.
fn needed(net: &Segmentor, image: &Tensor, stride: u32, batch: usize) -> (usize, f32) {
    let slide = Inference::Slide {
        window: (128, 128),
        stride: (stride, 128),
        batch,
    };
    // Once before, for what is made at the first use and then kept.
    logits(net, image, &slide).unwrap();
    reset_peak();
    let before = in_use();
    let logits = logits(net, image, &slide).unwrap();
    let needed = peak() - before;
    (
        needed,
        logits.mean_all().unwrap().to_scalar::<f32>().unwrap(),
    )
}

// One test function: others would allocate beside it.
#[test]
fn memory_grows_with_the_batch_of_windows_and_not_with_their_number() {
    let image = Tensor::randn(0f32, 1f32, (1, 3, 128, 1024), &Device::Cpu).unwrap();
    let hrda = "[model.hrda]\ncrop = [64, 64]\n";
    for hrda in ["", hrda] {
        let net = network(hrda);
        // 8, 15 and 57 windows over the same image.
        let (few, _) = needed(&net, &image, 128, 1);
        assert!(few > 0);
        for stride in [64, 16] {
            let (many, _) = needed(&net, &image, stride, 1);
            let ratio = many as f64 / few as f64;
            assert!(
                (0.98..1.02).contains(&ratio),
                "stride {stride}: {few} and {many} bytes"
            );
        }
        // The measurement sees windows that are in flight together.
        let (together, mean) = needed(&net, &image, 128, 8);
        assert!(
            together as f64 > 1.5 * few as f64,
            "{few} and {together} bytes"
        );
        let (_, alone) = needed(&net, &image, 128, 1);
        assert!((mean - alone).abs() < 1e-5, "{mean} {alone}");
    }
}
