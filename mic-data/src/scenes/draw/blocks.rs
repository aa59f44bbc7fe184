//! Buildings, trees, walls and fences along the street, column by column.

use super::super::canvas::{Canvas, Distance, PartId};
use super::super::class::Class;
use super::super::graph::{Block, BlockKind};
use super::super::perspective::Perspective;

/// A pixel column of a block: its place along the street and its foot on the ground.
struct Column {
    x: usize,
    /// From the left, in image heights.
    at: f32,
    foot: f32,
    /// What heights at nearness 1 are multiplied with.
    scale: f32,
    nearness: f32,
    /// Metres along the street, and metres that the column spans.
    metres: [f32; 2],
}

/// Paints a block.
pub(in super::super) fn block(canvas: &mut Canvas, perspective: &Perspective, block: &Block) {
    let side = usize::from(block.side.min(1));
    let distance = if block.on_horizon {
        Distance::Metres(200.0)
    } else {
        Distance::Block(side)
    };
    let columns = columns(canvas, perspective, block, side);
    let horizon = perspective.horizon;
    match &block.kind {
        BlockKind::Building {
            above,
            storeys,
            pitch,
            facade,
            window,
            roof,
        } => {
            // The sides of a street get unequal light.
            let light = if side == 0 { 1.0 } else { 0.9 };
            canvas.of(Class::Building, distance);
            let plain = canvas.part(&facade.scaled(light));
            let glass = canvas.part(&window.scaled(light));
            let tiles = roof.as_ref().map(|m| canvas.part(&m.scaled(light)));
            for c in columns {
                let top = horizon - above * c.scale;
                canvas.post(c.x, top, c.foot, plain);
                if let Some(part) = tiles {
                    canvas.post(c.x, top - 0.05 * c.scale, top, part);
                }
                windows(canvas, &c, top, *storeys, *pitch, glass);
            }
        }
        BlockKind::Vegetation {
            above,
            wave,
            phase,
            leaves,
        } => {
            let part = canvas.of(Class::Vegetation, distance).part(leaves);
            for c in columns {
                // Rounded crowns with sharp notches between them.
                let crowns = swing(2.5 * c.at + phase).abs();
                let boughs = swing(5.5 * c.at + 3.0 * phase).abs();
                let bump = 1.4 * crowns + 0.6 * boughs - 1.0;
                let top = horizon - (above + wave * bump) * c.scale;
                canvas.post(c.x, top, c.foot, part);
            }
        }
        BlockKind::Wall {
            height,
            stone,
            coping,
        } => {
            canvas.of(Class::Wall, distance);
            let (body, cap) = (canvas.part(stone), canvas.part(coping));
            for c in columns {
                let tall = (height * c.nearness).max(2.5 / 64.0);
                canvas.post(c.x, c.foot - tall, c.foot, body);
                canvas.post(c.x, c.foot - tall, c.foot - 0.88 * tall, cap);
            }
        }
        BlockKind::Fence {
            height,
            pitch,
            bars,
            gaps,
        } => {
            canvas.of(Class::Fence, distance);
            let (gap, bar) = (canvas.part(gaps), canvas.part(bars));
            for c in columns {
                let tall = (height * c.nearness).max(2.5 / 64.0);
                let top = c.foot - tall;
                let fine = c.metres[1] > 0.5 * pitch;
                let upright = if fine {
                    c.x % 2 == 0
                } else {
                    fraction(c.metres[0] / pitch) < 0.4
                };
                canvas.post(c.x, top, c.foot, if upright { bar } else { gap });
                canvas.post(c.x, top, top + 0.14 * tall, bar);
                canvas.post(c.x, c.foot - 0.2 * tall, c.foot - 0.06 * tall, bar);
            }
        }
    }
}

/// The windows that a column meets; none where they would be finer than the pixels.
fn windows(canvas: &mut Canvas, c: &Column, top: f32, storeys: u8, pitch: f32, glass: PartId) {
    let storey = (c.foot - top) / f32::from(storeys.max(1));
    let bay = fraction(c.metres[0] / pitch);
    let too_fine = c.metres[1] > 0.45 * pitch || storey < 3.0 * canvas.pixel();
    if too_fine || !(0.28..0.76).contains(&bay) {
        return;
    }
    for floor in 0..storeys {
        let y = top + f32::from(floor) * storey;
        canvas.post(c.x, y + 0.25 * storey, y + 0.72 * storey, glass);
    }
}

/// The pixel columns of a block, with what perspective gives each.
fn columns(canvas: &Canvas, perspective: &Perspective, block: &Block, side: usize) -> Vec<Column> {
    let pixel = canvas.pixel();
    let ends = [block.from, block.to].map(|d| perspective.column(side, d) / pixel);
    let clamp = |v: f32| (v.round().max(0.0) as usize).min(canvas.width);
    let (a, b) = (clamp(ends[0].min(ends[1])), clamp(ends[0].max(ends[1])));
    (a..b)
        .map(|x| {
            let at = (x as f32 + 0.5) * pixel;
            let away = (at - perspective.vanishing).abs();
            let near = |d| perspective.block_nearness(side, d).max(0.0);
            let nearness = near(away);
            let depth = |d| Perspective::depth(near(d));
            let width = (depth(away - 0.5 * pixel) - depth(away + 0.5 * pixel)).abs();
            Column {
                x,
                at,
                foot: if block.on_horizon {
                    perspective.horizon + pixel
                } else {
                    perspective.row(nearness)
                },
                scale: if block.on_horizon {
                    1.0
                } else {
                    0.25 + 0.75 * nearness
                },
                nearness,
                metres: [Perspective::depth(nearness), width],
            }
        })
        .collect()
}

fn fraction(v: f32) -> f32 {
    v - v.floor()
}

/// A wave between -1 and 1 with period 1, made of parabolas.
fn swing(v: f32) -> f32 {
    let t = 2.0 * fraction(v) - 1.0;
    4.0 * t * (1.0 - t.abs())
}
