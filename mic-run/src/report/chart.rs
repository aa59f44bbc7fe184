//! Charts as inline SVG, coloured by the page's style sheet.

use std::fmt::Write;

use super::axis::{Axis, number};
use super::page::escape;

/// A point of a line, and the range around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Where it is, in steps.
    pub x: f64,
    /// The value that is drawn.
    pub mean: f64,
    /// Lower end of the range.
    pub low: f64,
    /// Upper end of the range.
    pub high: f64,
}

impl Point {
    /// A point without a range.
    pub fn new(x: f64, value: f64) -> Self {
        Self {
            x,
            mean: value,
            low: value,
            high: value,
        }
    }
}

/// One line of a chart.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// What it is.
    pub label: String,
    /// Index of its colour, 0 to 7.
    pub colour: usize,
    /// The line, from left to right.
    pub points: Vec<Point>,
    /// What the line smooths, drawn faintly: (x, value).
    pub faint: Vec<(f64, f64)>,
}

/// Units of a chart; a phone shows it at about nine tenths of this, so that text stays readable.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;

/// Lines over `along` (such as `iteration`), from 0, with the ranges of their points as a band.
/// Points that are no number are left out.
pub fn lines(title: &str, along: &str, series: &[Series]) -> String {
    let points = || series.iter().flat_map(|line| &line.points);
    let faint = || series.iter().flat_map(|line| &line.faint);
    let across = points().map(|p| p.x).chain(faint().map(|(x, _)| *x));
    let x = Axis::new(across.chain([0.0]), LEFT, WIDTH - RIGHT);
    let up = points().flat_map(|p| [p.low, p.high]);
    let usual = series.iter().flat_map(|line| usual(&line.faint));
    let y = Axis::new(up.chain(usual), HEIGHT - BOTTOM, TOP);
    let mut svg = open(title, HEIGHT);
    grid(&mut svg, along, &x, &y);
    for line in series {
        let at = |px: f64, py: f64| format!("{:.1},{:.1}", x.at(px), y.at(py));
        let seen = line.faint.iter().filter(|(_, y)| y.is_finite());
        let seen: Vec<String> = seen.map(|&(px, py)| at(px, y.within(py))).collect();
        if !seen.is_empty() {
            let _ = write!(
                svg,
                r#"<polyline class="faint c{}" points="{}"/>"#,
                line.colour,
                seen.join(" ")
            );
        }
        let upper = line.points.iter().map(|p| at(p.x, p.high));
        let lower = line.points.iter().rev().map(|p| at(p.x, p.low));
        let band: Vec<String> = upper.chain(lower).collect();
        if line.points.iter().any(|p| p.low < p.high) {
            let _ = write!(
                svg,
                r#"<polygon class="band c{}" points="{}"/>"#,
                line.colour,
                band.join(" ")
            );
        }
        let middle = line.points.iter().filter(|p| p.mean.is_finite());
        let middle: Vec<String> = middle.map(|p| at(p.x, p.mean)).collect();
        let label = escape(&line.label);
        let _ = write!(
            svg,
            r#"<polyline class="line c{}" points="{}"><title>{label}</title></polyline>"#,
            line.colour,
            middle.join(" ")
        );
        // A line of few points would otherwise not show where it was measured.
        if line.points.len() <= 12 {
            for p in line.points.iter().filter(|p| p.mean.is_finite()) {
                let _ = write!(
                    svg,
                    r#"<circle class="dot c{}" cx="{:.1}" cy="{:.1}" r="2.6"><title>{label}: {} at {}</title></circle>"#,
                    line.colour,
                    x.at(p.x),
                    y.at(p.mean),
                    number(p.mean, y.span / 100.0),
                    number(p.x, 1.0)
                );
            }
        }
    }
    svg + "</svg>"
}

/// Bounds that all but a fiftieth of the values keep at each end: rare outliers would press the rest
/// flat.
fn usual(faint: &[(f64, f64)]) -> Vec<f64> {
    let mut values: Vec<f64> = faint
        .iter()
        .map(|(_, y)| *y)
        .filter(|y| y.is_finite())
        .collect();
    values.sort_by(f64::total_cmp);
    let apart = values.len() / 50;
    let ends = [values.get(apart), values.iter().nth_back(apart)];
    ends.into_iter().flatten().copied().collect()
}

