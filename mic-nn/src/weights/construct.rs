//! The constructors that have a meaning in checkpoints. Everything else becomes an opaque value;
//! programs are refused.

use std::sync::Arc;

use super::element::Element;
use super::error::{Parse, refuse};
use super::stored::{Data, Stored, latin1, row_major};
use super::value::{Arena, Blob, Id, NumpyType, Opaque, StorageRef, Value};

/// Modules whose mention in a checkpoint can only mean harm.
const PROGRAMS: [&str; 17] = [
    "os",
    "posix",
    "nt",
    "sys",
    "subprocess",
    "commands",
    "popen2",
    "pty",
    "socket",
    "shutil",
    "runpy",
    "webbrowser",
    "ctypes",
    "importlib",
    "code",
    "codeop",
    "multiprocessing",
];
/// The same of Python's own functions.
const HARMFUL_BUILTINS: [&str; 9] = [
    "eval",
    "exec",
    "execfile",
    "compile",
    "open",
    "file",
    "__import__",
    "input",
    "breakpoint",
];

/// Refuses a pickle that names a function for running programs. Nothing would be run: but whoever
/// made such a file did not make a checkpoint.
pub(super) fn refuse_programs(module: &str, name: &str) -> Parse<()> {
    let top = module.split('.').next().unwrap_or_default();
    let builtin = matches!(top, "builtins" | "__builtin__") && HARMFUL_BUILTINS.contains(&name);
    if builtin || PROGRAMS.contains(&top) {
        refuse!(
            "it calls {module}.{name}, which a checkpoint never does: the file is malicious. \
             Nothing was run; do not open it in Python, and get the weights from another place"
        )
    }
    Ok(())
}

fn opaque(class: impl Into<String>) -> Value {
    Value::Opaque(Opaque {
        class: class.into(),
        ..Opaque::default()
    })
}

/// What a call gives.
pub(super) enum Called {
    New(Value),
    /// One of its arguments.
    Same(Id),
}

/// The value of a call. The arguments of known constructors are checked.
pub(super) fn call(arena: &mut Arena, name: &str, arguments: &[Id]) -> Parse<Called> {
    let short = name.strip_prefix("__builtin__.");
    let short = short.or_else(|| name.strip_prefix("builtins."));
    let value = match (short.unwrap_or(name), arguments) {
        ("torch._utils._rebuild_tensor", [storage, offset, size, stride])
        | ("torch._utils._rebuild_tensor_v2", [storage, offset, size, stride, ..]) => {
            tensor(arena, *storage, *offset, *size, *stride, None)?
        }
        ("torch._utils._rebuild_tensor_v3", [storage, offset, size, stride, _, _, dtype, ..]) => {
            tensor(arena, *storage, *offset, *size, *stride, Some(*dtype))?
        }
        (
            "torch._utils._rebuild_parameter"
            | "torch._utils._rebuild_parameter_with_state"
            | "torch.nn.parameter.Parameter"
            | "torch.nn.parameter.Buffer"
            | "torch.Tensor"
            | "torch.Size"
            | "bytes"
            | "bytearray",
            [data, ..],
        ) => return Ok(Called::Same(*data)),
        ("torch._tensor._rebuild_from_type_v2", [function, _, inner, ..]) => {
            match arena.get(*function) {
                // A tensor's own constructor is meant; nesting would have no end.
                Value::Global(function) if function.starts_with("torch._utils._rebuild_") => {
                    let (function, inner) = (function.clone(), arena.arguments(*inner));
                    return call(arena, &function, &inner);
                }
                _ => opaque(name),
            }
        }
        ("bytes" | "bytearray", []) => Value::Bytes(Blob::Short(Vec::new())),
        ("collections.OrderedDict" | "dict", []) => Value::Dict(Vec::new()),
        ("collections.OrderedDict" | "dict", [entries, ..]) => entries_of(arena, *entries)?,
        ("collections.defaultdict" | "collections.Counter", _) => Value::Dict(Vec::new()),
        ("set" | "frozenset" | "list", []) => Value::List(Vec::new()),
        ("set" | "frozenset" | "list", [items, ..]) => {
            let items = arena.items(*items).unwrap_or_default();
            let len = size_of_val(items);
            let items = items.to_vec();
            arena.charge(len)?;
            Value::List(items)
        }
        ("_codecs.encode", [text, ..]) => match arena.get(*text) {
            Value::Text(Blob::InFile(span)) => Value::Bytes(Blob::AsText(*span)),
            Value::Text(Blob::Short(text)) => Value::Bytes(Blob::Short(latin1(text)?)),
            _ => refuse!("_codecs.encode without a text: the pickle is damaged"),
        },
        ("numpy.dtype", [code, ..]) => match arena.text(*code) {
            Some(code) if code.len() <= 16 => numpy_type(code),
            _ => opaque(name),
        },
        (
            "numpy.ndarray"
            | "numpy.core.multiarray._reconstruct"
            | "numpy._core.multiarray._reconstruct",
            _,
        ) => Value::EmptyArray,
        ("numpy.core.multiarray.scalar" | "numpy._core.multiarray.scalar", [kind, bytes]) => {
            array(arena, *kind, *bytes, Vec::new(), false)?
        }
        (
            "numpy.core.numeric._frombuffer" | "numpy._core.numeric._frombuffer",
            [bytes, kind, shape, order],
        ) => match arena.sizes(*shape) {
            Some(shape) => array(arena, *kind, *bytes, shape, arena.text(*order) == Some("F"))?,
            None => refuse!("a numpy array has no shape: the pickle is damaged"),
        },
        _ => opaque(name),
    };
    Ok(Called::New(value))
}

