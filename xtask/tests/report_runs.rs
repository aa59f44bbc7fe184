//! `cargo xtask report` over small recorded results.

// Helpers of tests may panic as tests do.
#![allow(clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/recorded/report");

fn xtask(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(arguments).output().expect("xtask starts")
}

fn report(folder: &Path, out: &Path) -> (String, String) {
    let arguments = ["report", &text(folder), "--out", &text(out)];
    let output = xtask(&arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let read = |name: &str| fs::read_to_string(out.join(name)).expect("written");
    (read("report.md"), read("report.html"))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A run folder of a carried configuration with these class IoUs.
fn run(folder: &Path, name: &str, config: (&str, &[&str]), classes: &[f64]) -> PathBuf {
    let (file, sets) = config;
    let mut arguments = vec!["program", "seg", "config", "show", file];
    for set in sets {
        arguments.extend(["--set", set]);
    }
    let shown = xtask(&arguments);
    assert!(
        shown.status.success(),
        "{}",
        String::from_utf8_lossy(&shown.stderr)
    );
    let config: toml::Table = String::from_utf8_lossy(&shown.stdout)
        .parse()
        .expect("TOML");
    let seed = config["seed"].as_integer().expect("a seed");
    let path = folder.join(name);
    fs::create_dir_all(&path).expect("a folder");
    let put = |name: &str, text: String| fs::write(path.join(name), text).expect("written");
    put("config.toml", toml::to_string(&config).expect("TOML"));
    put(
        "run.json",
        format!("{{\"program\": \"mic-seg\", \"version\": \"0.1.0\", \"seed\": {seed}}}"),
    );
    put("events.jsonl", String::new());
    if classes.is_empty() {
        return path;
    }
    let mean = classes.iter().sum::<f64>() / classes.len() as f64;
    let names = mic_data::Classes::cityscapes().names().to_vec();
    let at = |step: u64, share: f64| {
        serde_json::json!({
            "step": step, "main": "mIoU", "scores": {"mIoU": share * mean}, "classes": names,
            "class_scores": {"IoU": classes.iter().map(|c| share * c).collect::<Vec<_>>()},
            "seconds": 1.0
        })
    };
    let metrics = serde_json::json!({
        "program": "mic-seg", "seed": seed, "test": at(40_000, 1.0),
        "evaluations": [at(20_000, 0.9), at(40_000, 1.0)],
        "seconds_per_step": 2.5, "peak_memory_bytes": 1_u64 << 33
    });
    put("metrics.json", metrics.to_string());
    path
}

fn classes(level: f64) -> Vec<f64> {
    vec![level; 19]
}

#[test]
fn runs_stand_beside_the_paper_and_what_is_wrong_is_marked() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    let mut fallen = classes(0.78);
    fallen[16] = 0.0;
    let hrda = |seed: &'static str, classes: &[f64]| {
        run(
            &runs,
            &format!("hrda-{seed}"),
            ("gta2cs_mic_hrda", &[seed]),
            classes,
        )
    };
    hrda("seed=0", &classes(0.76));
    hrda("seed=2", &fallen);
    run(
        &runs,
        "syn",
        ("synthia2cs_mic_hrda", &["seed=1"]),
        &classes(0.5),
    );
    run(&runs, "going", ("cs2acdc_mic_hrda", &["seed=0"]), &[]);
    run(
        &runs,
        "own",
        ("gta2cs_mic_hrda", &["train.batch=1"]),
        &classes(0.3),
    );
    let (markdown, page) = report(&runs, &folder.path().join("out"));
    let row = |part: &str| {
        let found = markdown
            .lines()
            .find(|line| line.starts_with('|') && line.contains(part));
        found
            .unwrap_or_else(|| panic!("{part} in {markdown}"))
            .to_owned()
    };
    let gta = row("GTA to Cityscapes");
    // (76 + 78 * 18 / 19) / 2.
    assert!(
        gta.contains("74.9 ± 1.5") && gta.contains("| 75.9 |"),
        "{gta}"
    );
    assert!(
        gta.contains("**n = 2 (0, 2); missing 1**") && gta.contains("| -1.0 |"),
        "{gta}"
    );
    let synthia = row("SYNTHIA to Cityscapes");
    assert!(synthia.contains("| 50.0 |") && synthia.contains("| 67.3, 16 classes |"));
    assert!(row("Cityscapes to ACDC").contains("none finished; seed 0 is not finished"));
    let dark = row("Cityscapes to Dark Zurich");
    assert!(
        dark.contains("**no run**") && dark.contains("unverified transcription"),
        "{dark}"
    );
    let train = row("| train |");
    assert!(
        train.contains("collapsed at seed 2**") && train.contains("80.4"),
        "{train}"
    );
    for part in [
        "75.62, 76.03, 75.90 (mean 75.85)",
        "single runs of the authors",
    ] {
        assert!(markdown.contains(part) && page.contains(part), "{part}");
    }
    assert!(row("own").contains("none of the paper's"), "{markdown}");
    assert!(page.contains("class=\"fallen\""));
    assert_eq!(page.matches("<svg").count(), 1);
    self_contained(&page);
}

