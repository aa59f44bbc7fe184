//! What goes over a connection.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What the processes say until they know each other.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// To rank 0, from every other rank.
    Hello {
        version: String,
        job: String,
        rank: usize,
        world_size: usize,
        /// Where this rank waits for the rank before it.
        port: u16,
    },
    /// From rank 0 when all have come.
    Welcome {
        /// A random number that marks the connections of this run.
        nonce: u64,
        /// Where each rank but 0 waits.
        addresses: Vec<std::net::SocketAddr>,
    },
    /// From rank 0 to one that does not belong to the run.
    Refused { reason: String },
    /// To the next rank of the ring.
    Link { nonce: u64, rank: usize },
}

/// Marks the connections of this program.
const MAGIC: [u8; 8] = *b"mic-run\n";
/// More than any [`Message`] needs.
const MESSAGE_BYTES: u32 = 16 << 20;

/// Sends a message.
pub(super) fn say(stream: &mut TcpStream, message: &Message) -> std::io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text);
    stream.write_all(&bytes)
}

/// Receives a message.
pub(super) fn hear(stream: &mut TcpStream) -> std::io::Result<Message> {
    let foreign = || std::io::Error::new(ErrorKind::InvalidData, "not a process of this program");
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let [magic @ .., a, b, c, d] = head;
    let length = u32::from_le_bytes([a, b, c, d]);
    if magic != MAGIC || length > MESSAGE_BYTES {
        return Err(foreign());
    }
    let mut text = Vec::new();
    stream.take(length.into()).read_to_end(&mut text)?;
    serde_json::from_slice(&text).map_err(|_| foreign())
}

/// What a call of the communicator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Call {
    ReduceF32 = 1,
    ReduceF64 = 2,
    Broadcast = 3,
    Gather = 4,
}

impl Call {
    fn name(code: u32) -> &'static str {
        match code {
            1 => "a sum of F32 values",
            2 => "a sum of F64 values",
            3 => "a broadcast",
            4 => "an all-gather",
            _ => "nothing known",
        }
    }
}

/// Comes before the bytes of every piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) call: u32,
    /// The number of the call.
    pub(super) number: u64,
    /// Bytes that follow.
    pub(super) bytes: u64,
}

impl Header {
    pub(super) const SIZE: usize = 20;

    pub(super) fn new(call: Call, number: u64, bytes: usize) -> Self {
        Self {
            call: call as u32,
            number,
            bytes: bytes as u64,
        }
    }

    pub(super) fn write(self, to: &mut Vec<u8>) {
        to.extend(self.call.to_le_bytes());
        to.extend(self.number.to_le_bytes());
        to.extend(self.bytes.to_le_bytes());
    }

    pub(super) fn read(bytes: [u8; Self::SIZE]) -> Self {
        let [a, b, c, d, rest @ ..] = bytes;
        let mut number = [0; 8];
        let mut length = [0; 8];
        number.copy_from_slice(&rest[..8]);
        length.copy_from_slice(&rest[8..]);
        Self {
            call: u32::from_le_bytes([a, b, c, d]),
            number: u64::from_le_bytes(number),
            bytes: u64::from_le_bytes(length),
        }
    }

    /// The error when another rank does something else; `fixed` when the length counts too.
    pub(super) fn expect(self, wanted: Self, rank: usize, fixed: bool) -> Result<()> {
        let same = (self.call, self.number) == (wanted.call, wanted.number);
        if same && (!fixed || self.bytes == wanted.bytes) {
            return Ok(());
        }
        Err(Error::Run(format!(
            "the processes do different things: process {rank} does {} of {} bytes as call {}, \
             this one {} of {} bytes as call {}; start all with the same command and configuration",
            Call::name(self.call),
            self.bytes,
            self.number,
            Call::name(wanted.call),
            wanted.bytes,
            wanted.number
        )))
    }
}

/// Explains why a connection to `rank` failed.
pub(super) fn lost(rank: usize, silent: Duration, error: &std::io::Error) -> Error {
    Error::Run(match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => format!(
            "process {rank} has not answered for {silent:?}: it hangs or its machine is gone; where \
             it has more to do than that, set MIC_TIMEOUT_SECONDS to a larger number"
        ),
        ErrorKind::UnexpectedEof
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::NotConnected => format!(
            "process {rank} has ended: see its own message; if that names another process, that \
             one's"
        ),
        _ => format!("the connection to process {rank} failed: {error}"),
    })
}

/// A number that is sent as its little-endian bytes.
pub(super) trait Number: Copy + std::ops::AddAssign {
    const SIZE: usize;
    const CALL: Call;
    fn encode(values: &[Self], to: &mut Vec<u8>);
    fn decode(bytes: &[u8], with: impl FnMut(&mut Self, Self), into: &mut [Self]);
}

macro_rules! number {
    ($T:ty, $call:expr) => {
        impl Number for $T {
            const SIZE: usize = size_of::<$T>();
            const CALL: Call = $call;

            fn encode(values: &[Self], to: &mut Vec<u8>) {
                let start = to.len();
                to.resize(start + values.len() * Self::SIZE, 0);
                let bytes = to[start..].as_chunks_mut::<{ size_of::<$T>() }>().0;
                for (bytes, value) in bytes.iter_mut().zip(values) {
                    *bytes = value.to_le_bytes();
                }
            }

            fn decode(bytes: &[u8], mut with: impl FnMut(&mut Self, Self), into: &mut [Self]) {
                let bytes = bytes.as_chunks::<{ size_of::<$T>() }>().0;
                for (bytes, value) in bytes.iter().zip(into) {
                    with(value, <$T>::from_le_bytes(*bytes));
                }
            }
        }
    };
}

number!(f32, Call::ReduceF32);
number!(f64, Call::ReduceF64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_numbers_come_back() {
        let header = Header::new(Call::Broadcast, 7, 1 << 40);
        let mut bytes = Vec::new();
        header.write(&mut bytes);
        assert_eq!(Header::read(bytes.clone().try_into().unwrap()), header);
        f64::encode(&[1.5, -0.0], &mut bytes);
        let mut values = [1.0, 1.0];
        f64::decode(&bytes[Header::SIZE..], |a, b| *a += b, &mut values);
        assert_eq!(values, [2.5, 1.0]);
    }

    #[test]
    fn another_call_is_named() {
        let own = Header::new(Call::Gather, 3, 5);
        assert!(
            own.expect(Header::new(Call::Gather, 3, 9), 1, false)
                .is_ok()
        );
        let other = Header::new(Call::ReduceF32, 3, 5);
        let text = other.expect(own, 1, false).unwrap_err().to_string();
        assert!(text.contains("process 1 does a sum of F32 values of 5 bytes as call 3"));
        assert!(
            own.expect(Header::new(Call::Gather, 3, 9), 1, true)
                .is_err()
        );
    }
}
