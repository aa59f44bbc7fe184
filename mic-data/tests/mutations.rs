//! Damaged files of every kind: an error or a result, never a panic, and bounded memory.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use image::{ImageFormat, Luma, Rgb, RgbImage};
use mic_data::class_stats::read_entries;
use mic_data::classification::{
    ClassifiedSet, IdxSet, ImageList, ImageTransform, Published, Split, read_idx,
};
use mic_data::datasets::{FolderConfig, custom};
use mic_data::detection::{CocoSet, Conversion, DetectionSet, convert_cityscapes, parse_voc};
use mic_data::files::read_image;
use mic_data::label_map::{LabelMap, Unlisted};
use mic_data::prepare::read_polygons;
use mic_data::rng::stream;
use rand::Rng;

/// Counts what is allocated.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all work is done by the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Memory is counted for the whole process, so one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

const MUTATIONS: u64 = 400;

/// Cut, flipped, overwritten, repeated, removed or replaced parts.
fn mutate(bytes: &[u8], rng: &mut impl Rng) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..rng.random_range(1..=3) {
        if out.is_empty() {
            break;
        }
        // Headers come first and matter most.
        let reach = if rng.random() {
            out.len()
        } else {
            out.len().min(64)
        };
        let at = rng.random_range(0..reach);
        let end = (at + rng.random_range(1..=16)).min(out.len());
        match rng.random_range(0..7) {
            0 => out.truncate(at),
            1 => out[at] ^= 1 << rng.random_range(0..8),
            2 => out[at..end].fill(if rng.random() { 0xff } else { 0 }),
            3 => out[at..end]
                .iter_mut()
                .for_each(|byte| *byte = rng.random()),
            4 => {
                let part = out[at..end].to_vec();
                out.splice(at..at, part.repeat(rng.random_range(1..50)));
            }
            5 => drop(out.drain(at..end)),
            _ => {
                // A number of a text becomes another.
                let digits = |byte: &u8| byte.is_ascii_digit();
                let Some(start) = out[at..].iter().position(digits).map(|first| at + first) else {
                    continue;
                };
                let count = out[start..].iter().take_while(|byte| digits(byte)).count();
                let others = [
                    "-1",
                    "1e308",
                    "NaN",
                    "null",
                    "99999999999999999999",
                    "[]",
                    "0",
                ];
                let other = others[rng.random_range(0..others.len())];
                out.splice(start..start + count, other.bytes());
            }
        }
    }
    out
}

/// Runs `read` on mutated copies of `bytes` and returns how many it accepted.
fn survive(name: &str, bytes: &[u8], most: usize, read: impl Fn(&[u8]) -> bool) -> u64 {
    assert!(read(bytes), "the undamaged {name} is refused");
    let mut accepted = 0;
    for mutation in 0..MUTATIONS {
        let mut rng = stream(11, name, mutation);
        let damaged = mutate(bytes, &mut rng);
        MOST.store(NOW.load(Ordering::Relaxed), Ordering::Relaxed);
        let before = NOW.load(Ordering::Relaxed);
        let result = catch_unwind(AssertUnwindSafe(|| read(&damaged)));
        let used = MOST.load(Ordering::Relaxed).saturating_sub(before);
        assert!(
            used <= most,
            "{name}, mutation {mutation}: {used} bytes were allocated"
        );
        accepted += u64::from(result.unwrap_or_else(|_| panic!("{name}, mutation {mutation}")));
    }
    assert!(accepted < MUTATIONS, "no damage to {name} was noticed");
    accepted
}

fn classes(count: usize) -> Vec<String> {
    (0..count).map(|class| class.to_string()).collect()
}