/// A dictionary from a list of pairs, which Python 2 writes.
fn entries_of(arena: &mut Arena, entries: Id) -> Parse<Value> {
    let known = arena.pairs(entries).map_or(0, size_of_val);
    arena.charge(known + arena.items(entries).map_or(0, size_of_val))?;
    if let Some(pairs) = arena.pairs(entries) {
        return Ok(Value::Dict(pairs.to_vec()));
    }
    let pairs = arena.items(entries).unwrap_or_default().iter();
    let pairs = pairs.filter_map(|&pair| match arena.items(pair) {
        Some(&[key, value]) => Some((key, value)),
        _ => None,
    });
    Ok(Value::Dict(pairs.collect()))
}

/// A view of a storage.
fn tensor(
    arena: &Arena,
    storage: Id,
    offset: Id,
    size: Id,
    stride: Id,
    dtype: Option<Id>,
) -> Parse<Value> {
    let Value::Storage(storage) = arena.get(storage) else {
        refuse!("a tensor has no storage: the pickle is damaged")
    };
    let views = (arena.size(offset), arena.sizes(size), arena.sizes(stride));
    let (Some(offset), Some(shape), Some(stride)) = views else {
        refuse!("a tensor's offset, sizes or strides are no natural numbers: the pickle is damaged")
    };
    let (element, class) = match dtype.map(|id| arena.get(id)) {
        Some(Value::Global(name)) => {
            let name = name.strip_prefix("torch.").unwrap_or(name);
            (Element::by_name(name), name)
        }
        Some(_) => refuse!("a tensor has no dtype: the pickle is damaged"),
        None => (storage.element, storage.class.as_str()),
    };
    let Some(element) = element else {
        return Ok(opaque(format!(
            "a tensor of {class}, a type that is not read"
        )));
    };
    let stored = Stored {
        element,
        data: Data::Key(storage.key.clone()),
        offset: storage.first.saturating_add(offset),
        shape,
        stride,
    };
    stored.check()?;
    Ok(Value::Tensor(stored))
}

