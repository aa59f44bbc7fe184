//! What a configuration means, and what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers outside #[test] functions

#[path = "../../testdata/configuration.rs"]
mod configuration;

use std::path::{Path, PathBuf};

use mic_data::detection::DetectionConfig;
use mic_det::config::{Config, Evaluated, Method, Selection, SetConfig, SetKind};
use mic_det::detector::DetectorConfig;
use mic_det::uda::{MaskedConsistency, Options, SgdOptions};
use mic_det::{Conventions, Error};
use mic_nn::models::resnet::{NormKind, Stem};

use configuration::{check_keys_of_loading, read, refusal};

const CITY: &str = r#"
[model]
pretrained = "R-50.pkl"
[data.source]
kind = "cityscapes"
root = "d"
[data.target]
kind = "foggy_cityscapes"
root = "d"
[mask]
"#;

#[test]
fn defaults_are_those_of_the_published_code() {
    let config = read(CITY, &[]).unwrap();
    assert_eq!(
        config.detector(8),
        DetectorConfig::reference(50, 9).unwrap()
    );
    assert_eq!(config.mask, Some(MaskedConsistency::default()));
    assert_eq!(config.optimizer, SgdOptions::default());
    assert_eq!(
        config.data.transform,
        mic_data::detection::DetectionTransform::default()
    );
    assert_eq!(config.train.iterations, 60_000);
    assert_eq!(
        (config.train.batch, config.train.evaluate),
        (1, Evaluated::Student)
    );
    assert_eq!(config.train.select, Selection::Ap50);
    assert!(config.data.source_usable_only && !config.data.target_usable_only);
    let options = Options::of(&config);
    assert_eq!(options.masked, config.mask);
    assert!(!options.recompute);
}

#[test]
fn a_configuration_that_is_written_reads_as_itself() {
    let classes = ["a".to_owned(), "b".to_owned()];
    let config = read(CITY, &["seed=7", "train.init_from=w.pth"]).unwrap();
    let config = config.with_classes(&classes).unwrap();
    let again = read(&config.to_toml().unwrap(), &[]).unwrap();
    assert_eq!(again.raw, config.raw);
    assert_eq!(again.data.classes, classes);
    let other = again.with_classes(&["a".to_owned()]);
    assert!(other.unwrap_err().to_string().contains("data.classes"));
}

#[test]
fn backbones_and_conventions_are_chosen_by_name() {
    let of = |sets: &[&str]| read(CITY, sets).unwrap().detector(3);
    let modern = of(&["model.conventions=modern"]);
    let torchvision = DetectorConfig::torchvision(50, 4, 1e-5).unwrap();
    assert_eq!(modern, torchvision);
    let deep = of(&["model.backbone=resnet101"]);
    assert_eq!(deep.body.depths, [3, 4, 23, 3]);
    let small = of(&["model.backbone=resnet18", "model.pretrained="]);
    assert_eq!(
        (small.body.stem, small.body.norm),
        (Stem::Plain, NormKind::Batch)
    );
    assert_eq!(
        (small.body.frozen, small.conventions),
        (0, Conventions::Legacy)
    );
    let own = of(&[
        "model.backbone=resnet",
        "model.resnet.width=8",
        "model.norm=frozen",
    ]);
    assert_eq!((own.body.width, own.channels), (8, 256));
    assert!(of(&["method.kind=source_only"]).domain.is_none());
}

#[test]
fn keys_of_inner_tables_may_be_missing() {
    let sets = ["model.roi.sampler.batch=64", "model.rpn.test.total=50"];
    let detector = read(CITY, &sets).unwrap().detector(8);
    let paper = DetectorConfig::reference(50, 9).unwrap();
    assert_eq!(detector.roi.sampler.batch, 64);
    let fraction = paper.roi.sampler.positive_fraction;
    assert_eq!(detector.roi.sampler.positive_fraction, fraction);
    assert_eq!(
        (detector.rpn.test.pre_nms, detector.rpn.test.total),
        (1000, 50)
    );
    assert_eq!(detector.rpn.matcher, paper.rpn.matcher);
}

