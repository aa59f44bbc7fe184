//! Tensors where they lie in a file.

use std::collections::{HashMap, HashSet};

use candle_core::Tensor;
use parking_lot::Mutex;

use super::element::Element;
use super::error::{Parse, Reason, refuse};
use super::input::{Input, Span};

/// A tensor that has not been read yet: a strided view of a storage.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) element: Element,
    pub(super) data: Data,
    /// Elements from the start of the storage to the first of the tensor.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    /// In elements.
    pub(super) stride: Vec<usize>,
}

/// Where a storage's bytes are.
#[derive(Clone, Debug)]
pub(super) enum Data {
    /// Of a torch file, by its key; the place is known once the whole file has been scanned.
    Key(String),
    /// In the file as they are.
    Span(Span),
    /// In the file as UTF-8 text whose characters are the bytes. (Python 3 writes byte strings
    /// so below protocol 3.)
    Text(Span),
    /// Written with escapes, hence already decoded.
    Decoded(std::sync::Arc<[u8]>),
}

/// Where a torch storage is in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) span: Span,
    /// The recorded check sum. `torch.save` can be told to leave it out.
    pub(super) crc: Option<u32>,
}

/// A file with the places of its storages.
pub(super) struct Source {
    pub(super) input: Input,
    pub(super) places: HashMap<String, Place>,
    /// Keys of storages whose check sum has been found right.
    checked: Mutex<HashSet<String>>,
}

/// Strides of a tensor in row-major order.
pub(super) fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut stride = vec![1usize; shape.len()];
    for i in (1..shape.len()).rev() {
        stride[i - 1] = stride[i].saturating_mul(shape[i].max(1));
    }
    stride
}

/// More dimensions than any tensor of a checkpoint has.
const MAX_RANK: usize = 32;

impl Stored {
    /// Number of elements.
    pub(super) fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Number of bytes in memory.
    pub(super) fn bytes(&self) -> u64 {
        (self.count() as u64).saturating_mul(self.element.dtype().size_in_bytes() as u64)
    }

    /// Refuses sizes that no memory can hold.
    pub(super) fn check(&self) -> Parse<()> {
        if self.shape.len() != self.stride.len() || self.shape.len() > MAX_RANK {
            refuse!(
                "a tensor has {} sizes and {} strides; expected the same number, at most {MAX_RANK}",
                self.shape.len(),
                self.stride.len()
            )
        }
        let mut count = 8usize;
        for &size in &self.shape {
            let grown = count.checked_mul(size.max(1));
            match grown.filter(|&n| n <= isize::MAX as usize) {
                Some(grown) => count = grown,
                None => refuse!("a tensor of shape {:?} does not fit any memory", self.shape),
            }
        }
        self.extent().map(|_| ())
    }

    /// Elements from the start of the storage to behind the last of the tensor.
    fn extent(&self) -> Parse<usize> {
        if self.count() == 0 {
            return Ok(self.offset);
        }
        let last = self
            .shape
            .iter()
            .zip(&self.stride)
            .try_fold(self.offset, |sum, (&size, &stride)| {
                sum.checked_add((size - 1).checked_mul(stride)?)
            });
        match last.and_then(|last| last.checked_add(1)) {
            Some(end) => Ok(end),
            None => refuse!(
                "offset {}, shape {:?} and strides {:?} lie outside any storage",
                self.offset,
                self.shape,
                self.stride
            ),
        }
    }

