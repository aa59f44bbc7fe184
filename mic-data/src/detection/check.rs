//! Reading a whole set to find what is wrong with it.

use super::boxes::Objects;
use super::sample::{DetectionImages, DetectionSet};
use crate::Result;
use crate::findings::{Findings, Severity, compare_domains};
use crate::parallel::map_indices;

/// Reads every image and all objects with `threads` threads. Unreadable images, images of another
/// size than annotated and labels out of range are errors; boxes that leave the image or have no
/// extent, and classes without boxes are warnings; images without objects are noted.
///
/// # Errors
///
/// [`Invalid`](crate::Error::Invalid) if a worker panicked.
pub fn check_detection(set: &dyn DetectionSet, threads: usize) -> Result<Findings> {
    let names = set.class_names();
    let mut findings = Findings {
        samples: set.len(),
        counts: names.iter().map(|name| (name.clone(), 0)).collect(),
        ..Findings::default()
    };
    let unreadable = map_indices(set.len(), threads, |index| {
        Ok(set.get(index).err().map(|error| error.to_string()))
    })?;
    let mut without = 0;
    for (index, unreadable) in unreadable.into_iter().enumerate() {
        let path = set.path(index);
        if let Some(message) = unreadable {
            findings.add(Severity::Error, Some(path.clone()), message);
        }
        let objects = set.objects(index);
        without += usize::from(objects.is_empty());
        for label in &objects.labels {
            let count = (*label as usize).checked_sub(1);
            match count.and_then(|place| findings.counts.get_mut(place)) {
                Some((_, count)) => *count += 1,
                None => {
                    let message = format!("label {label}, but there are {} classes", names.len());
                    findings.add(Severity::Error, Some(path.clone()), message);
                }
            }
        }
        for message in suspicious(&objects) {
            findings.add(Severity::Warning, Some(path.clone()), message);
        }
    }
    findings.judge_counts("box");
    if without > 0 {
        let message = format!("{without} of the {} images have no object", set.len());
        findings.add(Severity::Note, None, message);
    }
    Ok(findings)
}

fn suspicious(objects: &Objects) -> Vec<String> {
    let (width, height) = objects.boxes.size;
    let (right, bottom) = (width as f32 - 1.0, height as f32 - 1.0);
    let extents = objects.boxes.with_extent();
    // Less than a pixel is rounding.
    let leaves = |[x1, y1, x2, y2]: [f32; 4]| {
        x1 <= -1.0 || y1 <= -1.0 || x2 >= right + 1.0 || y2 >= bottom + 1.0
    };
    let boxes = objects.boxes.corners.iter().zip(&objects.ids).zip(extents);
    boxes
        .filter_map(|((corners, id), extent)| {
            if leaves(*corners) {
                return Some(format!(
                    "object {id} has the box {corners:?}, which leaves the image of {width} x \
                     {height}; training cuts it at the border"
                ));
            }
            (!extent).then(|| {
                format!("object {id} has the box {corners:?} without extent; training drops it")
            })
        })
        .collect()
}

/// Warns if source and target share images, judged by some of each.
pub fn check_detection_domains(
    source: &dyn DetectionSet,
    target: &dyn DetectionImages,
) -> Findings {
    compare_domains(
        (source.len(), &|index| source.pixels(index)),
        (target.len(), &|index| Ok(target.get(index)?.image)),
    )
}
