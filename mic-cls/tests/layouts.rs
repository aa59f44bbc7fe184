//! Trees in the layouts of the data sets: trained on and evaluated through the command line. And
//! files that cannot be used, as users meet them.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers outside #[test] functions

#[path = "../../testdata/output.rs"]
mod output;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use image::{Rgb, RgbImage};
use mic_data::classification::{Published, Split};
use output::{contains, ended};
use serde_json::Value;
use tempfile::TempDir;

/// A network that takes no time on images of 16 x 16 pixels.
const RUN: &str = r#"
[model]
backbone = "resnet"
bottleneck = 8
[model.resnet]
depths = [1]
width = 4
[data]
size = 16
resize = 18
[method]
discriminator = 8
[mask]
block = 4
[train]
iterations = 3
batch = 4
[run]
tensorboard = false
pictures = false
"#;

fn picture(number: usize) -> RgbImage {
    RgbImage::from_fn(24, 20, |x, y| {
        Rgb([(x * 9) as u8, (y * 11) as u8, (number * 37) as u8])
    })
}

fn write(path: &Path, number: usize) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    picture(number).save(path).unwrap();
}

fn mic_cls(at: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mic-cls"));
    command.args(args).current_dir(at).output().unwrap()
}

/// Standard output and error of a program that must end with `code`.
#[track_caller]
fn expect(at: &Path, args: &[&str], code: i32) -> (String, String) {
    ended(&mic_cls(at, args), code)
}

const TRAIN: [&str; 5] = ["train", "--config", "run.toml", "--out", "out"];

fn metrics(at: &Path) -> Value {
    let text = fs::read_to_string(at.join("out/metrics.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Trains and evaluates on source, target and test as the three tables say.
fn use_sets(at: &Path, [source, target, test]: [&str; 3], images: u64) {
    let sets = format!("[data.source]\n{source}\n[data.target]\n{target}\n[data.test]\n{test}\n");
    fs::write(at.join("run.toml"), format!("{RUN}{sets}")).unwrap();
    let args = [&TRAIN[..], &["--overwrite", "--quiet"]].concat();
    let (table, _) = expect(at, &args, 0);
    contains(&table, &["mean"]);
    let trained = metrics(at);
    let score = trained["test"]["scores"]["top1"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&score), "{score}");
    let eval = [
        "eval",
        "--checkpoint",
        "out/checkpoint.safetensors",
        "--quiet",
    ];
    let eval = [&eval[..], &["--json", "eval.json"]].concat();
    expect(at, &eval, 0);
    let text = fs::read_to_string(at.join("eval.json")).unwrap();
    let evaluated: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(evaluated["images"], images);
    let rows = evaluated["confusion"].as_array().unwrap();
    let counts = rows.iter().flat_map(|row| row.as_array().unwrap());
    assert_eq!(
        counts.map(|count| count.as_u64().unwrap()).sum::<u64>(),
        images
    );
}

#[test]
fn visda_2017() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    for (id, class) in Published::VisDa2017.class_names().iter().enumerate() {
        write(
            &at.join(format!("visda/train/{class}/src_1_{id:05}.png")),
            id,
        );
        write(&at.join(format!("visda/validation/{class}/{id}.jpg")), id);
    }
    // The real images have a list, as the archive brings it.
    let set = Published::VisDa2017;
    let images = set.open(&at.join("visda"), "Real", Split::Train).unwrap();
    fs::create_dir(at.join("visda/image_list")).unwrap();
    let list = set.list_path(&at.join("visda"), "Real", Split::Train);
    images.write(&list.unwrap()).unwrap();
    let table =
        |domain| format!("kind = \"visda2017\"\nroot = \"visda\"\ndomains = [\"{domain}\"]");
    let (source, real) = (table("Synthetic"), table("Real"));
    use_sets(at, [&source, &real, &real], 12);
}

#[test]
fn office_home() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    for (id, class) in Published::OfficeHome.class_names().iter().enumerate() {
        for domain in ["Art", "Clipart", "Real World"] {
            write(&at.join(format!("office/{domain}/{class}/00001.jpg")), id);
        }
    }
    let table = |domains| format!("kind = \"office_home\"\nroot = \"office\"\ndomains = {domains}");
    let (source, real) = (table("[\"Ar\", \"Cl\"]"), table("[\"Rw\"]"));
    use_sets(at, [&source, &real, &real], 65);
}

#[test]
fn domain_net_needs_its_lists() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    let classes = Published::DomainNet.class_names();
    fs::create_dir_all(at.join("net/image_list")).unwrap();
    for domain in ["clipart", "sketch"] {
        let mut lines = String::new();
        for (id, class) in classes.iter().enumerate() {
            let file = format!("{domain}/{class}/{domain}_{id:03}_000001.jpg");
            write(&at.join("net").join(&file), id);
            lines += &format!("{file} {id}\n");
        }
        for split in ["train", "test"] {
            let list = at.join(format!("net/image_list/{domain}_{split}.txt"));
            fs::write(list, &lines).unwrap();
        }
    }
    let table = |domain, split| {
        format!(
            "kind = \"domainnet\"\nroot = \"net\"\ndomains = [\"{domain}\"]\nsplit = \"{split}\""
        )
    };
    let (source, target) = (table("c", "train"), table("s", "train"));
    use_sets(at, [&source, &target, &table("s", "test")], 345);
    fs::remove_file(at.join("net/image_list/sketch_test.txt")).unwrap();
    let args = [&TRAIN[..], &["--overwrite"]].concat();
    contains(
        &expect(at, &args, 2).1,
        &[
            "data.test",
            "sketch_test.txt",
            "DomainNet is split by its lists",
        ],
    );
}

