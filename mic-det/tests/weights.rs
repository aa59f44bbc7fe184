//! Published weights in and out.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers outside #[test] functions

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::{DType, Device, Tensor};
use mic_det::Conventions;
use mic_det::detector::{DetectorConfig, Model};
use mic_det::weights::{Loaded, Names, Part, export, load};
use mic_nn::models::resnet::{BlockKind, NormKind, ResNetConfig, Stem};
use mic_nn::params::Store;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn model(config: &DetectorConfig, seed: u64) -> Model {
    let rng = ChaCha8Rng::seed_from_u64(seed);
    Model::new(config, Store::trainable(rng, DType::F32, &Device::Cpu)).unwrap()
}

/// The sizes of the recorded backbone, below small heads.
fn small(conventions: Conventions) -> DetectorConfig {
    let mut config = DetectorConfig::reference(50, 4).unwrap();
    config.body = ResNetConfig {
        block: BlockKind::Bottleneck,
        depths: vec![1, 2, 1, 1],
        stem_channels: 2,
        width: 1,
        ..config.body
    };
    config.channels = 3;
    config.roi.hidden = 5;
    config.conventions = conventions;
    if conventions == Conventions::Modern {
        config.body.stem = Stem::Plain;
        config.body.stride_in_1x1 = false;
        config.body.norm = NormKind::Frozen { eps: 0.0 };
    }
    config
}

fn values(model: &Model) -> Vec<(String, Vec<f32>)> {
    let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let state = model.store.state();
    state
        .iter()
        .map(|(name, t)| (name.clone(), flat(t)))
        .collect()
}

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/recorded/detectron/small.pkl")
}

/// The values of the recorded file's tensors, see `testdata/record/detectron.py`: of the tensor
/// `name` among all names in order.
fn detectron_values(name: &str, count: usize) -> Vec<f32> {
    let weights = mic_nn::weights::load(&recorded()).unwrap();
    let mut names: Vec<&str> = weights
        .names()
        .filter(|n| !n.contains("momentum"))
        .collect();
    names.sort_unstable();
    let n = names.iter().position(|known| *known == name).unwrap();
    let value = |i: usize| ((7 * i + 13 * n) % 101) as f32 - 50.0;
    (0..count).map(|i| value(i) / 64.0).collect()
}

#[test]
fn a_detectron_backbone_fills_the_resnet() {
    for conventions in [Conventions::Legacy, Conventions::Modern] {
        let model = model(&small(conventions), 1);
        let before = values(&model);
        let loaded = load(&model, &recorded(), Part::Backbone).unwrap();
        assert_eq!(loaded.names, Names::Detectron);
        // The first layer, three in each of five blocks, and four shortcuts: each with a norm.
        let layers = 1 + 5 * 3 + 4;
        assert_eq!(loaded.report.matched, 3 * layers, "{loaded}");
        assert_eq!(loaded.report.unexpected, Vec::<String>::new());
        let doubted = conventions == Conventions::Modern;
        assert_eq!(!loaded.doubts.is_empty(), doubted, "{loaded}");
        let stem = if doubted { "" } else { "stem." };
        let after = values(&model);
        for (theirs, ours) in [
            ("conv1_w", format!("{stem}conv1.weight")),
            ("res_conv1_bn_b", format!("{stem}bn1.bias")),
            ("res2_0_branch2a_w", "layer1.0.conv1.weight".into()),
            ("res3_1_branch2b_bn_s", "layer2.1.bn2.weight".into()),
            ("res3_0_branch1_w", "layer2.0.downsample.0.weight".into()),
            ("res5_0_branch1_bn_b", "layer4.0.downsample.1.bias".into()),
        ] {
            let ours = format!("backbone.body.{ours}");
            let (_, found) = after.iter().find(|(name, _)| *name == ours).unwrap();
            assert_eq!(*found, detectron_values(theirs, found.len()), "{ours}");
        }
        // Statistics and heads are as they were.
        for (before, after) in before.iter().zip(&after) {
            let body = before.0.starts_with("backbone.body.");
            if !body || before.0.contains("running") {
                assert_eq!(before, after);
            }
        }
    }
}

#[test]
fn another_backbone_is_refused_with_both_shapes() {
    let mut config = small(Conventions::Legacy);
    config.body.stem_channels = 4;
    let error = load(&model(&config, 1), &recorded(), Part::Backbone).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("does not fit the model"), "{message}");
    assert!(
        message.contains("[2, 3, 7, 7]") && message.contains("[4, 3, 7, 7]"),
        "{message}"
    );
    // A backbone alone is no detector.
    let error = load(
        &model(&small(Conventions::Legacy), 1),
        &recorded(),
        Part::Whole,
    );
    assert!(error.unwrap_err().to_string().contains("missing"));
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.safetensors");
    let tensor = Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap();
    mic_nn::weights::save(&other, &[("head.w".into(), tensor)], &Default::default()).unwrap();
    let error = load(&model(&small(Conventions::Legacy), 1), &other, Part::Start);
    let message = error.unwrap_err().to_string();
    assert!(
        message.contains("other.safetensors is no detector"),
        "{message}"
    );
    assert!(message.contains("head.w"), "{message}");
}

