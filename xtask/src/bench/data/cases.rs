//! The pipelines that are measured.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use mic_data::classification::{
    ClassificationPipeline, ClassificationPipelineConfig, ImageList, ImageTransform, Resizing,
    TrainTransform,
};
use mic_data::datasets::{Folder, FolderConfig};
use mic_data::files::{read_image, read_label};
use mic_data::transform::{Crop, Flip, Normalise, keep_ratio, resize_image_window, resize_nearest};
use mic_data::{
    ClassStats, LabelMap, LoaderConfig, MemorySize, OrderedLoader, PipelineConfig, RcsConfig,
    UdaPipeline,
};
use serde::Serialize;

use super::files::{Files, Sizes};

/// Classes of the labels.
const CLASSES: usize = 19;
const SEED: u64 = 1;
/// The part that is compared: left, upper edge, width, height.
type Part = [u32; 4];

/// A pipeline with all that PyTorch's side must know.
#[derive(Debug, Serialize)]
pub(super) struct Case {
    #[serde(skip)]
    pub(super) title: &'static str,
    /// `"segmentation"` or `"classification"`.
    kind: &'static str,
    images: PathBuf,
    labels: PathBuf,
    batch: usize,
    /// Rare class sampling, or images at random.
    rare: Option<RcsConfig>,
    /// Frames are scaled into this, photos are squashed to it.
    resize: (u32, u32),
    crop: u32,
    cat_max_ratio: f64,
    /// Of the first image, mirrored.
    compared: Part,
    /// Batches before and within the measured time.
    warm: usize,
    batches: usize,
    workers: usize,
    ahead: usize,
}

/// Sums over what a pipeline makes of one image.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
pub(super) struct Sums {
    /// Mean of the input, each value times a weight that depends on its place.
    pub(super) image: f64,
    /// The same of the label; 0 without.
    pub(super) label: f64,
}

pub(super) fn all(files: &Files, tiny: bool, threads: usize) -> Vec<Case> {
    let (resize, crop) = if tiny {
        ((128, 72), 32)
    } else {
        ((1280, 720), 512)
    };
    let frames = |title, rare| Case {
        title,
        kind: "segmentation",
        images: files.frames(),
        labels: files.labels(),
        batch: 2,
        rare,
        resize,
        crop,
        cat_max_ratio: 0.75,
        compared: [crop / 4, crop / 8, crop, crop],
        warm: 4,
        batches: if tiny { 2 } else { 20 },
        workers: threads,
        ahead: 2 * threads,
    };
    let rare = RcsConfig {
        min_pixels: if tiny { 10 } else { 3000 },
        ..RcsConfig::default()
    };
    let photos = Case {
        title: "VisDA-style",
        kind: "classification",
        images: files.photos(),
        labels: PathBuf::new(),
        batch: if tiny { 2 } else { 32 },
        rare: None,
        resize: (256, 256),
        crop: 224,
        cat_max_ratio: 1.0,
        compared: [17, 31, 150, 190],
        warm: 2,
        batches: if tiny { 2 } else { 12 },
        workers: threads,
        ahead: 2 * threads,
    };
    vec![
        frames("GTA-style", None),
        frames("GTA-style, rare class sampling", Some(rare)),
        photos,
    ]
}

/// One of our pipelines, ready to run.
pub(super) enum Ours {
    Segmentation(Arc<UdaPipeline>),
    Classification(Arc<ClassificationPipeline>),
}

