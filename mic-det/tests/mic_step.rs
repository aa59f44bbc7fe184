//! Whole iterations of MIC on SADA against the recorded reference.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

mod common;

use std::collections::{HashMap, HashSet};

use candle_core::{DType, Device, Tensor};
use common::golden::{self, Golden, values};
use common::{Recorded, RecordedDrops, cases, check, check_integers, option, set, store, truth};
use mic_core::augment::GaussianBlur;
use mic_core::{BlockMask, BlockMaskConfig};
use mic_data::detection::join_padded;
use mic_det::batch::{Batch, SourceBatch, TargetBatch};
use mic_det::boxes::{Corners, Size};
use mic_det::detector::{DetectorConfig, Model};
use mic_det::rpn::Weighting;
use mic_det::uda::{
    Adaptation, Draws, MaskDraws, MaskedConsistency, OPTIMIZER, Options, STUDENT, SgdOptions,
    TEACHER,
};
use mic_det::{Result, Tap};

/// Sides of padded images are multiples of this (`DATALOADER.SIZE_DIVISIBILITY`).
const DIVISOR: usize = 32;

fn detector(golden: &Golden) -> Result<DetectorConfig> {
    let of = |key: &str| option(golden, key);
    let first = |name: &str| golden.get(&format!("init.{name}")).dims()[0];
    let mut config = DetectorConfig::reference(50, 2)?;
    set(&mut config.channels, of("MODEL.BACKBONE.OUT_CHANNELS"));

    let body = &mut config.body;
    set(
        &mut body.stem_channels,
        of("MODEL.RESNETS.STEM_OUT_CHANNELS"),
    );
    set(&mut body.width, of("MODEL.RESNETS.WIDTH_PER_GROUP"));
    if let Some(channels) = of("MODEL.RESNETS.RES2_OUT_CHANNELS") {
        body.expansion = channels as usize / body.width;
    }

    let rpn = &mut config.rpn;
    for (limits, mode) in [(&mut rpn.train, "TRAIN"), (&mut rpn.test, "TEST")] {
        let of = |key: &str| option(golden, &format!("MODEL.RPN.{key}_{mode}"));
        set(&mut limits.pre_nms, of("PRE_NMS_TOP_N"));
        set(&mut limits.post_nms, of("POST_NMS_TOP_N"));
        set(&mut limits.total, of("FPN_POST_NMS_TOP_N"));
    }
    set(&mut rpn.sampler.batch, of("MODEL.RPN.BATCH_SIZE_PER_IMAGE"));

    let roi = &mut config.roi;
    roi.classes = first("roi_heads.box.predictor.cls_score.bias");
    set(&mut roi.hidden, of("MODEL.ROI_BOX_HEAD.MLP_HEAD_DIM"));
    set(
        &mut roi.sampler.batch,
        of("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE"),
    );
    set(
        &mut roi.detections,
        of("MODEL.ROI_HEADS.DETECTIONS_PER_IMG"),
    );

    let domain = config.domain.as_mut().unwrap();
    domain.image_hidden = first("da_heads.imghead.da_img_conv1_level0.bias");
    domain.instance_hidden = first("da_heads.inshead.da_ins_fc1_level0.bias");
    for (weight, key) in [
        (&mut domain.image_weight, "DA_IMG_GRL_WEIGHT"),
        (&mut domain.instance_weight, "DA_INS_GRL_WEIGHT"),
        (&mut domain.consistency_weight, "COS_WEIGHT"),
    ] {
        change(weight, of(&format!("MODEL.DA_HEADS.{key}")));
    }
    Ok(config)
}

fn change(target: &mut f64, value: Option<f64>) {
    *target = value.unwrap_or(*target);
}

