//! Training runs that survive: run folders, checkpoints, exact resuming, signals, progress,
//! TensorBoard files and reports, for any candle model.
//!
//! The crate knows no task and no network.
//!
//! A run folder holds
//!
//! | file | what |
//! | --- | --- |
//! | `config.toml` | the configuration with every default filled in |
//! | `run.json` | command lines, version and commit, machine, seed |
//! | `events.jsonl` | one [`record::Event`] a line |
//! | `tensorboard/` | event files for TensorBoard |
//! | `checkpoints/step-00001000/` | a checkpoint, whole or not there |
//! | `pictures/` | sample pictures, `<name>-<step>.png` |
//! | `report.html` | all of it for a browser, redrawn while the run goes on |
//! | `checkpoint.safetensors` | the weights of the last checkpoint |
//! | `metrics.json` | the result, written last: a folder without it is an unfinished run |
//! | `lock` | held by the process that writes |

pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod difference;
pub mod distributed;
pub mod error;
pub mod events;
pub mod folder;
pub mod histogram;
pub mod learner;
pub mod lock;
pub mod memory;
pub mod options;
pub mod pictures;
pub mod png;
pub mod progress;
pub mod provenance;
pub mod record;
pub mod report;
pub mod result;
pub mod runs;
pub mod signals;
pub mod slurm;
pub mod state;
pub mod tensorboard;
pub mod train;
pub mod watch;

pub use error::{Error, Refusal, Result};
pub use learner::{Learner, NonFinite, Stepped};
pub use options::RunOptions;
pub use signals::StopRequest;
