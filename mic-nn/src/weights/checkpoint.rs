//! A file's dictionaries of tensors, and which of them is the model's.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::error::{Error, Parse, Result, refuse};
use super::input::Input;
use super::report::shortened;
use super::set::Weights;
use super::sniff::{EXPECTED, Format, sniff};
use super::stored::{Source, Stored};
use super::value::{Id, Value};
use super::{pickle::Pickle, safetensors, torch};

/// A weights file whose structure has been read, but none of its tensors.
pub struct Checkpoint {
    source: Arc<Source>,
    dictionaries: Vec<Dictionary>,
    metadata: BTreeMap<String, String>,
}

/// A dictionary that holds tensors.
struct Dictionary {
    /// Keys on the way to it, `/` between them; empty at the top.
    path: String,
    tensors: Vec<(String, Stored)>,
    /// Entries that are no tensors or cannot be read, with what they are.
    skipped: Vec<(String, String)>,
}

impl Dictionary {
    fn has_dimensions(&self) -> bool {
        self.tensors
            .iter()
            .any(|(_, stored)| !stored.shape.is_empty())
    }
}

/// Keys under which models are saved, in the order in which they are looked for. Where a file has
/// a teacher and a student, the teacher is what its authors evaluate.
const MODEL_KEYS: [&str; 12] = [
    "state_dict",
    "model_state_dict",
    "model",
    "teacher",
    "ema",
    "student",
    "net",
    "network",
    "module",
    "weights",
    "params",
    "blobs",
];
/// Dictionaries below keys with these beginnings are never the model's.
const OTHER_KEYS: [&str; 7] = [
    "optim",
    "lr_sched",
    "sched",
    "scaler",
    "amp",
    "criterion",
    "rng",
];

/// Limits beyond every checkpoint, so that a small file cannot ask for much work.
const MAX_DEPTH: usize = 8;
const MAX_DICTIONARIES: usize = 100_000;
const MAX_ENTRIES: usize = 200_000;
const MAX_KEY: usize = 512;

impl Checkpoint {
    /// Reads the structure of a file, whatever its name ends in.
    ///
    /// # Errors
    /// A file that cannot be opened, is damaged, or is something else: says what it looks like.
    pub fn open(path: &Path) -> Result<Self> {
        Self::of(Input::open(path)?)
    }

    /// The same for the bytes of a file; `name` is for messages.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open`].
    pub fn from_bytes(name: &Path, bytes: Vec<u8>) -> Result<Self> {
        Self::of(Input::in_memory(name, bytes))
    }

    fn of(input: Input) -> Result<Self> {
        let path = input.path().to_owned();
        Self::parse(input).map_err(|reason| reason.at(&path))
    }

    fn parse(input: Input) -> Parse<Self> {
        let scanned = match sniff(&input)? {
            Ok(Format::Zip) => torch::read_zip(&input)?,
            Ok(Format::Pickle) => torch::read_stream(&input)?,
            Ok(Format::Safetensors) => {
                let header = safetensors::read(&input)?;
                return Ok(Self {
                    source: Arc::new(Source::new(input, HashMap::new())),
                    dictionaries: vec![Dictionary {
                        path: String::new(),
                        tensors: header.tensors,
                        skipped: header.skipped,
                    }],
                    metadata: header.metadata,
                });
            }
            Err(what) => refuse!("{what}"),
        };
        let mut found = Found::default();
        found.walk(&scanned.pickle)?;
        Ok(Self {
            source: Arc::new(Source::new(input, scanned.places)),
            dictionaries: found.dictionaries,
            metadata: found.metadata,
        })
    }

    /// Paths of the dictionaries that hold tensors, with the number of tensors. The empty path is
    /// the file's top level; keys have `/` between them.
    pub fn dictionaries(&self) -> Vec<(&str, usize)> {
        let about = |d: &'_ Dictionary| d.tensors.len();
        let all = self.dictionaries.iter();
        all.map(|d| (d.path.as_str(), about(d))).collect()
    }

    /// Values outside the tensors' dictionaries (epoch, architecture, ...) as texts by their path;
    /// of a safetensors file its metadata.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The model's tensors: from the top level down, the first of `state_dict`,
    /// `model_state_dict`, `model`, `teacher`, `ema`, `student`, `net`, `network`, `module`,
    /// `weights`, `params`, `blobs` that leads to tensors is followed, as long as there is one;
    /// then the tensors there, or else those of the only dictionary below that is not an
    /// optimiser's. `module.` and `_orig_mod.` before all names, left by PyTorch's wrappers, are
    /// removed. Dictionaries of lone numbers do not count where there are others.
    ///
    /// # Errors
    /// No tensors, or several dictionaries to choose from: lists them.
    pub fn weights(&self) -> Result<Weights> {
        let chosen = self.automatic().map_err(|reason| self.error(reason))?;
        self.weights_of(chosen)
    }

    /// The tensors of the dictionary at `key`, a path with `/` between its parts.
    ///
    /// # Errors
    /// No such dictionary: lists those that there are.
    pub fn weights_at(&self, key: &str) -> Result<Weights> {
        match self.dictionaries.iter().find(|d| d.path == key) {
            Some(chosen) => self.weights_of(chosen),
            None => Err(self.error(format!(
                "it has no dictionary {key:?} with tensors; there is {}",
                list(self.dictionaries.iter())
            ))),
        }
    }

    fn error(&self, reason: String) -> Error {
        super::error::Reason(reason).at(self.source.input.path())
    }