/// A storage by its persistent id: ("storage", class, key, device, length[, view]).
pub(super) fn persistent(arena: &Arena, id: Id) -> Parse<Value> {
    let Some(&[kind, class, key, _device, len, ref view @ ..]) = arena.items(id) else {
        refuse!("a persistent id is not that of a storage: save again in Python with torch.save")
    };
    let (Some("storage"), Value::Global(class)) = (arena.text(kind), arena.get(class)) else {
        refuse!("a persistent id is not that of a storage: save again in Python with torch.save")
    };
    let (Some(key), Some(_)) = (arena.text(key).filter(|k| k.len() <= 256), arena.size(len)) else {
        refuse!("a storage has no key or length: the pickle is damaged")
    };
    // (key of the view, offset, length)
    let view = view.first().and_then(|&view| arena.items(view));
    let first = match view {
        Some(&[_, first, _]) => arena.size(first),
        _ => Some(0),
    };
    let Some(first) = first else {
        refuse!("a storage's view has no offset: the pickle is damaged")
    };
    let name = class.rsplit('.').next().unwrap_or(class);
    let name = name.strip_suffix("Storage").unwrap_or(name);
    let element = Element::by_name(name);
    let size = match (element, name) {
        (Some(element), _) => Some(element.size()),
        (None, "Untyped" | "QInt8" | "QUInt8" | "QUInt4x2" | "QUInt2x4") => Some(1),
        (None, "QInt32") => Some(4),
        (None, "ComplexFloat") => Some(8),
        (None, "ComplexDouble") => Some(16),
        _ => None,
    };
    Ok(Value::Storage(StorageRef {
        key: key.to_owned(),
        element,
        size,
        class: class.clone(),
        first,
    }))
}

fn numpy_type(code: &str) -> Value {
    let (order, code) = match code.as_bytes().first() {
        Some(b'<' | b'>' | b'|' | b'=') => code.split_at(1),
        _ => ("", code),
    };
    Value::NumpyType(NumpyType {
        code: code.to_owned(),
        big_endian: order == ">",
    })
}

/// A numpy array over bytes.
fn array(arena: &Arena, kind: Id, bytes: Id, shape: Vec<usize>, columns: bool) -> Parse<Value> {
    let Value::NumpyType(kind) = arena.get(kind) else {
        return Ok(opaque("a numpy array of a type that is not read"));
    };
    let Some(element) = Element::by_numpy_code(&kind.code) else {
        return Ok(opaque(format!(
            "a numpy array of {}, a type that is not read",
            kind.code
        )));
    };
    if kind.big_endian && element.size() > 1 {
        refuse!("a numpy array is big-endian; little-endian is read: convert it in Python")
    }
    let data = match arena.get(bytes) {
        Value::Bytes(Blob::Short(bytes)) => Data::Decoded(Arc::from(bytes.as_slice())),
        Value::Bytes(Blob::InFile(span)) => Data::Span(*span),
        Value::Bytes(Blob::AsText(span)) => Data::Text(*span),
        _ => return Ok(opaque("a numpy array of objects")),
    };
    let stride = if columns {
        let reversed: Vec<usize> = shape.iter().rev().copied().collect();
        row_major(&reversed).into_iter().rev().collect()
    } else {
        row_major(&shape)
    };
    let stored = Stored {
        element,
        data,
        offset: 0,
        shape,
        stride,
    };
    stored.check()?;
    Ok(Value::Tensor(stored))
}

/// Gives an object its state. Only those of numpy matter.
pub(super) fn build(arena: &mut Arena, object: Id, state: Id) -> Parse<()> {
    let built = match arena.get(object) {
        // (version, shape, dtype, columns first, bytes)
        Value::EmptyArray => match arena.items(state) {
            Some(&[_, shape, kind, columns, bytes]) => {
                let Some(shape) = arena.sizes(shape) else {
                    refuse!("a numpy array has no shape: the pickle is damaged")
                };
                let columns = matches!(arena.get(columns), Value::Bool(true) | Value::Int(1));
                array(arena, kind, bytes, shape, columns)?
            }
            _ => refuse!("a numpy array has no contents: the pickle is damaged"),
        },
        // (version, byte order, ...)
        Value::NumpyType(kind) => {
            let order = arena.items(state).and_then(|items| items.get(1).copied());
            let order = order.and_then(|id| arena.text(id));
            Value::NumpyType(NumpyType {
                code: kind.code.clone(),
                big_endian: order.map_or(kind.big_endian, |order| order == ">"),
            })
        }
        _ => return Ok(()),
    };
    if let Some(object) = arena.get_mut(object) {
        *object = built;
    }
    Ok(())
}
