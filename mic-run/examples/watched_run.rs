//! A run of made-up numbers with everything that watches a run, and what the watching costs.
//!
//! `cargo run -p mic-run --example watched_run -- FOLDER [STEPS]`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{Device, Tensor};
use mic_run::events::EventLog;
use mic_run::histogram::Counted;
use mic_run::pictures::PictureFiles;
use mic_run::provenance::{Provenance, Start};
use mic_run::record::{Evaluation, Event, Picture, StepRecord};
use mic_run::report::ReportWriter;
use mic_run::tensorboard::TensorBoard;
use mic_run::watch::Watch;

const CLASSES: [&str; 19] = [
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
];

fn main() -> mic_run::Result<()> {
    let mut words = std::env::args().skip(1);
    let folder = words
        .next()
        .map_or_else(|| "runs/watched".into(), PathBuf::from);
    let steps = words
        .next()
        .and_then(|word| word.parse().ok())
        .unwrap_or(40_000);
    prepare(&folder, steps).map_err(|source| mic_run::Error::Io {
        path: folder.clone(),
        source,
    })?;
    let board = TensorBoard::open(&folder.join("tensorboard"))?;
    let mut watchers: [(&str, Box<dyn Watch>, f64); 4] = [
        (
            "events.jsonl",
            Box::new(EventLog::create(&folder.join("events.jsonl"))?),
            0.0,
        ),
        ("TensorBoard", Box::new(board), 0.0),
        ("pictures", Box::new(PictureFiles::new(&folder)), 0.0),
        ("report.html", Box::new(ReportWriter::open(&folder)?), 0.0),
    ];
    let mut tell = |event: &Event| {
        let step = matches!(event, Event::Step(_));
        for (_, watcher, seconds) in &mut watchers {
            let clock = Instant::now();
            watcher.event(event);
            if step {
                *seconds += clock.elapsed().as_secs_f64();
            }
        }
        if let Event::Evaluation(evaluation) = event {
            let pictures = [
                picture("test/0001", evaluation.step),
                picture("test/0002", evaluation.step),
            ];
            for (_, watcher, _) in &mut watchers {
                watcher.pictures(evaluation.step, &pictures);
            }
        }
    };
    let interrupted = steps / 5 * 3;
    for step in 0..steps {
        if step == 0 || step == interrupted {
            tell(&start(step));
        }
        tell(&Event::Step(record(step, steps)));
        let done = step + 1;
        if done.is_multiple_of((steps / 20).max(1)) {
            tell(&Event::Evaluation(evaluation(done, steps)));
            tell(&checkpoint(done));
        }
        if done == steps / 2 {
            tell(&Event::Note {
                step: done,
                text: "step left out: mix.decode.loss_seg is NaN".into(),
            });
        }
        if done == interrupted {
            tell(&stop(done, "stopped by a signal"));
        }
    }
    tell(&stop(steps, "finished"));
    let mut out = std::io::stdout();
    for (name, watcher, seconds) in &mut watchers {
        watcher.finish()?;
        let each = 1e6 * *seconds / steps as f64;
        let _ = writeln!(out, "{name}: {each:.2} us a step");
    }
    let weights = Tensor::randn(0f32, 1.0, 10_000_000, &Device::Cpu)?;
    let clock = Instant::now();
    let counted = Counted::of("weights", &weights)?;
    let each = 1e9 * clock.elapsed().as_secs_f64() / counted.histogram.moments.0;
    let _ = writeln!(out, "histogram: {each:.1} ns a value");
    let clock = Instant::now();
    mic_run::report::write(&folder)?;
    let _ = writeln!(
        out,
        "drawn from the files in {:.3} s",
        clock.elapsed().as_secs_f64()
    );
    Ok(())
}

fn prepare(folder: &Path, steps: u64) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let config = format!(
        "seed = 0\n\n[model]\nbackbone = \"mit_b5\"\n\n[train]\niterations = {steps}\nbatch = 2\n\
         eval_every = {}\n",
        steps / 20
    );
    std::fs::write(folder.join("config.toml"), config)?;
    let mut provenance = Provenance::here("watched_run", 0);
    provenance.starts = vec![Start::now(0), Start::now(steps / 5 * 3)];
    let text = serde_json::to_string_pretty(&provenance)?;
    std::fs::write(folder.join("run.json"), text)
}

fn start(step: u64) -> Event {
    Event::Start {
        step,
        time: mic_run::provenance::seconds_now() as f64,
        command: "watched_run".into(),
    }
}

