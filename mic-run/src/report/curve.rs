//! A scalar over the steps, in bounded memory.

use super::chart::Point;

/// Most buckets of a curve.
const BUCKETS: usize = 512;

/// Means over windows of steps; the windows grow with the run, so that there are at most 512 (and
/// at least 256 in a long run).
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    /// Steps of a bucket, a power of two.
    window: u64,
    buckets: Vec<Bucket>,
    /// Values that were no number or infinite.
    pub(crate) lost: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    count: f64,
    sum: f64,
    /// Sum of the steps done at the values.
    steps: f64,
}

impl Bucket {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.steps += other.steps;
    }
}

impl Default for Curve {
    fn default() -> Self {
        Self {
            window: 1,
            buckets: Vec::new(),
            lost: 0,
        }
    }
}

impl Curve {
    /// Adds the value of a step (0-based).
    pub(crate) fn add(&mut self, step: u64, value: f64) {
        if !value.is_finite() {
            self.lost += 1;
            return;
        }
        while step / self.window >= BUCKETS as u64 {
            self.widen();
        }
        let place = (step / self.window) as usize;
        if place >= self.buckets.len() {
            self.buckets.resize(place + 1, Bucket::default());
        }
        self.buckets[place].add(&Bucket {
            count: 1.0,
            sum: value,
            steps: step as f64 + 1.0,
        });
    }

    fn widen(&mut self) {
        let pairs = self.buckets.chunks(2).map(|pair| {
            let mut both = Bucket::default();
            pair.iter().for_each(|bucket| both.add(bucket));
            both
        });
        self.buckets = pairs.collect();
        self.window *= 2;
    }

    /// Forgets the values from `step` on. A bucket across it is kept or forgotten as a whole, by
    /// where most of it lies.
    pub(crate) fn truncate(&mut self, step: u64) {
        let keep = (step + self.window / 2) / self.window;
        self.buckets.truncate(keep as usize);
    }

    /// Steps done and mean of each bucket that has a value.
    pub(crate) fn points(&self) -> Vec<(f64, f64)> {
        let filled = self.buckets.iter().filter(|bucket| bucket.count > 0.0);
        let point = |bucket: &Bucket| (bucket.steps / bucket.count, bucket.sum / bucket.count);
        filled.map(point).collect()
    }

    /// Bucket by bucket, the share that this curve's sum is of another's.
    pub(crate) fn share_of(&self, whole: &Self) -> Vec<(f64, f64)> {
        let (mut part, mut whole) = (self.clone(), whole.clone());
        while part.window < whole.window {
            part.widen();
        }
        while whole.window < part.window {
            whole.widen();
        }
        let pairs = part.buckets.iter().zip(&whole.buckets);
        let pairs = pairs.filter(|(part, whole)| part.count > 0.0 && whole.sum > 0.0);
        pairs
            .map(|(part, whole)| (part.steps / part.count, part.sum / whole.sum))
            .collect()
    }

    pub(crate) fn count(&self) -> f64 {
        self.buckets.iter().map(|bucket| bucket.count).sum()
    }

    pub(crate) fn sum(&self) -> f64 {
        self.buckets.iter().map(|bucket| bucket.sum).sum()
    }

    /// Median of the buckets' means: for a short run that of the values.
    pub(crate) fn median(&self) -> Option<f64> {
        let mut means: Vec<f64> = self.points().into_iter().map(|(_, mean)| mean).collect();
        means.sort_by(f64::total_cmp);
        means.get(means.len() / 2).copied()
    }
}

/// Each point on a straight line fitted to its neighbourhood, a fortieth of the curve to both sides
/// (a mean would bend the ends). A curve of few points stays as it is.
pub(crate) fn smooth(points: &[(f64, f64)]) -> Vec<Point> {
    let half = points.len() / 40;
    let fit = |place: usize| {
        let near = place.saturating_sub(half)..(place + half + 1).min(points.len());
        fitted(&points[near], points[place])
    };
    (0..points.len()).map(fit).collect()
}

/// The least-squares line of `near`, read at the place of `point`.
fn fitted(near: &[(f64, f64)], point: (f64, f64)) -> Point {
    let count = near.len() as f64;
    if count < 3.0 {
        return Point::new(point.0, point.1);
    }
    let mean_x = near.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = near.iter().map(|(_, y)| y).sum::<f64>() / count;
    let spread: f64 = near.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let common: f64 = near.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let slope = if spread > 0.0 { common / spread } else { 0.0 };
    Point::new(point.0, mean_y + slope * (point.0 - mean_x))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(steps: u64) -> Curve {
        let mut curve = Curve::default();
        (0..steps).for_each(|step| curve.add(step, step as f64));
        curve
    }

    #[test]
    fn a_short_run_is_kept_step_by_step() {
        let mut curve = line(3);
        curve.add(3, f64::NAN);
        curve.add(4, 9.0);
        let wanted = [(1.0, 0.0), (2.0, 1.0), (3.0, 2.0), (5.0, 9.0)];
        assert_eq!(curve.points(), wanted);
        assert_eq!((curve.lost, curve.count(), curve.sum()), (1, 4.0, 12.0));
        assert_eq!(curve.median(), Some(2.0));
    }

    #[test]
    fn a_long_run_has_a_bounded_number_of_means() {
        let curve = line(100_000);
        let points = curve.points();
        assert!((256..=512).contains(&points.len()), "{}", points.len());
        let on_the_line = |(x, y): &(f64, f64)| (x - y - 1.0).abs() < 1e-6;
        assert!(points.iter().all(on_the_line));
        assert_eq!(curve.count(), 100_000.0);
        assert_eq!(curve.sum(), 100_000.0 * 99_999.0 / 2.0);
    }

    #[test]
    fn what_is_done_again_counts_once() {
        let mut curve = line(2000);
        curve.truncate(1000);
        (1000..2000).for_each(|step| curve.add(step, step as f64));
        assert_eq!(curve.count(), 2000.0);
        let mut all = line(10);
        all.truncate(0);
        assert_eq!(all.points(), []);
    }

    #[test]
    fn shares_are_taken_window_by_window() {
        let (mut part, mut whole) = (Curve::default(), Curve::default());
        for step in 0..700 {
            whole.add(step, 2.0);
            if step < 500 {
                part.add(step, 0.5);
            }
        }
        let shares = part.share_of(&whole);
        assert_eq!(shares.len(), 250);
        assert!(shares.iter().all(|(_, share)| *share == 0.25));
    }

    #[test]
    fn smoothing_keeps_straight_lines_and_short_ones() {
        let short = [(1.0, 5.0), (2.0, 0.0)];
        assert_eq!(smooth(&short), [Point::new(1.0, 5.0), Point::new(2.0, 0.0)]);
        let line: Vec<_> = (0..200).map(|i| (f64::from(i), f64::from(3 * i))).collect();
        let kept = smooth(&line)
            .into_iter()
            .zip(&line)
            .all(|(s, p)| (s.mean - p.1).abs() < 1e-9);
        assert!(kept);
        let points: Vec<_> = (0..200).map(|i| (f64::from(i), f64::from(i % 2))).collect();
        let smoothed = smooth(&points);
        let inside = &smoothed[5..195];
        assert!(inside.iter().all(|p| (p.mean - 0.5).abs() < 0.1));
    }
}
