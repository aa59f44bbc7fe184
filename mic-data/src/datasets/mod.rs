//! Random-access sets of samples.

pub mod camvid;
pub mod folder;
pub mod memory;
mod pair;
pub mod subset;

pub use camvid::{CamVid, Domain};
pub use folder::{Folder, FolderConfig, ImageFolder};
pub use memory::InMemory;
pub use subset::Subset;
