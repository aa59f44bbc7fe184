//! Cars, buses and trucks, seen from the side or from an end.

use super::super::canvas::{Canvas, PartId};
use super::super::class::Class;
use super::super::graph::{Car, Wagon, WagonBody};
use super::Foot;

/// Coordinates inside a vehicle: `u` from -1 (its tail) to 1 (its nose), `v` from 0 (the ground)
/// to 1 (its roof).
struct Frame {
    x: f32,
    y: f32,
    half: f32,
    height: f32,
    nose: f32,
}

impl Frame {
    fn new(foot: Foot, width: f32, height: f32, forward: bool) -> Self {
        Self {
            x: foot.x,
            y: foot.y,
            half: 0.5 * width,
            height,
            nose: if forward { 1.0 } else { -1.0 },
        }
    }

    fn point(&self, u: f32, v: f32) -> [f32; 2] {
        [self.x + self.nose * u * self.half, self.y - v * self.height]
    }

    fn rect(&self, canvas: &mut Canvas, u: [f32; 2], v: [f32; 2], part: PartId) {
        let (a, b) = (self.point(u[0], v[0]), self.point(u[1], v[1]));
        canvas.rect(
            a[0].min(b[0]),
            a[1].min(b[1]),
            a[0].max(b[0]),
            a[1].max(b[1]),
            part,
        );
    }

    /// A trapezoid: `u` at the lower `v`, then `u` at the upper.
    fn trapezoid(&self, canvas: &mut Canvas, u: [[f32; 2]; 2], v: [f32; 2], part: PartId) {
        let points = [
            self.point(u[0][0], v[0]),
            self.point(u[0][1], v[0]),
            self.point(u[1][1], v[1]),
            self.point(u[1][0], v[1]),
        ];
        canvas.polygon(&points, part);
    }

    fn wheel(&self, canvas: &mut Canvas, u: f32, radius: f32, part: PartId) {
        let [x, y] = self.point(u, radius);
        let r = radius * self.height;
        canvas.ellipse(x, y, r, r, part);
    }
}

/// Paints a car.
pub(super) fn car(canvas: &mut Canvas, foot: Foot, car: &Car) {
    let frame = Frame::new(foot, car.width, car.height, car.forward);
    let half = frame.half;
    canvas.shade_ellipse(foot.x, foot.y, 1.1 * half, 0.16 * car.height, foot.light);
    canvas.begin(Class::Car, foot.distance);
    let tyres = canvas.part(&car.tyres);
    let paint = canvas.part(&car.paint);
    let dark = canvas.part(&car.paint.scaled(0.72));
    let glass = canvas.part(&car.glass);
    let lamps = canvas.part(&car.lamps);
    if car.side_view {
        frame.rect(canvas, [-1.0, 0.96], [0.16, 0.40], dark);
        frame.rect(canvas, [-0.96, 1.0], [0.32, 0.60], paint);
        frame.trapezoid(canvas, [[-0.80, 0.55], [-0.58, 0.22]], [0.56, 1.0], paint);
        frame.trapezoid(canvas, [[-0.68, 0.43], [-0.52, 0.17]], [0.60, 0.93], glass);
        frame.rect(canvas, [-0.16, -0.08], [0.56, 0.96], paint);
        frame.rect(canvas, [0.90, 1.0], [0.44, 0.56], lamps);
        for u in [-0.58, 0.60] {
            frame.wheel(canvas, u, 0.20, tyres);
        }
    } else {
        for u in [-0.74, 0.74] {
            frame.rect(canvas, [u - 0.17, u + 0.17], [0.0, 0.3], tyres);
        }
        frame.rect(canvas, [-1.0, 1.0], [0.12, 0.34], dark);
        frame.rect(canvas, [-1.0, 1.0], [0.30, 0.60], paint);
        frame.trapezoid(canvas, [[-0.92, 0.92], [-0.66, 0.66]], [0.58, 1.0], paint);
        frame.trapezoid(canvas, [[-0.78, 0.78], [-0.58, 0.58]], [0.62, 0.92], glass);
        for u in [-0.78, 0.78] {
            frame.rect(canvas, [u - 0.2, u + 0.2], [0.42, 0.55], lamps);
        }
    }
    canvas.end();
}

