//! The real TensorBoard reads what is written, where Python has it.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::Path;
use std::process::Command;

use candle_core::{Device, Tensor};
use mic_run::histogram::Counted;
use mic_run::record::{Evaluation, Event, Picture, StepRecord};
use mic_run::tensorboard::TensorBoard;
use mic_run::watch::Watch;

/// Reads a folder with TensorBoard's own reader and prints what it finds as JSON.
const READER: &str = r#"
import json, sys
from tensorboard.backend.event_processing import event_accumulator as ea
sizes = {ea.SCALARS: 0, ea.IMAGES: 0, ea.HISTOGRAMS: 0, ea.TENSORS: 0}
board = ea.EventAccumulator(sys.argv[1], size_guidance=sizes)
board.Reload()
tags = board.Tags()
image = lambda i: [i.step, i.width, i.height, i.encoded_image_string.hex()]
histogram = lambda h: [h.step, h.histogram_value.min, h.histogram_value.max, h.histogram_value.num,
                       h.histogram_value.sum, h.histogram_value.sum_squares,
                       list(h.histogram_value.bucket_limit), list(h.histogram_value.bucket)]
print(json.dumps({
    "version": board.file_version,
    "scalars": {t: [[s.step, s.value] for s in board.Scalars(t)] for t in tags["scalars"]},
    "images": {t: [image(i) for i in board.Images(t)] for t in tags["images"]},
    "histograms": {t: [histogram(h) for h in board.Histograms(t)] for t in tags["histograms"]},
}))
"#;

fn python() -> Option<String> {
    let python = std::env::var("MIC_PYTHON").unwrap_or_else(|_| "python3".into());
    let found = Command::new(&python)
        .args(["-c", "import tensorboard"])
        .output();
    match found {
        Ok(output) if output.status.success() => Some(python),
        _ => {
            println!("skipped: {python} has no tensorboard; set MIC_PYTHON to one that has");
            None
        }
    }
}

fn read(python: &str, folder: &Path) -> serde_json::Value {
    let output = Command::new(python)
        .args(["-c", READER])
        .arg(folder)
        .env("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

fn start(step: u64) -> Event {
    Event::Start {
        step,
        time: 0.0,
        command: "train".into(),
    }
}

fn train(board: &mut TensorBoard, steps: std::ops::Range<u64>, offset: f64) {
    for step in steps {
        let scalars = [("loss".to_owned(), offset + step as f64)].into();
        board.event(&Event::Step(StepRecord {
            step,
            scalars,
            lr: 0.5,
            seconds: 0.25,
        }));
    }
}

fn evaluation(step: u64, miou: f64) -> Event {
    Event::Evaluation(Evaluation {
        step,
        main: "mIoU".into(),
        scores: [
            ("mIoU".to_owned(), Some(miou)),
            ("nothing".to_owned(), None),
        ]
        .into(),
        classes: vec!["road".into(), "train".into()],
        class_scores: [("IoU".to_owned(), vec![Some(miou), None])].into(),
        seconds: 2.0,
    })
}

#[test]
fn tensorboard_reads_scalars_pictures_and_histograms() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut board = TensorBoard::open(folder.path()).unwrap().every(10);
    board.event(&start(0));
    train(&mut board, 0..25, 0.0);
    board.event(&evaluation(25, 0.5));
    let picture = Picture {
        name: "test/a".into(),
        width: 3,
        height: 2,
        rgb: (0..18).collect(),
    };
    board.pictures(25, std::slice::from_ref(&picture));
    let weights = Tensor::new(&[0.0, 15.0, 30.0, f64::NAN], &Device::Cpu).unwrap();
    let counted = Counted::of("head.weight", &weights).unwrap().histogram;
    board.histograms(25, std::slice::from_ref(&counted));
    board.event(&Event::Stop {
        step: 25,
        reason: "finished".into(),
        peak_memory: None,
    });
    board.finish().unwrap();

    let found = read(&python, folder.path());
    assert_eq!(found["version"], 2.0);
    let scalars = &found["scalars"];
    let wanted = serde_json::json!([[10, 4.5], [20, 14.5], [25, 22.0]]);
    assert_eq!(scalars["train/loss"], wanted);
    assert_eq!(scalars["train/lr"][2], serde_json::json!([25, 0.5]));
    assert_eq!(scalars["train/seconds"][0], serde_json::json!([10, 0.25]));
    assert_eq!(scalars["evaluation/mIoU"], serde_json::json!([[25, 0.5]]));
    assert_eq!(scalars["IoU/road"], serde_json::json!([[25, 0.5]]));
    let tags: Vec<_> = scalars.as_object().unwrap().keys().collect();
    assert_eq!(tags.len(), 6, "absent scores are absent: {tags:?}");

    let bytes = mic_run::png::encode(&picture).unwrap();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let wanted = serde_json::json!([[25, 3, 2, hex]]);
    assert_eq!(found["images"]["test/a"], wanted);
    let wanted = serde_json::json!([[
        25,
        0.0,
        30.0,
        3.0,
        45.0,
        1125.0,
        counted.edges,
        counted.counts
    ]]);
    assert_eq!(found["histograms"]["head.weight"], wanted);
}

#[test]
fn a_resumed_run_replaces_what_the_killed_one_wrote_beyond() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut killed = TensorBoard::open(folder.path()).unwrap().every(10);
    killed.event(&start(0));
    train(&mut killed, 0..20, 0.0);
    killed.event(&evaluation(20, 0.25));
    train(&mut killed, 20..40, 0.0);
    killed.event(&evaluation(40, 0.75));
    // What is buffered when a process is killed is lost; the rest is on the disk.
    drop(killed);
    let mut resumed = TensorBoard::open(folder.path()).unwrap().every(10);
    resumed.event(&start(20));
    train(&mut resumed, 20..40, 1000.0);
    resumed.event(&evaluation(40, 0.5));
    resumed.finish().unwrap();

    let scalars = &read(&python, folder.path())["scalars"];
    let wanted = serde_json::json!([[10, 4.5], [20, 14.5], [30, 1024.5], [40, 1034.5]]);
    assert_eq!(scalars["train/loss"], wanted);
    let wanted = serde_json::json!([[20, 0.25], [40, 0.5]]);
    assert_eq!(scalars["evaluation/mIoU"], wanted);
}
