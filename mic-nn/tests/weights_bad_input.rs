//! Damaged, foreign and malicious weights files: a clear message, no panic, little memory.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Tensor};
use mic_nn::weights::{self, Checkpoint};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Remembers the largest piece of memory that was asked for.
struct Watched;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's obligations are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's obligations are those of `System`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's obligations are those of `System`.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        // SAFETY: the caller's obligations are those of `System`.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// All tests of this file hold their allocations below this.
const LITTLE: usize = 160 << 20;

fn recorded(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/recorded/weights");
    std::fs::read(folder.join(name)).unwrap()
}

/// Reads everything that can be read.
fn read(bytes: &[u8]) -> Result<Vec<(String, Tensor)>, String> {
    let checkpoint = Checkpoint::from_bytes(Path::new("given.pth"), bytes.to_vec());
    let weights = checkpoint
        .and_then(|c| c.weights())
        .map_err(|e| e.to_string())?;
    let tensors = weights.iter().collect::<Result<_, _>>();
    tensors.map_err(|e| e.to_string())
}

fn refused(bytes: &[u8], reason: &str) {
    let message = read(bytes).expect_err(reason);
    assert!(
        message.contains(reason) && message.contains("given.pth"),
        "{message}"
    );
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(largest < LITTLE, "{reason}: {largest} bytes at once");
}

#[test]
fn files_that_are_something_else_say_what_they_look_like() {
    refused(b"", "the file is empty");
    refused(&[0; 100], "begins with zeros");
    refused(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "Git LFS pointer",
    );
    refused(
        b"<!DOCTYPE html>\n<html><body>404</body></html>",
        "a web page",
    );
    refused(b"\n<html lang=\"en\"><title>Sign in</title>", "a web page");
    refused(
        b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>",
        "a web page",
    );
    refused(b"{\"error\": \"Repository not found\"}", "JSON text");
    refused(b"{\"error\":{\"code\": 404}}", "JSON text");
    refused(
        b"not a checkpoint",
        "it is a text (it begins with \"not a checkpoint\")",
    );
    refused(b"\x1f\x8b\x08\0\0\0\0\0", "compressed by gzip");
    refused(b"\x89HDF\r\n\x1a\n", "HDF5");
    refused(b"\xca\xfe\xba\xbe\x01\x02", "no format that is read");
    let mut tar = vec![b'x'; 512];
    tar[257..262].copy_from_slice(b"ustar");
    refused(&tar, "tar archive");
    refused(b"\x80\x02X\x02\0\0\0hi.", "it holds hi, not a dictionary");
    refused(b"\x80\x02}.", "no tensors");
}

#[test]
fn paths_that_are_no_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let message = weights::load(folder.path()).unwrap_err().to_string();
    assert!(message.contains("a folder, not a file"), "{message}");
    let message = weights::load(&folder.path().join("none.pth"))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("none.pth: there is no such file"),
        "{message}"
    );
}

#[test]
fn files_cut_anywhere_are_refused() {
    for name in [
        "types_zip_2.pth",
        "types_legacy_2.pth",
        "expect_views.safetensors",
    ] {
        let whole = recorded(name);
        assert!(read(&whole).is_ok());
        for len in 0..whole.len() {
            assert!(read(&whole[..len]).is_err(), "{name} cut at {len}");
        }
        refused(&whole[..whole.len() - 3], "truncated");
    }
}

/// A safetensors file.
fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(vec![0; data]);
    bytes
}

