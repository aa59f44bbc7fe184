//! A report for a terminal.

use std::fmt::Write;

use super::report::{Report, Table};
use crate::findings::Severity;

/// Findings of one severity that are written out.
const MOST: usize = 20;

impl Report {
    /// Tables, then findings, worst first, then a line with their numbers.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for table in &self.tables {
            text.push_str(&table.to_text());
            text.push('\n');
        }
        for severity in [Severity::Error, Severity::Warning, Severity::Note] {
            let (findings, more) = self.first(severity, MOST);
            for finding in findings {
                let file = finding.file.as_ref();
                let file = file.map_or(String::new(), |path| format!("{}: ", path.display()));
                let _ = writeln!(text, "{severity}: {file}{}", finding.message);
            }
            if more > 0 {
                let _ = writeln!(text, "{severity}: ... and {more} more of these");
            }
        }
        let _ = writeln!(text, "{}", self.summary());
        text
    }
}

impl Table {
    /// The title, then columns of equal width, numbers to the right.
    pub fn to_text(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().chain([&self.head]);
            let widths = cells.filter_map(|row| row.get(column));
            widths.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let mut text = format!("{}\n", self.title);
        for row in std::iter::once(&self.head).chain(&self.rows) {
            let cells = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, width))| {
                    if column == 0 {
                        format!("{cell:<width$}")
                    } else {
                        format!("{cell:>width$}")
                    }
                });
            let line = cells.collect::<Vec<_>>().join("  ");
            let _ = writeln!(text, "  {}", line.trim_end());
        }
        text
    }
}
