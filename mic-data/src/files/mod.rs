//! Image and label files, read and written.

mod decode;
mod read;
mod scan;
mod write;

pub use decode::DECODE_LIMIT;
pub use read::{read_image, read_image_within, read_label, read_label_within, read_pair};
pub use scan::{ScannedFile, scan};
pub(crate) use write::write_atomically;
pub use write::{write_grey, write_palette, write_rgb};
