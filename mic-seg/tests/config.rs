//! What a configuration means, and what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers outside #[test] functions

#[path = "../../testdata/configuration.rs"]
mod configuration;

use std::path::Path;

use mic_seg::Error;
use mic_seg::config::{
    Backbone, Config, Images, Method, OptimizerKind, Schedule, SetKind, Threshold,
};

use configuration::{check_keys_of_loading, read, refusal};

/// A small run on the built-in scenes.
const SCENES: &str = r#"
[data.source]
kind = "scenes"
domain = "source"
count = 4
[data.target]
kind = "scenes"
domain = "target"
count = 4
[mask]
block = 16
"#;

/// A run on folders with custom classes.
const FOLDER: &str = r#"
method.kind = "supervised"
[data]
classes = "custom"
class_names = ["leaf", "fruit"]
[data.source]
kind = "folder"
root = "a"
labels = "l"
[data.source.label_map]
7 = "fruit"
0 = "leaf"
9 = "ignore"
"#;

#[test]
fn defaults_are_those_of_the_paper() {
    let config = read(SCENES, &[]).unwrap();
    assert_eq!(config.model.backbone, Backbone::Mit(5));
    assert_eq!(config.classes.len(), 19);
    assert_eq!(config.optimizer.lr, 6e-5);
    let adamw = OptimizerKind::AdamW {
        betas: [0.9, 0.999],
    };
    assert_eq!(config.optimizer.kind, adamw);
    let poly = Schedule::Poly {
        power: 1.0,
        warmup: 1500,
        warmup_ratio: 1e-6,
    };
    assert_eq!(config.optimizer.schedule, poly);
    let Method::Dacs(dacs) = config.method else {
        panic!("{:?}", config.method);
    };
    assert_eq!((dacs.pseudo.alpha, dacs.pseudo.threshold), (0.999, 0.968));
    assert_eq!(config.data.pipeline.flip, 0.5);
    assert_eq!(config.data.pipeline.cat_max_ratio, None);
    let mask = config.mask.unwrap();
    assert_eq!((mask.block, mask.ratio, mask.lambda), (16, 0.7, 1.0));
    assert_eq!(mask.threshold, Threshold::Same);
    assert!(!mask.has_own_teacher());
}

#[test]
fn mask_modes_name_images_and_colours() {
    for (name, images, augment) in [
        ("separate", Images::Mixed, false),
        ("separateaug", Images::Mixed, true),
        ("separatesrc", Images::Source, false),
        ("separatesrcaug", Images::Source, true),
        ("separatetrg", Images::Target, false),
        ("separatetrgaug", Images::Target, true),
    ] {
        let set = format!("mask.mode={name}");
        let mask = read(SCENES, &[&set]).unwrap().mask.unwrap();
        assert_eq!((mask.mode.images, mask.mode.augment), (images, augment));
        // Without a target every mode masks the source.
        let alone = read(SCENES, &[&set, "method.kind=supervised"]).unwrap();
        assert_eq!(alone.mask.unwrap().mode.images, Images::Source, "{name}");
    }
}

#[test]
fn an_own_threshold_or_momentum_asks_for_an_own_teacher() {
    for (set, threshold) in [
        ("mask.pseudo_threshold=0.5", Threshold::Value(0.5)),
        ("mask.pseudo_threshold=none", Threshold::None),
        ("mask.alpha=0", Threshold::Same),
    ] {
        let mask = read(SCENES, &[set]).unwrap().mask.unwrap();
        assert_eq!(mask.threshold, threshold, "{set}");
        assert!(mask.has_own_teacher(), "{set}");
    }
}

#[test]
fn sets_override_add_and_remove() {
    let sets = ["train.iterations=3", "mask=", "data.crop=[32, 32]"];
    let config = read(SCENES, &sets).unwrap();
    assert_eq!(config.train.iterations, 3);
    assert_eq!(config.mask, None);
    assert_eq!(config.data.pipeline.crop, Some((32, 32)));
    let last = read(SCENES, &["seed=1", "seed=2"]).unwrap();
    assert_eq!(last.seed, 2);
}

#[test]
fn the_resolved_file_reads_the_same() {
    for text in [SCENES, FOLDER] {
        let sets = ["mask.pseudo_threshold=none", "train.batch=2"];
        let config = read(text, &sets).unwrap();
        let again = read(&config.to_toml().unwrap(), &[]).unwrap();
        assert_eq!(again.raw, config.raw);
    }
}

