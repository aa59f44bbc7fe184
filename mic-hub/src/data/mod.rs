//! The data sets of the paper's runs: where they come from, and whether what is there is whole.
//!
//! Nothing is downloaded: most sets need an account whose terms you accept yourself.

mod catalogue;
mod check;

pub use catalogue::{DATA_SETS, DataSet, find};
pub use check::{Finding, check};
