//! Text files that list the images of a set.

use std::path::Path;

use crate::files::{DECODE_LIMIT, read_bytes};
use crate::{Error, Result};

/// A line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Counted from 1.
    pub(super) number: usize,
    /// Up to the tab.
    pub(super) first: String,
    /// After the tab.
    pub(super) second: Option<String>,
}

/// The lines of a UTF-8 file; empty ones are left out.
pub(super) fn read_list(path: &Path) -> Result<Vec<Line>> {
    let wrong = |text: String| Error::Invalid(format!("{}{text}", path.display()));
    let text = String::from_utf8(read_bytes(path, DECODE_LIMIT)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at]
            .iter()
            .filter(|b| **b == b'\n')
            .count()
            + 1;
        wrong(format!(" line {line}: not UTF-8; save the list as UTF-8"))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if line.trim().is_empty() {
            continue;
        }
        let mut parts = line.split('\t').map(|part| part.trim().to_owned());
        let (first, second) = (parts.next().unwrap_or_default(), parts.next());
        if first.is_empty() || second.as_ref().is_some_and(String::is_empty) {
            return Err(wrong(format!(
                " line {number}: a path is missing beside the tab"
            )));
        }
        if parts.next().is_some() {
            return Err(wrong(format!(
                " line {number}: more than two paths; a line is a name, or an image and its \
                 label with one tab between them"
            )));
        }
        lines.push(Line {
            number,
            first,
            second,
        });
    }
    if lines.is_empty() {
        return Err(wrong(": the list has no line".to_owned()));
    }
    Ok(lines)
}
