//! Boxes around the visible pixels of instances.

use serde::{Deserialize, Serialize};

use super::canvas::Canvas;
use super::config::SceneConfig;

/// The visible part of one thing. Pixel columns `x0..x1` and rows `y0..y1`: `x1` and `y1` are one
/// past the last pixel, so the width is `x1 - x0`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct InstanceBox {
    /// Cityscapes train id.
    pub class: u8,
    pub x0: u32,
    pub y0: u32,
    pub x1: u32,
    pub y1: u32,
    /// Its value in `Scene::instances`.
    pub instance: u16,
    /// Visible pixels over the pixels that it would have inside the image if nothing hid it.
    pub visible: f32,
}

/// Visible pixels of one instance: left, top, right, bottom (inclusive) and their number.
struct Extent {
    sides: [u32; 4],
    pixels: u32,
}

/// Instance of every pixel (0 is none) and the boxes that the configuration keeps.
pub(super) fn instances(canvas: &Canvas, config: &SceneConfig) -> (Vec<u16>, Vec<InstanceBox>) {
    let of_part: Vec<u16> = canvas.parts.iter().map(|p| p.instance).collect();
    let map: Vec<u16> = canvas
        .cover
        .iter()
        .map(|&p| of_part[usize::from(p)])
        .collect();
    let mut extents: Vec<Extent> = canvas
        .instances
        .iter()
        .map(|_| Extent {
            sides: [u32::MAX, u32::MAX, 0, 0],
            pixels: 0,
        })
        .collect();
    for (y, row) in map.chunks_exact(canvas.width).enumerate() {
        for (x, &id) in row.iter().enumerate() {
            if id > 0 {
                let (x, y) = (x as u32, y as u32);
                let Extent { sides: s, pixels } = &mut extents[usize::from(id) - 1];
                *s = [s[0].min(x), s[1].min(y), s[2].max(x), s[3].max(y)];
                *pixels += 1;
            }
        }
    }
    let mut boxes = Vec::new();
    for (i, (instance, extent)) in canvas.instances.iter().zip(&extents).enumerate() {
        if extent.pixels == 0 {
            continue;
        }
        let [x0, y0, x1, y1] = extent.sides;
        let found = InstanceBox {
            class: instance.class.id(),
            x0,
            y0,
            x1: x1 + 1,
            y1: y1 + 1,
            instance: i as u16 + 1,
            visible: extent.pixels as f32 / instance.pixels as f32,
        };
        let short = (found.x1 - x0).min(found.y1 - y0);
        if found.visible >= config.min_visible && short >= config.min_box {
            boxes.push(found);
        }
    }
    (map, boxes)
}
