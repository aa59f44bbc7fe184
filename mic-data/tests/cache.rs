//! The disk cache: same samples, damaged and stale entries, the limit.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::{GrayImage, Luma, Rgb, RgbImage};
use mic_data::cache::{Cached, DiskCache, Kept};
use mic_data::classification::{
    ClassFolders, ClassificationPipeline, ClassificationPipelineConfig, ImageTransform, Resizing,
    WithoutClasses,
};
use mic_data::datasets::{Folder, FolderConfig, ImageFolder};
use mic_data::files::{write_grey, write_rgb};
use mic_data::{LabelMap, LabelledSet, PipelineConfig, UdaPipeline, UnlabelledSet};
use rand::Rng;
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

fn cached(root: &Path, cache: &Arc<DiskCache>, kept: Kept) -> Cached<Folder> {
    Cached::new(folder(root), Arc::clone(cache), kept, "train ids")
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
    let set = cached(dir.path(), &cache, Kept::AsDecoded);
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
    same(
        &cached(dir.path(), &again, Kept::AsDecoded),
        &folder(dir.path()),
    );
    assert_eq!((again.stats().made, again.stats().bytes), (0, files));
    // Images alone are entries of their own, which leave the label unread.
    fs::remove_file(dir.path().join("gt/1.png")).unwrap();
    assert_eq!(set.image(1).unwrap().image, image(1));
    let images = ImageFolder::open(&dir.path().join("img"), ".png").unwrap();
    let images = Cached::new(images, cache, Kept::AsDecoded, "");
    for _ in 0..2 {
        assert_eq!(UnlabelledSet::get(&images, 2).unwrap().image, image(2));
    }
}

#[test]
fn scaling_before_the_cache_changes_no_batch() {
    let dir = tree();
    let scale = (18, 14);
    let cache = open(dir.path(), u64::MAX);
    let config = PipelineConfig {
        source_resize: Some(scale),
        crop: Some((10, 10)),
        ..PipelineConfig::default()
    };
    let plain = Arc::new(folder(dir.path()));
    let plain = UdaPipeline::new(plain, None, config.clone(), None, 4).unwrap();
    let cached = Arc::new(cached(dir.path(), &cache, Kept::Within(scale)));
    let cached = UdaPipeline::new(cached, None, config, None, 4).unwrap();
    for step in 0..6 {
        let (a, b) = (plain.batch(step).unwrap(), cached.batch(step).unwrap());
        let values = |t: &candle_core::Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(a.source.names, b.source.names);
        assert_eq!(values(&a.source.image), values(&b.source.image));
    }
    assert_eq!((cache.stats().made, cache.stats().read), (4, 8));
    let first = &entries(dir.path())[0];
    assert!(
        fs::metadata(first).unwrap().len() < 18 * 12 * 4 + 400,
        "it is not scaled"
    );
}

#[test]
fn images_that_would_grow_are_kept_as_they_are() {
    let dir = tree();
    let cache = open(dir.path(), u64::MAX);
    let set = cached(dir.path(), &cache, Kept::Within((240, 160)));
    for _ in 0..2 {
        same(&set, &folder(dir.path()));
    }
    assert_eq!(cache.stats().read, 4);
}

#[test]
fn squashing_before_the_cache_changes_no_batch_of_classification() {
    let dir = TempDir::new().unwrap();
    for (number, class) in ["cat", "dog", "cat", "dog"].iter().enumerate() {
        let file = dir.path().join(format!("set/{class}/{number}.png"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        write_rgb(&file, &image(number as u32)).unwrap();
    }
    for train in [Resizing::Default, Resizing::CentreCrop, Resizing::Squash] {
        let config = ClassificationPipelineConfig {
            batch: 2,
            transform: ImageTransform {
                train,
                resize: 14,
                size: 12,
                ..ImageTransform::default()
            },
        };
        let cache = open(dir.path(), u64::MAX);
        let kept = Kept::Squashed(config.transform.first_side());
        let source = Arc::new(ClassFolders::open(&dir.path().join("set")).unwrap());
        let cached = Arc::new(Cached::new(
            Arc::clone(&source),
            Arc::clone(&cache),
            kept,
            "",
        ));
        let new = |source, target| {
            ClassificationPipeline::new(source, Some(target), config.clone(), 4, (0, 1)).unwrap()
        };
        let target = Arc::new(WithoutClasses(Arc::clone(&source)));
        let plain = new(source, target);
        let cached = new(Arc::clone(&cached) as _, Arc::new(WithoutClasses(cached)));
        let values = |t: &candle_core::Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for step in 0..6 {
            let (a, b) = (plain.batch(step).unwrap(), cached.batch(step).unwrap());
            assert_eq!(a.source.names, b.source.names);
            assert_eq!(values(&a.source.image), values(&b.source.image));
            let (a, b) = (a.target.unwrap(), b.target.unwrap());
            assert_eq!(values(&a.image), values(&b.image));
        }
        assert_eq!(cache.stats().made + cache.stats().read, 24);
        assert!(cache.stats().made <= 4 && cache.stats().unwritten == 0);
    }
}

#[test]
fn damaged_entries_are_noticed_and_made_again() {
    let dir = tree();
    let cache = open(dir.path(), u64::MAX);
    let set = cached(dir.path(), &cache, Kept::AsDecoded);
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
    let set = cached(dir.path(), &cache, Kept::AsDecoded);
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
    let scaled = cached(dir.path(), &cache, Kept::Within((12, 8)));
    assert_eq!(scaled.get(2).unwrap().image.dimensions(), (12, 8));
    assert_eq!(entries(dir.path()).len(), 5);
}

#[test]
fn a_full_or_missing_cache_changes_no_sample() {
    let dir = tree();
    let cache = open(dir.path(), 4000);
    let set = cached(dir.path(), &cache, Kept::AsDecoded);
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

#[test]
fn no_damage_to_an_entry_changes_a_sample() {
    let dir = tree();
    let cache = open(dir.path(), u64::MAX);
    let set = cached(dir.path(), &cache, Kept::AsDecoded);
    let sample = LabelledSet::get(&set, 1).unwrap();
    let entry = &entries(dir.path())[0];
    let whole = fs::read(entry).unwrap();
    let mut rng = mic_data::rng::stream(7, "cache damage", 0);
    for round in 0..400 {
        let mut bytes = whole.clone();
        // Sizes and names come first.
        let reach = if round % 2 == 0 { 200 } else { bytes.len() };
        let at = rng.random_range(0..reach);
        match round % 4 {
            0 => bytes.truncate(at),
            1 => bytes[at..].fill(0xff),
            2 => bytes[at] ^= 1 << rng.random_range(0..8),
            _ => drop(bytes.drain(..at)),
        }
        fs::write(entry, &bytes).unwrap();
        let again = LabelledSet::get(&set, 1).unwrap();
        assert_eq!(
            (again.name, again.image),
            (sample.name.clone(), sample.image.clone())
        );
        assert_eq!(again.label, sample.label);
    }
    assert!(cache.stats().damaged > 350, "{:?}", cache.stats());
}
