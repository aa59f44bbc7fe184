//! The report of a reproduction: a table for the terminal, one self-contained page, exact numbers.

mod curves;
mod html;
mod images;
pub mod notes;
#[cfg(test)]
pub(crate) mod sample;
pub mod table;
mod write;

pub use html::page;
pub use images::{Gallery, GalleryRow, paint};
pub use write::write;
