//! Image and label files, read and written.

<<<<<<< HEAD
mod label;
=======
mod decode;
>>>>>>> main
mod read;
mod scan;
mod write;

<<<<<<< HEAD
pub use label::{read_colours, read_first_channel, read_label};
pub use read::{DECODE_LIMIT, decode_image, read_image, read_pair};
pub(crate) use read::{damaged, read_bytes};
pub(crate) use scan::scan_with;
=======
pub use decode::DECODE_LIMIT;
pub use read::{read_image, read_image_within, read_label, read_label_within, read_pair};
>>>>>>> main
pub use scan::{ScannedFile, scan};
pub(crate) use write::write_atomically;
pub use write::{write_grey, write_palette, write_rgb};
