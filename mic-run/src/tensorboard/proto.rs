//! The few messages of TensorBoard's `event.proto` and `summary.proto` that are written, in the
//! encoding of protocol buffers.

use crate::record::Histogram;

/// A message being encoded.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    fn key(&mut self, field: u32, wire: u32) {
        self.varint(u64::from(field << 3 | wire));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn integer(mut self, field: u32, value: u64) -> Self {
        self.key(field, 0);
        self.varint(value);
        self
    }

    fn double(mut self, field: u32, value: f64) -> Self {
        self.key(field, 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn float(mut self, field: u32, value: f32) -> Self {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u32, bytes: &[u8]) -> Self {
        self.key(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    fn doubles(self, field: u32, values: &[f64]) -> Self {
        let packed: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.bytes(field, &packed)
    }

    fn message(self, field: u32, message: Self) -> Self {
        self.bytes(field, &message.0)
    }

    /// The encoded message.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// `Event` up to what happened: wall time (seconds since 1970) and step.
fn event(time: f64, step: u64) -> Message {
    Message::default().double(1, time).integer(2, step)
}

/// The first event of a file.
pub(super) fn file_version(time: f64) -> Message {
    event(time, 0).bytes(3, b"brain.Event:2")
}

/// The session starts (again): what other files hold from `step` on is void.
pub(super) fn session_start(time: f64, step: u64) -> Message {
    const START: u64 = 1;
    event(time, step).message(7, Message::default().integer(1, START))
}

/// An event with the values of a step.
pub(super) fn summary(time: f64, step: u64, values: Vec<Message>) -> Message {
    let add = |summary: Message, value| summary.message(1, value);
    let summary = values.into_iter().fold(Message::default(), add);
    event(time, step).message(5, summary)
}

/// A named number.
pub(super) fn scalar(tag: &str, value: f64) -> Message {
    Message::default()
        .bytes(1, tag.as_bytes())
        .float(2, value as f32)
}

/// A named RGB picture as a PNG.
pub(super) fn image(tag: &str, width: u32, height: u32, png: &[u8]) -> Message {
    const RGB: u64 = 3;
    let image = Message::default()
        .integer(1, height.into())
        .integer(2, width.into())
        .integer(3, RGB)
        .bytes(4, png);
    Message::default()
        .bytes(1, tag.as_bytes())
        .message(4, image)
}

/// Named counts.
pub(super) fn histogram(counted: &Histogram) -> Message {
    let (count, sum, squares) = counted.moments;
    let histogram = Message::default()
        .double(1, counted.range.0)
        .double(2, counted.range.1)
        .double(3, count)
        .double(4, sum)
        .double(5, squares)
        .doubles(6, &counted.edges)
        .doubles(7, &counted.counts);
    Message::default()
        .bytes(1, counted.name.as_bytes())
        .message(5, histogram)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_several_bytes_come_lowest_first() {
        let message = Message::default().integer(2, 300);
        assert_eq!(message.into_bytes(), [0x10, 0xac, 0x02]);
        let largest = Message::default().integer(1, u64::MAX).into_bytes();
        assert_eq!(largest.len(), 11);
    }

    #[test]
    fn a_scalar_event_is_encoded_as_the_format_says() {
        let bytes = summary(1.0, 5, vec![scalar("a", 0.5)]).into_bytes();
        let wanted = [
            &[0x09][..],
            &1f64.to_le_bytes(),
            &[0x10, 5, 0x2a, 10, 0x0a, 8, 0x0a, 1, b'a', 0x15],
            &0.5f32.to_le_bytes(),
        ];
        assert_eq!(bytes, wanted.concat());
    }
}