    fn weights_of(&self, chosen: &Dictionary) -> Result<Weights> {
        // Tensors may share a storage; but a few bytes that stand for gigabytes are an attack.
        let wanted = chosen.tensors.iter().map(|(_, stored)| stored.bytes());
        let wanted = wanted.fold(0u64, u64::saturating_add);
        let limit = self.source.input.len().saturating_mul(16);
        if wanted > limit.saturating_add(256 << 20) {
            return Err(self.error(format!(
                "its tensors would take {wanted} bytes, but the file has only {}: it is damaged",
                self.source.input.len()
            )));
        }
        Ok(Weights::stored(
            &self.source,
            &chosen.tensors,
            chosen.skipped.clone(),
            self.metadata.clone(),
        ))
    }

    fn automatic(&self) -> std::result::Result<&Dictionary, String> {
        // A score or a temperature beside the model is a tensor without dimensions.
        let models = self.dictionaries.iter().any(Dictionary::has_dimensions);
        let all = || {
            let all = self
                .dictionaries
                .iter()
                .filter(|d| !d.path.split('/').any(is_other));
            all.filter(|d| d.has_dimensions() || !models)
        };
        let mut path = String::new();
        loop {
            let below = |key: &&&str| {
                let next = join(&path, key);
                all().any(|d| d.path == next || d.path.starts_with(&format!("{next}/")))
            };
            match MODEL_KEYS.iter().find(below) {
                Some(key) => path = join(&path, key),
                None => break,
            }
        }
        if let Some(exact) = all().find(|d| d.path == path) {
            return Ok(exact);
        }
        let below: Vec<&Dictionary> = all()
            .filter(|d| path.is_empty() || d.path.starts_with(&format!("{path}/")))
            .collect();
        match below.as_slice() {
            [] => Err(format!("it holds no tensors; {EXPECTED}")),
            [only] => Ok(only),
            several => Err(format!(
                "it has several dictionaries with tensors and none of a usual name: {}; name the \
                 one to be read",
                list(several.iter().copied())
            )),
        }
    }
}

fn is_other(key: &str) -> bool {
    OTHER_KEYS.iter().any(|other| key.starts_with(other))
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}/{key}")
    }
}

fn list<'a>(dictionaries: impl Iterator<Item = &'a Dictionary>) -> String {
    let names: Vec<String> = dictionaries
        .map(|d| format!("{:?} ({} tensors)", d.path, d.tensors.len()))
        .collect();
    if names.is_empty() {
        "none".into()
    } else {
        shortened(&names)
    }
}

#[derive(Default)]
struct Found {
    dictionaries: Vec<Dictionary>,
    metadata: BTreeMap<String, String>,
    entries: usize,
}

impl Found {
    /// Visits every dictionary once: they may contain each other.
    fn walk(&mut self, pickle: &Pickle) -> Parse<()> {
        let arena = &pickle.arena;
        if arena.pairs(pickle.root).is_none() {
            match arena.get(pickle.root) {
                Value::Dict(_) => {}
                Value::Opaque(object) => refuse!(
                    "it holds a whole object of class {}, not a dictionary of tensors; in Python, \
                     where that class is known: torch.save(object.state_dict(), \"weights.pth\")",
                    object.class
                ),
                _ => refuse!(
                    "it holds {}, not a dictionary of tensors; {EXPECTED}",
                    arena.describe(pickle.root)
                ),
            }
        }
        let mut queue = std::collections::VecDeque::from([(pickle.root, String::new(), 0)]);
        let mut seen = HashSet::from([pickle.root]);
        while let Some((id, path, depth)) = queue.pop_front() {
            let children = self.visit(pickle, id, path, depth)?;
            queue.extend(
                children
                    .into_iter()
                    .filter(|(child, ..)| seen.insert(*child)),
            );
            if seen.len() > MAX_DICTIONARIES {
                refuse!("it has more than {MAX_DICTIONARIES} dictionaries: this is no checkpoint")
            }
        }
        Ok(())
    }

    /// Sorts the entries of one dictionary; gives the dictionaries in it.
    fn visit(
        &mut self,
        pickle: &Pickle,
        id: Id,
        path: String,
        depth: usize,
    ) -> Parse<Vec<(Id, String, usize)>> {
        let arena = &pickle.arena;
        let (mut tensors, mut others, mut children) = (Vec::new(), Vec::new(), Vec::new());
        // As in Python, a later entry takes the place of an earlier one of that name.
        let mut places = HashMap::new();
        for &(key, value) in arena.pairs(id).unwrap_or_default() {
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                refuse!("it has more than {MAX_ENTRIES} entries: this is no checkpoint")
            }
            let name = match (arena.text(key), arena.size(key)) {
                (Some(text), _) if text.len() <= MAX_KEY => text.to_owned(),
                (None, Some(number)) => number.to_string(),
                _ => continue,
            };
            match arena.get(value) {
                Value::Tensor(stored) => {
                    let entry = (name.clone(), stored.clone());
                    match places.get(&name) {
                        Some(&place) => tensors[place] = entry,
                        None => {
                            places.insert(name, tensors.len());
                            tensors.push(entry);
                        }
                    }
                }
                _ if arena.pairs(value).is_some() && depth < MAX_DEPTH => {
                    children.push((value, join(&path, &name), depth + 1));
                    others.push((name, value));
                }
                _ => others.push((name, value)),
            }
        }
        let mut skipped = Vec::new();
        for (name, value) in others {
            let text: String = arena.describe(value).chars().take(MAX_KEY).collect();
            self.metadata.insert(join(&path, &name), text.clone());
            skipped.push((name, text));
        }
        if !tensors.is_empty() {
            self.dictionaries.push(Dictionary {
                path,
                tensors,
                skipped,
            });
        }
        Ok(children)
    }
}
