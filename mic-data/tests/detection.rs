//! Detection sets in their true layouts, and the batches made of them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use image::{Luma, Rgb, RgbImage};
use mic_data::OrderedLoader;
use mic_data::detection::*;
use mic_data::findings::Severity;
use mic_data::{Error, UnlabelledSet};
use serde_json::{Value, json};

fn names(classes: &[&str]) -> Vec<String> {
    classes.iter().map(|name| (*name).to_owned()).collect()
}

/// Every pixel holds (x, y, mark).
fn write_image(path: &Path, width: u32, height: u32, mark: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let image = RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, mark]));
    image.save(path).unwrap();
}

fn annotation(id: u64, image: u64, category: u64, bbox: [f64; 4]) -> Value {
    json!({"id": id, "image_id": image, "category_id": category, "bbox": bbox,
           "area": 7.5, "iscrowd": 0, "segmentation": [[1, 2, 3, 4]]})
}

/// Three images: wide with two objects, high with a crowd only, wide without objects.
fn document() -> Value {
    let mut crowd = annotation(9, 2, 30, [1.0, 1.0, 5.0, 5.0]);
    crowd["iscrowd"] = json!(1);
    json!({
        "info": {"year": 2026},
        "images": [
            {"id": 5, "width": 40, "height": 20, "file_name": "five.png"},
            {"id": 2, "width": 20, "height": 40, "file_name": "two.png"},
            {"id": 3, "width": 40, "height": 20, "file_name": "sub/three.png"},
        ],
        "annotations": [
            annotation(11, 5, 30, [30.0, 10.0, 20.0, 5.0]),
            crowd,
            annotation(10, 5, 7, [2.0, 3.0, 4.0, 5.0]),
        ],
        "categories": [{"id": 30, "name": "car"}, {"id": 7, "name": "person"}],
    })
}

fn write_coco(root: &Path, document: &Value) -> PathBuf {
    for image in document["images"].as_array().unwrap() {
        let side = |key: &str| image[key].as_u64().unwrap() as u32;
        let file = root
            .join("images")
            .join(image["file_name"].as_str().unwrap());
        write_image(&file, side("width"), side("height"), side("id") as u8);
    }
    let path = root.join("annotations.json");
    fs::write(&path, document.to_string()).unwrap();
    path
}

fn open_coco(root: &Path, classes: Option<&[String]>) -> mic_data::Result<CocoSet> {
    CocoSet::read(
        &root.join("annotations.json"),
        &root.join("images"),
        classes,
    )
}

#[test]
fn coco_images_come_by_id_with_their_objects() {
    let folder = tempfile::tempdir().unwrap();
    write_coco(folder.path(), &document());
    let set = open_coco(folder.path(), None).unwrap();
    assert_eq!(set.class_names(), names(&["car", "person"]));
    assert_eq!([0, 1, 2].map(|i| set.image_id(i)), [2, 3, 5]);
    let sample = set.get(2).unwrap();
    assert_eq!(
        (sample.name.as_str(), sample.image.dimensions()),
        ("five.png", (40, 20))
    );
    let objects = &sample.objects;
    assert_eq!(objects.labels, [1, 2]);
    assert_eq!(objects.ids, [11, 10]);
    assert_eq!(objects.areas, [7.5, 7.5]);
    assert_eq!(objects.boxes.corners[0], [30.0, 10.0, 49.0, 14.0]);
    // Training cuts at the border and leaves crowds out.
    let training = objects.clone().for_training();
    assert_eq!(training.boxes.corners[0], [30.0, 10.0, 39.0, 14.0]);
    assert!(set.objects(0).ignored[0] && set.objects(0).for_training().is_empty());
    assert_eq!(usable_images(&set), [2]);
    assert_eq!(Selected::usable(set).unwrap().name(0), "five.png");

    let chosen = names(&["person"]);
    let set = open_coco(folder.path(), Some(&chosen)).unwrap();
    assert_eq!(set.category_ids(), [7]);
    assert_eq!(
        (set.objects(2).labels, set.objects(2).ids),
        (vec![1], vec![10])
    );
    let error = open_coco(folder.path(), Some(&names(&["bus"])))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("\"bus\" is none of its categories [\"car\", \"person\"]"),
        "{error}"
    );
}

