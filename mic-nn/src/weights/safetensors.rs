//! Headers of safetensors files (the format's description: the crate `safetensors`).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;

use super::element::Element;
use super::error::{Parse, Reason, refuse};
use super::input::{Input, Span};
use super::stored::{Data, Stored, row_major};

/// Longer headers are refused, as in the reference implementation.
const MAX_HEADER: u64 = 100_000_000;

/// What a header says.
pub(super) struct Header {
    /// In the order of the data.
    pub(super) tensors: Vec<(String, Stored)>,
    /// Names of tensors whose type is not read, with the type.
    pub(super) skipped: Vec<(String, String)>,
    pub(super) metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// Reads and checks a header.
pub(super) fn read(input: &Input) -> Parse<Header> {
    let head = input.head(8)?;
    let declared: [u8; 8] = match head.try_into() {
        Ok(bytes) => bytes,
        Err(_) => refuse!("it has fewer than 8 bytes: it is truncated; download it again"),
    };
    let len = u64::from_le_bytes(declared);
    if len > MAX_HEADER || len > input.len() - 8 {
        refuse!(
            "its safetensors header should have {len} bytes, but the file has {} in all (and at \
             most {MAX_HEADER} are read): it is truncated or damaged; download it again",
            input.len()
        )
    }
    let text = input.read(Span { start: 8, len })?;
    let entries: serde_json::Map<String, Json> = serde_json::from_slice(&text)
        .map_err(|error| Reason(format!("its safetensors header is damaged ({error})")))?;
    let start = 8 + len;
    let data = input.len() - start;
    let mut header = Header {
        tensors: Vec::new(),
        skipped: Vec::new(),
        metadata: BTreeMap::new(),
    };
    let mut ranges = Vec::new();
    for (name, entry) in entries {
        if name == "__metadata__" {
            header.metadata = serde_json::from_value(entry)
                .map_err(|error| Reason(format!("its metadata are no texts ({error})")))?;
            continue;
        }
        let entry: Entry = serde_json::from_value(entry).map_err(|error| {
            Reason(format!(
                "tensor {name}: its header entry is damaged ({error})"
            ))
        })?;
        let (from, to) = entry.data_offsets;
        if from > to || to > data {
            refuse!(
                "tensor {name} should be at bytes {from} to {to} of the data, which have {data}: \
                 the file is truncated or damaged; download it again"
            )
        }
        ranges.push((from, to, name.clone()));
        let Some(element) = Element::by_name(&entry.dtype) else {
            let what = format!("a tensor of {}, a type that is not read", entry.dtype);
            header.skipped.push((name, what));
            continue;
        };
        let stored = Stored {
            element,
            data: Data::Span(Span {
                start: start + from,
                len: to - from,
            }),
            offset: 0,
            stride: row_major(&entry.shape),
            shape: entry.shape,
        };
        stored
            .check()
            .map_err(|reason| reason.within(format!("tensor {name}")))?;
        let expected = stored.count() as u64 * element.size() as u64;
        if expected != to - from {
            refuse!(
                "tensor {name}: shape {:?} of {} takes {expected} bytes, its entry says {}",
                stored.shape,
                entry.dtype,
                to - from
            )
        }
        header.tensors.push((name, stored));
    }
    ranges.sort();
    for pair in ranges.windows(2) {
        if pair[1].0 < pair[0].1 {
            refuse!(
                "tensors {} and {} overlap: the header is damaged",
                pair[0].2,
                pair[1].2
            )
        }
    }
    header
        .tensors
        .sort_by_key(|(_, stored)| match &stored.data {
            Data::Span(span) => span.start,
            _ => 0,
        });
    Ok(header)
}
