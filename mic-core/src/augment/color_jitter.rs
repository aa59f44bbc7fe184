//! Colour jitter: brightness, contrast, saturation and hue in random order.

use candle_core::Tensor;
use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::hsv::{EPSILON, hsv_to_rgb, larger, rgb_to_hsv, smaller};
use super::{Normalization, change_pixels, image_dims, uniform};
use crate::Result;
use crate::error::{config, input};

/// How far each property of the colours may change.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColorJitterConfig {
    /// Brightness factor from \[1 - b, 1 + b\], bounded by 0 and 2.
    pub brightness: f64,
    /// Contrast factor from \[1 - c, 1 + c\], bounded below by 0.
    pub contrast: f64,
    /// Saturation factor from \[1 - s, 1 + s\], bounded below by 0.
    pub saturation: f64,
    /// Hue shift from \[-h, h\] turns, at most half a turn.
    pub hue: f64,
}

impl ColorJitterConfig {
    /// The same strength for all four; MIC uses 0.2.
    pub fn with_strength(strength: f64) -> Self {
        Self {
            brightness: strength,
            contrast: strength,
            saturation: strength,
            hue: strength,
        }
    }

    /// Checks the values against their ranges.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if a strength is negative or the hue's above 0.5.
    pub fn check(&self) -> Result<()> {
        let strengths = [
            ("brightness", self.brightness, f64::MAX),
            ("contrast", self.contrast, f64::MAX),
            ("saturation", self.saturation, f64::MAX),
            ("hue", self.hue, 0.5),
        ];
        for (name, strength, most) in strengths {
            if !(0.0..=most).contains(&strength) {
                let range = if name == "hue" {
                    "in [0, 0.5]"
                } else {
                    "0 or more"
                };
                return config(format!(
                    "colour jitter {name} is {strength}; it must be {range}"
                ));
            }
        }
        Ok(())
    }

    /// Draws factors for each of `batch` images and one order of the operations for all of them.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn sample(&self, rng: &mut impl Rng, batch: usize) -> Result<ColorJitter> {
        self.check()?;
        let mut factors = |low: f64, high: f64| -> Vec<f32> {
            (0..batch).map(|_| uniform(rng, low, high) as f32).collect()
        };
        let around_one = |strength: f64| ((1.0 - strength).max(0.0), 1.0 + strength);
        let (low, high) = around_one(self.brightness);
        let brightness = factors(low, high.min(2.0));
        let (low, high) = around_one(self.contrast);
        let contrast = factors(low, high);
        let hue = factors(-self.hue, self.hue);
        let (low, high) = around_one(self.saturation);
        let saturation = factors(low, high);
        let mut order = JitterOp::ALL.to_vec();
        order.shuffle(rng);
        Ok(ColorJitter {
            brightness,
            contrast,
            saturation,
            hue,
            order,
        })
    }
}

/// One operation of the colour jitter, on colours in \[0, 1\].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JitterOp {
    /// `clamp(x + factor - 1, 0, 1)`.
    Brightness,
    /// `clamp(x * factor, 0, 1)`.
    Contrast,
    /// `clamp(S * factor, 0, 1)` in HSV.
    Saturation,
    /// H plus the factor in turns, in HSV.
    Hue,
}

impl JitterOp {
    /// All four.
    pub const ALL: [Self; 4] = [
        Self::Brightness,
        Self::Contrast,
        Self::Saturation,
        Self::Hue,
    ];
}

/// Drawn factors of a batch, one of each kind per image, and the order of the operations.
#[derive(Clone, Debug, PartialEq)]
pub struct ColorJitter {
    /// Brightness factors; 1 changes nothing.
    pub brightness: Vec<f32>,
    /// Contrast factors; 1 changes nothing.
    pub contrast: Vec<f32>,
    /// Saturation factors; 1 changes nothing.
    pub saturation: Vec<f32>,
    /// Hue shifts in turns, in \[-0.5, 0.5\]; 0 changes nothing.
    pub hue: Vec<f32>,
    /// The operations from first to last; one that is not named is left out.
    pub order: Vec<JitterOp>,
}

