//! Checks of data before a run: what is there, what does not fit, what looks wrong.
//!
//! [`Report`] is for every task; [`segmentation`] fills it for images with label maps.

mod html;
mod report;
pub mod segmentation;
mod text;

pub use report::{Finding, Picture, Report, Severity, Table, thousands};
