//! Damaged images: an error or an image, never a panic, never more memory than allowed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use image::{Rgb, RgbImage};
use mic_data::files::{
    read_image, read_image_within, read_label, read_label_within, write_grey, write_rgb,
};
use rand::Rng;
use tempfile::TempDir;

/// Counts the bytes in use and their peak. This file has one test, so only that allocates.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(used, Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most memory in use during `run`, beyond what was in use before.
fn peak<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = USED.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = run();
    (result, PEAK.load(Ordering::Relaxed) - before)
}

const LIMIT: usize = 3 << 20;

/// Reads a file as image and, if it is a PNG, as label. Panics are caught inside and would show in
/// the error.
fn check(path: &Path) -> (usize, usize) {
    let (mut images, mut errors) = (0, 0);
    let mut count = |error: Option<String>| match error {
        None => images += 1,
        Some(error) => {
            errors += 1;
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(error.contains(name), "{error}");
            assert!(!error.contains("panicked"), "{error}");
        }
    };
    let (image, used) = peak(|| read_image_within(path, LIMIT as u64));
    assert!(used <= LIMIT, "{used} bytes for {}", path.display());
    count(image.err().map(|e| e.to_string()));
    let (label, used) = peak(|| read_label_within(path, LIMIT as u64));
    assert!(used <= LIMIT, "{used} bytes for {}", path.display());
    count(label.err().map(|e| e.to_string()));
    (images, errors)
}

/// A PNG whose header claims 100,000 x 100,000 pixels, with the right check sum.
fn huge(png: &[u8]) -> Vec<u8> {
    let mut huge = png.to_vec();
    huge[16..20].copy_from_slice(&100_000u32.to_be_bytes());
    huge[20..24].copy_from_slice(&100_000u32.to_be_bytes());
    let sum = crc32fast::hash(&huge[12..29]);
    huge[29..33].copy_from_slice(&sum.to_be_bytes());
    huge
}

#[test]
fn damaged_files_give_an_error_or_an_image_within_the_memory_limit() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    let picture = RgbImage::from_fn(90, 70, |x, y| {
        let value = (x * 31 + y * 57) ^ (x * y);
        Rgb([value as u8, (value >> 2) as u8, (x + y) as u8])
    });
    write_rgb(&at("rgb.png"), &picture).unwrap();
    picture.save(at("rgb.jpg")).unwrap();
    let grey = image::DynamicImage::ImageRgb8(picture.clone()).into_luma8();
    write_grey(&at("grey.png"), &grey).unwrap();
    grey.save(at("grey.jpg")).unwrap();
    let mut rng = mic_data::rng::stream(1, "damage", 0);
    for name in ["rgb.png", "grey.png", "rgb.jpg", "grey.jpg"] {
        let whole = fs::read(at(name)).unwrap();
        let damaged = at(&format!("damaged {name}"));
        let (mut images, mut errors) = (0, 0);
        for round in 0..300 {
            let mut bytes = whole.clone();
            match round % 3 {
                0 => bytes.truncate(rng.random_range(0..whole.len())),
                1 => {
                    // Headers are small and deserve as much damage as the rest.
                    let end = if round % 2 == 0 { 64 } else { whole.len() };
                    let place = rng.random_range(0..end);
                    bytes[place] ^= 1 << rng.random_range(0..8);
                }
                _ => {
                    for _ in 0..rng.random_range(1..20) {
                        let place = rng.random_range(0..whole.len());
                        bytes[place] = rng.random();
                    }
                }
            }
            fs::write(&damaged, &bytes).unwrap();
            let (read, refused) = check(&damaged);
            images += read;
            errors += refused;
        }
        assert!(errors > 300, "{name}: {images} images, {errors} errors");
    }

    let png = fs::read(at("rgb.png")).unwrap();
    fs::write(at("huge.png"), huge(&png)).unwrap();
    let grey = fs::read(at("grey.png")).unwrap();
    fs::write(at("huge label.png"), huge(&grey)).unwrap();
    let mut jpeg = fs::read(at("rgb.jpg")).unwrap();
    let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].fill(0xff);
    fs::write(at("huge.jpg"), &jpeg).unwrap();
    for (name, side) in [
        ("huge.png", "100000 x 100000"),
        ("huge.jpg", "65535 x 65535"),
    ] {
        let (image, used) = peak(|| read_image(&at(name)));
        let error = image.unwrap_err().to_string();
        for part in [name, side, "limit is 1024 MiB"] {
            assert!(error.contains(part), "{part:?} is missing in: {error}");
        }
        assert!(used < 1 << 20, "{used} bytes");
    }
    let error = read_label(&at("huge label.png")).unwrap_err().to_string();
    assert!(error.contains("huge label.png") && error.contains("100000 x 100000"));
    fs::write(at("long.png"), vec![0; LIMIT + 1]).unwrap();
    let (image, used) = peak(|| read_image_within(&at("long.png"), LIMIT as u64));
    assert!(image.unwrap_err().to_string().contains("long.png"));
    assert!(used < 1 << 20);
}