/// One row a method: a dot a seed, a bar at the mean with its value.
pub fn dots(title: &str, rows: &[(String, Vec<f64>)]) -> String {
    const ROW: f64 = 40.0;
    let bottom = TOP + ROW * rows.len() as f64;
    let height = bottom + BOTTOM;
    let values = || rows.iter().flat_map(|(_, values)| values.iter().copied());
    let x = Axis::new(values(), 14.0, WIDTH - 20.0);
    let mut svg = open(title, height);
    for tick in x.ticks() {
        let at = x.at(tick);
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{at:.1}" x2="{at:.1}" y1="{TOP}" y2="{bottom}"/><text class="tick" text-anchor="middle" x="{at:.1}" y="{:.1}">{}</text>"#,
            bottom + 16.0,
            number(tick, x.step)
        );
    }
    for (index, (label, values)) in rows.iter().enumerate() {
        let y = TOP + ROW * index as f64 + 28.0;
        let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
        let shown = mean.map_or("-".into(), |mean| format!("{mean:.2}"));
        let _ = write!(
            svg,
            r#"<text x="14" y="{:.1}">{} <tspan class="strong">{shown}</tspan></text>"#,
            y - 13.0,
            escape(label)
        );
        if let Some(mean) = mean {
            let at = x.at(mean);
            let _ = write!(
                svg,
                r#"<line class="mean c{index}" x1="{at:.1}" x2="{at:.1}" y1="{:.1}" y2="{:.1}"/>"#,
                y - 7.0,
                y + 7.0
            );
        }
        for value in values {
            let _ = write!(
                svg,
                r#"<circle class="dot c{index}" cx="{:.1}" cy="{y:.1}" r="4"><title>{value:.2}</title></circle>"#,
                x.at(*value)
            );
        }
    }
    svg + "</svg>"
}

fn open(title: &str, height: f64) -> String {
    let title = escape(title);
    format!(
        r#"<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}"><title>{title}</title>"#
    )
}

fn grid(svg: &mut String, along: &str, x: &Axis, y: &Axis) {
    let (right, base) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for tick in y.ticks() {
        let at = y.at(tick);
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{LEFT}" x2="{right}" y1="{at:.1}" y2="{at:.1}"/><text class="tick" text-anchor="end" x="{:.1}" y="{:.1}">{}</text>"#,
            LEFT - 6.0,
            at + 4.0,
            number(tick, y.step)
        );
    }
    for tick in x.ticks() {
        let at = x.at(tick);
        let _ = write!(
            svg,
            r#"<text class="tick" text-anchor="middle" x="{at:.1}" y="{:.1}">{}</text>"#,
            base + 17.0,
            number(tick, x.step)
        );
    }
    let _ = write!(
        svg,
        r#"<text class="tick" text-anchor="end" x="{right}" y="{:.1}">{}</text>"#,
        base + 34.0,
        escape(along)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_stay_inside_their_box() {
        let line = |colour: usize| Series {
            label: "a <b>".into(),
            colour,
            points: (0..40u32)
                .map(|i| Point {
                    x: f64::from(i * 50),
                    mean: 30.0 + f64::from(i),
                    low: 20.0 + f64::from(i),
                    high: 31.0 + f64::from(i),
                })
                .collect(),
            faint: vec![(0.0, 10.0), (7.0, f64::NAN), (2500.0, 99.0)],
        };
        let svg = lines("mIoU", "step", &[line(0), line(1), line(2)]);
        assert_eq!(svg.matches("class=\"line").count(), 3);
        assert_eq!(svg.matches("class=\"faint").count(), 3);
        assert_eq!(svg.matches("<polygon").count(), 3);
        assert!(svg.contains("a &lt;b&gt;") && !svg.contains("NaN"));
        for pair in svg
            .split("points=\"")
            .skip(1)
            .flat_map(|p| p.split('"').next().unwrap().split(' '))
        {
            let (x, y) = pair.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!(
                (0.0..=WIDTH).contains(&x) && (0.0..=HEIGHT).contains(&y),
                "{pair}"
            );
        }
    }

    #[test]
    fn rows_have_a_dot_a_value_and_say_their_mean() {
        let rows = vec![
            ("a <b>".to_owned(), vec![1.0, 2.0]),
            ("c".to_owned(), vec![]),
        ];
        let svg = dots("mIoU", &rows);
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(svg.contains("a &lt;b&gt;") && svg.contains(">1.50<"));
    }
}
