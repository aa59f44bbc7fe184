//! Numbers for people.

/// `0.12 s`, `45 s`, `3 min 20 s`, `2 h 05 min`, `3 d 04 h`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        _ if seconds < 10.0 => format!("{seconds:.2} s"),
        0..=99 => format!("{whole} s"),
        100..=5_999 => format!("{} min {:02} s", whole / 60, whole % 60),
        6_000..=172_799 => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
        _ => format!("{} d {:02} h", whole / 86_400, whole / 3600 % 24),
    }
}

/// Seconds of a step: three digits.
pub(crate) fn step_time(seconds: f64) -> String {
    match seconds {
        s if s < 0.0995 => format!("{:.3} s", s),
        s if s < 10.0 => format!("{s:.2} s"),
        s => format!("{s:.1} s"),
    }
}

/// Whether all values are shares of a whole, which people read in per cent.
pub(crate) fn are_shares(values: impl IntoIterator<Item = f64>) -> bool {
    let mut values = values.into_iter();
    values.all(|value| (0.0..=1.0).contains(&value))
}

/// A score, as per cent or as it is; a dash for none.
pub(crate) fn score(value: Option<f64>, per_cent: bool) -> String {
    match value {
        None => "-".into(),
        Some(value) if per_cent => format!("{:.2}", 100.0 * value),
        Some(value) => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_name_their_two_largest_units() {
        let told = [0.123, 45.0, 200.4, 7_500.0, 273_600.0].map(duration);
        let wanted = ["0.12 s", "45 s", "3 min 20 s", "2 h 05 min", "3 d 04 h"];
        assert_eq!(told, wanted);
    }

    #[test]
    fn shares_are_told_in_per_cent() {
        assert!(are_shares([0.0, 0.5, 1.0]) && !are_shares([0.5, 1.2]));
        assert_eq!(score(Some(0.5), true), "50.00");
        assert_eq!(score(Some(1.5), false), "1.5000");
        assert_eq!(score(None, true), "-");
    }
}
