//! Classification sets in their true layouts, and the batches made of them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use image::{GrayImage, Luma, Rgb, RgbImage};
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

#[test]
fn visda_is_listed_from_its_folders_as_from_its_list() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let set = Published::VisDa2017;
    let classes = set.class_names();
    assert_eq!((classes.len(), classes[5].as_str()), (12, "knife"));
    for (id, class) in classes.iter().enumerate() {
        write_image(&root.join(format!("train/{class}/src_2.jpg")), id as u8);
        write_image(&root.join(format!("train/{class}/src_1.png")), id as u8);
    }
    let images = set.open(root, "Synthetic", Split::Train).unwrap();
    assert_eq!(images.len(), 24);
    assert_eq!(images.name(10), "train/knife/src_1.png");
    assert_eq!(
        (
            images.class(10),
            images.pixels(10).unwrap().get_pixel(0, 0).0[0]
        ),
        (5, 5)
    );

    let list = set.list_path(root, "Synthetic", Split::Train).unwrap();
    assert!(list.ends_with("image_list/train.txt"));
    fs::create_dir(root.join("image_list")).unwrap();
    images.write(&list).unwrap();
    let listed = set.open(root, "train", Split::Train).unwrap();
    assert_eq!(listed.len(), 24);
    for index in 0..24 {
        assert_eq!(listed.name(index), images.name(index));
        assert_eq!(listed.class(index), images.class(index));
    }

    fs::create_dir_all(root.join("validation/submarine")).unwrap();
    let error = set
        .open(root, "Real", Split::Train)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("aeroplane") && error.contains("submarine"),
        "{error}"
    );
    let error = set
        .open(root, "Unreal", Split::Train)
        .unwrap_err()
        .to_string();
    assert!(error.contains("Synthetic"), "{error}");
}

#[test]
fn office_home_is_found_under_the_name_of_its_archive() {
    let folder = tempfile::tempdir().unwrap();
    let classes = Published::OfficeHome.class_names();
    assert_eq!((classes.len(), classes[64].as_str()), (65, "Marker"));
    for class in &classes {
        write_image(
            &folder.path().join(format!("Real World/{class}/00001.jpg")),
            1,
        );
    }
    let config = SourceConfig::Published {
        set: Published::OfficeHome,
        root: folder.path().to_owned(),
        domains: names(&["Rw"]),
        split: Split::Train,
    };
    let set = config.open().unwrap();
    assert_eq!((set.len(), set.class(0)), (65, 0));
    assert_eq!(set.name(0), "Real World/Drill/00001.jpg");
    // A list with a blank in its paths is read back.
    let images = Published::OfficeHome
        .open(folder.path(), "Rw", Split::Test)
        .unwrap();
    let list = folder.path().join("list.txt");
    images.write(&list).unwrap();
    let read = ImageList::read(&list, folder.path(), classes).unwrap();
    assert_eq!(read.pixels(3).unwrap().dimensions(), (20, 12));
}

#[test]
fn domain_net_is_split_by_its_lists() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let set = Published::DomainNet;
    assert_eq!(set.class_names().len(), 345);
    assert_eq!(set.class_names()[327], "t-shirt");
    let error = set.open(root, "c", Split::Train).unwrap_err().to_string();
    assert!(error.contains("clipart_train.txt"), "{error}");
    fs::create_dir(root.join("image_list")).unwrap();
    let lists = root.join("image_list");
    fs::write(lists.join("clipart_train.txt"), "clipart/zebra/1.jpg 343\n").unwrap();
    fs::write(lists.join("clipart_test.txt"), "clipart/yoga/2.jpg 342\n").unwrap();
    assert_eq!(set.open(root, "c", Split::Train).unwrap().class(0), 343);
    assert_eq!(
        set.open(root, "clipart", Split::Test).unwrap().class(0),
        342
    );
}

#[test]
fn lists_have_blanks_in_paths_and_the_class_as_last_word() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list.txt");
    let text = "\u{feff}a b/c  d.jpg 1\r\n\n/abs/e.png\t0\n  f.jpg 1 0";
    fs::write(&list, text).unwrap();
    let images = ImageList::read(&list, Path::new("/root"), names(&["x", "y"])).unwrap();
    let found: Vec<_> = (0..3).map(|i| (images.path(i), images.class(i))).collect();
    let expected = [
        ("/root/a b/c d.jpg", 1),
        ("/abs/e.png", 0),
        ("/root/f.jpg 1", 0),
    ];
    for (found, (path, class)) in found.iter().zip(expected) {
        assert_eq!((found.0.as_path(), found.1), (Path::new(path), class));
    }
    let refused: [(&[u8], &str); 6] = [
        (b"a.jpg 1\nb.jpg 2\n", "line 2"),
        (b"a.jpg -1\n", "line 1"),
        (b"a.jpg\n", "class id from 0 to 1"),
        (b"1\n", "no path"),
        (b"\n \n", "names no image"),
        (b"a.jpg 0\n\xff\xfe 1\n", "line 2 is not UTF-8"),
    ];
    for (bytes, expected) in refused {
        fs::write(&list, bytes).unwrap();
        let error = ImageList::read(&list, Path::new("/"), names(&["x", "y"])).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains(expected) && error.contains("list.txt"),
            "{error}"
        );
    }
}

