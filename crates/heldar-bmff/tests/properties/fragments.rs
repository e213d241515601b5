//! Fragment headers, shifted and cut ones.

use heldar_bmff::*;
use proptest::prelude::*;

use crate::world::{audio_params, footage, video_params};

fn tracks() -> Vec<TrackEntry> {
    InitSegment::new(&video_params(), Some(&audio_params())).unwrap().tracks().to_vec()
}

/// A file of an init segment and these fragments.
fn file(fragments: &[&[u8]]) -> Vec<u8> {
    let init = InitSegment::new(&video_params(), Some(&audio_params())).unwrap();
    let mut bytes = init.bytes().to_vec();
    fragments.iter().for_each(|f| bytes.extend_from_slice(f));
    bytes
}

#[test]
fn impossible_fragments_are_refused() {
    let samples =
        |size, count| vec![SampleMeta { size, duration: 1, composition_offset: 0, sync: true }; count];
    let check = |video: &[SampleMeta], audio: &[SampleMeta], base_decode_time| {
        let runs = [(1, video), (2, audio)].map(|(track_id, samples)| TrackRun {
            track_id,
            base_decode_time,
            samples,
        });
        FragmentHeader::new(1, &runs)
    };
    assert!(check(&samples(1 << 30, 3), &[], 0).is_ok());
    assert!(matches!(check(&samples(1 << 30, 4), &[], 0), Err(Error::TooLarge(_))));
    // The audio lies behind the video, further than a data offset reaches.
    assert!(matches!(check(&samples(1 << 30, 2), &samples(1, 1), 0), Err(Error::TooLarge(_))));
    assert!(matches!(check(&samples(1, 1), &[], u64::MAX), Err(Error::TooLarge(_))));
    assert!(matches!(check(&[], &[], 0), Err(Error::Unsupported(_))));
}

#[test]
fn impossible_parameters_are_refused() {
    let check = |change: fn(&mut heldar_media::VideoParams, &mut heldar_media::AudioParams)| {
        let (mut video, mut audio) = (video_params(), audio_params());
        change(&mut video, &mut audio);
        InitSegment::new(&video, Some(&audio)).is_ok()
    };
    assert!(check(|_, _| {}));
    assert!(check(|v, _| v.pixel_aspect = Some((4, 3))));
    assert!(!check(|v, _| v.width = 65_536));
    assert!(!check(|v, _| v.height = 0));
    assert!(!check(|v, _| v.config = v.config.slice(..5)));
    assert!(!check(|_, a| a.config = a.config.slice(..1)));
    assert!(!check(|_, a| a.sample_rate = 0));
    assert!(!check(|_, a| a.codec = heldar_media::AudioCodec::Opus));
}

#[test]
fn parameters_are_found_again() {
    let mut video = video_params();
    video.pixel_aspect = Some((16, 11));
    let init = InitSegment::new(&video, Some(&audio_params())).unwrap();
    let read = InitInfo::parse(init.bytes()).unwrap();
    assert_eq!(read.tracks[0].params().unwrap().video(), Some(&video));
    assert_eq!(read.tracks[1].params().unwrap().audio(), Some(&audio_params()));
}

#[test]
fn a_shift_that_is_impossible_changes_nothing() {
    let samples = vec![SampleMeta { size: 1, duration: 1, composition_offset: 0, sync: true }];
    let runs = [(1, 0), (2, 1)].map(|(track_id, base_decode_time)| TrackRun {
        track_id,
        base_decode_time,
        samples: &samples,
    });
    let header = FragmentHeader::new(1, &runs).unwrap();
    let moof = &header.bytes[..header.moof_len as usize];
    let mut fast = tracks();
    fast[1].timescale = 90_000;
    let video_only = tracks()[..1].to_vec();
    for (base, tracks, moof) in [(u64::MAX, &fast, moof), (5, &video_only, moof), (5, &fast, &header.bytes)] {
        let mut shifted = moof.to_vec();
        assert!(shift_decode_times(&mut shifted, base, tracks).is_err());
        assert_eq!(shifted, moof);
    }
}

