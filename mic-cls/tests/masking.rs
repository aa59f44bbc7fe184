//! Masks and colour changes against the recorded reference.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;
mod support;

use mic_cls::uda::Gating;
use mic_core::augment::{ColorJitterConfig, Gates, Normalization, Strong, StrongConfig};
use mic_core::{BlockMask, BlockMaskConfig, Result};
use support::{Recorded, strong};

#[test]
fn masked_images() -> Result<()> {
    let file = Recorded::open("masking");
    let cases = file.golden.config["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    for (i, case) in cases.iter().enumerate() {
        let key = |name: &str| format!("case{i}.{name}");
        let images = file.golden.get(&key("img"));
        let (batch, _, height, width) = images.dims4()?;
        let ratio = case["ratio"].as_f64().unwrap();
        let config = BlockMaskConfig {
            block: case["block"].as_u64().unwrap() as usize,
            ratio,
        };
        let rand = file.golden.get(&key("rand"));
        let (rows, columns) = config.grid(height, width)?;
        assert_eq!(rand.dims(), [batch, 1, rows, columns]);
        let blocks = BlockMask::from_uniforms(rand, ratio, height, width)?;
        file.check(&key("mask"), &blocks.mask(images.device())?);
        let norm = &Normalization::IMAGENET;
        let mut images = images.clone();
        if let Some(strong) = strong(&file, &key("")) {
            let parts = [
                (
                    "after_jitter",
                    Strong {
                        jitter: strong.jitter,
                        blur: vec![],
                    },
                ),
                (
                    "after_blur",
                    Strong {
                        jitter: vec![],
                        blur: strong.blur,
                    },
                ),
            ];
            for (name, part) in parts {
                images = part.apply(&images, norm)?;
                if file.has(&key(name)) {
                    file.check(&key(name), &images);
                }
            }
        }
        file.check(&key("out"), &blocks.apply(&images)?);

        // Whether colours change at all follows from the seed.
        let flags = file.golden.numbers(&key("flags"));
        let config = StrongConfig {
            jitter: ColorJitterConfig::with_strength(case["s"].as_f64().unwrap()),
            jitter_threshold: case["p"].as_f64().unwrap(),
            blur: case["blur"].as_bool().unwrap(),
        };
        if config.blur || config.jitter_threshold > 0.0 {
            let expected = Gates {
                jitter: flags[0] == 1.0,
                blur: flags[1] == 1.0,
            };
            let seed = case["seed"].as_u64().unwrap();
            assert_eq!(
                Gating::of_seed(&config, seed),
                Gating::Run(expected),
                "case {i}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_seed_decides_for_the_whole_run() {
    let config = StrongConfig {
        jitter: ColorJitterConfig::with_strength(0.2),
        jitter_threshold: 0.2,
        blur: true,
    };
    let on = [
        (true, true),
        (false, true),
        (true, true),
        (true, true),
        (true, false),
        (true, true),
        (true, true),
        (true, false),
    ];
    for (seed, (jitter, blur)) in on.into_iter().enumerate() {
        let expected = Gating::Run(Gates { jitter, blur });
        assert_eq!(
            Gating::of_seed(&config, seed as u64),
            expected,
            "seed {seed}"
        );
    }
}
