//! What is printed, kept for a file.

use std::fmt::Display;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};

/// Lines of Markdown, and what went wrong on the way.
pub(super) struct Report<'a> {
    out: &'a mut dyn Write,
    text: String,
    failures: Vec<String>,
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

    /// Ends the report: a file of it where one is wanted, and an error if a row failed.
    ///
    /// # Errors
    /// A file that cannot be written; the failures.
    pub(super) fn finish(self, file: Option<&Path>) -> anyhow::Result<()> {
        if let Some(file) = file {
            std::fs::write(file, &self.text)
                .with_context(|| format!("{} cannot be written", file.display()))?;
        }
        match self.failures[..] {
            [] => Ok(()),
            _ => bail!("{}", self.failures.join("\n")),
        }
    }
}
