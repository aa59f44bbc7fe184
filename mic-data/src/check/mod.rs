//! Checks of data before a run: what is there, what does not fit, what looks wrong.
//!
//! [`Report`] is for every task; [`segmentation`] fills it for images with label maps.

mod html;
mod report;
mod text;

pub use report::{Picture, Report, Table, thousands};
