//! Drawing a whole scene graph at random: ground, blocks along the street, and all the rest.

use rand::Rng;

use super::config::{SceneConfig, Style};
use super::graph::{Block, BlockKind, Cloud, Hood, SceneGraph};
use super::look::Look;
use super::palette::{self, uniform};
use super::perspective::Perspective;
use super::placement;
use crate::Result;

impl SceneGraph {
    /// Draws one scene.
    ///
    /// # Errors
    /// What [`SceneConfig::check`] finds.
    pub fn sample(rng: &mut impl Rng, config: &SceneConfig) -> Result<Self> {
        config.check()?;
        let style = config.style;
        let perspective = Perspective::sample(rng, config);
        let mut surfaces = palette::surfaces(rng, style);
        if rng.random_bool(0.8) {
            surfaces.marking = Some(palette::marking(rng, style, &surfaces.road));
        }
        let horizon_colour = palette::horizon_colour(surfaces.sky.colour);
        let mut blocks = backdrop(rng, config, &perspective);
        for side in 0..2 {
            blocks.extend(street_side(rng, config, &perspective, side));
        }
        Ok(Self {
            config: config.clone(),
            perspective,
            surfaces,
            clouds: clouds(rng, config, &perspective),
            blocks,
            objects: placement::objects(rng, config, &perspective),
            hood: hood(rng, style),
            look: Look::sample(rng, style, horizon_colour),
        })
    }
}

fn clouds(rng: &mut impl Rng, config: &SceneConfig, perspective: &Perspective) -> Vec<Cloud> {
    let count = match config.style {
        Style::Source => rng.random_range(0..=3),
        Style::Target => 0,
    };
    let cloud = |_| Cloud {
        x: uniform(rng, 0.0, config.aspect()),
        y: uniform(rng, 0.1, 0.7) * perspective.horizon,
        radius: uniform(rng, 2.0, 5.0) / 64.0,
        material: palette::cloud(rng),
    };
    (0..count).map(cloud).collect()
}

/// A low strip on the horizon at the end of the street, on both sides of the vanishing point.
fn backdrop(rng: &mut impl Rng, config: &SceneConfig, perspective: &Perspective) -> Vec<Block> {
    let style = config.style;
    let leafy = rng.random_bool(0.5);
    let above = uniform(rng, 2.0, 7.0) / 64.0;
    (0..2)
        .map(|side| Block {
            side,
            from: 0.0,
            to: perspective
                .vanishing
                .max(config.aspect() - perspective.vanishing),
            on_horizon: true,
            kind: if leafy {
                BlockKind::Vegetation {
                    above,
                    wave: 0.02,
                    phase: uniform(rng, 0.0, 1.0),
                    leaves: palette::leaves(rng, style),
                }
            } else {
                building(rng, style, above)
            },
        })
        .collect()
}

/// Two to four blocks from the vanishing point to the image border, far to near.
fn street_side(
    rng: &mut impl Rng,
    config: &SceneConfig,
    perspective: &Perspective,
    side: usize,
) -> Vec<Block> {
    let style = config.style;
    let border = if side == 0 {
        perspective.vanishing
    } else {
        config.aspect() - perspective.vanishing
    };
    let start = perspective.block_edge(side, 0.02);
    let mut cuts: Vec<f32> = (0..rng.random_range(1..=3))
        .map(|_| {
            let u: f32 = rng.random();
            start + (border - start) * u * u.sqrt().sqrt()
        })
        .collect();
    cuts.sort_by(f32::total_cmp);
    cuts.push(border);
    // No slits: a block takes in what is too narrow.
    let narrow = 5.0 / 64.0;
    cuts.dedup_by(|later, earlier| *later - *earlier < narrow);
    if let Some(last) = cuts.last_mut() {
        *last = border;
    }
    let mut from = start;
    let mut blocks = Vec::new();
    for to in cuts {
        let mut push = |kind| {
            blocks.push(Block {
                side: side as u8,
                from,
                to,
                on_horizon: false,
                kind,
            });
        };
        let draw: f32 = rng.random();
        if draw < 0.48 {
            let above = uniform(rng, 13.0, 46.0) / 64.0;
            push(building(rng, style, above));
        } else if draw < 0.68 {
            push(trees(rng, style));
        } else {
            let behind = uniform(rng, 8.0, 38.0) / 64.0;
            push(if rng.random_bool(0.5) {
                building(rng, style, behind)
            } else {
                trees(rng, style)
            });
            push(if draw < 0.88 {
                wall(rng, style)
            } else {
                fence(rng, style)
            });
        }
        from = to;
    }
    blocks
}

fn building(rng: &mut impl Rng, style: Style, above: f32) -> BlockKind {
    let facade = palette::facade(rng, style);
    BlockKind::Building {
        above,
        storeys: rng.random_range(3..=6),
        pitch: uniform(rng, 0.7, 1.5),
        window: palette::window(rng, style, &facade),
        facade,
        roof: rng.random_bool(0.5).then(|| palette::roof(rng, style)),
    }
}

fn trees(rng: &mut impl Rng, style: Style) -> BlockKind {
    BlockKind::Vegetation {
        above: uniform(rng, 3.0, 32.0) / 64.0,
        wave: uniform(rng, 1.5, 4.0) / 64.0,
        phase: uniform(rng, 0.0, 1.0),
        leaves: palette::leaves(rng, style),
    }
}

fn wall(rng: &mut impl Rng, style: Style) -> BlockKind {
    let stone = palette::wall(rng, style);
    BlockKind::Wall {
        height: uniform(rng, 16.0, 28.0) / 64.0,
        coping: stone.scaled(1.15),
        stone,
    }
}

fn fence(rng: &mut impl Rng, style: Style) -> BlockKind {
    BlockKind::Fence {
        height: uniform(rng, 14.0, 24.0) / 64.0,
        pitch: uniform(rng, 0.25, 0.5),
        bars: palette::fence(rng, style),
        gaps: palette::fence_gap(rng, style),
    }
}

fn hood(rng: &mut impl Rng, style: Style) -> Option<Hood> {
    (style == Style::Target && rng.random_bool(0.5)).then(|| Hood {
        height: uniform(rng, 2.0, 5.0) / 64.0,
        paint: palette::car(rng, style).scaled(0.6),
    })
}