/// Paints a bus or a truck.
pub(super) fn wagon(canvas: &mut Canvas, foot: Foot, wagon: &Wagon) {
    let frame = Frame::new(foot, wagon.width, wagon.height, wagon.forward);
    let (half, height) = (frame.half, wagon.height);
    canvas.shade_ellipse(foot.x, foot.y, 1.06 * half, 0.10 * height, foot.light);
    let (class, cab) = match &wagon.body {
        WagonBody::Bus => (Class::Bus, &wagon.paint),
        WagonBody::Truck { cab } => (Class::Truck, cab),
    };
    canvas.begin(class, foot.distance);
    let parts = WagonParts {
        paint: canvas.part(&wagon.paint),
        dark: canvas.part(&wagon.paint.scaled(0.75)),
        cab: canvas.part(cab),
        glass: canvas.part(&wagon.glass),
        tyres: canvas.part(&wagon.tyres),
        lamps: canvas.part(&wagon.lamps),
    };
    match (class, wagon.side_view) {
        (Class::Bus, true) => bus_side(canvas, &frame, &parts),
        (Class::Bus, false) => bus_end(canvas, &frame, &parts),
        (_, true) => truck_side(canvas, &frame, &parts),
        (_, false) => truck_end(canvas, &frame, &parts, wagon.forward),
    }
    canvas.end();
}

struct WagonParts {
    paint: PartId,
    dark: PartId,
    cab: PartId,
    glass: PartId,
    tyres: PartId,
    lamps: PartId,
}

fn bus_side(canvas: &mut Canvas, frame: &Frame, p: &WagonParts) {
    frame.rect(canvas, [-1.0, 1.0], [0.10, 1.0], p.paint);
    frame.rect(canvas, [-1.0, 1.0], [0.10, 0.22], p.dark);
    frame.rect(canvas, [-0.94, 0.94], [0.50, 0.84], p.glass);
    for i in 0..4 {
        let u = -0.62 + 0.38 * i as f32;
        frame.rect(canvas, [u, u + 0.05], [0.50, 0.84], p.paint);
    }
    frame.rect(canvas, [0.68, 0.86], [0.16, 0.84], p.glass);
    frame.rect(canvas, [0.94, 1.0], [0.26, 0.36], p.lamps);
    for u in [-0.60, 0.52] {
        frame.wheel(canvas, u, 0.14, p.tyres);
    }
}

fn bus_end(canvas: &mut Canvas, frame: &Frame, p: &WagonParts) {
    wheels_end(canvas, frame, p);
    frame.rect(canvas, [-1.0, 1.0], [0.08, 1.0], p.paint);
    frame.rect(canvas, [-1.0, 1.0], [0.08, 0.18], p.dark);
    frame.rect(canvas, [-0.88, 0.88], [0.46, 0.84], p.glass);
    frame.rect(canvas, [-0.6, 0.6], [0.88, 0.95], p.dark);
    lamps_end(canvas, frame, p);
}

fn truck_side(canvas: &mut Canvas, frame: &Frame, p: &WagonParts) {
    frame.rect(canvas, [-1.0, 0.98], [0.12, 0.24], p.dark);
    frame.rect(canvas, [-1.0, 0.46], [0.22, 1.0], p.paint);
    frame.trapezoid(canvas, [[0.50, 1.0], [0.50, 0.92]], [0.16, 0.78], p.cab);
    frame.trapezoid(canvas, [[0.64, 0.95], [0.64, 0.89]], [0.46, 0.72], p.glass);
    frame.rect(canvas, [0.92, 1.0], [0.26, 0.36], p.lamps);
    for u in [-0.72, -0.42, 0.72] {
        frame.wheel(canvas, u, 0.15, p.tyres);
    }
}

fn truck_end(canvas: &mut Canvas, frame: &Frame, p: &WagonParts, front: bool) {
    wheels_end(canvas, frame, p);
    frame.rect(canvas, [-1.0, 1.0], [0.16, 1.0], p.paint);
    if front {
        frame.rect(canvas, [-0.90, 0.90], [0.08, 0.76], p.cab);
        frame.rect(canvas, [-0.78, 0.78], [0.46, 0.70], p.glass);
    } else {
        frame.rect(canvas, [-1.0, 1.0], [0.10, 0.22], p.dark);
        frame.rect(canvas, [-0.03, 0.03], [0.22, 0.96], p.dark);
    }
    lamps_end(canvas, frame, p);
}

fn wheels_end(canvas: &mut Canvas, frame: &Frame, p: &WagonParts) {
    for u in [-0.74, 0.74] {
        frame.rect(canvas, [u - 0.16, u + 0.16], [0.0, 0.2], p.tyres);
    }
}

fn lamps_end(canvas: &mut Canvas, frame: &Frame, p: &WagonParts) {
    for u in [-0.8, 0.8] {
        frame.rect(canvas, [u - 0.14, u + 0.14], [0.20, 0.28], p.lamps);
    }
}
