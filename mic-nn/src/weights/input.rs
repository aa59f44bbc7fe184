//! Bytes of a file by position, without ever trusting a declared size.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::error::{Error, Parse, Result, refuse};

/// A file (or its bytes in memory) that is read piece by piece.
///
/// Not a memory map: a file that shrinks while it is mapped kills the process.
pub(super) struct Input {
    path: PathBuf,
    bytes: Bytes,
    len: u64,
}

enum Bytes {
    File(Mutex<File>),
    Memory(Vec<u8>),
}

/// A piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) len: u64,
}

impl Input {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let failed = |source| Error::Io {
            path: path.to_owned(),
            doing: "read",
            source,
        };
        let file = File::open(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => Error::File {
                path: path.to_owned(),
                reason: "there is no such file".into(),
            },
            _ => failed(source),
        })?;
        let about = file.metadata().map_err(failed)?;
        if about.is_dir() {
            return Err(failed(io::Error::other("it is a folder, not a file")));
        }
        Ok(Self {
            path: path.to_owned(),
            bytes: Bytes::File(Mutex::new(file)),
            len: about.len(),
        })
    }

    pub(super) fn in_memory(name: &Path, bytes: Vec<u8>) -> Self {
        Self {
            path: name.to_owned(),
            len: bytes.len() as u64,
            bytes: Bytes::Memory(bytes),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The bytes of `span`. Refused before anything is allocated if the file is shorter.
    pub(super) fn read(&self, span: Span) -> Parse<Vec<u8>> {
        let end = span.start.checked_add(span.len);
        if end.is_none_or(|end| end > self.len) {
            refuse!(
                "{} bytes are declared at position {}, but the file has {} in all: it is truncated \
                 or damaged; download it again",
                span.len,
                span.start,
                self.len
            )
        }
        let mut piece = vec![0; usize::try_from(span.len).unwrap_or(usize::MAX)];
        self.fill(span.start, &mut piece)?;
        Ok(piece)
    }

    fn fill(&self, start: u64, piece: &mut [u8]) -> io::Result<()> {
        match &self.bytes {
            Bytes::File(file) => {
                let mut file = file.lock();
                file.seek(SeekFrom::Start(start))?;
                file.read_exact(piece)
            }
            Bytes::Memory(bytes) => {
                let start = usize::try_from(start).unwrap_or(usize::MAX);
                let whole = bytes.get(start..).and_then(|rest| rest.get(..piece.len()));
                match whole {
                    Some(whole) => piece.copy_from_slice(whole),
                    None => return Err(io::ErrorKind::UnexpectedEof.into()),
                }
                Ok(())
            }
        }
    }

    /// Up to `count` bytes from the start.
    pub(super) fn head(&self, count: u64) -> Parse<Vec<u8>> {
        self.read(Span {
            start: 0,
            len: count.min(self.len),
        })
    }

    /// A reader from `span.start` to the end of `span`, or of the file.
    pub(super) fn stream(&self, span: Span) -> Stream<'_> {
        Stream {
            input: self,
            at: span.start,
            end: span.start.saturating_add(span.len).min(self.len),
            block: Vec::new(),
            used: 0,
        }
    }
}

/// Bytes are fetched in blocks of this size.
const BLOCK: u64 = 1 << 16;

/// A buffered reader over part of an [`Input`].
pub(super) struct Stream<'a> {
    input: &'a Input,
    /// Position of the first byte after `block`.
    at: u64,
    end: u64,
    block: Vec<u8>,
    used: usize,
}

impl Stream<'_> {
    /// Position in the file of the next byte.
    pub(super) fn position(&self) -> u64 {
        self.at - (self.block.len() - self.used) as u64
    }

    pub(super) fn remaining(&self) -> u64 {
        self.end.saturating_sub(self.position())
    }

    pub(super) fn byte(&mut self) -> Parse<u8> {
        if self.used == self.block.len() {
            let len = BLOCK.min(self.end.saturating_sub(self.at));
            if len == 0 {
                refuse!(
                    "it ends at position {} in the middle of a value: it is truncated; download \
                     it again",
                    self.end
                )
            }
            self.block = self.input.read(Span {
                start: self.at,
                len,
            })?;
            self.at += len;
            self.used = 0;
        }
        self.used += 1;
        Ok(self.block[self.used - 1])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Parse<[u8; N]> {
        let mut bytes = [0; N];
        for byte in &mut bytes {
            *byte = self.byte()?;
        }
        Ok(bytes)
    }

    /// Passes over `len` bytes and says where they are.
    pub(super) fn skip(&mut self, len: u64) -> Parse<Span> {
        let start = self.position();
        if len > self.remaining() {
            refuse!(
                "{len} bytes are declared at position {start}, where {} remain: it is truncated \
                 or damaged; download it again",
                self.remaining()
            )
        }
        let buffered = (self.block.len() - self.used) as u64;
        if len <= buffered {
            self.used += len as usize;
        } else {
            self.block.clear();
            self.used = 0;
            self.at = start + len;
        }
        Ok(Span { start, len })
    }

    pub(super) fn take(&mut self, len: u64) -> Parse<Vec<u8>> {
        if len <= 64 && len <= self.remaining() {
            return (0..len).map(|_| self.byte()).collect();
        }
        let span = self.skip(len)?;
        self.input.read(span)
    }

    /// The bytes up to a line feed, which is passed over.
    pub(super) fn line(&mut self) -> Parse<Vec<u8>> {
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => return Ok(line),
                byte => line.push(byte),
            }
        }
    }
}

/// For readers of archives.
pub(super) struct Seeker<'a> {
    input: &'a Input,
    at: u64,
}

impl<'a> Seeker<'a> {
    pub(super) fn new(input: &'a Input) -> Self {
        Self { input, at: 0 }
    }
}

impl Read for Seeker<'_> {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        let left = self.input.len.saturating_sub(self.at);
        let count = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.input.fill(self.at, &mut piece[..count])?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Seeker<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(delta) => self.input.len.checked_add_signed(delta),
            SeekFrom::Current(delta) => self.at.checked_add_signed(delta),
        };
        self.at = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