fn catalogued(set: &SetConfig) -> &str {
    match &set.kind {
        SetKind::Files(DetectionConfig::Catalogue { name, .. }) => name,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_oracle_trains_on_the_target() {
    let sets = ["method.kind=oracle", "mask=", "data.source="];
    let config = read(CITY, &sets).unwrap();
    let name = "foggy_cityscapes_fine_instanceonly_seg_train_cocostyle";
    assert_eq!(catalogued(&config.data.source), name);
    assert_eq!(config.data.source.key, "data.target");
    assert!(config.data.target.is_none() && config.sada.is_none());
    assert_eq!(config.method, Method::Oracle);
}

#[test]
fn what_cannot_be_run_is_refused_by_name() {
    for (set, part) in [
        ("model.backbone=resnet20", "did you mean \"resnet"),
        ("model.backbone=resnet", "model.resnet is missing"),
        ("model.conventions=old", "model.conventions"),
        ("model.norm_eps=-1.0", "model.norm_eps"),
        ("model.frozen=9", "model.frozen"),
        ("model.channels=0", "model.channels"),
        ("model.anchor_sizes=[1.0]", "model.anchor_sizes"),
        ("model.anchor_ratios=[]", "model.anchor_ratios"),
        ("model.rpn.nms=2.0", "model.rpn.nms"),
        ("model.rpn.sampler.batch=0", "model.rpn.sampler.batch"),
        ("model.roi.matcher.low=0.9", "model.roi.matcher.low"),
        ("data.colors=grey", "data.colors"),
        ("data.divisor=48", "data.divisor"),
        ("data.min_sizes=[]", "min_sizes"),
        ("data.flip=2.0", "flip"),
        ("data.source.kind=images", "data.source"),
        ("data.target=", "data.target is missing"),
        ("data.target.split=test", "data.target.split"),
        ("data.source.kind=voc", "data.classes is missing"),
        ("method.kind=mic", "method.kind"),
        ("method.kind=oracle", "no use for the table mask"),
        ("sada.dropout=1.0", "sada.dropout"),
        ("sada.hidden=3", "instance_hidden"),
        ("mask.ratio=1.5", "mask.ratio"),
        ("mask.block=0", "mask.block"),
        ("mask.weight=score", "mask.weight"),
        ("optimizer.lr=0.0", "optimizer.lr"),
        ("optimizer.momentum=1.0", "optimizer.momentum"),
        ("train.iterations=0", "train.iterations"),
        ("train.batch=0", "train.batch"),
        ("train.select=mAP", "train.select"),
        ("inference.score=1.5", "inference.score"),
        ("inference.detections=0", "inference.detections"),
        ("run.keep_last=0", "run.keep_last"),
    ] {
        let message = refusal(CITY, &[set]);
        assert!(message.contains(part), "{set}: {message}");
    }
    let teacher = refusal(CITY, &["mask=", "train.evaluate=teacher"]);
    assert!(teacher.contains("train.evaluate"), "{teacher}");
    let basic = ["model.backbone=resnet18", "model.body=detectron"];
    assert!(refusal(CITY, &basic).contains("model.body"));
}

fn configs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs/det")
}

#[test]
fn every_file_that_comes_along_can_be_read() {
    let mut count = 0;
    for file in std::fs::read_dir(configs()).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().unwrap() == "catalogue.toml" {
            continue;
        }
        Config::from_file(&path, &[]).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        count += 1;
    }
    assert!(count >= 5, "{count}");
}

#[test]
fn the_published_runs_are_the_published_ones() {
    let of = |name: &str| {
        let file = format!("cityscapes2foggy_{name}.toml");
        Config::from_file(&configs().join(file), &[]).unwrap()
    };
    let mic = of("mic");
    let defaults = read(CITY, &[]).unwrap();
    assert_eq!(mic.detector(8), defaults.detector(8));
    assert_eq!(
        (&mic.mask, &mic.optimizer),
        (&defaults.mask, &defaults.optimizer)
    );
    assert_eq!(mic.data.transform, defaults.data.transform);
    assert!(mic.data.target_usable_only);
    let sada = of("sada");
    assert!(sada.mask.is_none() && sada.sada == mic.sada);
    let source = of("source_only");
    assert!(source.data.target.is_none() && source.sada.is_none());
    let oracle = of("oracle");
    assert!(catalogued(&oracle.data.source).starts_with("foggy"));
    for config in [&mic, &sada, &source, &oracle] {
        let test = config.data.test.as_ref().unwrap();
        let name = "foggy_cityscapes_fine_instanceonly_seg_val_cocostyle";
        assert_eq!(catalogued(test), name);
        assert_eq!((config.train.iterations, config.train.batch), (60_000, 1));
    }
}

#[test]
fn the_program_carries_the_runs() {
    let catalogue = mic_det::config::catalogue().unwrap();
    let mut count = 0;
    for experiment in catalogue.experiments() {
        for run in experiment.runs() {
            let config = Config::from_file(Path::new(&run.name), &[]).unwrap();
            let masked = run.name.contains("masking");
            assert_eq!(config.mask.is_some(), masked, "{}", run.name);
            count += 1;
        }
    }
    assert_eq!(count, 4);
    Config::from_file(Path::new("cityscapes2foggy_sada"), &[]).unwrap();
}

/// Every key of a table, at any depth.
fn keys(table: &toml::Table, found: &mut Vec<String>) {
    for (key, value) in table {
        found.push(key.clone());
        if let toml::Value::Table(inner) = value {
            keys(inner, found);
        }
    }
}

#[test]
fn the_example_has_every_key() {
    let text = std::fs::read_to_string(configs().join("custom_example.toml")).unwrap();
    let defaults: toml::Table = read(CITY, &[]).unwrap().to_toml().unwrap().parse().unwrap();
    let mut all = Vec::new();
    keys(&defaults, &mut all);
    let optional = [
        "body",
        "norm",
        "norm_eps",
        "frozen",
        "pretrained",
        "depths",
        "stem",
        "width",
        "split",
        "name",
        "images",
        "annotations",
        "difficult",
        "origin",
        "suffix",
        "init_from",
        "count",
        "size",
        "fog",
        "min_box",
    ];
    all.extend(optional.map(String::from));
    let words: Vec<&str> = text
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .collect();
    for key in all {
        assert!(words.contains(&key.as_str()), "{key}");
    }
}

#[test]
fn keys_of_loading_are_checked_and_named() {
    check_keys_of_loading(CITY);
}
