//! The ring of connections and what goes around it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::rendezvous::Links;
use super::wire::{Call, Header, Number, lost};
use crate::{Error, Result};

/// Bytes that are written, read and added at a time.
const SEGMENT: usize = 256 << 10;
/// Segments that may wait to be written. Every rank reads a segment for each one that it writes,
/// so that no more than one a rank are under way on average: the ring cannot block itself.
const WAITING: usize = 16;

pub(super) struct Ring {
    rank: usize,
    world_size: usize,
    silent: Duration,
    last: TcpStream,
    outbox: Outbox,
    /// Number of the next call.
    call: u64,
    scratch: Vec<u8>,
    failed: bool,
}

impl Ring {
    pub(super) fn new(
        links: Links,
        rank: usize,
        world_size: usize,
        silent: Duration,
    ) -> Result<Self> {
        let failed = |error| Error::Run(format!("cannot set up a connection: {error}"));
        let Links { next, last } = links;
        next.set_nodelay(true).map_err(failed)?;
        next.set_write_timeout(Some(silent)).map_err(failed)?;
        last.set_read_timeout(Some(silent)).map_err(failed)?;
        Ok(Self {
            rank,
            world_size,
            silent,
            last,
            outbox: Outbox::new(next).map_err(failed)?,
            call: 0,
            scratch: vec![0; SEGMENT],
            failed: false,
        })
    }

    /// The rank `steps` before this one.
    fn before(&self, steps: usize) -> usize {
        (self.rank + 2 * self.world_size - steps) % self.world_size
    }

    /// Runs one call; after an error the connections are closed, so that the others notice.
    fn call<T>(&mut self, f: impl FnOnce(&mut Self, u64) -> Result<T>) -> Result<T> {
        if self.failed {
            return Err(Error::Run(
                "the processes have lost each other in an earlier call".to_owned(),
            ));
        }
        let number = self.call;
        self.call += 1;
        let result = f(self, number);
        if result.is_err() {
            self.failed = true;
            self.outbox.close();
            // It may be closed already.
            let _ = self.last.shutdown(Shutdown::Both);
        }
        result
    }

    pub(super) fn all_reduce<T: Number>(&mut self, values: &mut [T]) -> Result<()> {
        let ranks = self.world_size;
        // Rounded down at both ends, so that the pieces cover all values.
        let length = values.len() as u128;
        let bound = move |i: usize| (length * i as u128 / ranks as u128) as usize;
        let piece = move |i: usize| bound(i)..bound(i + 1);
        self.call(|ring, number| {
            for step in 0..ranks - 1 {
                let (out, into) = (piece(ring.before(step)), piece(ring.before(step + 1)));
                ring.exchange(number, values, out, into, |sum, value| *sum += value)?;
            }
            for step in 0..ranks - 1 {
                let out = piece((ring.before(step) + 1) % ranks);
                let into = piece(ring.before(step));
                ring.exchange(number, values, out, into, |old, value| *old = value)?;
            }
            Ok(())
        })
    }

    /// Sends the piece `out` to the next rank and puts the last rank's into `into`.
    fn exchange<T: Number>(
        &mut self,
        number: u64,
        values: &mut [T],
        out: Range<usize>,
        into: Range<usize>,
        with: impl Fn(&mut T, T) + Copy,
    ) -> Result<()> {
        let each = SEGMENT / T::SIZE;
        let mut sent = Segments { rest: out, each };
        let mut received = Segments { rest: into, each };
        let mut message = Vec::new();
        Header::new(T::CALL, number, sent.rest.len() * T::SIZE).write(&mut message);
        let wanted = Header::new(T::CALL, number, received.rest.len() * T::SIZE);
        let mut first = true;
        loop {
            let (out, into) = (sent.next(), received.next());
            if let Some(out) = &out {
                T::encode(&values[out.clone()], &mut message);
            }
            if !message.is_empty() {
                self.send(std::mem::take(&mut message))?;
            }
            if first {
                self.header()?.expect(wanted, self.before(1), true)?;
            }
            if let Some(into) = &into {
                let bytes = self.read(into.len() * T::SIZE)?;
                T::decode(bytes, with, &mut values[into.clone()]);
            }
            if out.is_none() && into.is_none() {
                return Ok(());
            }
            first = false;
        }
    }

