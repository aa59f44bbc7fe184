//! What stands on the ground, how many of each, where and how large.
//!
//! Sizes are those of a camera image with thin and far things enlarged, so that they cover enough
//! pixels of a small image to be learnt.

use rand::Rng;

use super::config::{SceneConfig, Style};
use super::graph::{
    Attachment, Bicycle, Car, Object, ObjectKind, Person, Pole, Tree, Wagon, WagonBody,
};
use super::palette::{self, uniform};
use super::perspective::Perspective;

/// All objects of one scene, far to near.
pub(super) fn objects(
    rng: &mut impl Rng,
    config: &SceneConfig,
    perspective: &Perspective,
) -> Vec<Object> {
    let style = config.style;
    let crowd = match style {
        Style::Source => 3,
        Style::Target => 4,
    };
    let spot = Spot {
        perspective,
        aspect: config.aspect(),
    };
    let mut objects = Vec::new();
    for _ in 0..rng.random_range(1..=crowd) {
        let at = spot.sidewalk(rng, 0.12, 0.75, 0.02, 0.35);
        let kind = ObjectKind::Pole(pole(rng, style, at.0));
        objects.push(at.object(kind));
    }
    for _ in 0..rng.random_range(0..=2) {
        let at = spot.sidewalk(rng, 0.2, 0.8, 0.75, 1.1);
        let kind = ObjectKind::Tree(tree(rng, style, at.0));
        objects.push(at.object(kind));
    }
    for _ in 0..rng.random_range(1..=3) {
        let parked = rng.random_bool(0.5);
        let at = if parked {
            spot.road(rng, 0.12, 0.85, 0.72, 0.9)
        } else {
            spot.road(rng, 0.12, 0.85, 0.1, 0.6)
        };
        let kind = ObjectKind::Car(car(rng, style, at.0));
        objects.push(at.object(kind));
    }
    if rng.random_bool(0.85) {
        // Buses keep to the kerb and trucks to the middle, in both styles: where one stands helps.
        let is_bus = rng.random_bool(0.5);
        let at = if is_bus {
            spot.road(rng, 0.2, 0.8, 0.65, 0.9)
        } else {
            spot.road(rng, 0.2, 0.8, 0.05, 0.45)
        };
        let kind = ObjectKind::Wagon(wagon(rng, style, at.0, is_bus));
        objects.push(at.object(kind));
    }
    for _ in 0..rng.random_range(1..=crowd) {
        let at = if rng.random_bool(0.75) {
            spot.sidewalk(rng, 0.25, 0.95, 0.2, 0.9)
        } else {
            spot.road(rng, 0.25, 0.95, 0.0, 0.95)
        };
        let kind = ObjectKind::Person(person(rng, style, at.0, false));
        objects.push(at.object(kind));
    }
    for _ in 0..rng.random_range(0..=2) {
        let at = spot.road(rng, 0.3, 0.95, 0.2, 0.95);
        let rider = person(rng, style, at.0, true);
        let bicycle = bicycle(rng, style, 0.25 * rider.height);
        objects.push(at.object(ObjectKind::Rider(rider, bicycle)));
    }
    if rng.random_bool(0.3) {
        let at = spot.sidewalk(rng, 0.3, 0.9, 0.2, 0.9);
        let wheel = 0.25 * person_height(rng, at.0);
        let kind = ObjectKind::Bicycle(bicycle(rng, style, wheel));
        objects.push(at.object(kind));
    }
    objects.sort_by(|a, b| a.nearness.total_cmp(&b.nearness));
    objects
}

/// Nearness and column of a place on the ground.
struct Place(f32, f32);

impl Place {
    fn object(&self, kind: ObjectKind) -> Object {
        Object {
            nearness: self.0,
            x: self.1,
            kind,
        }
    }
}

/// Where things may stand.
struct Spot<'a> {
    perspective: &'a Perspective,
    aspect: f32,
}

impl Spot<'_> {
    /// On a sidewalk; `inner` and `outer` are fractions of its width from the kerb.
    fn sidewalk(&self, rng: &mut impl Rng, far: f32, near: f32, inner: f32, outer: f32) -> Place {
        self.inside(|| {
            let (nearness, side) = (uniform(rng, far, near), rng.random_range(0..2));
            let kerb = self.perspective.road_edge(nearness);
            let width = self.perspective.sidewalk_edge(side, nearness) - kerb;
            let distance = kerb + uniform(rng, inner, outer) * width;
            Place(nearness, self.perspective.column(side, distance))
        })
    }

    /// On the road; `inner` and `outer` are fractions of the way from its middle to its edge.
    fn road(&self, rng: &mut impl Rng, far: f32, near: f32, inner: f32, outer: f32) -> Place {
        self.inside(|| {
            let (nearness, side) = (uniform(rng, far, near), rng.random_range(0..2));
            let distance = uniform(rng, inner, outer) * self.perspective.road_edge(nearness);
            Place(nearness, self.perspective.column(side, distance))
        })
    }

    /// The first of ten draws whose column is in the image, or the last.
    fn inside(&self, mut draw: impl FnMut() -> Place) -> Place {
        let mut place = draw();
        for _ in 1..10 {
            if (0.03..self.aspect - 0.03).contains(&place.1) {
                break;
            }
            place = draw();
        }
        place
    }
}

