//! Domains, batches and checks of classification.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use image::{Rgb, RgbImage};
use mic_data::check::Report;
use mic_data::classification::*;
use mic_data::findings::Severity;
use mic_data::{OrderedLoader, UnlabelledSet};

/// An image in one colour, the red channel of which is `mark`.
fn write_image(path: &Path, mark: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let image = RgbImage::from_pixel(20, 12, Rgb([mark, 90, 30]));
    image.save(path).unwrap();
}

fn names(classes: &[&str]) -> Vec<String> {
    classes.iter().map(|name| (*name).to_owned()).collect()
}

/// A pair of domains in class folders: 7 source images, 5 target images.
fn pair(root: &Path) -> (Arc<dyn ClassifiedSet>, Arc<dyn UnlabelledSet>) {
    for index in 0..7u8 {
        write_image(
            &root.join(format!("source/{}/{index}.png", index % 2)),
            20 + index,
        );
    }
    for index in 0..5u8 {
        write_image(
            &root.join(format!("target/{}/{index}.png", index % 2)),
            120 + index,
        );
    }
    let open = |domain: &str| {
        let text = format!("kind = \"folders\"\nroot = {:?}", root.join(domain));
        let config: SourceConfig = toml::from_str(&text).unwrap();
        config
    };
    let source = open("source").open().unwrap();
    (source, open_images(&open("target")).unwrap())
}

fn config(batch: usize) -> ClassificationPipelineConfig {
    let text = format!("batch = {batch}\ntransform.resize = 16\ntransform.size = 12");
    toml::from_str(&text).unwrap()
}

fn bits(batch: &ClassificationBatch) -> (Vec<u32>, Vec<u32>, Vec<u32>, Vec<String>) {
    let values = |tensor: &candle_core::Tensor| -> Vec<u32> {
        let flat = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        flat.into_iter().map(f32::to_bits).collect()
    };
    let target = batch.target.as_ref().unwrap();
    let names = batch.source.names.iter().chain(&target.names).cloned();
    (
        values(&batch.source.image),
        batch.source.class.to_vec1().unwrap(),
        values(&target.image),
        names.collect(),
    )
}

#[test]
fn batches_are_the_same_for_every_number_of_threads_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = pair(folder.path());
    let open = || {
        let (source, target) = (Arc::clone(&source), Some(Arc::clone(&target)));
        ClassificationPipeline::new(source, target, config(2), 5, (0, 1)).unwrap()
    };
    let expected: Vec<_> = (0..12)
        .map(|step| bits(&open().batch(step).unwrap()))
        .collect();
    for (threads, start) in [(1, 0), (2, 0), (8, 0), (2, 7)] {
        let pipeline = open();
        let loader = OrderedLoader::new(start, threads, move |step| pipeline.batch(step));
        let made = loader
            .take(12 - start as usize)
            .map(|batch| bits(&batch.unwrap()));
        assert!(
            made.eq(expected[start as usize..].iter().cloned()),
            "{threads} threads"
        );
    }
    assert_ne!(expected[0], expected[1]);
    let batch = open().batch(0).unwrap();
    assert_eq!(batch.source.image.dims(), [2, 3, 12, 12]);
    for (name, class) in batch
        .source
        .names
        .iter()
        .zip(batch.source.class.to_vec1::<u32>().unwrap())
    {
        assert!(
            name.starts_with(&format!("{class}/")),
            "{name} is of class {class}"
        );
    }
}

#[test]
fn ranks_share_the_batches_of_one_rank() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = pair(folder.path());
    let open = |batch, rank| {
        let (source, target) = (Arc::clone(&source), Some(Arc::clone(&target)));
        ClassificationPipeline::new(source, target, config(batch), 5, rank).unwrap()
    };
    let (whole, parts) = (open(4, (0, 1)), [0, 1].map(|rank| open(2, (rank, 2))));
    for step in 0..6 {
        let expected = bits(&whole.batch(step).unwrap());
        let [first, second] = [0, 1].map(|rank| bits(&parts[rank].batch(step).unwrap()));
        assert_eq!([first.0, second.0].concat(), expected.0);
        assert_eq!([first.1, second.1].concat(), expected.1);
        assert_eq!([first.2, second.2].concat(), expected.2);
    }
}