#[test]
fn label_maps_send_ids_to_classes() {
    let map = |sets: &[&str]| {
        let config = read(FOLDER, sets).unwrap();
        let SetKind::Folder(folder) = config.data.source.kind else {
            panic!("not a folder");
        };
        folder.map
    };
    let table = map(&[]).unwrap();
    let ids = [0, 7, 9, 1].map(|id| table.get(id));
    assert_eq!(ids, [Some(0), Some(1), Some(255), None]);
    let open = map(&["data.source.label_map.other=ignore"]).unwrap();
    assert_eq!(open.get(1), Some(255));
    assert!(map(&["data.source.label_map="]).is_none());
}

#[test]
fn unknown_keys_come_with_the_nearest_known_one() {
    for (set, parts) in [
        (
            "mask.blok=4",
            &["unknown key mask.blok", "did you mean mask.block?"][..],
        ),
        (
            "trian.batch=4",
            &["unknown key trian", "did you mean train?"],
        ),
        ("data.test.kindd=x", &["data.test.kindd", "data.test.kind?"]),
        (
            "model.mit.depth=[1]",
            &["model.mit.depth", "model.mit.depths?"],
        ),
        (
            "train.xyzzy=1",
            &["train.xyzzy", "[train] has", "iterations"],
        ),
    ] {
        let message = refusal(SCENES, &[set]);
        for part in parts {
            assert!(message.contains(part), "{set}: {message}");
        }
    }
    let message = refusal("[mask]\nrato = 0.5", &[]);
    assert!(
        message.contains("test.toml: unknown key mask.rato"),
        "{message}"
    );
}

#[test]
fn type_errors_point_to_the_line_or_the_override() {
    let message = refusal("seed = 1\n[train]\nbatch = \"two\"", &[]);
    assert!(message.contains("line 3"), "{message}");
    assert!(message.contains("batch = \"two\""), "{message}");
    let message = refusal(SCENES, &["train.batch=two"]);
    assert!(message.contains("--set train.batch=two"), "{message}");
    let message = refusal("seed = = 1", &[]);
    assert!(message.contains("test.toml"), "{message}");
}

