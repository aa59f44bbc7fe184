#![doc = include_str!("../README.md")]

pub mod augment;
mod consistency;
mod error;
mod mask;
mod pseudo_label;
mod slices;
mod softmax;
mod teacher;

pub use consistency::{cross_entropy, masked_consistency};
pub use error::{Error, Result};
pub use mask::{BlockMask, BlockMaskConfig};
pub use pseudo_label::{Confidence, PseudoLabelConfig, PseudoLabels};
pub use teacher::{EmaTeacher, TeacherState, momentum};
