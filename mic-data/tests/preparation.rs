//! Preparing published sets, and their class statistics, against recorded numbers and in trees.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../testdata/golden.rs"]
mod golden;
mod trees;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use golden::{Golden, values};
use mic_data::class_stats::{StatsPlace, read_entries};
use mic_data::datasets::{FileSet, Published, Selection, Split};
use mic_data::files::read_label;
use mic_data::label_map::RawIds;
use mic_data::prepare::{Preparation, Prepared, PreparedSet, prepare};
use mic_data::{ClassStats, LabelledSet};
use tempfile::TempDir;

fn preparation(set: PreparedSet, root: &Path) -> Preparation {
    Preparation {
        set,
        root: root.to_owned(),
        labels: None,
        out: None,
        threads: 3,
        again: false,
    }
}

fn run(set: PreparedSet, root: &Path) -> Prepared {
    prepare(&preparation(set, root), &|_, _| ()).unwrap()
}

fn open(part: Published, root: &Path) -> FileSet {
    let selection = Selection {
        list: None,
        labelled: true,
    };
    part.open(root, &selection).unwrap()
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

/// A recorded map of ids, with width and height.
fn recorded(golden: &Golden, key: &str) -> ((u32, u32), Vec<u8>) {
    let tensor = golden.get(key);
    let size = (tensor.dims()[1] as u32, tensor.dims()[0] as u32);
    (size, values(tensor).iter().map(|v| *v as u8).collect())
}

fn check_prepared(golden: &Golden, key: &str, path: &Path) {
    let label = read_label(path).unwrap();
    let (size, ids) = recorded(golden, key);
    assert_eq!((label.width, label.height), size, "{key}");
    assert_eq!(label.ids, RawIds::Bits8(ids), "{key}");
}

fn recorded_counts(key: &str) -> BTreeMap<u8, u64> {
    serde_json::from_value(golden::json("seg", "labels.json")[key].clone()).unwrap()
}

#[test]
fn prepared_files_are_those_of_the_reference() {
    let golden = Golden::open("seg", "labels");
    let folder = TempDir::new().unwrap();
    let root = folder.path();

    let (size, ids) = recorded(&golden, "gta.ids");
    trees::write_indices(&root.join("gta/labels/00001.png"), size, &ids);
    let done = run(PreparedSet::Gta, &root.join("gta"));
    assert_eq!((done.labels, done.converted, done.counted), (1, 1, 1));
    let prepared = root.join("gta/labels/00001_labelTrainIds.png");
    check_prepared(&golden, "gta.train_ids", &prepared);
    let entries = read_entries(&root.join("gta")).unwrap();
    assert_eq!(entries[0].counts, recorded_counts("gta_class_stats"));
    assert_eq!(entries[0].file, prepared.to_str().unwrap());

    let rgb = golden.get("synthia.rgb16");
    let size = (rgb.dims()[1] as u32, rgb.dims()[0] as u32);
    let data = values(rgb)
        .into_iter()
        .flat_map(|value| (value as u16).to_be_bytes());
    let kind = (png::ColorType::Rgb, png::BitDepth::Sixteen);
    let path = root.join("synthia/GT/LABELS/0000000.png");
    trees::write_png(&path, kind, size, &data.collect::<Vec<u8>>());
    run(PreparedSet::Synthia, &root.join("synthia"));
    let prepared = root.join("synthia/GT/LABELS/0000000_labelTrainIds.png");
    check_prepared(&golden, "synthia.train_ids", &prepared);
    let entries = read_entries(&root.join("synthia")).unwrap();
    assert_eq!(entries[0].counts, recorded_counts("synthia_class_stats"));

    let polygons = &golden::json("seg", "labels.json")["cityscapes_polygons"];
    let drawn = root.join("drawn/gtFine/train/a/a_1_gtFine_polygons.json");
    fs::create_dir_all(drawn.parent().unwrap()).unwrap();
    fs::write(&drawn, polygons.to_string()).unwrap();
    let (size, ids) = recorded(&golden, "cityscapes.ids");
    let stored = root.join("stored/gtFine/train/a/a_1_gtFine_labelIds.png");
    trees::write_grey8(&stored, size, &ids);
    for below in ["drawn", "stored"] {
        let root = root.join(below);
        run(PreparedSet::Cityscapes, &root);
        let prepared = root.join("gtFine/train/a/a_1_gtFine_labelTrainIds.png");
        check_prepared(&golden, "cityscapes.train_ids", &prepared);
        let entries = read_entries(&root).unwrap();
        assert_eq!(entries[0].counts, recorded_counts("cityscapes_class_stats"));
        assert_eq!(
            fs::read_to_string(root.join("train.txt")).unwrap(),
            "a/a_1\n"
        );
    }
}

#[test]
fn preparation_goes_on_and_notices_newer_labels() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    trees::gta(root, 5);
    let before = ClassStats::count(&open(Published::Gta, root), 19, 1).unwrap();
    let done = run(PreparedSet::Gta, root);
    assert_eq!((done.labels, done.converted), (5, 5));
    let stats = fs::read(root.join("sample_class_stats.json")).unwrap();
    // Stopped before the end: some labels are missing, and a file that was in work lies about.
    fs::remove_file(root.join("labels/00004_labelTrainIds.png")).unwrap();
    fs::write(root.join("labels/.00004_labelTrainIds.png.1-1.tmp"), "half").unwrap();
    fs::remove_file(root.join("sample_class_stats.json")).unwrap();
    let done = run(PreparedSet::Gta, root);
    assert_eq!((done.labels, done.converted), (5, 1));
    assert_eq!(
        fs::read(root.join("sample_class_stats.json")).unwrap(),
        stats
    );
    assert_eq!(
        ClassStats::count(&open(Published::Gta, root), 19, 1).unwrap(),
        before
    );
    let raw = fs::File::options()
        .write(true)
        .open(root.join("labels/00002.png"))
        .unwrap();
    raw.set_modified(SystemTime::now() + Duration::from_secs(60))
        .unwrap();
    assert_eq!(run(PreparedSet::Gta, root).converted, 1);
    let again = Preparation {
        again: true,
        ..preparation(PreparedSet::Gta, root)
    };
    let seen = std::sync::Mutex::new(Vec::new());
    let done = prepare(&again, &|done, all| seen.lock().unwrap().push((done, all))).unwrap();
    assert_eq!(done.converted, 5);
    let mut seen = seen.into_inner().unwrap();
    seen.sort_unstable();
    assert_eq!(seen, (1..=5).map(|done| (done, 5)).collect::<Vec<_>>());
}

