//! Image and label files, read and written.

mod label;
mod read;
mod scan;
mod write;

pub use label::{read_colours, read_first_channel, read_label};
pub use read::{DECODE_LIMIT, decode_image, read_image, read_pair};
pub(crate) use read::{damaged, read_bytes};
pub(crate) use scan::scan_with;
pub use scan::{ScannedFile, scan};
pub(crate) use write::write_atomically;
pub use write::{write_grey, write_palette, write_rgb};
