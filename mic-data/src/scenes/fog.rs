//! Fog over a rendered scene.

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Homogeneous fog: what is at distance `d` sends `t = exp(-beta d)` of its light to the camera, and
/// the fog adds its own, `I = J t + A (1 - t)` (Koschmieder's law, as in Foggy Cityscapes).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fog {
    /// Attenuation by metre, above 0 and at most 1. The eye sees as far as 3 / beta.
    pub beta: f32,
    /// `A`, RGB.
    pub airlight: [u8; 3],
}

impl Fog {
    /// Light grey fog of this density.
    ///
    /// # Errors
    /// A density that is not above 0 and at most 1.
    pub fn new(beta: f32) -> Result<Self> {
        if !(beta > 0.0 && beta <= 1.0) {
            return Err(Error::Invalid(format!(
                "fog = {beta}: expected the attenuation by metre, above 0 and at most 1, such as 0.06"
            )));
        }
        Ok(Self {
            beta,
            airlight: [204, 207, 212],
        })
    }

    /// The share of light that comes through this many metres, 1 to 0.
    pub fn transmission(&self, metres: f32) -> f32 {
        // Sums and products alone round alike on every machine; `exp` does not.
        let part = f64::from(self.beta) * f64::from(metres.max(0.0)) / 1024.0;
        let mut share = 1.0 - part * (1.0 - part / 2.0 * (1.0 - part / 3.0 * (1.0 - part / 4.0)));
        for _ in 0..10 {
            share *= share;
        }
        share as f32
    }

    /// The image with fog. `depth` has one distance in metres a pixel, row by row.
    ///
    /// # Errors
    /// Another number of distances than pixels.
    pub fn over(&self, image: &RgbImage, depth: &[f32]) -> Result<RgbImage> {
        let pixels = (image.width() as usize) * (image.height() as usize);
        if depth.len() != pixels {
            return Err(Error::Invalid(format!(
                "{} distances for an image of {pixels} pixels",
                depth.len()
            )));
        }
        let mut foggy = image.clone();
        for (pixel, &metres) in foggy.pixels_mut().zip(depth) {
            let through = self.transmission(metres);
            for (value, air) in pixel.0.iter_mut().zip(self.airlight) {
                let mixed = f32::from(*value) * through + f32::from(air) * (1.0 - through);
                *value = (mixed + 0.5) as u8;
            }
        }
        Ok(foggy)
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn light_falls_exponentially() {
        for beta in [0.005f32, 0.06, 1.0] {
            let fog = Fog::new(beta).unwrap();
            for metres in [0.0f32, 0.1, 3.0, 17.5, 60.0, 250.0] {
                let exact = (-f64::from(beta) * f64::from(metres)).exp();
                let ours = f64::from(fog.transmission(metres));
                assert!(
                    (ours - exact).abs() < 1e-6,
                    "{beta}, {metres}: {ours}, {exact}"
                );
            }
        }
    }

    #[test]
    fn far_pixels_are_closer_to_the_colour_of_the_fog() {
        let fog = Fog::new(0.06).unwrap();
        for colour in [[0, 0, 0], [255, 255, 255], [20, 200, 90]] {
            let image = RgbImage::from_pixel(251, 1, Rgb(colour));
            let depth: Vec<f32> = (0..251).map(|d| d as f32).collect();
            let foggy = fog.over(&image, &depth).unwrap();
            assert_eq!(foggy.get_pixel(0, 0).0, colour);
            assert_eq!(foggy.get_pixel(250, 0).0, fog.airlight);
            for (c, &air) in fog.airlight.iter().enumerate() {
                let away: Vec<u8> = foggy.pixels().map(|p| p.0[c].abs_diff(air)).collect();
                assert!(away.is_sorted_by(|near, far| near >= far), "{colour:?}");
            }
        }
    }

    #[test]
    fn misuse_is_named() {
        for beta in [0.0, -1.0, f32::NAN, 2.0] {
            assert!(Fog::new(beta).unwrap_err().to_string().contains("fog ="));
        }
        let error = Fog::new(0.1).unwrap().over(&RgbImage::new(2, 2), &[1.0]);
        assert!(error.unwrap_err().to_string().contains("1 distances"));
    }
}
