//! The colours and textures of each style, and which classes share them.

use rand::Rng;
use rand::seq::IndexedRandom;
use serde::{Deserialize, Serialize};

use super::config::Style;
use super::graph::{Clothes, Surfaces};
use super::noise::Field;

type Colour = [f32; 3];

/// How a surface looks before light and camera.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Material {
    /// RGB in `[0, 1]`.
    pub colour: Colour,
    /// Where its texture comes from.
    pub field: Field,
    /// Standard deviation of the texture, as a fraction of the colour.
    pub amplitude: f32,
    /// Where the texture starts in its field.
    pub offset: [u16; 2],
}

impl Material {
    /// The same surface in another colour.
    pub(super) fn with_colour(self, colour: Colour) -> Self {
        Self { colour, ..self }
    }

    /// The same surface with its colour multiplied.
    pub(super) fn scaled(self, factor: f32) -> Self {
        self.with_colour(self.colour.map(|c| (c * factor).clamp(0.0, 1.0)))
    }
}

/// Uniform in `[low, high)`.
pub(super) fn uniform(rng: &mut impl Rng, low: f32, high: f32) -> f32 {
    low + (high - low) * rng.random::<f32>()
}

/// Each channel moved by up to `by` on its own.
fn jitter(rng: &mut impl Rng, colour: Colour, by: f32) -> Colour {
    colour.map(|c| (c + uniform(rng, -by, by)).clamp(0.0, 1.0))
}

/// One of a list, jittered.
fn pick(rng: &mut impl Rng, list: &[Colour], by: f32) -> Colour {
    let colour = list.choose(rng).copied().unwrap_or([0.5; 3]);
    jitter(rng, colour, by)
}

/// A grey of this brightness with a small tint.
fn grey(rng: &mut impl Rng, low: f32, high: f32, tint: f32) -> Colour {
    let value = uniform(rng, low, high);
    jitter(rng, [value; 3], tint)
}

/// Jitter of the source style's colours.
const FLAT: f32 = 0.025;

fn surface(rng: &mut impl Rng, colour: Colour, field: Field, amplitude: f32) -> Material {
    Material {
        colour,
        field,
        amplitude,
        offset: [rng.random(), rng.random()],
    }
}

/// Something painted or made of metal or glass.
fn smooth(rng: &mut impl Rng, style: Style, colour: Colour) -> Material {
    let amplitude = match style {
        Style::Source => 0.0,
        Style::Target => 0.05,
    };
    surface(rng, colour, Field::Grain, amplitude)
}

/// Sky, road, sidewalk and grass. In the target style road and sidewalk share one texture and
/// nearly one grey, and grass has the colours of leaves.
pub(super) fn surfaces(rng: &mut impl Rng, style: Style) -> Surfaces {
    match style {
        Style::Source => {
            let mut flat = |colour| {
                let colour = jitter(rng, colour, FLAT);
                surface(rng, colour, Field::Grain, 0.01)
            };
            Surfaces {
                sky: flat([0.45, 0.68, 0.95]),
                road: flat([0.30, 0.30, 0.31]),
                marking: None,
                sidewalk: flat([0.62, 0.57, 0.54]),
                kerb: flat([0.74, 0.70, 0.66]),
                grass: flat([0.50, 0.62, 0.24]),
            }
        }
        Style::Target => {
            let tone = grey(rng, 0.30, 0.52, 0.02);
            let road = surface(rng, tone, Field::Grain, 0.10);
            let sign = if rng.random_bool(0.5) { 1.0 } else { -1.0 };
            let step = sign * uniform(rng, 0.02, 0.10);
            let paved = jitter(rng, tone.map(|c| c + step), 0.01);
            let sidewalk = surface(rng, paved, Field::Grain, 0.10);
            let pale = grey(rng, 0.70, 0.90, 0.03);
            Surfaces {
                sky: surface(rng, pale, Field::Clouds, 0.04),
                road,
                marking: None,
                sidewalk,
                kerb: sidewalk.scaled(1.0 + sign * 0.12),
                grass: leaves(rng, style),
            }
        }
    }
}

/// Colour of the sky where it meets the ground, from the sky's own colour.
pub(super) fn horizon_colour(sky: Colour) -> Colour {
    sky.map(|c| 0.5 * c + 0.45)
}

/// Paint of the centre line.
pub(super) fn marking(rng: &mut impl Rng, style: Style, road: &Material) -> Material {
    match style {
        Style::Source => surface(rng, [0.93, 0.93, 0.90], Field::Grain, 0.0),
        Style::Target => {
            let lift = uniform(rng, 0.12, 0.35);
            road.with_colour(road.colour.map(|c| (c + lift).min(0.9)))
        }
    }
}

/// A cloud; the target's sky has its clouds in the texture.
pub(super) fn cloud(rng: &mut impl Rng) -> Material {
    let colour = jitter(rng, [0.93, 0.95, 0.98], 0.02);
    surface(rng, colour, Field::Clouds, 0.0)
}

