//! The batches of a run are the same for every number of threads, with any memory, with and without
//! a cache, and after a restart anywhere, past bad files too: for all three pipelines.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod coco;

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::Path;
use std::sync::Arc;

use candle_core::Tensor;
use image::{GrayImage, Luma, Rgb, RgbImage};
use mic_data::cache::{Cached, DiskCache, Kept};
use mic_data::classification::{
    ClassFolders, ClassificationBatch, ClassificationPipeline, ClassificationPipelineConfig,
    ImageTransform, WithoutClasses,
};
use mic_data::datasets::{Folder, FolderConfig};
use mic_data::detection::{
    DetectionBatch, DetectionPipeline, DetectionPipelineConfig, DetectionTransform, WithoutObjects,
};
use mic_data::files::{write_grey, write_rgb};
use mic_data::rng::stream;
use mic_data::transform::DetectionResize;
use mic_data::{
    BadSamples, BatchPipeline, Feed, LabelMap, LabelledSet, LoadingOptions, MemorySize,
    PipelineConfig, UdaBatch, UdaPipeline, UnlabelledSet, WithoutLabels,
};
use rand::Rng;
use serde_json::json;
use tempfile::TempDir;

const STEPS: u64 = 9;

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

fn values(tensor: &Tensor) -> Vec<u8> {
    let mut bytes = Vec::new();
    tensor.write_bytes(&mut bytes).unwrap();
    bytes
}

/// Loads what `open` opens in many ways and compares with one batch after the other. `bad` samples
/// of both domains cannot be read.
fn check<P>(open: &dyn Fn() -> P, digest: &dyn Fn(&P::Batch) -> u64, bad: usize)
where
    P: BatchPipeline + 'static,
    P::Batch: MemorySize,
{
    let pipeline = open();
    let mut found = BadSamples::new(bad);
    let batches = (0..STEPS).map(|step| found.admit(pipeline.checked_batch(step).unwrap()));
    let expected: Vec<u64> = batches.map(|batch| digest(&batch.unwrap())).collect();
    let found: Vec<_> = found.list().collect();
    assert_eq!(found.len(), bad);
    let mut rng = stream(5, "restarts", 0);
    for threads in [0, 1, 2, 8] {
        // Room for less than a batch, so that idle threads help with the next one, and for many.
        for loader_memory_mb in [1, 64] {
            let options = LoadingOptions {
                loader_threads: threads,
                loader_memory_mb,
                skip_bad: bad,
                ..LoadingOptions::default()
            };
            let mut feed = Feed::new(open(), &options, (0, 1));
            let compare = |feed: &mut Feed<P>, from: u64, to: u64| {
                for step in from..to {
                    let batch = digest(&feed.next_batch().unwrap());
                    let how = format!("{threads} threads, {loader_memory_mb} MiB, step {step}");
                    assert_eq!(batch, expected[step as usize], "{how}");
                }
            };
            let stopped = rng.random_range(1..STEPS);
            compare(&mut feed, 0, stopped);
            let again = rng.random_range(0..=stopped);
            feed.restart(again);
            compare(&mut feed, again, STEPS);
            assert!(feed.bad().list().eq(found.iter().cloned()));
        }
    }
    // Two processes see the batches in turn.
    let options = LoadingOptions {
        skip_bad: bad,
        ..LoadingOptions::default()
    };
    let mut feeds = [0, 1].map(|rank| Feed::new(open(), &options, (rank, 2)));
    for (step, expected) in expected.iter().enumerate() {
        let batch = feeds[step % 2].next_batch().unwrap();
        assert_eq!(digest(&batch), *expected);
    }
    if bad > 0 {
        let mut strict = Feed::new(open(), &LoadingOptions::default(), (0, 1));
        let error = (0..STEPS).find_map(|_| strict.next_batch().err()).unwrap();
        let error = error.to_string();
        assert!(
            error.contains("broken") && error.contains("--skip-bad"),
            "{error}"
        );
        let few = LoadingOptions {
            skip_bad: bad - 1,
            ..LoadingOptions::default()
        };
        if bad > 1 {
            let mut few = Feed::new(open(), &few, (0, 1));
            let error = (0..STEPS).find_map(|_| few.next_batch().err()).unwrap();
            let error = error.to_string();
            assert_eq!(error.matches("broken").count(), bad, "{error}");
        }
    }
}

