//! The table of tests in docs/parity.md names all points, and tests that exist.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use std::collections::BTreeSet;
use std::path::Path;

/// Number of points.
const POINTS: usize = 47;

#[test]
fn every_point_has_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(root.join("docs/parity.md")).unwrap();
    let mut points = BTreeSet::new();
    for line in text.lines() {
        let tests: Vec<(&str, &str)> = line
            .split('`')
            .skip(1)
            .step_by(2)
            .filter_map(|code| code.split_once(".rs::"))
            .collect();
        for (file, test) in &tests {
            let source = std::fs::read_to_string(root.join(format!("{file}.rs")));
            let source = source.unwrap_or_else(|e| panic!("{file}.rs: {e}"));
            let found = source.contains(&format!("fn {test}("));
            assert!(found, "{file}.rs has no test {test}");
        }
        let mut cells = line.split('|').map(str::trim).skip(1);
        if let Some(point) = cells.next().and_then(|cell| cell.parse::<usize>().ok()) {
            assert!(!tests.is_empty(), "point {point} has no test: {line}");
            assert!(points.insert(point), "point {point} stands twice");
        }
    }
    assert_eq!(points, (1..=POINTS).collect());
}
