//! Saying where data sets come from, and checking what is there.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::path::Path;

use common::Hub;
use common::program::{Machine, Said, run};

fn data(machine: &Machine, args: &[&str]) -> Said {
    run(machine.command(&["data"]).args(args))
}

/// A PNG of one colour.
fn png(path: &Path, width: u32, height: u32, grey: bool) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    match grey {
        true => image::GrayImage::new(width, height).save(path).unwrap(),
        false => image::RgbImage::new(width, height).save(path).unwrap(),
    }
}

#[test]
fn sets_that_are_missing_are_explained() {
    let machine = Machine::with(&Hub::start(), "");
    let said = data(&machine, &[]).done();
    for part in [
        "gta: GTA5",
        "(not there)",
        "download.visinf.tu-darmstadt.de",
        "(needs an account there)",
        "mic-seg data prepare cityscapes data/cityscapes",
        "visda-2017",
    ] {
        assert!(said.out.contains(part), "no {part} in:\n{}", said.out);
    }
    // Asked for, a missing set is a failure.
    data(&machine, &["gta"]).failed(1, &["not there or not whole: gta"]);
    data(&machine, &["gtb"]).failed(2, &["no data set \"gtb\"", "cityscapes"]);
}

#[test]
fn sets_that_are_there_are_counted_and_opened() {
    let machine = Machine::with(&Hub::start(), "");
    let root = machine.folder.path().join("data/cityscapes");
    for (split, count) in [("train", 3), ("val", 2)] {
        for at in 0..count {
            let name = format!("{split}/aachen/aachen_{at:06}_000019");
            png(
                &root.join(format!("leftImg8bit/{name}_leftImg8bit.png")),
                2048,
                1024,
                false,
            );
            png(
                &root.join(format!("gtFine/{name}_gtFine_labelIds.png")),
                2048,
                1024,
                true,
            );
        }
    }
    let said = data(&machine, &["cityscapes"]);
    said.failed(1, &["cityscapes"]);
    for part in [
        "train: 3 of 2975 images, 3 opened",
        "val: 2 of 500 images, 2 opened",
        "too few images: 3, published are 2975",
        "prepare its labels",
    ] {
        assert!(said.out.contains(part), "no {part} in:\n{}", said.out);
    }
    // Files that are damaged or of another size are named.
    let image = |name: &str| {
        root.join(format!(
            "leftImg8bit/train/aachen/aachen_{name}_000019_leftImg8bit.png"
        ))
    };
    fs::write(image("000000"), "no picture").unwrap();
    png(&image("000002"), 1024, 512, false);
    let said = data(&machine, &["cityscapes"]);
    for part in [
        "aachen_000000",
        "is 1024x512, published are 2048x1024",
        "1 opened",
    ] {
        assert!(said.out.contains(part), "no {part} in:\n{}", said.out);
    }
}

#[test]
fn labels_of_targets_stay_closed() {
    let machine = Machine::with(&Hub::start(), "");
    let root = machine.folder.path().join("data/acdc");
    for split in ["train", "val"] {
        let name = format!("fog/{split}/seq/0001");
        png(
            &root.join(format!("rgb_anon/{name}_rgb_anon.png")),
            1920,
            1080,
            false,
        );
        fs::create_dir_all(root.join(format!("gt/fog/{split}/seq"))).unwrap();
        let label = root.join(format!("gt/fog/{split}/seq/0001_gt_labelIds.png"));
        fs::write(label, "damaged").unwrap();
    }
    let said = data(&machine, &["acdc"]);
    assert!(
        said.out.contains("train: 1 of 1600 images, 1 opened"),
        "{}",
        said.out
    );
    assert!(
        said.out.contains("val: 1 of 406 images, 0 opened"),
        "{}",
        said.out
    );
}