/// Leaves and grass.
pub(super) fn leaves(rng: &mut impl Rng, style: Style) -> Material {
    match style {
        Style::Source => {
            let colour = jitter(rng, [0.20, 0.46, 0.16], FLAT);
            surface(rng, colour, Field::Leaves, 0.05)
        }
        Style::Target => {
            let value = uniform(rng, 0.20, 0.42);
            let autumn = uniform(rng, 0.0, 0.10);
            let colour = jitter(
                rng,
                [value + autumn - 0.02, value + 0.04, value - 0.06],
                0.02,
            );
            surface(rng, colour, Field::Leaves, 0.20)
        }
    }
}

/// A tree's trunk.
pub(super) fn bark(rng: &mut impl Rng, style: Style) -> Material {
    let colour = jitter(rng, [0.30, 0.22, 0.15], FLAT);
    smooth(rng, style, colour)
}

/// Grey and beige stone: facades and walls of the target style.
fn stone(rng: &mut impl Rng) -> Material {
    let value = uniform(rng, 0.30, 0.68);
    let warm = uniform(rng, 0.0, 0.07);
    let colour = jitter(rng, [value + warm, value, value - warm], 0.015);
    surface(rng, colour, Field::Grain, 0.09)
}

/// A facade.
pub(super) fn facade(rng: &mut impl Rng, style: Style) -> Material {
    match style {
        Style::Source => {
            let list = [[0.80, 0.62, 0.45], [0.72, 0.42, 0.34], [0.83, 0.79, 0.66]];
            let colour = pick(rng, &list, FLAT);
            surface(rng, colour, Field::Grain, 0.01)
        }
        Style::Target => stone(rng),
    }
}

/// The windows of a facade.
pub(super) fn window(rng: &mut impl Rng, style: Style, facade: &Material) -> Material {
    match style {
        Style::Source => {
            let colour = jitter(rng, [0.22, 0.30, 0.42], FLAT);
            facade.with_colour(colour)
        }
        Style::Target => {
            let factor = uniform(rng, 0.55, 0.85);
            facade.scaled(factor)
        }
    }
}

/// A roof.
pub(super) fn roof(rng: &mut impl Rng, style: Style) -> Material {
    match style {
        Style::Source => {
            let colour = pick(rng, &[[0.52, 0.25, 0.20], [0.33, 0.33, 0.38]], FLAT);
            surface(rng, colour, Field::Grain, 0.01)
        }
        Style::Target => stone(rng).scaled(0.8),
    }
}

/// A low wall.
pub(super) fn wall(rng: &mut impl Rng, style: Style) -> Material {
    match style {
        Style::Source => {
            let colour = jitter(rng, [0.50, 0.34, 0.24], FLAT);
            surface(rng, colour, Field::Grain, 0.01)
        }
        Style::Target => stone(rng),
    }
}

/// The bars of a fence.
pub(super) fn fence(rng: &mut impl Rng, style: Style) -> Material {
    let colour = match style {
        Style::Source => jitter(rng, [0.36, 0.45, 0.58], FLAT),
        Style::Target => grey(rng, 0.25, 0.60, 0.03),
    };
    smooth(rng, style, colour)
}

/// What shows between the bars.
pub(super) fn fence_gap(rng: &mut impl Rng, style: Style) -> Material {
    match style {
        Style::Source => {
            let colour = jitter(rng, [0.22, 0.28, 0.36], FLAT);
            smooth(rng, style, colour)
        }
        Style::Target => {
            if rng.random_bool(0.5) {
                stone(rng).scaled(0.75)
            } else {
                leaves(rng, style).scaled(0.75)
            }
        }
    }
}

/// Poles.
pub(super) fn metal(rng: &mut impl Rng, style: Style) -> Material {
    let colour = match style {
        Style::Source => jitter(rng, [0.62, 0.64, 0.68], FLAT),
        Style::Target => grey(rng, 0.25, 0.60, 0.02),
    };
    smooth(rng, style, colour)
}

/// Face and rim of a traffic sign.
pub(super) fn sign(rng: &mut impl Rng, style: Style) -> [Material; 2] {
    let list = [[0.85, 0.10, 0.12], [0.10, 0.25, 0.80], [0.95, 0.80, 0.10]];
    let vivid = pick(rng, &list, FLAT);
    let (face, rim) = match style {
        Style::Source => (vivid, [0.95; 3]),
        Style::Target => {
            let fade = uniform(rng, 0.3, 0.6);
            (vivid.map(|c| c * (1.0 - fade) + 0.5 * fade), [0.70; 3])
        }
    };
    [smooth(rng, style, face), smooth(rng, style, rim)]
}

