//! `--list`: the paper's runs and their published scores.

use mic_run::report::Table;

use super::published::{MARKS, score};
use super::select::{Chosen, PaperRun};

/// Experiments with their configurations; with a choice also the names of the runs.
pub(super) fn text(chosen: &Chosen) -> String {
    let mut text = String::new();
    let mut runs = chosen.runs.as_slice();
    while let Some(first) = runs.first() {
        let of_it = |run: &PaperRun| run.experiment == first.experiment && run.table == first.table;
        let end = runs.iter().position(|run| !of_it(run));
        let (these, rest) = runs.split_at(end.unwrap_or(runs.len()));
        let table = first.table.map(|table| format!(" (table {table})"));
        text += &format!(
            "experiment {}{}\n",
            first.experiment,
            table.unwrap_or_default()
        );
        text += &configurations(these, &chosen.metric).to_text();
        text.push('\n');
        runs = rest;
    }
    text += MARKS;
    text.push('\n');
    if chosen.named {
        text += "\nruns:\n";
        let names = chosen.runs.iter().map(|run| format!("  {}\n", run.name));
        text += &names.collect::<String>();
    }
    text
}

fn configurations(runs: &[PaperRun], metric: &str) -> Table {
    let mut table = Table::new(["name", "method", "network", "pair", "seeds"]);
    table.headings.push(format!("published {metric}"));
    let mut runs = runs;
    while let Some(first) = runs.first() {
        let file = &first.configuration.file;
        let end = runs.iter().position(|run| run.configuration.file != *file);
        let (these, rest) = runs.split_at(end.unwrap_or(runs.len()));
        let seeds: Vec<String> = these.iter().map(|run| seed(run).to_string()).collect();
        let configuration = &first.configuration;
        table.rows.push(vec![
            file.clone(),
            configuration.method.clone(),
            configuration.network.clone(),
            format!("{} -> {}", configuration.source, configuration.target),
            seeds.join(","),
            score(configuration),
        ]);
        runs = rest;
    }
    table
}

/// The seed of a run.
pub(super) fn seed(run: &PaperRun) -> u64 {
    let own = run.config.get("seed").and_then(toml::Value::as_integer);
    let own = own.and_then(|seed| u64::try_from(seed).ok());
    run.seed.or(own).unwrap_or(0)
}
