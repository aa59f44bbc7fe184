//! Random-access sets of samples.
//!
//! Published sets are listed by a function each ([`gta::open`] and so on), one's own files by
//! folder ([`Folder`]), pattern or list ([`custom`]).

pub mod acdc;
pub mod camvid;
pub mod cityscapes;
pub mod custom;
pub mod dark_zurich;
pub mod file_set;
pub mod folder;
pub mod gta;
pub(crate) mod layout;
mod list;
pub mod margins;
pub mod memory;
mod pairing;
pub mod pattern;
pub mod published;
mod split;
pub mod subset;
pub mod synthia;

pub use acdc::Condition;
pub use camvid::{CamVid, Domain};
pub use file_set::{FileSample, FileSet, LabelFile};
pub use folder::{Folder, FolderConfig, ImageFolder};
pub use layout::Selection;
pub use margins::{Margins, WithMargins};
pub use memory::InMemory;
pub use pattern::Pattern;
pub use published::Published;
pub use split::Split;
pub use subset::Subset;
