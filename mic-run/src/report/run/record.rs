//! Time, memory, starts, checkpoints and notes.

use std::fmt::Write;

use super::charts::{DATA_SECONDS, chart};
use crate::memory::readable;
use crate::provenance::timestamp;
use crate::report::Table;
use crate::report::facts::Facts;
use crate::report::format::{duration, step_time};
use crate::report::page::{escape, grid};
use crate::report::story::Story;
use crate::runs::RunSummary;

/// Checkpoints that are listed.
const CHECKPOINTS: usize = 8;

pub(super) fn time(facts: &Facts, story: &Story, summary: &RunSummary) -> String {
    let mut html = "<section id=\"time\">\n<h2>Time and memory</h2>\n<dl>".to_owned();
    for (name, value) in costs(story, summary) {
        let _ = write!(html, "<dt>{name}</dt><dd>{value}</dd>");
    }
    html += "</dl>\n<div class=\"charts\">\n";
    let rate = story.seconds.points().into_iter();
    let rate: Vec<(f64, f64)> = rate
        .filter(|(_, seconds)| *seconds > 0.0)
        .map(|(step, seconds)| (step, 1.0 / seconds))
        .collect();
    if !rate.is_empty() {
        html += &chart("Steps a second", "steps/s", &rate);
    }
    if let Some(waiting) = story.curve(DATA_SECONDS) {
        let mut share = waiting.share_of(&story.seconds);
        share.iter_mut().for_each(|(_, share)| *share *= 100.0);
        html += &chart("Waiting for data, % of a step", "waiting", &share);
    }
    html += "</div>\n";
    html += &starts(facts, story);
    html += &checkpoints(story);
    html + "</section>"
}

fn costs(story: &Story, summary: &RunSummary) -> Vec<(&'static str, String)> {
    let mut costs = vec![("Steps", duration(summary.training_seconds))];
    costs.extend(
        summary
            .seconds_per_step
            .map(|s| ("Median step", step_time(s))),
    );
    let count = story.evaluations.len();
    if count > 0 {
        let whole = duration(summary.evaluation_seconds);
        let each = duration(summary.evaluation_seconds / count as f64);
        costs.push(("Evaluations", format!("{whole}: {count} of about {each}")));
    }
    let count = story.checkpoints.len();
    if let Some(last) = story.checkpoints.last() {
        let stopped: f64 = story.checkpoints.iter().map(|c| c.stopped).sum();
        let share = 100.0 * stopped / summary.training_seconds.max(1e-9);
        costs.push((
            "Checkpoints",
            format!(
                "{count} of {}; training stood still for {} ({share:.2} % of the steps)",
                readable(last.bytes),
                duration(stopped)
            ),
        ));
    }
    costs.extend(
        summary
            .peak_memory
            .map(|peak| ("Peak memory", readable(peak))),
    );
    costs
}

fn starts(facts: &Facts, story: &Story) -> String {
    let known = facts.starts();
    if story.starts.len() < 2 {
        return String::new();
    }
    let mut table = Table::new(["start", "at step", "time", "command"]);
    for (index, start) in story.starts.iter().enumerate() {
        let command = known.get(index).map(|start| start.0.clone());
        table.rows.push(vec![
            (index + 1).to_string(),
            start.step.to_string(),
            timestamp(start.time as u64),
            command.unwrap_or_default(),
        ]);
    }
    format!("<h3>Starts</h3>\n{}", grid("starts", &table))
}

fn checkpoints(story: &Story) -> String {
    if story.checkpoints.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["checkpoint", "size", "written in", "training stopped for"]);
    for checkpoint in story.checkpoints.iter().rev().take(CHECKPOINTS) {
        table.rows.push(vec![
            checkpoint.path.clone(),
            readable(checkpoint.bytes),
            duration(checkpoint.seconds),
            format!("{:.3} s", checkpoint.stopped),
        ]);
    }
    let count = story.checkpoints.len();
    let which = match count > CHECKPOINTS {
        true => format!("Checkpoints written (the last {CHECKPOINTS} of {count})"),
        false => "Checkpoints written".into(),
    };
    format!("<h3>{which}</h3>\n{}", grid("checkpoints", &table))
}

/// What a person should know.
pub(super) fn notes(facts: &Facts, story: &Story) -> String {
    let mut items: Vec<String> = facts.damaged.iter().map(|text| escape(text)).collect();
    if story.unread > 0 {
        items.push(format!(
            "{} lines of events.jsonl are torn or unknown",
            story.unread
        ));
    }
    let stops = story
        .stops
        .iter()
        .map(|(step, reason)| (step, "stop: ", reason));
    let notes = story.notes.iter().map(|(step, text)| (step, "", text));
    let mut told: Vec<(&u64, &str, &String)> = notes.chain(stops).collect();
    told.sort_by_key(|(step, _, _)| **step);
    let told = told.into_iter();
    items.extend(told.map(|(step, what, text)| format!("<b>{step}</b> {what}{}", escape(text))));
    if story.older_notes > 0 {
        items.push(format!(
            "{} older notes are in events.jsonl",
            story.older_notes
        ));
    }
    if items.is_empty() {
        return String::new();
    }
    let items: String = items
        .iter()
        .map(|item| format!("<li>{item}</li>\n"))
        .collect();
    format!(
        "<section id=\"notes\">\n<h2>Notes</h2>\n<ul class=\"notes\">\n{items}</ul>\n</section>"
    )
}
