//! Average precision by hand.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use mic_det::metrics::{
    CocoOptions, FoundBox, ImageBoxes, Interpolation, Metrics, TrueBox, VocOptions, VocRule, coco,
    measure, voc,
};

fn truth(label: u32, xywh: [f64; 4], id: u64) -> TrueBox {
    TrueBox {
        label,
        xywh,
        area: xywh[2] * xywh[3],
        ignored: false,
        id,
    }
}

fn found(label: u32, xywh: [f64; 4], score: f64) -> FoundBox {
    FoundBox { label, xywh, score }
}

fn close(ours: Option<f64>, expected: f64) {
    let ours = ours.unwrap();
    assert!(
        (ours - expected).abs() < 1e-12,
        "{ours}, expected {expected}"
    );
}

/// Two objects; the first is found, then nothing, then the second with an overlap of 0.6.
fn small() -> Vec<ImageBoxes> {
    vec![
        ImageBoxes {
            truth: vec![truth(1, [10.0, 10.0, 20.0, 20.0], 1)],
            found: vec![
                found(1, [200.0, 10.0, 20.0, 20.0], 0.8),
                found(1, [10.0, 10.0, 20.0, 20.0], 0.9),
            ],
        },
        ImageBoxes {
            truth: vec![truth(1, [0.0, 0.0, 10.0, 10.0], 2)],
            found: vec![found(1, [0.0, 0.0, 10.0, 6.0], 0.7)],
        },
    ]
}

#[test]
fn a_small_case() {
    let ours = coco(&small(), 2, &CocoOptions::default());
    // Precision 1 up to recall 0.5 (51 of 101 points), then 2/3.
    let full = (51.0 + 50.0 * 2.0 / 3.0) / 101.0;
    close(ours.all.ap50, full);
    close(ours.all.ap75, 51.0 / 101.0);
    // 0.5, 0.55 and 0.6 find both objects.
    close(ours.all.ap, (3.0 * full + 7.0 * 51.0 / 101.0) / 10.0);
    close(ours.all.ar_1, (3.0 + 0.5 * 7.0) / 10.0);
    assert_eq!(ours.all.ap_large, None);
    assert_eq!(ours.classes[1].ap, None);

    let voc = |interpolation| {
        let options = VocOptions {
            interpolation,
            ..VocOptions::default()
        };
        voc(&small(), 2, &options)
    };
    close(voc(Interpolation::Area).mean, 0.5 + 0.5 * 2.0 / 3.0);
    close(
        voc(Interpolation::ElevenPoint).mean,
        (6.0 + 5.0 * 2.0 / 3.0) / 11.0,
    );
    assert_eq!(voc(Interpolation::Area).classes[1], None);
}

#[test]
fn crowds_count_neither_way() {
    let mut images = small();
    images[0].truth.push(TrueBox {
        ignored: true,
        ..truth(1, [190.0, 0.0, 100.0, 100.0], 3)
    });
    // The wrong detection lies within the crowd: it does not count any more.
    close(coco(&images, 1, &CocoOptions::default()).all.ap50, 1.0);
    assert_eq!(measure(&images, &["a".into()]).objects, [2]);
}

#[test]
fn what_cannot_be_compared_finds_nothing() {
    let nan = [f64::NAN, 0.0, 10.0, 10.0];
    let odd = vec![ImageBoxes {
        truth: vec![truth(1, [0.0, 0.0, 10.0, 10.0], 1)],
        found: vec![
            found(1, nan, 0.9),
            found(1, [0.0, 0.0, -5.0, 10.0], 0.8),
            found(1, [3.0, 3.0, 0.0, 0.0], f64::NAN),
            found(7, [0.0, 0.0, 10.0, 10.0], 1.0),
            found(0, [0.0, 0.0, 10.0, 10.0], 1.0),
        ],
    }];
    let names = ["a".to_owned()];
    let ours = measure(&odd, &names);
    assert_eq!((ours.coco.all.ap50, ours.voc.mean), (Some(0.0), Some(0.0)));
    for nothing in [Vec::new(), vec![ImageBoxes::default(); 2]] {
        let ours = measure(&nothing, &names);
        assert_eq!((ours.coco.all.ap50, ours.voc.mean), (None, None));
    }
}

#[test]
fn images_without_detections_may_be_left_out() {
    let mut images = small();
    images[1].found.clear();
    let options = VocOptions {
        rule: VocRule::Reference,
        ..VocOptions::default()
    };
    close(voc(&images, 1, &options).mean, 0.5);
    let options = VocOptions {
        skip_images_without_detections: true,
        ..options
    };
    close(voc(&images, 1, &options).mean, 1.0);
}

#[test]
fn the_reference_counts_sides_one_pixel_too_long() {
    // 10 x 10 and 10 x 5: 0.5; with a pixel more 66 / 121.
    let images = vec![ImageBoxes {
        truth: vec![truth(1, [0.0, 0.0, 10.0, 10.0], 1)],
        found: vec![found(1, [0.0, 0.0, 10.0, 5.0], 0.5)],
    }];
    let with = |rule| {
        let options = VocOptions {
            rule,
            threshold: 0.5,
            ..VocOptions::default()
        };
        voc(&images, 1, &options).mean
    };
    assert_eq!(with(VocRule::Devkit), Some(0.0));
    assert_eq!(with(VocRule::Reference), Some(1.0));
}

#[test]
fn tables_show_percentages_and_dashes() {
    let names = ["person".to_owned(), "car".to_owned()];
    let metrics: Metrics = measure(&small(), &names);
    let table = metrics.table();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("class   "), "{table}");
    assert!(lines[1].contains("83.50"), "{table}");
    assert!(
        lines[2].starts_with("car") && lines[2].contains("  -"),
        "{table}"
    );
    let widths: Vec<usize> = lines[..5].iter().map(|line| line.len()).collect();
    assert!(widths.iter().all(|&w| w == widths[0]), "{table}");
    let json = serde_json::to_value(&metrics).unwrap();
    assert_eq!(json["coco"]["classes"][1]["AP50"], serde_json::Value::Null);
    assert_eq!(json["objects"], serde_json::json!([2, 0]));
    let evaluation = metrics.evaluation();
    assert_eq!(evaluation.main_score(), metrics.coco.all.ap50);
    assert_eq!(evaluation.class_scores["AP50"][1], None);
}
