//! Vision transformers in training: gradients, features, stochastic depth, weights of other sizes.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use mic_nn::autograd::backward;
use mic_nn::forward::{Forward, RandomDrops};
use mic_nn::models::vit::{self, Pool, PositionResize, Vit, VitConfig, VitSize};
use mic_nn::ops::{BicubicOptions, resize_tokens_bicubic};
use mic_nn::params::Store;
use mic_nn::weights::{Weights, tables};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn store() -> Store {
    Store::trainable(ChaCha8Rng::seed_from_u64(0), DType::F32, &Device::Cpu)
}

/// All elements as doubles.
fn values(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
    flat.to_vec1().unwrap()
}

/// Root of the mean square.
fn rms(values: &[f64]) -> f64 {
    (values.iter().map(|v| v * v).sum::<f64>() / values.len() as f64).sqrt()
}

fn tiny() -> VitConfig {
    VitConfig {
        image_size: (8, 12),
        patch: 4,
        dim: 12,
        depth: 3,
        heads: 2,
        mlp_ratio: 2,
        classes: 3,
        drop_path_rate: 0.5,
        ..VitConfig::variant(VitSize::Base)
    }
}

fn wave(shape: &[usize]) -> Result<Tensor> {
    mic_nn::gradcheck::wave(shape, 1.0, 1.37, 0.3)?.to_dtype(DType::F32)
}

fn kinds() -> [VitConfig; 4] {
    let registers = VitConfig {
        layer_scale: Some(0.1),
        registers: 2,
        prefix_positions: false,
        ..tiny()
    };
    let hub = VitConfig {
        layer_scale: Some(0.1),
        position_resize: PositionResize::Offset(0.1),
        ..tiny()
    };
    let mean = VitConfig {
        pool: Pool::Mean,
        ..tiny()
    };
    [tiny(), mean, registers, hub]
}

#[test]
fn every_parameter_gets_a_gradient_and_recomputing_changes_nothing() -> Result<()> {
    for config in kinds() {
        let store = store();
        let net = Vit::new(&config, &store.root())?;
        // Of another size than the position embeddings.
        let image = wave(&[3, 3, 16, 8])?;
        let run = |recompute: bool, seed: u64| -> Result<_> {
            let drops = RandomDrops::new(ChaCha8Rng::seed_from_u64(seed));
            let mode = Forward::train(&drops).recomputing(recompute);
            let scores = net.forward(&image, &mode)?;
            let grads = backward(&scores.powf(3.0)?.sum_all()?)?;
            let of = |(name, var): (String, Var)| {
                let grad = grads
                    .get(&var)
                    .unwrap_or_else(|| panic!("no gradient: {name}"));
                (name, values(grad))
            };
            let all: HashMap<_, _> = store.vars().into_iter().map(of).collect();
            Ok((values(&scores), all))
        };
        let first = run(false, 5)?;
        for (name, grad) in &first.1 {
            assert!(grad.iter().all(|g| g.is_finite()), "{name}");
            assert!(grad.iter().any(|&g| g != 0.0), "{name} has a zero gradient");
        }
        // The flags of stochastic depth decide, and nothing else does.
        assert_eq!(first, run(false, 5)?);
        assert_eq!(first, run(true, 5)?);
        assert_ne!(first.0, run(false, 6)?.0);
        // The same network over a frozen copy records nothing.
        let frozen = Vit::new(&config, &store.frozen_copy()?.root())?;
        assert!(!frozen.forward(&image, &Forward::eval())?.track_op());
    }
    Ok(())
}

