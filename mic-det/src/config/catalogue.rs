//! The configurations in the program.

use mic_run::config::Catalogue;

use crate::Result;

include!(concat!(env!("OUT_DIR"), "/configs.rs"));

/// The configurations of `configs/det` and the runs of the paper among them, as they were when the
/// program was built.
///
/// # Errors
///
/// A catalogue that does not hold together.
pub fn catalogue() -> Result<Catalogue> {
    Ok(Catalogue::read(CATALOGUE, FILES)?)
}
