//! Published sets in their true layouts, at small sizes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod trees;

use std::fs;
use std::path::Path;

use mic_data::datasets::{Condition, FileSet, Published, Selection, Split};
use mic_data::{LabelledSet, UnlabelledSet};
use tempfile::TempDir;
use trees::{SIZE, TRAIN_IDS, ids_of, picture};

fn labelled() -> Selection {
    Selection {
        list: None,
        labelled: true,
    }
}

fn open(part: Published, root: &Path) -> FileSet {
    part.open(root, &labelled()).unwrap()
}

fn names(set: &FileSet) -> Vec<&str> {
    set.samples()
        .iter()
        .map(|sample| sample.name.as_str())
        .collect()
}

#[track_caller]
fn expect_error<T>(result: mic_data::Result<T>, parts: &[&str]) {
    let text = match result {
        Ok(_) => panic!("no error, but one with {parts:?} was expected"),
        Err(error) => error.to_string(),
    };
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

#[test]
fn gta_and_synthia_give_train_ids() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    trees::gta(&root.join("gta"), 3);
    trees::synthia(&root.join("synthia"), 3);
    for (part, below, first) in [
        (Published::Gta, "gta", "00001"),
        (Published::Synthia, "synthia", "0000000"),
    ] {
        let set = open(part, &root.join(below));
        assert_eq!((set.count(), names(&set)[0]), (3, first));
        for index in 0..3 {
            let sample = LabelledSet::get(&set, index).unwrap();
            assert_eq!(sample.image, picture(index as u32), "{below}");
            assert_eq!(sample.label.as_raw(), &ids_of(&TRAIN_IDS, index), "{below}");
        }
    }
}

#[test]
fn a_prepared_label_wins() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    trees::gta(root, 2);
    let prepared = vec![18; (SIZE.0 * SIZE.1) as usize];
    trees::write_grey8(
        &root.join("labels/00002_labelTrainIds.png"),
        SIZE,
        &prepared,
    );
    let set = open(Published::Gta, root);
    assert_eq!(names(&set), ["00001", "00002"]);
    assert_eq!(set.label(0).unwrap().1.as_raw(), &ids_of(&TRAIN_IDS, 0));
    assert_eq!(set.label(1).unwrap().1.as_raw(), &prepared);
    trees::write_grey8(
        &root.join("labels/00002_labelTrainIds.png"),
        SIZE,
        &[19; 240],
    );
    expect_error(set.label(1), &["00002_labelTrainIds.png", "id 19"]);
}

#[test]
fn cityscapes_is_read_by_split() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    trees::cityscapes(root, false);
    let train = open(Published::Cityscapes(Split::Train), root);
    let expected = [
        "aachen/aachen_000000_000019",
        "aachen/aachen_000001_000019",
        "bochum/bochum_000000_000019",
        "bochum/bochum_000001_000019",
    ];
    assert_eq!(names(&train), expected);
    assert_eq!(train.label(1).unwrap().1.as_raw(), &ids_of(&TRAIN_IDS, 1));
    assert_eq!(open(Published::Cityscapes(Split::Val), root).count(), 2);
    expect_error(
        Published::Cityscapes(Split::Test).open(root, &labelled()),
        &["leftImg8bit/test", "cannot access"],
    );
}

#[test]
fn both_trees_of_acdc_are_known() {
    let folder = TempDir::new().unwrap();
    let (shipped, flat) = (folder.path().join("shipped"), folder.path().join("flat"));
    trees::acdc(&shipped, false);
    trees::acdc(&flat, true);
    for root in [&shipped, &flat] {
        for split in [Split::Train, Split::Val] {
            let set = open(Published::Acdc(split, None), root);
            assert_eq!(set.count(), 4);
            for index in 0..4 {
                let sample = LabelledSet::get(&set, index).unwrap();
                assert_eq!(sample.image, picture(index as u32));
                assert_eq!(sample.label.as_raw(), &ids_of(&TRAIN_IDS, index));
            }
        }
    }
    let night = Published::Acdc(Split::Train, Some(Condition::Night));
    let set = open(night, &shipped);
    assert_eq!(names(&set), ["night/GP000001/GP000001_frame_000001"]);
    expect_error(
        night.open(&flat, &labelled()),
        &["rgb_anon/train", "night", "shipped"],
    );
    expect_error(
        night.open(folder.path(), &labelled()),
        &["rgb_anon/night/train"],
    );
    let all = Published::Acdc(Split::Train, None);
    expect_error(
        all.open(folder.path(), &labelled()),
        &["rgb_anon", "fog/train"],
    );
}