#[test]
fn domains_run_through_their_images_independently() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = pair(folder.path());
    let pipeline = ClassificationPipeline::new(source, Some(target), config(2), 1, (0, 1)).unwrap();
    let mut names: [Vec<String>; 2] = Default::default();
    for step in 0..6 {
        let batch = pipeline.batch(step).unwrap();
        names[0].extend(batch.source.names);
        names[1].extend(batch.target.unwrap().names);
    }
    // 7 source images are 3 batches a pass, 5 target images are 2.
    for (names, per_pass) in names.iter().zip([6, 4]) {
        for pass in names.chunks(per_pass) {
            let different: std::collections::HashSet<_> = pass.iter().collect();
            assert_eq!(different.len(), per_pass, "{pass:?}");
        }
        assert_ne!(names[..per_pass], names[per_pass..2 * per_pass]);
    }
    let error = |batch| {
        let (source, target) = pair(folder.path());
        let made = ClassificationPipeline::new(source, Some(target), config(batch), 1, (0, 1));
        made.err().unwrap().to_string()
    };
    assert!(
        error(6).contains("target set has 5 samples"),
        "{}",
        error(6)
    );
}

#[test]
fn domains_must_have_the_same_classes() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    pair(root);
    let folders = |name: &str| format!("kind = \"folders\"\nroot = {:?}\n", root.join(name));
    let open = |target: &str| {
        let text = format!("[[source]]\n{}[[target]]\n{target}", folders("source"));
        let config: DomainsConfig = toml::from_str(&text).unwrap();
        config.open()
    };
    let (source, target) = open(&folders("target")).unwrap();
    assert_eq!((source.len(), target.unwrap().len()), (7, 5));
    let images = format!("kind = \"images\"\nroot = {root:?}\nsuffix = \".png\"");
    assert_eq!(open(&images).unwrap().1.unwrap().len(), 12);
    fs::rename(root.join("target/1"), root.join("target/one")).unwrap();
    let error = open(&folders("target")).err().unwrap().to_string();
    assert!(error.contains("only the source has [\"1\"]"), "{error}");
    assert!(error.contains("only the target has [\"one\"]"), "{error}");
}

#[test]
fn evaluation_takes_every_image_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (source, _) = pair(folder.path());
    let set = EvaluationSet::new(Arc::clone(&source), 3, config(1).transform).unwrap();
    assert_eq!(set.batches(), 3);
    let batches: Vec<_> = (0..3).map(|index| set.batch(index).unwrap()).collect();
    let names: Vec<_> = batches
        .iter()
        .flat_map(|batch| batch.names.clone())
        .collect();
    assert!(names.into_iter().eq((0..7).map(|index| source.name(index))));
    assert_eq!(batches[2].image.dims(), [1, 3, 12, 12]);
    assert_eq!(set.batch(3).unwrap().names.len(), 0);
}

#[test]
fn wrong_transforms_are_refused_with_their_key() {
    let folder = tempfile::tempdir().unwrap();
    let refused = [
        ("transform.size = 300", "size = 300"),
        ("transform.size = 0", "size = 0"),
        ("transform.evaluation = \"ran.crop\"", "evaluation"),
        ("transform.flip = 1.5", "flip"),
        ("transform.std = [0.0, 1.0, 1.0]", "std"),
        ("batch = 0", "batch"),
    ];
    let (source, _) = pair(folder.path());
    for (text, expected) in refused {
        let config = toml::from_str(text).unwrap();
        let made = ClassificationPipeline::new(Arc::clone(&source), None, config, 0, (0, 1));
        let error = made.err().unwrap().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let unknown = toml::from_str::<ClassificationPipelineConfig>("transform.sizes = 3");
    assert!(unknown.is_err());
}

#[test]
fn a_check_counts_classes_and_names_bad_files() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    pair(root);
    fs::write(
        root.join("source/1/broken.png"),
        b"\x89PNG\r\n\x1a\nnothing",
    )
    .unwrap();
    fs::write(root.join("source/1/empty.jpg"), b"").unwrap();
    RgbImage::new(3, 30)
        .save(root.join("source/0/thin.png"))
        .unwrap();
    let set = ClassFolders::open(&root.join("source")).unwrap();
    let (report, looked) = check(ClassSubject::Classified(&set));
    assert_eq!((looked.images, looked.counts), (10, Some(vec![5, 5])));
    let found: Vec<_> = report
        .findings
        .iter()
        .filter_map(|f| Some((f.severity, f.file.as_ref()?.to_str()?)))
        .collect();
    assert_eq!(
        found,
        [
            (Severity::Warning, "0/thin.png"),
            (Severity::Error, "1/broken.png"),
            (Severity::Error, "1/empty.jpg"),
        ]
    );
}

