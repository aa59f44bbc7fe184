//! Sky, road, sidewalks, grass, shadows on them, and the bonnet of the camera's car.

use super::super::canvas::{Canvas, Distance};
use super::super::class::Class;
use super::super::graph::{Cloud, Hood, Surfaces};
use super::super::look::Shadow;
use super::super::perspective::Perspective;

/// Paints the whole image as sky with clouds.
pub(in super::super) fn sky(canvas: &mut Canvas, surfaces: &Surfaces, clouds: &[Cloud]) {
    let part = canvas.of(Class::Sky, Distance::Sky).part(&surfaces.sky);
    canvas.cover.fill(part);
    for cloud in clouds {
        let part = canvas.part(&cloud.material);
        let (x, y, r) = (cloud.x, cloud.y, cloud.radius);
        canvas.ellipse(x, y, 2.2 * r, 0.6 * r, part);
        canvas.ellipse(x - 0.8 * r, y - 0.35 * r, r, 0.6 * r, part);
        canvas.ellipse(x + 0.5 * r, y - 0.5 * r, 1.2 * r, 0.8 * r, part);
    }
}

/// Paints all rows below the horizon.
pub(in super::super) fn ground(
    canvas: &mut Canvas,
    perspective: &Perspective,
    surfaces: &Surfaces,
) {
    let grass = canvas
        .of(Class::Terrain, Distance::Ground)
        .part(&surfaces.grass);
    let sidewalk = canvas
        .of(Class::Sidewalk, Distance::Ground)
        .part(&surfaces.sidewalk);
    let kerb = canvas.part(&surfaces.kerb);
    let road = canvas
        .of(Class::Road, Distance::Ground)
        .part(&surfaces.road);
    let marking = surfaces.marking.as_ref().map(|m| canvas.part(m));
    let right = canvas.width as f32 * canvas.pixel();
    let middle = perspective.vanishing;
    for row in rows_from(canvas, perspective.horizon) {
        let y = (row as f32 + 0.5) * canvas.pixel();
        let nearness = perspective.nearness(y).clamp(0.0, 1.0);
        let edge = perspective.road_edge(nearness);
        let stone = (0.5 + 1.2 * nearness) / 64.0;
        let [left_walk, right_walk] = [0, 1].map(|side| perspective.sidewalk_edge(side, nearness));
        canvas.span(row, 0.0, right, grass);
        canvas.span(row, middle - left_walk, middle + right_walk, sidewalk);
        canvas.span(row, middle - edge - stone, middle + edge + stone, kerb);
        canvas.span(row, middle - edge, middle + edge, road);
        // Dashes of 3 m with gaps of 3 m.
        let dash = Perspective::depth(nearness) / 6.0;
        if let Some(part) = marking
            && dash - dash.floor() < 0.5
        {
            let half = (0.3 + 0.8 * nearness) / 64.0;
            canvas.span(row, middle - half, middle + half, part);
        }
    }
}

/// Darkens the ground where a building throws its shadow.
pub(in super::super) fn shadow(canvas: &mut Canvas, perspective: &Perspective, shadow: &Shadow) {
    let side = usize::from(shadow.side.min(1));
    let from = perspective.row(shadow.from.clamp(0.0, 1.0));
    for row in rows_from(canvas, from) {
        let nearness = perspective.nearness((row as f32 + 0.5) * canvas.pixel());
        if nearness > shadow.to {
            break;
        }
        let outer = perspective.column(side, 10.0);
        let inner = (1.0 - shadow.reach) * perspective.road_edge(nearness);
        let inner = perspective.column(side, inner);
        canvas.shade(row, outer.min(inner), outer.max(inner), shadow.light);
    }
}

/// Paints the bonnet along the bottom border.
pub(in super::super) fn hood(canvas: &mut Canvas, hood: &Hood) {
    let part = canvas
        .of(Class::Ignore, Distance::Metres(1.5))
        .part(&hood.paint);
    let middle = 0.5 * canvas.width as f32 * canvas.pixel();
    canvas.ellipse(middle, 1.0 + hood.height, middle, 2.0 * hood.height, part);
}

/// Pixel rows whose centres are at or below `y`.
fn rows_from(canvas: &Canvas, y: f32) -> std::ops::Range<usize> {
    let first = (y / canvas.pixel() + 0.5).floor().max(0.0) as usize;
    first.min(canvas.height)..canvas.height
}
