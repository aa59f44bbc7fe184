//! Reproductions: several methods trained from one start, compared in one table.
//!
//! [`Task`] is what a task brings: data, methods, how to train and to measure. The rest is the same
//! for all: [`Plan`] checks what will run, [`reproduce`] runs it, [`results`] and [`statistics`] hold
//! the numbers, [`gate`] asks for an order of the methods, [`submit`] spreads the seeds over a
//! cluster, [`command`] is the command line. [`paper`] are the paper's own runs.

pub mod cls;
pub mod command;
pub mod det;
pub mod gate;
pub mod method;
pub mod paper;
mod plan;
mod progress;
mod provenance;
pub mod results;
mod run;
pub mod seg;
pub mod statistics;
pub mod submit;
pub mod task;

pub use method::Method;
pub use mic_run::provenance::shell_word;
pub use plan::{Options, Plan};
pub use run::reproduce;
pub use task::Task;
