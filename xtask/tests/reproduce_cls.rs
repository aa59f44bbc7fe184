//! `cargo xtask reproduce cls` from outside, with settings so small that its numbers mean nothing.

mod program;

use std::fs;

use program::{refused, results, stands_alone, succeed};

/// Few iterations, small batches.
const SMALL: &str = "reproduce cls --iterations 4 --warmup 3 --set train.batch=4 \
                     --set method.discriminator=8";

#[test]
fn both_directions_and_all_methods_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let table = succeed(&format!("{SMALL} --controls --seeds 0,1"), &out);
    let results = results(&out);
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    let pairs = results["pairs"].as_array().unwrap();
    assert_eq!(pairs.len(), 2);
    for pair in pairs {
        let (key, label) = (
            pair["key"].as_str().unwrap(),
            pair["label"].as_str().unwrap(),
        );
        assert!(table.contains(label) && page.contains(label), "{label}");
        let methods = pair["methods"].as_array().unwrap();
        assert_eq!(methods.len(), 6);
        for method in methods {
            let label = method["label"].as_str().unwrap();
            assert!(table.contains(label) && page.contains(label), "{label}");
            let run = &method["runs"][1];
            let masked = method["config"].get("mask").is_some();
            assert_eq!(
                run["scores"]["teacher_accuracy"].is_number(),
                masked,
                "{label}"
            );
            assert_eq!(run["class_scores"].as_array().unwrap().len(), 10);
            let best = run["scores"]["best"].as_f64().unwrap();
            assert!(best >= run["scores"]["top1"].as_f64().unwrap());
            let name = format!("{key}-{}-s1.safetensors", method["key"].as_str().unwrap());
            assert!(out.join(&name).is_file(), "{name}");
        }
        let against = pair["comparisons"].as_array().unwrap().iter();
        let top1 = against.filter(|c| c["measure"]["key"] == "top1").count();
        // All others against source-only, MIC against SDAT and against ratio 0.
        assert_eq!(top1, 5 + 2);
    }
    assert_ne!(
        pairs[0]["methods"][3]["runs"],
        pairs[1]["methods"][3]["runs"]
    );
    // A sheet of images and six matrices for each direction.
    assert_eq!(page.matches("data:image/png;base64,").count(), 2 * 7);
    stands_alone(&page);
    for text in [
        "±",
        "accuracy",
        "This is the miniature, not the paper",
        "92.8 %",
    ] {
        assert!(table.contains(text) && page.contains(text), "{text}");
    }
}

#[test]
fn numbers_depend_on_the_seed_and_not_on_the_loader_threads() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, more: &str| {
        let out = folder.path().join(name);
        succeed(&format!("{SMALL} --methods sdat,mic {more}"), &out);
        let results = results(&out);
        let runs = |method: usize| {
            let run = &results["pairs"][0]["methods"][method]["runs"][0];
            (run["scores"].clone(), run["scalars"].clone())
        };
        [runs(0), runs(1)]
    };
    let one = run("one", "--loader-threads 1 --seeds 3");
    assert_eq!(one, run("two", "--loader-threads 2 --seeds 3"));
    assert_ne!(one, run("other", "--loader-threads 1 --seeds 4"));
    assert_ne!(one[0], one[1], "MIC does nothing");
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_to_do() {
    refused(&[
        (
            "reproduce cls --data-root /no/where",
            "mnist-train-images-idx3-ubyte",
        ),
        ("reproduce cls --methods best", "cdan-mcc"),
        ("reproduce cls --methods sdat --gate", "leaves one out"),
        ("reproduce cls --iterations 0", "train.iterations"),
        ("reproduce cls --set mask.ratoi=1", "mask.ratio"),
    ]);
}

#[test]
fn a_cluster_gets_one_element_a_seed() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let line = format!("{SMALL} --seeds 2,5 --submit slurm --dry-run --slurm time=1:00:00");
    let script = succeed(&line, &out);
    assert!(
        script.contains("mic-cls") && script.contains("--array=0-1"),
        "{script}"
    );
    assert!(!out.exists());
}
