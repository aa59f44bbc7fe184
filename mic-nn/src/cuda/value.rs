//! Arguments of kernels.

/// Words of the largest argument, a structure of 13 integers.
const WORDS: usize = 8;

/// A kernel's argument, as it lies in memory: a number, an address, or a structure.
pub(super) struct Value {
    words: [u64; WORDS],
    len: usize,
}

impl Value {
    /// A structure without members yet.
    pub(super) const fn structure() -> Self {
        Self {
            words: [0; WORDS],
            len: 0,
        }
    }

    /// A structure of integers.
    pub(super) fn ints(members: &[usize]) -> Self {
        members
            .iter()
            .fold(Self::structure(), |s, &m| s.int(m as i32))
    }

    /// The structure with one member more; members have C's alignment.
    fn with(mut self, member: u64, size: usize) -> Self {
        self.len = self.len.next_multiple_of(size);
        assert!(
            self.len + size <= 8 * WORDS,
            "a kernel's argument is too large"
        );
        self.words[self.len / 8] |= member << (8 * (self.len % 8));
        self.len += size;
        self
    }

    pub(super) fn int(self, member: i32) -> Self {
        self.with(u64::from(member as u32), 4)
    }

    pub(super) fn float(self, member: f32) -> Self {
        self.with(u64::from(member.to_bits()), 4)
    }

    pub(super) fn wide(self, member: i64) -> Self {
        self.with(member as u64, 8)
    }

    pub(super) fn address(self, member: u64) -> Self {
        self.with(member, 8)
    }

    /// A number that the kernel takes as `int`.
    pub(super) fn count(number: usize) -> Self {
        Self::structure().int(number as i32)
    }

    /// A number that the kernel takes as `long long`.
    pub(super) fn long(number: usize) -> Self {
        Self::structure().with(number as u64, 8)
    }

    /// An address.
    pub(super) fn pointer(address: u64) -> Self {
        Self::structure().with(address, 8)
    }

    /// A pointer that points nowhere.
    pub(super) fn null() -> Self {
        Self::pointer(0)
    }

    /// A single-precision number.
    pub(super) fn single(number: f64) -> Self {
        Self::structure().float(number as f32)
    }

    /// Its first word: a launch takes the address and reads as much as the kernel's parameter has.
    pub(super) fn first(&self) -> &u64 {
        &self.words[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_lie_as_in_c() {
        let axis = Value::ints(&[3, 5]).float(1.0).int(-1);
        assert_eq!(axis.len, 16);
        assert_eq!(axis.words[0], 3 | 5 << 32);
        assert_eq!(axis.words[1], 0x3f80_0000 | 0xffff_ffff << 32);
        let mixed = Value::structure().int(7).with(9, 8);
        assert_eq!((mixed.len, mixed.words[0], mixed.words[1]), (16, 7, 9));
    }
}
