//! `cargo xtask reproduce det` from outside, with settings so small that its numbers mean nothing.

mod program;

use std::fs;

use program::{results, succeed, xtask};

/// Few iterations, few images.
const SMALL: &str = "reproduce det --iterations 2 --warmup 2 --set data.source.count=4 \
                     --set data.target.count=3 --set data.test.count=3 \
                     --set mask.threshold=0.1 --set data.min_sizes=[64] --set data.max_size=128";

#[test]
fn all_methods_are_told_with_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let table = succeed(&format!("{SMALL} --controls"), &out);
    let results = results(&out);
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    let methods = results["pairs"][0]["methods"].as_array().unwrap();
    assert_eq!(methods.len(), 5);
    for method in methods {
        let label = method["label"].as_str().unwrap();
        assert!(table.contains(label) && page.contains(label), "{label}");
        let run = &method["runs"][0];
        assert!(run["scores"]["AP50"].is_number(), "{label}: {run}");
        let masked = method["config"].get("mask").is_some();
        assert_eq!(run["scores"]["teacher_AP50"].is_number(), masked, "{label}");
        assert_eq!(run["class_scores"].as_array().unwrap().len(), 6);
        let name = format!("{}-s0.safetensors", method["key"].as_str().unwrap());
        assert!(out.join(&name).is_file(), "{name}");
    }
    // Three test images: annotated, and as each method sees them.
    assert_eq!(page.matches("data:image/png;base64,").count(), 3 * 6);
    for text in ["AP50", "This is the miniature, not the paper", "47.6"] {
        assert!(table.contains(text) && page.contains(text), "{text}");
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let output = xtask("reproduce det --set data.target.fog=5", folder.path());
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(errors.contains("data.target.fog"), "{errors}");
}
