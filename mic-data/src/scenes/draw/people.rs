//! People on foot, people on bicycles, and bicycles.

use super::super::canvas::Canvas;
use super::super::class::Class;
use super::super::graph::{Bicycle, Person};
use super::Foot;

/// Paints a person on foot.
pub(super) fn walker(canvas: &mut Canvas, foot: Foot, person: &Person) {
    let Foot { x, y, .. } = foot;
    let h = person.height;
    canvas.shade_ellipse(x, y, 0.2 * h, 0.05 * h, foot.light);
    canvas.begin(Class::Person, foot.distance);
    let legs = canvas.part(&person.clothes.legs);
    let far_leg = canvas.part(&person.clothes.legs.scaled(0.8));
    let step = (0.05 + 0.08 * person.stride) * h;
    let hip = y - 0.48 * h;
    canvas.line([x + 0.04 * h, hip], [x + step, y], 0.12 * h, far_leg);
    canvas.line([x - 0.04 * h, hip], [x - step, y], 0.12 * h, legs);
    let coat = canvas.part(&person.clothes.coat);
    let sleeve = canvas.part(&person.clothes.coat.scaled(0.8));
    let shoulder = y - 0.80 * h;
    let hand = step + 0.06 * h;
    canvas.line(
        [x + 0.11 * h, shoulder],
        [x + hand, y - 0.44 * h],
        0.08 * h,
        sleeve,
    );
    canvas.line(
        [x - 0.11 * h, shoulder],
        [x - hand, y - 0.44 * h],
        0.08 * h,
        sleeve,
    );
    let torso = [
        [x - 0.10 * h, y - 0.42 * h],
        [x + 0.10 * h, y - 0.42 * h],
        [x + 0.16 * h, y - 0.82 * h],
        [x - 0.16 * h, y - 0.82 * h],
    ];
    canvas.polygon(&torso, coat);
    head(canvas, x, y - 0.905 * h, h, person);
    canvas.end();
}

/// Paints a person who sits on a bicycle.
pub(super) fn rider(canvas: &mut Canvas, foot: Foot, person: &Person, forward: bool) {
    let h = person.height;
    let nose = if forward { 1.0 } else { -1.0 };
    let at = |u: f32, v: f32| [foot.x + nose * u * h, foot.y - v * h];
    canvas.begin(Class::Rider, foot.distance);
    let legs = canvas.part(&person.clothes.legs);
    let coat = canvas.part(&person.clothes.coat);
    let sleeve = canvas.part(&person.clothes.coat.scaled(0.8));
    canvas.line(at(-0.10, 0.52), at(0.12, 0.38), 0.13 * h, legs);
    canvas.line(at(0.12, 0.40), at(0.02, 0.12), 0.10 * h, legs);
    let torso = [
        at(-0.19, 0.48),
        at(0.02, 0.48),
        at(0.20, 0.84),
        at(-0.10, 0.86),
    ];
    canvas.polygon(&torso, coat);
    canvas.line(at(0.10, 0.80), at(0.30, 0.58), 0.08 * h, sleeve);
    let [x, y] = at(0.11, 0.92);
    head(canvas, x, y, h, person);
    canvas.end();
}

fn head(canvas: &mut Canvas, x: f32, y: f32, h: f32, person: &Person) {
    let hair = canvas.part(&person.clothes.hair);
    let skin = canvas.part(&person.clothes.skin);
    canvas.ellipse(x, y, 0.085 * h, 0.095 * h, hair);
    canvas.ellipse(x, y + 0.025 * h, 0.065 * h, 0.065 * h, skin);
}

/// Paints a bicycle; its wheels are filled, as annotators fill them.
pub(super) fn bicycle(canvas: &mut Canvas, foot: Foot, bicycle: &Bicycle) {
    let r = bicycle.wheel;
    let nose = if bicycle.forward { 1.0 } else { -1.0 };
    // In wheel radii, from the point on the ground between the wheels.
    let at = |u: f32, v: f32| [foot.x + nose * u * r, foot.y - v * r];
    canvas.shade_ellipse(foot.x, foot.y, 1.9 * r, 0.12 * r, foot.light);
    canvas.begin(Class::Bicycle, foot.distance);
    let spokes = canvas.part(&bicycle.spokes);
    let tyres = canvas.part(&bicycle.tyres);
    let frame = canvas.part(&bicycle.frame);
    for u in [-1.2, 1.2] {
        let [x, y] = at(u, 1.0);
        canvas.ellipse(x, y, r, r, spokes);
        canvas.ring(x, y, r, 0.2 * r, tyres);
    }
    let thick = 0.22 * r;
    let (rear, front, crank) = (at(-1.2, 1.0), at(1.2, 1.0), at(-0.1, 0.8));
    let (seat, bar) = (at(-0.45, 2.0), at(0.95, 2.1));
    for (a, b) in [
        (rear, crank),
        (rear, seat),
        (crank, seat),
        (crank, bar),
        (seat, bar),
        (front, bar),
    ] {
        canvas.line(a, b, thick, frame);
    }
    canvas.line(at(-0.75, 2.15), at(-0.2, 2.15), 0.25 * r, tyres);
    canvas.line(at(0.75, 2.35), at(1.15, 2.35), 0.2 * r, tyres);
    canvas.end();
}
