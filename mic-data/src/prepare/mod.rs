//! Preparing published sets once, so that training reads small label files and ready statistics:
//! label files with train ids beside the published ones, the class statistics of the training
//! images, and for Cityscapes lists of its splits.
//!
//! [`prepare`] does what the original's conversion tools do and writes the same files.

mod labels;
mod polygon_file;
mod polygon_fill;

pub use labels::{Preparation, Prepared, PreparedSet, prepare};
pub use polygon_file::{PolygonFile, PolygonObject, read_polygons};
pub use polygon_fill::fill_polygon;
