//! What loading weights into a model found.

use std::fmt;

/// What [`Store::load`](crate::params::Store::load) found.
///
/// Batch norms' counters of batches that a file lacks are not counted as missing: files of
/// PyTorch before 0.4.1 have none, and nothing is computed from them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Number of tensors that were copied.
    pub matched: usize,
    /// Names that the model has and the file lacks.
    pub missing: Vec<String>,
    /// Names that the file has and the model lacks.
    pub unexpected: Vec<String>,
    /// Tensors of differing shapes, which were not copied.
    pub reshaped: Vec<Reshaped>,
}

/// A tensor whose shape in the file is not that of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reshaped {
    /// Its name.
    pub name: String,
    /// Its shape in the file.
    pub file: Vec<usize>,
    /// Its shape in the model.
    pub model: Vec<usize>,
}

impl fmt::Display for Reshaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, file, model } = self;
        write!(f, "{name}: the file has {file:?}, the model {model:?}")
    }
}

impl LoadReport {
    /// Whether every tensor of the model was filled.
    pub fn complete(&self) -> bool {
        self.missing.is_empty() && self.reshaped.is_empty()
    }

    /// Whether, besides, the file has nothing else.
    pub fn exact(&self) -> bool {
        self.complete() && self.unexpected.is_empty()
    }
}

/// Longer lists are cut.
const SHOWN: usize = 4;

/// The first few of a list, and how many there are.
pub(super) fn shortened<T: fmt::Display>(items: &[T]) -> String {
    let mut text = String::new();
    for item in items.iter().take(SHOWN) {
        let comma = if text.is_empty() { "" } else { ", " };
        text.push_str(&format!("{comma}{item}"));
    }
    if items.len() > SHOWN {
        text.push_str(&format!(", and {} more", items.len() - SHOWN));
    }
    text
}

/// Such as `312 tensors matched; 2 missing (head.weight, head.bias); 1 of another shape
/// (proj.weight: the file has [64, 3, 7, 7], the model [32, 3, 7, 7])`.
impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.matched == 1 { "" } else { "s" };
        write!(f, "{} tensor{plural} matched", self.matched)?;
        let mut list = |what: &str, count: usize, shown: String| match count {
            0 => Ok(()),
            _ => write!(f, "; {count} {what} ({shown})"),
        };
        list("missing", self.missing.len(), shortened(&self.missing))?;
        list(
            "unexpected",
            self.unexpected.len(),
            shortened(&self.unexpected),
        )?;
        list(
            "of another shape",
            self.reshaped.len(),
            shortened(&self.reshaped),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut_and_both_shapes_are_shown() {
        let report = LoadReport {
            matched: 1,
            missing: (0..6).map(|i| format!("block.{i}")).collect(),
            unexpected: Vec::new(),
            reshaped: vec![Reshaped {
                name: "head.weight".into(),
                file: vec![1000, 64],
                model: vec![19, 64],
            }],
        };
        assert_eq!(
            report.to_string(),
            "1 tensor matched; 6 missing (block.0, block.1, block.2, block.3, and 2 more); \
             1 of another shape (head.weight: the file has [1000, 64], the model [19, 64])"
        );
        assert!(!report.complete());
    }
}