proptest! {
    #[test]
    fn shifted_decode_times(seed: u64, base in 0..1u64 << 50) {
        for recorded in footage(seed, 2) {
            let table = recorded.table();
            let mut bytes = recorded.bytes.clone();
            for span in table.fragments() {
                let moof = &mut bytes[span.offset as usize..][..span.moof_len as usize];
                shift_decode_times(moof, base, &table.entries()).unwrap();
            }
            let shifted = scan(bytes.as_slice()).unwrap().table;
            prop_assert_eq!(shifted.fragments(), table.fragments());
            for (before, after) in table.tracks().iter().zip(shifted.tracks()) {
                let by = (u128::from(base) * u128::from(before.entry().timescale) / 90_000) as u64;
                prop_assert_eq!(before.samples(), after.samples());
                for (a, b) in before.runs().iter().zip(after.runs()) {
                    prop_assert_eq!(a.base_decode_time + by, b.base_decode_time);
                }
            }
        }
    }

    #[test]
    fn cut_fragments_keep_what_is_needed(seed: u64, until in 0..400_000u64, at_start: Option<prop::sample::Index>) {
        for recorded in footage(seed, 2) {
            let table = recorded.table();
            // Anywhere, or where a picture comes on screen.
            let until = at_start.map_or(until, |at| {
                let start = at.get(&recorded.pictures).start - recorded.wall_start;
                start.to_ticks(90_000) as u64
            });
            for (number, span) in table.fragments().iter().enumerate() {
                let bytes = &recorded.bytes[span.offset as usize..];
                let cut = cut_fragment(&bytes[..span.moof_len as usize], until, &tracks());
                // The model: a sample is needed when it, or one after it in decoding order, is presented in time.
                let mut kept = Vec::new();
                for track in table.tracks() {
                    let Some(run) = track.run(number) else { continue };
                    let samples = track.run_samples(run);
                    let mut time = run.base_decode_time as i64;
                    let in_time: Vec<_> = samples.iter().map(|s| {
                        let shown = time + i64::from(s.composition_offset);
                        time += i64::from(s.duration);
                        shown * 90_000 < until as i64 * i64::from(track.entry().timescale)
                    }).collect();
                    let count = (0..samples.len()).filter(|&i| in_time[i..].contains(&true)).count();
                    if count > 0 {
                        let len: usize = samples[..count].iter().map(|s| s.size as usize).sum();
                        let data = &recorded.bytes[run.data_offset as usize..][..len];
                        kept.push((track.entry().id, run.base_decode_time, samples[..count].to_vec(), data));
                    }
                }
                if kept.is_empty() {
                    prop_assert!(matches!(cut, Err(Error::NoPictures)));
                    continue;
                }
                let cut = cut.unwrap();
                let mut whole = cut.header.clone();
                cut.payload.iter().for_each(|r| whole.extend(&bytes[r.start as usize..r.end as usize]));
                prop_assert_eq!(whole.len() as u64, cut.total_len());
                let alone = file(&[&whole]);
                let found = scan(alone.as_slice()).unwrap();
                prop_assert_eq!(&found.tail, &Tail::Clean);
                prop_assert_eq!(found.table.fragments()[0].moof_len, cut.moof_len);
                let found: Vec<_> = found.table.tracks().iter().filter(|t| !t.runs().is_empty()).map(|t| {
                    let run = t.runs()[0];
                    let len: usize = t.samples().iter().map(|s| s.size as usize).sum();
                    let data = &alone[run.data_offset as usize..][..len];
                    (t.entry().id, run.base_decode_time, t.samples().to_vec(), data)
                }).collect();
                prop_assert_eq!(found, kept);
            }
        }
    }
}
