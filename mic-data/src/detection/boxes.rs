//! Boxes and what they hold.

/// Boxes of an image, with inclusive corners.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Boxes {
    /// `[x1, y1, x2, y2]` in pixels.
    pub corners: Vec<[f32; 4]>,
    /// Width and height of the image in pixels.
    pub size: (u32, u32),
}

impl Boxes {
    /// From `[x, y, width, height]`, as COCO files store them. A width below 1 counts as 1.
    pub fn from_xywh(xywh: &[[f32; 4]], size: (u32, u32)) -> Self {
        let corners = xywh.iter().map(|[x, y, w, h]| {
            let end = |start: &f32, length: &f32| start + (length - 1.0).max(0.0);
            [*x, *y, end(x, w), end(y, h)]
        });
        Self {
            corners: corners.collect(),
            size,
        }
    }

    /// As `[x, y, width, height]`.
    pub fn to_xywh(&self) -> Vec<[f32; 4]> {
        let boxes = self.corners.iter();
        boxes
            .map(|[x1, y1, x2, y2]| [*x1, *y1, x2 - x1 + 1.0, y2 - y1 + 1.0])
            .collect()
    }

    /// Areas in pixels.
    pub fn areas(&self) -> Vec<f32> {
        let boxes = self.corners.iter();
        boxes
            .map(|[x1, y1, x2, y2]| (x2 - x1 + 1.0) * (y2 - y1 + 1.0))
            .collect()
    }

    /// Boxes of the image at another size (w, h). Corners are multiplied by the ratio of each side,
    /// without regard to their being inclusive, as in the reference.
    pub fn resize(&mut self, size: (u32, u32)) {
        let ratio = |new: u32, old: u32| (f64::from(new) / f64::from(old)) as f32;
        let x = ratio(size.0, self.size.0);
        let y = ratio(size.1, self.size.1);
        for [x1, y1, x2, y2] in &mut self.corners {
            (*x1, *x2) = (*x1 * x, *x2 * x);
            (*y1, *y2) = (*y1 * y, *y2 * y);
        }
        self.size = size;
    }

    /// Boxes of the image mirrored left to right.
    pub fn flip(&mut self) {
        let width = self.size.0 as f32;
        for [x1, _, x2, _] in &mut self.corners {
            (*x1, *x2) = (width - *x2 - 1.0, width - *x1 - 1.0);
        }
    }

    /// Moves corners outside the image to its border.
    pub fn clip(&mut self) {
        let last = |side: u32| side.saturating_sub(1) as f32;
        let (right, bottom) = (last(self.size.0), last(self.size.1));
        for [x1, y1, x2, y2] in &mut self.corners {
            for x in [x1, x2] {
                *x = x.clamp(0.0, right);
            }
            for y in [y1, y2] {
                *y = y.clamp(0.0, bottom);
            }
        }
    }

    /// Which boxes are wider and higher than one pixel.
    pub fn with_extent(&self) -> Vec<bool> {
        let boxes = self.corners.iter();
        boxes.map(|[x1, y1, x2, y2]| x2 > x1 && y2 > y1).collect()
    }
}

/// The annotated objects of an image. All lists have one entry an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects {
    /// Where they are.
    pub boxes: Boxes,
    /// Classes from 1 on; label `l` has the name `class_names()[l - 1]`. 0 is the background.
    pub labels: Vec<u32>,
    /// Whether evaluation passes over the object: a crowd, or difficult.
    pub ignored: Vec<bool>,
    /// Areas in pixels as annotated, which may be those of a mask.
    pub areas: Vec<f64>,
    /// Ids of the annotations.
    pub ids: Vec<u64>,
}

impl Objects {
    /// Number of objects.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Keeps the objects for which `keep` is true.
    pub fn retain(&mut self, keep: &[bool]) {
        fn kept<T: Copy>(list: &mut Vec<T>, keep: &[bool]) {
            let pairs = list.iter().zip(keep);
            *list = pairs
                .filter(|(_, keep)| **keep)
                .map(|(item, _)| *item)
                .collect();
        }
        kept(&mut self.boxes.corners, keep);
        kept(&mut self.labels, keep);
        kept(&mut self.ignored, keep);
        kept(&mut self.areas, keep);
        kept(&mut self.ids, keep);
    }

    /// The objects that training sees: those not to be ignored, cut at the image's border, without
    /// boxes that are then one pixel wide or high.
    pub fn for_training(mut self) -> Self {
        let keep: Vec<bool> = self.ignored.iter().map(|ignored| !ignored).collect();
        self.retain(&keep);
        self.boxes.clip();
        let keep = self.boxes.with_extent();
        self.retain(&keep);
        self
    }

    /// Whether the reference trains on the image: some object is not to be ignored, some box is
    /// wider and higher than one pixel, and [`for_training`](Self::for_training) leaves any.
    pub fn is_usable(&self) -> bool {
        let wide = |[_, _, w, h]: [f32; 4]| w > 1.0 && h > 1.0;
        self.boxes.to_xywh().into_iter().any(wide) && !self.clone().for_training().is_empty()
    }
}
