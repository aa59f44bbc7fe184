//! The page of one run.

mod charts;
mod classes;
mod gallery;
mod head;
mod record;

use std::fmt::Write;

pub(super) use gallery::Gallery;

use super::facts::Facts;
use super::page::{document, escape};
use super::story::Story;
use crate::runs::{RunSummary, State};

/// How often a browser loads the page of a running run again, in seconds.
const RELOAD: u64 = 60;

/// The page; pictures come from the run folder and are kept in `gallery` for the next time.
pub(super) fn page(facts: &Facts, story: &Story, gallery: &mut Gallery) -> String {
    let summary = RunSummary::of(facts, story);
    let reload = match summary.state {
        State::Running => format!("<meta http-equiv=\"refresh\" content=\"{RELOAD}\">\n"),
        _ => String::new(),
    };
    let sections = [
        head::head(facts, story, &summary),
        charts::scores(story),
        classes::classes(story),
        charts::scalars(story),
        gallery.section(&facts.folder),
        record::time(facts, story, &summary),
        record::notes(facts, story),
        configuration(facts),
    ];
    let body: Vec<String> = sections.into_iter().filter(|s| !s.is_empty()).collect();
    document(&facts.name, &reload, &body.join("\n"))
}

fn configuration(facts: &Facts) -> String {
    let metrics = facts
        .metrics
        .as_ref()
        .and_then(|metrics| serde_json::to_string_pretty(metrics).ok());
    let texts = [
        ("Configuration", "config.toml", &facts.config_text),
        ("Result", "metrics.json", &metrics),
    ];
    let mut html = String::new();
    for (title, file, text) in texts {
        if let Some(text) = text {
            let _ = write!(
                html,
                "<details><summary><b>{title}</b> ({file})</summary>\n<pre>{}</pre></details>\n",
                escape(text)
            );
        }
    }
    match html.is_empty() {
        true => html,
        false => {
            format!("<section id=\"configuration\">\n<h2>Configuration</h2>\n{html}</section>")
        }
    }
}
