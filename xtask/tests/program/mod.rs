//! The program as a command, for tests that look at it from outside.

// Helpers of tests may panic as tests do; not every file needs all of them.
#![allow(clippy::expect_used, dead_code, unreachable_pub)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Runs `cargo xtask` with `arguments`, which are parted by white space, and `--out`.
pub fn xtask(arguments: &str, out: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(arguments.split_whitespace())
        .arg("--out")
        .arg(out)
        .output()
        .expect("xtask starts")
}

/// Standard output of a command that has to succeed.
#[track_caller]
pub fn succeed(arguments: &str, out: &Path) -> String {
    let output = xtask(arguments, out);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{errors}");
    String::from_utf8(output.stdout).expect("the table is text")
}

/// Commands that have to end with 2, before they write anything, and to tell a hint.
#[track_caller]
pub fn refused(cases: &[(&str, &str)]) {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    for (arguments, hint) in cases {
        let output = xtask(arguments, &out);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {errors}");
        assert!(errors.contains(hint), "{arguments}: {errors}");
        assert!(!out.exists(), "{arguments} left a folder behind");
    }
}

/// `results.json` in a folder.
pub fn results(out: &Path) -> Value {
    let text = fs::read_to_string(out.join("results.json")).expect("results.json is written");
    serde_json::from_str(&text).expect("results.json is JSON")
}

/// A page needs nothing from elsewhere.
#[track_caller]
pub fn stands_alone(page: &str) {
    for outside in ["http:", "https:", "@import", "url(", "<script", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
}
