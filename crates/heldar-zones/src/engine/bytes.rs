//! Numbers and text as bytes, and back.
//!
//! Owns: the encoding: whole numbers in seven bits a byte (LEB128, signed ones zigzag), other numbers in eight bytes, text behind
//! its length. Never: what they mean.

/// Writes.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn unsigned(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(super) fn signed(&mut self, number: i64) {
        self.unsigned(((number << 1) ^ (number >> 63)) as u64);
    }

    pub(super) fn float(&mut self, number: f64) {
        self.0.extend(number.to_bits().to_le_bytes());
    }

    pub(super) fn flag(&mut self, flag: bool) {
        self.0.push(u8::from(flag));
    }

    pub(super) fn text(&mut self, text: &str) {
        self.unsigned(text.len() as u64);
        self.0.extend(text.as_bytes());
    }

    pub(super) fn list<T>(
        &mut self,
        list: impl ExactSizeIterator<Item = T>,
        mut each: impl FnMut(&mut Writer, T),
    ) {
        self.unsigned(list.len() as u64);
        list.for_each(|item| each(self, item));
    }

    pub(super) fn option<T>(&mut self, option: Option<T>, each: impl FnOnce(&mut Writer, T)) {
        self.flag(option.is_some());
        if let Some(item) = option {
            each(self, item);
        }
    }
}

/// Bytes that do not say what they should.
#[derive(Debug)]
pub(super) struct Damaged;

/// Reads what [`Writer`] wrote.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Damaged> {
        let (byte, rest) = self.0.split_first().ok_or(Damaged)?;
        self.0 = rest;
        Ok(*byte)
    }

    pub(super) fn unsigned(&mut self) -> Result<u64, Damaged> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Damaged);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Damaged)
    }

    pub(super) fn small(&mut self) -> Result<u32, Damaged> {
        u32::try_from(self.unsigned()?).map_err(|_| Damaged)
    }

    pub(super) fn signed(&mut self) -> Result<i64, Damaged> {
        let number = self.unsigned()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    pub(super) fn float(&mut self) -> Result<f64, Damaged> {
        let bytes = self.take(8)?.try_into().map_err(|_| Damaged)?;
        let number = f64::from_bits(u64::from_le_bytes(bytes));
        if number.is_finite() { Ok(number) } else { Err(Damaged) }
    }

    pub(super) fn flag(&mut self) -> Result<bool, Damaged> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Damaged),
        }
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Damaged> {
        let length = usize::try_from(self.unsigned()?).map_err(|_| Damaged)?;
        std::str::from_utf8(self.take(length)?).map_err(|_| Damaged)
    }

    /// Every item takes a byte at least, so that a length cannot ask for more memory than there are bytes.
    pub(super) fn list<T>(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<T, Damaged>,
    ) -> Result<Vec<T>, Damaged> {
        let length = usize::try_from(self.unsigned()?).map_err(|_| Damaged)?;
        if length > self.0.len() {
            return Err(Damaged);
        }
        (0..length).map(|_| each(self)).collect()
    }

    pub(super) fn option<T>(
        &mut self,
        each: impl FnOnce(&mut Self) -> Result<T, Damaged>,
    ) -> Result<Option<T>, Damaged> {
        if self.flag()? { each(self).map(Some) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(u in any::<u64>(), i in any::<i64>(), f in -1e300f64..1e300, text in ".{0,20}", flag: bool) {
            let mut writer = Writer::default();
            writer.unsigned(u);
            writer.signed(i);
            writer.float(f);
            writer.text(&text);
            writer.option(flag.then_some(u), Writer::unsigned);
            let mut reader = Reader(&writer.0);
            prop_assert_eq!(reader.unsigned().unwrap(), u);
            prop_assert_eq!(reader.signed().unwrap(), i);
            prop_assert_eq!(reader.float().unwrap(), f);
            prop_assert_eq!(reader.text().unwrap(), text);
            prop_assert_eq!(reader.option(Reader::unsigned).unwrap(), flag.then_some(u));
            prop_assert!(reader.0.is_empty());
        }
    }
}
