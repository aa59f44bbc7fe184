//! The head: objectness and offsets of the anchors of every cell.

use candle_core::{Device, Tensor};
use mic_nn::init::Init;
use mic_nn::ops::{self, Conv2dOptions};
use mic_nn::params::Scope;

use crate::Result;
use crate::boxes::Size;

/// A 3x3 convolution with ReLU, then one 1x1 convolution each for objectness and offsets, shared
/// by all levels.
///
/// Proposals need what it says of every cell, but no gradient; losses need the gradient, but only
/// of the few hundred cells whose anchors are sampled. So there are two ways through it:
/// [`forward`](Self::forward) over whole maps records nothing, and [`cells`](Self::cells) computes
/// single cells once more, with their gradient.
pub struct RpnHead {
    conv: Conv,
    cls_logits: Conv,
    bbox_pred: Conv,
}

struct Conv {
    weight: Tensor,
    bias: Tensor,
}

/// What the head says of every level, finest first, without gradient.
pub struct Predictions {
    /// Logits (B, A, H, W) for A anchors a cell.
    pub objectness: Vec<Tensor>,
    /// Offsets (B, 4 A, H, W), the four of an anchor in a row.
    pub offsets: Vec<Tensor>,
}

/// A cell of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Number of the image.
    pub image: usize,
    /// Row of the map.
    pub row: usize,
    /// Column of the map.
    pub column: usize,
}

impl Conv {
    fn new(scope: &Scope, inputs: usize, outputs: usize, kernel: usize) -> Result<Self> {
        let shape = (outputs, inputs, kernel, kernel);
        Ok(Self {
            weight: scope.param("weight", shape, Init::Normal { std: 0.01 })?,
            bias: scope.param("bias", outputs, Init::Const(0.0))?,
        })
    }

    /// Over a whole map, without gradient.
    fn forward(&self, x: &Tensor, padding: usize) -> Result<Tensor> {
        let options = Conv2dOptions {
            padding: (padding, padding),
            ..Conv2dOptions::default()
        };
        let (weight, bias) = (self.weight.detach(), self.bias.detach());
        Ok(ops::conv2d(&x.detach(), &weight, Some(&bias), &options)?)
    }

    /// Over patches (n, C kernel kernel).
    fn patches(&self, x: &Tensor) -> Result<Tensor> {
        let weight = self.weight.flatten_from(1)?;
        Ok(ops::linear(x, &weight, Some(&self.bias))?)
    }
}

impl RpnHead {
    /// Declares `conv`, `cls_logits` and `bbox_pred` below `scope`: `channels` channels, `shapes`
    /// anchors a cell; normal with standard deviation 0.01, bias 0.
    ///
    /// # Errors
    /// When they cannot be declared.
    pub fn new(channels: usize, shapes: usize, scope: &Scope) -> Result<Self> {
        let conv = |name: &str, outputs: usize, kernel: usize| {
            Conv::new(&scope.sub(name), channels, outputs, kernel)
        };
        Ok(Self {
            conv: conv("conv", channels, 3)?,
            cls_logits: conv("cls_logits", shapes, 1)?,
            bbox_pred: conv("bbox_pred", 4 * shapes, 1)?,
        })
    }

    /// Applies the head to maps (B, C, H, W), without gradient.
    ///
    /// # Errors
    /// Maps of another number of channels.
    pub fn forward(&self, features: &[Tensor]) -> Result<Predictions> {
        let mut predictions = Predictions {
            objectness: Vec::with_capacity(features.len()),
            offsets: Vec::with_capacity(features.len()),
        };
        for map in features {
            let hidden = ops::relu(&self.conv.forward(map, 1)?)?;
            predictions
                .objectness
                .push(self.cls_logits.forward(&hidden, 0)?);
            predictions
                .offsets
                .push(self.bbox_pred.forward(&hidden, 0)?);
        }
        Ok(predictions)
    }

    /// Logits (n, A) and offsets (n, 4 A) of n cells of a map (B, C, H, W), with gradient.
    ///
    /// # Errors
    /// A map of another number of channels, or cells outside of it.
    pub fn cells(&self, map: &Tensor, cells: &[Cell]) -> Result<(Tensor, Tensor)> {
        let hidden = ops::relu(&self.conv.patches(&patches(map, cells)?)?)?;
        let logits = self.cls_logits.patches(&hidden)?;
        Ok((logits, self.bbox_pred.patches(&hidden)?))
    }
}

/// The 3x3 neighbourhoods (n, 9 C) of n cells of a map (B, C, H, W), 0 beyond its border.
fn patches(map: &Tensor, cells: &[Cell]) -> Result<Tensor> {
    let (_, channels, height, width) = map.dims4()?;
    let count = cells.len();
    let mut places = Vec::with_capacity(count * channels * 9);
    let mut inside = Vec::with_capacity(count * 9);
    for &Cell { image, row, column } in cells {
        let mut around = [None; 9];
        for (i, place) in around.iter_mut().enumerate() {
            let (y, x) = (row + i / 3, column + i % 3);
            let fits = (1..=height).contains(&y) && (1..=width).contains(&x);
            *place = fits.then(|| (y - 1) * width + x - 1);
        }
        inside.extend(around.map(|place| f32::from(u8::from(place.is_some()))));
        for channel in 0..channels {
            let first = (image * channels + channel) * height * width;
            places.extend(around.map(|place| (first + place.unwrap_or(0)) as i64));
        }
    }
    let places = Tensor::from_vec(places, count * channels * 9, &Device::Cpu)?;
    let values = ops::index_select(&map.flatten_all()?, 0, &places)?;
    if inside.iter().all(|&inside| inside == 1.0) {
        return Ok(values.reshape((count, channels * 9))?);
    }
    let inside = Tensor::from_vec(inside, (count, 1, 9), &Device::Cpu)?;
    let values = values.reshape((count, channels, 9))?;
    Ok(values.broadcast_mul(&inside)?.flatten_from(1)?)
}

impl Predictions {
    /// Rows and columns of every level.
    ///
    /// # Errors
    /// Tensors of another rank.
    pub fn sizes(&self) -> Result<Vec<Size>> {
        let size = |map: &Tensor| {
            let (_, _, height, width) = map.dims4()?;
            Ok((height, width))
        };
        self.objectness.iter().map(size).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::DType;
    use mic_nn::params::Store;
    use rand::SeedableRng;

    /// Every cell of a map, those at its border included.
    #[test]
    fn single_cells_agree_with_whole_maps() -> Result<()> {
        let rng = rand::rngs::StdRng::seed_from_u64(0);
        let store = Store::trainable(rng, DType::F32, &Device::Cpu);
        let head = RpnHead::new(5, 2, &store.root())?;
        store.fill_from_names()?;
        let (images, height, width) = (2, 3, 4);
        let map = Tensor::randn(0f32, 1.0, (images, 5, height, width), &Device::Cpu)?;
        let mut cells = Vec::new();
        for image in 0..images {
            for row in 0..height {
                let of_row = (0..width).map(|column| Cell { image, row, column });
                cells.extend(of_row);
            }
        }
        let predictions = head.forward(std::slice::from_ref(&map))?;
        let (logits, offsets) = head.cells(&map, &cells)?;
        for (whole, single) in [
            (&predictions.objectness[0], logits),
            (&predictions.offsets[0], offsets),
        ] {
            let whole = whole.permute((0, 2, 3, 1))?.flatten_to(2)?;
            let difference = (whole - single)?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(difference < 1e-5, "{difference}");
        }
        Ok(())
    }
}
