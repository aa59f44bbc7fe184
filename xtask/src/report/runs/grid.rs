//! Runs that differ in the size of the masked blocks and the masked share alone.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::assign::is_incidental;
use super::cells::{Cell, Cells};
use crate::reproduce::statistics::mean;

/// What a grid is made of.
#[derive(Clone, Debug)]
pub(super) struct Entry<'a> {
    /// What the runs are of, for the heading.
    pub(super) label: String,
    pub(super) config: &'a Table,
    /// In per cent.
    pub(super) score: f64,
    /// What the score is.
    pub(super) measure: String,
}

/// Scores by block (down) and ratio (across).
#[derive(Clone, Debug)]
pub(super) struct Grid {
    pub(super) title: String,
    pub(super) cells: Cells,
}

/// Blocks and ratios in thousandths with their scores.
type Scores = BTreeMap<(i64, i64), Vec<f64>>;

/// All grids with at least two cells.
pub(super) fn grids(entries: &[Entry<'_>]) -> Vec<Grid> {
    let mut groups: Vec<(String, String, Scores)> = Vec::new();
    for entry in entries {
        let Some((block, ratio)) = block_and_ratio(entry.config) else {
            continue;
        };
        let key = format!("{}\n{}", entry.measure, rest(entry.config));
        let place = (block, (ratio * 1000.0).round() as i64);
        let known = groups.iter_mut().find(|(known, ..)| *known == key);
        let scores = match known {
            Some((.., scores)) => scores,
            None => {
                let title = format!("{}, {} in per cent", entry.label, entry.measure);
                groups.push((key, title, Scores::new()));
                match groups.last_mut() {
                    Some((.., scores)) => scores,
                    None => continue,
                }
            }
        };
        scores.entry(place).or_default().push(entry.score);
    }
    let several = groups.into_iter().filter(|(.., scores)| scores.len() > 1);
    several
        .map(|(_, title, scores)| Grid {
            title,
            cells: cells(&scores),
        })
        .collect()
}

fn block_and_ratio(config: &Table) -> Option<(i64, f64)> {
    let mask = config.get("mask")?;
    let ratio = mask.get("ratio")?;
    let ratio = ratio
        .as_float()
        .or_else(|| Some(ratio.as_integer()? as f64))?;
    Some((mask.get("block")?.as_integer()?, ratio))
}

/// All else that matters, as text.
fn rest(config: &Table) -> String {
    let mut lines = Vec::new();
    flatten("", config, &mut lines);
    lines.sort();
    lines.join("\n")
}

fn flatten(prefix: &str, table: &Table, lines: &mut Vec<String>) {
    for (key, value) in table {
        let path = format!("{prefix}{key}");
        match value {
            Value::Table(inner) => flatten(&format!("{path}."), inner, lines),
            _ if is_incidental(&path) || path == "mask.block" || path == "mask.ratio" => {}
            other => lines.push(format!("{path}={other}")),
        }
    }
}

fn cells(scores: &Scores) -> Cells {
    let mut blocks: Vec<i64> = scores.keys().map(|(block, _)| *block).collect();
    let mut ratios: Vec<i64> = scores.keys().map(|(_, ratio)| *ratio).collect();
    for side in [&mut blocks, &mut ratios] {
        side.sort_unstable();
        side.dedup();
    }
    let means: Vec<f64> = scores.values().filter_map(|values| mean(values)).collect();
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut cells = Cells::new(["block"]);
    let share = |ratio: &i64| format!("ratio {}", *ratio as f64 / 1000.0);
    cells.headings.extend(ratios.iter().map(share));
    for block in &blocks {
        let cell = |ratio: &i64| -> Cell {
            let values = scores.get(&(*block, *ratio));
            let Some((values, mean)) = values.and_then(|v| Some((v, mean(v)?))) else {
                return Cell::from("-");
            };
            let shade = 100.0 * (mean - low) / (high - low).max(1e-9);
            Cell::shaded(format!("{mean:.1} (n={})", values.len()), shade)
        };
        let mut row = vec![Cell::from(block.to_string())];
        row.extend(ratios.iter().map(cell));
        cells.rows.push(row);
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(seed: u64, block: u64, ratio: f64, lr: f64) -> Table {
        let text = format!(
            "seed = {seed}\n[mask]\nblock = {block}\nratio = {ratio}\nalpha = 0.9\n[optimizer]\nlr = {lr}"
        );
        text.parse().unwrap()
    }

    #[test]
    fn runs_are_put_together_that_differ_in_the_masks_alone() {
        let configs = [
            (config(0, 32, 0.5, 0.1), 40.0),
            (config(1, 32, 0.5, 0.1), 42.0),
            (config(0, 32, 0.7, 0.1), 45.0),
            (config(0, 64, 0.7, 0.1), 35.0),
            (config(0, 64, 0.7, 0.2), 90.0),
        ];
        let entry = |(config, score)| Entry {
            label: "GTA".into(),
            config,
            score,
            measure: "mIoU".into(),
        };
        let entries: Vec<_> = configs.iter().map(|(c, s)| entry((c, *s))).collect();
        let grids = grids(&entries);
        assert_eq!(grids.len(), 1, "another learning rate is no cell");
        let cells = &grids[0].cells;
        assert_eq!(cells.headings, ["block", "ratio 0.5", "ratio 0.7"]);
        let texts: Vec<Vec<&str>> = cells
            .rows
            .iter()
            .map(|row| row.iter().map(|cell| cell.text.as_str()).collect())
            .collect();
        assert_eq!(texts[0], ["32", "41.0 (n=2)", "45.0 (n=1)"]);
        assert_eq!(texts[1], ["64", "-", "35.0 (n=1)"]);
        assert_eq!(cells.rows[0][2].shade, Some(100.0));
    }
}
