//! Training methods: self-training with mixed images (DACS) and masked image consistency on top.

mod class_mix;
mod draws;
mod feature_distance;
mod from_config;
mod self_training;
mod state;
mod teacher;

pub use class_mix::{ClassMix, distinct_classes};
pub use draws::{Draws, MaskDraws, MixDraws};
pub use feature_distance::{FeatureDistance, downscale_label};
pub use self_training::{MaskedConsistency, Options, SelfTraining, Tap};
pub use state::{DISCRIMINATOR, MASK_TEACHER, STUDENT, TEACHER};
pub use teacher::Teacher;
