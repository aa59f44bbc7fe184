//! Checks of data before a run: what is there, what does not fit, what looks wrong.
//!
//! [`Report`] is for every task; [`check_set`] and its neighbours fill it for images with label
//! maps.

mod html;
mod report;
mod segmentation;
mod text;

pub use report::{Picture, Report, Table, thousands};
pub use segmentation::{Subject, add_pictures, check_domains, check_set};