#[test]
fn values_out_of_range_are_refused_with_key_and_range() {
    for (set, parts) in [
        ("mask.ratio=1.5", &["mask.ratio = 1.5", "from 0 to 1"][..]),
        ("mask.ratio=-0.1", &["mask.ratio = -0.1"]),
        ("mask.ratio=nan", &["mask.ratio"]),
        ("mask.block=0", &["mask.block = 0", "at least 1"]),
        (
            "mask.block=65",
            &["mask.block = 65", "128 x 64", "data.target"],
        ),
        ("mask.mode=separatetarget", &["mask.mode", "separatetrgaug"]),
        (
            "mask.pseudo_threshold=all",
            &["mask.pseudo_threshold", "none"],
        ),
        ("mask.lambda=-1", &["mask.lambda"]),
        ("mask.alpha=1.1", &["mask.alpha"]),
        (
            "method.kind=dacz",
            &["method.kind", "did you mean \"dacs\"?"],
        ),
        ("method.alpha=2", &["method.alpha = 2"]),
        ("method.pseudo_threshold=-1", &["method.pseudo_threshold"]),
        ("method.color_jitter=3", &["method.color_jitter"]),
        (
            "method.feature_distance=0.005",
            &["model.pretrained is missing"],
        ),
        ("optimizer.lr=0", &["optimizer.lr = 0", "above 0"]),
        ("optimizer.lr=inf", &["optimizer.lr"]),
        ("optimizer.betas=[0.9, 1.0]", &["optimizer.betas = 1"]),
        ("optimizer.schedule=cosine", &["optimizer.schedule", "poly"]),
        ("optimizer.final_ratio=2", &["optimizer.final_ratio"]),
        ("train.iterations=0", &["train.iterations = 0"]),
        ("train.batch=0", &["train.batch = 0"]),
        ("data.crop=[0, 4]", &["data.crop", "[width, height]"]),
        (
            "data.cat_max_ratio=0.5",
            &["data.cat_max_ratio", "data.crop"],
        ),
        ("data.cat_max_ratio=0", &["data.cat_max_ratio"]),
        ("data.std=[1, 0, 1]", &["data.std"]),
        ("data.classes=city", &["data.classes", "cityscapes"]),
        (
            "data.class_names=[\"a\", \"b\"]",
            &["data.class_names", "custom"],
        ),
        ("data.target=", &["data.target is missing", "supervised"]),
        ("data.source=", &["data.source.kind is missing", "folder"]),
        (
            "data.source.kind=scene",
            &["data.source.kind", "\"scenes\"?"],
        ),
        ("data.source.kind=camvid", &["data.source.kind", "camvid"]),
        ("data.source.kind=folder", &["data.source.root is missing"]),
        (
            "data.source.domain=night",
            &["data.source.domain", "target"],
        ),
        ("data.source.domain=", &["data.source.domain is missing"]),
        ("data.source.split=dev", &["data.source.split"]),
        ("data.source.count=0", &["data.source.count = 0"]),
        ("data.source.size=[10, 10]", &["data.source.size", "32x16"]),
        (
            "data.rare_class_sampling.temperature=0",
            &["temperature", "above 0"],
        ),
        ("model.backbone=mit_b6", &["model.backbone", "mit_b5"]),
        ("model.backbone=custom", &["model.mit is missing"]),
        ("model.dilations=[]", &["model.dilations"]),
        ("model.dropout=1", &["model.dropout"]),
        ("model.head=deeplab", &["model.head", "deeplabv2"]),
        ("model.fusion=asp", &["model.fusion", "\"aspp\"?"]),
        (
            "model.fusion={kind=\"conv\", kernel=2}",
            &["model.fusion.kernel = 2", "odd"],
        ),
        ("model.adapter=0", &["model.adapter = 0"]),
        (
            "model.backbone=custom_resnet",
            &["model.resnet is missing", "custom_resnet"],
        ),
        ("model.backbone=custom_vit", &["model.vit is missing"]),
        (
            "model.hrda={crop=[60, 64]}",
            &["model.hrda.crop = [60, 64]", "model.hrda.crop_divisible, 8"],
        ),
        (
            "model.hrda={crop=[64, 64], crop_divisible=6}",
            &["multiple of 4"],
        ),
        (
            "model.hrda={hr_loss_weight=0.6, lr_loss_weight=0.6}",
            &["0.6 and 0.6"],
        ),
        (
            "model.hrda={attention=\"none\"}",
            &["model.hrda.attention", "classwise"],
        ),
        ("model.hrda={crops=[1, 1]}", &["model.hrda.crops", "crop?"]),
        ("inference.mode=slides", &["inference.mode", "\"slide\"?"]),
        (
            "inference.mode=slide",
            &["inference.window is missing", "data.crop"],
        ),
        (
            "inference={mode=\"slide\", window=[32, 32], stride=[33, 1]}",
            &["inference.stride", "[32, 32]"],
        ),
    ] {
        let message = refusal(SCENES, &[set]);
        for part in parts {
            assert!(message.contains(part), "{set}: {message}");
        }
    }
}

#[test]
fn values_that_do_not_go_together_are_refused() {
    let message = refusal(SCENES, &["mask.mode=separate", "train.batch=3"]);
    assert!(message.contains("train.batch = 3"), "{message}");
    let message = refusal(SCENES, &["data.crop=[48, 8]"]);
    assert!(message.contains("mask.block = 16"), "{message}");
    assert!(message.contains("data.crop"), "{message}");
    let large = "model.hrda={crop=[64, 64]}";
    let message = refusal(SCENES, &["data.crop=[48, 64]", large]);
    assert!(message.contains("model.hrda.crop = [64, 64]"), "{message}");
    for kind in ["advseg", "minent"] {
        let message = refusal(SCENES, &[&format!("method.kind={kind}"), "data.target="]);
        assert!(
            message.contains(kind) && message.contains("data.target"),
            "{message}"
        );
    }
    let mit = |heads: &str| {
        refusal(
            SCENES,
            &[
                "model.backbone=custom",
                "model.mit={embed_dims=[8, 16], depths=[1, 1], num_heads=[1, 1], sr_ratios=[2, 1]}",
                heads,
            ],
        )
    };
    let message = mit("model.mit.num_heads=[1, 3]");
    assert!(message.contains("num_heads = 3"), "{message}");
    let message = mit("model.mit.stem=conv");
    assert!(message.contains("multiple of 3"), "{message}");
    let message = mit("model.mit.num_heads=[1]");
    assert!(message.contains("same number of stages"), "{message}");
}

