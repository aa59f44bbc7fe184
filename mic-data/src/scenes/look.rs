//! Light, haze and camera: what acts on all pixels after the surfaces have their colours.

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::config::Style;
use super::palette::uniform;

/// A shadow that a building throws over the ground from one side.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    /// 0 left, 1 right.
    pub side: u8,
    /// Nearness of its far end.
    pub from: f32,
    /// Nearness of its near end.
    pub to: f32,
    /// How far it reaches: 0 is the side's edge of the road, 1 the middle, 2 the other edge.
    pub reach: f32,
    /// What is left of the light, in `[0, 1]`.
    pub light: f32,
}

/// Light, haze and camera of one image. The order of application is light, haze, blur, gain,
/// noise, tone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// Light falls from the right by this much (negative: left): a ramp over the columns.
    pub side_light: f32,
    /// Shadows on the ground.
    pub shadows: Vec<Shadow>,
    /// What is left of the light under cars and people, in `[0, 1]`.
    pub contact_light: f32,
    /// Share of haze at infinite distance, in `[0, 1)`.
    pub haze: f32,
    /// Colour of the haze and of the sky at the horizon.
    pub haze_colour: [f32; 3],
    /// Exposure times white balance.
    pub gain: [f32; 3],
    /// Weight of each neighbour in a 3-tap blur along rows and columns, in `[0, 1/3]`.
    pub blur: f32,
    /// Standard deviation of the sensor noise, image range `[0, 1]`.
    pub noise: f32,
    /// Where the noise of each channel starts in its field.
    pub noise_offsets: [[u16; 2]; 3],
    /// Tone curve `v + tone * v * (1 - v)`, in `(-1, 1)`; stands for a gamma near 1.
    pub tone: f32,
}

impl Look {
    /// Draws the light and camera of a style.
    pub fn sample(rng: &mut impl Rng, style: Style, horizon_colour: [f32; 3]) -> Self {
        let noise_offsets = [(); 3].map(|()| [rng.random(), rng.random()]);
        match style {
            Style::Source => Self {
                side_light: 0.0,
                shadows: Vec::new(),
                contact_light: 0.6,
                haze: 0.0,
                haze_colour: horizon_colour,
                gain: [1.0; 3],
                blur: 0.0,
                noise: 0.008,
                noise_offsets,
                tone: 0.0,
            },
            Style::Target => {
                let mut shadows = Vec::new();
                if rng.random_bool(0.6) {
                    let side = rng.random_range(0..2);
                    let light = uniform(rng, 0.5, 0.8);
                    for _ in 0..rng.random_range(1..=2) {
                        let from = uniform(rng, 0.05, 0.7);
                        shadows.push(Shadow {
                            side,
                            from,
                            to: from + uniform(rng, 0.15, 0.6),
                            reach: uniform(rng, 0.2, 1.7),
                            light,
                        });
                    }
                }
                let exposure = uniform(rng, 0.75, 1.15);
                Self {
                    side_light: uniform(rng, -0.17, 0.17),
                    shadows,
                    contact_light: uniform(rng, 0.5, 0.9),
                    haze: uniform(rng, 0.0, 0.45),
                    haze_colour: horizon_colour,
                    gain: [(); 3].map(|()| exposure * (1.0 + uniform(rng, -0.05, 0.05))),
                    // The neighbours' weights of Gaussians with sigma 0.45 and 0.8 pixels.
                    blur: uniform(rng, 0.07, 0.24),
                    noise: 0.018,
                    noise_offsets,
                    // Gamma 1.2 to 0.85 at mid-grey.
                    tone: uniform(rng, -0.26, 0.22),
                }
            }
        }
    }
}
