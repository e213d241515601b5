//! Numbers in as few bytes as they need: seven bits a byte, lowest first, the top bit says that more follow.

use crate::{cursor::Cursor, error::Error};

/// Appends `value`.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed number; small ones of either sign are short.
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, zigzag(value));
}

/// 0, -1, 1, -2 ... become 0, 1, 2, 3 ...
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The reverse of [`zigzag`].
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

impl<'a> Cursor<'a> {
    /// A number as [`put`] writes it; refuses forms longer than needed.
    pub(crate) fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0u64;
        let mut shift = 0;
        loop {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift > 63 || (shift == 63 && bits > 1) || (byte == 0 && shift > 0) {
                return Err(self.error("number too long"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    /// A number as [`put_signed`] writes it.
    pub(crate) fn varint_signed(&mut self) -> Result<i64, Error> {
        self.varint().map(unzigzag)
    }

    /// A number that must fit 32 bits.
    pub(crate) fn varint_u32(&mut self) -> Result<u32, Error> {
        let value = self.varint()?;
        u32::try_from(value).map_err(|_| self.error("number too large"))
    }

    /// That many bytes, the count first.
    pub(crate) fn varint_slice(&mut self) -> Result<Cursor<'a>, Error> {
        let count = self.varint()?;
        let offset = self.offset();
        let count = usize::try_from(count).map_err(|_| self.error("number too large"))?;
        Ok(Cursor::new(self.take(count)?, offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(value: u64, signed: i64) {
            let mut out = Vec::new();
            put(&mut out, value);
            put_signed(&mut out, signed);
            let mut cursor = Cursor::new(&out, 0);
            prop_assert_eq!(cursor.varint().ok(), Some(value));
            prop_assert_eq!(cursor.varint_signed().ok(), Some(signed));
            prop_assert!(cursor.is_empty());
        }

        #[test]
        fn hostile_numbers_are_refused_or_canonical(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut cursor = Cursor::new(&bytes, 0);
            if let Ok(value) = cursor.varint() {
                let mut again = Vec::new();
                put(&mut again, value);
                prop_assert_eq!(&bytes[..again.len()], &again[..]);
            }
        }
    }
}
