//! NAL units: taking byte strings apart into them and putting them together.
//!
//! Owns: both framings (four-byte lengths as in ISO/IEC 14496-15, start codes as in Annex B of ITU-T H.264 and H.265) and
//! emulation prevention. Never: what a NAL unit means, which is for [`crate::h264`] and [`crate::h265`].

use std::borrow::Cow;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of the length before each NAL unit.
pub const LENGTH_SIZE: usize = 4;

/// One step through length-prefixed NAL units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A NAL unit of at least one byte; the range leaves its length prefix out.
    Unit(Range<usize>),
    /// A length of zero. Nothing to keep; what follows is readable.
    Empty,
    /// A length that reaches past the end, or fewer than four bytes of one: what is left cannot be read.
    Overrun,
}

/// Walks over NAL units behind four-byte lengths. Ends after the last byte or after [`Item::Overrun`].
#[derive(Clone, Debug)]
pub struct LengthPrefixed<'a> {
    data: &'a [u8],
    next: usize,
}

impl<'a> LengthPrefixed<'a> {
    /// Walks over `data`.
    pub fn new(data: &'a [u8]) -> Self {
        LengthPrefixed { data, next: 0 }
    }
}

impl Iterator for LengthPrefixed<'_> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        let rest = self.data.get(self.next..)?;
        if rest.is_empty() {
            return None;
        }
        let end_of_data = self.data.len();
        let Some((prefix, body)) = rest.split_first_chunk::<LENGTH_SIZE>() else {
            self.next = end_of_data;
            return Some(Item::Overrun);
        };
        let len = u32::from_be_bytes(*prefix) as usize;
        if len > body.len() {
            self.next = end_of_data;
            return Some(Item::Overrun);
        }
        let start = self.next + LENGTH_SIZE;
        self.next = start + len;
        Some(if len == 0 { Item::Empty } else { Item::Unit(start..start + len) })
    }
}

/// The NAL units of a byte stream (Annex B): ranges between start codes, without the zeros around them.
///
/// Bytes before the first start code belong to none; empty units are left out.
pub fn annex_b(data: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    units_from(data, start_code(data, 0))
}

/// As [`annex_b`], for bytes that should be one NAL unit: what stands before the first start code is a unit too. Cameras
/// leave start codes at either end of parameter sets in their session descriptions, and between several of them.
pub fn loose_units(data: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    units_from(data, Some(0))
}

/// Units from the given start on.
fn units_from(data: &[u8], mut next: Option<usize>) -> impl Iterator<Item = Range<usize>> + '_ {
    std::iter::from_fn(move || {
        loop {
            let start = next?;
            next = start_code(data, start);
            // The next unit starts three bytes past the start of its code.
            let mut end = next.map_or(data.len(), |n| n - 3);
            while end > start && data.get(end - 1) == Some(&0) {
                end -= 1;
            }
            if end > start {
                return Some(start..end);
            }
        }
    })
}

/// Position after the first `00 00 01` at or after `from`.
fn start_code(data: &[u8], from: usize) -> Option<usize> {
    data.get(from..)?.windows(3).position(|w| w == [0, 0, 1]).map(|at| from + at + 3)
}

/// Puts a byte stream (Annex B) into the framing of files: each NAL unit behind its length in four bytes.
pub fn to_length_prefixed(data: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(data.len() + LENGTH_SIZE);
    for range in annex_b(data) {
        push(&mut out, &data[range]);
    }
    out.freeze()
}

/// Appends a NAL unit behind its length. One of 4 GiB or more cannot be framed and is left out.
pub fn push(out: &mut BytesMut, nal: &[u8]) {
    if let Ok(len) = u32::try_from(nal.len()) {
        out.put_u32(len);
        out.put_slice(nal);
    }
}

