//! A method that continues from a saved state takes the very steps of one that never stopped.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use mic_core::augment::{ColorJitterConfig, Normalization, StrongConfig};
use mic_core::{BlockMaskConfig, Confidence, PseudoLabelConfig};
use mic_data::rng::stream;
use mic_data::{SourceBatch, TargetBatch, UdaBatch};
use mic_nn::forward::RandomDrops;
use mic_nn::models::mit::{MitConfig, Stem};
use mic_nn::optim::{AdamW, AdamWConfig, GroupRules, Optimizer};
use mic_nn::params::Store;
use mic_seg::Result;
use mic_seg::config::{Images, MaskMode};
use mic_seg::model::{DaformerHeadConfig, SegmentorConfig, separable_aspp};
use mic_seg::uda::{AdversarialOptions, Draws, MaskedConsistency, Options, TargetUse, Training};

const SEED: u64 = 5;

fn model() -> SegmentorConfig {
    let backbone = MitConfig {
        embed_dims: vec![12, 16],
        depths: vec![1, 1],
        num_heads: vec![1, 2],
        sr_ratios: vec![4, 2],
        mlp_ratio: 2,
        drop_path_rate: 0.3,
        stem: Stem::Conv,
    };
    let head = DaformerHeadConfig {
        embed: 8,
        channels: 8,
        fusion: separable_aspp(&[1, 2]),
        dropout: 0.3,
        ..DaformerHeadConfig::new(&backbone.embed_dims, 4)
    };
    SegmentorConfig::new(backbone, head)
}

fn options(target: TargetUse) -> Options {
    let pseudo = PseudoLabelConfig::new(Confidence::ShareAbove(0.3));
    Options {
        target,
        augment_source: true,
        strong: StrongConfig {
            jitter: ColorJitterConfig::with_strength(0.2),
            jitter_threshold: 0.2,
            blur: true,
        },
        normalization: Normalization::IMAGENET,
        alpha: 0.6,
        pseudo,
        feature_distance: None,
        masked: Some(MaskedConsistency {
            mode: MaskMode {
                images: Images::Target,
                augment: true,
            },
            blocks: BlockMaskConfig {
                block: 16,
                ratio: 0.5,
            },
            lambda: 1.0,
            own_teacher: Some((0.4, pseudo)),
        }),
        detail: None,
        recompute: false,
    }
}

struct Run {
    method: Training,
    optimizer: AdamW,
}

impl Run {
    fn new(options: Options, seed: u64) -> Result<Self> {
        let fresh =
            |network: &str| Store::trainable(stream(seed, network, 0), DType::F32, &Device::Cpu);
        let method = Training::new(&model(), options, None, fresh)?;
        let rules = GroupRules::uniform(1e-2, 0.01);
        let optimizer = AdamW::new(&method.parameters(), &rules, AdamWConfig::default());
        Ok(Self { method, optimizer })
    }

    fn step(&mut self, step: u64) -> Result<()> {
        let batch = batch(step)?;
        let draws = Draws::sample(self.method.options(), SEED, step, &batch.source.label)?;
        let drops = RandomDrops::new(stream(SEED, "dropout", step));
        self.method.step(step, &batch, &draws, &drops, None)?;
        self.optimizer.step(self.method.grads(), &|base| base)?;
        self.method.after_update(step)
    }
}

fn batch(step: u64) -> Result<UdaBatch> {
    let image = |shift: f32| {
        let wave = |i| (0.37 * i as f32 + shift + step as f32).sin();
        Tensor::from_vec(
            (0..2 * 3 * 32 * 48).map(wave).collect::<Vec<f32>>(),
            (2, 3, 32, 48),
            &Device::Cpu,
        )
    };
    let label = (0..2 * 32 * 48).map(|i| (i / 29 % 4) as u8).collect();
    Ok(UdaBatch {
        source: SourceBatch {
            image: image(0.0)?,
            label: Tensor::from_vec(label, (2, 32, 48), &Device::Cpu)?,
            names: Vec::new(),
        },
        target: Some(TargetBatch {
            image: image(0.7)?,
            valid: None,
            names: Vec::new(),
        }),
    })
}

