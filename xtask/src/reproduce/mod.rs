//! Reproductions: several methods trained from one start, compared in one table.

pub mod benchmark;
pub mod gate;
pub mod methods;
mod pictures;
mod plan;
mod progress;
mod provenance;
pub mod results;
mod run;
pub mod statistics;
pub mod submit;

pub use mic_run::provenance::shell_word;
pub use plan::{Options, Plan};
pub use run::reproduce;
