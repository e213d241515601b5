//! Rings in memory, alone and together.
use bytes::Bytes;
use heldar_base::MonoTime;
use heldar_media::{AudioCodec, AudioParams, SyncKind, TrackParams};
use proptest::prelude::*;

use super::*;

const KB: usize = 1024 - OVERHEAD;

fn at(ms: i64) -> WallTime {
    WallTime(1_700_000_000_000_000 + ms * 1000)
}

fn unit(ms: i64, sync: bool, bytes: usize) -> Arc<AccessUnit> {
    // Only the track and the size of a unit matter here.
    let params = TrackParams::Audio(AudioParams {
        codec: AudioCodec::Aac,
        codec_string: String::new(),
        sample_rate: 8000,
        channels: 1,
        frame_samples: 1024,
        config: Bytes::new(),
    });
    Arc::new(AccessUnit {
        track: TrackKind::Video,
        captured_at: at(ms),
        received_at: MonoTime(0),
        rtp_time: ms,
        sync: if sync { SyncKind::Closed } else { SyncKind::None },
        params: Arc::new(params),
        payload: Bytes::from(vec![0; bytes]),
        original: None,
    })
}

/// Pictures every 100 ms, every tenth a sync sample.
fn fill(rolls: &mut PreRolls<u8>, key: u8, range: std::ops::Range<i64>, bytes: usize) {
    range.for_each(|n| rolls.push(&key, &unit(n * 100, n % 10 == 0, bytes)));
}

/// Everything that is to be recorded, in ms; `None` where something is missing.
fn read(rolls: &mut PreRolls<u8>, key: u8) -> Vec<Option<i64>> {
    let ms = |held| match held {
        Held::Unit(unit) => Some((unit.captured_at - at(0)).0 / 1000),
        Held::Torn => None,
    };
    std::iter::from_fn(|| rolls.next(&key)).map(ms).collect()
}

fn run(range: std::ops::Range<i64>) -> Vec<Option<i64>> {
    range.map(|n| Some(n * 100)).collect()
}

#[test]
fn a_ring_reaches_back_to_the_sync_sample_before() {
    let mut rolls = PreRolls::new(1 << 20);
    rolls.keep(&0, Some(Micros::from_secs(2)));
    fill(&mut rolls, 0, 5..48, KB);
    // 4.7 s less 2 s is 2.7 s: from the sync sample at 2 s on.
    assert_eq!(rolls.held_bytes(), 28 * 1024);
    assert_eq!(rolls.reach(&0, at(2_700)), Some(at(2_000)));
    assert_eq!(rolls.reach(&0, at(3_050)), Some(at(3_000)));
    assert_eq!(rolls.reach(&0, at(100)), Some(at(2_000)));
    assert_eq!(rolls.start(&0, at(3_050), at(0)), Some(at(3_000)));
    // What comes meanwhile goes out behind what was held, and nothing twice.
    let first: Vec<_> = (0..5).filter_map(|_| rolls.next(&0)).collect();
    assert_eq!(first.len(), 5);
    fill(&mut rolls, 0, 48..60, KB);
    assert!(rolls.is_read(&0));
    assert_eq!(read(&mut rolls, 0), run(35..60));
    assert!(!rolls.is_read(&0));
}

#[test]
fn what_was_recorded_does_not_go_out_again() {
    let mut rolls = PreRolls::new(1 << 20);
    rolls.keep(&0, Some(Micros::from_secs(10)));
    fill(&mut rolls, 0, 0..60, KB);
    rolls.recorded(&0, Interval::new(at(-5_000), at(2_300)));
    assert_eq!(rolls.start(&0, at(0), at(2_300)), Some(at(2_300)));
    assert_eq!(read(&mut rolls, 0), run(23..60));
    // Recorded and held are one stretch.
    assert_eq!(rolls.reach(&0, at(-2_000)), Some(at(-2_000)));
    assert_eq!(rolls.reach(&0, at(-9_000)), Some(at(-5_000)));
    assert_eq!(rolls.start(&0, at(0), at(99_000)), None);
    rolls.clear(&0);
    assert_eq!((rolls.held_bytes(), rolls.reach(&0, at(0))), (0, None));
}

