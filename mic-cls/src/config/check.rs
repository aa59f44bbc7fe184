//! The checks that all tables share. Every message names the key, what was found, and what is
//! allowed.

use std::fmt::Display;
use std::ops::RangeBounds;

use super::distance::nearest;
use crate::{Error, Result};

/// An [`Error::Config`] about `key`.
pub(super) fn refuse<T>(key: &str, found: impl Display, expected: impl Display) -> Result<T> {
    Err(Error::Config(format!(
        "{key} = {found}: expected {expected}"
    )))
}

/// `value` if it lies in `range`; NaN lies in none.
pub(super) fn within(
    key: &str,
    value: f64,
    range: impl RangeBounds<f64>,
    expected: &str,
) -> Result<f64> {
    if value.is_finite() && range.contains(&value) {
        return Ok(value);
    }
    refuse(key, value, expected)
}

/// `value` if it is a share from 0 to 1.
pub(super) fn share(key: &str, value: f64) -> Result<f64> {
    within(key, value, 0.0..=1.0, "a number from 0 to 1")
}

/// `value` if it is above 0.
pub(super) fn positive(key: &str, value: f64) -> Result<f64> {
    let value = within(key, value, 0.0.., "a number above 0")?;
    if value > 0.0 {
        return Ok(value);
    }
    refuse(key, value, "a number above 0")
}

/// `value` if it is 0 or more.
pub(super) fn not_negative(key: &str, value: f64) -> Result<f64> {
    within(key, value, 0.0.., "a number of at least 0")
}

/// `value` if it is `least` or more.
pub(super) fn at_least<T: Copy + Display + PartialOrd>(key: &str, value: T, least: T) -> Result<T> {
    if value >= least {
        return Ok(value);
    }
    refuse(key, value, format!("a whole number of at least {least}"))
}

/// The value that goes with `word` in a list of words.
pub(super) fn one_of<T: Clone>(key: &str, word: &str, choices: &[(&str, T)]) -> Result<T> {
    if let Some((_, value)) = choices.iter().find(|(name, _)| *name == word) {
        return Ok(value.clone());
    }
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let hint = match nearest(word, names.iter().copied()) {
        Some(near) => format!("; did you mean {near:?}?"),
        None => String::new(),
    };
    let listed: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    let expected = format!("one of {}{hint}", listed.join(", "));
    refuse(key, format!("{word:?}"), expected)
}

/// The value of a key that this kind of table cannot do without.
pub(super) fn required<'a, T>(key: &str, value: Option<&'a T>, why: &str) -> Result<&'a T> {
    value.ok_or_else(|| Error::Config(format!("{key} is missing: {why}")))
}
