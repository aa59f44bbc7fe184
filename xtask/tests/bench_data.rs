//! `cargo xtask bench data` from outside, without Python and at sizes that take no time.

// Helpers of tests may panic as tests do.
#![allow(clippy::expect_used)]

use std::process::{Command, Output};

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["bench", "data", "--tiny", "--threads", "2"])
        .args(["--repetitions", "1", "--python", "no-such-python"])
        .args(arguments)
        .output()
        .expect("xtask starts")
}

#[test]
fn without_python_our_side_is_measured() {
    let output = bench(&["--large", "200"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("PyTorch is not measured: no-such-python could not be started"));
    let rows = |start: &str| -> Vec<f64> {
        let rows = text.lines().filter(|line| line.starts_with(start));
        rows.map(|row| {
            let cell = row.split('|').nth(2).map(str::trim);
            cell.and_then(|cell| cell.parse().ok()).expect("a number")
        })
        .collect()
    };
    let speeds = [rows("| GTA-style"), rows("| VisDA-style")].concat();
    assert_eq!(speeds.len(), 3, "{text}");
    assert!(speeds.iter().all(|speed| *speed > 0.0));
    assert_eq!(
        rows("| folder of frames").len() + rows("| list of photos").len(),
        2
    );
}

#[test]
fn pipelines_are_chosen_by_name() {
    let output = bench(&["--large", "0", "--filter", "visda"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("VisDA-style") && !text.contains("GTA-style"),
        "{text}"
    );
}
