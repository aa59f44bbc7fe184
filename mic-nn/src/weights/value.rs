//! What a pickle stands for. Nothing in it is executed: calls with a known meaning become data,
//! all others stay opaque.

use std::collections::HashMap;

use super::element::Element;
use super::error::{Parse, refuse};
use super::input::Span;
use super::stored::Stored;

/// Index of a value in an [`Arena`]. Lists and dictionaries may contain themselves, and a value
/// may be used many times: both cost nothing when references are numbers.
pub(super) type Id = usize;

/// Byte strings and texts from this length on stay in the file.
pub(super) const LONG: u64 = 4096;

/// A byte string or text.
#[derive(Clone, Debug)]
pub(super) enum Blob {
    Short(Vec<u8>),
    InFile(Span),
    /// Bytes written as text, one a character.
    AsText(Span),
}

/// A storage named by a persistent id.
#[derive(Clone, Debug)]
pub(super) struct StorageRef {
    pub(super) key: String,
    /// `None` for untyped storages.
    pub(super) element: Option<Element>,
    /// Bytes of an element, if known.
    pub(super) size: Option<usize>,
    /// For messages.
    pub(super) class: String,
    /// First element within the stored one; views of storages are older than PyTorch 0.4.
    pub(super) first: usize,
}

/// A numpy element type.
#[derive(Clone, Debug)]
pub(super) struct NumpyType {
    pub(super) code: String,
    pub(super) big_endian: bool,
}

/// One value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Blob),
    Bytes(Blob),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function: module and name with a dot between.
    Global(String),
    Storage(StorageRef),
    Tensor(Stored),
    NumpyType(NumpyType),
    /// A numpy array whose contents follow.
    EmptyArray,
    /// An instance of a class without a meaning here, or a tensor that cannot be read.
    Opaque(Opaque),
}

/// See [`Value::Opaque`].
#[derive(Clone, Debug, Default)]
pub(super) struct Opaque {
    pub(super) class: String,
    /// Entries, if it is used as a dictionary.
    pub(super) pairs: Vec<(Id, Id)>,
}

/// The values of one pickle.
pub(super) struct Arena {
    values: Vec<Value>,
    /// Bytes that may still be used.
    budget: u64,
}

/// Longer lists of sizes or arguments than any constructor takes.
const MAX_ARGUMENTS: usize = 64;

impl Arena {
    /// For a pickle of at most `len` bytes. A state dictionary needs some 10 bytes of memory a
    /// byte of its pickle; a few bytes that stand for gigabytes are an attack.
    pub(super) fn for_pickle_of(len: u64) -> Self {
        Self {
            values: Vec::new(),
            budget: len.saturating_mul(32).saturating_add(64 << 20),
        }
    }

    /// Counts `bytes` of memory, or as much work.
    pub(super) fn charge(&mut self, bytes: usize) -> Parse<()> {
        match self.budget.checked_sub(bytes as u64) {
            Some(left) => self.budget = left,
            None => refuse!(
                "the pickle asks for far more memory than the file has bytes: it is no checkpoint"
            ),
        }
        Ok(())
    }

    pub(super) fn add(&mut self, value: Value) -> Parse<Id> {
        let inside = match &value {
            Value::Tuple(items) | Value::List(items) => size_of_val(items.as_slice()),
            Value::Dict(pairs) => size_of_val(pairs.as_slice()),
            Value::Text(Blob::Short(bytes)) | Value::Bytes(Blob::Short(bytes)) => bytes.len(),
            Value::Global(name) => name.len(),
            Value::Storage(storage) => storage.key.len() + storage.class.len(),
            Value::Opaque(object) => object.class.len(),
            _ => 0,
        };
        self.charge(size_of::<Value>() + inside)?;
        self.values.push(value);
        Ok(self.values.len() - 1)
    }

    pub(super) fn get(&self, id: Id) -> &Value {
        self.values.get(id).unwrap_or(&Value::None)
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut Value> {
        self.values.get_mut(id)
    }

    /// Bytes of an element of every storage that is named.
    pub(super) fn element_sizes(&self) -> HashMap<&str, usize> {
        let sizes = self.values.iter().filter_map(|value| match value {
            Value::Storage(storage) => Some((storage.key.as_str(), storage.size?)),
            _ => None,
        });
        sizes.collect()
    }

    /// A text, or a byte string that is one (all of Python 2's).
    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(Blob::Short(bytes)) | Value::Bytes(Blob::Short(bytes)) => {
                std::str::from_utf8(bytes).ok()
            }
            _ => None,
        }
    }

    pub(super) fn size(&self, id: Id) -> Option<usize> {
        match self.get(id) {
            Value::Int(value) => usize::try_from(*value).ok(),
            _ => None,
        }
    }

    pub(super) fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        match self.get(id) {
            Value::Tuple(items) | Value::List(items) if items.len() <= MAX_ARGUMENTS => {
                items.iter().map(|&item| self.size(item)).collect()
            }
            _ => None,
        }
    }

    pub(super) fn items(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(items) | Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The arguments of a call.
    pub(super) fn arguments(&self, id: Id) -> Vec<Id> {
        let items = self.items(id).unwrap_or_default();
        items[..items.len().min(MAX_ARGUMENTS)].to_vec()
    }

    /// Entries of a dictionary or of an opaque object that is used as one.
    pub(super) fn pairs(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.get(id) {
            Value::Dict(pairs) => Some(pairs),
            Value::Opaque(object) if !object.pairs.is_empty() => Some(&object.pairs),
            _ => None,
        }
    }

    /// In words, for messages and metadata.
    pub(super) fn describe(&self, id: Id) -> String {
        match self.get(id) {
            Value::None => "None".into(),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::Text(_) | Value::Bytes(_) => match self.text(id) {
                Some(text) => text.into(),
                None => "a long text or bytes".into(),
            },
            Value::Tuple(items) => format!("a tuple of {}", items.len()),
            Value::List(items) => format!("a list of {}", items.len()),
            Value::Dict(pairs) => format!("a dictionary of {}", pairs.len()),
            Value::Global(name) => name.clone(),
            Value::Storage(storage) => format!("a storage ({})", storage.class),
            Value::Tensor(tensor) => format!("a tensor of shape {:?}", tensor.shape),
            Value::NumpyType(kind) => format!("the numpy type {}", kind.code),
            Value::EmptyArray => "a numpy array without contents".into(),
            Value::Opaque(object) => format!("an object of {}", object.class),
        }
    }
}
