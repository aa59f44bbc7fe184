//! The program as users run it: what it writes, what it says, and its exit codes.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers outside #[test] functions

mod sets;

use std::fs;

use image::RgbImage;
use serde_json::json;
use sets::{
    CLASSES, annotation, command, document, done, kill_in_training, mic_det, read_json, refused,
    same_end, sets, text, train, write_voc,
};

#[test]
fn a_run_is_trained_and_measured() {
    let folder = sets();
    let at = folder.path();
    let table = done(&train(at, "out", &[]));
    assert!(
        table.contains("car, red") && table.contains("AP50"),
        "{table}"
    );
    for name in [
        "config.toml",
        "run.json",
        "report.html",
        "tensorboard",
        "pictures",
    ] {
        assert!(at.join("out").join(name).exists(), "{name}");
    }
    let metrics = read_json(&at.join("out/metrics.json"));
    assert_eq!(metrics["classes"].as_array().unwrap().len(), CLASSES.len());
    assert_eq!(metrics["evaluations"].as_array().unwrap().len(), 2);
    assert_eq!(metrics["test"]["main"], "AP50");
    let config = fs::read_to_string(at.join("out/config.toml")).unwrap();
    assert!(config.contains("\"car, red\""), "{config}");

    let eval = ["eval", "--checkpoint", "out", "--json", "e.json", "--quiet"];
    assert_eq!(done(&mic_det(at, &eval)), table);
    let measured = read_json(&at.join("e.json"));
    assert_eq!(measured["images"], 4);
    assert_eq!(
        measured["coco"]["all"]["AP50"],
        metrics["test"]["scores"]["AP50"]
    );
    // Another threshold, and the other network.
    let other = [
        "eval",
        "--checkpoint",
        "out/checkpoint.safetensors",
        "--quiet",
    ];
    let sets = [
        "--set",
        "inference.score=0.9",
        "--set",
        "train.evaluate=teacher",
    ];
    done(&mic_det(at, &[&other[..], &sets].concat()));
}

#[test]
fn a_killed_run_ends_as_if_it_had_not_been() {
    let folder = sets();
    let at = folder.path();
    let long = ["train.iterations=60", "train.eval_every=0"];
    done(&train(at, "whole", &long));
    let sets: Vec<&str> = long.iter().flat_map(|set| ["--set", set]).collect();
    let args = [
        "train", "--config", "run.toml", "--quiet", "--out", "killed",
    ];
    kill_in_training(
        command(at, &[&args[..], &sets].concat()),
        &at.join("killed"),
    );
    let resume = ["train", "--out", "killed", "--resume", "--quiet"];
    done(&mic_det(at, &resume));
    same_end(&at.join("whole"), &at.join("killed"), 60);
    // Threads only prepare the batches.
    let without = [long[0], long[1], "data.loader_threads=0"];
    done(&train(at, "threads", &without));
    same_end(&at.join("whole"), &at.join("threads"), 60);
}

/// Every method with and without masked images, on images of either format.
#[test]
fn methods_need_no_more_than_they_say() {
    let folder = sets();
    let at = folder.path();
    write_voc(&at.join("voc"), 5, 20);
    let short = ["train.iterations=2", "train.eval_every=0"];
    let run = |out: &str, sets: &[&str]| train(at, out, &[&short, sets].concat());
    // The target is no set at all.
    let alone = ["method.kind=source_only", "mask=", "data.target="];
    done(&run("alone", &alone));
    done(&run("sada-alone", &["mask="]));
    done(&run("mic", &["sada.instance_levels=all"]));
    done(&run("mask", &["method.kind=source_only"]));
    let voc = [
        "data.target.kind=voc",
        "data.target.root=voc",
        "data.target.split=train",
        "data.classes=[\"bus\", \"car, red\", \"person\"]",
        "method.kind=oracle",
        "mask=",
        "data.source=",
    ];
    done(&run("oracle", &voc));
    // Images of several sizes, conventions of torchvision, several images in a batch.
    let modern = [
        "model.conventions=modern",
        "data.colors=rgb",
        "data.min_sizes=[48, 64]",
        "train.batch=2",
    ];
    done(&run("modern", &modern));
    // The target's annotations choose its images only when asked to.
    refused(
        &run("usable", &["data.target_usable_only=true"]),
        2,
        &["data.target", "annotations"],
    );
}

/// Annotations as they are found in the wild.
#[test]
fn boxes_that_are_no_boxes_are_passed_over() {
    let folder = sets();
    let at = folder.path();
    let mut source = document(6);
    let list = source["annotations"].as_array_mut().unwrap();
    let mut crowd = annotation(91, 0, 70, [0.0, 0.0, 50.0, 50.0]);
    crowd["iscrowd"] = json!(1);
    list.extend([
        crowd,
        annotation(92, 0, 1, [20.0, 20.0, 0.0, 10.0]),
        annotation(93, 1, 1, [200.0, 20.0, 30.0, 30.0]),
        annotation(94, 2, 3, [80.0, 50.0, 40.0, 40.0]),
    ]);
    // An image without objects: left out, or background.
    list.retain(|annotation| annotation["image_id"] != 4);
    fs::write(at.join("source.json"), source.to_string()).unwrap();
    let check = ["data", "check", "--config", "run.toml", "--quiet"];
    let found = done(&mic_det(at, &check));
    for part in [
        "object 92",
        "object 93",
        "object 94",
        "have no object",
        "no errors",
    ] {
        assert!(found.contains(part), "{part}: {found}");
    }
    let short = ["train.iterations=6", "train.eval_every=0"];
    done(&train(at, "usable", &short));
    let all = [short[0], short[1], "data.source_usable_only=false"];
    done(&train(at, "all", &all));
}