fn check(set: ClassSubject<'_>) -> (Report, LookedAt) {
    let mut report = Report::new("test");
    let looked = check_class_set(&mut report, "set", set, 2, &|| ()).unwrap();
    (report, looked)
}

#[test]
fn classes_without_images_and_images_with_two_classes_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    pair(root);
    let list = root.join("list.txt");
    let messages = |text: &str| {
        fs::write(&list, text).unwrap();
        let set = ImageList::read(&list, root, names(&["x", "y"])).unwrap();
        let (report, _) = check(ClassSubject::Classified(&set));
        assert!(report.is_clean());
        report.to_text()
    };
    let text = messages("source/0/0.png 0\n");
    assert!(text.contains("class \"y\" has no image"), "{text}");
    let text = messages("source/0/0.png 0\nsource/0/0.png 1\n");
    assert!(text.contains("the classes 0 and 1"), "{text}");
    fs::copy(root.join("source/0/0.png"), root.join("source/1/copy.png")).unwrap();
    let text = messages("source/0/0.png 0\nsource/1/copy.png 1\n");
    let torn = "1 images are equal to one of another class, such as source/0/0.png and";
    assert!(text.contains(torn), "{text}");
}

#[test]
fn all_faults_of_a_list_are_found_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list.txt");
    fs::write(&list, "a.png 0\nb.png 7\n\nc.png\n1\n").unwrap();
    let faults = ImageList::faults(&list, &names(&["x", "y"])).unwrap();
    assert_eq!(faults.len(), 3, "{faults:?}");
    for (fault, part) in faults.iter().zip(["line 2", "line 4", "line 5"]) {
        assert!(fault.contains(part), "{fault}");
    }
    let source = SourceConfig::List {
        list,
        root: folder.path().to_owned(),
        classes: names(&["x", "y"]),
    };
    assert_eq!(source.list_faults(), faults);
}

#[test]
fn grey_and_transparent_files_are_noted() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir_all(root.join("0")).unwrap();
    let grey = image::DynamicImage::ImageRgb8(RgbImage::new(20, 20));
    grey.to_luma8().save(root.join("0/grey.png")).unwrap();
    grey.to_rgba8().save(root.join("0/alpha.png")).unwrap();
    let set = ClassFolders::open(root).unwrap();
    let (report, looked) = check(ClassSubject::WithoutClasses(&set));
    assert_eq!(looked.counts, None);
    let text = report.to_text();
    // Columns are as wide as their widest cell.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "1 grey images",
        "1 images with transparency",
        "grey files 1",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(report.is_clean());
}

#[test]
fn a_target_that_is_the_source_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    pair(folder.path());
    let open = |name: &str| ClassFolders::open(&folder.path().join(name)).unwrap();
    let (source, target) = (open("source"), open("target"));
    let compare = |a: &ClassFolders, b: &ClassFolders| {
        let (a, b) = (ClassSubject::Classified(a), ClassSubject::WithoutClasses(b));
        let mut report = Report::new("test");
        check_shared(&mut report, (&check(a).1, a), (&check(b).1, b));
        report
    };
    assert_eq!(compare(&source, &target).findings, []);
    let report = compare(&source, &source);
    assert_eq!(report.findings[0].severity, Severity::Warning);
    let message = &report.findings[0].message;
    assert!(message.contains("7 of the 7 different images"), "{message}");
}
