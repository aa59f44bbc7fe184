//! A data set behind a cache.

use std::path::PathBuf;
use std::sync::Arc;

use super::{CacheKey, CachedSample, DiskCache};
use crate::sample::{Labelled, LabelledSet, Unlabelled, UnlabelledSet};
use crate::transform::{keep_ratio, resize_image, resize_nearest};
use crate::{Error, Result};

/// The samples of a set, decoded and scaled once and then read from a [`DiskCache`].
///
/// With `scale` equal to the resize option of the pipeline, scaled samples are what the pipeline
/// would make itself, so batches stay the same bit for bit.
pub struct Cached<S> {
    set: S,
    cache: Arc<DiskCache>,
    files: Box<dyn Fn(usize) -> Vec<PathBuf> + Send + Sync>,
    scale: Option<(u32, u32)>,
    options: String,
}

impl<S> Cached<S> {
    /// Puts `set` behind a cache. `files(index)` are the files of a sample, the image first;
    /// `scale` is the size (w, h) into which samples are scaled with their aspect ratio; `options`
    /// says what else samples depend on, such as the label map.
    pub fn new(
        set: S,
        cache: Arc<DiskCache>,
        files: impl Fn(usize) -> Vec<PathBuf> + Send + Sync + 'static,
        scale: Option<(u32, u32)>,
        options: impl Into<String>,
    ) -> Self {
        Self {
            set,
            cache,
            files: Box::new(files),
            scale,
            options: options.into(),
        }
    }

    fn get(
        &self,
        index: usize,
        kind: &str,
        files: &[PathBuf],
        make: impl FnOnce() -> Result<CachedSample>,
    ) -> Result<CachedSample> {
        let transform = format!("{kind} {index} {:?} {}", self.scale, self.options);
        let key = CacheKey::new(files, &transform)?;
        self.cache.get_or_make(&key, || Ok(self.scaled(make()?)))
    }

    fn scaled(&self, sample: CachedSample) -> CachedSample {
        let Some(scale) = self.scale else {
            return sample;
        };
        let (width, height) = keep_ratio(sample.image.dimensions(), scale);
        CachedSample {
            name: sample.name,
            image: resize_image(&sample.image, width, height),
            grey: sample.grey.map(|grey| resize_nearest(&grey, width, height)),
        }
    }

    /// The image alone; `kind` tells sets with and without masks apart.
    fn unlabelled(
        &self,
        index: usize,
        kind: &str,
        files: &[PathBuf],
        get: impl FnOnce() -> Result<Unlabelled>,
    ) -> Result<Unlabelled> {
        let CachedSample { name, image, grey } = self.get(index, kind, files, || {
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
}

impl<S: LabelledSet> LabelledSet for Cached<S> {
    fn len(&self) -> usize {
        self.set.len()
    }

    fn get(&self, index: usize) -> Result<Labelled> {
        let files = (self.files)(index);
        let CachedSample { name, image, grey } = self.get(index, "labelled", &files, || {
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
        let files = (self.files)(index);
        let image = &files[..files.len().min(1)];
        self.unlabelled(index, "image", image, || self.set.image(index))
    }
}

impl<S: UnlabelledSet> UnlabelledSet for Cached<S> {
    fn len(&self) -> usize {
        self.set.len()
    }

    fn get(&self, index: usize) -> Result<Unlabelled> {
        let files = (self.files)(index);
        self.unlabelled(index, "unlabelled", &files, || self.set.get(index))
    }
}
