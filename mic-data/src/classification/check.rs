//! Reading a whole set to find what is wrong with it.

use std::collections::HashMap;

use super::sample::ClassifiedSet;
use crate::Result;
use crate::findings::{Findings, Severity, compare_domains};
use crate::parallel::map_indices;
use crate::sample::UnlabelledSet;

/// Side in pixels below which an image is called suspiciously small.
const SMALL: u32 = 8;

/// Reads every image with `threads` threads. Unreadable images and class ids out of range are
/// errors; classes without images, one class with more than 99 %, tiny images and images that are
/// listed with two classes are warnings.
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
    let mut first_class = HashMap::new();
    for (index, problem) in problems.into_iter().enumerate() {
        let name = set.name(index);
        let file = Some(name.clone().into());
        let class = set.class(index);
        let first = *first_class.entry(name).or_insert(class);
        if first != class {
            let message = format!("listed with the classes {first} and {class}");
            findings.add(Severity::Warning, file.clone(), message);
        }
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

/// Warns if source and target share images, judged by some of each.
pub fn check_class_domains(source: &dyn ClassifiedSet, target: &dyn UnlabelledSet) -> Findings {
    compare_domains(
        (source.len(), &|index| source.pixels(index)),
        (target.len(), &|index| Ok(target.get(index)?.image)),
    )
}
