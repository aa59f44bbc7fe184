//! The report as Markdown.

use mic_run::report::Table;

use super::cells::Cells;
use super::figures::Report;
use crate::report::{notes, table};

/// What the marks mean.
pub(super) const READING: &str = "Scores in per cent, ± is the sample standard deviation over the seeds. \
                                  Of every run the last evaluation counts.";
/// What is to be known of copied figures.
pub(super) const TRANSCRIBED: &str = "Figures marked as an unverified transcription were copied from the \
                                      published table and not checked against it again.";

/// The whole report.
pub(super) fn text(report: &Report) -> String {
    let mut text = format!("# Runs beside the paper\n\n{READING}\n");
    if report.has_transcriptions {
        text += &format!("{TRANSCRIBED}\n");
    }
    for experiment in &report.experiments {
        text += &format!(
            "\n## {}\n\n{}",
            experiment.title,
            experiment.cells.markdown()
        );
        for note in &experiment.notes {
            text += &format!("\n- {note}");
        }
        if !experiment.notes.is_empty() {
            text.push('\n');
        }
        for (title, classes) in &experiment.classes {
            text += &format!("\n### {title}: classes\n\n{}", classes.markdown());
        }
    }
    for grid in &report.grids {
        text += &format!("\n## Masks: {}\n\n{}", grid.title, grid.cells.markdown());
    }
    for miniature in &report.miniatures {
        let results = &miniature.results;
        text += &format!("\n## {}\n\n{}\n", results.what, notes::scope(results));
        for pair in &results.pairs {
            if results.several() {
                text += &format!("\n### {}\n", pair.label);
            }
            text.push('\n');
            text += &cells(&table::scores(results, pair).transposed()).markdown();
            if !pair.comparisons.is_empty() {
                let differences = table::differences(&pair.comparisons, &results.seeds);
                text += &format!("\n{}", cells(&differences).markdown());
            }
        }
    }
    if !report.others.rows.is_empty() {
        text += &format!("\n## Other runs\n\n{}", report.others.markdown());
    }
    if !report.problems.is_empty() {
        text += "\n## Left out\n\n";
        let lines = report
            .problems
            .iter()
            .map(|problem| format!("- {problem}\n"));
        text += &lines.collect::<String>();
    }
    text
}

/// A plain table as one whose cells may be marked.
fn cells(table: &Table) -> Cells {
    let mut cells = Cells::new(table.headings.iter().map(String::as_str));
    let row = |row: &Vec<String>| row.iter().map(|cell| cell.as_str().into()).collect();
    cells.rows = table.rows.iter().map(row).collect();
    cells
}
