//! What a program said and left behind, for tests that run it from outside.

// Helpers of tests may panic as tests do; not every file needs all of them.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use candle_core::{DType, Device, Tensor};
use serde_json::Value;

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Exit code 0; standard output.
#[track_caller]
pub fn done(output: &Output) -> String {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    text(&output.stdout)
}

/// One `error: ...` message with these parts, and this exit code.
#[track_caller]
pub fn failed(output: &Output, code: i32, parts: &[&str]) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert_eq!(stderr.matches("error:").count(), 1, "{stderr}");
    assert!(stderr.contains("error: "), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(!stderr.contains("   0: "), "{stderr}");
    contains(&stderr, parts);
}

/// As [`failed`], with nothing on standard output.
#[track_caller]
pub fn refused(output: &Output, code: i32, parts: &[&str]) {
    failed(output, code, parts);
    assert_eq!(text(&output.stdout), "");
}

/// Standard output and error of a program that must end with `code`.
#[track_caller]
pub fn ended(output: &Output, code: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
    (out, err)
}

#[track_caller]
pub fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

pub fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Starts a training run in the folder `out` and kills it once its first checkpoint is there.
#[track_caller]
pub fn kill_in_training(mut train: Command, out: &Path) {
    let mut child = train.stderr(Stdio::null()).spawn().unwrap();
    let checkpoint = out.join("checkpoint.safetensors");
    while !checkpoint.exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let finished = out.join("metrics.json").exists();
    assert!(!finished, "it was too fast to be killed");
}

/// `metrics.json` of a run without what a clock measured.
pub fn metrics(out: &Path) -> Value {
    fn timeless(value: &mut Value) {
        if let Some(object) = value.as_object_mut() {
            for key in ["seconds", "seconds_per_step", "peak_memory_bytes"] {
                object.remove(key);
            }
            object.values_mut().for_each(timeless);
        }
        if let Some(array) = value.as_array_mut() {
            array.iter_mut().for_each(timeless);
        }
    }
    let mut metrics = json(&out.join("metrics.json"));
    timeless(&mut metrics);
    metrics
}

/// Bit by bit.
fn same(a: &Tensor, b: &Tensor) -> bool {
    let bits = |t: &Tensor| -> Vec<u64> {
        let t = t.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
        let values = t.to_vec1::<f64>().unwrap().into_iter();
        values.map(f64::to_bits).collect()
    };
    a.dims() == b.dims() && bits(a) == bits(b)
}

/// Results, weights and optimiser of two runs are the same after `steps`.
#[track_caller]
pub fn same_end(a: &Path, b: &Path, steps: u64) {
    assert_eq!(metrics(a), metrics(b));
    for name in ["weights.safetensors", "training.safetensors"] {
        let file = |out: &Path| out.join(format!("checkpoints/step-{steps:08}")).join(name);
        let read = |out: &Path| candle_core::safetensors::load(file(out), &Device::Cpu).unwrap();
        let (a, b) = (read(a), read(b));
        assert_eq!(a.len(), b.len());
        for (tensor, value) in a {
            assert!(same(&value, &b[&tensor]), "{name}: {tensor}");
        }
    }
}
