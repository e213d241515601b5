//! Files as crashes and disks leave them.

use heldar_base::{Interval, WallTime};
use heldar_bmff::*;
use proptest::prelude::*;

use crate::world::{File, footage};

/// Everything that reads bytes reads these; nothing may panic.
fn read_all(bytes: &[u8]) {
    let _table = read_sample_table(bytes);
    let Ok(found) = scan(bytes) else { return };
    assert!(found.end <= bytes.len() as u64);
    let _index = FragmentIndex::of(&found.table);
    let part = Part {
        file: 0,
        table: &found.table,
        wall_start: WallTime(0),
        window: Interval::new(WallTime(70_000), WallTime(400_000)),
        join: Join::Fresh,
    };
    let everything = Part { window: Interval::ALL, ..part };
    for part in [part, everything] {
        if let Ok(file) = VirtualFile::plan(&[part]) {
            // Whatever it plans lies inside the file that was read.
            assert!(file.ranges().iter().all(|r| r.offset + r.len <= bytes.len() as u64));
        }
    }
    for span in found.table.fragments() {
        let mut moof = bytes[span.offset as usize..][..span.moof_len as usize].to_vec();
        let _cut = cut_fragment(&moof, 20_000, &found.init.tracks);
        let _shifted = shift_decode_times(&mut moof, 1 << 40, &found.init.tracks);
    }
}

/// The scan of a file of which only the first `len` bytes are left, whatever follows.
fn check_prefix(file: &File, bytes: &[u8], len: usize) {
    let whole: Vec<_> = file.ends.iter().filter(|(end, _)| *end <= len as u64).collect();
    let Some((end, table)) = whole.last() else {
        assert!(scan(bytes).is_err(), "no init segment in {len} bytes");
        return;
    };
    let found = scan(bytes).unwrap();
    assert_eq!(found.end, *end, "{len}");
    assert_eq!(found.table, *table, "{len}");
    let clean = *end == bytes.len() as u64;
    assert_eq!(found.tail, if clean { Tail::Clean } else { Tail::Torn }, "{len}");
}

proptest! {
    #[test]
    fn any_prefix_recovers_to_the_last_whole_fragment(seed: u64, groups in 1..4u64, at: prop::sample::Index) {
        for file in footage(seed, groups) {
            let sealed = file.sealed();
            let len = at.index(sealed.len());
            check_prefix(&file, &sealed[..len], len);
            // The duration slot differs between both; neither state hinders.
            check_prefix(&file, &file.bytes[..len.min(file.bytes.len())], len.min(file.bytes.len()));
            read_all(&sealed[..len]);
        }
    }

    #[test]
    fn a_tail_of_zeros_or_noise_is_torn(seed: u64, at: prop::sample::Index, noise: Vec<u8>) {
        let file = footage(seed, 2).remove(0);
        let len = at.index(file.bytes.len());
        let end = file.ends.iter().rev().find(|(end, _)| *end <= len as u64).map_or(0, |(end, _)| *end as usize);
        // A tail inside an mdat box leaves a whole fragment with damaged pictures, which a scan does not see: so the
        // zeros start at a fragment.
        let mut zeros = file.bytes[..end].to_vec();
        zeros.resize(len.max(end) + 64, 0);
        check_prefix(&file, &zeros, end);
        let mut noisy = file.bytes[..end].to_vec();
        noisy.extend(&noise);
        read_all(&noisy);
    }

    #[test]
    fn footage_behind_damage_is_found(seed: u64, groups in 2..5u64, at: prop::sample::Index) {
        for file in footage(seed, groups) {
            let starts: Vec<u64> = file.ends.iter().map(|(end, _)| *end).collect();
            let whole = file.sealed();
            let damaged = at.index(starts.len() - 1);
            let mut bytes = whole.clone();
            // The type of the box: nothing else can be believed of that fragment.
            bytes[starts[damaged] as usize + 4] ^= 0x20;
            let init = InitInfo::parse(&bytes).unwrap();
            let found = next_whole_fragment(&bytes[..], &init, starts[damaged]).unwrap();
            let behind = starts[damaged + 1..starts.len() - 1].first().copied();
            prop_assert_eq!(found, behind);
            // A torn tail has nothing behind it, wherever it was torn.
            let torn = &whole[..starts[damaged] as usize + 20];
            prop_assert_eq!(next_whole_fragment(torn, &init, starts[damaged]).unwrap(), None);
        }
    }

    #[test]
    fn flipped_bits_never_panic(seed: u64, flips in proptest::collection::vec(any::<(prop::sample::Index, u8)>(), 1..6)) {
        for file in footage(seed, 3) {
            let mut sealed = file.sealed();
            for (at, byte) in &flips {
                let at = at.index(sealed.len());
                sealed[at] ^= byte;
            }
            read_all(&sealed);
        }
    }

    #[test]
    fn flipped_bits_in_boxes_never_panic(seed: u64, flips in proptest::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4)) {
        for file in footage(seed, 2) {
            let mut bytes = file.bytes.clone();
            let table = file.table();
            for (at, byte) in &flips {
                let span = table.fragments()[at.index(table.fragments().len())];
                let at = span.offset as usize + at.index(span.moof_len as usize + 8);
                bytes[at] = *byte;
            }
            read_all(&bytes);
        }
    }

    #[test]
    fn noise_never_panics(noise: Vec<u8>) {
        read_all(&noise);
    }
}

/// A sample table that does not say what the fragments say does not seal them.
#[test]
fn a_foreign_sample_table_is_no_seal() {
    let file = footage(11, 1).remove(0);
    let other = footage(12, 1).remove(0);
    let mut bytes = file.bytes.clone();
    bytes.extend(other.builder.encode().unwrap());
    let found = scan(bytes.as_slice()).unwrap();
    assert_eq!((found.end, found.tail), (file.bytes.len() as u64, Tail::Torn));
    assert!(read_sample_table(bytes.as_slice()).is_err());
}

/// Reading that fails is not a torn file.
#[test]
fn a_read_error_is_reported() {
    struct Broken<'a>(&'a [u8], u64);
    impl ReadAt for Broken<'_> {
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<usize> {
            if offset >= self.1 {
                return Err(std::io::Error::other("bad sector"));
            }
            self.0.read_at(offset, buf)
        }
        fn size(&self) -> std::io::Result<u64> {
            self.0.size()
        }
    }
    let file = footage(7, 3).remove(0);
    let sealed = file.sealed();
    let init_len = file.init.bytes().len() as u64;
    for from in [0, 8, init_len, file.ends[1].0, file.bytes.len() as u64] {
        assert!(matches!(scan(&Broken(&sealed, from)), Err(Error::Io(_))), "{from}");
    }
}

/// A fragment whose samples take no bytes in its `moof` may claim any number of them.
#[test]
fn claimed_sample_counts_are_bounded() {
    let file = footage(3, 1).remove(0);
    let samples = vec![SampleMeta { size: 0, duration: 1, composition_offset: 0, sync: true }; 2];
    let run = TrackRun { track_id: 1, base_decode_time: 0, samples: &samples };
    let mut fragment = FragmentHeader::new(1, &[run]).unwrap().bytes;
    let at = fragment.windows(4).position(|w| w == b"trun").unwrap() + 8;
    fragment[at..at + 4].copy_from_slice(&u32::MAX.to_be_bytes());
    let mut bytes = file.init.bytes().to_vec();
    bytes.extend(&fragment);
    let found = scan(bytes.as_slice()).unwrap();
    assert_eq!((found.end, found.tail), (file.init.bytes().len() as u64, Tail::Torn));
}
