//! ResNets against torchvision (`testdata/record/resnet.py`): features, gradients, statistics and
//! names.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;

use std::path::Path;

use candle_core::{DType, Device, Result, Tensor, Var};
use golden::{Golden, values};
use mic_nn::autograd::backward;
use mic_nn::forward::{Forward, NormMode};
use mic_nn::init::from_name;
use mic_nn::models::resnet::{ResNet, ResNetConfig};
use mic_nn::params::Store;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

fn store(dtype: DType) -> Store {
    Store::trainable(ChaCha8Rng::seed_from_u64(0), dtype, &Device::Cpu)
}

fn number(config: &Value, key: &str) -> usize {
    config[key].as_u64().unwrap() as usize
}

fn recorded() -> Golden {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    Golden::read(folder.join("../testdata/recorded/resnet.safetensors"))
}

/// Values in [-0.1, 0.1) that the recording script also has.
fn vector(name: &str, count: usize) -> Vec<f32> {
    from_name(name, &count.into())
}

/// Inner product with the probe of that name, and norm.
fn projection(name: &str, tensor: &Tensor) -> [f64; 2] {
    let data = values(tensor);
    let probe = vector(&format!("probe.{name}"), data.len());
    let inner = data.iter().zip(&probe).map(|(a, b)| a * f64::from(*b));
    let squares = data.iter().map(|a| a * a);
    [inner.sum(), squares.sum::<f64>().sqrt()]
}

/// Compares projections, row by row; the error is relative to the norms.
fn check_projections(golden: &Golden, key: &str, named: &[(String, Tensor)], tolerance: f64) {
    let expected = golden.numbers(key);
    assert_eq!(expected.len(), 2 * named.len(), "{key}");
    for ((name, tensor), expected) in named.iter().zip(expected.chunks(2)) {
        let actual = projection(name, tensor);
        for (a, e) in actual.iter().zip(expected) {
            let error = (a - e).abs() / expected[1];
            assert!(error <= tolerance, "{key}: {name} is off by {error:e}");
        }
    }
}

/// Every n-th value, as the recording script takes them.
fn samples(tensor: &Tensor, count: usize) -> Vec<f64> {
    let data = values(tensor);
    let step = (data.len() / count).max(1);
    data.into_iter().step_by(step).take(count).collect()
}

fn check_samples(golden: &Golden, key: &str, actual: &[f64], tolerance: f64) {
    let expected = golden.numbers(key);
    assert_eq!(actual.len(), expected.len(), "{key}");
    let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
    for (a, e) in actual.iter().zip(&expected) {
        let error = (a - e).abs() / largest;
        assert!(error <= tolerance, "{key} is off by {error:e}");
    }
}

fn sorted(mut named: Vec<(String, Tensor)>) -> Vec<(String, Tensor)> {
    named.sort_by(|a, b| a.0.cmp(&b.0));
    named
}

/// One network of the recording, filled from names, and its image.
struct Filled {
    store: Store,
    net: ResNet,
    image: Var,
}

impl Filled {
    fn new(name: &str, options: &Value, dtype: DType) -> Result<Self> {
        let depth = name.trim_start_matches("resnet").parse().unwrap();
        let config = ResNetConfig {
            classes: Some(number(options, "classes")),
            ..ResNetConfig::torchvision(depth)?
        };
        let store = store(dtype);
        let net = ResNet::new(&config, &store.root())?;
        store.fill_from_names()?;
        let shape: Vec<usize> = serde_json::from_value(options["shape"].clone()).unwrap();
        let image = vector("image", shape.iter().product());
        let image = Tensor::from_vec(image, shape, &Device::Cpu)?.to_dtype(dtype)?;
        let image = Var::from_tensor(&(image * 10.0)?)?;
        Ok(Self { store, net, image })
    }

    /// Features and logits by name, from one pass for the statistics and, where those of the batch
    /// are used, another that finds the same.
    fn outputs(&self, mode: &Forward) -> Result<Vec<(String, Tensor)>> {
        let features = self.net.forward(&self.image, mode)?.into_iter().enumerate();
        let named = features.map(|(n, feature)| (format!("c{}", n + 2), feature));
        let mut outputs: Vec<_> = named.collect();
        let again = Forward {
            norm: match mode.norm {
                NormMode::Batch => NormMode::BatchOnly,
                other => other,
            },
            ..*mode
        };
        outputs.push(("logits".into(), self.net.classify(&self.image, &again)?));
        Ok(outputs)
    }
}

