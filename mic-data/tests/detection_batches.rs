//! Domains, batches and checks of detection.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod coco;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use coco::{annotation, document, open_coco, write_coco, write_image};
use mic_data::detection::*;
use mic_data::findings::Severity;
use mic_data::{Error, OrderedLoader, UnlabelledSet};
use serde_json::{Value, json};

/// Seven wide and four high images with a car each.
fn pipeline_document() -> Value {
    let image = |id: u64| match id % 3 {
        0 => json!({"id": id, "width": 20, "height": 40, "file_name": format!("{id}.png")}),
        _ => json!({"id": id, "width": 40, "height": 20, "file_name": format!("{id}.png")}),
    };
    let images: Vec<Value> = (0..11).map(image).collect();
    let boxes = (0..11).map(|id| annotation(id, id, 1, [2.0, 3.0, 6.0, 8.0]));
    json!({
        "images": images,
        "annotations": boxes.collect::<Vec<_>>(),
        "categories": [{"id": 1, "name": "car"}],
    })
}

fn pipeline(root: &Path, batch: usize, rank: (usize, usize)) -> DetectionPipeline {
    let text = format!(
        "batch = {batch}\ntransform.resize.min_sizes = [30, 36]\ntransform.resize.max_size = 70\n\
         transform.divisor = 16"
    );
    let config: DetectionPipelineConfig = toml::from_str(&text).unwrap();
    let source = Arc::new(open_coco(root, None).unwrap());
    let images = DetectionConfig::Images {
        root: root.join("images"),
        suffix: ".png".to_owned(),
    };
    let target = open_detection_images(&images, false, 1).unwrap();
    DetectionPipeline::new(source, Some(target), config, 3, rank).unwrap()
}

fn text(batch: &DetectionBatch) -> String {
    let target = batch.target.as_ref().unwrap();
    let values = |tensor: &candle_core::Tensor| -> f64 {
        let flat = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        flat.iter()
            .enumerate()
            .map(|(i, v)| f64::from(*v) * (i as f64).sin())
            .sum()
    };
    format!(
        "{:?} {:?} {:?} {:?} {} {:?} {:?} {}",
        batch.source.image.dims(),
        batch.source.sizes,
        batch.source.names,
        batch.source.objects,
        values(&batch.source.image),
        target.sizes,
        target.names,
        values(&target.image)
    )
}

#[test]
fn batches_are_the_same_for_every_number_of_threads_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    write_coco(folder.path(), &pipeline_document());
    let open = || pipeline(folder.path(), 2, (0, 1));
    let expected: Vec<_> = (0..14)
        .map(|step| text(&open().batch(step).unwrap()))
        .collect();
    for (threads, start) in [(1, 0), (2, 0), (8, 0), (2, 5)] {
        let pipeline = open();
        let loader = OrderedLoader::new(start, threads, move |step| pipeline.batch(step));
        let made = loader
            .take(14 - start as usize)
            .map(|batch| text(&batch.unwrap()));
        assert!(
            made.eq(expected[start as usize..].iter().cloned()),
            "{threads} threads"
        );
    }
}

#[test]
fn boxes_stay_on_their_pixels_and_shapes_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    write_coco(folder.path(), &pipeline_document());
    let pipeline = pipeline(folder.path(), 2, (0, 1));
    let mean = pipeline.config().transform.mean;
    let mut flipped = 0;
    for step in 0..24 {
        let batch = pipeline.batch(step).unwrap().source;
        let wide = batch.sizes.iter().filter(|size| size.0 > size.1).count();
        assert!(wide == 0 || wide == batch.sizes.len());
        let (_, _, height, width) = batch.image.dims4().unwrap();
        assert!(height % 16 == 0 && width % 16 == 0);
        let pixels = batch.image.to_vec1_of_images();
        for ((size, objects), planes) in batch.sizes.iter().zip(&batch.objects).zip(pixels) {
            let [x1, y1, x2, y2] = objects.boxes.corners[0];
            let scale = size.0 as f32 / if size.0 > size.1 { 40.0 } else { 20.0 };
            // Red holds the column and green the line of the stored image.
            let value = |plane: usize, x: f32, y: f32| {
                let place = y.round() as usize * width + x.round() as usize;
                planes[plane * height * width + place] + mean[plane]
            };
            let (left, right) = (value(2, x1, y1), value(2, x2, y1));
            flipped += u32::from(left > right);
            let (least, most) = (left.min(right), left.max(right));
            assert!(
                (least - 2.0).abs() < 1.2 && (most - 7.0).abs() < 1.2,
                "{least} {most}"
            );
            let (top, bottom) = (value(1, x1, y1), value(1, x1, y2));
            assert!(
                (top - 3.0).abs() < 1.2 && (bottom - 10.0).abs() < 1.2,
                "{top} {bottom}"
            );
            assert!((x2 - x1 - 5.0 * scale).abs() < 0.2);
        }
    }
    assert!((8..40).contains(&flipped), "{flipped}");
}

