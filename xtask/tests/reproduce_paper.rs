//! The paper's runs from outside: lists, plans, refusals, the queue, and a trial on generated files.

// Helpers of tests may panic as tests do.
#![allow(clippy::expect_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// In an empty folder, where nothing of the paper's data is.
fn xtask(arguments: &str, folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("xtask starts")
}

fn succeed(arguments: &str, folder: &Path) -> (String, String) {
    let output = xtask(arguments, folder);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments}: {errors}");
    let text = String::from_utf8(output.stdout).expect("text");
    (text, errors)
}

fn refused(arguments: &str, folder: &Path) -> String {
    let output = xtask(arguments, folder);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments}: {errors}");
    errors
}

/// The fastest of three: the machine may be busy.
fn seconds(arguments: &str, folder: &Path) -> f64 {
    let once = || {
        let start = Instant::now();
        succeed(arguments, folder);
        start.elapsed()
    };
    let all: [Duration; 3] = std::array::from_fn(|_| once());
    all.into_iter().min().unwrap_or_default().as_secs_f64()
}

#[test]
fn lists_tell_methods_networks_pairs_and_published_scores() {
    let folder = tempfile::tempdir().unwrap();
    let (all, _) = succeed("reproduce seg --list", folder.path());
    for part in [
        "experiment 80 (table 2)",
        "experiment baselines",
        "HRDA + MIC",
        "DeepLabV2, ResNet-101",
        "Cityscapes -> Dark Zurich",
        "75.9 [S]",
        "60.2 [T] (test server)",
        "not checked against it again",
    ] {
        assert!(all.contains(part), "{part} in {all}");
    }
    let (one, _) = succeed("reproduce cls --list --table 3", folder.path());
    assert!(
        one.contains("visda_mae/sdat") && !one.contains("office_home"),
        "{one}"
    );
    let (det, _) = succeed("reproduce det --list", folder.path());
    assert!(det.contains("cityscapes2foggy_mic") && det.contains("published AP50"));
    assert!(seconds("reproduce seg --list", folder.path()) < 1.0);
}

#[test]
fn the_plan_of_experiment_80_has_12_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (plan, _) = succeed("reproduce seg --exp 80 --dry-run", folder.path());
    assert!(
        plan.starts_with("12 runs of mic-seg, 480 000 iterations"),
        "{plan}"
    );
    let names = plan
        .lines()
        .filter(|line| line.starts_with("  ") && line.ends_with("warm_s2"));
    assert_eq!(names.count(), 4, "{plan}");
    for part in [
        "gta2cs_mic_hrda",
        "40 000",
        "docs/performance.md",
        "data/gta/images (data.source: gta): cargo xtask fetch data gta tells where to get it",
        "weights/mit_b5.pth (model.pretrained): cargo xtask fetch weights mit-b5",
        "are free",
    ] {
        assert!(plan.contains(part), "{part} in {plan}");
    }
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        0,
        "it writes nothing"
    );
    assert!(seconds("reproduce seg --exp 80 --dry-run", folder.path()) < 1.0);
    let (table, _) = succeed("reproduce seg --table 2 --dry-run --seeds 5", folder.path());
    assert!(
        table.starts_with("4 runs") && table.contains("warm_s5"),
        "{table}"
    );
    let (unknown, _) = succeed(
        "reproduce seg --run gta2cs_mic_dacs_dlv2 --dry-run",
        folder.path(),
    );
    assert!(
        unknown.contains("not estimated: no step of this network"),
        "{unknown}"
    );
    let (main, _) = succeed("reproduce det --dry-run", folder.path());
    assert!(
        main.contains("trains the miniature") && main.contains("1 run of mic-det"),
        "{main}"
    );
}