#[test]
fn class_folders_are_sorted_and_must_hold_images() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (file, mark) in [
        ("b/z.png", 0),
        ("b/inner/a.png", 1),
        ("a/2.JPG", 2),
        ("a/10.jpeg", 3),
        (".hidden/x.png", 4),
    ] {
        // The image crate chooses the format by a lower-case suffix.
        let lower = root.join(file.to_ascii_lowercase());
        write_image(&lower, mark);
        fs::rename(lower, root.join(file)).unwrap();
    }
    fs::write(root.join("b/notes.txt"), "no image").unwrap();
    let set = ClassFolders::open(root).unwrap();
    assert_eq!(set.class_names(), names(&["a", "b"]));
    let found: Vec<_> = (0..set.len())
        .map(|i| (set.name(i), set.class(i)))
        .collect();
    let expected = [
        ("a/10.jpeg", 0),
        ("a/2.JPG", 0),
        ("b/z.png", 1),
        ("b/inner/a.png", 1),
    ];
    assert!(
        found
            .iter()
            .zip(expected)
            .all(|(f, e)| (f.0.as_str(), f.1) == e),
        "{found:?}"
    );
    assert_eq!(found.len(), 4);

    fs::create_dir(root.join("c")).unwrap();
    let error = ClassFolders::open(root).unwrap_err().to_string();
    assert!(error.contains("\"c\""), "{error}");
    let chosen = ClassFolders::with_classes(root, names(&["b", "a"])).unwrap();
    assert_eq!((chosen.len(), chosen.class(0)), (4, 0));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(root.join("b"), root.join("b/inner/again")).unwrap();
        let error = ClassFolders::with_classes(root, names(&["b"])).unwrap_err();
        assert!(error.to_string().contains("link"), "{error}");
    }
    let error = same_classes(
        ("Art", &names(&["x", "y"])),
        ("Photos", &names(&["y", "z"])),
    );
    let error = error.unwrap_err().to_string();
    assert!(error.contains("only Art has [\"x\"]"), "{error}");
    assert!(error.contains("only Photos has [\"z\"]"), "{error}");
}

/// An IDX file of bytes.
fn idx(shape: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    shape.iter().for_each(|n| bytes.extend(n.to_be_bytes()));
    bytes.extend(data);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn idx_files_are_read_plain_and_gzipped_and_damage_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let pixels: Vec<u8> = (0..2 * 3 * 4).collect();
    let (images, labels) = (idx(&[2, 3, 4], &pixels), idx(&[2], &[7, 1]));
    fs::write(root.join("usps-train-images-idx3-ubyte.gz"), gzip(&images)).unwrap();
    fs::write(root.join("usps-train-labels-idx1-ubyte"), &labels).unwrap();
    let set = IdxSet::digits(root, Some("usps"), "train").unwrap();
    assert_eq!((set.len(), set.class(0), set.class(1)), (2, 7, 1));
    let expected = GrayImage::from_fn(4, 3, |x, y| Luma([(12 + 4 * y + x) as u8]));
    let image = set.pixels(1).unwrap();
    assert!(
        image
            .pixels()
            .zip(expected.pixels())
            .all(|(a, b)| a.0 == [b.0[0]; 3])
    );
    let error = IdxSet::digits(root, None, "test").unwrap_err().to_string();
    assert!(error.contains("t10k-images-idx3-ubyte"), "{error}");

    let path = root.join("damaged");
    let huge = idx(&[u32::MAX, u32::MAX, u32::MAX], &pixels);
    let whole_gz = gzip(&images);
    let refused: [(&[u8], &str); 8] = [
        (b"", "header"),
        (&images[..10], "header"),
        (&images[..20], "less data"),
        (&[&images[..], &[0]].concat(), "more data"),
        (&[&[0, 0, 13, 3], &images[4..]].concat(), "it starts with"),
        (&huge, "more than"),
        (&whole_gz[..whole_gz.len() - 9], "damaged"),
        (&gzip(&huge), "more than"),
    ];
    for (bytes, expected) in refused {
        fs::write(&path, bytes).unwrap();
        let error = read_idx(&path).unwrap_err().to_string();
        assert!(
            error.contains(expected) && error.contains("damaged"),
            "{error}"
        );
    }
    let ten = || (0..10).map(|digit| digit.to_string()).collect();
    fs::write(&path, idx(&[2], &[3, 10])).unwrap();
    let images = root.join("usps-train-images-idx3-ubyte.gz");
    let error = IdxSet::read(&images, &path, ten()).unwrap_err().to_string();
    assert!(error.contains("image 1 has class 10"), "{error}");
    fs::write(&path, idx(&[3], &[3, 1, 1])).unwrap();
    let error = IdxSet::read(&images, &path, ten()).unwrap_err().to_string();
    assert!(error.contains("pair the right files"), "{error}");
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
    let findings = check_classification(&set, 2).unwrap();
    assert_eq!(findings.samples, 10);
    assert_eq!(findings.counts, [("0".to_owned(), 5), ("1".to_owned(), 5)]);
    assert!(findings.has_errors());
    let found = findings.findings.iter().map(|f| {
        (
            f.severity,
            f.file.as_ref().unwrap().to_string_lossy().into_owned(),
        )
    });
    let found: Vec<_> = found.collect();
    let expected = [
        (Severity::Warning, "0/thin.png"),
        (Severity::Error, "1/broken.png"),
        (Severity::Error, "1/empty.jpg"),
    ];
    assert!(
        found
            .iter()
            .zip(expected)
            .all(|(f, e)| (f.0, f.1.as_str()) == e),
        "{found:?}"
    );
    assert_eq!(found.len(), 3);
    let lonely = ImageList::read(
        &{
            let list = root.join("list.txt");
            fs::write(&list, "source/0/0.png 0\n").unwrap();
            list
        },
        root,
        names(&["x", "y"]),
    );
    let findings = check_classification(&lonely.unwrap(), 1).unwrap();
    assert!(!findings.has_errors());
    let messages: Vec<_> = findings
        .findings
        .iter()
        .map(|f| f.message.as_str())
        .collect();
    assert!(
        messages.contains(&"class \"y\" has no image"),
        "{messages:?}"
    );
}
