//! Classification sets in their true layouts, and damaged ones.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;

use image::{GrayImage, Luma, Rgb, RgbImage};
use mic_data::classification::*;

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
fn published_sets_have_their_names_in_toml() {
    let sets = [
        ("visda2017", Published::VisDa2017, vec!["Synthetic", "Real"]),
        (
            "office_home",
            Published::OfficeHome,
            vec!["Ar", "Cl", "Pr", "Rw"],
        ),
        (
            "domainnet",
            Published::DomainNet,
            vec!["c", "i", "p", "q", "r", "s"],
        ),
    ];
    for (name, set, domains) in sets {
        let text = format!("kind = \"published\"\nset = {name:?}\nroot = \"x\"\ndomains = []");
        let config: SourceConfig = toml::from_str(&text).unwrap();
        assert!(matches!(config, SourceConfig::Published { set: read, .. } if read == set));
        assert_eq!(set.domains(), domains);
        assert!(
            config
                .open()
                .err()
                .unwrap()
                .to_string()
                .contains("no domain")
        );
        let unknown = toml::from_str::<SourceConfig>(&format!("{text}\nroots = 1"));
        assert!(unknown.unwrap_err().to_string().contains("roots"));
    }
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
    let images = ImageList::read(&list, Path::new("/sets"), names(&["x", "y"])).unwrap();
    let found: Vec<_> = (0..3).map(|i| (images.path(i), images.class(i))).collect();
    let expected = [
        ("/sets/a b/c d.jpg", 1),
        ("/abs/e.png", 0),
        ("/sets/f.jpg 1", 0),
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
    fs::write(root.join("c/1.BMP"), b"").unwrap();
    let error = ClassFolders::open(root).unwrap_err().to_string();
    assert!(
        error.contains("c/1.BMP") && error.contains("convert"),
        "{error}"
    );
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
