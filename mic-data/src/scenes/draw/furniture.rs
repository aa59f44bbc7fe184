//! Poles with signs, lights and lamps, and trees.

use super::super::canvas::Canvas;
use super::super::class::Class;
use super::super::graph::{Attachment, Pole, Tree};
use super::Foot;

/// Paints a pole and what hangs on it.
pub(super) fn pole(canvas: &mut Canvas, foot: Foot, pole: &Pole) {
    let Foot { x, y, distance, .. } = foot;
    let top = y - pole.height;
    let half = 0.5 * pole.width;
    let metal = canvas.of(Class::Pole, distance).part(&pole.metal);
    canvas.rect(x - half, top, x + half, y, metal);
    match &pole.attachment {
        Attachment::Arm { length } => {
            let end = x + foot.road * length;
            let thin = (0.7 * pole.width).max(1.5 / 64.0);
            canvas.rect(x.min(end), top, x.max(end), top + thin, metal);
            let lamp = (end - 0.3 * foot.road * length, end);
            let (a, b) = (lamp.0.min(lamp.1), lamp.0.max(lamp.1));
            canvas.rect(a, top, b, top + 1.8 * thin, metal);
        }
        Attachment::Disc { size, face, rim } => {
            canvas.of(Class::TrafficSign, distance);
            let (rim, face) = (canvas.part(rim), canvas.part(face));
            canvas.ellipse(x, top + size, *size, *size, rim);
            canvas.ellipse(x, top + size, 0.74 * size, 0.74 * size, face);
        }
        Attachment::Square { size, face, rim } => {
            canvas.of(Class::TrafficSign, distance);
            let (rim, face) = (canvas.part(rim), canvas.part(face));
            let middle = top + size;
            for (part, r) in [(rim, *size), (face, 0.76 * size)] {
                canvas.rect(x - r, middle - r, x + r, middle + r, part);
            }
        }
        Attachment::Light {
            size,
            case,
            lamps,
            lit,
        } => {
            let case_part = canvas.of(Class::TrafficLight, distance).part(case);
            canvas.rect(
                x - 0.52 * size,
                top,
                x + 0.52 * size,
                top + 2.0 * size,
                case_part,
            );
            for (i, lamp) in lamps.iter().enumerate() {
                let material = if i == usize::from(*lit) {
                    *lamp
                } else {
                    lamp.scaled(0.35)
                };
                let part = canvas.part(&material);
                let middle = top + size * (0.38 + 0.62 * i as f32);
                canvas.ellipse(x, middle, 0.28 * size, 0.28 * size, part);
            }
        }
    }
}

/// Paints a tree.
pub(super) fn tree(canvas: &mut Canvas, foot: Foot, tree: &Tree) {
    let Foot { x, y, light, .. } = foot;
    let r = tree.crown;
    canvas.shade_ellipse(x, y, 0.8 * r, 0.22 * r, light);
    canvas.of(Class::Vegetation, foot.distance);
    let (trunk, leaves) = (canvas.part(&tree.trunk), canvas.part(&tree.leaves));
    let under = canvas.part(&tree.leaves.scaled(0.8));
    let middle = y - tree.height + r;
    canvas.rect(x - 0.12 * r, middle, x + 0.12 * r, y, trunk);
    canvas.ellipse(x, middle + 0.35 * r, 1.05 * r, 0.65 * r, under);
    canvas.ellipse(x - 0.45 * r, middle + 0.1 * r, 0.65 * r, 0.6 * r, leaves);
    canvas.ellipse(x + 0.5 * r, middle + 0.05 * r, 0.6 * r, 0.55 * r, leaves);
    canvas.ellipse(x, middle - 0.2 * r, 0.8 * r, 0.8 * r, leaves);
}
