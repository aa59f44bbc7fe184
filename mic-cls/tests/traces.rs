//! Three iterations of every variant on a network of a few numbers, against values computed with
//! the published code (MIC on SDAT with and without confidence, SDAT, SDAT with a step of length 0,
//! CDAN with MCC).

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;
mod support;

use std::collections::{BTreeMap, HashMap};

use candle_core::{Device, Tensor};
use golden::values;
use mic_cls::Result;
use mic_cls::model::{BackboneConfig, ClassifierConfig, Network};
use mic_cls::uda::{
    Adaptation, ClsBatch, DISCRIMINATOR, Draws, MaskDraws, Options, REVERSALS, STUDENT, TEACHER,
};
use mic_core::{BlockMask, Confidence};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use support::{NoDrops, mic};

/// A tensor's name and its first values.
type Expected = (&'static str, &'static [f64]);

const BATCH: usize = 4;
const WIDTH: usize = 6;

/// `0.5 sin(1 + 0.7 i + 1.9 t)` for the linear layers, number `t`; batch norms as they are.
fn filled(state: &HashMap<String, Tensor>) -> HashMap<String, Tensor> {
    let student = ["backbone.", "bottleneck.0.", "head."].map(|name| (STUDENT, name));
    let others = ["0.", "3.", "6."].map(|name| (DISCRIMINATOR, name));
    let mut state = state.clone();
    let layers = student.into_iter().chain(others);
    let names = layers.flat_map(|layer| ["weight", "bias"].map(|part| (layer, part)));
    for (t, ((network, layer), part)) in names.enumerate() {
        let wave = |i: usize| 0.5 * (1.0 + 0.7 * i as f64 + 1.9 * t as f64).sin();
        for prefix in [network, TEACHER] {
            // The teacher begins as the student.
            if let Some(tensor) = state.get_mut(&format!("{prefix}{layer}{part}")) {
                let new = (0..tensor.elem_count()).map(|i| wave(i) as f32);
                let new = Tensor::from_iter(new, &Device::Cpu).unwrap();
                *tensor = new.reshape(tensor.dims()).unwrap();
            }
            if network == DISCRIMINATOR {
                break;
            }
        }
    }
    state
}

fn options() -> Options {
    let mut options = mic(1);
    options.sgd.lr = 0.05;
    options.adversary.as_mut().unwrap().hidden = 5;
    options.masked.as_mut().unwrap().strong = None;
    options
}

fn method(options: Options) -> Result<Adaptation> {
    let config = ClassifierConfig {
        backbone: BackboneConfig::Linear {
            inputs: WIDTH,
            outputs: 4,
        },
        bottleneck: Some(3),
        classes: 3,
    };
    let student = Network::new(&config, ChaCha8Rng::seed_from_u64(0))?;
    let mut method = Adaptation::new(student, options, 0)?;
    let mut state = filled(&support::state(&method));
    state.insert(REVERSALS.into(), Tensor::new(500i64, &Device::Cpu)?);
    method.restore(&state)?;
    Ok(method)
}

fn tensor(value: impl Fn(f64, f64) -> f64) -> Tensor {
    let value = |i: usize| value((i / WIDTH) as f64, (i % WIDTH) as f64) as f32;
    let flat = Tensor::from_iter((0..BATCH * WIDTH).map(value), &Device::Cpu).unwrap();
    flat.reshape((BATCH, 1, 1, WIDTH)).unwrap()
}

fn step(method: &mut Adaptation, number: usize) -> Result<BTreeMap<String, f64>> {
    let it = number as f64;
    let labels = (0..BATCH).map(|b| ((b + number) % 3) as u32);
    let batch = ClsBatch {
        source: tensor(|b, j| (0.3 + 1.1 * b + 0.7 * j + 0.5 * it).sin()),
        labels: Tensor::from_iter(labels, &Device::Cpu)?,
        target: Some(tensor(|b, j| {
            1.2 * (0.2 + 0.9 * b + 0.5 * j + 0.3 * it).cos()
        })),
    };
    let kept = tensor(|b, j| f64::from(!(j as usize + b as usize + number).is_multiple_of(3)));
    let blocks = BlockMask::from_uniforms(&kept, 0.5, 1, WIDTH)?;
    let draws = Draws {
        masked: Some(MaskDraws {
            strong: None,
            blocks,
        }),
    };
    method.step(number as u64, &batch, &draws, &NoDrops, None)
}

