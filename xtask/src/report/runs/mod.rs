//! `cargo xtask report`: what finished runs came to, in the paper's tables, beside the paper's own
//! figures.
//!
//! `found` reads run folders and the results of miniatures, `published` holds what others
//! published, `paper` puts runs of the catalogues into tables, `grid` runs that differ in the masks
//! alone; `page` and `markdown` show them.

mod assign;
mod cells;
mod figures;
mod found;
mod grid;
mod markdown;
mod page;
mod paper;
mod published;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mic_nn::files::write_whole;
use mic_run::cli::{note, print};

use crate::failure::Failure;
use figures::Report;

/// Options of `cargo xtask report`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask report
  cargo xtask report runs/seg-paper --out tables")]
pub struct Args {
    /// Folders with runs and results.json files, at any depth up to five [default: runs].
    #[arg(value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Folder for report.md and report.html.
    #[arg(long, value_name = "DIR", default_value = "runs/report")]
    out: PathBuf,
}

/// Collects the runs, writes both files and prints the tables.
///
/// # Errors
/// [`Failure::Usage`] for folders that are not there or hold no run; [`Failure::Run`] for files that
/// cannot be written.
pub fn run(args: &Args) -> Result<(), Failure> {
    let default = [PathBuf::from("runs")];
    let dirs = if args.dirs.is_empty() {
        &default[..]
    } else {
        &args.dirs
    };
    let mut all = found::Everything::default();
    for dir in dirs {
        if !dir.is_dir() {
            return Err(Failure::Usage(format!(
                "there is no folder {}; name folders that hold runs",
                dir.display()
            )));
        }
        all.search(dir, &args.out)?;
    }
    for problem in &all.problems {
        note(&format!("left out: {problem}"));
    }
    if all.runs.is_empty() && all.miniatures.is_empty() {
        let names: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
        return Err(Failure::Usage(format!(
            "there is no run in {}; a run folder has events.jsonl or run.json, a miniature results.json",
            names.join(", ")
        )));
    }
    let report = Report::of(all)?;
    let text = markdown::text(&report);
    write(&args.out.join("report.md"), &text)?;
    write(&args.out.join("report.html"), &page::html(&report))?;
    print(&format!(
        "{text}\n{}\n{}\n",
        args.out.join("report.md").display(),
        args.out.join("report.html").display()
    ))?;
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let written = write_whole(path, |file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("cannot write {}", path.display()))
}
