//! `cargo xtask reproduce seg` from outside, with settings so small that its numbers mean nothing.

mod program;

use std::fs;
use std::path::Path;

use serde_json::Value;

use program::{refused, results, stands_alone, succeed, xtask};

/// Few iterations, few images, a small network, and every kind of method.
const SMALL: &str = "reproduce seg --iterations 6 --warmup 6 --set data.source.count=6 \
                     --set data.target.count=6 --set data.test.count=4 --set model.head_channels=16 \
                     --set mask.block=8";

/// `results.json` without what may differ between equal runs.
fn numbers(out: &Path) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(map) => {
                for key in ["timing", "provenance", "loader_threads", "overrides"] {
                    map.remove(key);
                }
                map.values_mut().for_each(strip);
            }
            Value::Array(list) => list.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value = results(out);
    strip(&mut value);
    value
}

#[test]
fn numbers_depend_on_the_seed_and_not_on_the_loader_threads() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, more: &str| {
        let out = folder.path().join(name);
        let methods = "--methods self-training,mic";
        succeed(&format!("{SMALL} {methods} {more}"), &out);
        numbers(&out)
    };
    let one = run("one", "--loader-threads 1 --seeds 3");
    assert_eq!(one, run("two", "--loader-threads 2 --seeds 3"));
    let other = run("other", "--loader-threads 1 --seeds 4");
    assert_ne!(
        one["pairs"][0]["methods"][0]["runs"][0]["scores"],
        other["pairs"][0]["methods"][0]["runs"][0]["scores"]
    );
    assert_ne!(
        one["pairs"][0]["methods"][0]["runs"][0], one["pairs"][0]["methods"][1]["runs"][0],
        "MIC does nothing"
    );
}

#[test]
fn table_and_page_tell_all_methods() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let table = succeed(&format!("{SMALL} --controls --seeds 0,1"), &out);
    let results = numbers(&out);
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    let pair = &results["pairs"][0];
    let methods = pair["methods"].as_array().unwrap();
    assert_eq!(methods.len(), 7);
    for method in methods {
        let label = method["label"].as_str().unwrap();
        assert!(table.contains(label) && page.contains(label), "{label}");
        assert_eq!(method["runs"].as_array().unwrap().len(), 2);
        let teacher = method["config"]["method"]["kind"] == "dacs";
        assert_eq!(
            method["runs"][0]["scores"]["teacher_accuracy"].is_number(),
            teacher,
            "{label}"
        );
        let checkpoint = format!("{}-s1.safetensors", method["key"].as_str().unwrap());
        assert!(out.join(&checkpoint).is_file(), "{checkpoint}");
    }
    for text in [
        "±",
        "mIoU",
        "This is the miniature, not the paper",
        "Titan RTX",
    ] {
        assert!(table.contains(text) && page.contains(text), "{text}");
    }
    // Every other method against self-training, and MIC against ratio 0.
    let miou = |c: &&Value| c["measure"]["key"] == "miou";
    assert_eq!(
        pair["comparisons"]
            .as_array()
            .unwrap()
            .iter()
            .filter(miou)
            .count(),
        6 + 1
    );
    for id in [
        "what",
        "table",
        "differences",
        "curves",
        "pictures",
        "configuration",
    ] {
        assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
    }
    // Image, truth, pseudo-label, mask and seven predictions of four test images.
    assert_eq!(page.matches("data:image/png;base64,").count(), 4 * (4 + 7));
    stands_alone(&page);
    for element in [
        "section", "table", "svg", "figure", "details", "ul", "dl", "p",
    ] {
        let opened = page.matches(&format!("<{element}>")).count()
            + page.matches(&format!("<{element} ")).count();
        assert_eq!(
            opened,
            page.matches(&format!("</{element}>")).count(),
            "{element}"
        );
    }
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_to_do() {
    refused(&[
        (
            "reproduce seg --source camvid:day --target camvid:dusk",
            "--data-root DIR",
        ),
        (
            "reproduce seg --source camvid:day --target camvid:dusk --data-root /no/where",
            "/no/where",
        ),
        (
            "reproduce seg --source camvid:day --target camvid:dusk --data-root .",
            "train",
        ),
        ("reproduce seg --methods best", "self-training"),
        ("reproduce seg --iterations 0", "train.iterations"),
        ("reproduce seg --seeds 1,1", "every seed once"),
        ("reproduce seg --set mask.ratoi=1", "mask.ratio"),
        ("reproduce seg --seeds x", "--seeds"),
    ]);
}

#[test]
fn results_of_another_run_are_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("results.json"), "{}").unwrap();
    let output = xtask(SMALL, folder.path());
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        fs::read_to_string(folder.path().join("results.json")).unwrap(),
        "{}"
    );
}