#[track_caller]
fn near(what: &str, ours: f64, expected: f64) {
    // `domain_acc` is a percentage; everything else is of order 1.
    assert!(
        (ours - expected).abs() < 1e-4,
        "{what}: {ours}, not {expected}"
    );
}

/// Runs the three iterations; compares scalars by iteration and tensors' first values at the end.
fn check(options: Options, scalars: &[(&str, [f64; 3])], end: &[Expected]) -> Result<()> {
    let mut method = method(options)?;
    for number in 0..3 {
        let logged = step(&mut method, number)?;
        for (name, expected) in scalars {
            near(
                &format!("{name} of step {number}"),
                logged[*name],
                expected[number],
            );
        }
    }
    let state = support::state(&method);
    for (name, expected) in end {
        for (i, (ours, expected)) in values(&state[*name]).iter().zip(*expected).enumerate() {
            near(&format!("{name}[{i}]"), *ours, *expected);
        }
    }
    Ok(())
}

#[test]
fn mic_with_confidence() -> Result<()> {
    check(
        options(),
        &[
            ("ascent.norm", [5.441890, 0.819607, 1.928139]),
            ("loss.total", [3.210321, 3.239687, 2.997938]),
            ("loss.cls", [1.150103, 1.232534, 1.060875]),
            ("loss.transfer", [2.060218, 2.007153, 1.937063]),
            ("accuracy.domain", [50.0, 62.5, 50.0]),
            ("pseudo.weight", [0.537998, 0.531339, 0.546425]),
        ],
        &[
            ("model.backbone.weight", &[0.407840, 0.481986, 0.330049]),
            ("model.backbone.bias", &[0.119620, -0.221251, -0.458065]),
            (
                "model.bottleneck.0.weight",
                &[-0.476718, -0.383518, -0.033450],
            ),
            ("model.bottleneck.0.bias", &[0.202344, 0.449173, 0.484750]),
            ("model.bottleneck.1.weight", &[1.004890, 0.992950, 1.056497]),
            ("model.bottleneck.1.bias", &[0.008956, -0.006232, 0.073297]),
            (
                "model.bottleneck.1.running_mean",
                &[0.189104, 0.267867, 0.528387],
            ),
            (
                "model.bottleneck.1.running_var",
                &[0.304950, 0.679642, 0.481598],
            ),
            ("model.bottleneck.1.num_batches_tracked", &[12.0]),
            ("model.head.weight", &[0.311062, 0.042781, -0.322209]),
            ("model.head.bias", &[-0.534794, -0.492430, -0.210783]),
            ("model_D.0.weight", &[-0.093150, 0.238040, 0.480789]),
            ("model_D.0.bias", &[0.493188, 0.325013, 0.003980]),
            ("model_D.1.weight", &[1.006601, 1.003514, 0.998607]),
            ("model_D.1.bias", &[-0.003831, -0.002936, 0.000713]),
            ("model_D.1.running_mean", &[0.079001, 0.033783, -0.052879]),
            ("model_D.1.running_var", &[0.732341, 0.732328, 0.732427]),
            ("model_D.3.weight", &[-0.232635, -0.463583, -0.475870]),
            ("model_D.4.weight", &[0.981204, 1.013011, 0.987656]),
            ("model_D.4.running_mean", &[-0.251958, 0.122077, 0.000376]),
            ("model_D.6.weight", &[0.415631, 0.508089, 0.234379]),
            ("model_D.6.bias", &[0.007725]),
            ("model_D.1.num_batches_tracked", &[3.0]),
            ("ema_model.backbone.weight", &[0.415165, 0.489885, 0.334510]),
            (
                "ema_model.bottleneck.0.weight",
                &[-0.508374, -0.347557, -0.035906],
            ),
            (
                "ema_model.bottleneck.1.weight",
                &[1.002173, 0.993610, 1.017889],
            ),
            (
                "ema_model.bottleneck.1.running_mean",
                &[0.086214, 0.079118, 0.211684],
            ),
            (
                "ema_model.bottleneck.1.running_var",
                &[0.742333, 0.804966, 0.765619],
            ),
            ("ema_model.bottleneck.1.num_batches_tracked", &[3.0]),
            ("ema_model.head.weight", &[0.345907, 0.071829, -0.287397]),
            ("ema_model.head.bias", &[-0.459869, -0.492570, -0.285932]),
        ],
    )
}