/// The bits of every tensor by name.
fn bits(state: &[(String, Tensor)]) -> Vec<(String, Vec<u64>)> {
    let of = |(name, tensor): &(String, Tensor)| {
        let flat = tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
        let values = flat.to_vec1::<f64>().unwrap();
        (name.clone(), values.into_iter().map(f64::to_bits).collect())
    };
    state.iter().map(of).collect()
}

fn check(target: TargetUse, prefixes: &[&str]) -> Result<()> {
    let mut whole = Run::new(options(target.clone()), 1)?;
    let mut saved = None;
    for step in 0..4 {
        if step == 2 {
            let copy = |(name, tensor): (String, Tensor)| Ok((name, tensor.copy()?));
            let state = whole.method.state()?.into_iter().map(copy);
            let state = state.collect::<candle_core::Result<HashMap<_, _>>>()?;
            let optimizer = whole.optimizer.state()?.into_iter().map(copy);
            let optimizer = optimizer.collect::<candle_core::Result<HashMap<_, _>>>()?;
            saved = Some((state, optimizer));
        }
        whole.step(step)?;
    }
    let (state, optimizer) = saved.unwrap();
    for prefix in ["model.", "mic_teacher."].iter().chain(prefixes) {
        assert!(state.keys().any(|n| n.starts_with(prefix)), "{prefix}");
        let buffers = state.keys().filter(|n| n.ends_with("running_var"));
        let buffers = buffers.filter(|n| n.starts_with(prefix)).count();
        assert_eq!(buffers > 0, !prefix.ends_with("_D."), "{prefix}");
    }
    // Other initial weights, so that whatever is not restored shows.
    let mut continued = Run::new(options(target), 2)?;
    continued.method.restore(&state)?;
    continued.optimizer.load_state(&optimizer)?;
    for step in 2..4 {
        continued.step(step)?;
    }
    let states = [&continued, &whole].map(|run| bits(&run.method.state().unwrap()));
    assert_eq!(states[0], states[1]);
    Ok(())
}

#[test]
fn continued_self_training_is_the_one_that_never_stopped() -> Result<()> {
    check(TargetUse::Mixing, &["ema_model."])
}

#[test]
fn continued_adversarial_training_is_the_one_that_never_stopped() -> Result<()> {
    let options = AdversarialOptions {
        channels: 4,
        lr: 1e-3,
        ..AdversarialOptions::new(4)
    };
    check(
        TargetUse::Adversarial(options),
        &["model_D.", "optimizer_D."],
    )
}

#[test]
fn continued_entropy_minimisation_is_the_one_that_never_stopped() -> Result<()> {
    check(TargetUse::Entropy { lambda: 0.1 }, &[])
}

#[test]
fn states_of_other_methods_are_refused_and_change_nothing() -> Result<()> {
    let mut run = Run::new(options(TargetUse::Mixing), 1)?;
    let before = bits(&run.method.state()?);
    let whole: HashMap<_, _> = Run::new(options(TargetUse::Mixing), 2)?
        .method
        .state()?
        .into_iter()
        .collect();

    let mut lacking = whole.clone();
    lacking.remove("ema_model.decode_head.conv_seg.weight");
    let mut strange = whole.clone();
    strange.insert(
        "model_D.main.conv1.bias".into(),
        Tensor::new(0f32, &Device::Cpu)?,
    );
    let mut reshaped = whole.clone();
    let zeros = Tensor::zeros(3, DType::F32, &Device::Cpu)?;
    reshaped.insert("mic_teacher.decode_head.conv_seg.bias".into(), zeros);
    for (state, word) in [
        (lacking, "it lacks ema_model.decode_head.conv_seg.weight"),
        (strange, "the method has no model_D.main.conv1.bias"),
        (
            reshaped,
            "mic_teacher.decode_head.conv_seg.bias has shape [3]",
        ),
    ] {
        let message = run.method.restore(&state).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    }
    assert_eq!(bits(&run.method.state()?), before);

    let mut foreign = whole;
    foreign.insert("optimizer.step".into(), Tensor::new(0i64, &Device::Cpu)?);
    run.method.restore(&foreign)
}
