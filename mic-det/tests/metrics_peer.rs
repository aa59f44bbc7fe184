//! Average precision beside pycocotools, on random cases.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers outside #[test] functions

use std::io::Write;
use std::process::{Command, Stdio};

use mic_det::metrics::{CocoOptions, CocoScores, FoundBox, ImageBoxes, TrueBox, coco};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// Reads cases, prints the twelve figures of all categories and of each.
const PEER: &str = r#"
import contextlib, io, json, sys
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
def figures(truth, found, categories, limits):
    run = COCOeval(truth, found, "bbox")
    run.params.catIds = categories
    run.params.maxDets = limits
    run.evaluate()
    run.accumulate()
    run.summarize()
    # The first figure wants 100 detections, whatever the limits are.
    whole = run.eval["precision"][:, :, :, 0, -1]
    whole = whole[whole > -1]
    run.stats[0] = whole.mean() if whole.size else -1
    return list(run.stats)
answers = []
for case in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = case["truth"]
        truth.createIndex()
        found = truth.loadRes(case["found"])
        ids = [c["id"] for c in case["truth"]["categories"]]
        answers.append([figures(truth, found, s, case["limits"]) for s in [ids] + [[i] for i in ids]])
print(json.dumps(answers))
"#;

fn python() -> Option<String> {
    let python = std::env::var("MIC_PYTHON").unwrap_or_else(|_| "python3".into());
    let found = Command::new(&python)
        .args(["-c", "import pycocotools.cocoeval"])
        .output();
    match found {
        Ok(output) if output.status.success() => Some(python),
        _ => {
            println!("skipped: {python} has no pycocotools; set MIC_PYTHON to one that has");
            None
        }
    }
}

struct Case {
    images: Vec<ImageBoxes>,
    classes: usize,
    limits: [usize; 3],
}

/// Objects and detections near them, far from them, and of other classes. Half the cases have whole
/// numbers everywhere, so that overlaps, areas and scores tie often.
fn random_case(rng: &mut ChaCha8Rng, number: usize) -> Case {
    let whole = number.is_multiple_of(2);
    let value = |rng: &mut ChaCha8Rng, low: f64, high: f64| {
        let value = rng.random_range(low..high);
        if whole { value.round() } else { value }
    };
    let classes = rng.random_range(1..=5);
    let scale = [12.0, 60.0, 250.0][rng.random_range(0..3)];
    let mut id = number as u64 % 2;
    let mut images = Vec::new();
    for _ in 0..rng.random_range(1..=6) {
        let mut image = ImageBoxes::default();
        // The last class may have no object at all.
        for _ in 0..rng.random_range(0..9) {
            let sides = [value(rng, 1.0, scale), value(rng, 1.0, scale)];
            let xywh = [
                value(rng, 0.0, 90.0),
                value(rng, 0.0, 90.0),
                sides[0],
                sides[1],
            ];
            image.truth.push(TrueBox {
                label: rng.random_range(1..=classes.max(2) - 1) as u32,
                xywh,
                area: (sides[0] * sides[1] * rng.random_range(0.5..1.1)).round(),
                ignored: rng.random_bool(0.15),
                id,
            });
            id += 1;
        }
        let near = |rng: &mut ChaCha8Rng, xywh: [f64; 4], label: u32| {
            let jitter = scale * [0.0, 0.05, 0.2][rng.random_range(0..3)] + 1e-9;
            let mut xywh = xywh.map(|v| v + value(rng, -jitter, jitter));
            xywh[2] = xywh[2].max(1.0);
            xywh[3] = xywh[3].max(1.0);
            let other = rng.random_range(1..=classes) as u32;
            FoundBox {
                label: if rng.random_bool(0.8) { label } else { other },
                xywh,
                score: f64::from(rng.random_range(0..40u8)) / 40.0,
            }
        };
        for truth in image.truth.clone() {
            for _ in 0..rng.random_range(0..4) {
                image.found.push(near(rng, truth.xywh, truth.label));
            }
        }
        for _ in 0..rng.random_range(0..6) {
            let place = [
                value(rng, 0.0, 90.0),
                value(rng, 0.0, 90.0),
                scale,
                scale / 2.0,
            ];
            image.found.push(near(rng, place, 1));
        }
        images.push(image);
    }
    let limits = [[1, 10, 100], [1, 2, 4], [2, 3, 7]][number % 3];
    Case {
        images,
        classes,
        limits,
    }
}

/// The case as COCO files, with ids that are neither 1, 2, ... nor in order.
fn as_coco(case: &Case) -> Value {
    let category = |label: u32| 3 * label + 4;
    let image_id = |index: usize| 10 * index + 5;
    let (mut annotations, mut found) = (Vec::new(), Vec::new());
    for (index, image) in case.images.iter().enumerate() {
        annotations.extend(image.truth.iter().map(|t| {
            json!({
                "id": t.id, "image_id": image_id(index), "category_id": category(t.label),
                "bbox": t.xywh, "area": t.area, "iscrowd": u8::from(t.ignored),
            })
        }));
        found.extend(image.found.iter().map(|f| {
            json!({
                "image_id": image_id(index), "category_id": category(f.label),
                "bbox": f.xywh, "score": f.score,
            })
        }));
    }
    let images = (0..case.images.len())
        .rev()
        .map(|i| json!({"id": image_id(i)}));
    let categories = (1..=case.classes as u32).map(|l| json!({"id": category(l), "name": "x"}));
    json!({
        "truth": {
            "images": images.collect::<Vec<_>>(),
            "categories": categories.collect::<Vec<_>>(),
            "annotations": annotations,
        },
        "found": found,
        "limits": case.limits,
    })
}

fn peer(python: &str, cases: &[Case]) -> Value {
    let mut child = Command::new(python)
        .args(["-c", PEER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let input = Value::from_iter(cases.iter().map(as_coco)).to_string();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn compare(name: &str, ours: &CocoScores, theirs: &Value) -> usize {
    let mut measured = 0;
    for (place, (figure, value)) in ours.named().into_iter().enumerate() {
        let wanted = theirs[place].as_f64().unwrap();
        let value = value.unwrap_or(-1.0);
        assert!(
            (value - wanted).abs() <= 1e-6,
            "{name}, {figure}: {value}, pycocotools {wanted}"
        );
        measured += usize::from(wanted > 0.0 && wanted < 1.0);
    }
    measured
}

#[test]
fn a_hundred_random_cases_give_the_same_figures() {
    let Some(python) = python() else {
        return;
    };
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut cases: Vec<Case> = Vec::new();
    while cases.len() < 100 {
        let case = random_case(&mut rng, cases.len());
        // pycocotools refuses an empty list of detections.
        if case.images.iter().any(|image| !image.found.is_empty()) {
            cases.push(case);
        }
    }
    let theirs = peer(&python, &cases);
    let mut measured = 0;
    for (n, case) in cases.iter().enumerate() {
        let options = CocoOptions {
            limits: case.limits,
            ..CocoOptions::default()
        };
        let ours = coco(&case.images, case.classes, &options);
        measured += compare(&format!("case {n}, all"), &ours.all, &theirs[n][0]);
        for (place, class) in ours.classes.iter().enumerate() {
            let name = format!("case {n}, class {}", place + 1);
            measured += compare(&name, class, &theirs[n][place + 1]);
        }
    }
    assert!(
        measured > 1000,
        "only {measured} figures are neither 0 nor 1"
    );
}
