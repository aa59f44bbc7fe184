//! One's own files: patterns, lists, colours, masks, and images of every kind.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod trees;

use std::fs;
use std::path::Path;

use image::{GrayImage, Luma, Rgba, RgbaImage};
use mic_data::datasets::{FileSet, FolderConfig, Pattern, custom};
use mic_data::files::{read_image, write_rgb};
use mic_data::label_map::Unlisted;
use mic_data::{IGNORE, LabelMap, LabelledSet};
use png::{BitDepth, ColorType};
use tempfile::TempDir;
use trees::{SIZE, picture};

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

/// `run1/rgb/1.jpg.png` and so on with masks of 0 and 255 beside them.
fn runs(root: &Path) {
    for (seed, (run, frame)) in [("run1", 1), ("run1", 2), ("run2", 1)]
        .into_iter()
        .enumerate()
    {
        let seed = seed as u32;
        for inner in ["rgb", "mask"] {
            fs::create_dir_all(root.join(run).join(inner)).unwrap();
        }
        write_rgb(
            &root.join(format!("{run}/rgb/f{frame}.png")),
            &picture(seed),
        )
        .unwrap();
        let mask = GrayImage::from_fn(SIZE.0, SIZE.1, |x, _| Luma([255 * u8::from(x > seed)]));
        let path = root.join(format!("{run}/mask/f{frame}_m.png"));
        trees::write_grey8(&path, SIZE, mask.as_raw());
    }
}

#[test]
fn patterns_pair_images_with_masks() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    runs(root);
    let images = Pattern::parse("*/rgb/*.png").unwrap();
    let masks = Pattern::parse("*/mask/*_m.png").unwrap();
    let open = |images: &Pattern, masks: &Pattern| {
        custom::open_pattern(root, images, Some((masks, LabelMap::binary())))
    };
    let set = open(&images, &masks).unwrap();
    let names: Vec<_> = set
        .samples()
        .iter()
        .map(|sample| sample.name.clone())
        .collect();
    assert_eq!(names, ["run1/rgb/f1", "run1/rgb/f2", "run2/rgb/f1"]);
    for index in 0..3u32 {
        let sample = LabelledSet::get(&set, index as usize).unwrap();
        assert_eq!(sample.image, picture(index));
        let object = |x: u32| sample.label.get_pixel(x, 3).0[0];
        assert_eq!((object(index), object(index + 1)), (0, 1));
    }
    let unlabelled = custom::open_pattern(root, &images, None).unwrap();
    assert!(
        unlabelled
            .samples()
            .iter()
            .all(|sample| sample.label.is_none())
    );
    let none = Pattern::parse("*/depth/*.png").unwrap();
    expect_error(open(&none, &masks), &["*/depth/*.png", "no file"]);
    let other = Pattern::parse("mask/*.png").unwrap();
    expect_error(open(&images, &other), &["same wildcards"]);
    fs::remove_file(root.join("run1/mask/f2_m.png")).unwrap();
    expect_error(open(&images, &masks), &["1 of the 3", "f2.png", "f2_m.png"]);
    let own = Pattern::parse("*/rgb/*.png").unwrap();
    expect_error(open(&images, &own), &["is its own label"]);
}

fn list(root: &Path, text: &str, labelled: bool) -> mic_data::Result<FileSet> {
    fs::write(root.join("list.txt"), text).unwrap();
    let folders = FolderConfig {
        images: root.join("run1/rgb"),
        labels: root.join("run1/mask"),
        image_suffix: ".png".into(),
        label_suffix: "_m.png".into(),
        map: LabelMap::binary(),
    };
    custom::open_list(&root.join("list.txt"), root, &folders, labelled)
}

#[test]
fn lists_name_images_or_pairs() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    runs(root);
    let names = |set: &FileSet| {
        let names = set.samples().iter().map(|sample| sample.name.clone());
        names.collect::<Vec<_>>()
    };
    let set = list(root, "f2\nf1.png\n", true).unwrap();
    assert_eq!(names(&set), ["f2", "f1"]);
    assert_eq!(LabelledSet::get(&set, 0).unwrap().image, picture(1));
    let pairs = "run2/rgb/f1.png\trun2/mask/f1_m.png\n";
    let set = list(root, pairs, true).unwrap();
    assert_eq!(names(&set), ["run2/rgb/f1"]);
    assert_eq!(LabelledSet::get(&set, 0).unwrap().image, picture(2));
    expect_error(
        list(root, "f1\nf9\n", true),
        &["list.txt line 2", "image", "f9.png"],
    );
    let gone = "run2/rgb/f1.png\trun2/mask/no.png\n";
    expect_error(
        list(root, gone, true),
        &["list.txt line 1", "label", "no.png"],
    );
    assert_eq!(list(root, gone, false).unwrap().count(), 1);
    expect_error(list(root, "f1\nf1\n", true), &["\"f1\"", "must differ"]);
    expect_error(list(root, "a\t\n", true), &["list.txt line 1"]);
}

