//! How features and predictions are joined before the discriminator sees them (CDAN, sec. 3.2).

use candle_core::{Device, Result, Shape, Tensor};
use mic_nn::init::Init;
use rand::RngCore;

/// The map from features f (B, F) and predictions g (B, K) to the discriminator's input.
#[derive(Clone, Debug)]
pub enum Conditioning {
    /// All products, (B, K F), classes outermost: `h[k F + i] = g[k] f[i]`.
    Multilinear,
    /// `(f Rf) (g Rg) / sqrt(d)`, (B, d), with fixed normal matrices.
    Randomized {
        /// Rf, (F, d).
        features: Tensor,
        /// Rg, (K, d).
        predictions: Tensor,
    },
}

impl Conditioning {
    /// A randomised map with matrices drawn from `rng`.
    ///
    /// # Errors
    /// When the matrices cannot be made.
    pub fn randomized(
        mut rng: impl RngCore,
        features: usize,
        classes: usize,
        dim: usize,
    ) -> Result<Self> {
        let mut draw = |rows: usize| {
            let shape = Shape::from((rows, dim));
            let values = Init::Normal { std: 1.0 }.sample(&shape, &mut rng);
            Tensor::from_vec(values, shape, &Device::Cpu)
        };
        Ok(Self::Randomized {
            features: draw(features)?,
            predictions: draw(classes)?,
        })
    }

    /// Width of the map's result.
    ///
    /// # Errors
    /// Never for maps made by [`Conditioning::randomized`].
    pub fn outputs(&self, features: usize, classes: usize) -> Result<usize> {
        match self {
            Self::Multilinear => Ok(features * classes),
            Self::Randomized { features, .. } => features.dim(1),
        }
    }

    /// Applies the map.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn map(&self, features: &Tensor, predictions: &Tensor) -> Result<Tensor> {
        match self {
            Self::Multilinear => predictions
                .unsqueeze(2)?
                .broadcast_mul(&features.unsqueeze(1)?)?
                .flatten_from(1),
            Self::Randomized {
                features: of_features,
                predictions: of_predictions,
            } => {
                let dim = of_features.dim(1)? as f64;
                let features = features.matmul(of_features)?;
                let predictions = predictions.matmul(of_predictions)?;
                (features * predictions)? / dim.sqrt()
            }
        }
    }
}
