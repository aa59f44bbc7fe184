//! Looking at runs from a command line: lists and comparisons.

pub mod cli;
mod compare;
mod list;
#[cfg(test)]
pub(crate) mod sample;
mod state;
mod summary;

pub use compare::{Comparison, Pair, compare};
pub use list::{list, table};
pub use state::State;
pub use summary::{RunSummary, ScoreAt};