fn pole(rng: &mut impl Rng, style: Style, nearness: f32) -> Pole {
    let scale = 0.4 + 0.7 * nearness;
    let size = (uniform(rng, 5.5, 8.0) * scale).max(2.6) / 64.0;
    let draw: f32 = rng.random();
    let attachment = if draw < 0.25 {
        let [face, rim] = palette::sign(rng, style);
        Attachment::Disc { size, face, rim }
    } else if draw < 0.5 {
        let [face, rim] = palette::sign(rng, style);
        Attachment::Square { size, face, rim }
    } else if draw < 0.8 {
        let (case, lamps) = palette::light(rng, style);
        Attachment::Light {
            size: 1.15 * size,
            case,
            lamps,
            lit: rng.random_range(0..3),
        }
    } else {
        Attachment::Arm {
            length: uniform(rng, 8.0, 14.0) * scale / 64.0,
        }
    };
    let lamp_post = if matches!(attachment, Attachment::Arm { .. }) {
        1.4
    } else {
        1.0
    };
    Pole {
        width: (4.5 * nearness + 0.6).max(2.0) / 64.0,
        height: lamp_post * uniform(rng, 22.0, 36.0) * (0.35 + 0.75 * nearness) / 64.0,
        metal: palette::metal(rng, style),
        attachment,
    }
}

fn tree(rng: &mut impl Rng, style: Style, nearness: f32) -> Tree {
    let height = uniform(rng, 22.0, 40.0) * (0.35 + 0.75 * nearness) / 64.0;
    Tree {
        height,
        crown: height * uniform(rng, 0.22, 0.34),
        leaves: palette::leaves(rng, style),
        trunk: palette::bark(rng, style),
    }
}

/// Width of a vehicle as long as the road allows, before its own factor.
fn vehicle(nearness: f32) -> f32 {
    (16.0 + 34.0 * nearness) / 64.0
}

fn car(rng: &mut impl Rng, style: Style, nearness: f32) -> Car {
    let side_view = rng.random_bool(0.5);
    let (width, ratio) = if side_view {
        (uniform(rng, 0.6, 0.85), uniform(rng, 0.36, 0.46))
    } else {
        (uniform(rng, 0.40, 0.52), uniform(rng, 0.70, 0.85))
    };
    let forward = rng.random_bool(0.5);
    let width = width * vehicle(nearness);
    Car {
        width,
        height: ratio * width,
        side_view,
        forward,
        paint: palette::car(rng, style),
        glass: palette::glass(rng, style),
        tyres: palette::tyres(rng, style),
        lamps: palette::lamps(rng, style, forward),
    }
}

fn wagon(rng: &mut impl Rng, style: Style, nearness: f32, is_bus: bool) -> Wagon {
    let side_view = rng.random_bool(0.65);
    let (width, ratio) = if side_view {
        (uniform(rng, 0.95, 1.25), uniform(rng, 0.5, 0.65))
    } else {
        (uniform(rng, 0.55, 0.70), uniform(rng, 1.1, 1.35))
    };
    let forward = rng.random_bool(0.5);
    let width = width * vehicle(nearness);
    let body = if is_bus {
        WagonBody::Bus
    } else {
        WagonBody::Truck {
            cab: palette::wagon(rng, style, false),
        }
    };
    Wagon {
        width,
        height: ratio * width,
        side_view,
        forward,
        body,
        paint: palette::wagon(rng, style, is_bus),
        glass: palette::glass(rng, style),
        tyres: palette::tyres(rng, style),
        lamps: palette::lamps(rng, style, forward),
    }
}

fn person_height(rng: &mut impl Rng, nearness: f32) -> f32 {
    (12.0 + uniform(rng, 18.0, 25.0) * nearness) / 64.0
}

fn person(rng: &mut impl Rng, style: Style, nearness: f32, rides: bool) -> Person {
    Person {
        height: person_height(rng, nearness),
        stride: uniform(rng, 0.0, 1.0),
        clothes: palette::clothes(rng, style, rides),
    }
}

fn bicycle(rng: &mut impl Rng, style: Style, wheel: f32) -> Bicycle {
    Bicycle {
        wheel,
        forward: rng.random_bool(0.5),
        frame: palette::frame(rng, style),
        tyres: palette::tyres(rng, style),
        spokes: palette::spokes(rng, style),
    }
}