#[test]
fn idx_files_and_lists() {
    let _alone = ALONE.lock();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let mut images = vec![0, 0, 8, 3, 0, 0, 0, 5, 0, 0, 0, 4, 0, 0, 0, 3];
    images.extend((0..60).map(|value: u8| value));
    let labels = folder.path().join("labels");
    fs::write(&labels, [0, 0, 8, 1, 0, 0, 0, 5, 1, 2, 3, 4, 5]).unwrap();
    let read = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let set = IdxSet::read(&path, &labels, classes(10));
        set.is_ok_and(|set| (0..set.len()).all(|index| set.get(index).is_ok()))
    };
    survive("IDX", &images, 1 << 20, read);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &images).unwrap();
    survive("gzipped IDX", &encoder.finish().unwrap(), 1 << 20, read);
    let text = "a/b c.jpg 3\nd.png 4\n\n/e/f.jpeg 0\n".repeat(5);
    survive("list", text.as_bytes(), 1 << 20, |bytes| {
        fs::write(&path, bytes).unwrap();
        let list = ImageList::read(&path, Path::new("/"), classes(5));
        list.is_ok_and(|list| (0..list.len()).all(|index| list.class(index) < 5))
    });
}

#[test]
fn large_lists_take_little_memory() {
    let _alone = ALONE.lock();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("list.txt");
    let line = |index: usize| format!("train/motorcycle/src_{index:08}.jpg {}\n", index % 12);
    let text: String = (0..100_000).map(line).collect();
    fs::write(&path, &text).unwrap();
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let list = ImageList::read(&path, folder.path(), classes(12)).unwrap();
    // The file, its paths (whose buffer doubles) and 16 bytes an image (likewise).
    let used = MOST.load(Ordering::Relaxed) - before;
    assert!(used < 4 * text.len() + 6 * 16 * list.len(), "{used} bytes");
    assert_eq!(
        list.path(99_999),
        folder.path().join("train/motorcycle/src_00099999.jpg")
    );
}

#[test]
fn annotation_files() {
    let _alone = ALONE.lock();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let coco = r#"{"info": {"a": [1, {"b": null}]}, "images": [
        {"id": 1, "width": 64, "height": 48, "file_name": "a.png"},
        {"id": 4, "width": 32, "height": 48, "file_name": "b/c.png"}], "annotations": [
        {"id": 0, "image_id": 4, "category_id": 2, "bbox": [1.5, 2, 30, 4e1], "area": 12,
         "segmentation": [[1, 2, 3, 4]], "iscrowd": 0},
        {"id": 7, "image_id": 1, "category_id": 3, "bbox": [60, 40, 8, 9], "iscrowd": true}],
        "categories": [{"id": 2, "name": "car"}, {"id": 3, "name": "bus"}]}"#;
    let accepted = survive("COCO", coco.as_bytes(), 1 << 20, |bytes| {
        fs::write(&path, bytes).unwrap();
        let set = CocoSet::read(&path, folder.path(), None);
        set.is_ok_and(|set| {
            for index in 0..set.len() {
                let objects = set.objects(index);
                let known = set.class_names().len() as u32;
                assert!(
                    objects
                        .labels
                        .iter()
                        .all(|label| (1..=known).contains(label))
                );
                let corners = objects.for_training().boxes.corners;
                let (width, height) = set.size(index);
                let inside = |c: &[f32; 4]| {
                    c[0] >= 0.0 && c[1] >= 0.0 && c[2] < width as f32 && c[3] < height as f32
                };
                assert!(corners.iter().all(inside), "{corners:?}");
            }
            true
        })
    });
    assert!(accepted > 0, "the mutations are too coarse");
    let voc = "<?xml version=\"1.0\"?><annotation><filename>a.jpg</filename><size><width>64</width>\
        <height>48</height><depth>3</depth></size><object><name>car</name><difficult>0</difficult>\
        <bndbox><xmin>1.5</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>\
        </annotation>";
    survive("VOC", voc.as_bytes(), 1 << 20, |bytes| {
        let text = std::str::from_utf8(bytes);
        text.is_ok_and(|text| parse_voc(text, Path::new("a.xml")).is_ok())
    });
    // Nesting beyond any stack.
    let deep = "<annotation>".repeat(300_000);
    assert!(parse_voc(&deep, Path::new("deep.xml")).is_err());
    let deep = deep + &"</annotation>".repeat(300_000);
    let _ = parse_voc(&deep, Path::new("deep.xml"));
    fs::write(&path, "[".repeat(1_000_000)).unwrap();
    assert!(CocoSet::read(&path, folder.path(), None).is_err());
    fs::write(&path, format!("{{\"info\": {}", "[".repeat(1_000_000))).unwrap();
    assert!(CocoSet::read(&path, folder.path(), None).is_err());
}

