//! The page: one file without any outside reference, for a browser or a phone.

use std::fmt::Write;

use anyhow::Result;
use mic_run::report::chart;
use mic_run::report::page::{card, document, escape, grid};

use super::images::{Gallery, data_address};
use super::{curves, notes, table};
use crate::reproduce::results::{Measure, MethodRuns, PairRuns, Results};
use crate::reproduce::shell_word;

/// The whole page, with a gallery a pair of domains.
///
/// # Errors
///
/// If a picture cannot be encoded or a configuration cannot be written as TOML.
pub fn page(results: &Results, galleries: &[Gallery]) -> Result<String> {
    let sections = [
        head(results),
        scores(results),
        differences(results),
        charts(results),
        pictures(results, galleries)?,
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
        ("Data", data(results)),
        ("Seeds", seeds.join(", ")),
        (
            "Iterations",
            match iterations.warmup {
                0 => format!("{} a method", iterations.adaptation),
                warmup => format!("{warmup} warm-up, then {} a method", iterations.adaptation),
            },
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

fn data(results: &Results) -> String {
    if let Some(data) = results.data() {
        return data.to_owned();
    }
    let pairs = results.pairs.iter().map(|pair| match pair.label.as_str() {
        "" => pair.data.clone(),
        label => format!("{label}: {}", pair.data),
    });
    pairs.collect::<Vec<_>>().join("; ")
}

/// The heading of a pair, where there are several.
fn heading(results: &Results, pair: &PairRuns) -> String {
    match results.several() {
        true => format!("<h3>{}</h3>\n", escape(&pair.label)),
        false => String::new(),
    }
}

fn scores(results: &Results) -> String {
    let tables = results.pairs.iter().map(|pair| {
        let table = grid("scores", &table::scores(results, pair));
        heading(results, pair) + &table
    });
    let reading = notes::reading(results);
    let reading = reading
        .iter()
        .map(|line| format!("<p class=\"soft\">{}</p>\n", escape(line)));
    format!(
        "<section id=\"table\">\n<h2>Results</h2>\n{}{}</section>",
        tables.collect::<String>(),
        reading.collect::<String>()
    )
}

fn differences(results: &Results) -> String {
    let tables = results.pairs.iter().map(|pair| {
        let body = if pair.comparisons.is_empty() {
            "<p class=\"soft\">The methods that were run leave nothing to compare.</p>\n".into()
        } else {
            grid(
                "pairs",
                &table::differences(&pair.comparisons, &results.seeds),
            )
        };
        heading(results, pair) + &body
    });
    format!(
        "<section id=\"differences\">\n<h2>Paired differences</h2>\n<p>Method minus baseline with \
         the same seed, in points of per cent.</p>\n{}</section>",
        tables.collect::<String>()
    )
}

fn charts(results: &Results) -> String {
    let mut html = "<section id=\"curves\">\n<h2>Curves</h2>\n<p class=\"soft\">Lines are means \
                    over the seeds, bands their range; losses and weights are means over short \
                    windows of iterations.</p>\n<ul class=\"legend\">"
        .to_owned();
    let methods = results.pairs.first().map(|pair| &pair.methods[..]);
    for (index, method) in methods.unwrap_or_default().iter().enumerate() {
        let label = escape(&method.label);
        let _ = write!(
            html,
            "<li><span class=\"swatch c{index}\"></span>{label}</li>"
        );
    }
    html += "</ul>\n";
    for pair in &results.pairs {
        html += &heading(results, pair);
        html += &charts_of(results, pair);
    }
    html + "</section>"
}

fn charts_of(results: &Results, pair: &PairRuns) -> String {
    let Measure { label, .. } = results.main();
    let last = |method: &MethodRuns| {
        let values = method.runs.iter().filter_map(|run| results.main().of(run));
        (method.label.clone(), values.map(|v| 100.0 * v).collect())
    };
    let rows: Vec<_> = pair.methods.iter().map(last).collect();
    let mut html = "<div class=\"charts\">\n".to_owned();
    html += &card(
        &format!("Final {label}, a dot a seed, a bar at the mean"),
        &chart::dots(&format!("Final {label}"), &rows),
    );
    let curve = chart::lines(
        &format!("{label} over iterations"),
        "iteration",
        &curves::measure(pair, results.main()),
    );
    html += &card(&format!("{label} on the target test images"), &curve);
    for name in curves::scalar_names(pair) {
        html += &card(
            &scalar_title(results, name),
            &chart::lines(name, "iteration", &curves::scalar(pair, name)),
        );
    }
    html + "</div>\n"
}

/// What a named scalar is.
fn scalar_title(results: &Results, name: &str) -> String {
    match results.notes.scalars.get(name) {
        Some(meaning) => format!("{meaning} ({name})"),
        None => name.into(),
    }
}

fn pictures(results: &Results, galleries: &[Gallery]) -> Result<String> {
    let mut html = "<section id=\"pictures\">\n<h2>Target test images</h2>\n".to_owned();
    if galleries.iter().any(|gallery| gallery.coloured) {
        html += "<ul class=\"legend\">";
        for class in &results.classes {
            let [red, green, blue] = class.colour;
            let _ = write!(
                html,
                "<li><span class=\"swatch\" style=\"--c: rgb({red} {green} {blue})\"></span>{}</li>",
                escape(&class.name)
            );
        }
        html += "</ul>\n";
    }
    for (pair, gallery) in results.pairs.iter().zip(galleries) {
        html += &heading(results, pair);
        let _ = writeln!(html, "<p class=\"soft\">{}</p>", escape(&gallery.note));
        html += &rows(gallery)?;
    }
    Ok(html + "</section>")
}

fn rows(gallery: &Gallery) -> Result<String> {
    let mut html = String::new();
    for row in &gallery.rows {
        let name = escape(&row.name);
        let _ = write!(html, "<h4>{name}</h4>\n<div class=\"pictures\">");
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
    Ok(html)
}

fn methods(results: &Results) -> Result<String> {
    let mut html = "<section id=\"configuration\">\n<h2>Methods and configuration</h2>\n\
                    <p class=\"soft\">Each with the commands that repeat it alone for the first \
                    seed, and its resolved configuration.</p>\n"
        .to_owned();
    for pair in &results.pairs {
        html += &heading(results, pair);
        for method in pair.warmup.iter().chain(&pair.methods) {
            let _ = write!(
                html,
                "<details><summary><b>{}</b>: {}</summary>\n<pre>{}</pre>\n<pre>{}</pre></details>\n",
                escape(&method.label),
                escape(&method.note),
                escape(&command(results, pair, method)),
                escape(&toml::to_string(&method.config)?)
            );
        }
    }
    let _ = write!(
        html,
        "<h2>At the paper's scale</h2>\n<p class=\"soft\">{}</p>\n</section>",
        escape(&results.notes.paper_scale)
    );
    Ok(html)
}

/// The command line that repeats a method for the first seed.
fn command(results: &Results, pair: &PairRuns, method: &MethodRuns) -> String {
    let folder = |key: &str| match pair.key.as_str() {
        "" => format!("runs/{key}"),
        pair => format!("runs/{pair}-{key}"),
    };
    let seed = results.seeds.first().copied().unwrap_or(0);
    let mut sets = method.overrides.clone();
    sets.push(format!("seed={seed}"));
    if let Some(warmup) = pair.warmup.as_ref().filter(|w| w.key != method.key) {
        let start = folder(&warmup.key);
        sets.push(format!("train.init_from={start}/checkpoint.safetensors"));
    }
    let mut command = format!(
        "{} train --config {} --out {}",
        results.program,
        results.config_file,
        folder(&method.key)
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
        page(&sample::results(3), &[sample::gallery()]).unwrap()
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
        results.pairs[0].comparisons.clear();
        let page = page(&results, &[]).unwrap();
        assert!(page.contains("nothing to compare"));
    }

    #[test]
    fn several_pairs_have_headings_and_commands_of_their_own() {
        let mut results = sample::results(1);
        let mut other = results.pairs[0].clone();
        (other.key, other.label) = ("back".into(), "back & forth".into());
        results.pairs.push(other);
        let galleries = [sample::gallery(), sample::gallery()];
        let page = page(&results, &galleries).unwrap();
        // Tables, differences, curves, pictures, methods.
        assert_eq!(page.matches("<h3>back &amp; forth</h3>").count(), 5);
        assert!(page.contains("--out runs/back-self-training"));
    }
}