    /// Reads the tensor.
    pub(super) fn read(&self, source: &Source) -> Parse<Tensor> {
        if self.count() == 0 {
            return self.element.tensor(&[], &self.shape);
        }
        let size = self.element.size();
        let bytes = |elements: usize| (elements as u64).saturating_mul(size as u64);
        let (first, end) = (bytes(self.offset), bytes(self.extent()?));
        let storage = match &self.data {
            Data::Key(key) => source.place(key)?.span,
            Data::Span(span) => *span,
            Data::Text(span) => {
                let text = source.input.read(*span)?;
                return self.gather(part(&latin1(&text)?, first, end)?);
            }
            Data::Decoded(bytes) => return self.gather(part(bytes, first, end)?),
        };
        if end > storage.len {
            refuse!(
                "shape {:?} needs {end} bytes of its storage, which has {}: the file is damaged",
                self.shape,
                storage.len
            )
        }
        let piece = source.input.read(Span {
            start: storage.start + first,
            len: end - first,
        })?;
        if let Data::Key(key) = &self.data {
            source.check(key, (end - first == storage.len).then_some(&piece))?;
        }
        self.gather(&piece)
    }

    /// The tensor from the bytes that it spans, its first element first.
    fn gather(&self, bytes: &[u8]) -> Parse<Tensor> {
        // The stride of a dimension of size 1 says nothing.
        let ordered = row_major(&self.shape);
        let differs = |i: usize| self.shape[i] > 1 && self.stride[i] != ordered[i];
        if !(0..self.shape.len()).any(differs) {
            return self.element.tensor(bytes, &self.shape);
        }
        let size = self.element.size();
        let mut ordered = Vec::with_capacity(self.count() * size);
        let mut index = vec![0; self.shape.len()];
        let mut at = 0;
        loop {
            ordered.extend_from_slice(&bytes[at * size..(at + 1) * size]);
            let mut axis = self.shape.len();
            loop {
                if axis == 0 {
                    return self.element.tensor(&ordered, &self.shape);
                }
                axis -= 1;
                index[axis] += 1;
                at += self.stride[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                at -= index[axis] * self.stride[axis];
                index[axis] = 0;
            }
        }
    }
}

fn part(bytes: &[u8], first: u64, end: u64) -> Parse<&[u8]> {
    match bytes.get(first as usize..end as usize) {
        Some(part) => Ok(part),
        None => refuse!(
            "an array needs {end} bytes, but {} are recorded: the file is damaged",
            bytes.len()
        ),
    }
}

/// The bytes that UTF-8 text stands for, one a character.
pub(super) fn latin1(text: &[u8]) -> Parse<Vec<u8>> {
    let foreign = || Reason("text that stands for bytes has characters above 255".into());
    let text = std::str::from_utf8(text).map_err(|_| foreign())?;
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).map_err(|_| foreign()))
        .collect()
}

impl Source {
    pub(super) fn new(input: Input, places: HashMap<String, Place>) -> Self {
        Self {
            input,
            places,
            checked: Mutex::default(),
        }
    }

    fn place(&self, key: &str) -> Parse<Place> {
        match self.places.get(key) {
            Some(place) => Ok(*place),
            None => refuse!("storage {key:?} is not in the file: it is truncated or damaged"),
        }
    }

    /// Compares the check sum of a storage at its first use; `whole` are its bytes, if at hand.
    fn check(&self, key: &str, whole: Option<&Vec<u8>>) -> Parse<()> {
        let place = self.place(key)?;
        let Some(expected) = place.crc else {
            return Ok(());
        };
        if self.checked.lock().contains(key) {
            return Ok(());
        }
        let found = match whole {
            Some(bytes) => crc32fast::hash(bytes),
            None => checksum(&self.input, place.span)?,
        };
        if found != expected {
            refuse!(
                "storage {key:?} has check sum {found:08x}, recorded is {expected:08x}: the file \
                 is damaged; download it again"
            )
        }
        self.checked.lock().insert(key.to_owned());
        Ok(())
    }
}

/// CRC-32 of a part of a file, read in pieces.
pub(super) fn checksum(input: &Input, span: Span) -> Parse<u32> {
    const PIECE: u64 = 1 << 20;
    let mut hasher = crc32fast::Hasher::new();
    let mut done = 0;
    while done < span.len {
        let len = PIECE.min(span.len - done);
        hasher.update(&input.read(Span {
            start: span.start + done,
            len,
        })?);
        done += len;
    }
    Ok(hasher.finalize())
}
