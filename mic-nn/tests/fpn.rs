//! The detection backbone against the reference's recorded numbers, and the feature pyramid
//! against torchvision (`testdata/record/fpn.py`).

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Result, Tensor, Var};
use golden::{Golden, values};
use mic_nn::autograd::backward;
use mic_nn::forward::Forward;
use mic_nn::init::from_name;
use mic_nn::models::fpn::{self, ExtraLevels, Fpn, FpnConfig};
use mic_nn::models::resnet::{self, ResNet, ResNetConfig};
use mic_nn::params::Store;
use mic_nn::weights::Weights;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn store() -> Store {
    Store::trainable(ChaCha8Rng::seed_from_u64(0), DType::F32, &Device::Cpu)
}

fn check_relative(golden: &Golden, key: &str, actual: &Tensor, tolerance: f64) {
    let numbers = golden.numbers(key);
    let largest = numbers.iter().fold(0.02, |m: f64, v| m.max(v.abs()));
    golden.check_within(key, actual, tolerance * largest);
}

/// A detector's backbone: `body` and `fpn`.
struct Backbone {
    body: ResNet,
    fpn: Fpn,
}

impl Backbone {
    fn new(store: &Store, config: &ResNetConfig, outputs: usize) -> Result<Self> {
        let pyramid = FpnConfig {
            outputs,
            ..FpnConfig::new(&config.channels())
        };
        Ok(Self {
            body: ResNet::new(config, &store.root().sub("body"))?,
            fpn: Fpn::new(&pyramid, &store.root().sub("fpn"))?,
        })
    }
}

#[test]
fn detection_reference() -> Result<()> {
    let golden = Golden::open("det", "fpn");
    let tolerance = golden.metadata("tolerance_rel_to_max_abs");
    let check = |key: &str, actual: &Tensor| {
        check_relative(&golden, key, actual, tolerance.as_f64().unwrap());
    };
    let option = |key: &str| golden.config["opts"][key].as_u64().unwrap() as usize;
    let width = option("MODEL.RESNETS.WIDTH_PER_GROUP");
    let config = ResNetConfig {
        stem_channels: option("MODEL.RESNETS.STEM_OUT_CHANNELS"),
        width,
        expansion: option("MODEL.RESNETS.RES2_OUT_CHANNELS") / width,
        ..ResNetConfig::detection(50)?
    };
    let store = store();
    let net = Backbone::new(&store, &config, option("MODEL.BACKBONE.OUT_CHANNELS"))?;
    let report = store.load(&golden.below("params."))?;
    assert!(
        report.complete() && report.unexpected.is_empty(),
        "{report}"
    );
    let x = Var::from_tensor(golden.get("x"))?;
    // Training mode makes no difference.
    for mode in [Forward::eval(), Forward::batch_statistics()] {
        check("stem", &net.body.stem(&x, &mode)?);
        let maps = net.body.forward(&x, &mode)?;
        for (n, map) in maps.iter().enumerate() {
            check(&format!("C{}", n + 2), map);
        }
        let levels = net.fpn.forward(&maps)?;
        let mut loss = Tensor::new(0f32, &Device::Cpu)?;
        for (n, level) in levels.iter().enumerate() {
            check(&format!("P{}", n + 2), level);
            let cotangent = golden.get(&format!("cotangent.P{}", n + 2));
            loss = (loss + (level * cotangent)?.sum_all()?)?;
        }
        check("loss", &loss);
        let grads = backward(&loss)?;
        check("grad_x", grads.get(&x).unwrap());
        let recorded = golden.below("grad.");
        let mut trained = 0;
        for (name, var) in store.vars() {
            match grads.get(&var) {
                Some(grad) => {
                    check(&format!("grad.{name}"), grad);
                    trained += 1;
                }
                None => assert!(!recorded.contains_key(&name), "no gradient for {name}"),
            }
        }
        assert_eq!(f64::from(trained), golden.scalar("num_trainable"));
    }
    Ok(())
}

#[test]
fn detection_backbone_has_the_reference_s_size() -> Result<()> {
    let store = store();
    Backbone::new(&store, &ResNetConfig::detection(50)?, 256)?;
    let convolutions = store.vars().into_iter();
    let (body, fpn): (Vec<_>, Vec<_>) = convolutions.partition(|(n, _)| n.starts_with("body."));
    // The specification's key table: 1 + 48 + 4 convolutions, 4 vectors for each norm.
    assert_eq!((body.len(), fpn.len()), (53, 16));
    assert_eq!(store.buffers().len(), 53 * 4);
    let names: BTreeSet<String> = store.state().into_iter().map(|(name, _)| name).collect();
    for name in [
        "body.stem.conv1.weight",
        "body.stem.bn1.running_var",
        "body.layer1.0.downsample.1.bias",
        "body.layer3.5.bn2.weight",
        "fpn.fpn_inner1.weight",
        "fpn.fpn_layer4.bias",
    ] {
        assert!(names.contains(name), "{name}");
    }
    Ok(())
}

