//! The page: one file without any outside reference, for a browser or a phone.

use std::fmt::Write;

use anyhow::Result;
use mic_run::report::chart;
use mic_run::report::page::{card, document, escape, grid};

use super::images::{Gallery, data_address};
use super::{curves, notes, table};
use crate::reproduce::results::{MethodRuns, Results};
use crate::reproduce::shell_word;

/// The whole page.
///
/// # Errors
///
/// If a picture cannot be encoded or a configuration cannot be written as TOML.
pub fn page(results: &Results, gallery: &Gallery) -> Result<String> {
    let sections = [
        head(results),
        scores(results),
        differences(results),
        charts(results),
        pictures(results, gallery)?,
        methods(results)?,
    ];
    Ok(document(&results.what, "", &sections.join("\n")))
}

fn head(results: &Results) -> String {
    let provenance = &results.provenance;
    let seeds: Vec<String> = results.seeds.iter().map(u64::to_string).collect();
    let version = match &provenance.commit {
        Some(commit) => format!("{}, commit {commit}", provenance.version),
        None => provenance.version.clone(),
    };
    let iterations = results.iterations;
    let facts = [
        ("Data", results.data.clone()),
        ("Seeds", seeds.join(", ")),
        (
            "Iterations",
            format!(
                "{} warm-up, then {} a method",
                iterations.warmup, iterations.adaptation
            ),
        ),
        ("Machine", provenance.machine.clone()),
        ("Started", provenance.started.clone()),
        ("Version", version),
        ("Command", provenance.command.clone()),
    ];
    let facts = facts.map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>", escape(&value)));
    format!(
        "<header id=\"what\">\n<h1>{}</h1>\n<p class=\"scope\">{}</p>\n<dl>{}</dl>\n</header>",
        escape(&results.what),
        escape(&notes::scope(results)),
        facts.concat()
    )
}

fn scores(results: &Results) -> String {
    let reading = notes::reading(results);
    let reading = reading
        .iter()
        .map(|line| format!("<p class=\"soft\">{}</p>\n", escape(line)));
    format!(
        "<section id=\"table\">\n<h2>Results</h2>\n{}{}</section>",
        grid("scores", &table::scores(results)),
        reading.collect::<String>()
    )
}

fn differences(results: &Results) -> String {
    let body = if results.comparisons.is_empty() {
        "<p class=\"soft\">The methods that were run leave nothing to compare.</p>\n".into()
    } else {
        grid(
            "pairs",
            &table::differences(&results.comparisons, &results.seeds),
        )
    };
    format!(
        "<section id=\"differences\">\n<h2>Paired differences</h2>\n<p>Method minus baseline with \
         the same seed, in points of per cent.</p>\n{body}</section>"
    )
}

fn charts(results: &Results) -> String {
    let final_miou = |method: &MethodRuns| {
        let values = method
            .runs
            .iter()
            .map(|run| 100.0 * run.scores.miou)
            .collect();
        (method.label.clone(), values)
    };
    let rows: Vec<_> = results.methods.iter().map(final_miou).collect();
    let mut html = "<section id=\"curves\">\n<h2>Curves</h2>\n<p class=\"soft\">Lines are means \
                    over the seeds, bands their range; losses and weights are means over short \
                    windows of iterations.</p>\n<ul class=\"legend\">"
        .to_owned();
    for (index, method) in results.methods.iter().enumerate() {
        let label = escape(&method.label);
        let _ = write!(
            html,
            "<li><span class=\"swatch c{index}\"></span>{label}</li>"
        );
    }
    html += "</ul>\n<div class=\"charts\">\n";
    html += &card(
        "Final mIoU, a dot a seed, a bar at the mean",
        &chart::dots("Final mIoU", &rows),
    );
    let miou = chart::lines("mIoU over iterations", "iteration", &curves::miou(results));
    html += &card("mIoU on the target test images", &miou);
    for name in curves::scalar_names(results) {
        html += &card(
            &scalar_title(name),
            &chart::lines(name, "iteration", &curves::scalar(results, name)),
        );
    }
    html + "</div>\n</section>"
}

/// What a named scalar is.
fn scalar_title(name: &str) -> String {
    let meaning = match name {
        "decode.loss_seg" => "loss on labelled images",
        "mix.decode.loss_seg" => "loss on mixed images",
        "masked.decode.loss_seg" => "loss on masked images",
        "pseudo.weight" => "weight of the pseudo-labels",
        _ => return name.into(),
    };
    format!("{meaning} ({name})")
}