#[test]
fn cityscapes_files() {
    let _alone = ALONE.lock();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let town = root.join("gtFine/val/town");
    fs::create_dir_all(&town).unwrap();
    let polygons = town.join("town_000000_000019_gtFine_polygons.json");
    let instances = town.join("town_000000_000019_gtFine_instanceIds.png");
    let json = br#"{"imgHeight": 20, "imgWidth": 40, "objects": [{"label": "car"}]}"#;
    fs::write(&polygons, json).unwrap();
    let image =
        image::ImageBuffer::from_fn(40, 20, |x, y| Luma([(x / 3 * 997 + y) as u16 + 24_000]));
    image.save(&instances).unwrap();
    let whole = fs::read(&instances).unwrap();
    let conversion = Conversion {
        root: root.to_owned(),
        output: root.join("out"),
        fog: None,
        threads: 1,
    };
    let convert = || convert_cityscapes(&conversion, &|_, _| {}).is_ok();
    survive("polygons", json, 4 << 20, |bytes| {
        fs::write(&polygons, bytes).unwrap();
        let _ = fs::remove_dir_all(&conversion.output);
        convert()
    });
    fs::write(&polygons, json).unwrap();
    // The decoder's own limit bounds images.
    survive("instances", &whole, 1 << 30, |bytes| {
        fs::write(&instances, bytes).unwrap();
        let _ = fs::remove_dir_all(&conversion.output);
        convert()
    });
    // A damaged journal costs time at most.
    fs::write(&instances, &whole).unwrap();
    fs::write(&polygons, b"{}").unwrap();
    fs::create_dir_all(&conversion.output).unwrap();
    assert!(!convert());
    let journal = conversion.output.join(".cityscapes_instances.partial");
    for damage in [&b"\xff\xfe"[..], b"{\"image\": 1}\n", b"\n\n", &[0; 4096]] {
        fs::write(&journal, damage).unwrap();
        fs::write(&polygons, json).unwrap();
        assert!(convert());
    }
}

#[test]
fn images() {
    let _alone = ALONE.lock();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let picture = RgbImage::from_fn(64, 48, |x, y| Rgb([(x * y) as u8, x as u8, (y * 7) as u8]));
    let transform = ImageTransform {
        resize: 32,
        size: 24,
        ..ImageTransform::default()
    };
    for format in [ImageFormat::Png, ImageFormat::Jpeg] {
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        survive(&format!("{format:?}"), bytes.get_ref(), 2 << 30, |bytes| {
            fs::write(&path, bytes).unwrap();
            let image = read_image(&path);
            image.is_ok_and(|image| transform.apply_evaluation(&image).dimensions() == (24, 24))
        });
    }
}

#[test]
fn polygons() {
    let _alone = ALONE.lock();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a_gtFine_polygons.json");
    let json = br#"{"imgWidth": 40, "imgHeight": 30, "objects": [
        {"label": "road", "polygon": [[0, 0], [39, 0], [39, 29], [0, 29]]},
        {"label": "cargroup", "deleted": 0, "polygon": [[3, 4], [-20, 9], [25, 20.5], [7, 1]]},
        {"label": "license plate", "polygon": [[5, 5], [6, 6]]}]}"#;
    // Digits may make the image large: up to a byte a pixel of the limit.
    survive("polygons", json, 2 << 30, |bytes| {
        fs::write(&path, bytes).unwrap();
        let drawn = read_polygons(&path).and_then(|file| file.train_ids(&path));
        drawn.is_ok_and(|label| label.width() > 0)
    });
}