#[test]
fn custom_classes_are_checked() {
    for (set, parts) in [
        (
            "data.class_names=[]",
            &["data.class_names", "0 classes", "2 to 255"][..],
        ),
        (
            "data.class_names=[\"leaf\"]",
            &["data.class_names", "1 classes"],
        ),
        (
            "data.class_names=[\"leaf\", \"leaf\"]",
            &["\"leaf\" is given twice"],
        ),
        ("data.class_names=[\"leaf\", \"ignore\"]", &["\"ignore\""]),
        (
            "data.source.label_map.3=fruits",
            &["label_map.3", "did you mean \"fruit\"?"],
        ),
        (
            "data.source.label_map.x=fruit",
            &["label_map", "0 to 65535"],
        ),
        (
            "data.source.label_map.other=leaf",
            &["label_map.other", "ignore"],
        ),
        (
            "data.source.label_map=cityscapes",
            &["label_map", "data.classes"],
        ),
        ("data.source.labels=", &["data.source.labels is missing"]),
        ("data.source.label_suffix=\"\"", &["label_suffix"]),
    ] {
        let message = refusal(FOLDER, &[set]);
        for part in parts {
            assert!(message.contains(part), "{set}: {message}");
        }
    }
}

#[test]
fn example_files_are_valid() {
    let catalogue = mic_seg::config::catalogue().unwrap();
    let others: Vec<&str> = catalogue.others().iter().map(|file| file.name).collect();
    let expected = [
        "custom_example",
        "miniature",
        "miniature_camvid",
        "scenes_mic",
    ];
    assert!(
        expected.iter().all(|name| others.contains(name)),
        "{others:?}"
    );
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/seg");
    for file in catalogue.files() {
        let path = folder.join(format!("{}.toml", file.name));
        let stored = Config::from_file(&path, &[]).unwrap_or_else(|error| panic!("{error}"));
        let carried = Config::from_file(Path::new(file.name), &[]).unwrap();
        assert_eq!(stored.raw, carried.raw, "{}", file.name);
    }
}

#[test]
fn detail_crops_lie_on_the_grid_of_the_logits() {
    let hrda = |sets: &[&str]| {
        let mut all = vec!["data.crop=[128, 64]", "model.hrda.crop=[64, 32]"];
        all.extend(sets);
        refusal(SCENES, &all)
    };
    for (set, parts) in [
        (
            "model.hrda.crop=[60, 32]",
            ["model.hrda.crop = [60, 32]", "crop_divisible, 8"],
        ),
        (
            "model.hrda.crop_divisible=6",
            ["crop_divisible = 6", "a multiple of 4"],
        ),
        (
            "model.hrda.crop=[64, 72]",
            ["model.hrda.crop = [64, 72]", "data.crop, [128, 64]"],
        ),
    ] {
        let message = hrda(&[set]);
        for part in parts {
            assert!(message.contains(part), "{set}: {message}");
        }
    }
    // DeepLabV2's logits are 8 pixels apart.
    let dlv2 = [
        "model.backbone=resnet101_v1c",
        "model.head=deeplabv2",
        "model.hrda.crop_divisible=4",
    ];
    let message = hrda(&dlv2);
    assert!(message.contains("a multiple of 8"), "{message}");
}

#[test]
fn a_head_can_only_be_left_out_of_weights_that_are_given() {
    let alone = refusal(SCENES, &["train.init_head=false"]);
    assert!(alone.contains("train.init_from"), "{alone}");
    let sets = ["train.init_head=false", "train.init_from=a"];
    assert!(!read(SCENES, &sets).unwrap().train.init_head);
}

#[test]
fn a_missing_file_is_a_configuration_error() {
    let error = Config::from_file(Path::new("no/such.toml"), &[]).unwrap_err();
    assert!(matches!(error, Error::Config(_)), "{error:?}");
    assert!(error.to_string().contains("no/such.toml"), "{error}");
}

#[test]
fn keys_of_loading_are_checked_and_named() {
    check_keys_of_loading(SCENES);
}