#[test]
fn broken_coco_files_are_refused_with_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("annotations.json");
    let refuse = |document: Value, expected: &str| {
        fs::write(&path, document.to_string()).unwrap();
        let error = open_coco(folder.path(), None).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} should tell {expected}");
        assert!(error.contains("annotations.json"), "{error}");
    };
    let change = |list: &str, place: usize, key: &str, value: Value| {
        let mut document = document();
        document[list][place][key] = value;
        document
    };
    let bad = |bbox: Value| change("annotations", 0, "bbox", bbox);
    refuse(bad(json!(null)), "annotation 11 has no \"bbox\"");
    refuse(bad(json!([1, 2, 3])), "line 1 column");
    refuse(
        bad(json!([1, 2, 3, 1e30])),
        "annotation 11 has the impossible box",
    );
    refuse(bad(json!("box")), "line 1 column");
    refuse(
        change("annotations", 0, "image_id", json!(77)),
        "annotation 11 is of image 77",
    );
    refuse(
        change("annotations", 0, "category_id", json!(8)),
        "annotation 11 is of category 8",
    );
    refuse(
        change("annotations", 0, "category_id", json!(null)),
        "no \"category_id\"",
    );
    refuse(
        change("annotations", 0, "id", json!(10)),
        "annotation id 10 is there twice",
    );
    refuse(
        change("annotations", 0, "id", json!(null)),
        "an annotation has no \"id\"",
    );
    refuse(
        change("images", 0, "id", json!(2)),
        "image id 2 is given to",
    );
    refuse(
        change("images", 0, "width", json!(0)),
        "\"five.png\" is 0 x 20",
    );
    refuse(change("images", 0, "height", json!(-3)), "line 1 column");
    refuse(
        change("images", 0, "file_name", json!(null)),
        "image 5 has no \"file_name\"",
    );
    refuse(
        change("categories", 0, "name", json!("person")),
        "\"person\" is there twice",
    );
    refuse(
        json!({"images": [], "annotations": [], "categories": []}),
        "no image",
    );
    refuse(json!({"images": []}), "missing field");
    refuse(json!([1, 2]), "annotations");
    let text = document().to_string();
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    let error = open_coco(folder.path(), None).unwrap_err();
    assert!(matches!(error, Error::Decode { .. }) && error.to_string().contains("cut short"));
}

#[test]
fn an_image_of_another_size_than_annotated_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_coco(folder.path(), &document());
    write_image(&folder.path().join("images/five.png"), 41, 20, 0);
    let set = open_coco(folder.path(), None).unwrap();
    let error = set.get(2).unwrap_err().to_string();
    assert!(error.contains("41 x 20, but 40 x 20"), "{error}");
}

fn voc_xml(name: &str, size: &str, objects: &[(&str, [f64; 4], u8)]) -> String {
    let object = |(class, [x1, y1, x2, y2], difficult): &(&str, [f64; 4], u8)| {
        format!(
            "<object><name>{class}</name><difficult>{difficult}</difficult><bndbox>\
             <xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>\
             </bndbox></object>"
        )
    };
    let objects: String = objects.iter().map(object).collect();
    format!("<annotation><filename>{name}.jpg</filename>{size}{objects}</annotation>")
}

const SIZE: &str = "<size><width>40</width><height>20</height><depth>3</depth></size>";

fn write_voc(root: &Path) {
    let annotations = root.join("Annotations");
    fs::create_dir_all(&annotations).unwrap();
    fs::create_dir_all(root.join("ImageSets/Main")).unwrap();
    let car = ("car", [1.0, 1.0, 10.5, 20.0], 0);
    let hard = ("car", [5.0, 5.0, 9.0, 9.0], 1);
    let first = voc_xml("a", SIZE, &[car, hard, ("dog", [1.0, 1.0, 2.0, 2.0], 0)]);
    fs::write(annotations.join("a.xml"), first).unwrap();
    fs::write(
        annotations.join("b.xml"),
        voc_xml("b", "", &[("person", [2.0; 4], 0)]),
    )
    .unwrap();
    write_image(&root.join("JPEGImages/a.jpg"), 40, 20, 1);
    write_image(&root.join("JPEGImages/b.png"), 30, 25, 2);
    fs::write(root.join("ImageSets/Main/train.txt"), "b 1\n\na -1\n").unwrap();
}

