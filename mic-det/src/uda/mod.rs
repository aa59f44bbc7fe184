//! Training: the supervised source, SADA, and masked image consistency on top of either.
//!
//! A draft: it compiles, but no step of it has been run or compared with the recordings yet, and no
//! program uses it.

mod adaptation;
mod draws;
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