#[test]
fn impossible_combinations_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("weights.pth"), "").unwrap();
    for (arguments, hints) in [
        ("seg --exp 86", vec!["80, 81", "baselines"]),
        ("cls --exp 80", vec!["seg has it"]),
        ("seg --table 3", vec!["1, 2, 6, 7, 8, 9", "cls has it"]),
        ("seg --exp 80 --table 8", vec!["--exp 80", "--table 8"]),
        (
            "seg --run gta2cs_mic_hdra",
            vec!["did you mean gta2cs_mic_hrda?", "known: "],
        ),
        (
            "seg --exp 80 --run gta2cs_hrda",
            vec!["cannot be used with"],
        ),
        ("seg --exp 80 --methods mic", vec!["--exp", "--methods"]),
        ("seg --exp 80 --iterations 5", vec!["--exp", "--iterations"]),
        (
            "seg --run gta2cs_hrda --source camvid:day",
            vec!["--run", "--source"],
        ),
        ("seg --dry-run --gate", vec!["--dry-run", "--gate"]),
        ("seg --exp 80 --seeds 1,1", vec!["every seed once"]),
        (
            "seg --exp 80 --only-eval none.pth --seeds 0",
            vec!["choose one with --run"],
        ),
        (
            "seg --only-eval weights.pth --seeds 0,1",
            vec!["one checkpoint", "--seeds"],
        ),
        ("seg --only-eval none.pth", vec!["none.pth"]),
        (
            "seg --only-eval weights.pth",
            vec!["data/cityscapes/leftImg8bit/val"],
        ),
        (
            "seg --only-eval weights.pth --smoke",
            vec!["cannot be used with"],
        ),
        ("seg --smoke --submit slurm", vec!["cannot be used with"]),
        (
            "seg --exp 80 --set mask.ratoi=1 --dry-run",
            vec!["mask.ratio"],
        ),
        ("seg --exp 80", vec!["data/gta/images", "fetch data gta"]),
        ("seg --run gta2cs_hrda --accept-changes", vec!["--resume"]),
    ] {
        let errors = refused(&format!("reproduce {arguments}"), folder.path());
        for hint in hints {
            assert!(errors.contains(hint), "{arguments}: {hint} in {errors}");
        }
        assert!(
            !folder.path().join("runs").exists(),
            "{arguments} left a folder behind"
        );
    }
}

#[test]
fn without_options_the_miniature_says_what_the_main_run_lacks() {
    let folder = tempfile::tempdir().unwrap();
    // What is wrong with --out is found after the notice and before any training.
    fs::write(folder.path().join("results.json"), "{}").unwrap();
    let errors = refused("reproduce cls --out .", folder.path());
    let first = errors.lines().next().unwrap_or_default();
    assert!(
        first.contains("the miniature") && first.contains("visda_vit/mic"),
        "{errors}"
    );
    for part in ["data/visda-2017/train", "fetch data visda-2017", "vit-base"] {
        assert!(errors.contains(part), "{part} in {errors}");
    }
}

#[test]
fn an_array_has_an_element_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let (script, _) = succeed(
        "reproduce seg --exp 80 --seeds 3 --set train.eval_every=9 --submit slurm --slurm time=2-00 \
         --dry-run",
        folder.path(),
    );
    assert!(
        script.contains("--array=0-3") && script.contains("--time=2-00"),
        "{script}"
    );
    let element = "reproduce seg --run cs2acdc_mic_hrda --seeds 3 --out runs/seg-paper --set \
                   train.eval_every=9";
    let plain = script.replace('\'', "");
    assert!(plain.contains(element), "{script}");
    assert!(plain.contains("again=(--resume)"), "{script}");
}

/// Options that make the source-only run of segmentation a matter of a second: scenes in place of
/// files, and the smallest network.
const TINY: &str = "--set data.source={kind=\"scenes\",domain=\"source\",count=4,size=[64,32]} \
    --set data.target= --set data.test={kind=\"scenes\",domain=\"target\",split=\"test\",count=2,size=[64,32]} \
    --set data.rare_class_sampling= --set data.crop=[64,32] --set data.cat_max_ratio=1.0 \
    --set data.loader_threads=0 --set model.backbone=mit_mini --set model.pretrained= \
    --set model.head_channels=16 --set train.batch=1 --set train.iterations=4 --set train.eval_every=4 \
    --set run.checkpoint_every=2 --set optimizer.warmup=0 --set run.tensorboard=false";

