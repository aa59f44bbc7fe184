//! Proposals, region heads and domain heads against the recorded reference, with gradients.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

mod common;

use std::collections::{BTreeMap, HashMap};

use candle_core::{Device, Tensor, Var};
use common::golden::{Golden, values};
use common::{
    Recorded, RecordedDrops, boxes, cases, check, check_boxes, check_integers, check_numbers,
    integers, option, set, sizes, store, truth,
};
use mic_det::anchors::AnchorConfig;
use mic_det::batch::{Known, Pass, Truth};
use mic_det::boxes::to_rois;
use mic_det::roi::{BoxHead, RoiConfig, RoiLosses, post_process, sample_regions};
use mic_det::rpn::{Proposals, Rpn, RpnConfig, Weighting};
use mic_det::sada::{DomainHeads, DomainInput, SadaConfig};
use mic_det::{Conventions, Result, Tap};
use mic_nn::autograd::backward;
use mic_nn::forward::Forward;
use mic_nn::params::Store;

const LEGACY: Conventions = Conventions::Legacy;

fn features(golden: &Golden) -> Result<Vec<Var>> {
    let names = (2..).map(|n| format!("features.P{n}"));
    let names = names.take_while(|name| golden.find(name).is_some());
    Ok(names
        .map(|name| Var::from_tensor(golden.get(&name)))
        .collect::<candle_core::Result<_>>()?)
}

fn tensors(vars: &[Var]) -> Vec<Tensor> {
    vars.iter().map(|v| v.as_tensor().clone()).collect()
}

/// The annotations of the recorded images; of those without, the frame.
fn known(golden: &Golden) -> (Vec<Truth>, Vec<bool>) {
    let images = cases(golden, "targets.img");
    let source = |image: &String| golden.scalar(&format!("{image}.is_source")) != 0.0;
    let truths = images.iter().map(|image| truth(golden, image));
    (truths.collect(), images.iter().map(source).collect())
}

fn pass<'a>(golden: &Golden, truths: &'a [Truth], source: &[bool]) -> Result<Pass<'a>> {
    let padded = integers(golden, "padded_size");
    let shape = (truths.len(), 3, padded[0], padded[1]);
    Ok(Pass {
        image: Tensor::zeros(shape, candle_core::DType::F32, &Device::Cpu)?,
        sizes: sizes(golden, "image_sizes"),
        known: truths
            .iter()
            .zip(source)
            .map(|(truth, &source)| match source {
                true => Known::Objects(truth),
                false => Known::Domain(truth.boxes[0]),
            })
            .collect(),
    })
}

fn weighting(name: &str) -> Weighting {
    match name {
        "none" => Weighting::None,
        "prob" => Weighting::Prob,
        other => panic!("unknown weighting {other}"),
    }
}

/// Compares recorded gradients `<prefix>.grad_features.P#` and `<prefix>.grad.*`.
fn check_gradients(
    golden: &Golden,
    prefix: &str,
    loss: &Tensor,
    maps: &[Var],
    store: &Store,
) -> Result<()> {
    let grads = backward(loss)?;
    for (i, map) in maps.iter().enumerate() {
        let key = format!("{prefix}.grad_features.P{}", i + 2);
        if golden.find(&key).is_some() {
            // A map that nothing was read from has no gradient, which is recorded as 0.
            let nothing = map.zeros_like()?;
            check(golden, &key, grads.get(map).unwrap_or(&nothing));
        }
    }
    let vars: HashMap<String, Var> = store.vars().into_iter().collect();
    let recorded = golden.below(&format!("{prefix}.grad."));
    assert!(!recorded.is_empty());
    for name in recorded.keys() {
        let grad = grads.get(&vars[name]);
        let grad = grad.unwrap_or_else(|| panic!("{prefix}: {name} got no gradient"));
        check(golden, &format!("{prefix}.grad.{name}"), grad);
    }
    Ok(())
}

fn check_report(report: &mic_nn::params::LoadReport) {
    assert!(report.exact(), "{report}");
}

