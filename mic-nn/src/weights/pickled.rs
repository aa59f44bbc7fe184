//! Writing pickles (protocol 2, which every PyTorch reads) of what checkpoints are made of.

use candle_core::{DType, Tensor};

/// A value in a file of [`save_torch`](super::save_torch).
#[derive(Clone, Debug)]
pub enum Pickled {
    /// `None`.
    None,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Self>),
    /// A tuple.
    Tuple(Vec<Self>),
    /// A dictionary with texts as keys.
    Dict(Vec<(String, Self)>),
    /// The same as a `collections.OrderedDict`, which state dictionaries are.
    OrderedDict(Vec<(String, Self)>),
    /// A tensor in main memory, on which nothing depends.
    Tensor(Tensor),
}

/// A pickle, and the tensors whose values are to be stored under their number.
pub(super) struct Written<'a> {
    pub(super) bytes: Vec<u8>,
    pub(super) tensors: Vec<&'a Tensor>,
}

/// Writes a value as a pickle.
///
/// # Errors
/// A tensor of a type that PyTorch lacks, or a text that is too long.
pub(super) fn write(value: &Pickled) -> Result<Written<'_>, String> {
    let mut written = Written {
        // PROTO 2
        bytes: vec![0x80, 2],
        tensors: Vec::new(),
    };
    written.value(value)?;
    written.bytes.push(b'.');
    Ok(written)
}

/// The class of a storage.
fn storage(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::F64 => "DoubleStorage",
        DType::F32 => "FloatStorage",
        DType::F16 => "HalfStorage",
        DType::BF16 => "BFloat16Storage",
        DType::I64 => "LongStorage",
        DType::I32 => "IntStorage",
        DType::I16 => "ShortStorage",
        DType::U8 => "ByteStorage",
        _ => return None,
    })
}

impl<'a> Written<'a> {
    fn value(&mut self, value: &'a Pickled) -> Result<(), String> {
        match value {
            Pickled::None => self.bytes.push(b'N'),
            Pickled::Bool(value) => self.bytes.push(if *value { 0x88 } else { 0x89 }),
            Pickled::Int(value) => self.int(*value),
            Pickled::Float(value) => {
                self.bytes.push(b'G');
                self.bytes.extend(value.to_be_bytes());
            }
            Pickled::Text(text) => self.text(text)?,
            Pickled::List(items) => {
                self.bytes.extend(b"](");
                items.iter().try_for_each(|item| self.value(item))?;
                self.bytes.push(b'e');
            }
            Pickled::Tuple(items) => {
                self.bytes.push(b'(');
                items.iter().try_for_each(|item| self.value(item))?;
                self.bytes.push(b't');
            }
            Pickled::Dict(entries) => {
                self.bytes.push(b'}');
                self.entries(entries)?;
            }
            Pickled::OrderedDict(entries) => {
                self.empty_ordered();
                self.entries(entries)?;
            }
            Pickled::Tensor(tensor) => self.tensor(tensor)?,
        }
        Ok(())
    }

    fn int(&mut self, value: i64) {
        match (u8::try_from(value), i32::try_from(value)) {
            (Ok(small), _) => self.bytes.extend([b'K', small]),
            (_, Ok(medium)) => {
                self.bytes.push(b'J');
                self.bytes.extend(medium.to_le_bytes());
            }
            _ => {
                self.bytes.extend([0x8a, 8]);
                self.bytes.extend(value.to_le_bytes());
            }
        }
    }

    fn text(&mut self, text: &str) -> Result<(), String> {
        let length = u32::try_from(text.len()).map_err(|_| "a text is too long".to_owned())?;
        self.bytes.push(b'X');
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(text.as_bytes());
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) {
        self.bytes.extend(format!("c{module}\n{name}\n").bytes());
    }

    fn empty_ordered(&mut self) {
        self.global("collections", "OrderedDict");
        self.bytes.extend(b")R");
    }

    fn entries(&mut self, entries: &'a [(String, Pickled)]) -> Result<(), String> {
        self.bytes.push(b'(');
        for (key, value) in entries {
            self.text(key)?;
            self.value(value)
                .map_err(|reason| format!("{key}: {reason}"))?;
        }
        self.bytes.push(b'u');
        Ok(())
    }

    fn sizes(&mut self, sizes: &[usize]) {
        self.bytes.push(b'(');
        sizes.iter().for_each(|&size| self.int(size as i64));
        self.bytes.push(b't');
    }

    /// A call of `torch._utils._rebuild_tensor_v2` over a storage of its own.
    fn tensor(&mut self, tensor: &'a Tensor) -> Result<(), String> {
        let dtype = tensor.dtype();
        let class = storage(dtype).ok_or_else(|| format!("PyTorch has no type {dtype:?}"))?;
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.bytes.extend(b"((");
        self.text("storage")?;
        self.global("torch", class);
        self.text(&self.tensors.len().to_string())?;
        self.text("cpu")?;
        self.int(tensor.elem_count() as i64);
        self.bytes.extend(b"tQ");
        self.int(0);
        self.sizes(tensor.dims());
        self.sizes(&super::stored::row_major(tensor.dims()));
        // No gradient, and no hooks.
        self.bytes.push(0x89);
        self.empty_ordered();
        self.bytes.extend(b"tR");
        self.tensors.push(tensor);
        Ok(())
    }
}
