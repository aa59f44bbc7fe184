//! `cargo xtask bench cpu` from outside, without Python and at sizes that take no time.

// Helpers of tests may panic as tests do.
#![allow(clippy::expect_used)]

use std::process::{Command, Output};

/// `bench cpu --tiny` of our side alone.
fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args([
            "bench",
            "cpu",
            "--tiny",
            "--threads",
            "1",
            "--repetitions",
            "1",
        ])
        .args(["--python", "no-such-python"])
        .args(arguments)
        .output()
        .expect("xtask starts")
}

fn text(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The cells of the rows that begin with `name`.
fn rows<'a>(text: &'a str, name: &str) -> Vec<Vec<&'a str>> {
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| ")?.split('|').map(str::trim).collect();
        cells[0].starts_with(name).then_some(cells)
    });
    rows.collect()
}

#[test]
fn without_python_our_side_is_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tables.md");
    let path = file.to_str().expect("a path of letters");
    let output = text(&bench(&["--filter", "MIT-B0", "--markdown", path]));
    assert!(output.contains("PyTorch is not measured: no-such-python could not be started"));
    let written = std::fs::read_to_string(&file).expect("the file");
    assert_eq!(written, output);
    // Steps, then memory; each plain and recomputed.
    let found = rows(&output, "MiT-B0");
    assert_eq!(found.len(), 4, "{output}");
    let number = |row: usize, cell: usize| found[row][cell].parse::<f64>().expect("a number");
    assert!(number(0, 1) > 0.0 && number(1, 1) > 0.0);
    assert!(number(1, 4) > 0.0, "the cost of recomputation");
    assert!(number(2, 1) > number(2, 4) && number(3, 1) > number(3, 4));
}

#[test]
fn tables_are_chosen_by_flags_and_names() {
    let output = text(&bench(&["--ops", "--filter", "softmax"]));
    assert_eq!(rows(&output, "softmax").len(), 1, "{output}");
    assert!(rows(&output, "MiT").is_empty());
    let output = bench(&["--networks", "--filter", "softmax"]);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("nothing has that name") && errors.contains("ResNet-50"));
}
