//! Named tensors that are read when they are asked for.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::Tensor;

use super::error::{Error, Parse, Reason, Result};
use super::stored::{Source, Stored};

/// The tensors of a model, by name, in the order of the file. They stay in the file until they are
/// asked for, so that filling a model takes little more memory than the model.
#[derive(Clone, Default)]
pub struct Weights {
    path: PathBuf,
    pub(super) entries: Vec<(String, Recipe)>,
    skipped: Vec<(String, String)>,
    metadata: BTreeMap<String, String>,
}

/// How a tensor is made.
#[derive(Clone)]
pub(super) enum Recipe {
    Ready(Tensor),
    Stored(Arc<Source>, Stored),
    /// Joined along the first dimension.
    Joined(Vec<Recipe>, Vec<usize>),
    /// From row `.1` on, `.2` rows of the first dimension.
    Rows(Box<Recipe>, usize, usize),
    /// The same values in another shape.
    Reshaped(Box<Recipe>, Vec<usize>),
    /// `.1` equal parts of the second dimension, from the last to the first.
    Reversed(Box<Recipe>, usize),
}

impl Recipe {
    pub(super) fn shape(&self) -> Vec<usize> {
        match self {
            Self::Ready(tensor) => tensor.dims().to_vec(),
            Self::Stored(_, stored) => stored.shape.clone(),
            Self::Joined(_, shape) | Self::Reshaped(_, shape) => shape.clone(),
            Self::Reversed(whole, _) => whole.shape(),
            Self::Rows(whole, _, rows) => {
                let mut shape = whole.shape();
                if let Some(first) = shape.first_mut() {
                    *first = *rows;
                }
                shape
            }
        }
    }

    fn make(&self) -> Parse<Tensor> {
        match self {
            Self::Ready(tensor) => Ok(tensor.clone()),
            Self::Stored(source, stored) => stored.read(source),
            Self::Joined(parts, _) => {
                let parts = parts.iter().map(Self::make).collect::<Parse<Vec<_>>>()?;
                Ok(Tensor::cat(&parts, 0)?)
            }
            // A copy, so that the rest is not kept.
            Self::Rows(whole, start, rows) => {
                Ok(whole.make()?.narrow(0, *start, *rows)?.force_contiguous()?)
            }
            Self::Reshaped(tensor, shape) => Ok(tensor.make()?.reshape(shape.as_slice())?),
            Self::Reversed(whole, parts) => {
                let mut parts = whole.make()?.chunk(*parts, 1)?;
                parts.reverse();
                Ok(Tensor::cat(&parts, 1)?)
            }
        }
    }
}

impl From<HashMap<String, Tensor>> for Weights {
    fn from(tensors: HashMap<String, Tensor>) -> Self {
        let mut entries: Vec<_> = tensors
            .into_iter()
            .map(|(name, tensor)| (name, Recipe::Ready(tensor)))
            .collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        Self {
            path: "tensors in memory".into(),
            entries,
            ..Self::default()
        }
    }
}

/// Put before all names by PyTorch's data-parallel wrappers and by its compiler.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

impl Weights {
    pub(super) fn stored(
        source: &Arc<Source>,
        tensors: &[(String, Stored)],
        skipped: Vec<(String, String)>,
        metadata: BTreeMap<String, String>,
    ) -> Self {
        let recipe = |stored: &Stored| Recipe::Stored(source.clone(), stored.clone());
        let entries = tensors
            .iter()
            .map(|(name, stored)| (name.clone(), recipe(stored)));
        let mut weights = Self {
            path: source.input.path().to_owned(),
            entries: entries.collect(),
            skipped,
            metadata,
        };
        while let Some(wrapper) = WRAPPERS.iter().find(|w| weights.all_start_with(w)) {
            weights = weights.strip(wrapper);
        }
        weights
    }

    fn all_start_with(&self, prefix: &str) -> bool {
        !self.entries.is_empty() && self.names().all(|name| name.starts_with(prefix))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(name, _)| name.as_str())
    }

    /// The shape of a tensor, which is not read for that.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.find(name).map(Recipe::shape)
    }

    fn find(&self, name: &str) -> Option<&Recipe> {
        let found = self.entries.iter().find(|(n, _)| n == name);
        found.map(|(_, recipe)| recipe)
    }

    /// Entries of the file's dictionary that are no tensors or cannot be read, with what they are.
    pub fn skipped(&self) -> &[(String, String)] {
        &self.skipped
    }

    /// See [`Checkpoint::metadata`](super::Checkpoint::metadata).
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Reads one tensor. Types that candle lacks become the smallest that holds all values: signed
    /// integers and those of 16 bits i64, booleans u8.
    ///
    /// # Errors
    /// No such tensor, or one whose bytes are damaged.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        match self.find(name) {
            Some(recipe) => self.make(name, recipe),
            None => Err(Reason(format!("it has no tensor {name}")).at(&self.path)),
        }
    }

    fn make(&self, name: &str, recipe: &Recipe) -> Result<Tensor> {
        let named = |reason: Reason| reason.within(format!("tensor {name}")).at(&self.path);
        recipe.make().map_err(named)
    }

    /// Reads all tensors, one after the other.
    pub fn iter(&self) -> impl Iterator<Item = Result<(String, Tensor)>> {
        let read = |(name, recipe): &(String, Recipe)| Ok((name.clone(), self.make(name, recipe)?));
        self.entries.iter().map(read)
    }

    /// Reads all tensors.
    ///
    /// # Errors
    /// Names the first tensor that cannot be read.
    pub fn tensors(&self) -> Result<HashMap<String, Tensor>> {
        self.iter().collect()
    }

    /// Removes `prefix` from the names that begin with it.
    pub fn strip(mut self, prefix: &str) -> Self {
        for (name, _) in &mut self.entries {
            if let Some(rest) = name.strip_prefix(prefix) {
                *name = rest.to_owned();
            }
        }
        self
    }

    /// Puts `prefix` before all names.
    pub fn prefixed(mut self, prefix: &str) -> Self {
        for (name, _) in &mut self.entries {
            name.insert_str(0, prefix);
        }
        self
    }

    /// Keeps the tensors whose names begin with `prefix`, and removes it.
    pub fn below(self, prefix: &str) -> Self {
        self.retain(|name| name.starts_with(prefix)).strip(prefix)
    }

    /// Keeps the tensors with such names.
    pub fn retain(mut self, keep: impl Fn(&str) -> bool) -> Self {
        self.entries.retain(|(name, _)| keep(name));
        self
    }

    /// The error of a tensor that cannot be used.
    pub(crate) fn failure(&self, name: &str, error: candle_core::Error) -> Error {
        Reason::from(error)
            .within(format!("tensor {name}"))
            .at(&self.path)
    }

    /// Entries by name, for many look-ups.
    pub(crate) fn index(&self) -> HashMap<&str, usize> {
        self.names()
            .enumerate()
            .map(|(i, name)| (name, i))
            .collect()
    }

    /// Shape of entry `i`.
    pub(crate) fn shape_at(&self, i: usize) -> Vec<usize> {
        self.entries
            .get(i)
            .map(|(_, r)| r.shape())
            .unwrap_or_default()
    }

    /// Reads entry `i`.
    pub(crate) fn tensor_at(&self, i: usize) -> Result<Tensor> {
        match self.entries.get(i) {
            Some((name, recipe)) => self.make(name, recipe),
            None => Err(Error::Rename(format!("there is no entry {i}"))),
        }
    }
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shapes = self
            .entries
            .iter()
            .map(|(name, recipe)| (name, recipe.shape()));
        f.debug_map().entries(shapes).finish()
    }
}