#[test]
fn torchvision_pyramids() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = Golden::read(folder.join("../testdata/recorded/fpn.safetensors"));
    let shapes: Vec<[usize; 4]> = serde_json::from_value(golden.metadata("maps")).unwrap();
    let cases: Vec<String> = serde_json::from_value(golden.metadata("cases")).unwrap();
    let ten = |name: &str, shape: &[usize]| -> Result<Tensor> {
        let count: usize = shape.iter().product();
        Tensor::from_vec(from_name(name, &count.into()), shape, &Device::Cpu)? * 10.0
    };
    for case in &cases {
        let inputs: Vec<usize> = shapes.iter().map(|shape| shape[1]).collect();
        let config = FpnConfig {
            outputs: golden.metadata("outputs").as_u64().unwrap() as usize,
            extra: serde_json::from_value(case.as_str().into()).unwrap(),
            inputs,
        };
        let store = store();
        let net = Fpn::new(&config, &store.root())?;
        store.fill_from_names()?;
        let maps = shapes.iter().enumerate().map(|(k, shape)| {
            let map = ten(&format!("{case}.map.{k}"), shape)?;
            Ok(Var::from_tensor(&map)?.into_inner())
        });
        let maps = maps.collect::<Result<Vec<Tensor>>>()?;
        let levels = net.forward(&maps)?;
        assert!(
            golden
                .find(&format!("{case}.level.{}", levels.len()))
                .is_none()
        );
        let mut loss = Tensor::new(0f32, &Device::Cpu)?;
        for (k, level) in levels.iter().enumerate() {
            check_relative(&golden, &format!("{case}.level.{k}"), level, 1e-5);
            let cotangent = ten(&format!("{case}.cotangent.{k}"), level.dims())?;
            loss = (loss + (level * cotangent)?.sum_all()?)?;
        }
        let grads = backward(&loss)?;
        for (k, map) in maps.iter().enumerate() {
            let grad = grads.get(map).unwrap();
            check_relative(&golden, &format!("{case}.map_grad.{k}"), grad, 1e-5);
        }
        // Gradients carry torchvision's names: the table must give ours, all of them.
        let theirs = golden.below(&format!("{case}.grad."));
        let old_names = theirs.iter().map(|(name, grad)| {
            let old = name.replace(".0.weight", ".weight");
            let old = old.replace(".0.bias", ".bias");
            (old, grad.clone())
        });
        for file in [theirs.clone(), old_names.collect()] {
            let file = Weights::from(file)
                .rename(&fpn::torchvision_names())
                .unwrap();
            let mut names: Vec<_> = store.vars().into_iter().map(|(name, _)| name).collect();
            names.sort();
            let mut renamed: Vec<_> = file.names().map(str::to_owned).collect();
            renamed.sort();
            assert_eq!(renamed, names);
            for (name, var) in store.vars() {
                let expected = values(&file.tensor(&name).unwrap());
                let actual = values(grads.get(&var).unwrap());
                let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
                let mut pairs = actual.iter().zip(&expected);
                let agree = pairs.all(|(a, e)| (a - e).abs() <= 1e-5 * largest);
                assert!(agree, "{case}: gradient of {name}");
            }
        }
    }
    Ok(())
}

/// Detectron's names of a ResNet-50 with pyramid, as its files have them.
fn detectron_file() -> HashMap<String, Tensor> {
    let mut names: Vec<String> = ["conv1_w", "res_conv1_bn_s", "res_conv1_bn_b", "conv1_b"]
        .map(String::from)
        .into();
    names.extend(["fc1000_w", "fc1000_b", "pred_w", "pred_b"].map(String::from));
    for (stage, depth) in [3, 4, 6, 3].into_iter().enumerate() {
        for block in 0..depth {
            let branches = ["branch2a", "branch2b", "branch2c", "branch1"];
            for branch in &branches[..if block == 0 { 4 } else { 3 }] {
                let name = format!("res{}_{block}_{branch}", stage + 2);
                names.extend(["w", "bn_s", "bn_b"].map(|end| format!("{name}_{end}")));
            }
        }
        let sum = format!("res{}_{}_sum", stage + 2, depth - 1);
        let lateral = if stage < 3 { "_lateral" } else { "" };
        for end in ["w", "b"] {
            names.push(format!("fpn_inner_{sum}{lateral}_{end}"));
            names.push(format!("fpn_{sum}_{end}"));
        }
    }
    let scalar = Tensor::new(0f32, &Device::Cpu).unwrap();
    names
        .into_iter()
        .map(|name| (name, scalar.clone()))
        .collect()
}

#[test]
fn detectron_names_fill_convolutions_and_affine_vectors() -> Result<()> {
    let config = ResNetConfig::detection(50)?;
    let table = resnet::detectron_names().then(fpn::detectron_names(&config.depths));
    let file = Weights::from(detectron_file()).rename(&table).unwrap();
    let renamed: BTreeSet<String> = file.names().map(str::to_owned).collect();
    let store = store();
    ResNet::new(&config, &store.root())?;
    Fpn::new(&FpnConfig::new(&config.channels()), &store.root())?;
    let model = store.state().into_iter().map(|(name, _)| name);
    let expected: BTreeSet<String> = model.filter(|name| !name.contains("running")).collect();
    assert_eq!(renamed, expected);
    Ok(())
}

#[test]
fn refuses_what_does_not_fit() -> Result<()> {
    let config = FpnConfig {
        outputs: 4,
        extra: ExtraLevels::None,
        ..FpnConfig::new(&[2, 3])
    };
    let net = Fpn::new(&config, &store().root())?;
    let map = |channels: usize| Tensor::zeros((1, channels, 4, 4), DType::F32, &Device::Cpu);
    let message = |maps: &[Tensor]| net.forward(maps).unwrap_err().to_string();
    assert!(message(&[]).contains("no maps, expected 2"));
    assert!(message(&[map(2)?]).contains("1 maps, expected 2"));
    assert!(net.forward(&[map(3)?, map(3)?]).is_err());
    assert!(net.forward(&[map(2)?, map(3)?]).is_ok());
    for (inputs, outputs) in [(vec![], 4), (vec![2, 0], 4), (vec![2], 0)] {
        let config = FpnConfig {
            inputs,
            outputs,
            extra: ExtraLevels::FromBackbone,
        };
        assert!(Fpn::new(&config, &store().root()).is_err());
    }
    Ok(())
}