fn voc_config(root: &Path, text: &str) -> DetectionConfig {
    toml::from_str(&format!("kind = \"voc\"\nroot = {root:?}\n{text}")).unwrap()
}

#[test]
fn voc_annotations_are_read_with_the_classes_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write_voc(root);
    let config = voc_config(root, "classes = [\"person\", \"car\"]\nsplit = \"train\"");
    let set = config.open(2).unwrap();
    assert_eq!([0, 1].map(|index| set.name(index)), ["b", "a"]);
    assert_eq!([0, 1].map(|index| set.size(index)), [(30, 25), (40, 20)]);
    let objects = set.get(1).unwrap().objects;
    assert_eq!(
        (objects.labels, objects.ignored),
        (vec![2, 2], vec![false, true])
    );
    assert_eq!(objects.boxes.corners[0], [0.0, 0.0, 9.5, 19.0]);
    let count = |text: &str| {
        let text = format!("classes = [\"car\"]\nsplit = \"train\"\n{text}");
        voc_config(root, &text).open(1).unwrap().objects(1)
    };
    assert_eq!(count("difficult = \"drop\"").len(), 1);
    assert_eq!(count("difficult = \"keep\"").ignored, [false, false]);
    assert_eq!(count("origin = 0").boxes.corners[1], [5.0, 5.0, 9.0, 9.0]);
    let all = voc_config(root, "classes = [\"car\"]").open(1).unwrap();
    assert_eq!([0, 1].map(|index| all.name(index)), ["a", "b"]);
    let error = voc_config(root, "classes = [\"cars\"]")
        .open(1)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("\"cars\"") && error.contains("\"person\""),
        "{error}"
    );
    fs::remove_file(root.join("JPEGImages/b.png")).unwrap();
    let error = voc_config(root, "classes = [\"car\"]")
        .open(1)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("no image b.jpg or b.png"), "{error}");
    let unknown = format!("kind = \"voc\"\nroot = {root:?}\nclasses = []\nclass = 1");
    assert!(toml::from_str::<DetectionConfig>(&unknown).is_err());
}