#[test]
fn the_queue_skips_resumes_and_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let line = format!("reproduce seg --run gta2cs_source_only --seeds 0,1 --out q {TINY}");
    let (first, _) = succeed(&line, here);
    let name = |seed: u64| format!("gta2cs_source-only_daformer_sepaspp_mitb5_poly10warm_s{seed}");
    assert!(
        first.contains(&name(0)) && first.contains(&name(1)),
        "{first}"
    );
    let run = |seed: u64| here.join("q").join(name(seed));
    let weights = |seed: u64| fs::read(run(seed).join("checkpoint.safetensors")).expect("weights");
    let (zero, one) = (weights(0), weights(1));
    assert_ne!(zero, one);
    let written = fs::metadata(run(0).join("metrics.json"))
        .unwrap()
        .modified()
        .unwrap();

    // As if it had been killed after its first checkpoint.
    fs::remove_dir_all(run(1).join("checkpoints/step-00000004")).unwrap();
    fs::remove_file(run(1).join("metrics.json")).unwrap();
    let errors = refused(&line, here);
    assert!(
        errors.contains("--resume") && errors.contains(&name(1)),
        "{errors}"
    );
    let (plan, _) = succeed(&format!("{line} --dry-run"), here);
    assert!(
        plan.contains("finished: left alone") && plan.contains("unfinished at 2"),
        "{plan}"
    );
    assert!(
        plan.contains("s a step of"),
        "from the finished run: {plan}"
    );
    let (second, told) = succeed(&format!("{line} --resume"), here);
    assert!(second.contains("finished before"), "{second}");
    assert!(told.contains("resuming at step 2"), "{told}");
    assert_eq!(weights(1), one, "the same as without interruption");
    let now = fs::metadata(run(0).join("metrics.json"))
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(now, written, "the finished run was left alone");

    // Another configuration, and another version.
    let errors = refused(&format!("{line} --set train.batch=2"), here);
    assert!(errors.contains("train.batch: 1 -> 2"), "{errors}");
    let path = run(0).join("run.json");
    let text = fs::read_to_string(&path).unwrap();
    let ours = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
    fs::write(&path, text.replace(&ours, "\"version\": \"0.0.1\"")).unwrap();
    let errors = refused(&line, here);
    assert!(errors.contains("of version 0.0.1"), "{errors}");
    succeed(&format!("{line} --resume --accept-changes"), here);

    // And something that is no run.
    fs::write(
        here.join("q").join(name(1)).join("config.toml"),
        "broken = ",
    )
    .unwrap();
    refused(&line, here);
}

/// The real layouts and sizes of the files; small networks.
#[test]
fn every_stage_of_a_small_segmentation_works_on_generated_files() {
    let folder = tempfile::tempdir().unwrap();
    let line = "reproduce seg --smoke --run gta2cs_mic_hrda --set data.source.resize=[160,90] \
        --set data.target.resize=[128,64] --set data.test.resize=[128,64] --set data.crop=[64,64] \
        --set data.target.crop_pseudo_margins= --set data.rare_class_sampling.min_pixels=1 \
        --set data.rare_class_sampling.min_crop_ratio=0.1 \
        --set model.backbone=mit_mini --set model.head_channels=16 --set model.hrda.crop=[32,32] \
        --set inference.window=[64,64] --set inference.stride=[32,32] --set mask.block=8 \
        --set train.batch=1 --set data.loader_threads=1 --set method.feature_distance=0";
    let (text, told) = succeed(line, folder.path());
    assert!(
        text.contains("gta2cs_mic_hrda") && text.contains("resume"),
        "{text}"
    );
    for stage in ["files", "training", "resume", "measurement", "prediction"] {
        assert!(told.contains(&format!("{stage}: done")), "{stage}: {told}");
    }
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing stays"
    );
}