#[test]
fn what_is_exported_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    for (conventions, names, other) in [
        (Conventions::Legacy, Names::Reference, Names::Torchvision),
        (Conventions::Modern, Names::Torchvision, Names::Reference),
    ] {
        let (from, to) = (model(&small(conventions), 1), model(&small(conventions), 2));
        export(&from, &file, names).unwrap();
        let Loaded {
            names: found,
            report,
            doubts,
        } = load(&to, &file, Part::Whole).unwrap();
        assert_eq!((found, doubts), (names, Vec::new()));
        assert_eq!(report.unexpected, Vec::<String>::new());
        for (from, to) in values(&from).iter().zip(&values(&to)) {
            if !from.0.starts_with("da_heads.") || conventions == Conventions::Legacy {
                assert_eq!(from, to);
            }
        }
        for refused in [other, Names::Detectron, Names::Classifier] {
            assert!(export(&from, &file, refused).is_err());
        }
    }
}

#[test]
fn other_classes_start_from_everything_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    let mut config = small(Conventions::Legacy);
    export(&model(&config, 1), &file, Names::Reference).unwrap();
    config.roi.classes += 3;
    let to = model(&config, 2);
    assert!(load(&to, &file, Part::Whole).is_err());
    let loaded = load(&to, &file, Part::Start).unwrap();
    let left: Vec<&str> = loaded
        .report
        .reshaped
        .iter()
        .map(|r| r.name.as_str())
        .collect();
    let predictor = "roi_heads.box.predictor";
    let expected = [
        "cls_score.weight",
        "cls_score.bias",
        "bbox_pred.weight",
        "bbox_pred.bias",
    ];
    assert_eq!(left, expected.map(|name| format!("{predictor}.{name}")));
}

/// As many tensors and numbers as in a checkpoint of the published code.
#[test]
fn the_papers_detector_has_the_published_tensors() {
    let model = model(&DetectorConfig::reference(50, 9).unwrap(), 0);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    export(&model, &file, Names::Reference).unwrap();
    let weights = mic_nn::weights::load(&file).unwrap();
    let names: BTreeSet<&str> = weights.names().collect();
    assert_eq!(names.len(), 344);
    let count = |name: &&str| weights.shape(name).unwrap().iter().product::<usize>();
    assert_eq!(names.iter().map(count).sum::<usize>(), 50_502_721);
    for name in [
        "backbone.body.stem.bn1.running_var",
        "backbone.fpn.fpn_layer4.bias",
        "rpn.anchor_generator.cell_anchors.4",
        "da_heads.inshead.da_ins_fc3_level3.weight",
    ] {
        assert!(names.contains(name), "{name}");
    }
}

/// Writes a state dictionary in the forms that the published code writes and reads.
const WRAP: &str = r#"
import sys, torch
from safetensors.torch import load_file
state = load_file(sys.argv[1])
def save(name, value):
    torch.save(value, f"{sys.argv[2]}/{name}.pth")
save("bare", state)
save("model", {"model": state, "optimizer": {"state": {0: torch.ones(3)}}, "iteration": 9})
save("parallel", {"model": {"module." + k: v for k, v in state.items()}})
save("teacher", {"model": {"ema_model." + k: v for k, v in state.items()}, "iteration": 9})
torch.save(state, f"{sys.argv[2]}/old.pth", _use_new_zipfile_serialization=False)
"#;

fn python(modules: &str) -> Option<String> {
    let python = std::env::var("MIC_PYTHON").unwrap_or_else(|_| "python3".into());
    let found = Command::new(&python)
        .args(["-c", &format!("import {modules}")])
        .output();
    match found {
        Ok(output) if output.status.success() => Some(python),
        _ => {
            println!(
                "skipped: {python} lacks one of {modules}; set MIC_PYTHON to one that has them"
            );
            None
        }
    }
}

fn run(python: &str, program: &str, arguments: &[&Path]) {
    let output = Command::new(python)
        .args(["-c", program])
        .args(arguments)
        .output();
    let output = output.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}

