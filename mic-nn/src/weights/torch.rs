//! The two containers of `torch.save`: a zip archive (since PyTorch 1.6), and before that pickles
//! and storages one after the other.

use std::borrow::Cow;
use std::collections::HashMap;

use zip::{CompressionMethod, ZipArchive};

use super::error::{Parse, Reason, refuse};
use super::input::{Input, Seeker, Span, Stream};
use super::pickle::{self, Pickle};
use super::stored::{Place, checksum};
use super::value::Value;

/// A pickle with the places of its storages.
pub(super) struct Scanned {
    pub(super) pickle: Pickle,
    pub(super) places: HashMap<String, Place>,
}

/// Reads the directory and the pickle of a zip archive: `<any>/data.pkl`, `<any>/data/<key>`.
pub(super) fn read_zip(input: &Input) -> Parse<Scanned> {
    let damaged = |error: zip::result::ZipError| {
        Reason(format!(
            "it begins like a PyTorch file (a zip archive), but its directory cannot be read \
             ({error}): it is truncated or damaged; download it again"
        ))
    };
    let mut archive = ZipArchive::new(Seeker::new(input)).map_err(damaged)?;
    let names = archive.file_names().map(|name| name.map(Cow::into_owned));
    let names: Vec<String> = names.collect::<Result<_, _>>().map_err(damaged)?;
    let Some(pickle_name) = names
        .iter()
        .find(|n| *n == "data.pkl" || n.ends_with("/data.pkl"))
    else {
        refuse!("{}", foreign_archive(&names))
    };
    let folder = pickle_name.strip_suffix("data.pkl").unwrap_or_default();
    if names.iter().any(|n| *n == format!("{folder}constants.pkl")) {
        refuse!(
            "it is a TorchScript program, not a state dictionary; in Python: \
             torch.save(torch.jit.load(\"file\").state_dict(), \"weights.pth\")"
        )
    }
    let (mut places, mut structure) = (HashMap::new(), None);
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(damaged)?;
        let full = entry.name().map_err(damaged)?;
        let Some(name) = full.strip_prefix(folder) else {
            continue;
        };
        let key = name.strip_prefix("data/");
        if key.is_none() && name != "data.pkl" && name != "byteorder" {
            continue;
        }
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            refuse!(
                "entry {name} is compressed or encrypted, which torch.save never does; unpack the \
                 archive and pack it again without compression"
            )
        }
        let place = Place {
            span: Span {
                start: entry.data_start().unwrap_or(u64::MAX),
                len: entry.size(),
            },
            // With torch.serialization.set_crc32_options(False) all check sums are 0.
            crc: Some(entry.crc32()).filter(|&crc| crc != 0),
        };
        match key {
            Some(key) => {
                places.insert(key.to_owned(), place);
            }
            None if name == "data.pkl" => structure = Some(place),
            None => {
                let order = input.read(Span {
                    len: place.span.len.min(16),
                    ..place.span
                })?;
                refuse_big_endian(order == b"big")?;
            }
        }
    }
    let Some(structure) = structure else {
        refuse!("its pickle cannot be found: the archive is damaged")
    };
    let end = structure.span.start.checked_add(structure.span.len);
    if end.is_none_or(|end| end > input.len()) {
        refuse!("its pickle reaches behind the end of the file: it is truncated")
    }
    if let Some(expected) = structure.crc
        && checksum(input, structure.span)? != expected
    {
        refuse!("the check sum of its pickle is wrong: the file is damaged; download it again")
    }
    let pickle = pickle::read(&mut input.stream(structure.span))?;
    Ok(Scanned { pickle, places })
}

fn foreign_archive(names: &[String]) -> String {
    let ends = |suffix: &str| names.iter().any(|n| n.ends_with(suffix));
    let what = if ends(".npy") {
        "a numpy .npz archive"
    } else if ends(".json") && ends(".weights.h5") {
        "a Keras model"
    } else {
        "a zip archive"
    };
    let first: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
    format!(
        "it is {what} without data.pkl (it has {}), not a PyTorch file; if the weights are inside, \
         unpack it first",
        first.join(", ")
    )
}

fn refuse_big_endian(big: bool) -> Parse<()> {
    if big {
        refuse!(
            "it was written on a big-endian machine; little-endian files are read: load and save \
             it again in Python on this machine"
        )
    }
    Ok(())
}

/// First value of a file before PyTorch 1.6.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
/// Its second value.
const PROTOCOL: i128 = 1001;

/// Reads a bare pickle, or the format before PyTorch 1.6: magic number, protocol, system, pickle,
/// keys of the storages as pickles, then the storages with their lengths.
pub(super) fn read_stream(input: &Input) -> Parse<Scanned> {
    let mut stream = input.stream(Span {
        start: 0,
        len: input.len(),
    });
    let first = pickle::read(&mut stream)?;
    if !matches!(first.arena.get(first.root), Value::Int(MAGIC)) {
        return Ok(Scanned {
            pickle: first,
            places: HashMap::new(),
        });
    }
    let protocol = pickle::read(&mut stream)?;
    if !matches!(protocol.arena.get(protocol.root), Value::Int(PROTOCOL)) {
        refuse!(
            "its protocol is {}; {PROTOCOL} is read: save it again in Python with torch.save",
            protocol.arena.describe(protocol.root)
        )
    }
    let system = pickle::read(&mut stream)?;
    let little = system.arena.pairs(system.root).unwrap_or_default();
    let little = little
        .iter()
        .find(|(key, _)| system.arena.text(*key) == Some("little_endian"))
        .map(|(_, value)| system.arena.get(*value));
    refuse_big_endian(matches!(little, Some(Value::Bool(false))))?;
    let pickle = pickle::read(&mut stream)?;
    let places = storages(&mut stream, &pickle)?;
    Ok(Scanned { pickle, places })
}

fn storages(stream: &mut Stream, pickle: &Pickle) -> Parse<HashMap<String, Place>> {
    let keys = pickle::read(stream)?;
    let Some(items) = keys.arena.items(keys.root) else {
        refuse!("the list of its storages is missing: the file is damaged")
    };
    let sizes = pickle.arena.element_sizes();
    let mut places = HashMap::new();
    for &item in items {
        let Some(key) = keys.arena.text(item) else {
            refuse!("a storage has no key: the file is damaged")
        };
        let elements = u64::from_le_bytes(stream.array()?);
        let Some(&size) = sizes.get(key) else {
            refuse!("storage {key:?} has no element type: the file is damaged")
        };
        let span = elements
            .checked_mul(size as u64)
            .ok_or_else(|| Reason("a storage's length is impossible: the file is damaged".into()))
            .and_then(|len| stream.skip(len))
            .map_err(|reason| reason.within(format!("storage {key:?}")))?;
        places.insert(key.to_owned(), Place { span, crc: None });
    }
    Ok(places)
}
