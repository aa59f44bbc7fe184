//! Parts of a batch, one after the other in one process or side by side in several, make the step
//! of the whole batch.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers outside #[test] functions

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use candle_core::{DType, Tensor};
use tempfile::TempDir;

/// A network of layer norms: with batch norm the parts would not add up to the whole.
const NETWORK: &str = r#"
seed = 4
[model]
backbone = "custom"
head = "deeplabv2"
dilations = [1, 2]
dropout = 0.0
drop_path = 0.0
[model.mit]
embed_dims = [12, 16]
depths = [1, 1]
num_heads = [1, 2]
sr_ratios = [1, 1]
[data.source]
kind = "scenes"
domain = "source"
count = 7
size = [32, 32]
[data.target]
kind = "scenes"
domain = "target"
count = 5
size = [32, 32]
[data.test]
kind = "scenes"
domain = "target"
split = "test"
count = 2
size = [32, 32]
[optimizer]
lr = 1e-4
warmup = 0
[train]
iterations = 6
eval_every = 3
[run]
checkpoint_every = 2
"#;

const SUPERVISED: &str = "[method]\nkind = \"supervised\"\n";
const MASKED: &str = "[mask]\nmode = \"separatetrgaug\"\nblock = 8\n";

fn folder(more: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("run.toml"), format!("{NETWORK}{more}")).unwrap();
    folder
}

fn command(program: &str, before: &[&str], at: &Path, out: &str, sets: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(before);
    command.args(["train", "--config", "run.toml", "--out", out, "--quiet"]);
    command.args(sets.iter().flat_map(|set| ["--set", set]));
    command
        .current_dir(at)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn mic_seg(at: &Path, out: &str, sets: &[&str]) -> Command {
    command(env!("CARGO_BIN_EXE_mic-seg"), &[], at, out, sets)
}

#[track_caller]
fn done(output: Output) {
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stderr}");
}

/// The weights at the end, which a few steps of AdamW have moved by about the learning rate each.
fn weights(at: &Path, out: &str) -> Vec<(String, Vec<f32>)> {
    let tensors = mic_seg::weights::read(&at.join(out)).unwrap();
    let mut named: Vec<(String, Tensor)> = tensors.into_iter().collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    let values = |tensor: &Tensor| {
        let flat = tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap();
        flat.to_vec1::<f32>().unwrap()
    };
    named
        .iter()
        .map(|(name, tensor)| (name.clone(), values(tensor)))
        .collect()
}

fn losses(at: &Path, out: &str) -> Vec<f64> {
    let text = fs::read_to_string(at.join(out).join("events.jsonl")).unwrap();
    let events = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let steps = events.filter(|event| event["event"] == "step");
    steps
        .map(|step| step["scalars"]["decode.loss_seg"].as_f64().unwrap())
        .collect()
}

#[track_caller]
fn same(at: &Path, a: &str, b: &str) {
    let (first, second) = (losses(at, a), losses(at, b));
    assert_eq!(first.len(), second.len());
    for (step, (first, second)) in first.iter().zip(&second).enumerate() {
        let apart = (first - second).abs() / first;
        assert!(apart < 1e-4, "step {step}: {first} and {second}");
    }
    let (mut apart, mut moved) = (0.0f64, 0);
    for ((name, first), (_, second)) in weights(at, a).iter().zip(&weights(at, b)) {
        for (first, second) in first.iter().zip(second) {
            let difference = f64::from((first - second).abs());
            // AdamW divides by the gradient's size: where that is rounding, the sign of the step
            // is chance.
            apart += difference;
            moved += 1;
            assert!(difference < 1e-3, "{name}: {first} and {second}");
        }
    }
    let mean = apart / f64::from(moved);
    assert!(
        mean < 2e-6,
        "the weights are {mean} apart on average, of steps of 1e-4"
    );
}

/// Two processes that find each other by the variables of torchrun.
fn two_processes(at: &Path, out: &str, sets: &[&str]) {
    processes(at, out, sets).into_iter().for_each(done);
}

