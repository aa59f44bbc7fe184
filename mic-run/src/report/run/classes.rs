//! Scores of the classes over the evaluations, as tables in which a collapsed class stands out.

use std::fmt::Write;

use crate::record::Evaluation;
use crate::report::format::are_shares;
use crate::report::page::escape;
use crate::report::story::Story;

/// Most evaluations in a table.
const COLUMNS: usize = 14;
/// A class has collapsed where its score is below this share of its best one ...
const FALLEN: f64 = 0.5;
/// ... if that was at least this much.
const LEARNT: f64 = 0.05;
/// A class whose best score is below this was never learnt.
const NOTHING: f64 = 0.01;

/// One table a score.
pub(super) fn classes(story: &Story) -> String {
    let Some(last) = story.last() else {
        return String::new();
    };
    // The score that the main one is a mean of comes first, such as IoU for mIoU.
    let mut names: Vec<&String> = last.class_scores.keys().collect();
    names.sort_by_key(|name| !last.main.ends_with(name.as_str()));
    let mut html = String::new();
    for (index, name) in names.into_iter().enumerate() {
        let rows = rows(story, last, name);
        if rows.is_empty() {
            continue;
        }
        let open = if index == 0 { " open" } else { "" };
        let _ = write!(
            html,
            "<details{open}><summary><b>{}</b></summary>\n{}{}</details>\n",
            escape(name),
            verdict(&rows),
            table(&rows, &steps(story))
        );
    }
    if html.is_empty() {
        return html;
    }
    format!(
        "<section id=\"classes\">\n<h2>Classes</h2>\n<p class=\"soft\">A column an evaluation, by \
         steps done. Orange: less than half of the class's best score so far. A dash: the class \
         does not occur.</p>\n{html}</section>"
    )
}

/// A class over the evaluations.
struct Row {
    class: String,
    /// One an evaluation, and whether it has fallen since its best.
    cells: Vec<Cell>,
    best: Option<f64>,
    /// The scores of the table are shares of a whole.
    shares: bool,
}

#[derive(Clone, Copy, Default)]
struct Cell {
    value: Option<f64>,
    fallen: bool,
}

fn rows(story: &Story, last: &Evaluation, name: &str) -> Vec<Row> {
    let value = |evaluation: &Evaluation, class: &String| {
        let place = evaluation.classes.iter().position(|known| known == class)?;
        let value = evaluation
            .class_scores
            .get(name)?
            .get(place)
            .copied()
            .flatten()?;
        value.is_finite().then_some(value)
    };
    let values = |class: &String| -> Vec<Option<f64>> {
        story.evaluations.iter().map(|e| value(e, class)).collect()
    };
    let all: Vec<(&String, Vec<Option<f64>>)> = last
        .classes
        .iter()
        .map(|class| (class, values(class)))
        .collect();
    let shares = are_shares(all.iter().flat_map(|(_, values)| values).flatten().copied());
    let row = |(class, values): (&String, Vec<Option<f64>>)| {
        let (cells, best) = judge(&values);
        Row {
            class: class.clone(),
            cells,
            best,
            shares,
        }
    };
    all.into_iter().map(row).collect()
}

/// Marks what has fallen; also the best value.
fn judge(values: &[Option<f64>]) -> (Vec<Cell>, Option<f64>) {
    let mut best: Option<f64> = None;
    let cell = |&value: &Option<f64>| {
        best = match (best, value) {
            (Some(best), Some(value)) => Some(best.max(value)),
            (best, value) => best.or(value),
        };
        let so_far = best.unwrap_or(0.0);
        let fallen = value.is_some_and(|value| so_far >= LEARNT && value < FALLEN * so_far);
        Cell { value, fallen }
    };
    let cells = values.iter().map(cell).collect();
    (cells, best)
}

