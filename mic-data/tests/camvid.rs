//! CamVid's layout and domains, on a made-up tree and, if there is one, on the real data.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;

use image::{GrayImage, Luma, Rgb, RgbImage};
use mic_data::datasets::{CamVid, Domain};
use mic_data::files::{write_grey, write_rgb};
use mic_data::{ClassStats, Classes, LabelledSet, UnlabelledSet, WithoutLabels};
use tempfile::TempDir;

/// Two frames of each sequence of a split, as in the release.
fn tree() -> TempDir {
    let dir = TempDir::new().unwrap();
    for (split, sequences) in [
        ("train", &["0001TP", "0006R0", "0016E5"][..]),
        ("val", &["0016E5"]),
        ("test", &["0001TP", "Seq05VD"]),
    ] {
        let (images, labels) = (
            dir.path().join(split),
            dir.path().join(format!("{split}annot")),
        );
        std::fs::create_dir_all(&images).unwrap();
        std::fs::create_dir_all(&labels).unwrap();
        for (frame, sequence) in sequences.iter().flat_map(|s| [(0, s), (30, s)]) {
            let name = format!("{sequence}_{split}{frame:03}.png");
            let image = RgbImage::from_pixel(12, 1, Rgb([frame, 1, 2]));
            write_rgb(&images.join(&name), &image).unwrap();
            let label = GrayImage::from_fn(12, 1, |x, _| Luma([x as u8]));
            write_grey(&labels.join(&name), &label).unwrap();
        }
    }
    dir
}

fn names(set: &CamVid) -> Vec<String> {
    let indices = 0..set.len();
    indices.map(|index| set.get(index).unwrap().name).collect()
}

#[test]
fn domains_are_made_of_sequences() {
    let dir = tree();
    let open = |domain| CamVid::open(dir.path(), domain).unwrap();
    let day = names(&open(Domain::Day));
    assert_eq!(day.len(), 8);
    assert!(day.is_sorted() && day.iter().all(|name| !name.starts_with("0001TP")));
    let train = ["0001TP_train000", "0001TP_train030"];
    assert_eq!(names(&open(Domain::DuskTrain)), train);
    let test = ["0001TP_test000", "0001TP_test030"];
    assert_eq!(names(&open(Domain::DuskTest)), test);
    let sample = open(Domain::Day).get(1).unwrap();
    assert_eq!(sample.image.get_pixel(0, 0).0, [30, 1, 2]);
    assert_eq!(
        sample.label.as_raw(),
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255]
    );
}

#[test]
fn foreign_ids_missing_labels_and_other_frames_are_refused() {
    let dir = tree();
    let set = CamVid::open(dir.path(), Domain::DuskTest).unwrap();
    let label = dir.path().join("testannot/0001TP_test030.png");
    let mut ids = GrayImage::new(12, 1);
    ids.put_pixel(7, 0, Luma([12]));
    write_grey(&label, &ids).unwrap();
    let text = set.get(1).unwrap_err().to_string();
    for part in ["0001TP_test030.png", "id 12", "x=7, y=0", "camvid"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
    // A target domain's labels are not even opened.
    let target = WithoutLabels(set);
    assert_eq!(target.get(1).unwrap().name, "0001TP_test030");
    std::fs::remove_file(&label).unwrap();
    let text = CamVid::open(dir.path(), Domain::Day)
        .unwrap_err()
        .to_string();
    assert!(text.contains("testannot/0001TP_test030.png"), "{text}");
    std::fs::remove_dir_all(dir.path().join("val")).unwrap();
    let text = CamVid::open(dir.path(), Domain::Day)
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("cannot access") && text.contains("val"),
        "{text}"
    );
    for file in ["train/0001TP_train000.png", "train/0001TP_train030.png"] {
        std::fs::remove_file(dir.path().join(file)).unwrap();
    }
    let text = CamVid::open(dir.path(), Domain::DuskTrain)
        .unwrap_err()
        .to_string();
    assert!(text.contains("0001TP"), "{text}");
}

/// Runs when `MIC_DATA_DIR` names a folder with `camvid/` in it.
#[test]
fn the_real_frames_can_all_be_read() {
    let Some(data) = std::env::var_os("MIC_DATA_DIR") else {
        println!("skipped: MIC_DATA_DIR is not set");
        return;
    };
    let root = PathBuf::from(data).join("camvid");
    let classes = Classes::camvid().len();
    for (domain, len) in [
        (Domain::Day, 577),
        (Domain::DuskTrain, 62),
        (Domain::DuskTest, 62),
    ] {
        let set = CamVid::open(&root, domain).unwrap();
        assert_eq!(set.len(), len, "{domain:?}");
        let stats = ClassStats::count(&set, classes, 2).unwrap();
        let totals = stats.totals();
        println!("{domain:?}: {totals:?}");
        assert!(
            totals.iter().all(|total| *total > 0),
            "{domain:?} {totals:?}"
        );
    }
}

#[test]
fn files_without_labels_give_images_only() {
    let dir = tree();
    let files = CamVid::open(dir.path(), Domain::Day).unwrap().into_files();
    assert!(LabelledSet::get(&files, 0).is_ok());
    let files = files.without_labels();
    assert!(files.samples().iter().all(|sample| sample.label.is_none()));
    assert!(UnlabelledSet::get(&files, 0).is_ok());
    let error = LabelledSet::get(&files, 0).unwrap_err().to_string();
    assert!(error.contains("opened without labels"), "{error}");
}
