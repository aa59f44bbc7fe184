//! What a check of a data set found.

use std::path::PathBuf;

/// How bad a [`Finding`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; training works.
    Note,
    /// Suspicious; training works but may not do what is wanted.
    Warning,
    /// Training will stop at this.
    Error,
}

/// One thing that a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file it is about, if it is about one.
    pub file: Option<PathBuf>,
    /// What it is and how to mend it.
    pub message: String,
}

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Number of samples that were read.
    pub samples: usize,
    /// Images or boxes of each class.
    pub counts: Vec<(String, u64)>,
    /// In the order of the samples; those about the whole set come last.
    pub findings: Vec<Finding>,
}

impl Findings {
    /// Whether anything would stop training.
    pub fn has_errors(&self) -> bool {
        let error = |finding: &Finding| finding.severity == Severity::Error;
        self.findings.iter().any(error)
    }

    pub(crate) fn add(&mut self, severity: Severity, file: Option<PathBuf>, message: String) {
        self.findings.push(Finding {
            severity,
            file,
            message,
        });
    }

    /// Warns of classes without any and of one class with nearly all.
    pub(crate) fn judge_counts(&mut self, what: &str) {
        let total: u64 = self.counts.iter().map(|(_, count)| count).sum();
        let mut messages = Vec::new();
        for (name, count) in &self.counts {
            if *count == 0 {
                messages.push(format!("class {name:?} has no {what}"));
            } else if self.counts.len() > 1 && *count as f64 > 0.99 * total as f64 {
                messages.push(format!(
                    "class {name:?} has {count} of the {total} {what}s, more than 99 %; check the \
                     class ids"
                ));
            }
        }
        for message in messages {
            self.add(Severity::Warning, None, message);
        }
    }
}
