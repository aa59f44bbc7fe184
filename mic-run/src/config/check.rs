//! The checks that all tables share. Every message names the key, what was found, and what is
//! allowed.

use std::fmt::Display;
use std::ops::RangeBounds;

use super::nearest;
use crate::{Error, Result};

/// An [`Error::Usage`] about `key`, as the caller's own error type.
///
/// # Errors
/// Always.
pub fn refuse<T, E: From<Error>>(
    key: &str,
    found: impl Display,
    expected: impl Display,
) -> std::result::Result<T, E> {
    let message = format!("{key} = {found}: expected {expected}");
    Err(Error::Usage(message).into())
}

/// `value` if it lies in `range`; NaN lies in none.
pub fn within(key: &str, value: f64, range: impl RangeBounds<f64>, expected: &str) -> Result<f64> {
    if value.is_finite() && range.contains(&value) {
        return Ok(value);
    }
    refuse(key, value, expected)
}

/// `value` if it is a share from 0 to 1.
pub fn share(key: &str, value: f64) -> Result<f64> {
    within(key, value, 0.0..=1.0, "a number from 0 to 1")
}

/// `value` if it is above 0.
pub fn positive(key: &str, value: f64) -> Result<f64> {
    let value = within(key, value, 0.0.., "a number above 0")?;
    if value > 0.0 {
        return Ok(value);
    }
    refuse(key, value, "a number above 0")
}

/// `value` if it lies from 0 to below 1.
pub fn below_one(key: &str, value: f64) -> Result<f64> {
    within(key, value, 0.0..1.0, "a number from 0 to below 1")
}

/// `value` if it is 0 or more.
pub fn not_negative(key: &str, value: f64) -> Result<f64> {
    within(key, value, 0.0.., "a number of at least 0")
}

/// `value` if it is `least` or more.
pub fn at_least<T: Copy + Display + PartialOrd>(key: &str, value: T, least: T) -> Result<T> {
    if value >= least {
        return Ok(value);
    }
    refuse(key, value, format!("a whole number of at least {least}"))
}

/// `value` if it is 1 or more.
pub fn at_least_one<T: Copy + Display + PartialOrd + From<u8>>(key: &str, value: T) -> Result<T> {
    at_least(key, value, T::from(1))
}

/// `[width, height]` as a size in pixels.
pub fn size(key: &str, [width, height]: [usize; 2]) -> Result<(u32, u32)> {
    match (u32::try_from(width), u32::try_from(height)) {
        (Ok(w), Ok(h)) if w > 0 && h > 0 => Ok((w, h)),
        _ => refuse(
            key,
            format!("[{width}, {height}]"),
            "[width, height] in pixels, both at least 1",
        ),
    }
}

/// The value that goes with `word` in a list of words.
pub fn one_of<T: Clone>(key: &str, word: &str, choices: &[(&str, T)]) -> Result<T> {
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
pub fn required<'a, T>(key: &str, value: Option<&'a T>, why: &str) -> Result<&'a T> {
    value.ok_or_else(|| Error::Usage(format!("{key} is missing: {why}")))
}

/// The table of the target's images, where the method has use for them.
pub fn target<T>(needed: bool, table: Option<T>) -> Result<Option<T>> {
    if needed && table.is_none() {
        let why = "the method trains on images of the target domain; only \"source_only\" without \
                   the table mask does without";
        required("data.target", None::<&()>, why)?;
    }
    Ok(table)
}

/// Names of classes `found` in the images, which must be the `known` ones, if any are.
pub fn classes(known: &[String], found: &[String]) -> Result<()> {
    if known.is_empty() || known == found {
        return Ok(());
    }
    refuse(
        "data.classes",
        format!("{known:?}"),
        format!("the classes of the source, {found:?}; or leave the key out"),
    )
}
