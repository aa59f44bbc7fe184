//! Scores and scalars over the steps.

use crate::report::chart::{Point, Series, lines};
use crate::report::curve::{Curve, smooth};
use crate::report::format::{are_shares, score};
use crate::report::page::card;
use crate::report::story::Story;

/// A scalar with the seconds of a step that were spent on waiting for data; it has its place with
/// the timing.
pub(super) const DATA_SECONDS: &str = "data.seconds";

const COLOUR: usize = 1;
const BEST: usize = 2;

/// Scores of evaluations.
pub(super) fn scores(story: &Story) -> String {
    let cards: String = story
        .score_names()
        .iter()
        .map(|name| one_score(story, name))
        .collect();
    section("scores", "Scores", "", &cards)
}

fn one_score(story: &Story, name: &str) -> String {
    let mut points = story.score(name);
    let shares = are_shares(points.iter().map(|(_, value)| *value));
    if shares {
        points.iter_mut().for_each(|(_, value)| *value *= 100.0);
    }
    let Some(&last) = points.last() else {
        return String::new();
    };
    let series_of = |label: &str, colour, points: &[(f64, f64)]| Series {
        label: label.into(),
        colour,
        points: points.iter().map(|(x, y)| Point::new(*x, *y)).collect(),
        faint: Vec::new(),
    };
    let mut series = vec![series_of(name, COLOUR, &points)];
    let best = story.best().and_then(|evaluation| {
        let main = evaluation.main == name;
        let at = evaluation.step as f64;
        points.iter().find(|(step, _)| main && *step == at).copied()
    });
    series.extend(best.map(|best| series_of("best", BEST, &[best])));
    let unit = if shares { ", %" } else { "" };
    // The points are in per cent already.
    let shown = |value: f64| match shares {
        true => format!("{value:.2}"),
        false => score(Some(value), false),
    };
    let best = best.map_or(String::new(), |(_, value)| {
        format!(", best {}", shown(value))
    });
    let title = format!("{name}{unit}: last {}{best}", shown(last.1));
    card(&title, &lines(name, "step", &series))
}

/// Losses, the learning rate, and whatever else the steps tell.
pub(super) fn scalars(story: &Story) -> String {
    let named = story
        .scalars
        .iter()
        .filter(|(name, _)| name != DATA_SECONDS);
    let named = named.map(|(name, curve)| (name.as_str(), curve));
    let mut cards: String = named
        .filter(|(_, curve)| curve.count() > 0.0 || curve.lost > 0)
        .map(|(name, curve)| one_curve(name, curve))
        .collect();
    if story.lr.count() > 0.0 {
        // A schedule has no noise, and its corners should be seen.
        cards += &line("learning rate", "learning rate", &story.lr.points());
    }
    let note = "Faint lines are means over short windows of steps, strong ones are smoothed.";
    section("curves", "Training", note, &cards)
}

fn one_curve(name: &str, curve: &Curve) -> String {
    let mut title = name.to_owned();
    if curve.lost > 0 {
        title += &format!(" (steps without a number: {})", curve.lost);
    }
    chart(&title, name, &curve.points())
}

/// A chart of a line and its smoothed self.
pub(super) fn chart(title: &str, name: &str, points: &[(f64, f64)]) -> String {
    let smoothed = smooth(points);
    let same = smoothed.iter().zip(points).all(|(s, p)| s.mean == p.1);
    let series = Series {
        label: name.to_owned(),
        colour: COLOUR,
        points: smoothed,
        faint: if same { Vec::new() } else { points.to_vec() },
    };
    card(title, &lines(name, "step", &[series]))
}

/// A chart of a line as it is.
fn line(title: &str, name: &str, points: &[(f64, f64)]) -> String {
    let series = Series {
        label: name.to_owned(),
        colour: COLOUR,
        points: points.iter().map(|(x, y)| Point::new(*x, *y)).collect(),
        faint: Vec::new(),
    };
    card(title, &lines(name, "step", &[series]))
}

fn section(id: &str, title: &str, note: &str, cards: &str) -> String {
    if cards.is_empty() {
        return String::new();
    }
    let note = match note {
        "" => String::new(),
        note => format!("<p class=\"soft\">{note}</p>\n"),
    };
    format!(
        "<section id=\"{id}\">\n<h2>{title}</h2>\n{note}<div class=\"charts\">\n{cards}</div>\n\
         </section>"
    )
}