fn options(golden: &Golden) -> Options {
    let of = |key: &str| option(golden, key);
    let paper = MaskedConsistency::default();
    let mut masked = MaskedConsistency {
        blocks: BlockMaskConfig { ..paper.blocks },
        // Recorded blur is part of the draws.
        blur: false,
        ..paper
    };
    set(&mut masked.blocks.block, of("MODEL.MASKING_BLOCK_SIZE"));
    change(&mut masked.blocks.ratio, of("MODEL.MASKING_RATIO"));
    change(&mut masked.alpha, of("MODEL.TEACHER_ALPHA"));
    change(&mut masked.lambda, of("MODEL.PSEUDO_LABEL_LAMBDA"));
    if let Some(threshold) = of("MODEL.PSEUDO_LABEL_THRESHOLD") {
        masked.threshold = threshold as f32;
    }
    if golden.config["opts"]["MODEL.PSEUDO_LABEL_WEIGHT"] == "none" {
        masked.weighting = Weighting::None;
    }
    let mut sgd = SgdOptions::default();
    change(&mut sgd.lr, of("SOLVER.BASE_LR"));
    change(&mut sgd.bias_lr_mult, of("SOLVER.BIAS_LR_FACTOR"));
    change(&mut sgd.weight_decay, of("SOLVER.WEIGHT_DECAY"));
    change(&mut sgd.momentum, of("SOLVER.MOMENTUM"));
    change(&mut sgd.schedule.gamma, of("SOLVER.GAMMA"));
    set(&mut sgd.schedule.warmup_iters, of("SOLVER.WARMUP_ITERS"));
    if let Some(steps) = golden.config["opts"]["SOLVER.STEPS"].as_array() {
        let steps = steps.iter().map(|step| step.as_u64().unwrap() as usize);
        sgd.schedule.milestones = steps.collect();
    }
    Options {
        masked: Some(masked),
        sgd,
        recompute: false,
    }
}

/// The images `<prefix>0`, `<prefix>1`, ..., less the mean, padded to a common size.
fn images(golden: &Golden, prefix: &str) -> Result<(Tensor, Vec<Size>)> {
    let mean = golden.get("pixel_mean").reshape((3, 1, 1))?;
    let up = |side: usize| side.next_multiple_of(DIVISOR);
    let mut sizes = Vec::new();
    let mut batch: Option<Tensor> = None;
    for name in cases(golden, prefix) {
        let image = golden
            .get(&format!("{name}.image_u8"))
            .to_dtype(DType::F32)?;
        let image = image.broadcast_sub(&mean)?.unsqueeze(0)?;
        let (_, _, height, width) = image.dims4()?;
        sizes.push((height, width));
        let padded = image
            .pad_with_zeros(2, 0, up(height) - height)?
            .pad_with_zeros(3, 0, up(width) - width)?;
        batch = Some(match batch {
            Some(batch) => join_padded(&batch, &padded)?,
            None => padded,
        });
    }
    Ok((batch.unwrap(), sizes))
}

fn batch(golden: &Golden, iteration: &str) -> Result<Batch> {
    let prefix = format!("{iteration}.source.img");
    let (image, sizes) = images(golden, &prefix)?;
    let truth = cases(golden, &prefix)
        .iter()
        .map(|key| truth(golden, key))
        .collect();
    let source = SourceBatch {
        image,
        sizes,
        truth,
    };
    let prefix = format!("{iteration}.target.img");
    let (image, sizes) = images(golden, &prefix)?;
    let target = TargetBatch {
        image,
        sizes,
        original: Vec::new(),
    };
    for (i, key) in cases(golden, &prefix).iter().enumerate() {
        let frame: Vec<Corners> = common::boxes(golden, &format!("{key}.boxes"));
        assert_eq!([target.frame(i)], *frame, "{key}");
    }
    Ok(Batch {
        source,
        target: Some(target),
    })
}

fn draws<'a>(
    golden: &'a Golden,
    iteration: &str,
    options: &Options,
    target: &Tensor,
) -> Result<Draws<'a>> {
    let (_, _, height, width) = target.dims4()?;
    let uniforms = golden.get(&format!("{iteration}.mask.rand"));
    let ratio = options.masked.as_ref().unwrap().blocks.ratio;
    let sigma = golden.find(&format!("{iteration}.mask.blur_sigma"));
    Ok(Draws {
        masked: Some(MaskDraws {
            blur: sigma.map(|sigma| GaussianBlur {
                sigma: values(sigma)[0],
            }),
            blocks: BlockMask::from_uniforms(uniforms, ratio, height, width)?,
        }),
        picks: Box::new(Recorded {
            golden,
            prefix: format!("{iteration}."),
        }),
        drops: Box::new(RecordedDrops {
            golden,
            prefix: format!("{iteration}.da."),
        }),
    })
}

/// The method before the first iteration. The teacher holds other numbers: it has to copy the
/// student.
fn method(golden: &Golden) -> Result<Adaptation> {
    let student = Model::new(&detector(golden)?, store())?;
    let mut method = Adaptation::new(student, options(golden))?;
    let mut state = HashMap::new();
    for (name, tensor) in golden.below("init.") {
        state.insert(format!("{TEACHER}{name}"), (&tensor * 3.0)?);
        state.insert(format!("{STUDENT}{name}"), tensor);
    }
    method.restore(&state)?;
    Ok(method)
}

fn state(method: &Adaptation) -> Result<HashMap<String, Tensor>> {
    Ok(method.state()?.into_iter().collect())
}

