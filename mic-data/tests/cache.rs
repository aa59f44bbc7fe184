//! The disk cache: same samples, damaged and stale entries, the limit.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::{GrayImage, Luma, Rgb, RgbImage};
use mic_data::cache::{Cached, DiskCache};
use mic_data::datasets::{Folder, FolderConfig, ImageFolder};
use mic_data::files::{write_grey, write_rgb};
use mic_data::{LabelMap, LabelledSet, PipelineConfig, UdaPipeline, UnlabelledSet};
use tempfile::TempDir;

const COUNT: usize = 4;

fn image(number: u32) -> RgbImage {
    RgbImage::from_fn(24, 16, |x, y| {
        Rgb([(x * 9 + number) as u8, (y * 15) as u8, (x * y) as u8])
    })
}

fn write(root: &Path, number: u32, seed: u32) {
    let label = GrayImage::from_fn(24, 16, |x, _| Luma([(x / 7) as u8]));
    write_rgb(&root.join(format!("img/{number}.png")), &image(seed)).unwrap();
    write_grey(&root.join(format!("gt/{number}.png")), &label).unwrap();
}

fn tree() -> TempDir {
    let dir = TempDir::new().unwrap();
    for folder in ["img", "gt"] {
        fs::create_dir(dir.path().join(folder)).unwrap();
    }
    for number in 0..COUNT as u32 {
        write(dir.path(), number, number);
    }
    dir
}

fn folder(root: &Path) -> Folder {
    Folder::open(FolderConfig {
        images: root.join("img"),
        labels: root.join("gt"),
        image_suffix: ".png".to_owned(),
        label_suffix: ".png".to_owned(),
        map: LabelMap::train_ids(4),
    })
    .unwrap()
}

fn open(root: &Path, limit: u64) -> Arc<DiskCache> {
    Arc::new(DiskCache::open(&root.join("cache"), limit).unwrap())
}

fn cached(root: &Path, cache: &Arc<DiskCache>, scale: Option<(u32, u32)>) -> Cached<Folder> {
    let at = root.to_owned();
    let files = move |index| {
        let file = |folder: &str| at.join(format!("{folder}/{index}.png"));
        vec![file("img"), file("gt")]
    };
    Cached::new(folder(root), Arc::clone(cache), files, scale, "train ids")
}