#[test]
fn broken_voc_files_are_refused_with_the_reason() {
    let good = voc_xml("a", SIZE, &[("car", [1.0, 2.0, 3.0, 4.0], 0)]);
    assert_eq!(
        parse_voc(&good, Path::new("a.xml")).unwrap().objects.len(),
        1
    );
    let refused = [
        (
            good.replace("<xmin>1</xmin>", ""),
            "object 1: there is no <xmin>",
        ),
        (good.replace("<xmin>1", "<xmin>NaN"), "not a number"),
        (good.replace("<xmin>1", "<xmin>1e300"), "<xmin> is"),
        (
            good.replace("<name>car</name>", "<name> </name>"),
            "no <name>",
        ),
        (good.replace("bndbox", "box"), "no <bndbox>"),
        (
            good.replace("<width>40", "<width>-40"),
            "impossible <width>",
        ),
        (good.replace("annotation", "html"), "<html>"),
        (good[..good.len() - 20].to_owned(), "damaged"),
        (String::new(), "damaged"),
        (format!("<!DOCTYPE a [<!ENTITY x \"y\">]>{good}"), "damaged"),
    ];
    for (text, expected) in refused {
        let error = parse_voc(&text, Path::new("dir/a.xml"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(expected) && error.contains("dir/a.xml"),
            "{error}"
        );
    }
}

/// A Cityscapes tree with one instance in each of `count` training images.
fn write_cityscapes(root: &Path, count: u32) {
    for index in 0..count {
        let folder = root.join("gtFine/train/town");
        fs::create_dir_all(&folder).unwrap();
        let stem = format!("town_{index:06}_000019_gtFine");
        let text = r#"{"imgHeight": 20, "imgWidth": 40, "objects": []}"#;
        fs::write(folder.join(format!("{stem}_polygons.json")), text).unwrap();
        let image = image::ImageBuffer::from_fn(40, 20, |x, y| {
            let inside = (3..10).contains(&x) && (2..=4 + index).contains(&y);
            Luma([if inside { 26_000u16 } else { 7 }])
        });
        image
            .save(folder.join(format!("{stem}_instanceIds.png")))
            .unwrap();
    }
}

#[test]
fn a_stopped_conversion_goes_on_and_notices_changed_files() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write_cityscapes(root, 6);
    let broken = root.join("gtFine/train/town/town_000003_000019_gtFine_instanceIds.png");
    let whole = fs::read(&broken).unwrap();
    fs::write(&broken, &whole[..whole.len() / 2]).unwrap();
    let conversion = Conversion {
        root: root.to_owned(),
        output: root.join("annotations"),
        fog: None,
        threads: 1,
    };
    let error = convert_cityscapes(&conversion, &|_, _| {})
        .unwrap_err()
        .to_string();
    assert!(error.contains("town_000003"), "{error}");
    let journal = conversion.output.join(".cityscapes_instances.partial");
    let lines = || fs::read_to_string(&journal).unwrap().lines().count();
    assert_eq!(lines(), 3);
    // The last line is cut short and one of the images done has changed.
    let text = fs::read(&journal).unwrap();
    fs::write(&journal, &text[..text.len() - 5]).unwrap();
    fs::write(&broken, &whole).unwrap();
    let first = root.join("gtFine/train/town/town_000000_000019_gtFine_instanceIds.png");
    image::ImageBuffer::from_pixel(40, 20, Luma([7u16]))
        .save(first)
        .unwrap();
    let steps = AtomicUsize::new(0);
    let written = convert_cityscapes(&conversion, &|done, total| {
        assert!(done <= total && total == 6);
        steps.fetch_add(1, Ordering::SeqCst);
    });
    let written = written.unwrap();
    assert_eq!(steps.load(Ordering::SeqCst), 6);
    assert_eq!(
        written.iter().map(|w| (w.1, w.2)).collect::<Vec<_>>(),
        [(0, 0), (6, 5), (0, 0)]
    );
    assert!(!journal.exists());

    // The file that was written is read again, under the reference's name for it.
    let target = root.join("sets/cityscapes");
    fs::create_dir_all(target.join("annotations")).unwrap();
    for (path, _, _) in &written {
        fs::copy(
            path,
            target.join("annotations").join(path.file_name().unwrap()),
        )
        .unwrap();
    }
    for index in 0..6 {
        let name = format!("leftImg8bit/train/town/town_{index:06}_000019_leftImg8bit.png");
        write_image(&target.join(name), 40, 20, index);
    }
    let config = DetectionConfig::Catalogue {
        name: "cityscapes_fine_instanceonly_seg_train_cocostyle".to_owned(),
        root: root.join("sets"),
        classes: None,
    };
    let set = config.open(1).unwrap();
    assert_eq!((set.len(), set.class_names()[2].as_str()), (6, "car"));
    assert_eq!(
        set.get(5).unwrap().objects.boxes.corners,
        [[3.0, 2.0, 9.0, 9.0]]
    );
    let target = open_detection_images(&config, true, 1).unwrap();
    assert_eq!(target.len(), 5);
    let all = open_detection_images(&config, false, 1).unwrap();
    assert_eq!((all.len(), all.size(0).unwrap()), (6, (40, 20)));
}

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
    let parts = [0, 1].map(|rank| pipeline(folder.path(), 1, (rank, 2)));
    let mut seen = std::collections::HashSet::new();
    for step in 0..7 {
        let [first, second] = [0, 1].map(|rank: usize| parts[rank].batch(step).unwrap());
        let sizes = [first.source.sizes[0], second.source.sizes[0]];
        assert_eq!(sizes[0].0 > sizes[0].1, sizes[1].0 > sizes[1].1);
        seen.extend([first.source.names, second.source.names].concat());
    }
    // 7 wide and 4 high images are 4 and 2 batches of two, one filled up.
    assert_eq!(seen.len(), 11);
}

#[test]
fn joined_sets_must_have_the_same_classes() {
    let folder = tempfile::tempdir().unwrap();
    write_coco(folder.path(), &document());
    let open = || -> Box<dyn DetectionSet> { Box::new(open_coco(folder.path(), None).unwrap()) };
    let both = DetectionConcat::new(vec![open(), open()]).unwrap();
    assert_eq!((both.len(), both.name(5)), (6, "five.png".to_owned()));
    assert_eq!(both.objects(5), both.objects(2));
    let other = open_coco(folder.path(), Some(&names(&["car"]))).unwrap();
    let error = DetectionConcat::new(vec![open(), Box::new(other)])
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("only set 1 has [\"person\"]"), "{error}");
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
