//! The classifier: backbone, bottleneck and head; and the adversary that tells domains apart.

mod backbone;
mod batch_norm;
mod classifier;
mod conditioning;
mod discriminator;
mod from_config;
mod lenet;

pub use backbone::{Backbone, BackboneConfig};
pub use batch_norm::BatchNorm1d;
pub use classifier::{Classifier, ClassifierConfig, Network, Output};
pub use conditioning::Conditioning;
pub use discriminator::{DiscriminatorConfig, DomainDiscriminator};
pub use lenet::{LeNet, LeNetConfig};
