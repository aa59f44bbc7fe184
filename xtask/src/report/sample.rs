//! Made-up results for tests of the report.

use std::collections::BTreeMap;

use image::{Rgb, RgbImage};

use super::{Gallery, GalleryRow};
use crate::reproduce::results::{
    ClassEntry, Evaluation, Iterations, Measure, MethodRuns, Notes, PairRuns, Provenance, Results,
    Run, Timing, compare,
};

/// Three methods, the first without a teacher, and a class that is absent.
pub(crate) fn results(seeds: u64) -> Results {
    let classes = [
        ("road", [128, 64, 128]),
        ("traffic light", [250, 170, 30]),
        ("train", [0, 80, 100]),
    ];
    let methods: Vec<MethodRuns> = ["source <only>", "self-training", "self-training + MIC"]
        .iter()
        .enumerate()
        .map(|(index, label)| method(label, index, seeds))
        .collect();
    let measures = vec![
        Measure::new("miou", "mIoU"),
        Measure::new("pixel_accuracy", "pixel acc."),
        Measure::new("teacher_accuracy", "teacher acc."),
    ];
    Results {
        what: "Made-up numbers & names".into(),
        program: "mic-seg".into(),
        config_file: "configs/made-up.toml".into(),
        class_measure: "IoU".into(),
        classes: classes
            .map(|(name, colour)| ClassEntry {
                name: name.into(),
                colour,
            })
            .to_vec(),
        seeds: (0..seeds).collect(),
        iterations: Iterations {
            warmup: 40,
            adaptation: 30,
        },
        pairs: vec![PairRuns {
            key: String::new(),
            label: String::new(),
            data: "made-up images".into(),
            warmup: Some(method("warm-up", 0, seeds)),
            comparisons: compare(&methods[2], &methods[1], &measures),
            methods,
        }],
        measures,
        notes: Notes {
            paper_scale: "made-up costs".into(),
            ..Notes::default()
        },
        provenance: Provenance {
            command: "cargo xtask reproduce seg --seeds '0,1'".into(),
            started: "2000-01-01 00:00:00 UTC".into(),
            version: "0.0.0".into(),
            commit: None,
            machine: "a machine".into(),
        },
    }
}

fn method(label: &str, index: usize, seeds: u64) -> MethodRuns {
    let config = toml::Table::from_iter([("seed".to_owned(), toml::Value::Integer(0))]);
    MethodRuns {
        key: label.replace(' ', "-"),
        label: label.into(),
        note: format!("note on {label}"),
        overrides: vec![format!("method.kind={index}")],
        config,
        runs: (0..seeds).map(|seed| run(index, seed)).collect(),
    }
}

fn run(method: usize, seed: u64) -> Run {
    // Not equally spaced, so that paired differences have a spread.
    let quality = 0.3 + 0.05 * method as f64 + 0.011 * (seed * seed + seed * method as u64) as f64;
    let falling = |scale: f64| {
        let value = move |i: u32| scale * (1.0 + seed as f64 / 10.0) / (1.0 + f64::from(i) / 9.0);
        (0..30).map(|i| Some(value(i))).collect::<Vec<_>>()
    };
    let mut scalars = BTreeMap::from([("decode.loss_seg".to_owned(), falling(2.0))]);
    if method > 0 {
        scalars.insert("mix.decode.loss_seg".into(), falling(3.0));
        scalars.insert("pseudo.weight".into(), falling(1.0));
    }
    let mut last = scores(quality);
    if method > 0 {
        last.insert("teacher_accuracy".into(), quality + 0.2);
    }
    Run {
        seed,
        scores: last,
        class_scores: vec![Some(quality + 0.1), Some(quality - 0.1), None],
        evaluations: [(10, quality - 0.1), (20, quality - 0.05), (30, quality)]
            .map(|(step, quality)| Evaluation {
                step,
                scores: scores(quality),
            })
            .to_vec(),
        scalars,
        timing: Timing {
            seconds_per_step: 0.05 * (1 + method) as f64,
            seconds: 10.0,
            peak_memory: Some(300 << 20),
        },
    }
}

fn scores(quality: f64) -> BTreeMap<String, f64> {
    BTreeMap::from([
        ("miou".into(), quality),
        ("pixel_accuracy".into(), quality + 0.3),
    ])
}

/// Two rows of three pictures.
pub(super) fn gallery() -> Gallery {
    let picture = |shade: u8| RgbImage::from_fn(16, 8, |x, _| Rgb([shade, 16 * x as u8, 90]));
    let row = |name: &str| GalleryRow {
        name: name.into(),
        pictures: [0, 120, 250].map(picture).to_vec(),
    };
    Gallery {
        captions: ["image", "ground truth", "self-training + MIC"]
            .map(str::to_owned)
            .to_vec(),
        rows: vec![row("target-test-0"), row("target-test-1")],
        note: "Pictures of seed 0.".into(),
        coloured: true,
    }
}
