//! Training methods: source only, CDAN, CDAN with MCC, and SDAT, each with or without masked image
//! consistency.

mod adaptation;
mod adversary;
mod batch;
mod draws;
mod from_config;
mod log;
mod options;
mod passes;
mod python_random;
mod state;
mod teacher;

pub use adaptation::{Adaptation, Tap};
pub use adversary::Adversary;
pub use batch::ClsBatch;
pub use draws::{Draws, MaskDraws};
pub use options::{
    AdversaryOptions, Ascent, Gating, MaskedConsistency, Options, SgdOptions, Statistics,
    TeacherNorm, WeightedLosses,
};
pub use python_random::PythonRandom;
pub use state::{
    CONDITIONING, DISCRIMINATOR, OPTIMIZER, OPTIMIZER_OF_DISCRIMINATOR, REVERSALS, STUDENT, TEACHER,
};
pub use teacher::Teacher;
