//! The fragment index.

use heldar_bmff::{FragmentIndex, IndexEntry};
use proptest::prelude::*;

/// Length in bytes and ticks, and sync flag, of each fragment.
fn built(first: u64, fragments: &[(u64, u64, bool)]) -> FragmentIndex {
    let mut index = FragmentIndex::new();
    let (mut offset, mut start_ticks) = (first, 0);
    for &(bytes, ticks, sync) in fragments {
        index.push(IndexEntry { offset, start_ticks, sync }, offset + bytes, start_ticks + ticks).unwrap();
        offset += bytes;
        start_ticks += ticks;
    }
    index
}

fn fragments() -> impl Strategy<Value = Vec<(u64, u64, bool)>> {
    proptest::collection::vec((1..20_000_000u64, 0..1_000_000u64, any::<bool>()), 0..80)
}

#[test]
fn sixty_fragments_are_short() {
    // 4 Mbit/s with a group of pictures a second, lengths and times as unsteady as those of real cameras.
    let steps = (0..60u64).map(|i| (480_000 + i * 7919 % 90_000, 90_000 + i * 31 % 800, true));
    let coded = built(1200, &steps.collect::<Vec<_>>()).encode();
    assert!(coded.len() <= 60 * 7 + 20, "{}", coded.len());
}

#[test]
fn out_of_order_is_refused() {
    let base = built(100, &[(50, 10, true)]);
    for (offset, start_ticks, end_offset, end_ticks) in [
        (149, 10, 200, 20),
        (150, 10, 150, 20),
        (150, 10, 200, 9),
        (150, 10, u64::MAX, 20),
        (150, 10, 200, u64::MAX),
    ] {
        let mut index = base.clone();
        let entry = IndexEntry { offset, start_ticks, sync: true };
        assert!(index.push(entry, end_offset, end_ticks).is_err(), "{entry:?}");
        assert_eq!(index, base);
    }
}

proptest! {
    #[test]
    fn round_trip(first in 0..5_000u64, fragments in fragments()) {
        let index = built(first, &fragments);
        let coded = index.encode();
        prop_assert_eq!(FragmentIndex::decode(&coded).unwrap(), index);
    }

    #[test]
    fn damage_is_noticed(fragments in fragments(), at: prop::sample::Index, bit in 0..8u32) {
        let mut coded = built(900, &fragments).encode();
        let at = at.index(coded.len());
        coded[at] ^= 1 << bit;
        prop_assert!(FragmentIndex::decode(&coded).is_err());
        prop_assert!(FragmentIndex::decode(&coded[..at]).is_err());
    }

    #[test]
    fn hostile_bytes_with_a_true_checksum(mut body in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Some(version) = body.first_mut() {
            *version = 1;
        }
        let crc = crc32fast::hash(&body);
        body.extend(crc.to_be_bytes());
        if let Ok(index) = FragmentIndex::decode(&body) {
            prop_assert_eq!(index.encode(), body);
        }
    }

    #[test]
    fn lookups_agree_with_a_walk(fragments in fragments(), at in 0..90_000_000u64, number in 0..80usize) {
        let index = built(900, &fragments);
        let entries = index.entries();
        prop_assert_eq!(index.at_or_before(at), (0..entries.len()).rev().find(|&i| entries[i].start_ticks <= at));

        let gops: Vec<_> = index.gops().collect();
        let mut next = 0;
        for gop in &gops {
            prop_assert_eq!(gop.start, next);
            prop_assert!(gop.start == 0 || entries[gop.start].sync);
            prop_assert!(entries[gop.start + 1..gop.end].iter().all(|e| !e.sync));
            next = gop.end;
        }
        prop_assert_eq!(next, entries.len());
        prop_assert_eq!(index.gop_of(number), gops.iter().find(|g| g.contains(&number)).cloned());

        let mut offset = 900;
        let mut ticks = 0;
        for (i, (bytes, duration, _)) in fragments.iter().enumerate() {
            prop_assert_eq!(index.byte_range(i..i + 1), Some(offset..offset + bytes));
            offset += bytes;
            ticks += duration;
            prop_assert_eq!(index.end_of(i), Some(ticks));
        }
        prop_assert_eq!(index.byte_range(0..entries.len()), (!entries.is_empty()).then_some(900..offset));
        prop_assert_eq!(index.byte_range(number..number), None);
        prop_assert_eq!(index.end_of(entries.len()), None);
    }
}
