//! A data set of street scenes.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::config::SceneConfig;
use super::graph::SceneGraph;
use super::render::{Scene, render};
use crate::rng::stream;
use crate::sample::{Labelled, LabelledSet};
use crate::{Error, Result};

/// Which part of a domain a set is; parts of one seed never share a scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Split {
    Train,
    Val,
    Test,
}

impl Split {
    /// `"train"`, `"val"` or `"test"`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }
}

impl FromStr for Split {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        [Self::Train, Self::Val, Self::Test]
            .into_iter()
            .find(|split| split.name() == name)
            .ok_or_else(|| {
                Error::Invalid(format!("split `{name}`: expected `train`, `val` or `test`"))
            })
    }
}

/// Street scenes of one style and split. Image `i` is a function of (seed, style, split, `i`) and
/// the configuration alone; nothing is stored, and a longer set begins with the shorter one.
///
/// As a target domain for training, wrap it in [`WithoutLabels`](crate::sample::WithoutLabels).
#[derive(Clone, Debug)]
pub struct StreetScenes {
    config: SceneConfig,
    seed: u64,
    split: Split,
    count: usize,
}

impl StreetScenes {
    /// A set of `count` scenes.
    ///
    /// # Errors
    /// What [`SceneConfig::check`] finds.
    pub fn new(config: SceneConfig, seed: u64, split: Split, count: usize) -> Result<Self> {
        config.check()?;
        Ok(Self {
            config,
            seed,
            split,
            count,
        })
    }

    /// The configuration of its scenes.
    pub fn config(&self) -> &SceneConfig {
        &self.config
    }

    /// The scene graph of image `index`.
    ///
    /// # Errors
    /// If `index` is not below the number of images.
    pub fn graph(&self, index: usize) -> Result<SceneGraph> {
        if index >= self.count {
            return Err(Error::Invalid(format!(
                "image {index} of a set of {} street scenes",
                self.count
            )));
        }
        let purpose = format!("scenes/{}/{}", self.config.style.name(), self.split.name());
        let mut rng = stream(self.seed, &purpose, index as u64);
        SceneGraph::sample(&mut rng, &self.config)
    }

    /// Scene `index` with image, labels, boxes and depth.
    ///
    /// # Errors
    /// If `index` is not below the number of images.
    pub fn scene(&self, index: usize) -> Result<Scene> {
        render(&self.graph(index)?)
    }

    /// Name of image `index`, unique over all splits and styles of a seed.
    pub fn name(&self, index: usize) -> String {
        let (style, split) = (self.config.style.name(), self.split.name());
        format!("{style}_{split}_{index:06}")
    }
}

impl LabelledSet for StreetScenes {
    fn len(&self) -> usize {
        self.count
    }

    fn get(&self, index: usize) -> Result<Labelled> {
        let scene = self.scene(index)?;
        Ok(Labelled {
            name: self.name(index),
            image: scene.image,
            label: scene.label,
        })
    }
}
