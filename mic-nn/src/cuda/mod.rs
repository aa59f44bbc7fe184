//! CUDA paths of the ops, behind the feature `cuda`.
//!
//! Kernels are the sources in `kernels/`, compiled by NVRTC when they are first used; convolutions
//! go to cuDNN. All tensors of a device live on its one stream, as candle makes them: launches and
//! copies of one device follow each other in the order of the calls.
//!
//! The ops have checked their arguments when they come here. Activations are F32; 16-bit tensors
//! are widened before, as on the CPU.

mod attention;
mod batch_norm;
mod conv2d;
mod cross_entropy;
mod depthwise;
mod elementwise;
mod gpu;
mod groups;
mod layout;
mod linear;
mod norm;
mod pool;
mod resize;
mod roi_align;
mod source;
mod value;

pub(crate) use attention::{AttentionSizes, attention, attention_qkv};
pub(crate) use batch_norm::{BatchNorm, batch_norm};
pub(crate) use conv2d::conv2d;
pub(crate) use cross_entropy::{PixelLabels, cross_entropy};
pub(crate) use depthwise::depthwise_conv2d;
pub(crate) use elementwise::{cast, gelu, relu, softmax};
pub(crate) use groups::{add_scaled, scale_groups};
pub(crate) use layout::{patchify, swapped};
pub(crate) use linear::linear;
pub(crate) use norm::{group_norm, layer_norm};
pub(crate) use pool::{PoolWindow, average_pool, global_average_pool, max_pool};
pub(crate) use resize::{resize_bilinear, resize_nearest};
pub(crate) use roi_align::roi_align;
