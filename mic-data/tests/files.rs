//! Reading and writing image files, and the errors of damaged and mismatched ones.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use image::{GrayImage, Luma, Rgb, RgbImage};
use mic_data::datasets::{Folder, FolderConfig, ImageFolder, InMemory, Subset};
use mic_data::files::{read_image, read_label, write_grey, write_palette, write_rgb};
use mic_data::label_map::RawIds;
use mic_data::{Classes, LabelMap, LabelledSet, UnlabelledSet};
use tempfile::TempDir;

/// An image that does not compress to almost nothing.
fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let value = (x * 31 + y * 57) ^ (x * y);
        Rgb([value as u8, (value >> 2) as u8, (x + y) as u8])
    })
}

fn ids(width: u32, height: u32) -> GrayImage {
    GrayImage::from_fn(width, height, |x, y| Luma([((x / 2 + y) % 11) as u8]))
}

fn write_png(path: &Path, color: png::ColorType, depth: png::BitDepth, width: u32, data: &[u8]) {
    let file = BufWriter::new(fs::File::create(path).unwrap());
    let mut encoder = png::Encoder::new(file, width, 1);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == png::ColorType::Indexed {
        encoder.set_palette(vec![200; 16 * 3]);
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(data).unwrap();
}

/// The error text of a result, which must name every part.
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
fn what_is_written_is_read_back() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (image, label) = (picture(20, 9), ids(20, 9));
    write_rgb(&at("image.png"), &image).unwrap();
    write_grey(&at("grey.png"), &label).unwrap();
    write_palette(&at("palette.png"), &label, &Classes::camvid()).unwrap();
    assert_eq!(read_image(&at("image.png")).unwrap(), image);
    for name in ["grey.png", "palette.png"] {
        let raw = read_label(&at(name)).unwrap();
        assert_eq!((raw.width, raw.height), (20, 9));
        assert_eq!(raw.ids, RawIds::Bits8(label.as_raw().clone()), "{name}");
    }
    // A viewer sees the colours.
    let seen = read_image(&at("palette.png")).unwrap();
    for (x, y, pixel) in seen.enumerate_pixels() {
        let id = usize::from(label.get_pixel(x, y).0[0]);
        assert_eq!(pixel.0, Classes::camvid().palette()[id]);
    }
    assert_eq!(
        fs::read_dir(dir.path()).unwrap().count(),
        3,
        "no temporary file stays"
    );
}

#[test]
fn small_and_large_depths_give_their_stored_ids() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("label.png");
    use png::{BitDepth, ColorType};
    for color in [ColorType::Grayscale, ColorType::Indexed] {
        write_png(&path, color, BitDepth::Four, 3, &[0x3f, 0x50]);
        assert_eq!(
            read_label(&path).unwrap().ids,
            RawIds::Bits8(vec![3, 15, 5])
        );
        write_png(
            &path,
            color,
            BitDepth::Two,
            5,
            &[0b00_01_10_11, 0b10_000000],
        );
        assert_eq!(
            read_label(&path).unwrap().ids,
            RawIds::Bits8(vec![0, 1, 2, 3, 2])
        );
        write_png(&path, color, BitDepth::One, 9, &[0b1010_0001, 0b1000_0000]);
        let bits = vec![1, 0, 1, 0, 0, 0, 0, 1, 1];
        assert_eq!(read_label(&path).unwrap().ids, RawIds::Bits8(bits));
    }
    write_png(
        &path,
        ColorType::Grayscale,
        BitDepth::Sixteen,
        2,
        &[1, 2, 0, 7],
    );
    assert_eq!(read_label(&path).unwrap().ids, RawIds::Bits16(vec![258, 7]));
}

#[test]
fn missing_damaged_and_colour_files_are_named() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    expect_error(read_image(&at("none.png")), &["none.png", "cannot access"]);
    expect_error(read_label(&at("none.png")), &["none.png", "cannot access"]);

    write_rgb(&at("image.png"), &picture(60, 40)).unwrap();
    write_grey(&at("label.png"), &ids(60, 40)).unwrap();
    picture(60, 40).save(at("image.jpg")).unwrap();
    for name in ["image.png", "label.png", "image.jpg"] {
        let whole = fs::read(at(name)).unwrap();
        // The last bytes of a PNG are an end chunk after all pixels.
        for keep in [0, 1, 10, whole.len() / 2, whole.len() - 20] {
            fs::write(at(name), &whole[..keep]).unwrap();
            if name == "label.png" {
                expect_error(read_label(&at(name)), &[name, "cannot decode"]);
            } else {
                expect_error(read_image(&at(name)), &[name, "cannot decode"]);
            }
        }
        if name == "image.jpg" {
            fs::write(at(name), &whole).unwrap();
            assert_eq!(read_image(&at(name)).unwrap().dimensions(), (60, 40));
        }
    }
    write_rgb(&at("colour.png"), &picture(6, 4)).unwrap();
    expect_error(
        read_label(&at("colour.png")),
        &["colour.png", "one id a pixel"],
    );
    fs::write(at("text.png"), "not an image").unwrap();
    expect_error(read_image(&at("text.png")), &["text.png", "cannot decode"]);
    expect_error(read_label(&at("text.png")), &["text.png", "cannot decode"]);
    let into_missing = write_rgb(&at("no/folder.png"), &picture(6, 4));
    expect_error(into_missing, &["no/folder.png", "cannot access"]);
}

