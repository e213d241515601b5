//! Bits of a parameter set or SEI message, most significant first.
//!
//! Owns: fixed-length and Exp-Golomb codes (ITU-T H.264 and H.265, 9.1 and 9.2). Never: emulation prevention, which
//! [`crate::nal::unescape`] has taken out before.

/// Why a syntax element could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BitError {
    /// The data ends inside the element.
    #[error("the data ends too early")]
    End,
    /// An Exp-Golomb code of more than 32 bits.
    #[error("an Exp-Golomb code is too long")]
    Golomb,
    /// A value outside the range that the standard allows.
    #[error("`{0}` is out of range")]
    Range(&'static str),
}

/// Reads bits from the front; never reads past the end and never panics.
#[derive(Clone, Debug)]
pub struct BitReader<'a> {
    data: &'a [u8],
    /// Position of the next bit; at most `8 * data.len()`.
    next: usize,
}

impl<'a> BitReader<'a> {
    /// Reads from the first bit of `data`.
    pub fn new(data: &'a [u8]) -> Self {
        BitReader { data, next: 0 }
    }

    /// Bits that are left.
    pub fn remaining(&self) -> usize {
        (self.data.len() * 8).saturating_sub(self.next)
    }

    /// An unsigned number of `count` bits, 0 to 32: `u(n)`.
    ///
    /// # Errors
    /// [`BitError::End`] when fewer are left; nothing is taken then.
    pub fn bits(&mut self, count: u32) -> Result<u32, BitError> {
        let count = count.min(32) as usize;
        if self.remaining() < count {
            return Err(BitError::End);
        }
        let mut value = 0u64;
        let mut left = count;
        while left > 0 {
            let byte = u64::from(*self.data.get(self.next / 8).ok_or(BitError::End)?);
            let offset = self.next % 8;
            let take = left.min(8 - offset);
            let part = (byte >> (8 - offset - take)) & ((1 << take) - 1);
            value = (value << take) | part;
            self.next += take;
            left -= take;
        }
        Ok(value as u32)
    }

    /// One bit as a flag: `u(1)`.
    ///
    /// # Errors
    /// [`BitError::End`].
    pub fn flag(&mut self) -> Result<bool, BitError> {
        Ok(self.bits(1)? == 1)
    }

    /// Passes over `count` bits.
    ///
    /// # Errors
    /// [`BitError::End`].
    pub fn skip(&mut self, count: usize) -> Result<(), BitError> {
        if self.remaining() < count {
            return Err(BitError::End);
        }
        self.next += count;
        Ok(())
    }

    /// An unsigned Exp-Golomb number: `ue(v)`, 9.1.
    ///
    /// # Errors
    /// [`BitError::End`], or [`BitError::Golomb`] for a prefix of more than 31 zeros (no element has such values).
    pub fn ue(&mut self) -> Result<u32, BitError> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return Err(BitError::Golomb);
            }
        }
        // At most 2^31 - 1 plus 31 bits, so the sum fits.
        Ok(((1u32 << zeros) - 1) + self.bits(zeros)?)
    }

    /// An unsigned Exp-Golomb number that the standard limits to `max`.
    ///
    /// # Errors
    /// As [`BitReader::ue`], and [`BitError::Range`] with the element's name.
    pub fn ue_max(&mut self, max: u32, name: &'static str) -> Result<u32, BitError> {
        let value = self.ue()?;
        if value <= max { Ok(value) } else { Err(BitError::Range(name)) }
    }

    /// A signed Exp-Golomb number: `se(v)`, 9.1.1.
    ///
    /// # Errors
    /// As [`BitReader::ue`].
    pub fn se(&mut self) -> Result<i32, BitError> {
        let code = i64::from(self.ue()?);
        let value = if code % 2 == 1 { code / 2 + 1 } else { -(code / 2) };
        i32::try_from(value).map_err(|_| BitError::Golomb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_bits::Bits;
    use proptest::prelude::*;

    #[test]
    fn golomb_table_of_9_1() {
        for (bits, ue, se) in [
            (0b1000_0000u8, 0, 0),
            (0b0100_0000, 1, 1),
            (0b0110_0000, 2, -1),
            (0b0010_0000, 3, 2),
            (0b0010_1000, 4, -2),
            (0b0011_1000, 6, -3),
        ] {
            assert_eq!(BitReader::new(&[bits]).ue(), Ok(ue));
            assert_eq!(BitReader::new(&[bits]).se(), Ok(se));
        }
        assert_eq!(BitReader::new(&[0; 3]).ue(), Err(BitError::End));
        assert_eq!(BitReader::new(&[0; 8]).ue(), Err(BitError::Golomb));
        assert_eq!(BitReader::new(&[0b0011_1000]).ue_max(5, "x"), Err(BitError::Range("x")));
    }

    proptest! {
        #[test]
        fn reads_back_what_was_written(
            items in proptest::collection::vec((any::<bool>(), 0u32..=32, 0u32..u32::MAX), 0..60),
        ) {
            let mut bits = Bits::default();
            for (golomb, count, value) in &items {
                if *golomb { bits.ue(*value) } else { bits.fixed(*count, *value) };
            }
            let bytes = bits.bytes();
            let mut reader = BitReader::new(&bytes);
            for (golomb, count, value) in items {
                if golomb {
                    prop_assert_eq!(reader.ue(), Ok(value));
                } else {
                    let mask = ((1u64 << count) - 1) as u32;
                    prop_assert_eq!(reader.bits(count), Ok(value & mask));
                }
            }
            prop_assert!(reader.remaining() < 8);
        }

        #[test]
        fn never_panics(data in proptest::collection::vec(any::<u8>(), 0..40), calls in proptest::collection::vec(0u8..5, 0..80)) {
            let mut reader = BitReader::new(&data);
            for call in calls {
                let _outcome = match call {
                    0 => reader.ue(),
                    1 => reader.se().map(|v| v as u32),
                    2 => reader.bits(u32::from(call) * 17),
                    3 => reader.flag().map(u32::from),
                    _ => reader.skip(usize::from(call) * 3).map(|()| 0),
                };
            }
        }
    }
}
