//! What the options of a ResNet change: which tensors are trained, which statistics move, what is
//! recomputed, where the weights start.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use golden::values;
use mic_nn::autograd::backward;
use mic_nn::forward::{Forward, NormMode};
use mic_nn::init::from_name;
use mic_nn::models::resnet::{NormKind, ResNet, ResNetConfig};
use mic_nn::params::Store;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn store() -> Store {
    Store::trainable(ChaCha8Rng::seed_from_u64(0), DType::F32, &Device::Cpu)
}

fn vector(name: &str, count: usize) -> Vec<f32> {
    from_name(name, &count.into())
}

/// Small enough to run in a moment, deep enough that every kind of block is there.
fn tiny(base: ResNetConfig) -> ResNetConfig {
    ResNetConfig {
        depths: vec![1, 2],
        strides: base.strides[..2].to_vec(),
        dilations: base.dilations[..2].to_vec(),
        stem_channels: 4,
        width: 4,
        zero_init_residual: false,
        ..base
    }
}

fn image() -> Result<Tensor> {
    let shape = [2, 3, 36, 44];
    let count: usize = shape.iter().product();
    (Tensor::from_vec(vector("image", count), &shape, &Device::Cpu)? * 10.0)?.copy()
}

fn loss(outputs: &[Tensor]) -> Result<Tensor> {
    let mut sum = Tensor::new(0f32, &Device::Cpu)?;
    for (n, output) in outputs.iter().enumerate() {
        let cotangent = vector(&format!("cotangent.{n}"), output.elem_count());
        let cotangent = Tensor::from_vec(cotangent, output.shape(), &Device::Cpu)?;
        sum = (sum + (output * cotangent)?.sum_all()?)?;
    }
    Ok(sum)
}

#[test]
fn trained_tensors_get_gradients_and_frozen_ones_none() -> Result<()> {
    let bases = [
        ResNetConfig::torchvision(18)?,
        ResNetConfig::torchvision(50)?,
        ResNetConfig::v1c(50)?,
        ResNetConfig::detection(50)?,
    ];
    let norms = [
        NormKind::Batch,
        NormKind::Running,
        NormKind::Frozen { eps: 1e-5 },
    ];
    for base in bases {
        for norm in norms {
            for frozen in 0..=3 {
                let config = ResNetConfig {
                    norm,
                    frozen,
                    ..tiny(base.clone())
                };
                let store = store();
                let net = ResNet::new(&config, &store.root())?;
                let x = Var::from_tensor(&image()?)?;
                let grads = backward(&loss(&net.forward(&x, &Forward::batch_statistics())?)?)?;
                let check = |name: &str, tensor: &Tensor| {
                    let grad = values(grads.get(tensor).unwrap_or_else(|| panic!("{name}: none")));
                    assert!(grad.iter().all(|g| g.is_finite()), "{name}");
                    assert!(grad.iter().any(|&g| g != 0.0), "{name} has a zero gradient");
                };
                check("image", &x);
                for (name, var) in store.vars() {
                    let place = match name.strip_prefix("layer") {
                        Some(rest) => rest[..1].parse().unwrap(),
                        None => 0,
                    };
                    match place >= frozen {
                        true => check(&name, &var),
                        false => assert!(grads.get(&var).is_none(), "{name} is frozen"),
                    }
                }
                // The same network over a frozen copy records nothing.
                let copy = ResNet::new(&config, &store.frozen_copy()?.root())?;
                let outputs = copy.forward(&image()?, &Forward::eval())?;
                assert!(outputs.iter().all(|output| !output.track_op()));
            }
        }
    }
    Ok(())
}

#[test]
fn recomputed_blocks_give_the_same_numbers() -> Result<()> {
    for base in [ResNetConfig::v1c(50)?, ResNetConfig::detection(50)?] {
        let config = tiny(base);
        let results = [false, true].map(|recompute| -> Result<_> {
            let store = store();
            let net = ResNet::new(&config, &store.root())?;
            let mode = Forward::batch_statistics().recomputing(recompute);
            let loss = loss(&net.forward(&image()?, &mode)?)?;
            let grads = backward(&loss)?;
            let grads = store.vars().into_iter().map(|(name, var)| {
                let grad = grads.get(&var).map(values);
                (name, grad)
            });
            let grads: Vec<_> = grads.collect();
            let buffers = store.buffers().into_iter().map(|(_, b)| values(&b.get()));
            Ok((values(&loss), grads, buffers.collect::<Vec<_>>()))
        });
        let [plain, recomputed] = results;
        let (loss, grads, buffers) = plain?;
        let (loss_again, grads_again, buffers_again) = recomputed?;
        assert!(loss == loss_again && buffers == buffers_again);
        // The gradients of a block's input are added up in another order.
        for ((name, a), (_, b)) in grads.iter().zip(&grads_again) {
            let (Some(a), Some(b)) = (a, b) else {
                assert!(a.is_none() && b.is_none(), "{name}");
                continue;
            };
            let largest = a.iter().fold(0f64, |m, v| m.max(v.abs()));
            let mut pairs = a.iter().zip(b);
            assert!(
                pairs.all(|(a, b)| (a - b).abs() <= 1e-5 * largest),
                "{name}"
            );
        }
    }
    Ok(())
}

/// Everything of a store, for another that has the same names, if some as buffers.
fn state(store: &Store) -> HashMap<String, Tensor> {
    store.state().into_iter().collect()
}