    pub(super) fn broadcast(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        let forward = self.rank + 1 < self.world_size;
        let first = self.rank == 0;
        self.call(|ring, number| {
            let header = match first {
                true => Header::new(Call::Broadcast, number, bytes.len()),
                false => {
                    let wanted = Header::new(Call::Broadcast, number, 0);
                    let header = ring.header()?;
                    header.expect(wanted, ring.before(1), false)?;
                    bytes.clear();
                    header
                }
            };
            let mut message = Vec::new();
            header.write(&mut message);
            if forward {
                ring.send(message)?;
            }
            let mut done = 0;
            while done < header.bytes {
                let size = (header.bytes - done).min(SEGMENT as u64) as usize;
                if !first {
                    let segment = ring.read(size)?;
                    bytes.extend_from_slice(segment);
                }
                if forward {
                    let start = done as usize;
                    ring.send(bytes[start..start + size].to_vec())?;
                }
                done += size as u64;
            }
            Ok(())
        })
    }

    pub(super) fn all_gather(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.call(|ring, number| {
            let mut all = vec![Vec::new(); ring.world_size];
            all[ring.rank] = bytes.to_vec();
            for step in 1..ring.world_size {
                let passed = &all[ring.before(step - 1)];
                let mut message = Vec::new();
                Header::new(Call::Gather, number, passed.len()).write(&mut message);
                message.extend_from_slice(passed);
                ring.send(message)?;
                let header = ring.header()?;
                header.expect(Header::new(Call::Gather, number, 0), ring.before(1), false)?;
                let mut value = Vec::new();
                while (value.len() as u64) < header.bytes {
                    let size = (header.bytes - value.len() as u64).min(SEGMENT as u64);
                    value.extend_from_slice(ring.read(size as usize)?);
                }
                all[ring.before(step)] = value;
            }
            Ok(all)
        })
    }

    fn send(&mut self, message: Vec<u8>) -> Result<()> {
        let next = (self.rank + 1) % self.world_size;
        let sent = self.outbox.send(message);
        sent.map_err(|error| lost(next, self.silent, &error))
    }

    fn header(&mut self) -> Result<Header> {
        let mut bytes = [0; Header::SIZE];
        let read = self.last.read_exact(&mut bytes);
        read.map_err(|error| lost(self.before(1), self.silent, &error))?;
        Ok(Header::read(bytes))
    }

    /// The next `size` bytes, of at most a segment.
    fn read(&mut self, size: usize) -> Result<&[u8]> {
        let rank = self.before(1);
        let read = self.last.read_exact(&mut self.scratch[..size]);
        read.map_err(|error| lost(rank, self.silent, &error))?;
        Ok(&self.scratch[..size])
    }
}

/// Successive parts of a range.
struct Segments {
    rest: Range<usize>,
    each: usize,
}

impl Segments {
    fn next(&mut self) -> Option<Range<usize>> {
        let Range { start, end } = self.rest;
        let stop = end.min(start + self.each);
        self.rest.start = stop;
        (start < stop).then_some(start..stop)
    }
}

/// Writes on a thread of its own: all ranks write at once, and none would read meanwhile.
struct Outbox {
    stream: TcpStream,
    queue: Option<SyncSender<Vec<u8>>>,
    writer: Option<JoinHandle<std::io::Result<()>>>,
}

impl Outbox {
    fn new(stream: TcpStream) -> std::io::Result<Self> {
        let (queue, messages) = sync_channel::<Vec<u8>>(WAITING);
        let mut to = stream.try_clone()?;
        let write = move || {
            messages
                .iter()
                .try_for_each(|message| to.write_all(&message))
        };
        let thread = std::thread::Builder::new().name("ring".to_owned());
        Ok(Self {
            stream,
            queue: Some(queue),
            writer: Some(thread.spawn(write)?),
        })
    }

    fn send(&mut self, message: Vec<u8>) -> std::io::Result<()> {
        let gone = || std::io::Error::from(std::io::ErrorKind::NotConnected);
        let queue = self.queue.as_ref().ok_or_else(gone)?;
        if queue.send(message).is_ok() {
            return Ok(());
        }
        // The writer has stopped: only an error does that.
        self.queue = None;
        let end = self.writer.take().map(JoinHandle::join);
        match end {
            Some(Ok(Err(error))) => Err(error),
            _ => Err(gone()),
        }
    }

    /// Writes no more.
    fn close(&mut self) {
        self.queue = None;
        // It may be closed already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Drop for Outbox {
    /// What was sent last still goes out.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            // Its error has nobody left to tell.
            let _ = writer.join();
        }
    }
}