#[test]
fn cityscapes_counts_its_training_split_and_lists_all() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    trees::cityscapes(root, true);
    let done = run(PreparedSet::Cityscapes, root);
    assert_eq!((done.labels, done.counted), (6, 4));
    let lines = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    assert_eq!(lines("train.txt").lines().count(), 4);
    assert_eq!(
        lines("val.txt").lines().next(),
        Some("lindau/lindau_000000_000019")
    );
    assert!(!root.join("test.txt").exists());
    let set = open(Published::Cityscapes(Split::Train), root);
    let label = set.label(0).unwrap().1;
    let at = |x, y| label.get_pixel(x, y).0[0];
    assert_eq!((at(5, 1), at(19, 11), at(0, 0), at(1, 6)), (0, 13, 0, 255));
    // The statistics are where training looks.
    let place = StatsPlace::of(&set, 19, true, "", None);
    let cached = place
        .load_or_count(&set, 19, 1, &|| panic!("counted again"), false)
        .unwrap();
    assert_eq!(cached.read_from.as_deref(), Some(root));
    assert_eq!(cached.stats, ClassStats::count(&set, 19, 1).unwrap());
}

#[test]
fn damaged_polygon_files_are_named() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    let path = root.join("gtFine/train/a/a_1_gtFine_polygons.json");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let with = |text: &str| {
        fs::write(&path, text).unwrap();
        prepare(&preparation(PreparedSet::Cityscapes, root), &|_, _| ())
    };
    let object =
        |object: &str| format!("{{\"imgWidth\": 8, \"imgHeight\": 6, \"objects\": [{object}]}}");
    let square = "\"polygon\": [[0, 0], [3, 0], [3, 3]]";
    let file = "a_1_gtFine_polygons.json";
    for (text, parts) in [
        (String::new(), vec!["empty"]),
        ("{".into(), vec!["imgWidth"]),
        (
            "{\"imgWidth\": 8, \"objects\": []}".into(),
            vec!["missing field `imgHeight`"],
        ),
        (
            object("{\"label\": \"car\", \"polygon\": [[NaN, 1]]}"),
            vec!["finite numbers"],
        ),
        (
            object("{\"label\": \"car\", \"polygon\": [[1e999, 1]]}"),
            vec!["finite numbers"],
        ),
        (
            object("{\"label\": \"car\", \"polygon\": [[1e9, 1]]}"),
            vec!["object 0", "car"],
        ),
        (
            object("{\"label\": \"car\", \"polygon\": []}"),
            vec!["object 0", "no point"],
        ),
        (object("{\"label\": \"car\"}"), vec!["polygon"]),
        (
            object(&format!("{{\"label\": \"ufo\", {square}}}")),
            vec!["object 0", "\"ufo\""],
        ),
        (
            "{\"imgWidth\": 100000, \"imgHeight\": 100000, \"objects\": []}".into(),
            vec!["100000 x 100000"],
        ),
        (
            "{\"imgWidth\": 0, \"imgHeight\": 5, \"objects\": []}".into(),
            vec!["0 x 5"],
        ),
        (
            "{\"imgWidth\": -4, \"imgHeight\": 5, \"objects\": []}".into(),
            vec!["imgWidth"],
        ),
    ] {
        expect_error(with(&text), &[&[file][..], &parts[..]].concat());
    }
    let removed = object(&format!("{{\"label\": \"ufo\", \"deleted\": 1, {square}}}"));
    assert_eq!(with(&removed).unwrap().labels, 1);
    let none = preparation(PreparedSet::Gta, root);
    expect_error(prepare(&none, &|_, _| ()), &["labels", "cannot access"]);
    fs::create_dir_all(root.join("labels")).unwrap();
    expect_error(prepare(&none, &|_, _| ()), &["labels", "end in a digit"]);
}

