//! Sample tables, written fragment by fragment and found again by either way.

use heldar_bmff::*;
use proptest::prelude::*;

use crate::world::footage;

proptest! {
    #[test]
    fn round_trip_and_rebuild(seed: u64, groups in 1..6u64) {
        for file in footage(seed, groups) {
            let table = file.table();
            let coded = file.builder.encode().unwrap();
            prop_assert_eq!(&SampleTable::decode(&coded).unwrap(), &table);
            prop_assert_eq!(TableBuilder::from(&table).encode().unwrap(), coded.clone());
            let video = table.track(VIDEO_TRACK_ID).unwrap();
            let sizes: Vec<_> = file.pictures.iter().map(|p| p.data.len() as u32).collect();
            prop_assert_eq!(video.samples().iter().map(|s| s.size).collect::<Vec<_>>(), sizes);
            // Every picture lies where the table says.
            for (picture, place) in file.pictures.iter().zip(places(video)) {
                prop_assert_eq!(&file.bytes[place..place + picture.data.len()], &picture.data[..]);
            }

            let open = scan(file.bytes.as_slice()).unwrap();
            prop_assert_eq!(&open.tail, &Tail::Clean);
            prop_assert_eq!(&open.table, &table);
            prop_assert_eq!(&open.init.tracks, file.init.tracks());
            prop_assert_eq!(open.init.duration_slot, Some(file.init.duration_slot()));
            prop_assert_eq!(&FragmentIndex::of(&open.table).unwrap(), &file.index);

            let sealed = file.sealed();
            let whole = scan(sealed.as_slice()).unwrap();
            prop_assert_eq!(&whole.tail, &Tail::Sealed(file.bytes.len() as u64..sealed.len() as u64));
            prop_assert_eq!(&whole.table, &table);
            prop_assert_eq!(whole.init.duration_slot, Some(file.init.duration_slot()));
            prop_assert_eq!(&read_sample_table(sealed.as_slice()).unwrap(), &table);
            prop_assert!(read_sample_table(file.bytes.as_slice()).is_err());
        }
    }

    #[test]
    fn hostile_content_with_a_true_checksum(seed: u64, flips in proptest::collection::vec(any::<(prop::sample::Index, u8)>(), 1..5)) {
        let file = footage(seed, 2).remove(0);
        let mut coded = file.builder.encode().unwrap();
        let content = 24..coded.len() - 8;
        for (at, byte) in flips {
            coded[content.start + at.index(content.len())] = byte;
        }
        let crc = crc32fast::hash(&coded[8..content.end]);
        coded[content.end..content.end + 4].copy_from_slice(&crc.to_be_bytes());
        if let Ok(table) = SampleTable::decode(&coded) {
            // Whatever is believed is consistent.
            let index = FragmentIndex::of(&table);
            let again = TableBuilder::from(&table).encode().unwrap();
            prop_assert_eq!(SampleTable::decode(&again).unwrap(), table);
            drop(index);
        }
    }
}

fn places(track: &TrackTable) -> Vec<usize> {
    let mut out = Vec::new();
    for run in track.runs() {
        let mut at = run.data_offset as usize;
        for sample in track.run_samples(run) {
            out.push(at);
            at += sample.size as usize;
        }
    }
    out
}

/// Sixty seconds at 25 pictures a second with AAC: the builder and the box stay small.
#[test]
fn a_minute_is_short() {
    let init = InitSegment::new(&crate::world::video_params(), Some(&crate::world::audio_params())).unwrap();
    let mut builder = TableBuilder::new(init.tracks());
    let mut offset = init.bytes().len() as u64;
    for second in 0..60u32 {
        let video: Vec<_> = (0..25)
            .map(|i| SampleMeta {
                size: 9_000 + i * 97,
                duration: 3_600,
                composition_offset: 0,
                sync: i == 0,
            })
            .collect();
        let audio = vec![SampleMeta { size: 180, duration: 1024, composition_offset: 0, sync: true }; 47];
        let runs = [
            TrackRun { track_id: 1, base_decode_time: u64::from(second) * 90_000, samples: &video },
            TrackRun { track_id: 2, base_decode_time: u64::from(second) * 48_128, samples: &audio },
        ];
        let header = FragmentHeader::new(second + 1, &runs).unwrap();
        builder.push(offset, &header, &runs).unwrap();
        offset += header.fragment_len();
    }
    let len = builder.encode().unwrap().len();
    assert!(len < 60 * (25 * 3 + 47 * 2 + 24) + 600, "{len}");
}