/// Features, logits and running statistics in one mode.
fn check_outputs(
    golden: &Golden,
    prefix: &str,
    filled: &Filled,
    mode: &Forward,
    tolerance: f64,
) -> Result<Vec<(String, Tensor)>> {
    let outputs = filled.outputs(mode)?;
    let count = golden.metadata("samples").as_u64().unwrap() as usize;
    for (name, output) in &outputs {
        let key = format!("{prefix}.{name}");
        check_samples(golden, &key, &samples(output, count), tolerance);
    }
    let key = format!("{prefix}.after");
    if golden.find(&key).is_some() {
        let buffers = filled.store.buffers().into_iter();
        let values = buffers.map(|(name, buffer)| (name, buffer.get()));
        let statistics = values.filter(|(_, value)| value.dtype().is_float());
        check_projections(golden, &key, &sorted(statistics.collect()), tolerance);
    }
    Ok(outputs)
}

fn modes(name: &str) -> [(String, Forward<'static>); 2] {
    [
        (format!("{name}.eval"), Forward::eval()),
        (format!("{name}.train"), Forward::batch_statistics()),
    ]
}

/// In double precision, where no activation is on another side of a ReLU than in the recording.
#[test]
fn torchvision_features_and_gradients() -> Result<()> {
    const TOLERANCE: f64 = 1e-9;
    let golden = recorded();
    for (name, options) in golden.metadata("nets").as_object().unwrap() {
        for (prefix, mode) in modes(name) {
            let filled = Filled::new(name, options, DType::F64)?;
            let outputs = check_outputs(&golden, &prefix, &filled, &mode, TOLERANCE)?;
            let mut loss = Tensor::new(0f64, &Device::Cpu)?;
            for (name, output) in outputs {
                let cotangent = vector(&format!("cotangent.{name}"), output.elem_count());
                let cotangent = Tensor::from_vec(cotangent, output.shape(), &Device::Cpu)?;
                let cotangent = cotangent.to_dtype(DType::F64)?;
                loss = (loss + (output * cotangent)?.sum_all()?)?;
            }
            check_samples(
                &golden,
                &format!("{prefix}.loss"),
                &values(&loss),
                TOLERANCE,
            );
            let grads = backward(&loss)?;
            let of_image = [("image".into(), grads.get(&filled.image).unwrap().clone())];
            check_projections(&golden, &format!("{prefix}.image"), &of_image, TOLERANCE);
            let of_vars = filled.store.vars().into_iter().map(|(name, var)| {
                let grad = grads.get(&var).unwrap().clone();
                (name, grad)
            });
            let of_vars = sorted(of_vars.collect());
            check_projections(&golden, &format!("{prefix}.grads"), &of_vars, TOLERANCE);
        }
    }
    Ok(())
}

/// In single precision PyTorch itself is up to 6e-7 (with batch statistics: 1.3e-4) away from its
/// double precision.
#[test]
fn torchvision_features_in_single_precision() -> Result<()> {
    let golden = recorded();
    for (name, options) in golden.metadata("nets").as_object().unwrap() {
        for ((prefix, mode), tolerance) in modes(name).into_iter().zip([5e-6, 1e-3]) {
            let filled = Filled::new(name, options, DType::F32)?;
            check_outputs(&golden, &prefix, &filled, &mode, tolerance)?;
        }
    }
    Ok(())
}

/// `<name> <sizes>` of every tensor, sorted.
fn lines(store: &Store) -> Vec<String> {
    let line = |(name, tensor): (String, Tensor)| {
        let sizes = tensor.dims().iter().map(|size| format!(" {size}"));
        name + &sizes.collect::<String>()
    };
    let mut lines: Vec<String> = store.state().into_iter().map(line).collect();
    lines.sort();
    lines
}

fn fnv1a(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[test]
fn keys_are_those_of_torchvision() -> Result<()> {
    let golden = recorded();
    let lists = golden.metadata("lists");
    for (name, expected) in golden.metadata("keys").as_object().unwrap() {
        let config = match name.as_str() {
            "wide_resnet50_2" | "resnext50_32x4d" => ResNetConfig {
                width: 128,
                expansion: 2,
                groups: if name.starts_with("wide") { 1 } else { 32 },
                ..ResNetConfig::torchvision(50)?
            },
            _ => ResNetConfig::torchvision(name.trim_start_matches("resnet").parse().unwrap())?,
        };
        let config = ResNetConfig {
            classes: Some(1000),
            ..config
        };
        let store = store(DType::F32);
        ResNet::new(&config, &store.root())?;
        let lines = lines(&store);
        if let Some(expected) = lists[name].as_array() {
            let expected: Vec<_> = expected.iter().map(|line| line.as_str().unwrap()).collect();
            assert_eq!(lines, expected);
        }
        assert_eq!(lines.len(), number(expected, "tensors"), "{name}");
        assert_eq!(store.parameter_count(), number(expected, "parameters"));
        assert_eq!(fnv1a(&lines.join("\n")), expected["hash"], "{name}");
    }
    Ok(())
}
