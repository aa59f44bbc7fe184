//! The report of a reproduction: a table for the terminal, one self-contained page, exact numbers.
//! [`runs`] are the tables over many runs.

mod curves;
mod html;
mod images;
pub mod notes;
pub mod runs;
#[cfg(test)]
pub(crate) mod sample;
pub mod table;
mod write;

pub use html::page;
pub use images::{Gallery, GalleryRow, paint};
pub use write::write;
