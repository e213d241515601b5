//! Reading of fields and boxes, every length checked.

use crate::error::{Error, malformed};

/// Bytes read from front to back; knows where it stands for error messages.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    offset: u64,
}

impl<'a> Cursor<'a> {
    /// Over `bytes`, whose first lies at `offset` of the whole.
    pub(crate) fn new(bytes: &'a [u8], offset: u64) -> Self {
        Cursor { rest: bytes, offset }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn error(&self, what: &'static str) -> Error {
        malformed(what, self.offset)
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let Some((head, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.error("cut short"));
        };
        self.rest = rest;
        self.offset += count as u64;
        Ok(head)
    }

    pub(crate) fn skip(&mut self, count: usize) -> Result<(), Error> {
        self.take(count).map(|_| ())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Error> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn kind(&mut self) -> Result<[u8; 4], Error> {
        self.array()
    }

    /// Version and flags of a full box (4.2.2).
    pub(crate) fn version_flags(&mut self) -> Result<(u8, u32), Error> {
        let word = self.u32()?;
        Ok(((word >> 24) as u8, word & 0x00ff_ffff))
    }

    /// The next box, `None` at the end. Only boxes with a 32-bit size: nothing that is parsed here is longer.
    pub(crate) fn next_box(&mut self) -> Result<Option<BoxView<'a>>, Error> {
        if self.is_empty() {
            return Ok(None);
        }
        let offset = self.offset;
        let size = self.u32()?;
        let kind = self.kind()?;
        let Some(body_len) = (size as usize).checked_sub(8) else {
            return Err(malformed("box size below its header", offset));
        };
        let body = Cursor::new(self.take(body_len)?, offset + 8);
        Ok(Some(BoxView { kind, offset, body }))
    }

    /// The bodies of the first box of each of the `kinds` among the boxes that follow.
    pub(crate) fn find<const N: usize>(
        &self,
        kinds: [&[u8; 4]; N],
    ) -> Result<[Option<Cursor<'a>>; N], Error> {
        let mut found = [const { None }; N];
        let mut walk = self.clone();
        while let Some(next) = walk.next_box()? {
            for (kind, place) in kinds.iter().zip(found.iter_mut()) {
                if **kind == next.kind && place.is_none() {
                    *place = Some(next.body.clone());
                }
            }
        }
        Ok(found)
    }
}

/// One box.
#[derive(Clone, Debug)]
pub(crate) struct BoxView<'a> {
    pub(crate) kind: [u8; 4],
    /// Where its header starts.
    pub(crate) offset: u64,
    /// What follows the header.
    pub(crate) body: Cursor<'a>,
}
