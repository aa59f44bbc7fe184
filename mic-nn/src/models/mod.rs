//! Backbones, one readable file each.

pub mod fpn;
pub mod mit;
pub mod resnet;