/// What they said, in the order of their ranks.
fn processes(at: &Path, out: &str, sets: &[&str]) -> [Output; 2] {
    let port = free_port().to_string();
    let start = |rank: &str| {
        let mut command = mic_seg(at, out, sets);
        command.envs([
            ("RANK", rank),
            ("LOCAL_RANK", rank),
            ("WORLD_SIZE", "2"),
            ("MASTER_ADDR", "127.0.0.1"),
            ("MASTER_PORT", &port),
            ("RAYON_NUM_THREADS", "1"),
        ]);
        command.spawn().unwrap()
    };
    let (first, second) = (start("0"), start("1"));
    let second = second.wait_with_output().unwrap();
    [first.wait_with_output().unwrap(), second]
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn two_batches_of_one_make_the_step_of_a_batch_of_two() {
    let at = folder(SUPERVISED);
    done(
        mic_seg(at.path(), "whole", &["train.batch=2"])
            .output()
            .unwrap(),
    );
    let parts = ["train.batch=1", "train.accumulate=2"];
    done(mic_seg(at.path(), "parts", &parts).output().unwrap());
    same(at.path(), "whole", "parts");
}

#[test]
fn two_processes_make_the_step_of_one() {
    let at = folder(MASKED);
    let parts = ["train.batch=1", "train.accumulate=2"];
    done(mic_seg(at.path(), "one", &parts).output().unwrap());
    two_processes(at.path(), "two", &["train.batch=1"]);
    same(at.path(), "one", "two");
    let supervised = folder(SUPERVISED);
    done(
        mic_seg(supervised.path(), "one", &["train.batch=2"])
            .output()
            .unwrap(),
    );
    two_processes(supervised.path(), "two", &["train.batch=1"]);
    same(supervised.path(), "one", "two");
}

/// Pairs of images and masks, two of them damaged, as the source.
fn with_bad_files(at: &Path) {
    for inner in ["images", "labels"] {
        fs::create_dir_all(at.join("set").join(inner)).unwrap();
    }
    for number in 0..10u8 {
        let image = image::RgbImage::from_fn(32, 32, |x, y| {
            image::Rgb([(x * 8) as u8, (y * 8) as u8, number * 20])
        });
        let label = image::GrayImage::from_fn(32, 32, |x, _| image::Luma([(x / 11) as u8]));
        let name = |inner: &str| at.join(format!("set/{inner}/{number}.png"));
        mic_data::files::write_rgb(&name("images"), &image).unwrap();
        mic_data::files::write_grey(&name("labels"), &label).unwrap();
    }
    fs::write(at.join("set/images/3.png"), "nothing").unwrap();
    fs::write(at.join("set/labels/8.png"), "nothing").unwrap();
}

const PAIRS: [&str; 5] = [
    "data.source.kind=folder",
    "data.source.root=set",
    "data.source.images=images",
    "data.source.labels=labels",
    "data.source.domain=",
];

#[test]
fn two_processes_have_one_list_of_bad_samples() {
    let at = folder(SUPERVISED);
    with_bad_files(at.path());
    let one = [
        &PAIRS[..],
        &["train.batch=1", "train.accumulate=2", "data.skip_bad=2"],
    ]
    .concat();
    done(mic_seg(at.path(), "one", &one).output().unwrap());
    let two = [&PAIRS[..], &["train.batch=1", "data.skip_bad=2"]].concat();
    two_processes(at.path(), "two", &two);
    same(at.path(), "one", "two");
    let bad = |out: &str| {
        let text = fs::read_to_string(at.path().join(out).join("metrics.json")).unwrap();
        let metrics: serde_json::Value = serde_json::from_str(&text).unwrap();
        let list = metrics["bad_samples"].as_array().unwrap().iter();
        let mut list: Vec<_> = list.map(|bad| bad["index"].as_u64().unwrap()).collect();
        list.sort_unstable();
        list
    };
    assert_eq!(bad("one"), [3, 8]);
    assert_eq!(bad("two"), [3, 8]);
    // Too many of them end both.
    let few = [&PAIRS[..], &["train.batch=1", "data.skip_bad=1"]].concat();
    let ended = processes(at.path(), "few", &few);
    let said = ended.map(|output| {
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    });
    assert!(
        said.iter()
            .any(|text| text.contains("2 samples cannot be used")),
        "{said:?}"
    );
}

/// The same over MPI, where the program has it and `mpirun` is there.
#[cfg(feature = "mpi")]
#[test]
fn two_mpi_processes_make_the_step_of_one() {
    if Command::new("mpirun").arg("--version").output().is_err() {
        println!("skipped: there is no mpirun");
        return;
    }
    let at = folder(SUPERVISED);
    done(
        mic_seg(at.path(), "one", &["train.batch=2"])
            .output()
            .unwrap(),
    );
    let program = env!("CARGO_BIN_EXE_mic-seg");
    let before = ["-n", "2", "--allow-run-as-root", "--oversubscribe", program];
    let mut two = command("mpirun", &before, at.path(), "two", &["train.batch=1"]);
    done(two.output().unwrap());
    same(at.path(), "one", "two");
}

#[test]
fn processes_of_different_runs_refuse_each_other() {
    let at = folder(SUPERVISED);
    let port = free_port().to_string();
    let start = |rank: &str, lr: &str| {
        let mut command = mic_seg(at.path(), "out", &["train.batch=1", lr]);
        command.envs([
            ("RANK", rank),
            ("LOCAL_RANK", rank),
            ("WORLD_SIZE", "2"),
            ("MASTER_ADDR", "127.0.0.1"),
            ("MASTER_PORT", &port),
        ]);
        command.spawn().unwrap()
    };
    let (first, second) = (
        start("0", "optimizer.lr=1e-4"),
        start("1", "optimizer.lr=2e-4"),
    );
    let (first, second) = (
        first.wait_with_output().unwrap(),
        second.wait_with_output().unwrap(),
    );
    assert_ne!(first.status.code(), Some(0));
    assert_ne!(second.status.code(), Some(0));
    let said = String::from_utf8([first.stderr, second.stderr].concat()).unwrap();
    assert!(
        said.contains("configuration") && said.contains("lr"),
        "{said}"
    );
}
