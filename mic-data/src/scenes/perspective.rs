//! Where things stand: the ground plane seen from the camera's car.

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::config::{SceneConfig, Style};
use super::palette::uniform;

/// Depth of the bottom row, in metres.
const NEAREST: f32 = 4.0;
/// Depth of the sky and the largest depth there is, in metres.
pub(super) const FARTHEST: f32 = 250.0;
/// Half-width of the road and width of a sidewalk at the horizon, in image heights.
const ROAD_AT_HORIZON: f32 = 2.0 / 64.0;
const SIDEWALK_AT_HORIZON: f32 = 1.0 / 64.0;

/// What lies outside the road on one side; widths at the bottom row, in image heights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verge {
    /// Width of the sidewalk.
    pub sidewalk: f32,
    /// Width of the grass between sidewalk and buildings; often 0.
    pub grass: f32,
}

/// A straight road that narrows to a vanishing point. Lengths are in image heights; *nearness* is
/// 0 at the horizon and 1 at the bottom row, and every width on the ground is linear in it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Perspective {
    /// Row of the horizon, from the top.
    pub horizon: f32,
    /// Column of the vanishing point, from the left.
    pub vanishing: f32,
    /// Half of the road's width at the bottom row.
    pub road: f32,
    /// Left and right of the road.
    pub verges: [Verge; 2],
}

impl Perspective {
    /// Draws a road for this size and style.
    pub fn sample(rng: &mut impl Rng, config: &SceneConfig) -> Self {
        let (horizon, sidewalk) = match config.style {
            Style::Source => ((22.0, 29.0), (14.0, 34.0)),
            Style::Target => ((24.0, 32.0), (18.0, 42.0)),
        };
        let mut verge = || Verge {
            sidewalk: uniform(rng, sidewalk.0, sidewalk.1) / 64.0,
            grass: if rng.random_bool(0.4) {
                uniform(rng, 10.0, 28.0) / 64.0
            } else {
                0.0
            },
        };
        let verges = [verge(), verge()];
        Self {
            horizon: uniform(rng, horizon.0, horizon.1) / 64.0,
            vanishing: uniform(rng, 0.35, 0.65) * config.aspect(),
            road: uniform(rng, 45.0, 75.0) / 64.0,
            verges,
        }
    }

    /// Nearness of a row.
    pub(super) fn nearness(&self, y: f32) -> f32 {
        (y - self.horizon) / (1.0 - self.horizon)
    }

    /// Row of the ground at a nearness.
    pub(super) fn row(&self, nearness: f32) -> f32 {
        self.horizon + nearness * (1.0 - self.horizon)
    }

    /// Metres from the camera at a nearness.
    pub(super) fn depth(nearness: f32) -> f32 {
        if nearness * FARTHEST <= NEAREST {
            FARTHEST
        } else {
            NEAREST / nearness
        }
    }

    /// Distance from the vanishing column to the edge of the road.
    pub(super) fn road_edge(&self, nearness: f32) -> f32 {
        ROAD_AT_HORIZON + self.road * nearness
    }

    /// Distance from the vanishing column to the outer edge of the sidewalk.
    pub(super) fn sidewalk_edge(&self, side: usize, nearness: f32) -> f32 {
        self.road_edge(nearness) + SIDEWALK_AT_HORIZON + self.verges[side].sidewalk * nearness
    }

    /// Distance from the vanishing column to the line on which the blocks stand.
    pub(super) fn block_edge(&self, side: usize, nearness: f32) -> f32 {
        self.sidewalk_edge(side, nearness) + self.verges[side].grass * nearness
    }

    /// Nearness at which the block line lies `distance` from the vanishing column.
    pub(super) fn block_nearness(&self, side: usize, distance: f32) -> f32 {
        let at_horizon = self.block_edge(side, 0.0);
        (distance - at_horizon) / (self.block_edge(side, 1.0) - at_horizon)
    }

    /// Column at `distance` from the vanishing column towards a side.
    pub(super) fn column(&self, side: usize, distance: f32) -> f32 {
        if side == 0 {
            self.vanishing - distance
        } else {
            self.vanishing + distance
        }
    }
}
