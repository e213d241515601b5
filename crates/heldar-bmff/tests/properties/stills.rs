//! The picture on screen at an instant against a model that knows every picture.

use heldar_base::{Interval, Micros, WallTime};
use heldar_bmff::*;
use proptest::prelude::*;

use crate::world::{BASE, Dice, File, Picture, footage};

/// What the model says of an instant of a file; times are known to a tick.
fn on_screen(file: &File, at: WallTime) -> Option<&Picture> {
    file.pictures.iter().find(|picture| picture.start <= at && at < picture.end)
}

fn bytes<'a>(sample: &StillSample, file: &'a File, before: Option<&'a File>) -> &'a [u8] {
    let of = if sample.in_predecessor { before.expect("a file before") } else { file };
    &of.bytes[sample.offset as usize..(sample.offset + u64::from(sample.size)) as usize]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_picture_on_screen_is_found_with_all_it_needs(seed: u64, groups in 1..6u64) {
        let files = footage(seed, groups);
        let mut dice = Dice::new(!seed);
        for (number, file) in files.iter().enumerate() {
            let before = number.checked_sub(1).map(|before| &files[before]).filter(|_| file.continues);
            let (table, earlier) = (file.table(), before.map(File::table));
            for _ in 0..12 {
                let picture = &file.pictures[dice.below(file.pictures.len() as u64) as usize];
                let length = (picture.end - picture.start).0;
                if length < 100 {
                    continue;
                }
                let at = picture.start + Micros(20 + dice.below(length as u64 - 60) as i64);
                prop_assert_eq!(on_screen(file, at).map(|p| p.number), Some(picture.number));
                match still_at(&table, file.wall_start, at, earlier.as_ref()) {
                    StillAt::Found(still) => {
                        prop_assert!((still.captured_at - picture.start).abs() <= Micros(24));
                        prop_assert!((still.until - picture.end).abs() <= Micros(24));
                        let all: Vec<&[u8]> =
                            still.samples.iter().map(|sample| bytes(sample, file, before)).collect();
                        prop_assert_eq!(all[still.wanted], &picture.data[..]);
                        // Everything from a sync sample up to it, in decoding order, and nothing else.
                        let pool = before.iter().flat_map(|file| &file.pictures).chain(&file.pictures);
                        let pool: Vec<&Picture> = pool.collect();
                        let first = pool.iter().position(|p| p.data == all[0]).expect("a picture of the model");
                        prop_assert!(pool[first].number <= picture.needs || picture.needs < pool[0].number);
                        prop_assert_eq!(pool[first].needs, pool[first].number);
                        let expected: Vec<&[u8]> =
                            pool[first..first + all.len()].iter().map(|p| &p.data[..]).collect();
                        prop_assert_eq!(all, expected);
                    }
                    StillAt::NeedsPredecessor => {
                        prop_assert!(before.is_none() && picture.needs < file.pictures[0].number);
                    }
                    StillAt::Nothing => prop_assert!(
                        before.is_some_and(|before| picture.needs < before.pictures[0].number),
                        "picture {} is there", picture.number
                    ),
                }
            }
        }
    }

    #[test]
    fn nothing_is_on_screen_in_a_hole(seed: u64, groups in 1..6u64) {
        for file in footage(seed, groups) {
            let table = file.table();
            let mut pictures: Vec<&Picture> = file.pictures.iter().collect();
            pictures.sort_by_key(|picture| picture.start);
            for pair in pictures.windows(2) {
                let hole = Interval::new(pair[0].end, pair[1].start.max(pair[0].end));
                if hole.len() > Micros(100) {
                    let at = hole.start + Micros(hole.len().0 / 2);
                    prop_assert_eq!(still_at(&table, file.wall_start, at, None), StillAt::Nothing);
                }
            }
            let early = BASE - Micros::from_secs(9);
            prop_assert_eq!(still_at(&table, file.wall_start, early, None), StillAt::Nothing);
        }
    }

    #[test]
    fn sync_samples_of_a_window_are_all_found(seed: u64, groups in 1..6u64) {
        for file in footage(seed, groups) {
            let sync = file.pictures.iter().filter(|picture| picture.needs == picture.number);
            let expected: Vec<&[u8]> = sync.map(|picture| &picture.data[..]).collect();
            let window = Interval::new(BASE - Micros::from_secs(9), BASE + Micros::from_secs(99_999));
            let found = sync_stills(&file.table(), file.wall_start, window);
            let found: Vec<&[u8]> = found.iter().map(|still| bytes(&still.samples[0], &file, None)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
