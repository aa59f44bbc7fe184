//! Street scenes for detection.

use std::collections::HashMap;
use std::path::PathBuf;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::class::{Class, NAMES};
use super::config::SceneConfig;
use super::fog::Fog;
use super::render::Scene;
use super::set::{Split, StreetScenes};
use crate::detection::{Boxes, DetectionSet, Objects};
use crate::parallel::map_indices;
use crate::{Error, Result};

/// What a [`SceneObjects`] is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SceneObjectsConfig {
    /// Size, style, and which things get a box.
    pub scene: SceneConfig,
    /// Which part.
    pub split: Split,
    /// Number of images.
    pub count: usize,
    /// Seed of the set.
    pub seed: u64,
    /// Fog over the images; none for clear ones. The same seed gives the same scenes with and
    /// without.
    pub fog: Option<Fog>,
}

/// Street scenes with the boxes of their people and vehicles, clear or in fog. A box is tight around
/// the visible pixels, the area of an object is their number, as in converted Cityscapes.
#[derive(Clone, Debug)]
pub struct SceneObjects {
    scenes: StreetScenes,
    fog: Option<Fog>,
    classes: Vec<String>,
    objects: Vec<Objects>,
}

impl SceneObjects {
    /// Renders every scene once, on `threads` threads, for its boxes. Pixels are rendered again when
    /// they are asked for.
    ///
    /// # Errors
    /// What [`SceneConfig::check`] finds; no image at all.
    pub fn new(config: &SceneObjectsConfig, threads: usize) -> Result<Self> {
        if config.count == 0 {
            return Err(Error::Invalid(
                "0 street scenes: expected at least 1".into(),
            ));
        }
        let SceneObjectsConfig {
            seed, split, count, ..
        } = *config;
        let scenes = StreetScenes::new(config.scene.clone(), seed, split, count)?;
        let boxes = |index: usize| scenes.scene(index).map(|scene| objects(&scene));
        let mut objects = map_indices(count, threads, boxes)?;
        // Ids from 1: some programs take 0 for none.
        let ids = objects.iter_mut().flat_map(|objects| &mut objects.ids);
        for (id, next) in ids.zip(1..) {
            *id = next;
        }
        let name = |class: Class| NAMES[usize::from(class.id())].to_owned();
        Ok(Self {
            scenes,
            fog: config.fog,
            classes: Class::THINGS.map(name).into(),
            objects,
        })
    }
}

fn objects(scene: &Scene) -> Objects {
    let mut pixels: HashMap<u16, u32> = HashMap::new();
    for &instance in &scene.instances {
        *pixels.entry(instance).or_default() += 1;
    }
    let mut objects = Objects {
        boxes: Boxes {
            corners: Vec::new(),
            size: scene.image.dimensions(),
        },
        ..Objects::default()
    };
    for found in &scene.boxes {
        let place = Class::THINGS.iter().position(|c| c.id() == found.class);
        let Some(place) = place else { continue };
        // Inclusive corners.
        let corners = [found.x0, found.y0, found.x1 - 1, found.y1 - 1];
        objects.boxes.corners.push(corners.map(|v| v as f32));
        objects.labels.push(place as u32 + 1);
        objects.ignored.push(false);
        let area = pixels.get(&found.instance).copied().unwrap_or(0);
        objects.areas.push(f64::from(area));
        objects.ids.push(0);
    }
    objects
}

impl DetectionSet for SceneObjects {
    fn len(&self) -> usize {
        self.objects.len()
    }

    fn class_names(&self) -> &[String] {
        &self.classes
    }

    fn name(&self, index: usize) -> String {
        let fog = if self.fog.is_some() { "foggy_" } else { "" };
        format!("{fog}{}", self.scenes.name(index))
    }

    /// There is no file: the name.
    fn path(&self, index: usize) -> PathBuf {
        self.name(index).into()
    }

    fn size(&self, _index: usize) -> (u32, u32) {
        (self.scenes.config().width, self.scenes.config().height)
    }

    fn objects(&self, index: usize) -> Objects {
        self.objects[index].clone()
    }

    fn pixels(&self, index: usize) -> Result<RgbImage> {
        let scene = self.scenes.scene(index)?;
        match &self.fog {
            Some(fog) => fog.over(&scene.image, &scene.depth),
            None => Ok(scene.image),
        }
    }
}