#[test]
fn labels() {
    let _alone = ALONE.lock();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("label.png");
    let colours = LabelMap::by_colour("colours", [([0; 3], 0)], Unlisted::Ignore);
    for (color, depth, data) in [
        (
            png::ColorType::Indexed,
            png::BitDepth::Eight,
            vec![7; 12 * 8],
        ),
        (
            png::ColorType::Grayscale,
            png::BitDepth::Two,
            vec![0b01_10_11_00; 3 * 8],
        ),
        (
            png::ColorType::Rgb,
            png::BitDepth::Sixteen,
            (0..72 * 8).map(|i| i as u8).collect(),
        ),
    ] {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 12, 8);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if color == png::ColorType::Indexed {
            encoder.set_palette(vec![90; 8 * 3]);
        }
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&data).unwrap();
        writer.finish().unwrap();
        survive(&format!("{color:?} labels"), &bytes, 2 << 30, |bytes| {
            fs::write(&path, bytes).unwrap();
            let maps = [&LabelMap::synthia(), &LabelMap::cityscapes(), &colours];
            let read: Vec<bool> = maps.iter().map(|map| map.read(&path).is_ok()).collect();
            assert_eq!(colours.inspect(&path).is_ok(), read[2]);
            read[2]
        });
    }
}

#[test]
fn class_statistics_and_lists() {
    let _alone = ALONE.lock();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let json = br#"[{"0": 12, "7": 3, "file": "labels/1.png"}, {"18": 1, "file": "labels/2.png"}]"#;
    survive("class statistics", json, 1 << 20, |bytes| {
        fs::write(root.join("sample_class_stats.json"), bytes).unwrap();
        read_entries(root).is_ok()
    });
    let picture = RgbImage::new(4, 4);
    for name in ["a.png", "b.png", "b_label.png"] {
        picture.save(root.join(name)).unwrap();
    }
    let folders = FolderConfig {
        images: root.into(),
        labels: root.into(),
        image_suffix: ".png".into(),
        label_suffix: "_label.png".into(),
        map: LabelMap::binary(),
    };
    survive("list", b"b\r\na.png\tb_label.png\n", 1 << 20, |bytes| {
        fs::write(root.join("list"), bytes).unwrap();
        custom::open_list(&root.join("list"), root, &folders, true).is_ok()
    });
}

#[test]
fn headers_that_claim_too_much() {
    let _alone = ALONE.lock();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 8, 8);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[7; 192]).unwrap();
    writer.finish().unwrap();
    // Width and height and the checksum of the first chunk.
    bytes[16..20].copy_from_slice(&100_000u32.to_be_bytes());
    bytes[20..24].copy_from_slice(&100_000u32.to_be_bytes());
    let checksum = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
    fs::write(&path, &bytes).unwrap();
    MOST.store(0, Ordering::Relaxed);
    let error = read_image(&path).unwrap_err().to_string();
    assert!(error.contains("file"), "{error}");
    let idx: Vec<u8> = [&[0, 0, 8, 3][..], &[0, 1, 0, 0].repeat(3)].concat();
    fs::write(&path, idx).unwrap();
    assert!(read_idx(&path).is_err());
    assert!(MOST.load(Ordering::Relaxed) < 1 << 30);
    let root = folder.path().join("visda");
    fs::create_dir_all(root.join("image_list")).unwrap();
    fs::write(root.join("image_list/train.txt"), b"").unwrap();
    assert!(
        Published::VisDa2017
            .open(&root, "Synthetic", Split::Train)
            .is_err()
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