/// In words, which classes to look at.
fn verdict(rows: &[Row]) -> String {
    let fallen = rows
        .iter()
        .filter(|row| row.cells.last().is_some_and(|cell| cell.fallen));
    let fallen: Vec<String> = fallen
        .map(|row| {
            let last = row.cells.last().and_then(|cell| cell.value);
            format!(
                "{} ({} at best, now {})",
                escape(&row.class),
                shown(row.best, row.shares),
                shown(last, row.shares)
            )
        })
        .collect();
    let unlearnt = rows
        .iter()
        .filter(|row| row.best.is_some_and(|best| best < NOTHING));
    let unlearnt: Vec<String> = unlearnt.map(|row| escape(&row.class)).collect();
    let mut html = String::new();
    for (what, classes) in [("Collapsed", fallen), ("Not learnt", unlearnt)] {
        if !classes.is_empty() {
            let _ = writeln!(
                html,
                "<p class=\"scope\">{what}: {}.</p>",
                classes.join(", ")
            );
        }
    }
    html
}

fn steps(story: &Story) -> Vec<u64> {
    story
        .evaluations
        .iter()
        .map(|evaluation| evaluation.step)
        .collect()
}

/// Indices of at most `most` of `count` things at equal distances, with the first and the last.
pub(super) fn spread(count: usize, most: usize) -> Vec<usize> {
    if count <= most {
        return (0..count).collect();
    }
    (0..most).map(|i| i * (count - 1) / (most - 1)).collect()
}

fn table(rows: &[Row], steps: &[u64]) -> String {
    let columns = spread(steps.len(), COLUMNS);
    let mut html = "<div class=\"scroll\"><table class=\"heat\">\n<thead><tr>\
                    <th scope=\"col\">class</th><th scope=\"col\">best</th>\
                    <th scope=\"col\">last</th>"
        .to_owned();
    for &column in &columns {
        let _ = write!(html, "<th scope=\"col\">{}</th>", steps[column]);
    }
    html += "</tr></thead>\n<tbody>\n";
    for row in rows {
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{}</th><td>{}</td>",
            escape(&row.class),
            shown(row.best, row.shares)
        );
        // Beside the name: a phone shows the first columns only.
        html += &cell(row.cells.last().copied().unwrap_or_default(), row.shares);
        for &column in &columns {
            html += &cell(row.cells[column], row.shares);
        }
        html += "</tr>\n";
    }
    html + "</tbody></table></div>\n"
}

fn cell(cell: Cell, shares: bool) -> String {
    let Some(value) = cell.value else {
        return "<td>\u{2013}</td>".into();
    };
    let class = if cell.fallen { " class=\"fallen\"" } else { "" };
    let strength = if shares {
        format!(" style=\"--v: {:.0}\"", 100.0 * value)
    } else {
        String::new()
    };
    format!("<td{class}{strength}>{}</td>", shown(Some(value), shares))
}

fn shown(value: Option<f64>, shares: bool) -> String {
    match value {
        None => "\u{2013}".into(),
        Some(value) if shares => format!("{:.1}", 100.0 * value),
        Some(value) => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_falls_to_less_than_half_is_marked() {
        let values = [None, Some(0.01), Some(0.0), Some(0.4), Some(0.3), Some(0.1)];
        let (cells, best) = judge(&values);
        let fallen: Vec<bool> = cells.iter().map(|cell| cell.fallen).collect();
        assert_eq!(fallen, [false, false, false, false, false, true]);
        assert_eq!(best, Some(0.4));
        assert_eq!(judge(&[None]).1, None);
    }

    #[test]
    fn columns_are_spread_from_the_first_to_the_last() {
        assert_eq!(spread(3, 5), [0, 1, 2]);
        assert_eq!(spread(9, 5), [0, 2, 4, 6, 8]);
        let many = spread(1000, COLUMNS);
        assert_eq!((many.len(), many[0], many[COLUMNS - 1]), (COLUMNS, 0, 999));
    }
}
