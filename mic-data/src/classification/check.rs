//! Reading a whole set to find what is wrong with it.

use super::sample::ClassifiedSet;
use crate::Result;
use crate::findings::{Findings, Severity};
use crate::parallel::map_indices;

/// Side in pixels below which an image is called suspiciously small.
const SMALL: u32 = 8;

/// Reads every image with `threads` threads. Unreadable images and class ids out of range are
/// errors; classes without images, one class with more than 99 % and tiny images are warnings.
///
/// # Errors
///
/// [`Invalid`](crate::Error::Invalid) if a worker panicked.
pub fn check_classification(set: &dyn ClassifiedSet, threads: usize) -> Result<Findings> {
    let names = set.class_names();
    let mut findings = Findings {
        samples: set.len(),
        counts: names.iter().map(|name| (name.clone(), 0)).collect(),
        ..Findings::default()
    };
    let problems = map_indices(set.len(), threads, |index| {
        Ok(match set.pixels(index) {
            Err(error) => Some((Severity::Error, error.to_string())),
            Ok(image) if image.width().min(image.height()) < SMALL => {
                let (width, height) = image.dimensions();
                let message = format!("only {width} x {height} pixels");
                Some((Severity::Warning, message))
            }
            Ok(_) => None,
        })
    })?;
    for (index, problem) in problems.into_iter().enumerate() {
        let file = Some(set.name(index).into());
        let class = set.class(index);
        match findings.counts.get_mut(class as usize) {
            Some((_, count)) => *count += 1,
            None => {
                let known = names.len();
                let message = format!("class {class}, but there are {known} classes");
                findings.add(Severity::Error, file.clone(), message);
            }
        }
        if let Some((severity, message)) = problem {
            findings.add(severity, file, message);
        }
    }
    findings.judge_counts("image");
    Ok(findings)
}
