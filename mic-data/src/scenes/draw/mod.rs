//! Painting each kind of thing on the canvas.

mod blocks;
mod furniture;
mod ground;
mod people;
mod vehicles;

pub(super) use blocks::block;
pub(super) use ground::{ground, hood, shadow, sky};

use super::canvas::{Canvas, Distance};
use super::graph::{Object, ObjectKind};
use super::perspective::Perspective;

/// Where an object stands: column of its middle, row of its foot, and its distance.
#[derive(Clone, Copy)]
struct Foot {
    x: f32,
    y: f32,
    distance: Distance,
    /// Light left on the ground under it.
    light: f32,
    /// +1 if the road is on its right.
    road: f32,
}

/// Paints an object.
pub(super) fn object(
    canvas: &mut Canvas,
    perspective: &Perspective,
    object: &Object,
    contact_light: f32,
) {
    let foot = Foot {
        x: object.x,
        y: perspective.row(object.nearness),
        distance: Distance::Metres(Perspective::depth(object.nearness)),
        light: contact_light,
        road: if object.x < perspective.vanishing {
            1.0
        } else {
            -1.0
        },
    };
    match &object.kind {
        ObjectKind::Pole(pole) => furniture::pole(canvas, foot, pole),
        ObjectKind::Tree(tree) => furniture::tree(canvas, foot, tree),
        ObjectKind::Car(car) => vehicles::car(canvas, foot, car),
        ObjectKind::Wagon(wagon) => vehicles::wagon(canvas, foot, wagon),
        ObjectKind::Person(person) => people::walker(canvas, foot, person),
        ObjectKind::Rider(person, bicycle) => {
            people::bicycle(canvas, foot, bicycle);
            people::rider(canvas, foot, person, bicycle.forward);
        }
        ObjectKind::Bicycle(bicycle) => people::bicycle(canvas, foot, bicycle),
    }
}