fn stop(step: u64, reason: &str) -> Event {
    Event::Stop {
        step,
        reason: reason.into(),
        peak_memory: Some(19 << 30),
    }
}

/// A number from 0 to 1 that looks like chance.
fn noise(step: u64, what: u64) -> f64 {
    let mut bits = (step ^ what << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits ^= bits >> 29;
    bits = bits.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

fn record(step: u64, steps: u64) -> StepRecord {
    let t = step as f64 / steps as f64;
    let loss = |what, low: f64, high: f64| {
        let level = low + (high - low) * (-8.0 * t).exp();
        level * (0.6 + 0.8 * noise(step, what))
    };
    let mut scalars = mic_run::record::Scalars::new();
    for (what, (name, low, high)) in [
        ("decode.loss_seg", 0.12, 2.9),
        ("decode.acc_seg", 88.0, 20.0),
        ("src.loss_imnet_feat_dist", 0.05, 0.3),
        ("mix.decode.loss_seg", 0.25, 1.6),
        ("mix.decode.acc_seg", 80.0, 30.0),
        ("masked.decode.loss_seg", 0.3, 1.7),
        ("masked.decode.acc_seg", 75.0, 25.0),
        ("data.seconds", 0.02, 0.4),
    ]
    .into_iter()
    .enumerate()
    {
        scalars.insert(name.into(), loss(what as u64, low, high));
    }
    let weight = if step == steps / 2 {
        f64::NAN
    } else {
        0.9 - 0.9 * (-6.0 * t).exp()
    };
    scalars.insert("pseudo.weight".into(), weight);
    StepRecord {
        step,
        scalars,
        lr: 6e-5 * (step as f64 / 1500.0).min(1.0) * (1.0 - t),
        seconds: 1.4 + 0.3 * noise(step, 99) + if step.is_multiple_of(997) { 4.0 } else { 0.0 },
    }
}

fn evaluation(done: u64, steps: u64) -> Evaluation {
    let t = done as f64 / steps as f64;
    let class = |(index, name): (usize, &&str)| {
        let top = 0.35 + 0.6 * noise(index as u64, 7);
        let level = top * (1.0 - (-6.0 * t).exp()) + 0.02 * noise(done, index as u64);
        match *name {
            "train" if t > 0.55 => Some(0.004),
            "bus" => Some(0.0),
            "terrain" => None,
            _ => Some(level.min(1.0)),
        }
    };
    let iou: Vec<Option<f64>> = CLASSES.iter().enumerate().map(class).collect();
    let accuracy = iou.iter().map(|value| value.map(|v| v.sqrt())).collect();
    let present: Vec<f64> = iou.iter().flatten().copied().collect();
    let mean = present.iter().sum::<f64>() / present.len() as f64;
    Evaluation {
        step: done,
        main: "mIoU".into(),
        scores: [
            ("mIoU".to_owned(), Some(mean)),
            ("mAcc".to_owned(), Some(mean.sqrt())),
            (
                "pixel accuracy".to_owned(),
                Some(0.9 * (1.0 - (-9.0 * t).exp())),
            ),
        ]
        .into(),
        classes: CLASSES.map(str::to_owned).into(),
        class_scores: [("IoU".to_owned(), iou), ("Acc".to_owned(), accuracy)].into(),
        seconds: 95.0,
    }
}

fn checkpoint(done: u64) -> Event {
    Event::Checkpoint {
        step: done,
        path: format!("checkpoints/step-{done:08}"),
        bytes: 1_100_000_000,
        seconds: 2.4,
        stopped: 0.31,
    }
}

/// An image, its label and a prediction that gets better, side by side.
fn picture(name: &str, step: u64) -> Picture {
    let (width, height) = (768u32, 128u32);
    let mut rgb = Vec::with_capacity(3 * (width * height) as usize);
    for y in 0..height {
        for x in 0..width {
            let (panel, column) = (x / 256, x % 256);
            let wave = (f64::from(column) / 40.0 + name.len() as f64).sin() * 20.0;
            let sky = f64::from(y) < 50.0 + wave;
            let wrong = panel == 2
                && noise(u64::from(y / 8 * 64 + column / 8), 3) > (step as f64).log10() / 5.0;
            let colour = match (panel, sky != wrong) {
                (0, true) => [140, 170, 210],
                (0, false) => [96, 92, (80 + column / 8) as u8],
                (_, true) => [70, 130, 180],
                (_, false) => [128, 64, 128],
            };
            rgb.extend(colour);
        }
    }
    Picture {
        name: name.into(),
        width,
        height,
        rgb,
    }
}
