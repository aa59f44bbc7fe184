//! Painting by spans: each pixel holds only the index of the part that covers it; label, instance,
//! depth and colour are looked up from the table of parts afterwards.

use super::class::Class;
use super::palette::Material;

/// Where a part's depth comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Distance {
    /// The sky.
    Sky,
    /// The ground: by row.
    Ground,
    /// A block along the street: by column; 0 left, 1 right.
    Block(usize),
    /// An upright thing: metres.
    Metres(f32),
}

/// What one span of pixels is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) class: Class,
    pub(super) instance: u16,
    pub(super) distance: Distance,
    pub(super) material: Material,
}

/// A thing that gets a box.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instance {
    pub(super) class: Class,
    /// Pixels inside the image when nothing stood before it.
    pub(super) pixels: u32,
}

/// Index of a part in the table.
pub(super) type PartId = u16;

/// The image under construction. Positions are in image heights; a pixel is painted if its centre
/// is inside the shape.
pub(super) struct Canvas {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) cover: Vec<PartId>,
    pub(super) parts: Vec<Part>,
    pub(super) instances: Vec<Instance>,
    /// Light that reaches the ground, 255 is all.
    pub(super) ground_light: Vec<u8>,
    class: Class,
    instance: u16,
    distance: Distance,
    first_part: PartId,
    /// Columns and rows painted since the instance began: left, top, right, bottom (exclusive).
    touched: [usize; 4],
}