impl Case {
    pub(super) fn needs(&self) -> &'static [&'static str] {
        match self.kind {
            "segmentation" => &["opencv-python-headless", "pillow"],
            _ => &["torchvision", "pillow"],
        }
    }

    pub(super) fn images_a_turn(&self) -> usize {
        self.batch * self.batches
    }

    pub(super) fn open(&self, files: &Files, sizes: &Sizes) -> anyhow::Result<Ours> {
        if self.kind == "classification" {
            let list = files.list_photos(sizes, 100 * self.batch)?;
            return Ok(Ours::Classification(Arc::new(classification(
                list,
                self.images.clone(),
                self.batch,
            )?)));
        }
        let set = Arc::new(frames(self.images.clone(), self.labels.clone())?);
        let stats = match self.rare {
            Some(_) => Some(ClassStats::count(set.as_ref(), CLASSES, self.workers)?),
            None => None,
        };
        let config = PipelineConfig {
            batch: self.batch,
            source_resize: Some(self.resize),
            crop: Some((self.crop, self.crop)),
            cat_max_ratio: Some(self.cat_max_ratio),
            rcs: self.rare,
            ..PipelineConfig::default()
        };
        let pipeline = UdaPipeline::new(set, None, config, stats.as_ref(), SEED)?;
        Ok(Ours::Segmentation(Arc::new(pipeline)))
    }

    /// Seconds for an image, from a loader that has run for some batches.
    pub(super) fn turn(&self, ours: &Ours, turn: u64) -> anyhow::Result<f64> {
        let start = turn * (self.warm + self.batches) as u64;
        match ours {
            Ours::Segmentation(pipeline) => {
                let pipeline = Arc::clone(pipeline);
                self.run(start, move |step| pipeline.batch(step))
            }
            Ours::Classification(pipeline) => {
                let pipeline = Arc::clone(pipeline);
                self.run(start, move |step| pipeline.batch(step))
            }
        }
    }

    fn run<T: MemorySize + Send + 'static>(
        &self,
        start: u64,
        make: impl Fn(u64) -> mic_data::Result<T> + Send + Sync + 'static,
    ) -> anyhow::Result<f64> {
        let config = LoaderConfig {
            ahead: self.ahead,
            ..LoaderConfig::new(self.workers)
        };
        let mut loader = OrderedLoader::with_config(start, &config, make);
        for batch in loader.by_ref().take(self.warm) {
            batch?;
        }
        let clock = Instant::now();
        for batch in loader.by_ref().take(self.batches) {
            batch?;
        }
        Ok(clock.elapsed().as_secs_f64() / self.images_a_turn() as f64)
    }

    /// What our transforms make of the first image, its compared part mirrored.
    pub(super) fn sums(&self) -> anyhow::Result<Sums> {
        let [x, y, width, height] = self.compared;
        let part = Crop {
            x,
            y,
            width,
            height,
        };
        if self.kind == "classification" {
            let image = read_image(&self.images.join("0000.jpg"))?;
            let transform = ImageTransform {
                train: Resizing::Default,
                ..ImageTransform::default()
            };
            let drawn = TrainTransform {
                crop: part,
                flip: true,
            };
            let side = transform.size;
            let mut values = vec![0.0; 3 * (side * side) as usize];
            let image = transform.apply(&image, &drawn);
            let tables = transform.tables();
            tables.write(&image, true, (side, side), &mut values);
            return Ok(Sums {
                image: weighted(values.iter().map(|value| f64::from(*value))),
                label: 0.0,
            });
        }
        let image = read_image(&self.images.join("0000.png"))?;
        let size = keep_ratio(image.dimensions(), self.resize);
        let image = resize_image_window(&image, size, &part);
        let mut values = vec![0.0; 3 * (width * height) as usize];
        let normalise = Normalise::default();
        normalise.apply_flipped_into(&image, Flip(true), (width, height), &mut values);
        let path = self.labels.join("0000.png");
        let label = LabelMap::train_ids(CLASSES).apply(&read_label(&path)?, &path)?;
        let mut label = part.apply_grey(&resize_nearest(&label, size.0, size.1));
        Flip(true).apply_grey(&mut label);
        Ok(Sums {
            image: weighted(values.iter().map(|value| f64::from(*value))),
            label: weighted(label.iter().map(|id| f64::from(*id))),
        })
    }
}

/// The frames with their labels, in train ids.
pub(super) fn frames(images: PathBuf, labels: PathBuf) -> mic_data::Result<Folder> {
    Folder::open(FolderConfig {
        images,
        labels,
        image_suffix: ".png".to_owned(),
        label_suffix: ".png".to_owned(),
        map: LabelMap::train_ids(CLASSES),
    })
}

/// The pipeline over a list of photos.
pub(super) fn classification(
    list: PathBuf,
    root: PathBuf,
    batch: usize,
) -> mic_data::Result<ClassificationPipeline> {
    let classes = (0..12).map(|class| class.to_string()).collect();
    let set = Arc::new(ImageList::read(&list, &root, classes)?);
    let config = ClassificationPipelineConfig {
        batch,
        ..ClassificationPipelineConfig::default()
    };
    ClassificationPipeline::new(set, None, config, SEED, (0, 1))
}

/// Mean of the values, each times a weight in [0, 1) that depends on its place.
fn weighted(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    let weight = |place: usize| (place * 7919 % 1000) as f64 / 1000.0;
    values.enumerate().map(|(i, v)| v * weight(i)).sum::<f64>() / count
}
