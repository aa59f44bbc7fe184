//! Runs that are killed, stopped, damaged or short of disk, as users meet them.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers outside #[test] functions

#[path = "../../testdata/output.rs"]
mod output;
mod tiny;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use output::{json, metrics};
use tempfile::TempDir;
use tiny::NETWORK;

/// A run of a second or two on images of 32 x 32 pixels, with masking and self-training.
const CONFIG: &str = r#"
[data.source]
kind = "scenes"
domain = "source"
count = 5
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
[mask]
mode = "separateaug"
block = 8
alpha = 0.9
[optimizer]
lr = 1e-3
warmup = 10
[train]
iterations = 400
eval_every = 60
[run]
checkpoint_every = 7
histograms = true
"#;

fn folder(more: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("run.toml"),
        format!("seed = 4\n{NETWORK}{CONFIG}{more}"),
    )
    .unwrap();
    folder
}

fn command(at: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mic-seg"));
    command.args(args).current_dir(at);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn begin(at: &Path, more: &[&str]) -> Child {
    let args = ["train", "--config", "run.toml", "--out", "out", "--quiet"];
    command(at, &[&args, more].concat()).spawn().unwrap()
}

fn train(at: &Path, more: &[&str]) -> Output {
    begin(at, more).wait_with_output().unwrap()
}

fn error_of(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn exits(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", error_of(output));
}

/// Weights, optimiser and results of two finished runs are the same, byte for byte.
#[track_caller]
fn same_end(a: &Path, b: &Path) {
    assert_eq!(metrics(a), metrics(b));
    for name in ["weights.safetensors", "training.safetensors"] {
        let read = |out: &Path| {
            let mut all: Vec<_> = fs::read_dir(out.join("checkpoints")).unwrap().collect();
            all.sort_by_key(|entry| entry.as_ref().unwrap().path());
            fs::read(all.pop().unwrap().unwrap().path().join(name)).unwrap()
        };
        assert!(read(a) == read(b), "{name} differs");
    }
    let steps = |out: &Path| -> Vec<(u64, serde_json::Value)> {
        let text = fs::read_to_string(out.join("events.jsonl")).unwrap();
        let events = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let steps = events.filter(|e: &serde_json::Value| e["event"] == "step");
        let timeless = |mut scalars: serde_json::Value| {
            scalars
                .as_object_mut()
                .unwrap()
                .remove("data.seconds")
                .unwrap();
            scalars
        };
        steps
            .map(|e| (e["step"].as_u64().unwrap(), timeless(e["scalars"].clone())))
            .collect()
    };
    let (a, b) = (steps(a), steps(b));
    let (first, second) = (a.len(), b.len());
    let differing = a.iter().zip(&b).find(|(a, b)| a != b);
    assert!(
        a == b,
        "{first} and {second} steps, the first that differ: {differing:?}"
    );
}

/// Numbers that look random, the same in every run of the test.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % bound
    }
}

