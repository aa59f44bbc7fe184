//! What is printed, kept for a file.

use std::fmt::Display;
use std::io::Write;

/// Lines of Markdown, and what went wrong on the way.
pub(super) struct Report<'a> {
    out: &'a mut dyn Write,
    pub(super) text: String,
    pub(super) failures: Vec<String>,
}

impl<'a> Report<'a> {
    /// A report that is also written to `out`, line by line.
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self {
            out,
            text: String::new(),
            failures: Vec::new(),
        }
    }

    /// Adds a line.
    pub(super) fn line(&mut self, line: impl Display) -> std::io::Result<()> {
        self.text += &format!("{line}\n");
        writeln!(self.out, "{line}")?;
        self.out.flush()
    }

    /// Notes a failure of a row; the others go on.
    pub(super) fn failed(&mut self, failure: String) {
        self.failures.push(failure);
    }
}