#[test]
fn features_have_names() -> Result<()> {
    for config in kinds() {
        let store = store();
        let net = Vit::new(&config, &store.root())?;
        let features = net.features(&wave(&[2, 3, 8, 16])?, &Forward::eval(), &[2, 0])?;
        let prefix = 1 + config.registers;
        assert_eq!(features.embedded.dims(), [2, prefix + 2 * 4, 12]);
        assert_eq!(values(&features.blocks[0]), values(&features.last));
        assert_eq!(features.patch_map(&features.last)?.dims(), [2, 12, 2, 4]);
        let registers = features.registers(&features.blocks[1])?;
        assert_eq!(registers.dims(), [2, config.registers, 12]);
        let class = features.class_token(&net.norm_tokens(&features.last)?)?;
        if config.pool == Pool::Class {
            assert_eq!(values(&class), values(&net.pooled(&features)?));
        }
        let corner = features
            .patch_map(&features.last)?
            .narrow(3, 3, 1)?
            .narrow(2, 1, 1)?;
        let last = features.last.narrow(1, prefix + 7, 1)?;
        assert_eq!(values(&corner), values(&last));
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_named() -> Result<()> {
    let message = |error: candle_core::Error| error.to_string();
    let store = store();
    let net = Vit::new(&tiny(), &store.root())?;
    let eval = Forward::eval();
    let error = message(net.forward(&wave(&[1, 3, 8, 10])?, &eval).unwrap_err());
    assert!(
        error.contains("multiples") && error.contains("8x10"),
        "{error}"
    );
    let error = message(net.forward(&wave(&[1, 1, 8, 12])?, &eval).unwrap_err());
    assert!(error.contains("(B, 3, H, W)"), "{error}");
    let image = wave(&[1, 3, 8, 12])?;
    assert!(
        net.features(&image, &eval, &[3])
            .unwrap_err()
            .to_string()
            .contains("block 3")
    );
    let features = net.features(&image, &eval, &[])?;
    assert!(features.patch_map(&wave(&[1, 5, 12])?).is_err());
    for wrong in [
        VitConfig { heads: 5, ..tiny() },
        VitConfig { depth: 0, ..tiny() },
        VitConfig { patch: 0, ..tiny() },
        VitConfig {
            drop_path_rate: 1.0,
            ..tiny()
        },
        VitConfig {
            image_size: (8, 10),
            ..tiny()
        },
    ] {
        assert!(wrong.check().is_err(), "{wrong:?}");
    }
    let rates = VitConfig {
        drop_path_rate: 0.2,
        ..tiny()
    }
    .drop_path_rates();
    assert!((rates[1] - 0.1).abs() < 1e-12 && rates[0] == 0.0 && rates.len() == 3);
    Ok(())
}

/// The values of a store's parameters.
fn params(store: &Store) -> HashMap<String, Tensor> {
    store.params().into_iter().collect()
}

#[test]
fn weights_of_another_grid_are_resized() -> Result<()> {
    for config in kinds() {
        let of = |image_size| VitConfig {
            image_size,
            ..config.clone()
        };
        let (theirs, ours) = (store(), store());
        let their_net = Vit::new(&of((16, 16)), &theirs.root())?;
        theirs.fill_from_names()?;
        let config = of((8, 12));
        let our_net = Vit::new(&config, &ours.root().sub("backbone"))?;
        let weights = Weights::from(params(&theirs)).prefixed("backbone.");
        let report = vit::load(&config, &ours, "backbone", &weights, None)?;
        assert!(report.exact(), "{report}");
        assert_eq!(report.matched, ours.params().len());
        // Resizing once or in every pass is the same.
        let image = wave(&[2, 3, 8, 12])?;
        let (a, b) = (
            values(&their_net.forward(&image, &Forward::eval())?),
            values(&our_net.forward(&image, &Forward::eval())?),
        );
        assert_eq!(a, b);
        // As many patches in another arrangement need to be told.
        let other = of((8, 32));
        let store = store();
        Vit::new(&other, &store.root())?;
        let weights = Weights::from(params(&theirs));
        for grid in [None, Some((4, 4))] {
            let report = vit::load(&other, &store, "", &weights, grid)?;
            assert!(report.exact(), "{report}");
            let same =
                values(&params(&store)["pos_embed"]) == values(&params(&theirs)["pos_embed"]);
            assert!(!same, "{grid:?}");
        }
        vit::load(&other, &store, "", &weights, Some((2, 8)))?;
        let (a, b) = (params(&store), params(&theirs));
        assert_eq!(values(&a["pos_embed"]), values(&b["pos_embed"]));
        // What cannot be embeddings of a grid stays in the report.
        let mut wrong = params(&theirs);
        wrong.insert("pos_embed".into(), wave(&[1, 8, 12])?);
        let report = vit::load(&other, &store, "", &Weights::from(wrong), Some((3, 3)))?;
        assert_eq!(report.reshaped.len(), 1);
    }
    Ok(())
}

#[test]
fn the_authors_files_of_dinov2_load() -> Result<()> {
    let config = VitConfig {
        registers: 2,
        prefix_positions: false,
        layer_scale: Some(0.1),
        classes: 0,
        image_size: (8, 8),
        ..tiny()
    };
    let ours = store();
    Vit::new(&config, &ours.root())?;
    ours.fill_from_names()?;
    let mut file = params(&ours);
    let registers = file.remove("reg_token").unwrap();
    file.insert("register_tokens".into(), registers);
    file.insert("mask_token".into(), wave(&[1, 12])?);
    let class = file["cls_token"].clone();
    let positions = wave(&[1, 1 + 4 * 4, 12])?;
    file.insert("pos_embed".into(), positions.clone());
    let weights = Weights::from(file).rename(&tables::dinov2())?;
    let loaded = store();
    Vit::new(&config, &loaded.root())?;
    let report = vit::load(&config, &loaded, "", &weights, None)?;
    assert!(report.exact(), "{report}");
    let got = params(&loaded);
    let want = (class + positions.narrow(1, 0, 1)?)?;
    assert_eq!(values(&got["cls_token"]), values(&want));
    let options = BicubicOptions {
        antialias: true,
        scale: None,
    };
    let want = positions.narrow(1, 1, 16)?;
    let want = resize_tokens_bicubic(&want, (4, 4), (2, 2), &options)?;
    assert_eq!(values(&got["pos_embed"]), values(&want));
    assert_eq!(
        values(&got["reg_token"]),
        values(&params(&ours)["reg_token"])
    );
    Ok(())
}

#[test]
fn initial_values_are_the_published_ones() -> Result<()> {
    let store = store();
    let config = VitConfig {
        depth: 1,
        classes: 10,
        ..VitConfig::dinov2(VitSize::Small, 4)
    };
    Vit::new(&config, &store.root())?;
    let params = params(&store);
    let std = |name: &str| rms(&values(&params[name]));
    for name in [
        "pos_embed",
        "blocks.0.attn.qkv.weight",
        "blocks.0.mlp.fc2.weight",
        "head.weight",
    ] {
        assert!(
            (std(name) / 0.02 - 1.0).abs() < 0.05,
            "{name}: {}",
            std(name)
        );
    }
    assert!(std("cls_token") < 2e-6 && std("reg_token") < 2e-6);
    assert_eq!(std("blocks.0.attn.qkv.bias"), 0.0);
    let gamma = values(&params["blocks.0.ls2.gamma"]);
    assert!(gamma.iter().all(|v| (v / 1e-5 - 1.0).abs() < 1e-6));
    // PyTorch's default: uniform with the fan-in's root as bound.
    let bound = 1.0 / (3.0f64 * 14.0 * 14.0).sqrt();
    let proj = std("patch_embed.proj.weight");
    assert!((proj * 3f64.sqrt() / bound - 1.0).abs() < 0.02);
    assert!(std("patch_embed.proj.bias") > 0.3 * bound);
    Ok(())
}
