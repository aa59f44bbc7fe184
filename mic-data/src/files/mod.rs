//! Image and label files, read and written.

mod read;
mod scan;
mod write;

pub use read::{read_image, read_label, read_pair};
pub use scan::{ScannedFile, scan};
pub(crate) use write::write_atomically;
pub use write::{write_grey, write_palette, write_rgb};