/// Takes emulation prevention out of a NAL unit: every `00 00 03` loses its last byte (H.264 7.4.1, H.265 7.4.2.1).
///
/// Copies only when there is one.
pub fn unescape(nal: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = nal.windows(3).position(|w| w == [0, 0, 3]) else {
        return Cow::Borrowed(nal);
    };
    let mut out = Vec::with_capacity(nal.len());
    out.extend_from_slice(&nal[..first]);
    let mut zeros = 0;
    for byte in &nal[first..] {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        out.push(*byte);
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_bits::escape;
    use proptest::prelude::*;

    fn check_lengths(data: &[u8], expect: &[Item]) {
        assert_eq!(LengthPrefixed::new(data).collect::<Vec<_>>(), expect, "{data:?}");
    }

    #[test]
    fn lengths() {
        check_lengths(&[], &[]);
        check_lengths(&[0, 0, 0, 2, 9, 8], &[Item::Unit(4..6)]);
        check_lengths(&[0, 0, 0, 0, 0, 0, 0, 1, 7], &[Item::Empty, Item::Unit(8..9)]);
        check_lengths(&[0, 0, 0, 1, 7, 0, 0], &[Item::Unit(4..5), Item::Overrun]);
        check_lengths(&[0, 0, 0, 3, 7, 7], &[Item::Overrun]);
        check_lengths(&[255, 255, 255, 255, 7], &[Item::Overrun]);
    }

    fn check_annex_b(data: &[u8], expect: &[&[u8]]) {
        let got: Vec<&[u8]> = annex_b(data).map(|r| &data[r]).collect();
        assert_eq!(got, expect, "{data:?}");
    }

    #[test]
    fn start_codes() {
        check_annex_b(&[], &[]);
        check_annex_b(&[1, 2, 3], &[]);
        check_annex_b(&[0, 0, 1], &[]);
        check_annex_b(&[0, 0, 0, 1, 7, 8, 0, 0, 1, 9], &[&[7, 8], &[9]]);
        check_annex_b(&[9, 0, 0, 1, 7, 0, 0, 0, 0, 1, 9, 0, 0], &[&[7], &[9]]);
        check_annex_b(&[0, 0, 1, 0, 0, 1, 5], &[&[5]]);
    }

    #[test]
    fn start_codes_around_a_unit() {
        for (data, expect) in [
            (&[7u8, 8][..], &[&[7u8, 8][..]][..]),
            (&[7, 8, 0, 0, 0, 1], &[&[7, 8]]),
            (&[0, 0, 0, 1, 7, 8, 0], &[&[7, 8]]),
            (&[0, 0, 1, 7, 8, 0, 0, 1, 9], &[&[7, 8], &[9]]),
            (&[0, 0], &[]),
        ] {
            let got: Vec<&[u8]> = loose_units(data).map(|r| &data[r]).collect();
            assert_eq!(got, expect, "{data:?}");
        }
    }

    fn check_unescape(nal: &[u8], expect: &[u8]) {
        assert_eq!(unescape(nal).as_ref(), expect, "{nal:?}");
    }

    #[test]
    fn emulation_prevention() {
        check_unescape(&[1, 0, 0, 2], &[1, 0, 0, 2]);
        check_unescape(&[0, 0, 3], &[0, 0]);
        check_unescape(&[5, 0, 0, 3, 1, 0, 0, 3, 0, 0, 3, 3], &[5, 0, 0, 1, 0, 0, 0, 0, 3]);
        check_unescape(&[0, 0, 3, 3], &[0, 0, 3]);
        check_unescape(&[0, 0, 0, 3], &[0, 0, 0]);
    }

    proptest! {
        #[test]
        fn unescape_inverts_escape(rbsp in proptest::collection::vec(0u8..5, 0..200)) {
            let escaped = escape(&rbsp);
            let plain = unescape(&escaped);
            prop_assert_eq!(plain.as_ref(), &rbsp[..]);
        }

        #[test]
        fn annex_b_finds_every_unit(units in proptest::collection::vec(proptest::collection::vec(0u8..4, 0..12), 0..6), zeros in 0usize..3) {
            let units: Vec<Vec<u8>> = units.iter().map(|u| { let mut u = escape(u); u.push(0x80); u }).collect();
            let mut data = Vec::new();
            for unit in &units {
                data.extend(std::iter::repeat_n(0, zeros));
                data.extend([0, 0, 1]);
                data.extend(unit);
            }
            let framed = to_length_prefixed(&data);
            let got: Vec<Vec<u8>> = LengthPrefixed::new(&framed)
                .map(|item| match item { Item::Unit(r) => framed[r].to_vec(), other => panic!("{other:?}") })
                .collect();
            prop_assert_eq!(got, units);
        }

        #[test]
        fn no_walk_panics(data in proptest::collection::vec(0u8..6, 0..80)) {
            for item in LengthPrefixed::new(&data) {
                if let Item::Unit(range) = item { prop_assert!(data.get(range).is_some_and(|u| !u.is_empty())); }
            }
            for range in annex_b(&data) {
                prop_assert!(data.get(range).is_some_and(|u| !u.is_empty()));
            }
            let _plain = unescape(&data);
        }
    }
}