#[test]
fn mic_without_confidence() -> Result<()> {
    let mut options = options();
    options.masked.as_mut().unwrap().confidence = Confidence::None;
    check(
        options,
        &[
            ("ascent.norm", [6.306952, 0.935741, 2.048613]),
            ("loss.total", [3.209809, 3.240544, 2.995926]),
            ("loss.cls", [1.149129, 1.228524, 1.059152]),
            ("loss.transfer", [2.060680, 2.012020, 1.936774]),
            ("pseudo.weight", [1.0, 1.0, 1.0]),
        ],
        &[
            (
                "model.bottleneck.0.weight",
                &[-0.476042, -0.383864, -0.033969],
            ),
            (
                "model.bottleneck.1.running_mean",
                &[0.189079, 0.267953, 0.527759],
            ),
            ("model.head.weight", &[0.311004, 0.042579, -0.322363]),
            ("model.head.bias", &[-0.535511, -0.492795, -0.209701]),
        ],
    )
}

#[test]
fn sdat() -> Result<()> {
    let mut options = options();
    options.masked = None;
    check(
        options,
        &[
            ("ascent.norm", [4.406836, 0.874893, 1.702985]),
            ("loss.total", [2.543502, 2.617617, 2.365962]),
            ("loss.cls", [1.150804, 1.225391, 1.024281]),
            ("loss.transfer", [1.392698, 1.392226, 1.341681]),
            ("accuracy.domain", [50.0, 62.5, 62.5]),
        ],
        &[
            ("model.backbone.weight", &[0.406830, 0.483375, 0.332296]),
            (
                "model.bottleneck.0.weight",
                &[-0.444549, -0.408325, -0.042001],
            ),
            (
                "model.bottleneck.1.running_mean",
                &[0.131176, 0.138549, 0.353060],
            ),
            (
                "model.bottleneck.1.running_var",
                &[0.550489, 0.662393, 0.762948],
            ),
            ("model.bottleneck.1.num_batches_tracked", &[6.0]),
            ("model.head.weight", &[0.364570, 0.094198, -0.276853]),
            ("model.head.bias", &[-0.420338, -0.430780, -0.386889]),
            ("model_D.0.weight", &[-0.078786, 0.229327, 0.484210]),
        ],
    )
}

/// A step of length 0 has the gradients of CDAN with MCC, but two passes move the statistics.
#[test]
fn sdat_without_a_step_and_cdan_with_mcc() -> Result<()> {
    let losses = [
        ("loss.total", [2.457918, 2.595312, 2.344155]),
        ("loss.cls", [1.067735, 1.216766, 0.982427]),
    ];
    let weights: [Expected; 3] = [
        ("model.backbone.weight", &[0.404802, 0.479369, 0.327732]),
        ("model.head.weight", &[0.371427, 0.100300, -0.292443]),
        ("model.head.bias", &[-0.420443, -0.432449, -0.385116]),
    ];
    let mut twice = options();
    twice.masked = None;
    let mut once = twice.clone();
    twice.ascent.as_mut().unwrap().sam.rho = 0.0;
    once.ascent = None;
    let statistics: [(Options, [Expected; 3]); 2] = [
        (
            twice,
            [
                (
                    "model.bottleneck.1.running_mean",
                    &[0.128986, 0.149235, 0.340406],
                ),
                (
                    "model.bottleneck.1.running_var",
                    &[0.550439, 0.719329, 0.782634],
                ),
                ("model.bottleneck.1.num_batches_tracked", &[6.0]),
            ],
        ),
        (
            once,
            [
                (
                    "model.bottleneck.1.running_mean",
                    &[0.074723, 0.084436, 0.198771],
                ),
                (
                    "model.bottleneck.1.running_var",
                    &[0.739962, 0.831283, 0.865549],
                ),
                ("model.bottleneck.1.num_batches_tracked", &[3.0]),
            ],
        ),
    ];
    for (options, statistics) in statistics {
        let end = [weights.as_slice(), statistics.as_slice()].concat();
        check(options, &losses, &end)?;
    }
    Ok(())
}