#[test]
fn the_largest_gives_way() {
    let mut rolls = PreRolls::new(90 * 1024);
    for key in 0..3 {
        rolls.keep(&key, Some(Micros::from_secs(300)));
    }
    for n in 0..200 {
        for (key, size) in [(0, 1), (1, 4), (2, 4)] {
            fill(&mut rolls, key, n..n + 1, size * 1024 - OVERHEAD);
            assert!(rolls.held_bytes() <= 90 * 1024);
        }
    }
    let held = |key| rolls.rings[&key].bytes / 1024;
    // A third is 30: the small stream has that or more of it, and none has less than a group of its pictures less.
    assert!(held(0) >= 20 && held(0) <= 40, "{}", held(0));
    assert!(held(1).abs_diff(held(2)) <= 40, "{} {}", held(1), held(2));
    let reach = |key| rolls.reach(&key, at(0)).map(|from| (at(19_900) - from).0 / 1_000_000);
    assert!(reach(0) > reach(1));
}

#[test]
fn what_was_to_be_recorded_and_gave_way_is_told() {
    let mut rolls = PreRolls::new(25 * 1024);
    rolls.keep(&0, Some(Micros::from_secs(300)));
    fill(&mut rolls, 0, 0..22, KB);
    rolls.start(&0, at(0), at(0));
    fill(&mut rolls, 0, 22..31, KB);
    assert_eq!(read(&mut rolls, 0), [vec![None], run(10..31)].concat());
    // A single group that is too large: nothing until the next sync sample.
    let mut rolls = PreRolls::new(5 * 1024);
    rolls.keep(&0, Some(Micros::from_secs(300)));
    fill(&mut rolls, 0, 0..3, KB);
    rolls.start(&0, at(0), at(0));
    fill(&mut rolls, 0, 3..12, KB);
    assert_eq!(read(&mut rolls, 0), [vec![None], run(10..12)].concat());
}

#[test]
fn a_ring_that_is_let_go_hands_out_what_is_due() {
    let mut rolls = PreRolls::new(1 << 20);
    rolls.keep(&0, Some(Micros::from_secs(2)));
    fill(&mut rolls, 0, 0..15, KB);
    rolls.start(&0, at(0), at(0));
    rolls.keep(&0, None);
    fill(&mut rolls, 0, 15..17, KB);
    assert_eq!(read(&mut rolls, 0), run(0..17));
    assert_eq!(rolls.held_bytes(), 0);
}

proptest! {
    /// Whatever happens: never more than allowed, sums are true, rings begin with a sync sample, and what goes out is one
    /// rising run that is broken only where that is told.
    #[test]
    fn rings_keep_their_promises(
        steps in prop::collection::vec((0u8..3, 0u8..8, 1usize..4000, any::<bool>()), 1..400),
        limit in 4_000usize..40_000,
    ) {
        let mut rolls = PreRolls::new(limit);
        let mut now = 0;
        let mut sent: [Option<i64>; 3] = [None; 3];
        for (key, what, bytes, sync) in steps {
            match what {
                0 => rolls.keep(&key, Some(Micros::from_secs(bytes as i64 % 5))),
                1 => { rolls.start(&key, at(now - 2_000), at(sent[usize::from(key)].map_or(0, |last| last + 1))); }
                2 => rolls.keep(&key, None),
                _ => { now += 100; rolls.push(&key, &unit(now, sync, bytes)); }
            }
            prop_assert!(rolls.held_bytes() <= limit);
            let sum: usize = rolls.rings.values().map(|ring| ring.bytes).sum();
            prop_assert_eq!(sum, rolls.held_bytes());
            for ring in rolls.rings.values() {
                prop_assert!(ring.units.front().is_none_or(|unit| unit.sync.is_sync()));
                let bytes: usize = ring.units.iter().map(|unit| unit.payload.len() + OVERHEAD).sum();
                prop_assert_eq!(bytes, ring.bytes);
            }
            if what == 7
                && let Some(Held::Unit(unit)) = rolls.next(&key)
            {
                let ms = (unit.captured_at - at(0)).0 / 1000;
                prop_assert!(sent[usize::from(key)].is_none_or(|last| ms > last));
                sent[usize::from(key)] = Some(ms);
            }
        }
    }
}