#[test]
fn damaged_safetensors_headers_name_the_tensor() {
    let entry = |name: &str, shape: &str, from: u64, to: u64| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let one = |entry: String, data| safetensors(&format!("{{{entry}}}"), data);
    assert!(read(&one(entry("a", "[2]", 0, 8), 8)).is_ok());
    refused(
        &one(entry("a", "[2]", 0, 8), 7),
        "tensor a should be at bytes 0 to 8",
    );
    refused(
        &one(entry("a", "[2]", 8, 0), 8),
        "tensor a should be at bytes 8 to 0",
    );
    refused(
        &one(entry("a", "[3]", 0, 8), 8),
        "tensor a: shape [3] of F32 takes 12 bytes",
    );
    refused(
        &one(entry("a", "[4294967296,4294967296]", 0, 8), 8),
        "does not fit any memory",
    );
    refused(
        &one(entry("a", "[-1]", 0, 8), 8),
        "tensor a: its header entry is damaged",
    );
    let both = [entry("a", "[2]", 0, 8), entry("b", "[2]", 4, 12)].join(",");
    refused(&one(both, 12), "tensors a and b overlap");
    refused(&safetensors("{\"a\":", 0), "header is damaged");
    refused(
        &safetensors(&"{\"a\":".repeat(100_000), 0),
        "header is damaged",
    );
    let mut huge = one(entry("a", "[2]", 0, 8), 8);
    huge[..8].copy_from_slice(&(1u64 << 62).to_le_bytes());
    refused(&huge, "header should have 4611686018427387904 bytes");
    // A type without a tensor here is skipped, the rest is read.
    let some = r#""c":{"dtype":"C64","shape":[1],"data_offsets":[8,16]}"#;
    let mixed = [entry("a", "[2]", 0, 8), some.to_owned()].join(",");
    assert_eq!(read(&one(mixed, 16)).unwrap().len(), 1);
}

#[test]
fn programs_in_pickles_are_refused_and_named() {
    refused(b"cos\nsystem\n(S'echo hi'\ntR.", "it calls os.system");
    refused(
        b"\x80\x02cos\nsystem\nX\x02\0\0\0hi\x85R.",
        "it calls os.system",
    );
    refused(
        b"\x80\x02c__builtin__\neval\nX\x01\0\0\0y\x85R.",
        "it calls __builtin__.eval",
    );
    refused(
        b"\x80\x04\x8c\x0asubprocess\x8c\x05Popen\x93)R.",
        "it calls subprocess.Popen",
    );
}

#[test]
fn pickles_that_ask_for_much_get_little() {
    // A million lists in each other, a million marks, a dictionary within itself.
    let nested = [
        b"\x80\x02".to_vec(),
        vec![b']'; 1_000_000],
        vec![b'a'; 999_999],
        vec![b'.'],
    ];
    refused(&nested.concat(), "a list of 1");
    refused(
        &[b"\x80\x02".to_vec(), vec![b'('; 1_000_000], vec![b'.']].concat(),
        "missing",
    );
    refused(b"\x80\x02}q\0X\x01\0\0\0ah\0s.", "no tensors");
    // The memo: a far number, an unknown one, and a tuple doubled a hundred times.
    refused(b"\x80\x02Nr\xff\xff\xff\xff.", "it holds None");
    refused(
        b"\x80\x02j\xff\xff\xff\xff.",
        "value 4294967295 is used before it is there",
    );
    let doubled = [b"\x80\x02)".to_vec(), b"2\x86".repeat(100), vec![b'.']].concat();
    refused(&doubled, "a tuple of 2");
    // A long list copied again and again.
    let mut copies = b"\x80\x02(".to_vec();
    copies.extend(vec![b'N'; 200_000]);
    copies.extend(b"lq\0");
    copies.extend(b"c__builtin__\nlist\nh\0\x85R".repeat(20_000));
    copies.push(b'.');
    refused(&copies, "far more memory");
    // Declared lengths.
    for opcode in [b"\x8e".as_slice(), b"\x8d", b"\x96"] {
        let bytes = [b"\x80\x04", opcode, &(1u64 << 62).to_le_bytes(), b"abc."].concat();
        refused(&bytes, "truncated or damaged");
    }
    for opcode in [b"T".as_slice(), b"X", b"B", b"\x8b"] {
        let bytes = [
            b"\x80\x02",
            opcode,
            &(i32::MAX as u32).to_le_bytes(),
            b"abc.",
        ]
        .concat();
        refused(&bytes, "truncated or damaged");
    }
    refused(b"\x80\x02X\xff\xff\xff\xffabc.", "truncated or damaged");
    refused(b"\x80\x09N.", "protocol 9");
    refused(b"\x80\x02a.", "a value is missing");
    refused(b"\x80\x02NN\x82\x01.", "registry");
}

