//! Layers: a configuration or a few arguments, a formula, and parameter names as in PyTorch.

mod conv;
mod drop;
mod layer_scale;
mod linear;
mod norm;

pub use conv::{Conv2d, Conv2dConfig, DepthwiseTokens, PatchLinear};
pub use drop::{DropPath, Dropout, Dropout2d};
pub use layer_scale::LayerScale;
pub use linear::Linear;
pub use norm::{BatchNorm2d, BatchNormConfig, FrozenBatchNorm2d, GroupNorm, LayerNorm};