#[test]
fn ablations_of_the_mask_become_a_heat_map() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    let grid = |name: &str, set: &'static str, level: f64| {
        let file = format!("ablations/gta2cs_mic_daformer_{name}");
        run(
            &runs,
            &format!("{name}-{set}"),
            (&file, &[set]),
            &classes(level),
        );
    };
    grid("b16_r03", "seed=0", 0.61);
    grid("b16_r05", "seed=0", 0.62);
    grid("b64_r05", "seed=0", 0.65);
    grid("b64_r05", "seed=1", 0.67);
    let (markdown, page) = report(&runs, &folder.path().join("out"));
    assert!(
        markdown.contains("| block | ratio 0.3 | ratio 0.5 |"),
        "{markdown}"
    );
    assert!(
        markdown.contains("| 16 | 61.0 (n=1) | 62.0 (n=1) |"),
        "{markdown}"
    );
    assert!(markdown.contains("| 64 | - | 66.0 (n=2) |"), "{markdown}");
    assert!(page.contains("--v: 100\">66.0"), "{page}");
    self_contained(&page);
}

#[test]
fn recorded_miniatures_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let (markdown, page) = report(Path::new(RECORDED), &out);
    for part in [
        "self-training + MIC",
        "This is the miniature, not the paper",
        "±",
    ] {
        assert!(markdown.contains(part) && page.contains(part), "{part}");
    }
    self_contained(&page);
}

#[test]
fn folders_without_runs_and_damaged_files_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let empty = text(folder.path());
    for (dir, hint) in [
        (empty.as_str(), "there is no run"),
        ("/no/where", "/no/where"),
    ] {
        let output = xtask(&["report", dir, "--out", &format!("{empty}/out")]);
        assert_eq!(output.status.code(), Some(2));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains(hint), "{errors}");
    }
    let path = run(folder.path(), "a", ("gta2cs_hrda", &[]), &classes(0.5));
    fs::write(folder.path().join("results.json"), "{}").unwrap();
    let broken = run(
        folder.path(),
        "b",
        ("gta2cs_hrda", &["seed=1"]),
        &classes(0.5),
    );
    fs::write(broken.join("metrics.json"), "{\"test\": ").unwrap();
    let (markdown, _) = report(folder.path(), &path.join("../out"));
    for part in [
        "## Left out",
        "results.json is damaged",
        "metrics.json is damaged",
        "| 73.8 |",
    ] {
        assert!(markdown.contains(part), "{part} in {markdown}");
    }
}

fn self_contained(page: &str) {
    for outside in ["http:", "https:", "@import", "url(", "<script", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    for element in ["section", "table", "svg", "details", "ul", "p"] {
        let opened = page.matches(&format!("<{element}>")).count()
            + page.matches(&format!("<{element} ")).count();
        let closed = page.matches(&format!("</{element}>")).count();
        assert_eq!(opened, closed, "{element}");
    }
}