#[test]
fn checkpoints_of_the_published_code_are_read_in_all_forms() {
    let Some(python) = python("torch, safetensors") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.safetensors");
    let from = model(&small(Conventions::Legacy), 1);
    export(&from, &file, Names::Reference).unwrap();
    run(&python, WRAP, &[&file, folder.path()]);
    for form in ["bare", "model", "parallel", "teacher", "old"] {
        let to = model(&small(Conventions::Legacy), 2);
        let loaded = load(&to, &folder.path().join(format!("{form}.pth")), Part::Whole).unwrap();
        assert!(loaded.report.exact(), "{form}: {loaded}");
        assert_eq!(values(&from), values(&to), "{form}");
    }
}

/// A torchvision detector with scores worth mentioning, an image and what it finds there.
const TORCHVISION: &str = r#"
import sys, torch, torchvision
from safetensors.torch import save_file
torch.manual_seed(3)
net = torchvision.models.detection.fasterrcnn_resnet50_fpn(
    weights=None, weights_backbone=None, num_classes=5, trainable_backbone_layers=3,
    min_size=160, max_size=1000, image_mean=[0.0] * 3, image_std=[1.0] * 3,
    box_score_thresh=0.3).eval()
with torch.no_grad():
    for name, tensor in net.named_buffers():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
    # Features of size 1 with the frozen norm, and sure answers.
    for name, parameter in net.named_parameters():
        if "bn3.weight" in name:
            parameter.fill_(0.3)
    net.roi_heads.box_predictor.cls_score.weight.mul_(20)
    net.roi_heads.box_predictor.cls_score.bias.copy_(torch.tensor([-3.0, 1.0, 0.5, 0.0, 1.5]))
    image = torch.rand(3, 160, 224)
    found = net([image])[0]
state = {k: v.contiguous() for k, v in net.state_dict().items()}
torch.save(state, f"{sys.argv[1]}/detector.pth")
old = {k.replace("blocks.0.0.", "blocks.0.").replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        .replace("blocks.1.0.", "blocks.1.").replace("blocks.2.0.", "blocks.2.")
        .replace("blocks.3.0.", "blocks.3."): v for k, v in state.items()}
save_file(old, f"{sys.argv[1]}/old.safetensors")
backbone = {k[len("backbone.body."):]: v for k, v in state.items() if k.startswith("backbone.body.")}
backbone["fc.weight"] = torch.zeros(3, 2048)
save_file(backbone, f"{sys.argv[1]}/classifier.safetensors")
save_file({"image": image, "boxes": found["boxes"], "scores": found["scores"],
           "labels": found["labels"]}, f"{sys.argv[1]}/found.safetensors")
"#;

#[test]
fn a_torchvision_detector_finds_the_same() {
    let Some(python) = python("torch, torchvision, safetensors") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    run(&python, TORCHVISION, &[folder.path()]);
    let at = |name: &str| folder.path().join(name);
    let eps = 1e-5;
    let mut config = DetectorConfig::torchvision(50, 5, eps).unwrap();
    config.roi.score = 0.3;
    let network = model(&config, 1);
    for file in ["detector.pth", "old.safetensors"] {
        let loaded = load(&network, &at(file), Part::Whole).unwrap();
        assert_eq!(loaded.names, Names::Torchvision);
        assert_eq!(loaded.doubts, Vec::<String>::new());
    }
    let found = candle_core::safetensors::load(at("found.safetensors"), &Device::Cpu).unwrap();
    let image = found["image"].unsqueeze(0).unwrap();
    let ours = network.net.detect(&image, &[(160, 224)]).unwrap().remove(0);
    let scores: Vec<f32> = found["scores"].to_vec1().unwrap();
    assert!(
        scores.len() > 3,
        "torchvision found {} objects",
        scores.len()
    );
    assert_eq!(ours.len(), scores.len());
    let labels: Vec<i64> = found["labels"].to_vec1().unwrap();
    let boxes: Vec<Vec<f32>> = found["boxes"].to_vec2().unwrap();
    for i in 0..scores.len() {
        assert_eq!(i64::from(ours.labels[i]), labels[i], "label {i}");
        assert!((ours.scores[i] - scores[i]).abs() < 1e-4, "score {i}");
        for (a, b) in ours.boxes[i].iter().zip(&boxes[i]) {
            assert!(
                (a - b).abs() < 0.05,
                "box {i}: {:?}, {:?}",
                ours.boxes[i],
                boxes[i]
            );
        }
    }
    // Its backbone alone, as a classifier's file.
    let other = model(&config, 2);
    let loaded = load(&other, &at("classifier.safetensors"), Part::Backbone).unwrap();
    assert_eq!(loaded.names, Names::Classifier);
    let body = |model: &Model| {
        let all = values(model).into_iter();
        all.filter(|(name, _)| name.starts_with("backbone.body."))
            .collect::<Vec<_>>()
    };
    assert_eq!(body(&network), body(&other));
}