#[test]
fn dark_zurich_trains_on_nights_without_labels() {
    let folder = TempDir::new().unwrap();
    trees::dark_zurich(folder.path());
    let part = |split| Published::DarkZurich(split);
    let train = part(Split::Train)
        .open(folder.path(), &Selection::default())
        .unwrap();
    assert_eq!(names(&train), ["GOPR1/f_1"]);
    assert_eq!(UnlabelledSet::get(&train, 0).unwrap().image, picture(0));
    expect_error(train.label(0), &["f_1_rgb_anon.png", "without labels"]);
    let val = open(part(Split::Val), folder.path());
    assert_eq!(val.label(0).unwrap().1.as_raw(), &ids_of(&TRAIN_IDS, 2));
    let parts = ["1 of 1 images", "f_1_rgb_anon.png", "_gt_labelTrainIds.png"];
    expect_error(part(Split::Train).open(folder.path(), &labelled()), &parts);
}

#[test]
fn lists_choose_and_order() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    trees::gta(root, 4);
    let list = root.join("some.txt");
    let with = |text: &[u8]| {
        fs::write(&list, text).unwrap();
        let selection = Selection {
            list: Some(list.clone()),
            labelled: true,
        };
        Published::Gta.open(root, &selection)
    };
    let set = with(b"00003\r\n\n00001.png\n").unwrap();
    assert_eq!(names(&set), ["00003", "00001"]);
    expect_error(with(b"00003\n00009\n"), &["some.txt line 2", "00009"]);
    expect_error(
        with(b"00003\n00003\n"),
        &["some.txt line 2", "listed twice"],
    );
    expect_error(with(b"00003\nx\xff\n"), &["some.txt line 2", "UTF-8"]);
    expect_error(with(b"\n"), &["some.txt"]);
}

#[cfg(unix)]
#[test]
fn odd_names_and_loops_of_links_are_named() {
    use std::os::unix::ffi::OsStrExt;
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    trees::gta(root, 1);
    let images = root.join("images");
    std::os::unix::fs::symlink(&images, images.join("again")).unwrap();
    expect_error(Published::Gta.open(root, &labelled()), &["images/again"]);
    fs::remove_file(images.join("again")).unwrap();
    // Links that lead elsewhere are followed.
    let elsewhere = TempDir::new().unwrap();
    fs::rename(root.join("labels"), elsewhere.path().join("labels")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("labels"), root.join("labels")).unwrap();
    assert_eq!(open(Published::Gta, root).count(), 1);
    let odd = std::ffi::OsStr::from_bytes(b"0\xff2.png");
    fs::copy(images.join("00001.png"), images.join(odd)).unwrap();
    expect_error(Published::Gta.open(root, &labelled()), &["images", "UTF-8"]);
}

#[test]
fn damaged_labels_are_named() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    trees::gta(root, 1);
    let set = open(Published::Gta, root);
    let path = root.join("labels/00001.png");
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    let last = flipped.len() - 20;
    flipped[last] ^= 4;
    for (content, part) in [
        (&whole[..0], "empty"),
        (&whole[..whole.len() / 2], "cannot decode"),
        (&flipped[..], "cannot decode"),
        (&b"\xff\xd8\xff\xe0 a photograph"[..], "JPEG"),
        (&b"no picture"[..], "cannot decode"),
    ] {
        fs::write(&path, content).unwrap();
        expect_error(set.label(0), &["labels/00001.png", part]);
    }
    mic_data::files::write_rgb(&path, &picture(0)).unwrap();
    expect_error(set.label(0), &["labels/00001.png", "colours"]);
    let mut huge = whole;
    huge[16..24].copy_from_slice(&[0, 1, 134, 160, 0, 1, 134, 160]);
    let checksum = crc32(&huge[12..29]);
    huge[29..33].copy_from_slice(&checksum.to_be_bytes());
    fs::write(&path, huge).unwrap();
    expect_error(
        set.label(0),
        &["labels/00001.png", "100000 x 100000", "limit"],
    );
}

/// The checksum of PNG chunks.
fn crc32(bytes: &[u8]) -> u32 {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    });
    !crc
}
