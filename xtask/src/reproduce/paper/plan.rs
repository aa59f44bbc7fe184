//! `--dry-run`: what would be run, and what it will take.

use mic_run::memory::readable;
use mic_run::report::Table;

use super::estimate::{Estimate, estimate, iterations};
use super::folder::{self, State};
use super::list::seed;
use super::needs;
use super::published::{MARKS, score};
use super::room;
use super::select::{Chosen, PaperRun};

/// The plan of the chosen runs.
pub(super) fn text(chosen: &Chosen) -> String {
    let missing = needs::missing_paths(chosen);
    let total: u64 = chosen.runs.iter().map(|run| iterations(&run.config)).sum();
    let count = chosen.runs.len();
    let mut text = head(chosen, missing.is_empty());
    text += &format!(
        "{count} {} of {}, {} iterations, each in a folder of its name below {}\n\n",
        if count == 1 { "run" } else { "runs" },
        chosen.program.name(),
        thousands(total),
        chosen.out.display()
    );
    let estimates: Vec<Estimate> = chosen.runs.iter().map(|r| estimate(chosen, r)).collect();
    text += &table(chosen, &estimates).to_text();
    text += &format!("\n{}", basis(chosen, &estimates));
    text += &sum(chosen, &estimates);
    text += &format!("{MARKS}\n");
    if !missing.is_empty() {
        text += &format!("\nmissing:\n{}\n", needs::lines(&missing));
    }
    text += "\nnames of the runs:\n";
    let names = chosen.runs.iter().map(|run| format!("  {}\n", run.name));
    text += &names.collect::<String>();
    text
}

/// Without a choice it must be told what the same command does without `--dry-run`.
fn head(chosen: &Chosen, complete: bool) -> String {
    match (chosen.named, complete) {
        (true, _) => String::new(),
        (false, true) => "Without --exp, --table or --run: the paper's main run.\n".into(),
        (false, false) => {
            "Without --exp, --table or --run: the paper's main run. As some of what it \
                           needs is missing, the command without --dry-run trains the miniature.\n"
                .into()
        }
    }
}

fn table(chosen: &Chosen, estimates: &[Estimate]) -> Table {
    let mut table = Table::new([
        "run",
        "seed",
        "pair",
        "iterations",
        "hours",
        "memory",
        "disk",
        "folder",
    ]);
    table.headings.push(format!("published {}", chosen.metric));
    for (run, estimate) in chosen.runs.iter().zip(estimates) {
        let configuration = &run.configuration;
        table.rows.push(vec![
            configuration.file.clone(),
            seed(run).to_string(),
            format!("{} -> {}", configuration.source, configuration.target),
            thousands(iterations(&run.config)),
            with_bound(estimate, estimate.hours.map(hours)),
            with_bound(estimate, estimate.memory.map(readable)),
            estimate.disk.map_or_else(unknown, readable),
            state(chosen, run),
            score(configuration),
        ]);
    }
    table
}

fn unknown() -> String {
    "?".into()
}

fn with_bound(estimate: &Estimate, value: Option<String>) -> String {
    match value {
        None => unknown(),
        Some(value) if estimate.at_least => format!("> {value}"),
        Some(value) => value,
    }
}

fn hours(hours: f64) -> String {
    match hours {
        few if few < 10.0 => format!("{few:.1}"),
        many => thousands(many.round() as u64),
    }
}

fn state(chosen: &Chosen, run: &PaperRun) -> String {
    match folder::state(&chosen.out.join(&run.name), run) {
        State::New => "new".into(),
        State::Finished => "finished: left alone".into(),
        State::Unfinished(step) => format!("unfinished at {step}: --resume"),
        State::Running => "is being trained".into(),
        State::Other(_) => "another run: refused".into(),
    }
}

/// What the estimates rest on, each kind once.
fn basis(chosen: &Chosen, estimates: &[Estimate]) -> String {
    let mut told: Vec<&str> = Vec::new();
    let mut text = String::new();
    for (run, estimate) in chosen.runs.iter().zip(estimates) {
        if !told.contains(&estimate.basis.as_str()) {
            told.push(&estimate.basis);
            text += &format!("{}: {}\n", run.configuration.file, estimate.basis);
        }
    }
    text
}

fn sum(chosen: &Chosen, estimates: &[Estimate]) -> String {
    let all: Option<Vec<f64>> = estimates.iter().map(|e| e.hours).collect();
    let least = estimates.iter().any(|e| e.at_least);
    let time = match all {
        Some(all) => format!(
            "{}{} hours on the processor",
            if least { "more than " } else { "" },
            hours(all.iter().sum())
        ),
        None => "not estimated".into(),
    };
    let disk: Option<Vec<u64>> = estimates.iter().map(|e| e.disk).collect();
    let disk = disk.map_or_else(
        || "not estimated".into(),
        |all| format!("about {}", readable(all.iter().sum())),
    );
    let free = room::free(&chosen.out).map(|free| format!(", {} are free", readable(free)));
    format!(
        "all together: {time}; disk: {disk}{}\n",
        free.unwrap_or_default()
    )
}

fn thousands(number: u64) -> String {
    mic_data::check::thousands(number)
}