/// A dictionary with one numpy array of f4 of this shape over 8 bytes.
fn array(shape: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x80\x02}X\x01\0\0\0acnumpy.core.numeric\n_frombuffer\n(U\x08".to_vec();
    bytes.extend([0; 8]);
    bytes.extend(b"cnumpy\ndtype\nU\x02f4\x85R");
    bytes.extend(shape);
    bytes.extend(b"U\x01CtRs.");
    bytes
}

/// A dictionary with one tensor over an absent storage.
fn tensor(view: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x80\x02}X\x01\0\0\0actorch._utils\n_rebuild_tensor\n(".to_vec();
    bytes.extend(b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x02tQ");
    bytes.extend(view);
    bytes.extend(b"tRs.");
    bytes
}

#[test]
fn tensors_larger_than_their_storage_are_refused() {
    assert!(read(&array(b"K\x02\x85")).is_ok());
    refused(
        &array(b"K\x03\x85"),
        "tensor a: an array needs 12 bytes, but 8 are recorded",
    );
    refused(&array(b"J\xff\xff\xff\x7f\x85"), "its tensors would take");
    refused(&array(b"J\xff\xff\xff\xff\x85"), "no shape");
    let wide = b"(\x8a\x08\0\0\0\0\0\0\0\x40\x8a\x08\0\0\0\0\0\0\0\x40t";
    refused(&array(wide), "does not fit any memory");
    refused(
        &tensor(b"K\0K\x02\x85K\x01\x85"),
        "storage \"0\" is not in the file",
    );
    refused(&tensor(b"K\0K\x02\x85)"), "1 sizes and 0 strides");
    refused(
        &tensor(b"J\xff\xff\xff\xffK\x02\x85K\x01\x85"),
        "no natural numbers",
    );
    // Ten thousand million equal elements.
    refused(
        &tensor(b"K\0\x8a\x05\0\xe4\x0b\x54\x02\x85K\0\x85"),
        "its tensors would take",
    );
    refused(&tensor(b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\x04\x85\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85"), "outside any storage");
}

#[test]
fn values_that_are_not_finite_are_values() {
    let expected = [f32::NAN, f32::INFINITY];
    let tensor = Tensor::new(&expected, &Device::Cpu).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nan.safetensors");
    weights::save(&path, &[("a".into(), tensor)], &Default::default()).unwrap();
    let found = weights::load(&path).unwrap().tensor("a").unwrap();
    let found = found.to_vec1::<f32>().unwrap();
    assert!(found[0].is_nan() && found[1] == f32::INFINITY);
}

fn flat(tensors: &[(String, Tensor)]) -> Vec<(String, Vec<u64>)> {
    let bits = |t: &Tensor| {
        let t = t.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
        t.to_vec1::<f64>()
            .unwrap()
            .into_iter()
            .map(f64::to_bits)
            .collect()
    };
    tensors
        .iter()
        .map(|(name, t)| (name.clone(), bits(t)))
        .collect()
}

/// Deterministic; about 6000 damaged files.
#[test]
fn random_damage_never_panics_and_check_sums_find_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/recorded/weights");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_none_or(|e| e != "json"))
        .collect();
    files.sort();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut damaged = 0;
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        if bytes.len() > 6000 {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let checked = name.contains("_zip") && !name.contains("without");
        let before = read(&bytes).ok().map(|tensors| flat(&tensors));
        for round in 0..180 {
            let mut other = bytes.clone();
            let flips = if round % 3 == 0 {
                1
            } else {
                rng.random_range(1..6)
            };
            for _ in 0..flips {
                let at = rng.random_range(0..other.len());
                // Structure is at the start of many files: half of the damage goes there.
                let at = if rng.random() {
                    at
                } else {
                    at % 400.min(other.len())
                };
                other[at] = rng.random();
            }
            if round % 7 == 0 {
                let from = rng.random_range(0..other.len());
                other.truncate(from);
            }
            damaged += 1;
            if let (Ok(after), Some(before)) = (read(&other), &before)
                && checked
            {
                assert_eq!(&flat(&after), before, "{name}, round {round}");
            }
        }
    }
    assert!(damaged > 4000, "{damaged}");
    let largest = LARGEST.load(Ordering::Relaxed);
    assert!(largest < LITTLE, "{largest} bytes at once");
}