fn entries(root: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(root.join("cache")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

fn same(a: &dyn LabelledSet, b: &dyn LabelledSet) {
    for index in 0..COUNT {
        let (a, b) = (a.get(index).unwrap(), b.get(index).unwrap());
        assert_eq!((a.name, a.image, a.label), (b.name, b.image, b.label));
    }
}

#[test]
fn samples_are_the_same_and_read_once() {
    let dir = tree();
    let cache = open(dir.path(), u64::MAX);
    let set = cached(dir.path(), &cache, None);
    for _ in 0..3 {
        same(&set, &folder(dir.path()));
    }
    let stats = cache.stats();
    assert_eq!((stats.made, stats.read, stats.unwritten), (4, 8, 0));
    let files: u64 = entries(dir.path())
        .iter()
        .map(|file| fs::metadata(file).unwrap().len())
        .sum();
    assert_eq!((stats.bytes, entries(dir.path()).len()), (files, 4));
    // Another process finds them.
    let again = open(dir.path(), u64::MAX);
    same(&cached(dir.path(), &again, None), &folder(dir.path()));
    assert_eq!((again.stats().made, again.stats().bytes), (0, files));
    // Images alone are entries of their own, which leave the label unread.
    fs::remove_file(dir.path().join("gt/1.png")).unwrap();
    assert_eq!(set.image(1).unwrap().image, image(1));
    let images = ImageFolder::open(&dir.path().join("img"), ".png").unwrap();
    let at = dir.path().to_owned();
    let files = move |index| vec![at.join(format!("img/{index}.png"))];
    let images = Cached::new(images, cache, files, None, "");
    for _ in 0..2 {
        assert_eq!(UnlabelledSet::get(&images, 2).unwrap().image, image(2));
    }
}

#[test]
fn scaling_before_the_cache_changes_no_batch() {
    let dir = tree();
    let scale = Some((40, 30));
    let cache = open(dir.path(), u64::MAX);
    let config = PipelineConfig {
        source_resize: scale,
        crop: Some((16, 16)),
        ..PipelineConfig::default()
    };
    let plain = Arc::new(folder(dir.path()));
    let plain = UdaPipeline::new(plain, None, config.clone(), None, 4).unwrap();
    let cached = Arc::new(cached(dir.path(), &cache, scale));
    let cached = UdaPipeline::new(cached, None, config, None, 4).unwrap();
    for step in 0..6 {
        let (a, b) = (plain.batch(step).unwrap(), cached.batch(step).unwrap());
        let values = |t: &candle_core::Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(a.source.names, b.source.names);
        assert_eq!(values(&a.source.image), values(&b.source.image));
    }
    assert_eq!((cache.stats().made, cache.stats().read), (4, 8));
}

#[test]
fn damaged_entries_are_noticed_and_made_again() {
    let dir = tree();
    let cache = open(dir.path(), u64::MAX);
    let set = cached(dir.path(), &cache, None);
    same(&set, &folder(dir.path()));
    let files = entries(dir.path());
    let whole = fs::read(&files[0]).unwrap();
    let mut flipped = whole.clone();
    let bit = whole.len() / 2;
    flipped[bit] ^= 4;
    fs::write(&files[0], &flipped).unwrap();
    fs::write(&files[1], &fs::read(&files[1]).unwrap()[..bit]).unwrap();
    fs::write(&files[2], "no entry").unwrap();
    same(&set, &folder(dir.path()));
    let stats = cache.stats();
    assert_eq!((stats.made, stats.damaged, stats.read), (7, 3, 1));
    assert_eq!(fs::read(&files[0]).unwrap(), whole);
    same(&set, &folder(dir.path()));
    assert_eq!(cache.stats().read, 5);
}

#[test]
fn changed_files_and_options_make_new_entries() {
    let dir = tree();
    let cache = open(dir.path(), u64::MAX);
    let set = cached(dir.path(), &cache, None);
    same(&set, &folder(dir.path()));
    let bytes = cache.stats().bytes;
    write(dir.path(), 2, 77);
    // The new time of change is given, as clocks of file systems are coarse.
    let changed = dir.path().join("img/2.png");
    let file = fs::File::options().append(true).open(changed).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    assert_eq!(LabelledSet::get(&set, 2).unwrap().image, image(77));
    let stats = cache.stats();
    assert_eq!((stats.made, stats.damaged), (5, 0));
    // In the place of the old one; a time of change of another length may change its size.
    assert!(stats.bytes.abs_diff(bytes) < 100);
    assert_eq!(entries(dir.path()).len(), 4);
    let scaled = cached(dir.path(), &cache, Some((12, 8)));
    assert_eq!(scaled.get(2).unwrap().image.dimensions(), (12, 8));
    assert_eq!(entries(dir.path()).len(), 5);
}

#[test]
fn a_full_or_missing_cache_changes_no_sample() {
    let dir = tree();
    let cache = open(dir.path(), 4000);
    let set = cached(dir.path(), &cache, None);
    for _ in 0..2 {
        same(&set, &folder(dir.path()));
    }
    let stats = cache.stats();
    // An entry is about 1600 bytes: two fit.
    assert_eq!((stats.read, stats.made, stats.unwritten), (2, 6, 4));
    assert!(stats.bytes <= 4000);
    fs::remove_dir_all(dir.path().join("cache")).unwrap();
    same(&set, &folder(dir.path()));
    assert_eq!(cache.stats().unwritten, 8);
    let file = dir.path().join("img/1.png");
    let error = DiskCache::open(&file, 1).unwrap_err().to_string();
    assert!(error.contains("img/1.png"), "{error}");
    fs::remove_file(file).unwrap();
    let error = LabelledSet::get(&set, 1).unwrap_err().to_string();
    assert!(error.contains("img/1.png"), "{error}");
}