fn picture(number: u32) -> RgbImage {
    RgbImage::from_fn(36, 24, |x, y| {
        Rgb([(x * 7 + number * 31) as u8, (y * 11) as u8, (x * y) as u8])
    })
}

fn write(path: &Path, number: u32, broken: bool) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    if broken {
        fs::write(path, b"\x89PNG\r\n\x1a\nand then nothing").unwrap();
    } else {
        write_rgb(path, &picture(number)).unwrap();
    }
}

fn cache_in(folder: &TempDir) -> Arc<DiskCache> {
    Arc::new(DiskCache::open(&folder.path().join("cache"), u64::MAX).unwrap())
}

fn segmentation(root: &Path, cache: Option<&Arc<DiskCache>>) -> UdaPipeline {
    let folder = Folder::open(FolderConfig {
        images: root.join("images"),
        labels: root.join("labels"),
        image_suffix: ".png".to_owned(),
        label_suffix: ".png".to_owned(),
        map: LabelMap::train_ids(3),
    });
    let folder = Arc::new(folder.unwrap());
    let config = PipelineConfig {
        source_resize: Some((30, 20)),
        // Padded to a batch of more than 1 MiB.
        crop: Some((200, 200)),
        cat_max_ratio: Some(0.7),
        batch: 3,
        ..PipelineConfig::default()
    };
    let mut source: Arc<dyn LabelledSet> = folder.clone();
    let mut target: Arc<dyn UnlabelledSet> = Arc::new(WithoutLabels(folder));
    if let Some(cache) = cache {
        let kept = Kept::Within((30, 20));
        source = Arc::new(Cached::new(source, Arc::clone(cache), kept, "source"));
        let kept = Kept::AsDecoded;
        target = Arc::new(Cached::new(target, Arc::clone(cache), kept, "target"));
    }
    UdaPipeline::new(source, Some(target), config, None, 3).unwrap()
}

fn digest_segmentation(batch: &UdaBatch) -> u64 {
    let target = batch.target.as_ref().unwrap();
    let mut bytes = values(&batch.source.image);
    bytes.extend(values(&batch.source.label));
    bytes.extend(values(&target.image));
    bytes.extend(format!("{:?} {:?}", batch.source.names, target.names).bytes());
    hash(&bytes)
}

#[test]
fn segmentation_batches() {
    for broken in [None, Some(2)] {
        let folder = TempDir::new().unwrap();
        let root = folder.path();
        for number in 0..5 {
            let name = if broken == Some(number) {
                "broken"
            } else {
                "image"
            };
            let image = root.join(format!("images/{number}_{name}.png"));
            write(&image, number, broken == Some(number));
            let label = GrayImage::from_fn(36, 24, |x, _| Luma([(x / 13) as u8]));
            fs::create_dir_all(root.join("labels")).unwrap();
            write_grey(&root.join(format!("labels/{number}_{name}.png")), &label).unwrap();
        }
        let bad = 2 * usize::from(broken.is_some());
        let cache = cache_in(&folder);
        check(&|| segmentation(root, None), &digest_segmentation, bad);
        check(
            &|| segmentation(root, Some(&cache)),
            &digest_segmentation,
            bad,
        );
        let (plain, cached) = (segmentation(root, None), segmentation(root, Some(&cache)));
        for step in 0..STEPS {
            let [plain, cached] = [&plain, &cached].map(|p| p.checked_batch(step).unwrap().value);
            assert_eq!(digest_segmentation(&plain), digest_segmentation(&cached));
        }
        assert!(cache.stats().read > 0 && cache.stats().damaged == 0);
    }
}

fn classification(root: &Path) -> ClassificationPipeline {
    let source = Arc::new(ClassFolders::open(&root.join("source")).unwrap());
    let target = Arc::new(WithoutClasses(Arc::clone(&source)));
    let config = ClassificationPipelineConfig {
        batch: 3,
        transform: ImageTransform {
            resize: 210,
            size: 200,
            ..ImageTransform::default()
        },
    };
    ClassificationPipeline::new(source, Some(target), config, 3, (0, 1)).unwrap()
}

