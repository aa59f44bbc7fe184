//! A made-up finished run for tests.

use std::fs;
use std::path::Path;

use crate::record::{Evaluation, Event, StepRecord};

/// 20 steps of half a second; mIoU falls to `score` after 20 steps from a little more after 10.
pub(crate) fn run(folder: &Path, score: f64) {
    fs::create_dir_all(folder).unwrap();
    let put = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    put(
        "config.toml",
        &format!("seed = 7\n[train]\niterations = 20\nlr = {score}\n"),
    );
    put(
        "run.json",
        r#"{"program": "mic-test", "version": "0.1.0", "commit": "abc", "machine": "a machine",
            "seed": 7, "starts": [{"step": 0, "time": "2000-01-01 00:00:00 UTC",
            "command": "mic-test train <x>", "process": 1}]}"#,
    );
    put("metrics.json", r#"{"mIoU": 0.5}"#);
    let lines = events(score);
    let lines = lines
        .iter()
        .map(|event| serde_json::to_string(event).unwrap() + "\n");
    put("events.jsonl", &lines.collect::<String>());
}

pub(crate) fn events(score: f64) -> Vec<Event> {
    let step = |step: u64| {
        let scalars = [
            ("loss".to_owned(), 1.0 / (step + 1) as f64),
            ("data.seconds".to_owned(), 0.125),
        ];
        Event::Step(StepRecord {
            step,
            scalars: scalars.into(),
            lr: 1e-4,
            seconds: 0.5,
        })
    };
    let evaluation = |step: u64, score: f64, train: f64| {
        Event::Evaluation(Evaluation {
            step,
            main: "mIoU".into(),
            scores: [
                ("mIoU".to_owned(), Some(score)),
                ("mAcc".to_owned(), Some(score + 0.1)),
            ]
            .into(),
            classes: ["road", "train", "absent"].map(str::to_owned).into(),
            class_scores: [("IoU".to_owned(), vec![Some(score), Some(train), None])].into(),
            seconds: 3.0,
        })
    };
    let mut events = vec![Event::Start {
        step: 0,
        time: 946_684_800.0,
        command: "mic-test train <x>".into(),
    }];
    events.extend((0..10).map(step));
    events.push(evaluation(10, score + 0.05, 0.4));
    events.push(Event::Note {
        step: 10,
        text: "a <note>".into(),
    });
    events.extend((10..20).map(step));
    events.push(evaluation(20, score, 0.01));
    events.push(Event::Checkpoint {
        step: 20,
        path: "checkpoints/step-00000020".into(),
        bytes: 1 << 20,
        seconds: 0.5,
        stopped: 0.01,
    });
    events.push(Event::Stop {
        step: 20,
        reason: "finished".into(),
        peak_memory: Some(1 << 30),
    });
    events
}