/// A file in MNIST's format.
fn idx(path: &Path, shape: &[u32], data: impl Iterator<Item = u8>) {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    bytes.extend(shape.iter().flat_map(|side| side.to_be_bytes()));
    bytes.extend(data);
    fs::write(path, bytes).unwrap();
}

#[test]
fn digits_in_idx_files() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    for (set, shift) in [("mnist", 0), ("usps", 60)] {
        let pixels = (0..20 * 256).map(|i| (i / 256 * 12 + i % 97 + shift) as u8);
        idx(&at.join(format!("{set}-images")), &[20, 16, 16], pixels);
        idx(
            &at.join(format!("{set}-labels")),
            &[20],
            (0..20).map(|i| i % 10),
        );
    }
    let table =
        |set| format!("kind = \"idx\"\nimages = \"{set}-images\"\nlabels = \"{set}-labels\"");
    use_sets(at, [&table("mnist"), &table("usps"), &table("usps")], 20);
    let bytes = fs::read(at.join("mnist-images")).unwrap();
    fs::write(at.join("mnist-images"), &bytes[..500]).unwrap();
    let args = [&TRAIN[..], &["--overwrite"]].concat();
    contains(
        &expect(at, &args, 2).1,
        &["data.source", "mnist-images", "less data"],
    );
}

/// A tree with one folder a class, `count` images each.
fn class_folders(at: &Path, set: &str, count: usize) {
    for (id, class) in ["bolt", "nut"].iter().enumerate() {
        for number in 0..count {
            let name = format!("{set}/{class}/{}{number}.png", &class[..1]);
            write(&at.join(name), id * count + number);
        }
    }
}

fn folder_table(root: &str) -> String {
    format!("kind = \"folder\"\nroot = \"{root}\"")
}

#[test]
fn one_folder_a_class() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    for set in ["source", "target", "test"] {
        class_folders(at, set, 4);
    }
    let images = "kind = \"images\"\nroot = \"target\"\nsuffix = \".png\"";
    let (source, test) = (folder_table("source"), folder_table("test"));
    use_sets(at, [&source, images, &test], 8);
}

#[test]
fn a_run_goes_on_past_as_many_bad_files_as_allowed() {
    let folder = TempDir::new().unwrap();
    let at = folder.path();
    for set in ["source", "target"] {
        class_folders(at, set, 8);
    }
    let target = "kind = \"images\"\nroot = \"target\"\nsuffix = \".png\"";
    let (source, test) = (folder_table("source"), folder_table("target"));
    use_sets(at, [&source, target, &test], 16);
    // Twelve steps see every image.
    let args = [
        &TRAIN[..],
        &[
            "--overwrite",
            "--set",
            "train.iterations=12",
            "--set",
            "data.test=",
        ],
    ];
    let args = args.concat();
    let run = |more: &[&str], code| expect(at, &[&args, more].concat(), code).1;
    let cut = |name: &str, length: usize| {
        let path = at.join(name);
        let bytes = fs::read(&path).unwrap();
        fs::write(path, &bytes[..length]).unwrap();
    };
    cut("source/bolt/b1.png", 60);
    cut("source/nut/n0.png", 0);
    fs::write(at.join("target/nut/n5.png"), "no picture").unwrap();
    contains(&run(&[], 1), &["cannot decode", ".png", "--skip-bad N"]);
    let said = run(&["--skip-bad", "3"], 0);
    contains(
        &said,
        &["left out 3 training samples", "b1.png", "n0.png", "n5.png"],
    );
    let trained = metrics(at);
    let list = trained["bad_samples"].as_array().unwrap();
    let mut found: Vec<String> = list
        .iter()
        .map(|bad| format!("{} {}", bad["set"].as_str().unwrap(), bad["index"]))
        .collect();
    found.sort();
    assert_eq!(found, ["source 1", "source 8", "target 13"]);
    let weights = || fs::read(at.join("out/checkpoint.safetensors")).unwrap();
    let plain = weights();
    // Neither threads nor memory nor a cache change what is trained.
    let other = [
        "--set",
        "data.loader_threads=1",
        "--set",
        "data.loader_memory_mb=1",
    ];
    for _ in 0..2 {
        let more = [&other[..], &["--set", "data.cache=kept", "--skip-bad", "3"]].concat();
        run(&more, 0);
        let tensors = |bytes: &[u8]| {
            let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            bytes[8 + header..].to_vec()
        };
        assert!(tensors(&weights()) == tensors(&plain));
    }
    assert_eq!(fs::read_dir(at.join("kept")).unwrap().count(), 32 - 3);
    contains(
        &run(&["--skip-bad", "2"], 1),
        &["3 samples cannot be used", "n5.png"],
    );
    let wrong = run(&["--set", "data.cache_limit_mb=0"], 2);
    contains(&wrong, &["data.cache_limit_mb"]);
}
