//! Differentiable ops with PyTorch's semantics.
//!
//! Each op computes its result outside candle's graph and attaches a hand-written backward pass
//! that keeps only what it needs. Nothing here cuts the graph silently: an op either has a
//! gradient for every floating-point input or returns an error.
//!
//! Kernels compute in F32 or F64. A BF16 or F16 argument is widened, the op computed in single
//! precision, and its result rounded to the dtype of the first argument, as PyTorch's CPU kernels
//! do; gradients have the dtype of what they belong to. Parameters may then be F32. Otherwise all
//! arguments of an op share one dtype.

pub(crate) mod attach;
pub(crate) mod cpu;
pub(crate) mod math;
#[cfg(target_arch = "x86_64")]
pub(crate) mod product;
pub(crate) mod simd;
pub(crate) mod sums;

mod attention;
mod batch_norm;
mod boxes;
mod cast;
pub(crate) mod conv2d;
mod cross_entropy;
mod depthwise;
mod dropout;
mod gelu;
mod gradient_reversal;
mod group_norm;
mod index;
mod layer_norm;
mod layer_scale;
mod layout;
mod linear;
mod losses;
mod pool;
mod relu;
mod resize;
mod resize_tokens;
mod sigmoid;
mod softmax;
mod tokens;
mod top_k;

pub use attention::{attention, attention_qkv};
pub use batch_norm::{
    Normalized, batch_norm, batch_norm_add_relu, batch_norm_add_relu_eval, batch_norm_eval,
    batch_norm_relu, batch_norm_relu_eval,
};
pub use boxes::{
    BoxSize, LevelMapping, MultiLevelRoiAlign, NmsRule, RoiAlignOptions, batched_nms,
    multi_level_roi_align, nms, roi_align,
};
pub use cast::cast;
pub use conv2d::{Conv2dOptions, conv2d};
pub use cross_entropy::{CrossEntropyOptions, cross_entropy, pixel_accuracy};
pub use depthwise::depthwise_conv2d_nhwc;
pub use dropout::{add, add_drop_path, drop_path, dropout, dropout2d};
pub use gelu::gelu;
pub use gradient_reversal::gradient_reversal;
pub use group_norm::group_norm;
pub use index::{gather, index_select, scatter_add};
pub use layer_norm::layer_norm;
pub use layer_scale::add_layer_scale;
pub use layout::{map_to_tokens, patchify, swap_last, tokens_to_map};
pub use linear::linear;
pub use losses::{Reduction, binary_cross_entropy_with_logits, entropy, kl_divergence, smooth_l1};
pub use pool::{Pool2dOptions, adaptive_avg_pool2d, avg_pool2d, global_avg_pool2d, max_pool2d};
pub use relu::relu;
pub use resize::{resize_bilinear, resize_nearest};
pub use resize_tokens::{BicubicOptions, resize_tokens_bicubic};
pub use sigmoid::sigmoid;
pub use softmax::softmax;
pub use tokens::{mean_tokens, narrow_tokens, prepend_tokens};
pub use top_k::top_k;
