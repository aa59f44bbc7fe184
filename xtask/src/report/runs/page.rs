//! The report as a page: one file without any outside reference.

use std::fmt::Write;

use mic_run::report::chart;
use mic_run::report::page::{card, document, escape, grid};

use super::figures::Report;
use super::found::Miniature;
use super::markdown::{READING, TRANSCRIBED};
use super::paper::ExperimentTable;
use crate::report::{curves, notes, table};

/// Marked cells outside of heat maps; names of runs may break.
const STYLE: &str = "<style>
td.fallen { background: color-mix(in oklab, var(--s2) 30%, var(--card)); font-weight: 600; }
.others td:last-child, .others th:last-child { text-align: left; white-space: normal; min-width: 18rem; }
.others th:first-child { position: static; }
.paper th, .paper td, .classes th, .classes td { white-space: normal; }
.paper th:first-child { overflow-wrap: anywhere; min-width: 7rem; }
.paper td:nth-child(n+6), .paper th:nth-child(n+6) { text-align: left; }
.scroll:has(.classes) { max-width: 44rem; }
</style>
";

/// The whole page.
pub(super) fn html(report: &Report) -> String {
    let mut body = format!(
        "<header id=\"what\">\n<h1>Runs beside the paper</h1>\n<p>{}</p>\n",
        escape(READING)
    );
    if report.has_transcriptions {
        let _ = writeln!(body, "<p class=\"scope\">{}</p>", escape(TRANSCRIBED));
    }
    body += "</header>\n";
    for experiment in &report.experiments {
        body += &one(experiment);
    }
    if !report.grids.is_empty() {
        body += "<section id=\"masks\">\n<h2>Masks</h2>\n<p class=\"soft\">Runs that differ in the size \
                 of the blocks and the masked share alone; the darker, the better within a map.</p>\n";
        for one in &report.grids {
            let _ = write!(
                body,
                "<h3>{}</h3>\n{}",
                escape(&one.title),
                one.cells.html("heat")
            );
        }
        body += "</section>\n";
    }
    for miniature in &report.miniatures {
        body += &small(miniature);
    }
    if !report.others.rows.is_empty() {
        let _ = write!(
            body,
            "<section id=\"others\">\n<h2>Other runs</h2>\n{}</section>\n",
            report.others.html("others")
        );
    }
    if !report.problems.is_empty() {
        body += "<section id=\"problems\">\n<h2>Left out</h2>\n<ul class=\"notes\">";
        for problem in &report.problems {
            let _ = write!(body, "<li>{}</li>", escape(problem));
        }
        body += "</ul>\n</section>\n";
    }
    document("Runs beside the paper", STYLE, &body)
}

fn one(experiment: &ExperimentTable) -> String {
    let mut html = format!(
        "<section class=\"experiment\">\n<h2>{}</h2>\n{}",
        escape(&experiment.title),
        experiment.cells.html("paper")
    );
    if !experiment.notes.is_empty() {
        html += "<ul class=\"notes soft\">";
        for note in &experiment.notes {
            let _ = write!(html, "<li>{}</li>", escape(note));
        }
        html += "</ul>\n";
    }
    if experiment.curves.iter().any(|line| line.points.len() > 1) {
        html += "<ul class=\"legend\">";
        for line in &experiment.curves {
            let label = escape(&line.label);
            let _ = write!(
                html,
                "<li><span class=\"swatch c{}\"></span>{label}</li>",
                line.colour
            );
        }
        let title = format!(
            "{} over iterations, means and ranges over seeds",
            experiment.measure
        );
        let svg = chart::lines(&title, "iteration", &experiment.curves);
        let _ = write!(
            html,
            "</ul>\n<div class=\"charts\">{}</div>\n",
            card(&title, &svg)
        );
    }
    for (title, classes) in &experiment.classes {
        // Closed where there is nothing to compare with.
        let open = if classes.headings.len() > 2 {
            " open"
        } else {
            ""
        };
        let _ = write!(
            html,
            "<details{open}><summary>{}: classes</summary>\n{}</details>\n",
            escape(title),
            classes.html("classes")
        );
    }
    html + "</section>\n"
}

fn small(miniature: &Miniature) -> String {
    let results = &miniature.results;
    let mut html = format!(
        "<section class=\"miniature\">\n<h2>{}</h2>\n<p class=\"scope\">{}</p>\n",
        escape(&results.what),
        escape(&notes::scope(results))
    );
    for pair in &results.pairs {
        if results.several() {
            let _ = writeln!(html, "<h3>{}</h3>", escape(&pair.label));
        }
        html += &grid("scores", &table::scores(results, pair));
        if !pair.comparisons.is_empty() {
            let differences = table::differences(&pair.comparisons, &results.seeds);
            html += &grid("pairs", &differences);
        }
        let measure = results.main();
        let lines = curves::measure(pair, measure);
        let title = format!("{} over iterations", measure.label);
        let svg = chart::lines(&title, "iteration", &lines);
        html += "<ul class=\"legend\">";
        for line in &lines {
            let label = escape(&line.label);
            let _ = write!(
                html,
                "<li><span class=\"swatch c{}\"></span>{label}</li>",
                line.colour
            );
        }
        let _ = write!(
            html,
            "</ul>\n<div class=\"charts\">{}</div>\n",
            card(&title, &svg)
        );
    }
    let _ = writeln!(
        html,
        "<p class=\"soft\">{}</p>",
        escape(&miniature.path.display().to_string())
    );
    html + "</section>\n"
}
