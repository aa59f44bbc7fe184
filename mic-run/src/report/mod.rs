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
pub(crate) mod story;
mod table;

pub use table::Table;
