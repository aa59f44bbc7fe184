//! `mic-seg export`.

use std::path::PathBuf;

use clap::ValueEnum;
use mic_run::cli::print;

use crate::Result;
use crate::weights::{Layout, export};

/// Write a checkpoint for other programs.
///
/// A name that ends in .pth or .pt gives a PyTorch file with state_dict and meta (CLASSES, PALETTE),
/// which the programs of MIC, HRDA and DAFormer load; one that ends in .safetensors gives the same
/// tensors without pickles.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mic-seg export --checkpoint runs/a --out mic.pth
  mic-seg export --checkpoint runs/a --out network.safetensors --names plain")]
pub(super) struct Args {
    /// A run folder (its last checkpoint counts), one of its checkpoints, or a file of mic-seg train.
    #[arg(long, value_name = "RUN|FILE")]
    checkpoint: PathBuf,
    /// The file; replaced if it is there.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How names begin.
    #[arg(long, value_enum, default_value = "published")]
    names: Names,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Names {
    /// model.*, as in published checkpoints.
    Published,
    /// model.* and the teacher as ema_model.*, as in training.
    Training,
    /// backbone.*, decode_head.*, as of networks without domain adaptation.
    Plain,
}

impl From<Names> for Layout {
    fn from(names: Names) -> Self {
        match names {
            Names::Published => Self::Published,
            Names::Training => Self::WithTeacher,
            Names::Plain => Self::Plain,
        }
    }
}

pub(super) fn run(args: &Args) -> Result<()> {
    let written = export(&args.checkpoint, &args.out, args.names.into())?;
    Ok(print(&format!(
        "{}: {} tensors, {} classes\n",
        args.out.display(),
        written.tensors,
        written.classes
    ))?)
}
