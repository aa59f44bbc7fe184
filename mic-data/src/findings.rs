//! What a check of a data set found.

use std::collections::HashSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use image::RgbImage;

use crate::Result;

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

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One thing that a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file it is about, if it is about one; the name of the image in its set.
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
                    "class {name:?} has {count} of {total}, more than 99 %; check the class ids"
                ));
            }
        }
        for message in messages {
            self.add(Severity::Warning, None, message);
        }
    }
}

/// A number that differs between different images.
pub(crate) fn digest(image: &RgbImage) -> u64 {
    let mut hasher = DefaultHasher::new();
    image.dimensions().hash(&mut hasher);
    image.as_raw().hash(&mut hasher);
    hasher.finish()
}

/// Images of each set that are compared.
const COMPARED: usize = 64;

/// Looks at images spread evenly over two sets and warns if some are in both: from a target that is
/// the source itself there is nothing to learn. Unreadable images are passed over.
pub(crate) fn compare_domains(
    source: (usize, &dyn Fn(usize) -> Result<RgbImage>),
    target: (usize, &dyn Fn(usize) -> Result<RgbImage>),
) -> Findings {
    let mut findings = Findings::default();
    let sample = |(len, image): (usize, &dyn Fn(usize) -> Result<RgbImage>)| {
        let count = len.min(COMPARED);
        let places = (0..count).map(|place| place * len / count);
        let images = places.filter_map(|place| image(place).ok());
        images.map(|image| digest(&image)).collect::<HashSet<_>>()
    };
    let (source, target) = (sample(source), sample(target));
    let shared = source.intersection(&target).count();
    findings.samples = source.len() + target.len();
    if shared > 0 {
        let message = format!(
            "{shared} of {} source images are also among {} of the target; check that the two \
             domains are different",
            source.len(),
            target.len()
        );
        findings.add(Severity::Warning, None, message);
    }
    findings
}
