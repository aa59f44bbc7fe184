//! Charts as inline SVG, coloured by the page's style sheet.

use std::fmt::Write;

use super::curves::Series;
use super::html::escape;

/// Units of a chart; a phone shows it at about nine tenths of this, so that text stays readable.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;

/// Lines over iterations, with the range over seeds as a band.
pub(super) fn lines(title: &str, series: &[Series]) -> String {
    let points = || series.iter().flat_map(|line| &line.points);
    let x = Axis::new(points().map(|p| p.x).chain([0.0]), LEFT, WIDTH - RIGHT);
    let y = Axis::new(points().flat_map(|p| [p.low, p.high]), HEIGHT - BOTTOM, TOP);
    let mut svg = open(title, HEIGHT);
    grid(&mut svg, &x, &y);
    for line in series {
        let at = |px: f64, py: f64| format!("{:.1},{:.1}", x.at(px), y.at(py));
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
        let middle: Vec<String> = line.points.iter().map(|p| at(p.x, p.mean)).collect();
        let label = escape(&line.label);
        let _ = write!(
            svg,
            r#"<polyline class="line c{}" points="{}"><title>{label}</title></polyline>"#,
            line.colour,
            middle.join(" ")
        );
        // A line of few points would otherwise not show where it was measured.
        if line.points.len() <= 12 {
            for p in &line.points {
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

/// One row a method: a dot a seed, a bar at the mean with its value.
pub(super) fn dots(title: &str, rows: &[(String, Vec<f64>)]) -> String {
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
        let mean = crate::reproduce::statistics::mean(values);
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

fn grid(svg: &mut String, x: &Axis, y: &Axis) {
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
        r#"<text class="tick" text-anchor="end" x="{right}" y="{:.1}">iteration</text>"#,
        base + 34.0
    );
}

/// A linear axis with round ticks.
struct Axis {
    low: f64,
    span: f64,
    step: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// An axis for the finite ones of `values`, drawn from `from` to `to`.
    fn new(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let finite = values.filter(|v| v.is_finite());
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
            (low.min(v), high.max(v))
        });
        let (low, high) = match (low.is_finite(), high > low) {
            (false, _) => (0.0, 1.0),
            (true, false) => (low - 0.5, low + 0.5),
            (true, true) => (low, high),
        };
        let step = round_step((high - low) / 5.0);
        let low = (low / step).floor() * step;
        let span = (high / step).ceil() * step - low;
        Self {
            low,
            span,
            step,
            from,
            to,
        }
    }

    fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / self.span * (self.to - self.from)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> + use<> {
        let (low, step) = (self.low, self.step);
        let count = (self.span / step).round() as usize;
        (0..=count).map(move |i| low + i as f64 * step)
    }
}

/// The next of 1, 2, 5 times a power of ten.
fn round_step(raw: f64) -> f64 {
    let power = 10f64.powf(raw.log10().floor());
    let lead = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|lead| lead * power >= raw * (1.0 - 1e-9));
    lead.unwrap_or(10.0) * power
}

/// A number with as many decimals as a step of `step` needs.
fn number(value: f64, step: f64) -> String {
    let decimals = (-step.log10()).ceil().clamp(0.0, 6.0) as usize;
    let text = format!("{value:.decimals$}");
    if text
        .trim_start_matches('-')
        .chars()
        .all(|c| c == '0' || c == '.')
    {
        return text.trim_start_matches('-').into();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::curves;
    use crate::report::sample;

    #[test]
    fn ticks_are_round_and_cover_the_values() {
        let axis = Axis::new([31.3, 56.9].into_iter(), 0.0, 100.0);
        assert_eq!(axis.ticks().collect::<Vec<_>>(), [30.0, 40.0, 50.0, 60.0]);
        assert_eq!((axis.at(30.0), axis.at(60.0)), (0.0, 100.0));
        let thousands = Axis::new([0.0, 1000.0].into_iter(), 0.0, 1.0);
        assert_eq!(thousands.ticks().last(), Some(1000.0));
    }

    #[test]
    fn axes_of_nothing_and_of_one_value_exist() {
        for values in [vec![], vec![f64::NAN], vec![3.0, 3.0]] {
            let axis = Axis::new(values.into_iter(), 0.0, 1.0);
            assert!(axis.span > 0.0 && axis.step > 0.0);
            assert!((0.0..=1.0).contains(&axis.at(3.0)) || axis.low == 0.0);
        }
    }

    #[test]
    fn numbers_have_the_decimals_of_their_step() {
        assert_eq!(number(0.30000000000000004, 0.1), "0.3");
        assert_eq!(number(-0.0, 0.5), "0.0");
        assert_eq!(number(1000.0, 200.0), "1000");
        assert_eq!(number(0.0005, 0.0005), "0.0005");
    }

    #[test]
    fn charts_stay_inside_their_box() {
        let results = sample::results(3);
        let svg = lines("mIoU", &curves::miou(&results));
        assert_eq!(svg.matches("<polyline").count(), 3);
        assert_eq!(svg.matches("<polygon").count(), 3);
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
        let rows = vec![
            ("a <b>".to_owned(), vec![1.0, 2.0]),
            ("c".to_owned(), vec![]),
        ];
        let svg = dots("mIoU", &rows);
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(svg.contains("a &lt;b&gt;"));
    }
}
