//! Weights of a network for images of another size, and the authors' files of DINOv2.

use std::collections::HashMap;

use candle_core::{DType, Result, Tensor};

use super::config::VitConfig;
use super::embed::resize_positions;
use crate::params::{LoadReport, Store};
use crate::weights::{self, Weights};

/// Position embeddings and class token.
const POSITIONS: &str = "pos_embed";
const CLASS: &str = "cls_token";

/// Loads `weights` into a store that holds a [`Vit`](super::Vit) of this configuration below
/// `path` ("" for the root), and resizes the position embeddings of another grid
/// ([`PositionResize`](super::PositionResize)). Names are those of timm, behind `path`.
///
/// `grid` is the number of rows and columns of patches that the file's embeddings are for. Without
/// it they are taken to be of a square, or else of the network's own grid.
///
/// A network whose class token has no position embedding takes a file in which it has one (DINOv2
/// with registers, from its authors): the two are added up.
///
/// # Errors
/// Those of [`Store::load_weights`], and embeddings that cannot be resized.
pub fn load(
    config: &VitConfig,
    store: &Store,
    path: &str,
    weights: &Weights,
    grid: Option<(usize, usize)>,
) -> weights::Result<LoadReport> {
    let mut report = store.load_weights(weights)?;
    let full = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    let (positions, class) = (full(POSITIONS), full(CLASS));
    let Some(found) = weights
        .shape(&positions)
        .and_then(|shape| Found::of(config, &shape, grid))
    else {
        return Ok(report);
    };
    if found.grid == config.grid() && found.prefix == config.positioned_prefix() {
        return Ok(report);
    }
    let failed = |error| weights.failure(&positions, error);
    let theirs = weights.tensor(&positions)?;
    let mut values = HashMap::new();
    if found.prefix > config.positioned_prefix() && weights.shape(&class).is_some() {
        let token = weights.tensor(&class)?;
        values.insert(class, positioned(&token, &theirs).map_err(failed)?);
    }
    let ours = found.convert(config, &theirs).map_err(failed)?;
    values.insert(positions.clone(), ours);
    store.load_weights(&Weights::from(values))?;
    let before = report.reshaped.len();
    report.reshaped.retain(|tensor| tensor.name != positions);
    report.matched += before - report.reshaped.len();
    Ok(report)
}

/// The class token with its position.
fn positioned(token: &Tensor, positions: &Tensor) -> Result<Tensor> {
    let first = positions.narrow(1, 0, 1)?.to_dtype(DType::F32)?;
    token.to_dtype(DType::F32)? + first
}

/// What a file's position embeddings are for.
struct Found {
    /// Tokens before the patches.
    prefix: usize,
    grid: (usize, usize),
}

impl Found {
    /// `None` where the network has no use for embeddings of this shape.
    fn of(config: &VitConfig, shape: &[usize], grid: Option<(usize, usize)>) -> Option<Self> {
        let &[1, count, dim] = shape else { return None };
        if dim != config.dim {
            return None;
        }
        let own = config.positioned_prefix();
        // Files of networks whose class token has a position.
        let class = (own == 0).then_some(1);
        let candidates = [Some(own), class].into_iter().flatten();
        let fits = |prefix: usize| {
            let patches = count.checked_sub(prefix).filter(|&patches| patches > 0)?;
            let side = patches.isqrt();
            let grid = match grid {
                Some(grid) => grid,
                None if side * side == patches => (side, side),
                None => config.grid(),
            };
            (grid.0.checked_mul(grid.1) == Some(patches)).then_some(Self { prefix, grid })
        };
        candidates.filter_map(fits).next()
    }

    /// The embeddings as the network has them.
    fn convert(&self, config: &VitConfig, theirs: &Tensor) -> Result<Tensor> {
        let theirs = theirs.to_dtype(DType::F32)?;
        let patches = theirs.narrow(1, self.prefix, self.grid.0 * self.grid.1)?;
        let patches = resize_positions(config, &patches, self.grid, config.grid())?;
        match config.positioned_prefix() {
            0 => Ok(patches),
            prefix => Tensor::cat(&[&theirs.narrow(1, 0, prefix)?, &patches], 1),
        }
    }
}
