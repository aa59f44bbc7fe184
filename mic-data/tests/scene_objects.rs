//! Street scenes for detection: boxes and fog.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use mic_data::detection::DetectionSet;
use mic_data::scenes::{
    Class, Fog, SceneConfig, SceneObjects, SceneObjectsConfig, Split, StreetScenes, Style,
};

const COUNT: usize = 12;

fn config(fog: Option<f32>, seed: u64) -> SceneObjectsConfig {
    SceneObjectsConfig {
        scene: SceneConfig::new(192, 96, Style::Source),
        split: Split::Train,
        count: COUNT,
        seed,
        fog: fog.map(|beta| Fog::new(beta).unwrap()),
    }
}

fn set(fog: Option<f32>, seed: u64) -> SceneObjects {
    SceneObjects::new(&config(fog, seed), 2).unwrap()
}

#[test]
fn boxes_are_tight_around_the_pixels_of_their_instance() {
    let set = set(Some(0.05), 3);
    let config = config(None, 3);
    let scenes = StreetScenes::new(config.scene, 3, Split::Train, COUNT).unwrap();
    let (mut boxes, mut labels) = (0, [0; 6]);
    for index in 0..set.len() {
        let (scene, objects) = (scenes.scene(index).unwrap(), set.objects(index));
        let width = scene.image.width();
        assert_eq!(objects.len(), scene.boxes.len());
        for (i, corners) in objects.boxes.corners.iter().enumerate() {
            let instance = scene.boxes[i].instance;
            let places: Vec<(u32, u32)> = (0..scene.instances.len() as u32)
                .filter(|&p| scene.instances[p as usize] == instance)
                .map(|p| (p % width, p / width))
                .collect();
            let xs = places.iter().map(|p| p.0);
            let ys = places.iter().map(|p| p.1);
            let extent = [
                xs.clone().min().unwrap(),
                ys.clone().min().unwrap(),
                xs.max().unwrap(),
                ys.max().unwrap(),
            ];
            assert_eq!(*corners, extent.map(|v| v as f32));
            assert_eq!(objects.areas[i], places.len() as f64);
            let (x, y) = places[0];
            let class = Class::THINGS[objects.labels[i] as usize - 1];
            assert_eq!(scene.label.get_pixel(x, y).0, [class.id()]);
            labels[objects.labels[i] as usize - 1] += 1;
            boxes += 1;
        }
        assert!(objects.is_usable(), "image {index} has no object");
    }
    assert!(boxes > 4 * COUNT, "{boxes} boxes in {COUNT} images");
    assert!(labels.iter().all(|&n| n > 0), "{labels:?}");
    let ids: Vec<u64> = (0..set.len()).flat_map(|i| set.objects(i).ids).collect();
    assert_eq!(ids, (1..=boxes as u64).collect::<Vec<_>>());
}

#[test]
fn fog_leaves_the_scene_and_takes_its_contrast() {
    let (clear, thin, thick) = (set(None, 7), set(Some(0.02), 7), set(Some(0.1), 7));
    let air = Fog::new(0.1).unwrap().airlight;
    for index in 0..COUNT {
        assert_eq!(clear.objects(index), thick.objects(index));
        let images = [&clear, &thin, &thick].map(|set| set.pixels(index).unwrap());
        let away = |image: usize, at: usize| images[image].as_raw()[at].abs_diff(air[at % 3]);
        for at in 0..images[0].as_raw().len() {
            assert!(away(0, at) >= away(1, at) && away(1, at) >= away(2, at));
        }
    }
    assert_eq!(clear.name(0), "source_train_000000");
    assert_eq!(thin.name(1), "foggy_source_train_000001");
}

#[test]
fn sets_repeat_by_their_seed() {
    let (one, same, other) = (set(Some(0.05), 1), set(Some(0.05), 1), set(Some(0.05), 2));
    for index in [0, COUNT - 1] {
        assert_eq!(one.objects(index), same.objects(index));
        assert_eq!(one.pixels(index).unwrap(), same.pixels(index).unwrap());
        assert_ne!(one.pixels(index).unwrap(), other.pixels(index).unwrap());
    }
    let mut none = config(None, 0);
    none.count = 0;
    assert!(SceneObjects::new(&none, 1).is_err());
}
