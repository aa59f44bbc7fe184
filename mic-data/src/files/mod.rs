//! Image and label files, read and written.

mod colours;
mod decode;
mod inputs;
mod label;
mod natural;
mod read;
mod scan;
mod write;

pub use colours::{StoredColours, stored_colours};
pub use decode::DECODE_LIMIT;
pub use inputs::{InputFile, InputFiles, input_files};
pub use label::{read_colours, read_first_channel, read_label, read_label_within};
pub use natural::natural;
pub(crate) use read::read_bytes;
pub use read::{read_image, read_image_within, read_pair};
pub(crate) use scan::scan_with;
pub use scan::{ScannedFile, scan};
pub(crate) use write::write_atomically;
pub use write::{write_grey, write_palette, write_rgb};
