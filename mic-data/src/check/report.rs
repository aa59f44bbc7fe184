//! What a check has to say: findings, tables and pictures.

use image::RgbImage;
use std::path::PathBuf;

use crate::Result;
use crate::contact_sheet::contact_sheet;
use crate::findings::{Finding, Findings, Severity};

/// Rows of text under headings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Above the table.
    pub title: String,
    /// Headings of the columns.
    pub head: Vec<String>,
    /// Cells; every row is as long as [`Self::head`].
    pub rows: Vec<Vec<String>>,
    /// A colour for each row's first cell; empty for none.
    pub colours: Vec<[u8; 3]>,
}

/// An image with a caption.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Below the image.
    pub caption: String,
    /// The image.
    pub image: RgbImage,
}

/// Everything that a check has to say. The parts can come from any task.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What is checked, such as the configuration file.
    pub title: String,
    /// What was found.
    pub findings: Vec<Finding>,
    /// Counts.
    pub tables: Vec<Table>,
    /// Samples.
    pub pictures: Vec<Picture>,
}

impl Report {
    /// An empty report.
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            ..Self::default()
        }
    }

    /// Adds a finding about a whole set (`file` is `None`) or a file.
    pub fn find(&mut self, severity: Severity, file: Option<PathBuf>, message: impl Into<String>) {
        self.findings.push(Finding {
            severity,
            file,
            message: message.into(),
        });
    }

    /// Adds the findings of a check, and its counts as a table called `title`.
    pub fn add(&mut self, title: impl Into<String>, findings: Findings) {
        let counts = findings.counts.into_iter();
        let rows = counts.map(|(name, count)| vec![name, thousands(count)]);
        self.tables.push(Table {
            title: title.into(),
            head: vec!["class".to_owned(), "number".to_owned()],
            rows: rows.collect(),
            colours: Vec::new(),
        });
        self.findings.extend(findings.findings);
    }

    /// The pictures on one sheet of `columns`, each at most `tile` pixels wide and high; `None`
    /// without pictures.
    ///
    /// # Errors
    ///
    /// Those of [`contact_sheet`].
    pub fn contact_sheet(&self, columns: usize, tile: u32) -> Result<Option<RgbImage>> {
        if self.pictures.is_empty() {
            return Ok(None);
        }
        let images: Vec<RgbImage> = self.pictures.iter().map(|p| p.image.clone()).collect();
        contact_sheet(&images, columns, tile).map(Some)
    }

    /// Number of findings of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        let same = |finding: &&Finding| finding.severity == severity;
        self.findings.iter().filter(same).count()
    }

    /// Whether nothing stands in the way of a run.
    pub fn is_clean(&self) -> bool {
        self.count(Severity::Error) == 0
    }

    /// Such as "2 errors, 1 warning, no notes".
    pub fn summary(&self) -> String {
        let parts = [Severity::Error, Severity::Warning, Severity::Note].map(|severity| match self
            .count(severity)
        {
            0 => format!("no {severity}s"),
            1 => format!("1 {severity}"),
            n => format!("{n} {severity}s"),
        });
        parts.join(", ")
    }

    /// The findings of a severity: the first `most`, and how many more there are.
    pub(super) fn first(
        &self,
        severity: Severity,
        most: usize,
    ) -> (impl Iterator<Item = &Finding>, usize) {
        let same = move |finding: &&Finding| finding.severity == severity;
        let more = self.count(severity).saturating_sub(most);
        (self.findings.iter().filter(same).take(most), more)
    }
}

/// A number with its thousands apart: `1 234 567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
