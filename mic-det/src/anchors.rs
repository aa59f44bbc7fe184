//! Anchors: the boxes that proposals start from, one set a cell of every pyramid level (Ren et al.,
//! "Faster R-CNN", sec. 3.1.1; Lin et al., "Feature Pyramid Networks", sec. 4.1).

use candle_core::{Device, Tensor};
use mic_nn::params::{Buffer, Scope};
use serde::{Deserialize, Serialize};

use crate::boxes::{Corners, Size, from_tensor};
use crate::conventions::Conventions;
use crate::{Error, Result};

/// Sizes and shapes of anchors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnchorConfig {
    /// Side of a square anchor of each level in pixels, finest level first.
    pub sizes: Vec<f64>,
    /// Height over width of the anchors of a cell.
    pub ratios: Vec<f64>,
    /// Pixels of the image for a cell of each level.
    pub strides: Vec<usize>,
    /// By how many pixels an anchor may stick out of the image and still learn; `None` is any
    /// number. `Legacy` alone knows it.
    pub straddle: Option<f64>,
}

impl Default for AnchorConfig {
    fn default() -> Self {
        Self {
            sizes: vec![32.0, 64.0, 128.0, 256.0, 512.0],
            ratios: vec![0.5, 1.0, 2.0],
            strides: vec![4, 8, 16, 32, 64],
            straddle: Some(0.0),
        }
    }
}

impl AnchorConfig {
    /// Checks that there are levels and shapes, that both lists have one length, and that numbers
    /// are above 0.
    ///
    /// # Errors
    /// Names the list that does not fit.
    pub fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::Config(message));
        if self.sizes.is_empty() || self.sizes.len() != self.strides.len() {
            return refuse(format!(
                "anchors have {} sizes and {} strides, expected one each for every level",
                self.sizes.len(),
                self.strides.len()
            ));
        }
        let above = |v: f64| v > 0.0 && v.is_finite();
        if !self.sizes.iter().all(|&v| above(v)) || self.strides.contains(&0) {
            return refuse("sizes and strides of anchors must be above 0".into());
        }
        if self.ratios.is_empty() || !self.ratios.iter().all(|&v| above(v)) {
            return refuse(format!(
                "ratios of anchors are {:?}, expected at least one, each above 0",
                self.ratios
            ));
        }
        Ok(())
    }

    /// The anchors of a level's first cell, one for each ratio.
    pub fn cell(&self, level: usize, conventions: Conventions) -> Vec<Corners> {
        let (size, stride) = (self.sizes[level], self.strides[level] as f64);
        let of = |&ratio: &f64| match conventions {
            Conventions::Legacy => {
                // Around the pixels of the cell; widths and heights are rounded (halves to even)
                // before they grow from the stride to the anchor's size.
                let centre = (stride - 1.0) / 2.0;
                let width = (stride * stride / ratio).sqrt().round_ties_even();
                let height = (width * ratio).round_ties_even();
                let half = |side: f64| (side * (size / stride) - 1.0) / 2.0;
                let (x, y) = (half(width), half(height));
                [centre - x, centre - y, centre + x, centre + y].map(|v| v as f32)
            }
            Conventions::Modern => {
                let tall = (ratio as f32).sqrt();
                let (width, height) = (size as f32 * (1.0 / tall), size as f32 * tall);
                let corner = [-width, -height, width, height];
                corner.map(|v| (v / 2.0).round_ties_even())
            }
        };
        self.ratios.iter().map(of).collect()
    }
}

/// The anchors of a detector. The cells' anchors are buffers of the model, as in the reference's
/// files.
pub struct Anchors {
    cells: Vec<Buffer>,
    config: AnchorConfig,
    conventions: Conventions,
}

