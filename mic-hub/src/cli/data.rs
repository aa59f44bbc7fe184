//! `mic-hub data`.

use std::path::{Path, PathBuf};

use mic_run::cli::print;

use crate::data::{DATA_SETS, DataSet, Finding, check, find};
use crate::{Error, Result};

/// Say where data sets come from, and check what is there.
///
/// Nothing is downloaded. Counts are compared with the published ones, and a few files of each part
/// are opened; mic-seg data check reads all of them. Labels of sets that are targets stay closed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask fetch data
  cargo xtask fetch data gta cityscapes --root /data")]
pub(super) struct Args {
    /// Names of data sets, such as gta; without any all are looked at.
    sets: Vec<String>,
    /// Folder of the data sets.
    #[arg(long, value_name = "DIR", default_value = "data")]
    root: PathBuf,
    /// Files of each part that are opened.
    #[arg(long, value_name = "NUMBER", default_value_t = 5)]
    spots: usize,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let named: Vec<&DataSet> = args
        .sets
        .iter()
        .map(|name| find(name))
        .collect::<Result<_>>()?;
    let sets = match named.is_empty() {
        true => DATA_SETS.iter().collect(),
        false => named,
    };
    let mut unusable = Vec::new();
    for set in sets {
        let folder = args.root.join(set.folder);
        let findings = match folder.is_dir() {
            true => check(set, &folder, args.spots),
            false => Vec::new(),
        };
        print(&text(set, &folder, &findings))?;
        if findings.is_empty() || findings.iter().any(|finding| !finding.wrong.is_empty()) {
            unusable.push(set.name);
        }
    }
    // Whoever asks for nothing in particular wants to look.
    if args.sets.is_empty() || unusable.is_empty() {
        return Ok(());
    }
    Err(Error::Data(format!(
        "not there or not whole: {}",
        unusable.join(", ")
    )))
}

fn text(set: &DataSet, folder: &Path, findings: &[Finding]) -> String {
    let account = match set.account {
        true => " (needs an account there)",
        false => "",
    };
    let mut text = format!(
        "{}: {}\n  folder: {}",
        set.name,
        set.title,
        folder.display()
    );
    if findings.is_empty() {
        text += &format!(
            " (not there)\n  get it: {}{account}\n  licence: {}\n  {}\n",
            set.page, set.licence, set.layout
        );
    } else {
        text += &format!("\n  licence: {}\n", set.licence);
    }
    for finding in findings {
        text += &format!("  {}: {}\n", finding.part, finding.there);
        for wrong in &finding.wrong {
            text += &format!("    wrong: {wrong}\n");
        }
    }
    if findings.iter().any(|finding| !finding.wrong.is_empty()) {
        text += &format!("  get it: {}{account}\n  {}\n", set.page, set.layout);
    }
    text += &prepare(set, folder, findings);
    text + "\n"
}

fn prepare(set: &DataSet, folder: &Path, findings: &[Finding]) -> String {
    if set.prepare.is_empty() {
        return String::new();
    }
    let command = set.prepare.replace("{root}", &folder.display().to_string());
    let states: Vec<bool> = findings
        .iter()
        .filter_map(|finding| finding.prepared)
        .collect();
    match states.is_empty() || states.contains(&false) {
        true => format!("  prepare its labels and class statistics: {command}\n"),
        false => "  its labels are prepared\n".into(),
    }
}
