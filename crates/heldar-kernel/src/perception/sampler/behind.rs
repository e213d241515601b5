//! A decoder that cannot keep up: where it goes on, so that what it makes stays of use.
//!
//! Owns: when pictures are left out for their age. Never: why there is too little time; the plan learns that from how late
//! pictures are and asks for less.

use std::sync::Arc;

use heldar_base::{Micros, MonoTime};
use heldar_live::{Bus, Received, Units};
use heldar_media::AccessUnit;

/// A picture that comes to the decoder so long after it was received is behind. More than makes the plan ask for less, less
/// than makes frames stale.
const BEHIND: Micros = Micros::from_millis(3_500);

/// The newest sync sample and what follows it, if the decoder is so far behind with `unit` that this is where to go on.
pub(super) fn newer(bus: &Bus, unit: &AccessUnit, now: MonoTime) -> Option<(Arc<AccessUnit>, Units)> {
    if now - unit.received_at < BEHIND {
        return None;
    }
    let mut units = bus.follow();
    match units.try_recv() {
        Some(Received::Piece(start)) if start.sync.is_sync() && start.captured_at > unit.captured_at => {
            Some((start, units))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use heldar_base::WallTime;
    use heldar_media::{SyncKind, TrackKind, TrackParams, VideoCodec, VideoParams};

    use super::*;

    #[test]
    fn it_goes_on_at_the_newest_sync_sample_and_never_goes_back() {
        let params = Arc::new(TrackParams::Video(VideoParams {
            codec: VideoCodec::H264,
            codec_string: "avc1.42c01f".to_owned(),
            width: 640,
            height: 360,
            pixel_aspect: None,
            nominal_interval: None,
            reorder_depth: 0,
            config: Bytes::new(),
        }));
        let picture = |second: i64, sync: SyncKind| {
            Arc::new(AccessUnit {
                track: TrackKind::Video,
                captured_at: WallTime(second * 1_000_000),
                received_at: MonoTime(second * 1_000_000),
                rtp_time: second * 90_000,
                sync,
                params: params.clone(),
                payload: Bytes::from_static(&[0; 10]),
                original: None,
            })
        };
        let bus = Bus::default();
        let all: Vec<_> = (0..9)
            .map(|second| picture(second, if second % 4 == 0 { SyncKind::Closed } else { SyncKind::None }))
            .collect();
        all.iter().take(7).for_each(|unit| bus.publish(unit.clone()));
        let at = |second: i64| MonoTime(second * 1_000_000);
        let goes_to =
            |unit: usize, now: i64| newer(&bus, &all[unit], at(now)).map(|(start, _)| start.captured_at);
        assert_eq!(goes_to(3, 6), None, "3 s are not too long");
        assert_eq!(goes_to(2, 6), Some(all[4].captured_at));
        assert_eq!(goes_to(4, 60), None, "it is in the newest group");
        assert_eq!(goes_to(5, 60), None);
        let (_, mut units) = newer(&bus, &all[2], at(6)).unwrap();
        assert!(matches!(units.try_recv(), Some(Received::Piece(next)) if Arc::ptr_eq(&next, &all[5])));
    }
}
