//! MiT against the reference: recorded numbers, parameter counts, gradient flow.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;

use mic_nn::autograd::backward;
use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use golden::{Golden, refuse_unknown, values};
use mic_nn::forward::{Drops, Forward, RandomDrops};
use mic_nn::models::mit::{Mit, MitConfig, Stem};
use mic_nn::params::Store;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn list(config: &serde_json::Value, key: &str) -> Vec<usize> {
    let entries = config[key].as_array().unwrap();
    entries
        .iter()
        .map(|v| v.as_u64().unwrap() as usize)
        .collect()
}

fn config_of(config: &serde_json::Value) -> MitConfig {
    let used = [
        "embed_dims",
        "depths",
        "num_heads",
        "mlp_ratio",
        "sr_ratios",
        "qkv_bias",
        "ln_eps_blocks_and_stage",
        "ln_eps_patch_embed_and_sr",
        "drop_path_rate",
        "blocks",
    ];
    refuse_unknown("mit", config, &used, &["seed"]);
    // These are no options here.
    assert_eq!(config["qkv_bias"], true);
    assert_eq!(config["ln_eps_blocks_and_stage"], 1e-6);
    assert_eq!(config["ln_eps_patch_embed_and_sr"], 1e-5);
    MitConfig {
        embed_dims: list(config, "embed_dims"),
        depths: list(config, "depths"),
        num_heads: list(config, "num_heads"),
        sr_ratios: list(config, "sr_ratios"),
        mlp_ratio: config["mlp_ratio"].as_u64().unwrap() as usize,
        drop_path_rate: config["drop_path_rate"].as_f64().unwrap(),
        stem: Stem::Overlap,
    }
}

fn store() -> Store {
    Store::trainable(ChaCha8Rng::seed_from_u64(0), DType::F32, &Device::Cpu)
}

/// Recorded flags [branch, sample] by block; branch 0 is the attention, 1 the feed-forward net.
struct Recorded<'a> {
    golden: &'a Golden,
    rates: RefCell<HashMap<String, f64>>,
}

impl Drops for Recorded<'_> {
    fn keep(&self, site: &str, rate: f64, count: usize) -> Vec<bool> {
        let (block, branch) = site.rsplit_once('.').unwrap();
        self.rates.borrow_mut().insert(block.into(), rate);
        let row = usize::from(branch == "mlp");
        let flags = values(self.golden.get(&format!("droppath.keep.{block}")));
        flags[row * count..(row + 1) * count]
            .iter()
            .map(|&f| f != 0.0)
            .collect()
    }
}

#[test]
fn agrees_with_the_recorded_reference() -> Result<()> {
    let golden = Golden::open("seg", "mit");
    let config = config_of(&golden.config);
    let store = store();
    let net = Mit::new(&config, &store.root())?;
    let params = golden.below("param.");
    let report = store.load(&params)?;
    assert!(
        report.complete() && report.unexpected.is_empty(),
        "{report}"
    );

    let input = Var::from_tensor(golden.get("input"))?;
    let objective = |outputs: &[Tensor]| -> Result<Tensor> {
        let mut sum = Tensor::new(0f32, &Device::Cpu)?;
        for (n, out) in outputs.iter().enumerate() {
            sum = (sum + (out * golden.get(&format!("R.{n}")))?.sum_all()?)?;
        }
        Ok(sum)
    };
    let outputs = net.forward(&input, &Forward::eval())?;
    for (n, out) in outputs.iter().enumerate() {
        golden.check(&format!("out.{n}"), out);
    }
    let loss = objective(&outputs)?;
    golden.check("loss", &loss);
    let grads = backward(&loss)?;
    golden.check("grad.input", grads.get(&input).unwrap());
    for (name, var) in store.vars() {
        let grad = grads
            .get(&var)
            .unwrap_or_else(|| panic!("no gradient for {name}"));
        golden.check(&format!("grad.{name}"), grad);
    }

    let drops = Recorded {
        golden: &golden,
        rates: RefCell::default(),
    };
    let outputs = net.forward(&input, &Forward::train(&drops))?;
    for (n, out) in outputs.iter().enumerate() {
        golden.check(&format!("droppath.out.{n}"), out);
    }
    let loss = objective(&outputs)?;
    golden.check("droppath.loss", &loss);
    golden.check("droppath.grad.input", backward(&loss)?.get(&input).unwrap());
    let blocks = golden.config["blocks"].as_array().unwrap();
    for (block, rate) in blocks.iter().zip(values(golden.get("droppath.rates"))) {
        let asked = drops.rates.borrow().get(block.as_str().unwrap()).copied();
        assert!((asked.unwrap_or(0.0) - rate).abs() < 1e-7, "{block}");
    }

    let odd = Var::from_tensor(golden.get("odd.input"))?;
    let outputs = net.forward(&odd, &Forward::eval())?;
    let mut sum = Tensor::new(0f32, &Device::Cpu)?;
    for (n, out) in outputs.iter().enumerate() {
        golden.check(&format!("odd.out.{n}"), out);
        sum = (sum + out.sqr()?.mean_all()?)?;
    }
    golden.check("odd.grad.input", backward(&sum)?.get(&odd).unwrap());
    Ok(())
}

