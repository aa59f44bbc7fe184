//! Rare class sampling (DAFormer, sec. 3.3): source images are drawn by class, rare classes first.

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::class_stats::ClassStats;
use crate::{Error, Result};

/// Options of rare class sampling.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RcsConfig {
    /// Images with more pixels of a class than this, at stored size, are candidates for it.
    pub min_pixels: u64,
    /// Temperature T of the class probabilities; the higher, the more uniform.
    pub class_temp: f64,
    /// A crop should hold more than `min_pixels * min_crop_ratio` pixels of the drawn class. Set
    /// it by the size at which images are cropped: 0.5 for 512 pixels, 2 for 1024.
    pub min_crop_ratio: f64,
}

impl Default for RcsConfig {
    /// DAFormer's options for crops of 512 x 512.
    fn default() -> Self {
        Self {
            min_pixels: 3000,
            class_temp: 0.01,
            min_crop_ratio: 0.5,
        }
    }
}

/// What [`RareClassSampler::sample`] draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RareDraw {
    /// The drawn class.
    pub class: u8,
    /// An image with enough pixels of it.
    pub image: usize,
}

/// Draws a class by its rarity, then one of the images that show it.
#[derive(Clone, Debug)]
pub struct RareClassSampler {
    classes: Vec<u8>,
    probabilities: Vec<f32>,
    /// Image indices, in the order of `classes`.
    candidates: Vec<Vec<usize>>,
    min_crop_pixels: f64,
    names: Vec<String>,
}

impl RareClassSampler {
    /// Prepares the draws. With `f_c` the share of class c in all counted pixels, its probability
    /// is `softmax_c((1 - f_c) / T)` (DAFormer, eq. 5 and 6), in f32. Classes without any pixel
    /// are never drawn.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if nothing is counted, the temperature is not positive, or a class has
    /// pixels but no image with more than `min_pixels` of them.
    pub fn new(stats: &ClassStats, config: &RcsConfig) -> Result<Self> {
        if config.class_temp.is_nan() || config.class_temp <= 0.0 {
            return Err(Error::Invalid(format!(
                "class_temp is {}; it must be above 0",
                config.class_temp
            )));
        }
        let totals = stats.totals();
        let mut classes: Vec<u8> = (0..=u8::MAX)
            .zip(&totals)
            .filter_map(|(class, total)| (*total > 0).then_some(class))
            .collect();
        if classes.is_empty() {
            return Err(Error::Invalid(
                "rare class sampling needs labelled source pixels, but every pixel is ignored; \
                 check the label map"
                    .to_owned(),
            ));
        }
        classes.sort_by_key(|class| totals[usize::from(*class)]);
        let candidates = classes.iter().map(|class| {
            let count = |image: &usize| stats.counts()[*image][usize::from(*class)];
            let images: Vec<usize> = (0..stats.counts().len())
                .filter(|image| count(image) > config.min_pixels)
                .collect();
            if images.is_empty() {
                return Err(Error::Invalid(format!(
                    "no source image has more than min_pixels = {} pixels of class {class}; \
                     lower min_pixels",
                    config.min_pixels
                )));
            }
            Ok(images)
        });
        Ok(Self {
            candidates: candidates.collect::<Result<_>>()?,
            probabilities: probabilities(&classes, &totals, config.class_temp),
            classes,
            min_crop_pixels: config.min_pixels as f64 * config.min_crop_ratio,
            names: stats.names().to_vec(),
        })
    }

    /// The classes that occur, rarest first.
    pub fn classes(&self) -> &[u8] {
        &self.classes
    }

    /// The probability of each of [`Self::classes`].
    pub fn probabilities(&self) -> &[f32] {
        &self.probabilities
    }

    /// The images that can be drawn for each of [`Self::classes`].
    pub fn candidates(&self) -> &[Vec<usize>] {
        &self.candidates
    }

    /// Names of the images of the set the statistics are of.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Draws a class, then one of its images uniformly.
    pub fn sample(&self, rng: &mut impl Rng) -> RareDraw {
        // f32 probabilities add up to 1 only roughly, so the draw is scaled to their sum.
        let total: f64 = self.probabilities.iter().copied().map(f64::from).sum();
        let mut left = rng.random::<f64>() * total;
        let mut place = 0;
        for (index, probability) in self.probabilities.iter().enumerate() {
            if *probability > 0.0 {
                place = index;
                left -= f64::from(*probability);
                if left < 0.0 {
                    break;
                }
            }
        }
        let images = &self.candidates[place];
        RareDraw {
            class: self.classes[place],
            image: images[rng.random_range(0..images.len())],
        }
    }

    /// Whether a crop's label holds enough pixels of `class`; if not, another crop is tried.
    pub fn accepts(&self, label: &[u8], class: u8) -> bool {
        label.iter().filter(|id| **id == class).count() as f64 > self.min_crop_pixels
    }
}

fn probabilities(classes: &[u8], totals: &[u64], temperature: f64) -> Vec<f32> {
    let sum = totals.iter().sum::<u64>() as f32;
    let logit = |class: &u8| {
        let share = totals[usize::from(*class)] as f32 / sum;
        (1.0 - share) / temperature as f32
    };
    let logits: Vec<f32> = classes.iter().map(logit).collect();
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}