impl Anchors {
    /// Declares the buffers `cell_anchors.{level}` below `scope`.
    ///
    /// # Errors
    /// A configuration that [`AnchorConfig::check`] refuses.
    pub fn new(config: &AnchorConfig, conventions: Conventions, scope: &Scope) -> Result<Self> {
        config.check()?;
        let scope = scope.sub("cell_anchors");
        let declare = |level: usize| {
            let cell = config.cell(level, conventions);
            let shape = (cell.len(), 4);
            let value = Tensor::from_vec(cell.as_flattened().to_vec(), shape, &Device::Cpu)?;
            Ok(scope.buffer(&level.to_string(), value)?)
        };
        let cells = (0..config.sizes.len()).map(declare);
        Ok(Self {
            cells: cells.collect::<Result<_>>()?,
            config: config.clone(),
            conventions,
        })
    }

    /// The anchors over maps of the sizes `maps`, finest first, for a batch whose images are
    /// padded to `image`.
    ///
    /// # Errors
    /// Another number of maps than levels.
    pub fn grid(&self, maps: &[Size], image: Size) -> Result<Grid> {
        if maps.len() != self.cells.len() {
            return Err(Error::Run(format!(
                "{} feature maps for anchors of {} levels; the pyramid and model.anchors must \
                 have as many",
                maps.len(),
                self.cells.len()
            )));
        }
        let mut levels = Vec::with_capacity(maps.len());
        let mut first = 0;
        for (level, (&(height, width), cell)) in maps.iter().zip(&self.cells).enumerate() {
            let stride = match self.conventions {
                Conventions::Legacy => {
                    let stride = self.config.strides[level] as f32;
                    [stride, stride]
                }
                Conventions::Modern => [
                    (image.1 / width.max(1)) as f32,
                    (image.0 / height.max(1)) as f32,
                ],
            };
            let cell = from_tensor(&cell.get())?;
            let count = height * width * cell.len();
            levels.push(Level {
                size: (height, width),
                stride,
                cell,
                first,
            });
            first += count;
        }
        let straddle = match self.conventions {
            Conventions::Legacy => self.config.straddle,
            Conventions::Modern => None,
        };
        Ok(Grid {
            levels,
            count: first,
            straddle: straddle.map(|v| v as f32),
        })
    }
}

/// One level's anchors.
pub(crate) struct Level {
    /// Rows and columns of the map.
    pub(crate) size: Size,
    /// Pixels between cells, x and y.
    stride: [f32; 2],
    cell: Vec<Corners>,
    /// Number of anchors of the levels before.
    pub(crate) first: usize,
}

impl Level {
    /// Anchors of a cell.
    pub(crate) fn shapes(&self) -> usize {
        self.cell.len()
    }

    /// Number of anchors.
    pub(crate) fn count(&self) -> usize {
        self.size.0 * self.size.1 * self.cell.len()
    }

    /// Row, column and shape of anchor `index` of this level.
    pub(crate) fn place(&self, index: usize) -> [usize; 3] {
        let (cell, shape) = (index / self.cell.len(), index % self.cell.len());
        [cell / self.size.1, cell % self.size.1, shape]
    }

    /// Anchor `index` of this level.
    pub(crate) fn anchor(&self, index: usize) -> Corners {
        let [row, column, shape] = self.place(index);
        let (x, y) = (column as f32 * self.stride[0], row as f32 * self.stride[1]);
        let [x1, y1, x2, y2] = self.cell[shape];
        [x1 + x, y1 + y, x2 + x, y2 + y]
    }
}

/// All anchors over the maps of an image: level by level, within a level row by row, the shapes of
/// a cell one after the other.
pub struct Grid {
    pub(crate) levels: Vec<Level>,
    count: usize,
    straddle: Option<f32>,
}

impl Grid {
    /// Number of anchors.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All anchors in order.
    pub fn anchors(&self) -> Vec<Corners> {
        let levels = self.levels.iter();
        levels
            .flat_map(|level| (0..level.count()).map(|i| level.anchor(i)))
            .collect()
    }

    /// Whether an anchor may learn in an image of this (unpadded) size: it lies inside, but for
    /// the tolerated overhang.
    pub fn is_visible(&self, [x1, y1, x2, y2]: Corners, (height, width): Size) -> bool {
        self.straddle.is_none_or(|over| {
            x1 >= -over && y1 >= -over && x2 < width as f32 + over && y2 < height as f32 + over
        })
    }
}