#[test]
fn norms_differ_in_what_moves() -> Result<()> {
    let base = tiny(ResNetConfig::torchvision(50)?);
    let build = |norm: NormKind, frozen: usize| -> Result<(Store, ResNet)> {
        let store = store();
        let config = ResNetConfig {
            norm,
            frozen,
            ..base.clone()
        };
        let net = ResNet::new(&config, &store.root())?;
        store.fill_from_names()?;
        Ok((store, net))
    };
    let image = image()?;
    let (batch, net) = build(NormKind::Batch, 0)?;
    let before = batch.state();
    let expected = net.forward(&image, &Forward::eval())?;
    let close = |outputs: &[Tensor]| {
        for (output, expected) in outputs.iter().zip(&expected) {
            let (output, expected) = (values(output), values(expected));
            let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
            let pairs = output.iter().zip(&expected);
            assert!(pairs.clone().all(|(a, b)| (a - b).abs() < 1e-5 * largest));
        }
    };
    let unmoved = |store: &Store| {
        for ((name, a), (_, b)) in before.iter().zip(store.state()) {
            assert_eq!(values(a), values(&b), "{name} has moved");
        }
    };
    // In training, but with running statistics.
    for (norm, frozen) in [(NormKind::Running, 0), (NormKind::Batch, 3)] {
        let (store, net) = build(norm, frozen)?;
        close(&net.forward(&image, &Forward::batch_statistics())?);
        unmoved(&store);
    }
    let (store, net) = build(NormKind::Frozen { eps: 1e-5 }, 0)?;
    let report = store.load(&state(&batch))?;
    assert!(report.complete());
    let counters = |name: &String| name.ends_with("num_batches_tracked");
    assert!(report.unexpected.iter().all(counters), "{report}");
    close(&net.forward(&image, &Forward::batch_statistics())?);
    // Only the trained part follows the batch, and only in the mode that says so.
    let (store, net) = build(NormKind::Batch, 1)?;
    let mode = Forward {
        norm: NormMode::BatchOnly,
        ..Forward::eval()
    };
    net.forward(&image, &mode)?;
    unmoved(&store);
    net.forward(&image, &Forward::batch_statistics())?;
    for ((name, a), (_, b)) in before.iter().zip(store.state()) {
        let statistic = name.contains("running") || name.ends_with("num_batches_tracked");
        let moves = statistic && !name.starts_with("bn1");
        assert_eq!(values(a) != values(&b), moves, "{name}");
    }
    Ok(())
}

#[test]
fn starts_as_published() -> Result<()> {
    let start = |config: &ResNetConfig| -> Result<HashMap<String, Vec<f64>>> {
        let store = store();
        ResNet::new(config, &store.root())?;
        let state = store.state().into_iter();
        Ok(state
            .map(|(name, tensor)| (name, values(&tensor)))
            .collect())
    };
    let constant = |values: &[f64], constant: f64| values.iter().all(|&v| v == constant);
    let one_stage = |base: ResNetConfig| ResNetConfig {
        depths: vec![1],
        strides: vec![1],
        dilations: vec![1],
        ..base
    };
    let state = start(&one_stage(ResNetConfig::torchvision(50)?))?;
    let kernel = &state["layer1.0.conv2.weight"];
    let std = (kernel.iter().map(|v| v * v).sum::<f64>() / kernel.len() as f64).sqrt();
    assert!((std / (2.0f64 / (64.0 * 9.0)).sqrt() - 1.0).abs() < 0.02);
    assert!(constant(&state["layer1.0.bn3.weight"], 1.0));
    assert!(constant(&state["layer1.0.bn3.bias"], 0.0));
    let state = start(&one_stage(ResNetConfig::v1c(50)?))?;
    assert!(constant(&state["layer1.0.bn3.weight"], 0.0));
    assert!(constant(&state["layer1.0.bn2.weight"], 1.0));
    assert!(constant(&state["layer1.0.downsample.1.weight"], 1.0));
    let state = start(&one_stage(ResNetConfig::detection(50)?))?;
    let kernel = &state["layer1.0.conv2.weight"];
    let bound = (3.0f64 / (64.0 * 9.0)).sqrt();
    let largest = kernel.iter().fold(0f64, |m, v| m.max(v.abs()));
    assert!(largest <= bound && largest > 0.999 * bound);
    Ok(())
}

#[test]
fn refuses_what_does_not_fit() -> Result<()> {
    let base = ResNetConfig::torchvision(50)?;
    let basic = ResNetConfig::torchvision(18)?;
    let with = |change: fn(&mut ResNetConfig), base: &ResNetConfig| {
        let mut config = base.clone();
        change(&mut config);
        let error = ResNet::new(&config, &store().root()).err();
        error.expect("no error").to_string()
    };
    for (change, expected) in [
        (
            (|c| c.depths.clear()) as fn(&mut ResNetConfig),
            "depths is empty",
        ),
        (|c| c.strides = vec![1, 2], "strides has 2 entries"),
        (|c| c.dilations[1] = 0, "dilations is [1, 0, 1, 1]"),
        (|c| c.width = 0, "width is 0"),
        (|c| c.classes = Some(0), "classes is 0"),
        (|c| c.groups = 7, "width 64 is no multiple of groups 7"),
        (|c| c.frozen = 6, "frozen is 6, expected at most 5"),
        (
            |c| c.norm = NormKind::Frozen { eps: f64::NAN },
            "eps of the frozen norm is NaN",
        ),
    ] {
        let message = with(change, &base);
        assert!(message.contains(expected), "{message}");
    }
    let message = with(|c| c.stride_in_1x1 = true, &basic);
    assert!(message.contains("basic blocks"), "{message}");
    assert!(ResNetConfig::torchvision(20).is_err());
    assert!(ResNetConfig::detection(18).is_err());
    let net = ResNet::new(&tiny(basic), &store().root())?;
    let message = net.classify(&image()?, &Forward::eval()).unwrap_err();
    assert!(message.to_string().contains("without classes"));
    assert!(net.forward(&image()?.get(0)?, &Forward::eval()).is_err());
    Ok(())
}