#[test]
fn variants_have_the_published_parameter_counts() -> Result<()> {
    let counts = [
        3_319_392, 13_151_424, 24_196_288, 44_072_128, 60_842_688, 81_443_008,
    ];
    for (number, count) in counts.into_iter().enumerate() {
        let store = store();
        let config = MitConfig::variant(number)?;
        Mit::new(&config, &store.root())?;
        assert_eq!(store.parameter_count(), count, "B{number}");
        if number == 5 {
            assert_eq!(store.vars().len(), 1052);
            let rates = config.drop_path_rates();
            assert_eq!((rates[0], rates.len()), (0.0, 52));
            assert!((rates[17] - 0.1 * 17.0 / 51.0).abs() < 1e-15);
        }
    }
    assert!(MitConfig::variant(6).is_err());
    Ok(())
}

/// The values that the specification's fixtures fill parameters with.
fn recipe(name: &str, shape: &[usize]) -> Vec<f32> {
    let phase = (name.bytes().map(u64::from).sum::<u64>() % 1000) as f64 / 100.0;
    let count: usize = shape.iter().product();
    let fan_in: usize = shape.iter().skip(1).product();
    (0..count)
        .map(|i| {
            let u = (0.9 * i as f64 + phase).sin();
            (match (shape.len(), name.ends_with("bias")) {
                (2.., _) => u * (2.0 / fan_in as f64).sqrt(),
                (_, true) => 0.1 * u,
                _ => 1.0 + 0.1 * u,
            }) as f32
        })
        .collect()
}

/// Features of a network with the fixtures' weights: mean magnitude, and one value by flat index, of
/// each stage.
fn check_fixture(
    number: usize,
    (h, w): (usize, usize),
    expected: [(f64, usize, f64); 4],
) -> Result<()> {
    let store = store();
    let net = Mit::new(&MitConfig::variant(number)?, &store.root())?;
    for (name, var) in store.vars() {
        var.set(&Tensor::from_vec(
            recipe(&name, var.dims()),
            var.shape(),
            &Device::Cpu,
        )?)?;
    }
    let image: Vec<f32> = (0..3 * h * w)
        .map(|i| (0.013 * i as f64).sin() as f32)
        .collect();
    let image = Tensor::from_vec(image, (1, 3, h, w), &Device::Cpu)?;
    let outputs = net.forward(&image, &Forward::eval())?;
    for (out, (magnitude, index, value)) in outputs.iter().zip(expected) {
        let out = values(out);
        let mean = out.iter().map(|v| v.abs()).sum::<f64>() / out.len() as f64;
        assert!(
            (mean - magnitude).abs() < 1e-4,
            "B{number}: {mean} {magnitude}"
        );
        assert!(
            (out[index] - value).abs() < 2e-4,
            "B{number}: {} {value}",
            out[index]
        );
    }
    Ok(())
}

#[test]
fn b0_and_b5_match_the_published_fixtures() -> Result<()> {
    check_fixture(
        0,
        (64, 96),
        [
            (0.7950689, 6144, 0.719651),
            (0.8746174, 3072, 0.917762),
            (0.8213573, 1920, -1.220660),
            (0.8053064, 768, -0.142025),
        ],
    )?;
    check_fixture(
        5,
        (64, 64),
        [
            (0.8714770, 8192, 1.119843),
            (0.8496520, 4096, 0.586222),
            (0.9012751, 2560, -1.117266),
            (0.8195759, 1024, -1.611689),
        ],
    )
}

#[test]
fn every_parameter_gets_a_gradient() -> Result<()> {
    for stem in [Stem::Overlap, Stem::Conv] {
        let config = MitConfig {
            embed_dims: vec![12, 16],
            depths: vec![1, 2],
            num_heads: vec![1, 2],
            sr_ratios: vec![2, 1],
            mlp_ratio: 2,
            drop_path_rate: 0.1,
            stem,
        };
        let store = store();
        let net = Mit::new(&config, &store.root())?;
        let image: Vec<f32> = (0..2 * 3 * 32 * 40)
            .map(|i| (0.13 * i as f32).sin())
            .collect();
        let image = Tensor::from_vec(image, (2, 3, 32, 40), &Device::Cpu)?;
        let drops = RandomDrops::new(ChaCha8Rng::seed_from_u64(5));
        let outputs = net.forward(&image, &Forward::train(&drops))?;
        let mut sum = Tensor::new(0f32, &Device::Cpu)?;
        for out in &outputs {
            sum = (sum + out.powf(3.0)?.mean_all()?)?;
        }
        let grads = backward(&sum)?;
        for (name, var) in store.vars() {
            let grad = values(
                grads
                    .get(&var)
                    .unwrap_or_else(|| panic!("no gradient: {name}")),
            );
            assert!(grad.iter().all(|g| g.is_finite()), "{name}");
            assert!(grad.iter().any(|&g| g != 0.0), "{name} has a zero gradient");
        }
        // The same network over a frozen copy records nothing.
        let frozen = Mit::new(&config, &store.frozen_copy()?.root())?;
        let outputs = frozen.forward(&image, &Forward::eval())?;
        assert!(outputs.iter().all(|out| !out.track_op()));
    }
    Ok(())
}