#[test]
fn proposals() -> Result<()> {
    let golden = Golden::open("det", "rpn");
    let mut config = RpnConfig::default();
    for (limits, mode) in [(&mut config.train, "TRAIN"), (&mut config.test, "TEST")] {
        let of = |key: &str| option(&golden, &format!("MODEL.RPN.{key}_{mode}"));
        set(&mut limits.pre_nms, of("PRE_NMS_TOP_N"));
        set(&mut limits.post_nms, of("POST_NMS_TOP_N"));
        set(&mut limits.total, of("FPN_POST_NMS_TOP_N"));
    }
    let batch = option(&golden, "MODEL.RPN.BATCH_SIZE_PER_IMAGE");
    set(&mut config.sampler.batch, batch);
    let maps = features(&golden)?;
    let channels = maps[0].dims()[1];
    let store = store();
    let anchors = AnchorConfig::default();
    let rpn = Rpn::new(&config, &anchors, channels, LEGACY, &store.root())?;
    check_report(&store.load(&golden.below("params."))?);

    let (truths, source) = known(&golden);
    let pass = pass(&golden, &truths, &source)?;
    let padded = integers(&golden, "padded_size");
    let predictions = rpn.predict(&tensors(&maps))?;
    for (i, (logits, offsets)) in predictions
        .objectness
        .iter()
        .zip(&predictions.offsets)
        .enumerate()
    {
        check(&golden, &format!("head.objectness.P{}", i + 2), logits);
        check(&golden, &format!("head.bbox_pred.P{}", i + 2), offsets);
    }
    let grid = rpn.grid(&predictions, (padded[0], padded[1]))?;
    let train = rpn.train_proposals(&predictions, &grid, &pass.sizes, &pass.known)?;
    let test = rpn.test_proposals(&predictions, &grid, &pass.sizes)?;
    for (mode, proposals) in [("train", train), ("test", test)] {
        for (i, Proposals { boxes, objectness }) in proposals.iter().enumerate() {
            let key = format!("{mode}.proposals.img{i}");
            check_boxes(&golden, &format!("{key}.boxes"), boxes);
            check_numbers(&golden, &format!("{key}.objectness"), objectness);
        }
    }
    let picks = Recorded {
        golden: &golden,
        prefix: String::new(),
    };
    for weight in ["none", "prob"] {
        let prefix = format!("train_{weight}");
        let mut seen = 0;
        let mut view = |name: &str, tensor: &Tensor| {
            let name = name.trim_start_matches(".rpn_");
            check(&golden, name, tensor);
            seen += 1;
        };
        let losses = rpn.losses(
            &tensors(&maps),
            &grid,
            &pass,
            weighting(weight),
            "",
            &Sites(&picks),
            &mut Tap::to(&mut view),
        )?;
        assert_eq!(seen, 3 * source.iter().filter(|&&s| s).count());
        check(
            &golden,
            &format!("{prefix}.loss_objectness"),
            &losses.objectness,
        );
        check(
            &golden,
            &format!("{prefix}.loss_rpn_box_reg"),
            &losses.box_reg,
        );
        let factor = golden.config["wreg"].as_f64().unwrap();
        let loss = (losses.objectness + (losses.box_reg * factor)?)?;
        check_gradients(&golden, &prefix, &loss, &maps, &store)?;
    }
    Ok(())
}

/// Sites without the name of a pass and the kind of sampler: `sampler.img0.pos`.
struct Sites<'a>(&'a Recorded<'a>);

impl mic_det::sampler::Picks for Sites<'_> {
    fn pick(&self, site: &str, of: usize, count: usize) -> Vec<usize> {
        let site = site.trim_start_matches(".rpn_").trim_start_matches(".box_");
        self.0.pick(site, of, count)
    }
}