trait Images {
    /// The values of each image of a batch.
    fn to_vec1_of_images(&self) -> Vec<Vec<f32>>;
}

impl Images for candle_core::Tensor {
    fn to_vec1_of_images(&self) -> Vec<Vec<f32>> {
        let batch = self.dims()[0];
        let image = |index| {
            self.get(index)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1()
                .unwrap()
        };
        (0..batch).map(image).collect()
    }
}

#[test]
fn ranks_share_the_batches_of_one_rank() {
    let folder = tempfile::tempdir().unwrap();
    write_coco(folder.path(), &pipeline_document());
    let whole = pipeline(folder.path(), 2, (0, 1));
    let parts = [0, 1].map(|rank| pipeline(folder.path(), 1, (rank, 2)));
    let mut seen = std::collections::HashSet::new();
    for step in 0..7 {
        let [first, second] = [0, 1].map(|rank: usize| parts[rank].batch(step).unwrap());
        let both = whole.batch(step).unwrap();
        let joined = |a: &[String], b: &[String]| [a, b].concat();
        let names = joined(&first.source.names, &second.source.names);
        assert_eq!(names, both.source.names);
        let objects = [first.source.objects, second.source.objects].concat();
        assert_eq!(objects, both.source.objects);
        let sizes = [first.source.sizes, second.source.sizes].concat();
        assert_eq!(sizes, both.source.sizes);
        let [first, second, both] = [first.target, second.target, both.target].map(Option::unwrap);
        assert_eq!(joined(&first.names, &second.names), both.names);
        assert_eq!([first.sizes, second.sizes].concat(), both.sizes);
        seen.extend(names);
    }
    // 7 wide and 4 high images are 4 and 2 batches of two, one filled up.
    assert_eq!(seen.len(), 11);
}

#[test]
fn domains_are_chosen_by_annotations_only_where_asked() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write_coco(root, &document());
    let set = format!(
        "kind = \"coco\"\nimages = {:?}\nannotations = {:?}\n",
        root.join("images"),
        root.join("annotations.json")
    );
    let images = format!("kind = \"images\"\nroot = {root:?}\nsuffix = \".png\"\n");
    let lens = |options: &str, target: &str| {
        let text = format!("{options}\n[[source]]\n{set}[[source]]\n{set}[[target]]\n{target}");
        let config: DetectionDomainsConfig = toml::from_str(&text).unwrap();
        let (source, target) = config.open(1)?;
        Ok::<_, Error>((source.len(), target.unwrap().len()))
    };
    assert_eq!(lens("", &set).unwrap(), (2, 3));
    assert_eq!(lens("source_usable_only = false", &images).unwrap(), (6, 3));
    assert_eq!(lens("target_usable_only = true", &set).unwrap(), (2, 1));
    let error = lens("target_usable_only = true", &images)
        .unwrap_err()
        .to_string();
    assert!(error.contains("without annotations"), "{error}");
}

#[test]
fn images_that_would_grow_beyond_measure_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write_image(&root.join("line.png"), 30_000, 2, 0);
    let transform: DetectionTransform = toml::from_str("resize.min_sizes = [800]").unwrap();
    assert_eq!(transform.resize.max_size, None);
    let image = image::open(root.join("line.png")).unwrap().into_rgb8();
    let error = transform.apply_image(&image, 800).unwrap_err().to_string();
    assert!(
        error.contains("30000 x 2") && error.contains("max_size"),
        "{error}"
    );
}

#[test]
fn a_check_counts_boxes_and_names_bad_files() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut document = document();
    document["annotations"][2]["bbox"] = json!([2.0, 3.0, 0.5, 5.0]);
    write_coco(root, &document);
    fs::write(root.join("images/two.png"), b"nothing").unwrap();
    let findings = check_detection(&open_coco(root, None).unwrap(), 2).unwrap();
    assert_eq!(
        findings.counts,
        [("car".to_owned(), 2), ("person".to_owned(), 1)]
    );
    assert!(findings.has_errors());
    let found = |severity, text: &str| {
        let hit = findings.findings.iter().filter(|f| f.severity == severity);
        assert_eq!(
            hit.filter(|f| f.message.contains(text)).count(),
            1,
            "{findings:?}"
        );
    };
    found(Severity::Error, "two.png");
    found(Severity::Warning, "object 11 has the box");
    found(Severity::Warning, "without extent");
    found(Severity::Note, "1 of the 3 images have no object");
}