fn digest_classification(batch: &ClassificationBatch) -> u64 {
    let target = batch.target.as_ref().unwrap();
    let mut bytes = values(&batch.source.image);
    bytes.extend(values(&batch.source.class));
    bytes.extend(values(&target.image));
    bytes.extend(format!("{:?} {:?}", batch.source.names, target.names).bytes());
    hash(&bytes)
}

#[test]
fn classification_batches() {
    for broken in [None, Some(2)] {
        let folder = TempDir::new().unwrap();
        for number in 0..7 {
            let name = if broken == Some(number) {
                "broken"
            } else {
                "image"
            };
            let class = ["cat", "dog"][number as usize % 2];
            let path = format!("source/{class}/{number}_{name}.png");
            write(&folder.path().join(path), number, broken == Some(number));
        }
        let bad = 2 * usize::from(broken.is_some());
        check(
            &|| classification(folder.path()),
            &digest_classification,
            bad,
        );
    }
}

fn detection(root: &Path) -> DetectionPipeline {
    let source = Arc::new(coco::open_coco(root, None).unwrap());
    let target = Arc::new(WithoutObjects(Arc::clone(&source)));
    let config = DetectionPipelineConfig {
        batch: 2,
        transform: DetectionTransform {
            resize: DetectionResize {
                min_sizes: vec![250, 200],
                max_size: Some(600),
            },
            ..DetectionTransform::default()
        },
        ..DetectionPipelineConfig::default()
    };
    DetectionPipeline::new(source, Some(target), config, 3, (0, 1)).unwrap()
}

fn digest_detection(batch: &DetectionBatch) -> u64 {
    let target = batch.target.as_ref().unwrap();
    let mut bytes = values(&batch.source.image);
    bytes.extend(values(&target.image));
    let source = &batch.source;
    let rest = (&source.sizes, &source.objects, &source.names);
    bytes.extend(format!("{rest:?} {:?} {:?}", target.sizes, target.names).bytes());
    hash(&bytes)
}

#[test]
fn detection_batches() {
    for broken in [false, true] {
        let folder = TempDir::new().unwrap();
        let image = |id: u64| {
            let name = if broken && id == 3 { "broken" } else { "image" };
            let (width, height) = if id < 5 { (40, 20) } else { (20, 40) };
            json!({"id": id, "width": width, "height": height,
                   "file_name": format!("{id}_{name}.png")})
        };
        let boxes = (0..8).map(|id| coco::annotation(id, id, 7, [2.0, 3.0, 9.0, 6.0]));
        let document = json!({
            "images": (0..8).map(image).collect::<Vec<_>>(),
            "annotations": boxes.collect::<Vec<_>>(),
            "categories": [{"id": 7, "name": "car"}],
        });
        coco::write_coco(folder.path(), &document);
        if broken {
            write(&folder.path().join("images/3_broken.png"), 3, true);
        }
        let bad = 2 * usize::from(broken);
        check(&|| detection(folder.path()), &digest_detection, bad);
        // In place of a bad image comes one of its shape, as batches are of one.
        let pipeline = detection(folder.path());
        for step in 0..STEPS {
            let batch = pipeline.checked_batch(step).unwrap().value;
            let wide = batch.source.sizes.iter().filter(|(w, h)| w > h).count();
            assert!(wide == 0 || wide == batch.source.sizes.len());
        }
    }
}

#[test]
fn options_are_checked_by_key() {
    let refused = |options: LoadingOptions| options.check().unwrap_err().to_string();
    let default = LoadingOptions::default;
    default().check().unwrap();
    let error = refused(LoadingOptions {
        loader_memory_mb: 0,
        ..default()
    });
    assert!(
        error.contains("data.loader_memory_mb = 0: expected"),
        "{error}"
    );
    let error = refused(LoadingOptions {
        decode_limit_mb: u64::MAX,
        ..default()
    });
    assert!(error.contains("data.decode_limit_mb"), "{error}");
    let error = refused(LoadingOptions {
        cache: Some(String::new()),
        ..default()
    });
    assert!(error.contains("data.cache"), "{error}");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "no folder").unwrap();
    let options = LoadingOptions {
        cache: Some(file.display().to_string()),
        ..default()
    };
    let error = options.open_cache().unwrap_err().to_string();
    assert!(
        error.contains("data.cache") && error.contains("file"),
        "{error}"
    );
}
