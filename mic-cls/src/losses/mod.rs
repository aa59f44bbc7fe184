//! The losses on the target domain: minimum class confusion and conditional adversarial
//! adaptation.

mod domain;
mod entropy;
mod mcc;

pub use domain::{DomainLoss, DomainScore, domain_score};
pub use entropy::{entropy, entropy_weights};
pub use mcc::minimum_class_confusion;