fn iteration(golden: &Golden, name: &str, step: u64, method: &mut Adaptation) -> Result<()> {
    let key = |rest: &str| format!("{name}.{rest}");
    let batch = batch(golden, name)?;
    let target = &batch.target.as_ref().unwrap().image;
    let draws = draws(golden, name, method.options(), target)?;
    let mut compared = HashSet::new();
    let mut compare = |rest: &str, tensor: &Tensor| {
        if golden.find(&key(rest)).is_some() {
            check(golden, &key(rest), tensor);
            compared.insert(key(rest));
        }
    };
    // Also where no object is certain and nothing needs them.
    let masked = draws.masked.as_ref().unwrap().apply(target)?;
    compare("masked_images", &masked);
    let scalars = method.step(step, &batch, &draws, &mut Tap::to(&mut compare))?;

    let lr = method.lr(step);
    let biases = lr * method.options().sgd.bias_lr_mult;
    compare("lr", &Tensor::new(&[lr, biases], &Device::Cpu)?);
    compare("loss_total", &Tensor::new(scalars["loss"], &Device::Cpu)?);
    for (name, value) in &scalars {
        compare(&format!("loss.{name}"), &Tensor::new(*value, &Device::Cpu)?);
    }
    for (name, _, gradient) in method.grads().iter() {
        if let Some(gradient) = gradient {
            compare(&format!("grad.{name}"), gradient);
        }
    }
    for (name, tensor) in state(method)? {
        for (prefix, recorded) in [(STUDENT, "student"), (TEACHER, "teacher_params")] {
            if let Some(name) = name.strip_prefix(prefix) {
                compare(&format!("{recorded}.{name}"), &tensor);
            }
        }
    }
    everything_is_sampled_for_the_domain_heads(golden, name);
    let given = ["source.", "target.", "mask.", "da."].map(key);
    let left = |name: &&String| {
        let is_given = given.iter().any(|prefix| name.starts_with(prefix.as_str()))
            || name.contains(".perm_")
            || name.contains(".da_sampler.");
        name.starts_with(&key("")) && !is_given && !compared.contains(*name)
    };
    let missed: Vec<_> = golden.tensors.keys().filter(left).collect();
    assert!(missed.is_empty(), "not compared: {missed:?}");
    Ok(())
}

/// The reference samples a second time for the domain heads, and chooses everything; here that is
/// left out.
fn everything_is_sampled_for_the_domain_heads(golden: &Golden, iteration: &str) {
    for pass in ["main", "masked"] {
        let key = |i: usize, rest: &str| {
            format!(
                "{iteration}.{pass}.{rest}",
                rest = rest.replace('#', &i.to_string())
            )
        };
        for i in (0..).take_while(|&i| golden.find(&key(i, "da_sampler.img#.pos_idx")).is_some()) {
            let rows = golden.get(&key(i, "rois.img#.labels")).dims()[0];
            let all: Vec<u32> = (0..rows as u32).collect();
            check_integers::<u32>(golden, &key(i, "da_sampler.img#.pos_idx"), &[]);
            check_integers(golden, &key(i, "da_sampler.img#.neg_idx"), &all);
        }
    }
}

fn check_file(golden: &Golden) -> Result<()> {
    let mut method = method(golden)?;
    let iterations = golden.config["iters"].as_u64().unwrap();
    for step in 0..iterations {
        iteration(golden, &format!("iter{step}"), step, &mut method)?;
    }
    let state = state(&method)?;
    let momentum = golden.below("momentum.");
    assert!(!momentum.is_empty());
    for name in momentum.keys() {
        let ours = &state[&format!("{OPTIMIZER}{name}.momentum_buffer")];
        check(golden, &format!("momentum.{name}"), ours);
    }
    let unchanged = golden.metadata("unchanged_parameters");
    let unchanged: HashSet<&str> = unchanged
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    assert!(!unchanged.is_empty());
    for (name, _) in method.student().store.params() {
        let initial = values(golden.get(&format!("init.{name}")));
        let is_same = initial == values(&state[&format!("{STUDENT}{name}")]);
        assert_eq!(is_same, unchanged.contains(name.as_str()), "{name}");
        let momentum = format!("{OPTIMIZER}{name}.momentum_buffer");
        assert!(!is_same || !state.contains_key(&momentum), "{name}");
    }
    Ok(())
}

#[test]
fn iterations_agree_with_the_recorded_reference() -> Result<()> {
    for path in golden::files("det", "mic_step") {
        check_file(&Golden::read(path))?;
    }
    Ok(())
}
