//! Detection sets in their true layouts, and damaged ones.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod coco;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use coco::{document, open_coco, write_coco, write_image};
use image::Luma;
use mic_data::detection::*;
use mic_data::{Error, UnlabelledSet};
use serde_json::{Value, json};

fn names(classes: &[&str]) -> Vec<String> {
    classes.iter().map(|name| (*name).to_owned()).collect()
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
    let misnamed = DetectionConfig::Catalogue {
        name: "cityscapes".to_owned(),
        root: root.join("sets"),
        classes: None,
    };
    let error = misnamed.open(1).err().unwrap().to_string();
    assert!(
        error.contains("foggy_cityscapes_fine_instanceonly_seg_train_cocostyle"),
        "{error}"
    );
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