impl ColorJitter {
    /// The jittered images: `images` f32 (B, 3, H, W), RGB, normalised by `norm`; so is the result.
    ///
    /// # Errors
    /// [`Error::Input`](crate::Error::Input) for images of another shape or dtype, or if there are
    /// not B factors of each kind.
    pub fn apply(&self, images: &Tensor, norm: &Normalization) -> Result<Tensor> {
        let (batch, ..) = image_dims(images)?;
        change_pixels(images, |pixels| self.apply_to_slice(pixels, batch, norm))
    }

    /// As [`apply`](Self::apply), in place on the pixels of `batch` images, (B, 3, H, W) row-major.
    pub(super) fn apply_to_slice(
        &self,
        pixels: &mut [f32],
        batch: usize,
        norm: &Normalization,
    ) -> Result<()> {
        let factors = [
            &self.brightness,
            &self.contrast,
            &self.saturation,
            &self.hue,
        ];
        if let Some(wrong) = factors.iter().find(|factors| factors.len() != batch) {
            return input(format!(
                "colour jitter drawn for {} images applied to {batch}",
                wrong.len()
            ));
        }
        if pixels.is_empty() {
            return Ok(());
        }
        let image_len = pixels.len() / batch;
        for (image, pixels) in pixels.chunks_exact_mut(image_len).enumerate() {
            self.apply_to_image(image, pixels, norm);
        }
        Ok(())
    }

    fn apply_to_image(&self, image: usize, pixels: &mut [f32], norm: &Normalization) {
        /// Pixels changed together: their three channels stay in the first-level cache.
        const BLOCK: usize = 512;
        let (red, rest) = pixels.split_at_mut(pixels.len() / 3);
        let (green, blue) = rest.split_at_mut(red.len());
        let blocks = red
            .chunks_mut(BLOCK)
            .zip(green.chunks_mut(BLOCK))
            .zip(blue.chunks_mut(BLOCK));
        for ((red, green), blue) in blocks {
            scale(red, norm.to_unit(0));
            scale(green, norm.to_unit(1));
            scale(blue, norm.to_unit(2));
            for op in &self.order {
                match op {
                    JitterOp::Brightness => {
                        let shift = self.brightness[image] - 1.0;
                        clamped([&mut *red, &mut *green, &mut *blue], |x| x + shift);
                    }
                    JitterOp::Contrast => {
                        let factor = self.contrast[image];
                        clamped([&mut *red, &mut *green, &mut *blue], |x| x * factor);
                    }
                    JitterOp::Saturation => {
                        saturate([&mut *red, &mut *green, &mut *blue], self.saturation[image]);
                    }
                    JitterOp::Hue => {
                        let turns = self.hue[image];
                        each_colour([&mut *red, &mut *green, &mut *blue], |colour| {
                            let [hue, saturation, value] = rgb_to_hsv(colour);
                            hsv_to_rgb([hue + turns, saturation, value])
                        });
                    }
                }
            }
            scale(red, norm.back_from_unit(0));
            scale(green, norm.back_from_unit(1));
            scale(blue, norm.back_from_unit(2));
        }
    }
}

fn scale(values: &mut [f32], (factor, offset): (f32, f32)) {
    for x in values {
        *x = *x * factor + offset;
    }
}

fn clamped(channels: [&mut [f32]; 3], change: impl Fn(f32) -> f32) {
    for x in channels.into_iter().flatten() {
        *x = smaller(larger(change(*x), 0.0), 1.0);
    }
}

/// Scales S in HSV. As the hue stays, each channel keeps its share of the distance below the
/// largest one, and the way through the hue can be left out.
fn saturate(channels: [&mut [f32]; 3], factor: f32) {
    each_colour(channels, |[r, g, b]| {
        let value = larger(larger(r, g), b);
        let delta = value - smaller(smaller(r, g), b);
        let saturation = delta / (value + EPSILON);
        let saturation = smaller(larger(saturation * factor, 0.0), 1.0);
        let pull = value * saturation / if delta == 0.0 { 1.0 } else { delta };
        [
            value - pull * (value - r),
            value - pull * (value - g),
            value - pull * (value - b),
        ]
    });
}

#[inline(always)]
fn each_colour(channels: [&mut [f32]; 3], change: impl Fn([f32; 3]) -> [f32; 3]) {
    let [red, green, blue] = channels;
    for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
        [*r, *g, *b] = change([*r, *g, *b]);
    }
}
