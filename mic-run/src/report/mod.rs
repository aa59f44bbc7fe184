//! Pages for a browser or a phone: one file each, without any outside reference and without
//! scripts.

mod axis;
pub mod base64;
pub mod chart;
mod curve;
pub(crate) mod facts;
pub(crate) mod format;
pub mod page;
mod read;
mod run;
pub(crate) mod story;
mod table;
mod writer;

pub use table::Table;
pub use writer::{ReportWriter, write};
