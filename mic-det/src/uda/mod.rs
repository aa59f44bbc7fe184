//! Training: the supervised source, SADA, and masked image consistency on top of either.
//!
//! [`Adaptation::step`] is one iteration, top to bottom; [`Draws`] holds everything random of it.

mod adaptation;
mod draws;
mod from_config;
mod log;
mod masked;
mod options;
mod pseudo_boxes;
mod state;
mod teacher;

pub use adaptation::Adaptation;
pub use draws::{Draws, MaskDraws};
pub use masked::Masked;
pub use options::{MaskedConsistency, Options, SgdOptions};
pub use pseudo_boxes::PseudoBoxes;
pub use state::{OPTIMIZER, STUDENT, TEACHER};
pub use teacher::Teacher;
