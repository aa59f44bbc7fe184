//! Buffers and arguments of emulated kernels.

use std::cell::UnsafeCell;

/// Bytes before and after every buffer that must not change.
const GUARD: usize = 64;
const PATTERN: u8 = 0xa5;

/// Memory of the emulated device.
pub(crate) struct Buffer {
    words: UnsafeCell<Vec<u64>>,
    len: usize,
}

impl Buffer {
    /// `len` bytes that hold no number: all bits are set, which is NaN in every float.
    pub(crate) fn unset(len: usize) -> Self {
        let mut words = vec![u64::MAX; (len + 2 * GUARD).div_ceil(8)];
        let bytes = as_bytes(&mut words);
        bytes[..GUARD].fill(PATTERN);
        bytes[GUARD + len..].fill(PATTERN);
        Self {
            words: UnsafeCell::new(words),
            len,
        }
    }

    fn of(bytes: &[u8]) -> Self {
        let buffer = Self::unset(bytes.len());
        buffer.restore(bytes);
        buffer
    }

    pub(crate) fn floats(values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::of(&bytes)
    }

    pub(crate) fn doubles(values: &[f64]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::of(&bytes)
    }

    pub(crate) fn ints(values: &[i32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::of(&bytes)
    }

    pub(crate) fn longs(values: &[i64]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::of(&bytes)
    }

    pub(crate) fn halves(values: &[u16]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self::of(&bytes)
    }

    pub(crate) fn bytes(values: &[u8]) -> Self {
        Self::of(values)
    }

    /// Room for `count` F32, unset.
    pub(crate) fn room(count: usize) -> Self {
        Self::unset(4 * count)
    }

    #[allow(clippy::mut_from_ref)] // one test, one thread, and one borrow at a time
    fn words(&self) -> &mut Vec<u64> {
        // SAFETY: buffers do not leave their test's thread, and no borrow outlives a method here.
        unsafe { &mut *self.words.get() }
    }

    /// The content.
    pub(crate) fn content(&self) -> Vec<u8> {
        as_bytes(self.words())[GUARD..GUARD + self.len].to_vec()
    }

    /// Puts a content back.
    pub(crate) fn restore(&self, content: &[u8]) {
        as_bytes(self.words())[GUARD..GUARD + self.len].copy_from_slice(content);
    }

    /// Whether the bytes around the content are as they were.
    pub(crate) fn guarded(&self) -> bool {
        let bytes = as_bytes(self.words());
        let (before, after) = (&bytes[..GUARD], &bytes[GUARD + self.len..]);
        before.iter().chain(after).all(|&b| b == PATTERN)
    }

    /// The address that kernels get.
    pub(crate) fn address(&self) -> u64 {
        as_bytes(self.words())[GUARD..].as_mut_ptr() as u64
    }

    pub(crate) fn read_floats(&self) -> Vec<f32> {
        let read = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap());
        self.content().chunks_exact(4).map(read).collect()
    }

    pub(crate) fn read_doubles(&self) -> Vec<f64> {
        let read = |b: &[u8]| f64::from_le_bytes(b.try_into().unwrap());
        self.content().chunks_exact(8).map(read).collect()
    }

    pub(crate) fn read_longs(&self) -> Vec<i64> {
        let read = |b: &[u8]| i64::from_le_bytes(b.try_into().unwrap());
        self.content().chunks_exact(8).map(read).collect()
    }

    pub(crate) fn read_halves(&self) -> Vec<u16> {
        let read = |b: &[u8]| u16::from_le_bytes(b.try_into().unwrap());
        self.content().chunks_exact(2).map(read).collect()
    }
}

fn as_bytes(words: &mut [u64]) -> &mut [u8] {
    // SAFETY: every byte of a word may be seen as a byte.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), 8 * words.len()) }
}

/// What a kernel takes.
pub(crate) trait Argument {
    /// The value, as it lies in memory.
    fn value(&self) -> Vec<u8>;
    /// The buffers that the kernel reaches through it.
    fn buffers(&self) -> Vec<&Buffer> {
        Vec::new()
    }
}

impl Argument for Buffer {
    fn value(&self) -> Vec<u8> {
        self.address().to_le_bytes().to_vec()
    }
    fn buffers(&self) -> Vec<&Buffer> {
        vec![self]
    }
}

/// A pointer that may be null.
impl Argument for Option<&Buffer> {
    fn value(&self) -> Vec<u8> {
        let address = self.map_or(0, Buffer::address);
        address.to_le_bytes().to_vec()
    }
    fn buffers(&self) -> Vec<&Buffer> {
        self.iter().copied().collect()
    }
}

impl Argument for i32 {
    fn value(&self) -> Vec<u8> {
        self.to_le_bytes().to_vec()
    }
}

impl Argument for i64 {
    fn value(&self) -> Vec<u8> {
        self.to_le_bytes().to_vec()
    }
}

impl Argument for f32 {
    fn value(&self) -> Vec<u8> {
        self.to_le_bytes().to_vec()
    }
}

impl Argument for f64 {
    fn value(&self) -> Vec<u8> {
        self.to_le_bytes().to_vec()
    }
}

/// A structure, member by member, with C's alignment.
#[derive(Default)]
pub(crate) struct Struct<'a> {
    bytes: Vec<u8>,
    align: usize,
    buffers: Vec<&'a Buffer>,
}

impl<'a> Struct<'a> {
    pub(crate) fn of_ints(values: &[usize]) -> Self {
        values.iter().fold(Self::default(), |s, &v| s.int(v as i32))
    }

    fn push(mut self, member: &[u8]) -> Self {
        self.align = self.align.max(member.len());
        let padded = self.bytes.len().next_multiple_of(member.len());
        self.bytes.resize(padded, 0);
        self.bytes.extend(member);
        self
    }

    pub(crate) fn int(self, value: i32) -> Self {
        self.push(&value.to_le_bytes())
    }

    pub(crate) fn long(self, value: i64) -> Self {
        self.push(&value.to_le_bytes())
    }

    pub(crate) fn float(self, value: f32) -> Self {
        self.push(&value.to_le_bytes())
    }

    pub(crate) fn pointer(mut self, buffer: Option<&'a Buffer>) -> Self {
        self.buffers.extend(buffer);
        let address = buffer.map_or(0, Buffer::address);
        self.push(&address.to_le_bytes())
    }
}

impl Argument for Struct<'_> {
    fn value(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.resize(bytes.len().next_multiple_of(self.align), 0);
        bytes
    }
    fn buffers(&self) -> Vec<&Buffer> {
        self.buffers.clone()
    }
}

/// A table of the addresses of several buffers.
pub(crate) struct Table<'a> {
    table: Buffer,
    buffers: &'a [Buffer],
}

impl<'a> Table<'a> {
    pub(crate) fn new(buffers: &'a [Buffer]) -> Self {
        let addresses: Vec<i64> = buffers.iter().map(|b| b.address() as i64).collect();
        Self {
            table: Buffer::longs(&addresses),
            buffers,
        }
    }
}

impl Argument for Table<'_> {
    fn value(&self) -> Vec<u8> {
        self.table.value()
    }
    fn buffers(&self) -> Vec<&Buffer> {
        self.buffers.iter().chain([&self.table]).collect()
    }
}
