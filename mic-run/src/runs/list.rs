//! The runs below a folder.

use std::fs;
use std::path::Path;

use super::summary::{RunSummary, ScoreAt};
use crate::memory::readable;
use crate::report::Table;
use crate::report::facts::Facts;
use crate::report::format;
use crate::{Error, Result};

/// Folders inside each other that are looked through.
const DEPTH: usize = 5;

/// The runs in `root` and below, by name; no run is looked for inside a run.
///
/// # Errors
/// A folder that cannot be read.
pub fn list(root: &Path) -> Result<Vec<RunSummary>> {
    if !root.is_dir() {
        return Err(Error::Usage(format!(
            "there is no folder {}; name the folder that holds the runs",
            root.display()
        )));
    }
    let mut runs = Vec::new();
    search(root, DEPTH, &mut runs)?;
    for run in &mut runs {
        if let Ok(below) = run.folder.strip_prefix(root)
            && !below.as_os_str().is_empty()
        {
            run.name = below.display().to_string();
        }
    }
    runs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(runs)
}

fn search(folder: &Path, depth: usize, runs: &mut Vec<RunSummary>) -> Result<()> {
    if Facts::is_run(folder) {
        runs.push(RunSummary::read(folder)?);
        return Ok(());
    }
    if depth == 0 {
        return Ok(());
    }
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        // Links are not followed: they may lead in circles.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            search(&entry.path(), depth - 1, runs)?;
        }
    }
    Ok(())
}

/// The runs as a table; scores that are shares of a whole in per cent.
pub fn table(runs: &[RunSummary]) -> Table {
    let mut table = Table::new([
        "run", "program", "started", "state", "steps", "score", "last", "best", "at", "s/step",
        "memory",
    ]);
    for run in runs {
        let dash = || "-".to_owned();
        let scores = run.last.iter().chain(&run.best).map(|score| score.value);
        let shares = format::are_shares(scores);
        let score = |at: Option<ScoreAt>| format::score(at.map(|at| at.value), shares);
        table.rows.push(vec![
            run.name.clone(),
            run.program.clone().unwrap_or_else(dash),
            run.started.as_deref().map_or_else(dash, short_time),
            run.state.to_string(),
            match run.total {
                Some(total) => format!("{}/{total}", run.done),
                None => run.done.to_string(),
            },
            match (&run.main, shares) {
                (None, _) => dash(),
                (Some(name), true) => format!("{name} %"),
                (Some(name), false) => name.clone(),
            },
            score(run.last),
            score(run.best),
            run.best.map_or_else(dash, |best| best.step.to_string()),
            run.seconds_per_step
                .map_or_else(dash, |seconds| format!("{seconds:.3}")),
            run.peak_memory.map_or_else(dash, readable),
        ]);
    }
    table
}

/// To the minute: `2000-01-31 23:59`.
fn short_time(time: &str) -> String {
    time.get(..16).unwrap_or(time).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::sample;

    #[test]
    fn runs_are_found_below_a_folder_but_not_inside_a_run() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path();
        sample::run(&path.join("a"), 0.5);
        sample::run(&path.join("seeds/b"), 0.25);
        sample::run(&path.join("a/copy"), 0.5);
        fs::create_dir(path.join("empty")).unwrap();
        let runs = list(path).unwrap();
        let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
        assert_eq!(names, ["a", "seeds/b"]);
        assert_eq!(list(&path.join("a")).unwrap().len(), 1);
        let text = table(&runs).to_text();
        let line = text.lines().nth(2).unwrap();
        for part in [
            "finished",
            "20/20",
            "mIoU %",
            "50.00",
            "1.0 GiB",
            "0.500",
            "2000-01-01 00:00",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(list(&path.join("none")).is_err());
    }
}