fn pictures(results: &Results, gallery: &Gallery) -> Result<String> {
    let mut html = format!(
        "<section id=\"pictures\">\n<h2>Target test images</h2>\n<p class=\"soft\">{}</p>\n\
         <ul class=\"legend\">",
        escape(&gallery.note)
    );
    for class in &results.classes {
        let [red, green, blue] = class.colour;
        let _ = write!(
            html,
            "<li><span class=\"swatch\" style=\"--c: rgb({red} {green} {blue})\"></span>{}</li>",
            escape(&class.name)
        );
    }
    html += "</ul>\n";
    for row in &gallery.rows {
        let name = escape(&row.name);
        let _ = write!(html, "<h3>{name}</h3>\n<div class=\"pictures\">");
        for (caption, picture) in gallery.captions.iter().zip(&row.pictures) {
            let caption = escape(caption);
            let (width, height) = picture.dimensions();
            let address = data_address(picture)?;
            let _ = write!(
                html,
                "<figure><img alt=\"{caption} of {name}\" width=\"{width}\" height=\"{height}\" \
                 src=\"{address}\"><figcaption>{caption}</figcaption></figure>"
            );
        }
        html += "</div>\n";
    }
    Ok(html + "</section>")
}

fn methods(results: &Results) -> Result<String> {
    let mut html = "<section id=\"configuration\">\n<h2>Methods and configuration</h2>\n\
                    <p class=\"soft\">Each with the commands that repeat it alone for the first \
                    seed, and its resolved configuration.</p>\n"
        .to_owned();
    for method in std::iter::once(&results.warmup).chain(&results.methods) {
        let _ = write!(
            html,
            "<details><summary><b>{}</b>: {}</summary>\n<pre>{}</pre>\n<pre>{}</pre></details>\n",
            escape(&method.label),
            escape(&method.note),
            escape(&command(results, method)),
            escape(&toml::to_string(&method.config)?)
        );
    }
    let _ = write!(
        html,
        "<h2>At the paper's scale</h2>\n<p class=\"soft\">{}</p>\n</section>",
        escape(&notes::paper_scale())
    );
    Ok(html)
}

/// The command line that repeats a method for the first seed.
fn command(results: &Results, method: &MethodRuns) -> String {
    let warmup = &results.warmup.key;
    let seed = results.seeds.first().copied().unwrap_or(0);
    let mut sets = method.overrides.clone();
    sets.push(format!("seed={seed}"));
    if method.key != *warmup {
        sets.push(format!(
            "train.init_from=runs/{warmup}/checkpoint.safetensors"
        ));
    }
    let mut command = format!(
        "mic-seg train --config {} --out runs/{}",
        results.config_file, method.key
    );
    for set in sets {
        command += &format!(" \\\n  --set {}", shell_word(&set));
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn sample_page() -> String {
        page(&sample::results(3), &sample::gallery()).unwrap()
    }

    #[test]
    fn every_section_is_there_once() {
        let page = sample_page();
        for id in [
            "what",
            "table",
            "differences",
            "curves",
            "pictures",
            "configuration",
        ] {
            assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
        }
        assert_eq!(page.matches("data:image/png;base64,").count(), 6);
        assert!(page.contains("seed = 0"), "resolved configuration");
        let repeat = "mic-seg train --config configs/made-up.toml --out runs/self-training \\\n";
        assert!(page.contains(repeat), "command that repeats a row");
    }

    #[test]
    fn names_are_escaped() {
        let page = sample_page();
        assert!(page.contains("source &lt;only&gt;") && !page.contains("<only>"));
        assert!(page.contains("Made-up numbers &amp; names"));
    }

    #[test]
    fn nothing_is_loaded_from_outside() {
        let page = sample_page();
        for outside in [
            "http:", "https:", "//", "@import", "url(", "<script", "<link",
        ] {
            let text = page.replace("data:image/png;base64,", "");
            let without_pictures: String = text
                .split("src=\"")
                .map(|part| part.split_once("\">").map_or(part, |p| p.1))
                .collect();
            assert!(!without_pictures.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_page_of_one_seed_without_comparisons_or_pictures_exists() {
        let mut results = sample::results(1);
        results.comparisons.clear();
        let page = page(&results, &Gallery::default()).unwrap();
        assert!(page.contains("nothing to compare"));
    }
}