/// Images `a/1`, `a/2`, `b` with labels, and what a scan must leave out.
fn tree() -> (TempDir, FolderConfig) {
    let dir = TempDir::new().unwrap();
    let (images, labels) = (dir.path().join("img"), dir.path().join("gt"));
    for folder in [&images, &labels] {
        fs::create_dir_all(folder.join("a")).unwrap();
    }
    for name in ["b", "a/2", "a/1"] {
        write_rgb(&images.join(format!("{name}_rgb.png")), &picture(8, 6)).unwrap();
        write_grey(&labels.join(format!("{name}_ids.png")), &ids(8, 6)).unwrap();
    }
    fs::write(images.join("notes.txt"), "").unwrap();
    fs::write(images.join(".hidden_rgb.png"), "").unwrap();
    write_grey(&labels.join("extra_ids.png"), &ids(8, 6)).unwrap();
    let config = FolderConfig {
        images,
        labels,
        image_suffix: "_rgb.png".to_owned(),
        label_suffix: "_ids.png".to_owned(),
        map: LabelMap::train_ids(11),
    };
    (dir, config)
}

#[test]
fn a_folder_is_listed_at_any_depth_in_order() {
    let (_dir, config) = tree();
    let images = ImageFolder::open(&config.images, &config.image_suffix).unwrap();
    let folder = Folder::open(config).unwrap();
    let labelled = InMemory::labelled(&folder, 2).unwrap();
    let unlabelled = InMemory::unlabelled(&images, 0).unwrap();
    let names: Vec<_> = labelled.samples().iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["a/1", "a/2", "b"]);
    for index in 0..3 {
        let sample = LabelledSet::get(&folder, index).unwrap();
        assert_eq!((&sample.image, &sample.label), (&picture(8, 6), &ids(8, 6)));
        assert_eq!(
            LabelledSet::get(&labelled, index).unwrap().image,
            sample.image
        );
        assert_eq!(
            UnlabelledSet::get(&unlabelled, index).unwrap().name,
            sample.name
        );
    }
    let subset = Subset::labelled(labelled, 1..3).unwrap();
    assert_eq!(
        (subset.len(), subset.get(1).unwrap().name.as_str()),
        (2, "b")
    );
    expect_error(Subset::labelled(subset, 1..4), &["1..4", "0..2"]);
}

#[test]
fn broken_folders_are_explained() {
    let (_dir, config) = tree();
    let with = |change: &dyn Fn(&mut FolderConfig)| {
        let mut config = config.clone();
        change(&mut config);
        Folder::open(config)
    };
    let missing = |path: &mut PathBuf| *path = path.join("none");
    expect_error(
        with(&|c| missing(&mut c.images)),
        &["img/none", "cannot access"],
    );
    expect_error(
        with(&|c| missing(&mut c.labels)),
        &["gt/none", "cannot access"],
    );
    let suffix = with(&|c| c.image_suffix = ".tif".to_owned());
    expect_error(suffix, &["img", ".tif", "check the folder"]);

    let set = Folder::open(config.clone()).unwrap();
    write_grey(&config.labels.join("a/1_ids.png"), &ids(4, 6)).unwrap();
    let parts = ["a/1_rgb.png", "8 x 6", "a/1_ids.png", "4 x 6"];
    expect_error(set.get(0), &parts);
    let mut unknown = ids(8, 6);
    unknown.put_pixel(5, 2, Luma([77]));
    write_grey(&config.labels.join("a/1_ids.png"), &unknown).unwrap();
    let parts = [
        "a/1_ids.png",
        "id 77",
        "x=5, y=2",
        "train ids of 11 classes",
    ];
    expect_error(set.get(0), &parts);
    for threads in [0, 3] {
        expect_error(InMemory::labelled(&set, threads), &parts);
    }
    fs::remove_file(config.labels.join("a/2_ids.png")).unwrap();
    let parts = ["1 of the 3", "a/2_rgb.png", "a/2_ids.png"];
    expect_error(with(&|_| ()), &parts);
    let empty = TempDir::new().unwrap();
    let images = ImageFolder::open(empty.path(), ".png");
    expect_error(images, &["no file below", ".png"]);
}