fn roi_config(golden: &Golden) -> RoiConfig {
    let mut config = RoiConfig::default();
    set(
        &mut config.hidden,
        option(golden, "MODEL.ROI_BOX_HEAD.MLP_HEAD_DIM"),
    );
    set(
        &mut config.classes,
        option(golden, "MODEL.ROI_BOX_HEAD.NUM_CLASSES"),
    );
    let batch = option(golden, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE");
    set(&mut config.sampler.batch, batch);
    let detections = option(golden, "MODEL.ROI_HEADS.DETECTIONS_PER_IMG");
    set(&mut config.detections, detections);
    config
}

fn check_detections(golden: &Golden, key: &str, found: &mic_det::roi::Detections) {
    check_boxes(golden, &format!("{key}.boxes"), &found.boxes);
    check_numbers(golden, &format!("{key}.scores"), &found.scores);
    check_integers(golden, &format!("{key}.labels"), &found.labels);
}

#[test]
fn region_heads() -> Result<()> {
    let golden = Golden::open("det", "roi_heads");
    let config = roi_config(&golden);
    let maps = features(&golden)?;
    let channels = maps[0].dims()[1];
    let store = store();
    let strides = AnchorConfig::default().strides;
    let head = BoxHead::new(
        &config,
        channels,
        &strides,
        LEGACY,
        &store.root().sub("box"),
    )?;
    check_report(&store.load(&golden.below("params."))?);
    let (truths, source) = known(&golden);
    let pass = pass(&golden, &truths, &source)?;
    let proposals: Vec<Proposals> = cases(&golden, "proposals.img")
        .iter()
        .map(|key| {
            let boxes = boxes(&golden, &format!("{key}.boxes"));
            let objectness = vec![1.0; boxes.len()];
            Proposals { boxes, objectness }
        })
        .collect();
    let picks = Recorded {
        golden: &golden,
        prefix: String::new(),
    };
    let mut seen = 0;
    let mut view = |name: &str, tensor: &Tensor| {
        check(&golden, name.trim_start_matches(".box_"), tensor);
        seen += 1;
    };
    let regions = sample_regions(
        &config,
        LEGACY,
        &proposals,
        &pass,
        "",
        &Sites(&picks),
        &mut Tap::to(&mut view),
    )?;
    assert_eq!(seen, 3 * proposals.len());
    for (i, regions) in regions.iter().enumerate() {
        let key = |key: &str| format!("train.sampled.img{i}.{key}");
        check_boxes(&golden, &key("boxes"), &regions.boxes);
        check_boxes(
            &golden,
            &format!("train.da_proposals.img{i}.boxes"),
            &regions.boxes,
        );
        check_integers(&golden, &key("labels"), &regions.labels);
        let domain = vec![u8::from(regions.labelled); regions.boxes.len()];
        check_integers(&golden, &key("domain_labels"), &domain);
        // The offsets of background do not count and are not computed here.
        let recorded = boxes(&golden, &key("regression_targets"));
        for ((ours, recorded), &label) in regions.offsets.iter().zip(recorded).zip(&regions.labels)
        {
            let near = |(a, b): (&f32, f32)| (a - b).abs() < 1e-4;
            assert!(label == 0 || ours.iter().zip(recorded).all(near));
        }
    }
    let rois = to_rois(regions.iter().map(|r| r.boxes.as_slice()))?;
    for weight in ["none", "prob"] {
        let prefix = format!("train_{weight}");
        let features = head.features(&tensors(&maps), &rois)?;
        check(&golden, "train.box_features", &features);
        check(&golden, "train.da_ins_features", &features);
        let (logits, offsets) = head.predict(&features)?;
        check(&golden, "train.class_logits", &logits);
        check(&golden, "train.box_regression", &offsets);
        let losses = RoiLosses::of(&config, &regions, &logits, &offsets, weighting(weight))?;
        check(
            &golden,
            &format!("{prefix}.loss_classifier"),
            &losses.classifier,
        );
        check(&golden, &format!("{prefix}.loss_box_reg"), &losses.box_reg);
        let factor = golden.config["wreg"].as_f64().unwrap();
        let domain = (features * golden.get("cotangent_da"))?.sum_all()?;
        let loss = ((losses.classifier + (losses.box_reg * factor)?)? + domain)?;
        check_gradients(&golden, &prefix, &loss, &maps, &store)?;
    }
    // Evaluation, on all proposals.
    let rois = to_rois(proposals.iter().map(|p| p.boxes.as_slice()))?;
    let (logits, offsets) = head.predict(&head.features(&tensors(&maps), &rois)?)?;
    let mut first = 0;
    for (i, proposals) in proposals.iter().enumerate() {
        let count = proposals.boxes.len();
        let (logits, offsets) = (
            logits.narrow(0, first, count)?,
            offsets.narrow(0, first, count)?,
        );
        let boxes = &proposals.boxes;
        let found = post_process(&config, LEGACY, boxes, &logits, &offsets, pass.sizes[i])?;
        check_detections(&golden, &format!("test.detections.img{i}"), &found);
        first += count;
    }
    Ok(())
}

#[test]
fn post_processing() -> Result<()> {
    let golden = Golden::open("det", "roi_heads");
    for case in cases(&golden, "post") {
        let settings = golden.numbers(&format!("{case}.settings"));
        let config = RoiConfig {
            score: settings[0],
            nms: settings[1],
            detections: settings[2] as usize,
            ..RoiConfig::default()
        };
        let found = post_process(
            &config,
            LEGACY,
            &boxes(&golden, &format!("{case}.proposals")),
            golden.get(&format!("{case}.class_logits")),
            golden.get(&format!("{case}.box_regression")),
            (settings[4] as usize, settings[3] as usize),
        )?;
        check_detections(&golden, &case, &found);
    }
    Ok(())
}

#[test]
fn domain_heads() -> Result<()> {
    let golden = Golden::open("det", "da_heads");
    let maps = features(&golden)?;
    let channels = maps[0].dims()[1];
    let width = |name: &str| golden.get(&format!("params.{name}")).dims()[0];
    let config = SadaConfig {
        image_hidden: width("imghead.da_img_conv1_level0.weight"),
        instance_hidden: width("inshead.da_ins_fc1_level0.weight"),
        ..SadaConfig::default()
    };
    let strides = AnchorConfig::default().strides;
    let roi = RoiConfig::default();
    let pool = BoxHead::new(&roi, channels, &strides, LEGACY, &store().root())?;
    let features = Var::from_tensor(golden.get("ins_features"))?;
    let store = store();
    let inputs = features.dims()[1];
    let heads = DomainHeads::new(
        &config,
        maps.len(),
        channels,
        inputs,
        pool.pool(),
        &store.root(),
    )?;
    check_report(&store.load(&golden.below("params."))?);

    let (_, source_images) = known(&golden);
    let regions: Vec<Vec<[f32; 4]>> = cases(&golden, "proposals.img")
        .iter()
        .map(|key| boxes(&golden, &format!("{key}.boxes")))
        .collect();
    let rois = to_rois(regions.iter().map(Vec::as_slice))?;
    let levels = pool
        .pool()
        .mapping
        .levels(&rois.narrow(1, 1, 4)?, roi.levels)?;
    assert_eq!(levels, integers(&golden, "levels"));
    let source_rois: Vec<bool> = golden
        .numbers("ins_labels")
        .iter()
        .map(|&l| l != 0.0)
        .collect();

    let vars: BTreeMap<String, Var> = store.vars().into_iter().collect();
    for chosen in [
        "loss_da_image",
        "loss_da_instance",
        "loss_da_consistency",
        "sum",
    ] {
        let maps_now = tensors(&maps);
        let input = DomainInput {
            maps: &maps_now,
            rois: &rois,
            features: features.as_tensor(),
            source_images: &source_images,
            source_rois: &source_rois,
        };
        let drops = RecordedDrops {
            golden: &golden,
            prefix: "dropout_masks.".into(),
        };
        let mut seen = 0;
        let mut view = |name: &str, tensor: &Tensor| {
            check(&golden, name, tensor);
            seen += 1;
        };
        let mode = Forward::train(&drops);
        let losses = heads.losses(&input, &mode, &mut Tap::to(&mut view))?;
        assert_eq!(seen, maps.len() + 2);
        check(&golden, "loss_da_image", &losses.image);
        check(&golden, "loss_da_instance", &losses.instance);
        check(&golden, "loss_da_consistency", &losses.consistency);
        let loss = match chosen {
            "loss_da_image" => losses.image,
            "loss_da_instance" => losses.instance,
            "loss_da_consistency" => losses.consistency,
            _ => ((losses.image + losses.instance)? + losses.consistency)?,
        };
        let grads = backward(&loss)?;
        let key = |name: &str| format!("grads.{chosen}.{name}");
        let compare = |name: &str, var: &Var| match (golden.find(&key(name)), grads.get(var)) {
            (Some(_), Some(grad)) => check(&golden, &key(name), grad),
            (Some(_), None) => panic!("{chosen}: no gradient of {name}"),
            (None, Some(grad)) => {
                assert!(
                    values(grad).iter().all(|&g| g == 0.0),
                    "{chosen}: gradient of {name}"
                );
            }
            (None, None) => {}
        };
        for (i, map) in maps.iter().enumerate() {
            compare(&format!("features.P{}", i + 2), map);
        }
        compare("ins_features", &features);
        for (name, var) in &vars {
            compare(&format!("params.{name}"), var);
        }
    }
    Ok(())
}
