//! Where the images come from and how they become batches.

use std::path::PathBuf;

use mic_data::transform::Normalise;
use mic_data::uda::Photometric;
use mic_data::{Classes, LoadingOptions, PipelineConfig, RcsConfig};

use super::raw::{RawConfig, RawRcs, RawSet};
use super::set::{Role, SetConfig};
use crate::{Error, Result};
use mic_run::config::check::{at_least_one, not_negative, one_of, positive, refuse, size, within};

/// The images of a run.
#[derive(Clone, Debug)]
pub struct DataConfig {
    /// Labelled images of the source domain.
    pub source: SetConfig,
    /// Images of the target domain.
    pub target: Option<SetConfig>,
    /// Labelled images that evaluation reports on.
    pub test: Option<SetConfig>,
    /// From samples to batches.
    pub pipeline: PipelineConfig,
    /// How images are read and batches are made.
    pub loading: LoadingOptions,
    /// Folder for class statistics where the set's own folder cannot be written to.
    pub stats_cache: Option<PathBuf>,
}

impl DataConfig {
    pub(super) fn check(raw: &RawConfig, classes: &Classes) -> Result<Self> {
        let data = &raw.data;
        let optional = |role: Role, set: &Option<RawSet>| {
            set.as_ref()
                .map(|set| SetConfig::check(role, set, classes))
                .transpose()
        };
        let source = SetConfig::check(Role::Source, &data.source, classes)?;
        let target = optional(Role::Target, &data.target)?;
        let test = optional(Role::Test, &data.test)?;
        let crop = data.crop.map(|crop| size("data.crop", crop)).transpose()?;
        let ratio = positive("data.cat_max_ratio", data.cat_max_ratio)?;
        let above_zero = "a number above 0, at most 1 (1 accepts all crops)";
        within("data.cat_max_ratio", ratio, ..=1.0, above_zero)?;
        if ratio < 1.0 && crop.is_none() {
            let expected = "1, as there is no data.crop to choose";
            return refuse("data.cat_max_ratio", ratio, expected);
        }
        for channel in 0..3 {
            within("data.mean", data.mean[channel], .., "three finite numbers")?;
            positive("data.std", data.std[channel])?;
        }
        let domains = |source, target| Photometric { source, target };
        let distorted = [
            ("none", domains(false, false)),
            ("source", domains(true, false)),
            ("both", domains(true, true)),
        ];
        let key = "data.photometric_distortion";
        let rcs = data.rare_class_sampling.as_ref();
        let pipeline = PipelineConfig {
            batch: at_least_one("train.batch", raw.train.batch as u64)? as usize,
            source_resize: source.resize,
            target_resize: target.as_ref().and_then(|set| set.resize),
            crop,
            cat_max_ratio: (ratio < 1.0).then_some(ratio),
            flip: if data.flip { 0.5 } else { 0.0 },
            photometric_distortion: one_of(key, &data.photometric_distortion, &distorted)?,
            normalise: Normalise {
                mean: data.mean,
                std: data.std,
            },
            rcs: rcs.map(rare_class_sampling).transpose()?,
        };
        Ok(Self {
            source,
            target,
            test,
            pipeline,
            loading: loading(&data.loading)?,
            stats_cache: data.stats_cache.as_ref().map(PathBuf::from),
        })
    }
}

fn loading(options: &LoadingOptions) -> Result<LoadingOptions> {
    let checked = options.check();
    checked.map_err(|error| Error::Config(error.to_string()))?;
    Ok(options.clone())
}

fn rare_class_sampling(raw: &RawRcs) -> Result<RcsConfig> {
    let at = |name: &str| format!("data.rare_class_sampling.{name}");
    Ok(RcsConfig {
        min_pixels: raw.min_pixels,
        class_temp: positive(&at("temperature"), raw.temperature)?,
        min_crop_ratio: not_negative(&at("min_crop_ratio"), raw.min_crop_ratio)?,
    })
}