#[test]
fn a_run_killed_twenty_times_ends_like_one_that_was_not() {
    let (whole, killed) = (folder(""), folder(""));
    exits(&train(whole.path(), &[]), 0);
    let mut numbers = Numbers(7);
    let mut kills = 0;
    let mut more: &[&str] = &[];
    let mut pace = 200;
    while kills < 20 {
        let mut child = begin(killed.path(), more);
        std::thread::sleep(Duration::from_millis(5 + numbers.below(pace)));
        if killed.path().join("out/config.toml").exists() {
            more = &["--resume"];
        }
        if child.try_wait().unwrap().is_some() {
            // It was done before all kills: the last part is run again, in shorter pieces.
            exits(&child.wait_with_output().unwrap(), 0);
            rewind(&killed.path().join("out"));
            pace = (pace / 2).max(20);
            continue;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    if !killed.path().join("out/config.toml").exists() {
        more = &[];
    }
    exits(&train(killed.path(), more), 0);
    same_end(&whole.path().join("out"), &killed.path().join("out"));
    let starts = json(&killed.path().join("out/run.json"));
    assert!(starts["starts"].as_array().unwrap().len() > 5, "{starts}");
}

/// Takes the end of a finished run away, so that it goes on from an older checkpoint.
fn rewind(out: &Path) {
    let mut all: Vec<_> = fs::read_dir(out.join("checkpoints")).unwrap().collect();
    all.sort_by_key(|entry| entry.as_ref().unwrap().path());
    let last = all.pop().unwrap().unwrap().path();
    fs::remove_dir_all(last).unwrap();
    fs::remove_file(out.join("metrics.json")).unwrap();
}

#[cfg(unix)]
#[test]
fn a_signal_saves_and_the_run_goes_on() {
    let (whole, stopped) = (folder(""), folder(""));
    exits(&train(whole.path(), &[]), 0);
    let out = stopped.path().join("out");
    let child = begin(stopped.path(), &[]);
    // Once a checkpoint is there the handlers are installed.
    while !out.join("checkpoints/step-00000007").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let process = child.id().to_string();
    Command::new("kill")
        .args(["-TERM", &process])
        .status()
        .unwrap();
    exits(&child.wait_with_output().unwrap(), 3);
    assert!(!out.join("metrics.json").exists());
    let listed = command(stopped.path(), &["runs", "list", "."])
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("stopped"), "{listed}");
    exits(&train(stopped.path(), &["--resume"]), 0);
    same_end(&whole.path().join("out"), &out);
    let compared = command(stopped.path(), &["runs", "compare", "out", "out"]);
    exits(&{ compared }.output().unwrap(), 0);
}

#[test]
fn resuming_refuses_what_does_not_fit() {
    let at = folder("");
    let sets = [
        "--set",
        "train.iterations=20",
        "--set",
        "train.eval_every=10",
    ];
    exits(&train(at.path(), &sets), 0);
    let resumed = |more: &[&str]| train(at.path(), &[&["--resume"], &sets[..], more].concat());
    let refused = resumed(&["--set", "optimizer.lr=2e-3"]);
    exits(&refused, 2);
    let message = error_of(&refused);
    for part in ["optimizer.lr: 0.001 -> 0.002", "--accept-changes"] {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    // What changes no weight may change.
    exits(
        &resumed(&["--set", "run.keep_last=5", "--set", "data.loader_threads=0"]),
        0,
    );
    exits(
        &resumed(&["--set", "train.iterations=24", "--accept-changes"]),
        0,
    );
    assert_eq!(json(&at.path().join("out/metrics.json"))["iterations"], 24);
    // The run's own configuration is the default.
    let own = command(at.path(), &["train", "--out", "out", "--resume", "-q"]).output();
    exits(&own.unwrap(), 0);
    let nothing = command(at.path(), &["train", "--out", "none", "--resume"])
        .output()
        .unwrap();
    exits(&nothing, 2);
    assert!(
        error_of(&nothing).contains("no run to resume"),
        "{}",
        error_of(&nothing)
    );
}

#[test]
fn a_damaged_checkpoint_is_passed_over_by_name() {
    let (whole, damaged) = (folder(""), folder(""));
    let sets = ["--set", "train.iterations=40"];
    exits(&train(whole.path(), &sets), 0);
    exits(&train(damaged.path(), &sets), 0);
    let out = damaged.path().join("out");
    fs::remove_file(out.join("metrics.json")).unwrap();
    let file = out.join("checkpoints/step-00000040/training.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&file, bytes).unwrap();
    let args = ["train", "--config", "run.toml", "--out", "out", "--resume"];
    let output = command(damaged.path(), &[&args, &sets[..]].concat())
        .output()
        .unwrap();
    exits(&output, 0);
    let said = error_of(&output);
    for part in [
        "passing over",
        "training.safetensors",
        "checksum",
        "resuming at step 35",
    ] {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    same_end(&whole.path().join("out"), &out);
}

#[test]
fn one_process_at_a_time_writes_a_folder() {
    let at = folder("");
    let mut first = begin(at.path(), &["--set", "train.iterations=100000"]);
    while !at.path().join("out/checkpoints/step-00000007").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let second = train(at.path(), &["--resume", "--set", "train.iterations=100000"]);
    first.kill().unwrap();
    first.wait().unwrap();
    exits(&second, 2);
    assert!(
        error_of(&second).contains("another process"),
        "{}",
        error_of(&second)
    );
}

#[test]
fn a_loss_that_is_no_number_is_explained_and_saved() {
    let at = folder("");
    let sets = ["--set", "optimizer.lr=1e30", "--set", "optimizer.warmup=0"];
    let output = train(at.path(), &sets);
    exits(&output, 1);
    let message = error_of(&output);
    for part in [
        "step ",
        "loss",
        "model.",
        "checkpoints/step-",
        "run.skip_non_finite",
    ] {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    assert!(!at.path().join("out/metrics.json").exists());
    assert!(at.path().join("out/report.html").exists());
}

/// The disk is full in the middle of a run: the checkpoints before stay whole, the run goes on or
/// ends with a message, and once there is room it can be resumed.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_loses_nothing() {
    let (whole, small) = (folder(""), folder(""));
    exits(&train(whole.path(), &["--set", "train.iterations=80"]), 0);
    let out = small.path().join("out");
    fs::create_dir(&out).unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=700k", "tmpfs"])
        .arg(&out)
        .output();
    if !mount.is_ok_and(|output| output.status.success()) {
        println!("skipped: a small disk needs the right to mount one");
        return;
    }
    let limited = train(small.path(), &["--set", "train.iterations=80"]);
    let said = error_of(&limited);
    let kept = mic_run_newest(&out);
    let copied = small.path().join("copied");
    let copy = Command::new("cp")
        .arg("-r")
        .arg(&out)
        .arg(&copied)
        .status()
        .unwrap();
    Command::new("umount").arg(&out).status().unwrap();
    assert!(copy.success());
    exits(&limited, 1);
    assert!(
        said.contains("No space left") && said.contains("unchanged"),
        "{said}"
    );
    assert!(kept > 0);
    // With room again.
    fs::remove_dir(&out).unwrap();
    fs::rename(&copied, &out).unwrap();
    exits(
        &train(small.path(), &["--resume", "--set", "train.iterations=80"]),
        0,
    );
    same_end(&whole.path().join("out"), &out);
}

/// Step of the newest whole checkpoint.
#[cfg(target_os = "linux")]
fn mic_run_newest(out: &Path) -> u64 {
    let newest = mic_run::checkpoint::newest(&out.join("checkpoints"));
    newest
        .unwrap()
        .map_or(0, |found| found.checkpoint.manifest().progress.step)
}