#[test]
fn one_class_is_enough_and_test_sets_have_the_classes_of_the_source() {
    let folder = sets();
    let at = folder.path();
    let short = ["train.iterations=2", "train.eval_every=0"];
    let one = [short[0], short[1], "data.classes=[\"person\"]"];
    let table = done(&train(at, "one", &one));
    assert!(
        table.contains("person") && !table.contains("bus"),
        "{table}"
    );

    let mut test = document(4);
    test["categories"][0]["name"] = json!("truck");
    fs::write(at.join("test.json"), test.to_string()).unwrap();
    refused(&train(at, "gap", &short), 2, &["data.test", "bus"]);
}

#[test]
fn wrong_data_is_refused_with_what_is_wrong() {
    let folder = sets();
    let at = folder.path();
    let set = |set: &str| train(at, "out", &[set]);
    refused(
        &set("data.source.annotations=nowhere.json"),
        2,
        &["data.source", "nowhere.json"],
    );
    refused(&set("data.target.suffix=.gif"), 2, &["data.target", ".gif"]);
    refused(&set("mask.blok=4"), 2, &["did you mean mask.block?"]);
    refused(
        &set("data.classes=[\"lorry\"]"),
        2,
        &["data.source", "lorry"],
    );
    assert!(!at.join("out").exists());
    refused(
        &train(at, "weights", &["model.pretrained=none.pth"]),
        1,
        &["none.pth"],
    );

    let mut source = document(6);
    source["annotations"] = json!([]);
    fs::write(at.join("source.json"), source.to_string()).unwrap();
    refused(
        &train(at, "empty", &[]),
        2,
        &["data.source", "box to train on"],
    );
    fs::write(at.join("source.json"), document(6).to_string()).unwrap();

    fs::write(at.join("source/0.png"), "no image").unwrap();
    refused(&train(at, "broken", &[]), 1, &["source/0.png"]);
    let check = ["data", "check", "--config", "run.toml", "--quiet"];
    let output = mic_det(at, &check);
    refused(&output, 1, &["1 error"]);
    assert!(text(&output.stdout).contains("source/0.png"));
    refused(
        &command(at, &["train", "--config", "run.toml", "--out", "o"])
            .envs([("WORLD_SIZE", "2"), ("RANK", "0"), ("LOCAL_RANK", "0")])
            .envs([("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "29513")])
            .output()
            .unwrap(),
        2,
        &["one process"],
    );
}

/// One pixel high, it would be enlarged beyond all bounds.
#[test]
fn images_that_would_become_huge_are_refused() {
    let folder = sets();
    let at = folder.path();
    RgbImage::new(70_000, 1)
        .save(at.join("target/long.png"))
        .unwrap();
    refused(&train(at, "huge", &["data.max_size=0"]), 1, &["too large"]);
}

#[test]
fn images_are_shown_with_their_boxes() {
    let folder = sets();
    let at = folder.path();
    for of in ["source", "target", "test"] {
        let file = format!("{of}.png");
        let args = [
            "data", "show", "--config", "run.toml", "--quiet", "--of", of, "--out", &file,
        ];
        done(&mic_det(at, &args));
        assert!(image::open(at.join(&file)).unwrap().width() > 100);
    }
}

#[test]
fn annotation_files_of_cityscapes_are_made_for_clear_and_foggy_images() {
    let folder = sets();
    let at = folder.path();
    let city = at.join("data/cityscapes/gtFine/val/town");
    fs::create_dir_all(&city).unwrap();
    let polygons = json!({"imgHeight": 8, "imgWidth": 16, "objects": []});
    let prefix = city.join("town_000000_000000_");
    let file = |end: &str| format!("{}{end}", prefix.display());
    fs::write(file("gtFine_polygons.json"), polygons.to_string()).unwrap();
    // A person of 4 x 3 pixels.
    let inside = |x, y| (2..6).contains(&x) && (3..6).contains(&y);
    let ids = image::ImageBuffer::<image::Luma<u16>, Vec<u16>>::from_fn(16, 8, |x, y| {
        image::Luma([if inside(x, y) { 24_000 } else { 7 }])
    });
    ids.save(file("gtFine_instanceIds.png")).unwrap();
    let prepare = |set: &str| {
        let said = done(&mic_det(at, &["data", "prepare", set, "data", "--quiet"]));
        assert!(said.contains("1 images, 1 objects"), "{said}");
    };
    prepare("cityscapes");
    prepare("foggy-cityscapes");
    let name = "foggy_instancesonly_filtered_gtFine_val_poly.json";
    let foggy = read_json(&at.join("data/foggy_cityscapes/annotations").join(name));
    assert_eq!(foggy["annotations"][0]["bbox"], json!([2.0, 3.0, 4.0, 3.0]));
    let image = foggy["images"][0]["file_name"].as_str().unwrap();
    assert!(image.ends_with("foggy_beta_0.02.png"), "{image}");
    let wrong = [
        "data",
        "prepare",
        "foggy-cityscapes",
        "data",
        "--beta",
        "thick",
    ];
    refused(&mic_det(at, &wrong), 2, &["--beta"]);
}
