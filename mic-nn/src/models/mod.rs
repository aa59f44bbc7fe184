//! Backbones, one readable file or folder each.

pub mod fpn;
pub mod mit;
pub mod resnet;
pub mod vit;