impl Canvas {
    /// An empty canvas; the first part added covers all of it.
    pub(super) fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            cover: vec![0; width * height],
            parts: Vec::with_capacity(256),
            instances: Vec::new(),
            ground_light: vec![255; width * height],
            class: Class::Ignore,
            instance: 0,
            distance: Distance::Ground,
            first_part: 0,
            touched: [0; 4],
        }
    }

    /// What the parts added from now on belong to.
    pub(super) fn of(&mut self, class: Class, distance: Distance) -> &mut Self {
        self.class = class;
        self.distance = distance;
        self.instance = 0;
        self
    }

    /// Starts an instance: the parts added until [`Canvas::end`] belong to it.
    pub(super) fn begin(&mut self, class: Class, distance: Distance) {
        self.of(class, distance);
        self.instances.push(Instance { class, pixels: 0 });
        self.instance = self.instances.len() as u16;
        self.first_part = self.parts.len() as PartId;
        self.touched = [self.width, self.height, 0, 0];
    }

    /// Ends the instance and counts its pixels, which nothing hides yet.
    pub(super) fn end(&mut self) {
        let [left, top, right, bottom] = self.touched;
        let mut pixels = 0;
        for y in top..bottom {
            let row = &self.cover[y * self.width..][left..right];
            pixels += row.iter().filter(|&&p| p >= self.first_part).count();
        }
        if let Some(instance) = self.instances.last_mut() {
            instance.pixels = pixels as u32;
        }
        self.instance = 0;
    }

    /// Adds a part of the current class.
    pub(super) fn part(&mut self, material: &Material) -> PartId {
        self.parts.push(Part {
            class: self.class,
            instance: self.instance,
            distance: self.distance,
            material: *material,
        });
        (self.parts.len() - 1) as PartId
    }

    /// Length of a pixel's side in image heights.
    pub(super) fn pixel(&self) -> f32 {
        1.0 / self.height as f32
    }

    /// Pixels whose centres lie in `[from, to)`; at least one if the middle is inside.
    fn cells(&self, from: f32, to: f32, count: usize) -> (usize, usize) {
        let scale = self.height as f32;
        let clamp = |v: f32| (v.max(0.0) as usize).min(count);
        let (a, b) = (
            clamp((from * scale + 0.5).floor()),
            clamp((to * scale + 0.5).floor()),
        );
        let middle = 0.5 * (from + to) * scale;
        if a == b && from < to && (0.0..count as f32).contains(&middle) {
            return (middle as usize, middle as usize + 1);
        }
        (a, b)
    }

    /// Paints pixel columns `a..b` of a pixel row.
    fn fill(&mut self, y: usize, a: usize, b: usize, part: PartId) {
        if a < b {
            self.cover[y * self.width + a..y * self.width + b].fill(part);
            let t = &mut self.touched;
            *t = [t[0].min(a), t[1].min(y), t[2].max(b), t[3].max(y + 1)];
        }
    }

    /// Paints one pixel row from column `from` to column `to`.
    pub(super) fn span(&mut self, y: usize, from: f32, to: f32, part: PartId) {
        let (a, b) = self.cells(from, to, self.width);
        self.fill(y, a, b, part);
    }

    /// Paints one pixel column from row `from` to row `to`.
    pub(super) fn post(&mut self, x: usize, from: f32, to: f32, part: PartId) {
        let (a, b) = self.cells(from, to, self.height);
        for y in a..b {
            self.fill(y, x, x + 1, part);
        }
    }

    /// Paints a rectangle.
    pub(super) fn rect(&mut self, left: f32, top: f32, right: f32, bottom: f32, part: PartId) {
        let (a, b) = self.cells(left, right, self.width);
        let (c, d) = self.cells(top, bottom, self.height);
        for y in c..d {
            self.fill(y, a, b, part);
        }
    }

    /// Row and half-width of an ellipse on each pixel row that it meets.
    fn ellipse_rows(&self, y: f32, rx: f32, ry: f32) -> impl Iterator<Item = (usize, f32)> + use<> {
        let (top, bottom) = self.cells(y - ry, y + ry, self.height);
        let pixel = self.pixel();
        (top..bottom).map(move |row| {
            let v = ((row as f32 + 0.5) * pixel - y) / ry;
            (row, rx * (1.0 - v * v).max(0.0).sqrt())
        })
    }

    /// Paints an ellipse.
    pub(super) fn ellipse(&mut self, x: f32, y: f32, rx: f32, ry: f32, part: PartId) {
        for (row, half) in self.ellipse_rows(y, rx, ry) {
            self.span(row, x - half, x + half, part);
        }
    }

    /// Paints a ring of radius `r` with a rim of this thickness inwards, at least one pixel.
    pub(super) fn ring(&mut self, x: f32, y: f32, r: f32, rim: f32, part: PartId) {
        let inner = r - rim.max(self.pixel());
        for (row, half) in self.ellipse_rows(y, r, r) {
            let dy = (row as f32 + 0.5) * self.pixel() - y;
            let hole = (inner * inner - dy * dy).max(0.0).sqrt();
            if inner <= 0.0 || hole == 0.0 {
                self.span(row, x - half, x + half, part);
            } else {
                self.span(row, x - half, x - hole, part);
                self.span(row, x + hole, x + half, part);
            }
        }
    }

    /// Paints a convex polygon.
    pub(super) fn polygon(&mut self, points: &[[f32; 2]], part: PartId) {
        let (low, high) = points
            .iter()
            .fold((f32::MAX, f32::MIN), |(l, h), p| (l.min(p[1]), h.max(p[1])));
        let (top, bottom) = self.cells(low, high, self.height);
        for row in top..bottom {
            let y = ((row as f32 + 0.5) * self.pixel()).clamp(low, high);
            let (mut left, mut right) = (f32::MAX, f32::MIN);
            for (i, p) in points.iter().enumerate() {
                let q = points[(i + 1) % points.len()];
                if (p[1] <= y) != (q[1] <= y) {
                    let x = p[0] + (q[0] - p[0]) * (y - p[1]) / (q[1] - p[1]);
                    left = left.min(x);
                    right = right.max(x);
                }
            }
            self.span(row, left, right, part);
        }
    }

    /// Paints a straight line of this thickness, at least one pixel.
    pub(super) fn line(&mut self, a: [f32; 2], b: [f32; 2], thickness: f32, part: PartId) {
        let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
        let length = (dx * dx + dy * dy).sqrt().max(1e-6);
        let half = 0.5 * thickness.max(self.pixel()) / length;
        let (nx, ny) = (-dy * half, dx * half);
        self.polygon(
            &[
                [a[0] + nx, a[1] + ny],
                [b[0] + nx, b[1] + ny],
                [b[0] - nx, b[1] - ny],
                [a[0] - nx, a[1] - ny],
            ],
            part,
        );
    }

    /// Darkens the ground on one pixel row.
    pub(super) fn shade(&mut self, y: usize, from: f32, to: f32, light: f32) {
        let (a, b) = self.cells(from, to, self.width);
        let level = (light.clamp(0.0, 1.0) * 255.0) as u8;
        for value in &mut self.ground_light[y * self.width + a..y * self.width + b.max(a)] {
            *value = (*value).min(level);
        }
    }

    /// Darkens the ground inside an ellipse.
    pub(super) fn shade_ellipse(&mut self, x: f32, y: f32, rx: f32, ry: f32, light: f32) {
        for (row, half) in self.ellipse_rows(y, rx, ry) {
            self.shade(row, x - half, x + half, light);
        }
    }
}
