//! What the run is and where it stands.

use std::fmt::Write;

use crate::memory::readable;
use crate::report::facts::{Facts, shown};
use crate::report::format::{are_shares, duration, score, step_time};
use crate::report::page::escape;
use crate::report::story::Story;
use crate::runs::{RunSummary, State};

/// Keys of `run.json` that have their own place.
const KNOWN: [&str; 6] = ["program", "version", "commit", "machine", "seed", "starts"];

pub(super) fn head(facts: &Facts, story: &Story, summary: &RunSummary) -> String {
    let state = summary.state.to_string();
    let mut html = format!(
        "<header id=\"what\">\n<h1>{} <span class=\"state {state}\">{state}</span></h1>\n",
        escape(&facts.name)
    );
    if let Some(reason) = &summary.reason {
        let _ = writeln!(html, "<p class=\"scope\">{}</p>", escape(reason));
    }
    html += &progress(summary);
    html += "<ul class=\"tiles\">";
    for [name, value, rest] in tiles(story, summary) {
        let _ = write!(
            html,
            "<li><span>{}</span><b>{}</b><span>{}</span></li>",
            escape(&name),
            escape(&value),
            escape(&rest)
        );
    }
    html += "</ul>\n<dl>";
    for (name, value) in known(facts, story) {
        let _ = write!(
            html,
            "<dt>{}</dt><dd>{}</dd>",
            escape(&name),
            escape(&value)
        );
    }
    html + "</dl>\n</header>"
}

fn progress(summary: &RunSummary) -> String {
    let Some(total) = summary.total.filter(|total| *total > 0) else {
        return String::new();
    };
    let share = 100.0 * (summary.done as f64 / total as f64).min(1.0);
    format!(
        "<div class=\"progress\" role=\"img\" aria-label=\"{} of {total} steps\"><span \
         style=\"width: {share:.1}%\"></span></div>\n",
        summary.done
    )
}

/// Name, value, and what else is to be said of it.
fn tiles(story: &Story, summary: &RunSummary) -> Vec<[String; 3]> {
    let mut tiles = Vec::new();
    let total = summary
        .total
        .map_or(String::new(), |total| format!("of {total}"));
    tiles.push(["steps".into(), summary.done.to_string(), total]);
    if let Some(main) = &summary.main {
        let scores = story.score(main);
        let shares = are_shares(scores.iter().map(|(_, score)| *score));
        let name = if shares {
            format!("{main}, %")
        } else {
            main.clone()
        };
        for (which, at) in [("last", summary.last), ("best", summary.best)] {
            let place = at.map_or(String::new(), |at| format!("at step {}", at.step));
            let value = score(at.map(|at| at.value), shares);
            tiles.push([format!("{name}, {which}"), value, place]);
        }
    }
    if let Some(seconds) = summary.seconds_per_step.filter(|seconds| *seconds > 0.0) {
        let rate = format!("{} steps/s", digits(1.0 / seconds));
        tiles.push(["time of a step".into(), step_time(seconds), rate]);
    }
    let spent = summary.training_seconds + summary.evaluation_seconds;
    let left = summary.total.filter(|_| summary.state == State::Running);
    let left = left.and_then(|total| {
        let left = total.checked_sub(summary.done)? as f64;
        (summary.done > 0).then(|| left * spent / summary.done as f64)
    });
    let left = left.map_or(String::new(), |left| {
        format!("about {} left", duration(left))
    });
    tiles.push(["time".into(), duration(spent), left]);
    if let Some(peak) = summary.peak_memory {
        tiles.push(["peak memory".into(), readable(peak), String::new()]);
    }
    tiles
}

/// About three digits.
fn digits(value: f64) -> String {
    match value {
        v if v < 1.0 => format!("{v:.3}"),
        v if v < 10.0 => format!("{v:.2}"),
        v => format!("{v:.1}"),
    }
}

fn known(facts: &Facts, story: &Story) -> Vec<(String, String)> {
    let value = |key: &str| facts.run_value(key);
    let mut known = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        known.extend(value.map(|value| (name.to_owned(), value)));
    };
    let program = value("program").map(|program| {
        let version = value("version").map(|version| format!(" {version}"));
        let commit = value("commit").map(|commit| format!(", commit {commit}"));
        program + &version.unwrap_or_default() + &commit.unwrap_or_default()
    });
    add("Program", program);
    let starts = facts.starts();
    add("Command", starts.last().map(|start| start.0.clone()));
    add("Started", story.started(facts));
    add("Machine", value("machine"));
    add("Seed", value("seed"));
    let others = facts.run.as_ref().and_then(serde_json::Value::as_object);
    for (key, value) in others.into_iter().flatten() {
        if !KNOWN.contains(&key.as_str()) {
            add(key, shown(value));
        }
    }
    known
}
