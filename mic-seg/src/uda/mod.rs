//! Training methods: source only, self-training with mixed images (DACS), adversarial training and
//! entropy minimisation, and masked image consistency on top of each.

mod adversarial;
mod class_mix;
mod consistency;
mod draws;
mod entropy;
mod feature_distance;
mod from_config;
mod options;
mod pass;
mod self_training;
mod state;
mod teacher;
mod trace;
mod training;

pub use adversarial::Adversarial;
pub use class_mix::{ClassMix, distinct_classes, mix};
pub use draws::{Crops, Draws, MaskDraws, MixDraws};
pub use entropy::EntropyMinimisation;
pub use feature_distance::{FeatureDistance, downscale_label};
pub use options::{AdversarialLoss, AdversarialOptions, MaskedConsistency, Options, TargetUse};
pub use self_training::SelfTraining;
pub use state::{DISCRIMINATOR, MASK_TEACHER, STUDENT, TEACHER};
pub use teacher::Teacher;
pub use trace::Tap;
pub use training::Training;