#[test]
fn colours_stand_for_classes_whatever_the_kind_of_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("label.png");
    let colours = [[128, 64, 128], [0, 0, 142], [9, 9, 9]];
    let map = |unlisted| LabelMap::by_colour("mine", [(colours[0], 0), (colours[1], 1)], unlisted);
    let write = |kind: (ColorType, BitDepth), of: &dyn Fn([u8; 3]) -> Vec<u8>| {
        let data: Vec<u8> = colours.into_iter().flat_map(of).collect();
        trees::write_png(&path, kind, (3, 1), &data);
    };
    let eight = BitDepth::Eight;
    let deep = |rgb: [u8; 3]| rgb.into_iter().flat_map(|c| [c, 77]).collect();
    write((ColorType::Rgb, eight), &|rgb| rgb.to_vec());
    let read = || map(Unlisted::Ignore).read(&path).unwrap().into_raw();
    assert_eq!(read(), [0, 1, IGNORE]);
    write((ColorType::Rgba, eight), &|[r, g, b]| vec![r, g, b, 0]);
    assert_eq!(read(), [0, 1, IGNORE]);
    write((ColorType::Rgb, BitDepth::Sixteen), &deep);
    assert_eq!(read(), [0, 1, IGNORE]);
    let refused = map(Unlisted::Refuse).read(&path);
    expect_error(refused, &["label.png", "#090909", "x=2, y=0", "mine"]);
    let seen = map(Unlisted::Refuse).inspect(&path).unwrap();
    assert_eq!(
        seen.unlisted.into_iter().collect::<Vec<_>>(),
        [("#090909".to_owned(), 1)]
    );
    assert_eq!(seen.label.into_raw(), [0, 1, IGNORE]);
    // A palette image shows the colours of its palette: (37 i, 255 - i, i / 2).
    trees::write_indices(&path, (3, 1), &[2, 3, 2]);
    let map = LabelMap::by_colour(
        "p",
        [([74, 253, 1], 4), ([111, 252, 1], 5)],
        Unlisted::Refuse,
    );
    assert_eq!(map.read(&path).unwrap().into_raw(), [4, 5, 4]);
    trees::write_grey8(&path, (3, 1), &[0, 255, 0]);
    let black = LabelMap::by_colour("g", [([0; 3], 1), ([255; 3], 0)], Unlisted::Refuse);
    assert_eq!(black.read(&path).unwrap().into_raw(), [1, 0, 1]);
}

#[test]
fn masks_of_one_bit_and_of_16_bits_are_ids() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("label.png");
    let grey = |depth| (ColorType::Grayscale, depth);
    trees::write_png(&path, grey(BitDepth::One), (3, 1), &[0b0100_0000]);
    assert_eq!(
        LabelMap::train_ids(2).read(&path).unwrap().into_raw(),
        [0, 1, 0]
    );
    trees::write_png(&path, grey(BitDepth::Sixteen), (2, 1), &[4, 1, 0, 7]);
    let map = LabelMap::new("deep", [(1025, 0), (7, 1)], Unlisted::Refuse);
    assert_eq!(map.read(&path).unwrap().into_raw(), [0, 1]);
    expect_error(LabelMap::binary().read(&path), &["id 1025", "binary"]);
}

#[test]
fn images_of_every_kind_become_rgb() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("image.png");
    let image = picture(3);
    let alpha = RgbaImage::from_fn(SIZE.0, SIZE.1, |x, y| {
        let [r, g, b] = image.get_pixel(x, y).0;
        Rgba([r, g, b, (x * 9) as u8])
    });
    alpha.save(&path).unwrap();
    assert_eq!(read_image(&path).unwrap(), image);
    let deep: Vec<u8> = image
        .as_raw()
        .iter()
        .flat_map(|value| [*value, 200])
        .collect();
    trees::write_png(&path, (ColorType::Rgb, BitDepth::Sixteen), SIZE, &deep);
    assert_eq!(read_image(&path).unwrap(), image);
    trees::write_grey8(&path, (2, 1), &[7, 250]);
    assert_eq!(
        read_image(&path).unwrap().into_raw(),
        [7, 7, 7, 250, 250, 250]
    );
}
