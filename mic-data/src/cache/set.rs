//! A data set behind a cache.

use std::path::PathBuf;
use std::sync::Arc;

use image::{GrayImage, RgbImage};

use super::{CacheKey, CachedSample, DiskCache};
use crate::classification::ClassifiedSet;
use crate::detection::{DetectionImages, DetectionSet, Objects};
use crate::sample::{Labelled, LabelledSet, Unlabelled, UnlabelledSet};
use crate::transform::{PilFilter, keep_ratio, pil_resize, resize_image, resize_nearest};
use crate::{Error, Result};

/// What becomes of an image before it is kept: the first step of a pipeline, or nothing. Images that
/// would grow are kept as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// As decoded.
    AsDecoded,
    /// Scaled to the largest size inside this one (w, h) that keeps the aspect ratio, labels by
    /// nearest neighbour: the resize option of segmentation.
    Within((u32, u32)),
    /// Scaled to a square of this side by Pillow's bicubic filter: the first step of classification.
    Squashed(u32),
}

/// The samples of a set, decoded and scaled once and then read from a [`DiskCache`]. Samples that do
/// not come from files pass through.
///
/// With [`Kept`] equal to the first step of the pipeline, scaled samples are what the pipeline
/// would make itself, so batches stay the same bit for bit.
pub struct Cached<S> {
    set: S,
    cache: Arc<DiskCache>,
    kept: Kept,
    options: String,
}

impl<S> Cached<S> {
    /// Puts `set` behind a cache. `options` says what else samples depend on than their files, such
    /// as the label map and how names follow from paths.
    pub fn new(set: S, cache: Arc<DiskCache>, kept: Kept, options: impl Into<String>) -> Self {
        Self {
            set,
            cache,
            kept,
            options: options.into(),
        }
    }

    /// The set itself.
    pub fn inner(&self) -> &S {
        &self.set
    }

    fn get(
        &self,
        kind: &str,
        files: &[PathBuf],
        make: impl FnOnce() -> Result<CachedSample>,
    ) -> Result<CachedSample> {
        // Drawn samples have no file, or the path that one would have.
        if files.first().is_none_or(|file| !file.exists()) {
            return make();
        }
        let transform = format!("{kind} {:?} {}", self.kept, self.options);
        let key = CacheKey::new(files, &transform)?;
        self.cache.get_or_make(&key, || Ok(self.scaled(make()?)))
    }

    fn scaled(&self, sample: CachedSample) -> CachedSample {
        let own = sample.image.dimensions();
        let size = match self.kept {
            Kept::AsDecoded => own,
            Kept::Within(limit) => keep_ratio(own, limit),
            Kept::Squashed(side) => (side, side),
        };
        let pixels = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
        if pixels(size) >= pixels(own) {
            return sample;
        }
        let (width, height) = size;
        let image = match self.kept {
            Kept::Squashed(_) => pil_resize(&sample.image, width, height, PilFilter::Bicubic),
            _ => resize_image(&sample.image, width, height),
        };
        CachedSample {
            name: sample.name,
            image,
            grey: sample.grey.map(|grey| resize_nearest(&grey, width, height)),
        }
    }

    /// The image alone; `kind` tells sets with and without masks apart.
    fn unlabelled(
        &self,
        kind: &str,
        files: &[PathBuf],
        get: impl FnOnce() -> Result<Unlabelled>,
    ) -> Result<Unlabelled> {
        let CachedSample { name, image, grey } = self.get(kind, files, || {
            let Unlabelled { name, image, valid } = get()?;
            Ok(CachedSample {
                name,
                image,
                grey: valid,
            })
        })?;
        Ok(Unlabelled {
            name,
            image,
            valid: grey,
        })
    }

    /// The pixels alone, of a set that knows its names.
    fn kept_pixels(
        &self,
        files: &[PathBuf],
        pixels: impl FnOnce() -> Result<RgbImage>,
    ) -> Result<RgbImage> {
        let sample = self.get("pixels", files, || {
            Ok(CachedSample {
                name: String::new(),
                image: pixels()?,
                grey: None,
            })
        });
        Ok(sample?.image)
    }
}

impl<S: LabelledSet> LabelledSet for Cached<S> {
    fn len(&self) -> usize {
        self.set.len()
    }

    fn get(&self, index: usize) -> Result<Labelled> {
        let files = self.set.files(index);
        let CachedSample { name, image, grey } = self.get("labelled", &files, || {
            let Labelled { name, image, label } = self.set.get(index)?;
            // Nothing after this point could tell that they did not belong together.
            if image.dimensions() != label.dimensions() {
                return Err(Error::Invalid(format!(
                    "{name:?} is {} x {} but its label is {} x {}; both must have one size",
                    image.width(),
                    image.height(),
                    label.width(),
                    label.height()
                )));
            }
            Ok(CachedSample {
                name,
                image,
                grey: Some(label),
            })
        })?;
        let label = grey.ok_or_else(|| {
            Error::Invalid(format!("the cache entry of {name:?} lacks its label"))
        })?;
        Ok(Labelled { name, image, label })
    }

    fn image(&self, index: usize) -> Result<Unlabelled> {
        let files = self.set.files(index);
        let image = &files[..files.len().min(1)];
        self.unlabelled("image", image, || self.set.image(index))
    }

    fn label(&self, index: usize) -> Result<(String, GrayImage)> {
        self.set.label(index)
    }

    fn files(&self, index: usize) -> Vec<PathBuf> {
        self.set.files(index)
    }
}

impl<S: UnlabelledSet> UnlabelledSet for Cached<S> {
    fn len(&self) -> usize {
        self.set.len()
    }

    fn get(&self, index: usize) -> Result<Unlabelled> {
        let files = self.set.files(index);
        self.unlabelled("unlabelled", &files, || self.set.get(index))
    }

    fn files(&self, index: usize) -> Vec<PathBuf> {
        self.set.files(index)
    }
}

impl<S: ClassifiedSet> ClassifiedSet for Cached<S> {
    fn len(&self) -> usize {
        self.set.len()
    }

    fn class_names(&self) -> &[String] {
        self.set.class_names()
    }

    fn name(&self, index: usize) -> String {
        self.set.name(index)
    }

    fn class(&self, index: usize) -> u32 {
        self.set.class(index)
    }

    fn pixels(&self, index: usize) -> Result<RgbImage> {
        let files: Vec<PathBuf> = self.set.file(index).into_iter().collect();
        self.kept_pixels(&files, || self.set.pixels(index))
    }

    fn file(&self, index: usize) -> Option<PathBuf> {
        self.set.file(index)
    }
}

/// Detection draws the size of every image anew, so only [`Kept::AsDecoded`] keeps its batches.
impl<S: DetectionSet> DetectionSet for Cached<S> {
    fn len(&self) -> usize {
        self.set.len()
    }

    fn class_names(&self) -> &[String] {
        self.set.class_names()
    }

    fn name(&self, index: usize) -> String {
        self.set.name(index)
    }

    fn path(&self, index: usize) -> PathBuf {
        self.set.path(index)
    }

    fn size(&self, index: usize) -> (u32, u32) {
        self.set.size(index)
    }

    fn objects(&self, index: usize) -> Objects {
        self.set.objects(index)
    }

    fn pixels(&self, index: usize) -> Result<RgbImage> {
        self.kept_pixels(&[self.set.path(index)], || self.set.pixels(index))
    }
}

impl<S: DetectionImages> DetectionImages for Cached<S> {
    fn size(&self, index: usize) -> Result<(u32, u32)> {
        self.set.size(index)
    }
}
