//! Whether a data set is there and whole: counts, sizes, and some of its files opened.

use std::path::Path;

use mic_data::classification::{ClassifiedSet, IdxSet, Split as Half};
use mic_data::datasets::{FileSet, Published, Selection};
use mic_data::detection::{CocoSet, DetectionSet, catalogue};
use mic_data::{LabelledSet, UnlabelledSet};

use super::catalogue::{DataSet, Part};
use crate::{Error, Result};

/// What was seen of a part.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The part.
    pub part: String,
    /// What is there.
    pub there: String,
    /// What is wrong with it; nothing where this is empty.
    pub wrong: Vec<String>,
    /// Whether labels wait for being prepared; `None` where there is nothing to prepare.
    pub prepared: Option<bool>,
}

/// Checks all parts of a data set in `root`, and opens `spots` files of each, spread evenly.
pub fn check(set: &DataSet, root: &Path, spots: usize) -> Vec<Finding> {
    let parts = set.parts.iter();
    parts
        .map(|part| {
            let name = name(part);
            checked(part, root, spots).unwrap_or_else(|error| Finding {
                part: name.clone(),
                there: "not usable".into(),
                wrong: vec![error.to_string()],
                prepared: None,
            })
        })
        .collect()
}

fn name(part: &Part) -> String {
    match part {
        Part::Segmentation { set, .. } => match set {
            Published::Cityscapes(split)
            | Published::Acdc(split, _)
            | Published::DarkZurich(split) => split.name().into(),
            _ => "all".into(),
        },
        Part::Classification { domain, .. } => (*domain).into(),
        Part::Digits { set, split, .. } => format!("{set} {split}"),
        Part::Detection(name) => (*name).into(),
    }
}

fn checked(part: &Part, root: &Path, spots: usize) -> Result<Finding> {
    let mut finding = Finding {
        part: name(part),
        there: String::new(),
        wrong: Vec::new(),
        prepared: None,
    };
    match *part {
        Part::Segmentation {
            set,
            labelled,
            labels,
            size,
        } => {
            let selection = Selection {
                list: None,
                labelled,
            };
            let files = set.open(root, &selection)?;
            finding.count(files.count(), set.published());
            finding.prepared = labelled.then(|| prepared(&files));
            finding.look(files.count(), spots, |at| {
                let found = match labels {
                    true => LabelledSet::get(&files, at)?.image,
                    false => UnlabelledSet::get(&files, at)?.image,
                };
                Ok(sized(&files.samples()[at].name, found.dimensions(), size))
            });
        }
        Part::Classification { set, domain, count } => {
            let list = set.open(root, domain, Half::Train)?;
            finding.count(list.len(), count);
            finding.look(list.len(), spots, |at| list.get(at).map(|_| None));
        }
        Part::Digits { set, split, count } => {
            let digits = IdxSet::digits(root, Some(set), split)?;
            finding.count(digits.len(), Some(count));
        }
        Part::Detection(name) => {
            let entry = catalogue(name).ok_or_else(|| {
                Error::Data(format!("{name} is not in the catalogue of data sets"))
            })?;
            let all = root.parent().unwrap_or(root);
            let (file, folder) = (all.join(entry.annotations), all.join(entry.images));
            let coco = CocoSet::read(&file, &folder, None)?;
            finding.count(coco.len(), None);
            let gone = (0..coco.len()).filter(|at| !coco.path(*at).is_file());
            let gone: Vec<usize> = gone.collect();
            if let Some(first) = gone.first() {
                let (count, path) = (gone.len(), coco.path(*first));
                finding.wrong.push(format!(
                    "{count} images of {} are missing; the first is {}",
                    file.display(),
                    path.display()
                ));
                return Ok(finding);
            }
            finding.look(coco.len(), spots, |at| coco.get(at).map(|_| None));
        }
    }
    Ok(finding)
}

impl Finding {
    fn count(&mut self, found: usize, published: Option<usize>) {
        self.there = match published {
            Some(published) => format!("{found} of {published} images"),
            None => format!("{found} images"),
        };
        if let Some(published) = published
            && published != found
        {
            let word = if found < published { "few" } else { "many" };
            self.wrong.push(format!(
                "too {word} images: {found}, published are {published}; unpack all archives"
            ));
        }
    }

    /// Opens some samples.
    fn look(
        &mut self,
        count: usize,
        spots: usize,
        open: impl Fn(usize) -> mic_data::Result<Option<String>>,
    ) {
        let mut opened = 0;
        for at in spread(count, spots) {
            match open(at) {
                Ok(None) => opened += 1,
                Ok(Some(wrong)) => self.wrong.push(wrong),
                Err(error) => self.wrong.push(error.to_string()),
            }
        }
        self.there += &format!(", {opened} opened");
    }
}

/// First, last and evenly between.
fn spread(count: usize, spots: usize) -> Vec<usize> {
    let spots = spots.min(count);
    let at = |spot: usize| match spots {
        1 => 0,
        _ => spot * (count - 1) / (spots - 1),
    };
    (0..spots).map(at).collect()
}

fn sized(name: &str, found: (u32, u32), expected: Option<(u32, u32)>) -> Option<String> {
    let expected = expected.filter(|expected| *expected != found)?;
    Some(format!(
        "{name} is {}x{}, published are {}x{}",
        found.0, found.1, expected.0, expected.1
    ))
}

fn prepared(files: &FileSet) -> bool {
    let mut labels = files
        .samples()
        .iter()
        .filter_map(|sample| sample.label.as_ref());
    labels.all(|label| label.path == label.listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spots_are_spread() {
        assert_eq!(spread(11, 3), [0, 5, 10]);
        assert_eq!(spread(2, 5), [0, 1]);
        assert_eq!(spread(5, 1), [0]);
        assert!(spread(0, 3).is_empty());
    }
}