/// What the original's tools left, made by a run that was started elsewhere.
#[test]
fn statistics_of_the_original_are_read_and_stale_ones_noticed() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    trees::gta(root, 3);
    let set = open(Published::Gta, root);
    let counted = ClassStats::count(&set, 19, 2).unwrap();
    let write = |count: usize, add: u64| {
        let samples = (0..count).map(|index| {
            let class = counted.counts()[index].iter().enumerate();
            let mut map = serde_json::Map::new();
            for (class, pixels) in class.filter(|(_, pixels)| **pixels > 0) {
                map.insert(class.to_string(), (pixels + add).into());
            }
            let file = format!("data/gta/labels/{:05}_labelTrainIds.png", index + 1);
            map.insert("file".into(), file.into());
            serde_json::Value::Object(map)
        });
        let list = serde_json::Value::Array(samples.rev().collect());
        fs::write(root.join("sample_class_stats.json"), list.to_string()).unwrap();
    };
    let load = |classes: usize| {
        let place = StatsPlace::of(&set, classes, true, "", None);
        place
            .load_or_count(&set, classes, 1, &|| (), false)
            .unwrap()
    };
    write(3, 5);
    let cached = load(19);
    assert_eq!(
        (cached.read_from.as_deref(), cached.notes.len()),
        (Some(root), 0)
    );
    assert_eq!(cached.stats.names(), counted.names());
    assert_eq!(cached.stats.counts()[1][0], counted.counts()[1][0] + 5);

    // An image more than there are counts.
    write(2, 0);
    let cached = load(19);
    assert_eq!((cached.read_from, cached.stats), (None, counted.clone()));
    assert!(
        cached.notes[0].contains("1 of the 3 labels"),
        "{:?}",
        cached.notes
    );
    assert!(load(19).read_from.is_some(), "kept");

    // A label that was changed later.
    let label = fs::File::options()
        .write(true)
        .open(root.join("labels/00002.png"))
        .unwrap();
    label
        .set_modified(SystemTime::now() + Duration::from_secs(60))
        .unwrap();
    let cached = load(19);
    assert!(cached.read_from.is_none());
    assert!(
        cached.notes[0].contains("00002.png is newer"),
        "{:?}",
        cached.notes
    );
    label
        .set_modified(SystemTime::now() - Duration::from_secs(60))
        .unwrap();

    fs::write(root.join("sample_class_stats.json"), "[{").unwrap();
    let cached = load(19);
    assert!(cached.read_from.is_none());
    assert!(
        cached.notes[0].contains("sample_class_stats.json"),
        "{:?}",
        cached.notes
    );
    let selected = StatsPlace::of(&set, 19, false, "night", None);
    assert!(
        selected
            .load_or_count(&set, 19, 1, &|| (), false)
            .unwrap()
            .read_from
            .is_none()
    );
    let other = StatsPlace::of(&set, 19, false, "day", None);
    assert!(
        other
            .load_or_count(&set, 19, 1, &|| (), false)
            .unwrap()
            .read_from
            .is_none()
    );
    assert!(
        selected
            .load_or_count(&set, 19, 1, &|| (), false)
            .unwrap()
            .read_from
            .is_some()
    );
}
