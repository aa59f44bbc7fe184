//! Backbones, one readable file each.

pub mod mit;