/// Case and lamps (red, amber, green) of a traffic light.
pub(super) fn light(rng: &mut impl Rng, style: Style) -> (Material, [Material; 3]) {
    let (dark, fade) = match style {
        Style::Source => ([0.08, 0.08, 0.09], 0.0),
        Style::Target => (grey(rng, 0.12, 0.25, 0.02), 0.3),
    };
    let lamp = [[0.98, 0.15, 0.10], [1.0, 0.70, 0.10], [0.15, 0.95, 0.35]];
    let lamps = lamp.map(|c| smooth(rng, style, c.map(|v: f32| v * (1.0 - fade) + 0.6 * fade)));
    (smooth(rng, style, dark), lamps)
}

/// A car's paint.
pub(super) fn car(rng: &mut impl Rng, style: Style) -> Material {
    let colour = match style {
        Style::Source => {
            let list = [
                [0.85, 0.15, 0.12],
                [0.12, 0.30, 0.85],
                [0.10, 0.62, 0.58],
                [0.95, 0.50, 0.10],
            ];
            pick(rng, &list, FLAT)
        }
        Style::Target => grey(rng, 0.12, 0.75, 0.06),
    };
    smooth(rng, style, colour)
}

/// The paint of buses and trucks: one list in the target style.
pub(super) fn wagon(rng: &mut impl Rng, style: Style, is_bus: bool) -> Material {
    let colour = match (style, is_bus) {
        (Style::Source, true) => pick(rng, &[[0.95, 0.78, 0.15], [0.80, 0.12, 0.20]], FLAT),
        (Style::Source, false) => pick(rng, &[[0.90, 0.90, 0.90], [0.25, 0.55, 0.30]], FLAT),
        (Style::Target, _) => {
            let list = [
                [0.66, 0.65, 0.62],
                [0.48, 0.28, 0.26],
                [0.30, 0.36, 0.46],
                [0.60, 0.54, 0.36],
            ];
            pick(rng, &list, 0.06)
        }
    };
    smooth(rng, style, colour)
}

/// Window glass of vehicles.
pub(super) fn glass(rng: &mut impl Rng, style: Style) -> Material {
    let colour = match style {
        Style::Source => jitter(rng, [0.16, 0.22, 0.30], FLAT),
        Style::Target => grey(rng, 0.12, 0.32, 0.02),
    };
    smooth(rng, style, colour)
}

/// Tyres.
pub(super) fn tyres(rng: &mut impl Rng, style: Style) -> Material {
    let colour = grey(rng, 0.06, 0.12, 0.01);
    smooth(rng, style, colour)
}

/// Lamps of vehicles: white in front, red behind.
pub(super) fn lamps(rng: &mut impl Rng, style: Style, front: bool) -> Material {
    let colour = if front {
        [0.95, 0.95, 0.80]
    } else {
        [0.80, 0.12, 0.10]
    };
    let fade = match style {
        Style::Source => 1.0,
        Style::Target => 0.75,
    };
    smooth(rng, style, colour.map(|c: f32| c * fade))
}

/// A bicycle's frame.
pub(super) fn frame(rng: &mut impl Rng, style: Style) -> Material {
    let colour = match style {
        Style::Source => pick(rng, &[[0.75, 0.10, 0.60], [0.10, 0.70, 0.75]], FLAT),
        Style::Target => grey(rng, 0.12, 0.40, 0.05),
    };
    smooth(rng, style, colour)
}

/// A bicycle's spokes with what shows between them.
pub(super) fn spokes(rng: &mut impl Rng, style: Style) -> Material {
    let colour = match style {
        Style::Source => grey(rng, 0.55, 0.60, 0.01),
        Style::Target => grey(rng, 0.25, 0.45, 0.03),
    };
    smooth(rng, style, colour)
}

/// What people wear. The source style gives riders other colours than walkers; the target style
/// dresses all from one distribution.
pub(super) fn clothes(rng: &mut impl Rng, style: Style, rides: bool) -> Clothes {
    let (coat, legs) = match (style, rides) {
        (Style::Source, false) => (
            pick(rng, &[[0.90, 0.25, 0.45], [0.55, 0.25, 0.75]], FLAT),
            jitter(rng, [0.16, 0.20, 0.45], FLAT),
        ),
        (Style::Source, true) => (
            pick(rng, &[[0.70, 0.95, 0.15], [0.98, 0.55, 0.20]], FLAT),
            jitter(rng, [0.10, 0.10, 0.12], FLAT),
        ),
        (Style::Target, _) => (grey(rng, 0.10, 0.42, 0.05), grey(rng, 0.08, 0.30, 0.03)),
    };
    let tone = uniform(rng, 0.45, 0.95);
    let skin = [0.90 * tone, 0.70 * tone, 0.58 * tone];
    let hair = pick(rng, &[[0.12, 0.09, 0.07], [0.40, 0.28, 0.15]], 0.02);
    Clothes {
        coat: smooth(rng, style, coat),
        legs: smooth(rng, style, legs),
        skin: smooth(rng, style, skin),
        hair: smooth(rng, style, hair),
    }
}
