//! Parameters in force, from parameter sets that come in the session description and with the pictures.
//!
//! Invariants: the same allocation is given out while nothing changes; a new sequence parameter set takes force at a sync
//! sample only (H.264 7.4.1.2.1, H.265 7.4.2.4.2), together with all that came since the last.

use std::sync::Arc;

use bytes::Bytes;

use crate::param_sets::{News, ParamSets};
use crate::{
    Picture, RecordError, ReorderLimit, ReorderObserver, SyncKind, TrackParams, VideoCodec, VideoParams,
};

/// What a picture changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamChange {
    /// Nothing: the parameters are the same allocation as before.
    Unchanged,
    /// Only the reorder depth seen is larger: no new sample entry is needed.
    ReorderDepth,
    /// Parameters that belong in a sample entry; also when there were none before.
    Parameters,
}

/// Keeps the parameters of one video track.
#[derive(Clone, Debug)]
pub struct ParamTracker {
    sets: ParamSets,
    order: ReorderObserver,
    limit: ReorderLimit,
    current: Option<Arc<TrackParams>>,
    news: News,
}

impl ParamTracker {
    /// Starts without any parameter set.
    pub fn new(codec: VideoCodec) -> Self {
        let limit = ReorderLimit::AtMost(16);
        ParamTracker {
            sets: ParamSets::new(codec),
            order: ReorderObserver::new(limit),
            limit,
            current: None,
            news: News::None,
        }
    }

    /// Takes parameter sets that came without a picture: from the session description or alone in packets.
    ///
    /// While there are no parameters they take force as soon as they are complete, otherwise with the next sync sample.
    pub fn offer(&mut self, sets: &[Bytes]) {
        for nal in sets {
            self.news = self.news.max(self.sets.take(nal));
        }
        if self.current.is_none() {
            self.rebuild(None);
        }
    }

    /// As [`ParamTracker::offer`], from the body of an `avcC` or `hvcC` box.
    ///
    /// # Errors
    /// [`RecordError::Malformed`]; nothing is taken then.
    pub fn offer_record(&mut self, record: &Bytes) -> Result<(), RecordError> {
        let sets = match self.sets.codec() {
            VideoCodec::H264 => crate::h264::parameter_sets(record),
            VideoCodec::H265 => crate::h265::parameter_sets(record),
        }?;
        self.offer(&sets);
        Ok(())
    }

    /// Takes the next picture in decoding order, with its RTP time unrolled.
    ///
    /// [`ParamTracker::params`] are then those of this picture.
    pub fn update(&mut self, picture: &Picture, rtp_time: i64) -> ParamChange {
        for nal in &picture.parameter_sets {
            self.news = self.news.max(self.sets.take(nal));
        }
        let before = self.current.clone();
        // Picture parameter sets may change anywhere; while a sequence parameter set waits, they wait with it.
        let due = match self.news {
            News::None => before.is_none() || self.sets.refers_elsewhere(picture.pps_id),
            News::Picture => true,
            News::Sequence => false,
        };
        if picture.sync.is_sync() && (due || self.news == News::Sequence) {
            self.rebuild(picture.pps_id);
        } else if due && before.is_some() {
            self.rebuild(None);
        }
        self.watch_order(rtp_time, picture.sync);
        match (&before, &self.current) {
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) => ParamChange::Unchanged,
            (Some(old), Some(new)) if same_sample_entry(old, new) => ParamChange::ReorderDepth,
            (_, Some(_)) => ParamChange::Parameters,
            (_, None) => ParamChange::Unchanged,
        }
    }

    /// Parameters in force; `None` until every set that decoding needs has come.
    pub fn params(&self) -> Option<&Arc<TrackParams>> {
        self.current.as_ref()
    }

    /// How many pictures the next one may precede in presentation order; see [`ReorderObserver::tolerance`].
    pub fn reorder_tolerance(&self) -> u8 {
        self.order.tolerance()
    }

    /// Parameter sets that could not be read and were left out.
    pub fn rejected(&self) -> u64 {
        self.sets.rejected()
    }

    /// Brings the sets that are there into force, if they suffice.
    fn rebuild(&mut self, pps_id: Option<u8>) {
        let Ok((mut params, limit)) = self.sets.build(pps_id) else { return };
        self.news = News::None;
        if limit != self.limit {
            self.limit = limit;
            self.order = ReorderObserver::new(limit);
        }
        params.reorder_depth = self.order.depth();
        self.set(params);
    }

    fn watch_order(&mut self, rtp_time: i64, sync: SyncKind) {
        self.order.push(rtp_time, sync);
        let depth = self.order.depth();
        if let Some(TrackParams::Video(video)) = self.current.as_deref()
            && video.reorder_depth != depth
        {
            self.set(VideoParams { reorder_depth: depth, ..video.clone() });
        }
    }

    fn set(&mut self, params: VideoParams) {
        let params = TrackParams::Video(params);
        if self.current.as_deref() != Some(&params) {
            self.current = Some(Arc::new(params));
        }
    }
}

/// True when both differ at most in their reorder depth.
fn same_sample_entry(a: &TrackParams, b: &TrackParams) -> bool {
    match (a, b) {
        (TrackParams::Video(a), TrackParams::Video(b)) => {
            *a == VideoParams { reorder_depth: a.reorder_depth, ..b.clone() }
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_bits::Bits;
    use crate::{Leading, SyncKind};
    use proptest::prelude::*;

    /// H.264 Main, one reference picture, no usability information.
    fn sps(id: u32, width_mbs: u32) -> Bytes {
        let mut bits = Bits::after(&[0x67, 77, 0, 31]);
        bits.ue(id).ue(0).ue(0).ue(0).ue(1).fixed(1, 0).ue(width_mbs - 1).ue(44).fixed(2, 3).fixed(2, 0);
        bits.nal().into()
    }

    fn pps(id: u32, sps_id: u32, rest: u32) -> Bytes {
        Bits::after(&[0x68]).ue(id).ue(sps_id).fixed(8, rest).nal().into()
    }

    fn picture(sync: SyncKind, sets: &[Bytes], pps_id: u8) -> Picture {
        Picture {
            payload: Bytes::new(),
            sync,
            leading: Leading::No,
            parameter_sets: sets.to_vec(),
            pps_id: Some(pps_id).filter(|_| sync.is_sync()),
            damaged: 0,
        }
    }

    /// A tracker and the times it was asked at.
    struct Run {
        tracker: ParamTracker,
        time: i64,
    }

    impl Run {
        fn new() -> Self {
            Run { tracker: ParamTracker::new(VideoCodec::H264), time: 0 }
        }

        fn idr(&mut self, sets: &[Bytes], pps_id: u8) -> ParamChange {
            self.time += 3600;
            self.tracker.update(&picture(SyncKind::Closed, sets, pps_id), self.time)
        }

        fn p(&mut self, sets: &[Bytes]) -> ParamChange {
            self.time += 3600;
            self.tracker.update(&picture(SyncKind::None, sets, 0), self.time)
        }

        fn video(&self) -> &VideoParams {
            self.tracker.params().and_then(|p| p.video()).unwrap()
        }

        /// Sets of the record in force.
        fn sets(&self) -> Vec<Bytes> {
            crate::h264::parameter_sets(&self.video().config).unwrap()
        }
    }

    use ParamChange::{Parameters, ReorderDepth, Unchanged};

    #[test]
    fn in_band_only() {
        let mut run = Run::new();
        assert_eq!(run.p(&[]), Unchanged);
        assert_eq!(run.idr(&[], 0), Unchanged);
        assert!(run.tracker.params().is_none());
        // Half of the sets, the other half with the next sync sample.
        assert_eq!(run.idr(&[sps(0, 80)], 0), Unchanged);
        assert_eq!(run.p(&[pps(0, 0, 1)]), Unchanged);
        assert_eq!(run.idr(&[], 0), Parameters);
        assert_eq!((run.video().width, run.video().height), (1280, 720));
        let first = run.tracker.params().unwrap().clone();
        assert_eq!(run.p(&[]), Unchanged);
        assert_eq!(run.idr(&[sps(0, 80), pps(0, 0, 1)], 0), Unchanged);
        assert!(Arc::ptr_eq(&first, run.tracker.params().unwrap()));
    }

    #[test]
    fn from_the_description() {
        let mut run = Run::new();
        run.tracker.offer(&[sps(0, 80)]);
        assert!(run.tracker.params().is_none());
        run.tracker.offer(&[pps(0, 0, 1)]);
        assert_eq!(run.video().width, 1280);
        assert_eq!(run.idr(&[], 0), Unchanged);
        // What comes with the pictures counts, also when it came alone before.
        run.tracker.offer(&[sps(0, 40), pps(0, 0, 2)]);
        assert_eq!(run.video().width, 1280);
        assert_eq!(run.p(&[]), Unchanged);
        assert_eq!(run.idr(&[], 0), Parameters);
        assert_eq!((run.video().width, run.sets()), (640, vec![sps(0, 40), pps(0, 0, 2)]));
    }

    #[test]
    fn from_a_record() {
        let mut other = Run::new();
        other.tracker.offer(&[sps(0, 80), pps(0, 0, 1)]);
        let record = other.video().config.clone();
        let mut run = Run::new();
        run.tracker.offer_record(&record).unwrap();
        assert_eq!(run.video(), other.video());
        assert_eq!(run.tracker.offer_record(&record.slice(..9)), Err(RecordError::Malformed));
    }

    #[test]
    fn start_codes_and_rubbish_in_the_description() {
        let mut run = Run::new();
        let joined = [&[0, 0, 0, 1][..], &sps(0, 80), &[0, 0, 1], &pps(0, 0, 1), &[0, 0, 0, 1]].concat();
        run.tracker.offer(&[joined.into()]);
        assert_eq!(run.sets(), [sps(0, 80), pps(0, 0, 1)]);
        assert_eq!(run.tracker.rejected(), 0);
        run.tracker.offer(&[Bytes::from_static(&[0x67, 77]), vec![0x68; 5000].into(), Bytes::new()]);
        assert_eq!((run.tracker.rejected(), run.idr(&[], 0)), (2, Unchanged));
        // Neither a slice nor a message is a parameter set.
        run.tracker.offer(&[Bytes::from_static(&[0x65, 0x88]), Bytes::from_static(&[6, 5, 0, 0x80])]);
        assert_eq!((run.tracker.rejected(), run.idr(&[], 0)), (2, Unchanged));
    }

    #[test]
    fn a_new_size_comes_into_force_at_the_sync_sample() {
        let mut run = Run::new();
        assert_eq!(run.idr(&[sps(0, 80), pps(0, 0, 1), pps(1, 0, 1)], 0), Parameters);
        assert_eq!(run.p(&[sps(0, 40), pps(0, 0, 1)]), Unchanged);
        assert_eq!(run.video().width, 1280);
        assert_eq!(run.idr(&[], 0), Parameters);
        // Picture parameter set 1 was made for the old size and did not come again.
        assert_eq!((run.video().width, run.sets()), (640, vec![sps(0, 40), pps(0, 0, 1)]));
        // A sequence parameter set alone leaves the others as they are.
        assert_eq!(run.idr(&[sps(0, 20)], 0), Parameters);
        assert_eq!(run.sets(), [sps(0, 20), pps(0, 0, 1)]);
    }

    #[test]
    fn picture_parameter_sets_change_anywhere() {
        let mut run = Run::new();
        run.idr(&[sps(0, 80), pps(0, 0, 1)], 0);
        assert_eq!(run.p(&[pps(0, 0, 2)]), Parameters);
        assert_eq!(run.sets(), [sps(0, 80), pps(0, 0, 2)]);
        assert_eq!(run.p(&[pps(3, 0, 2)]), Parameters);
        assert_eq!(run.sets(), [sps(0, 80), pps(0, 0, 2), pps(3, 0, 2)]);
    }

    #[test]
    fn several_ids_are_kept_and_the_slice_chooses() {
        let mut run = Run::new();
        let all = [sps(0, 80), sps(1, 40), pps(0, 0, 1), pps(1, 1, 1)];
        assert_eq!(run.idr(&all, 0), Parameters);
        assert_eq!((run.video().width, run.sets()), (1280, all.to_vec()));
        assert_eq!(run.idr(&all, 1), Parameters);
        assert_eq!((run.video().width, run.sets()), (640, all.to_vec()));
        assert_eq!(run.idr(&[], 1), Unchanged);
        assert_eq!(run.idr(&[], 0), Parameters);
        // A set that never came: the parameters stay.
        assert_eq!(run.idr(&[], 7), Unchanged);
    }

    #[test]
    fn the_reorder_depth_is_what_is_seen() {
        let mut run = Run::new();
        run.idr(&[sps(0, 80), pps(0, 0, 1)], 0);
        assert_eq!((run.video().reorder_depth, run.tracker.reorder_tolerance()), (0, 5));
        run.time += 2 * 3600;
        assert_eq!(run.p(&[]), Unchanged);
        run.time -= 3 * 3600;
        assert_eq!(run.p(&[]), ReorderDepth);
        assert_eq!(run.video().reorder_depth, 1);
        assert_eq!(run.p(&[]), Unchanged);
        // New sets of another kind start the observation anew.
        assert_eq!(run.idr(&[sps(0, 40), pps(0, 0, 1)], 0), Parameters);
        assert_eq!((run.video().reorder_depth, run.tracker.reorder_tolerance()), (0, 10));
    }

    #[test]
    fn sets_do_not_hold_whole_pictures_in_memory() {
        let big = Bytes::from([&sps(0, 80)[..], &[0; 100_000]].concat());
        let mut run = Run::new();
        let shared = big.slice(..sps(0, 80).len());
        run.idr(&[shared.clone(), pps(0, 0, 1)], 0);
        drop(shared);
        assert!(big.is_unique());
    }

    proptest! {
        /// Any sets in any order: no panic, and the allocation changes exactly when a change is told.
        #[test]
        fn changes_are_told(steps in proptest::collection::vec((0u8..4, 0u32..3, 1u32..4, 0u32..3, 0u8..3), 0..60)) {
            let mut run = Run::new();
            for (kind, id, width, other, sync) in steps {
                let set = match kind {
                    0 => Some(sps(id, width)),
                    1 => Some(pps(id, other, width)),
                    2 => Some(Bytes::from(vec![0x67, id as u8, other as u8, 0xff])),
                    _ => None,
                };
                let sync = [SyncKind::None, SyncKind::Closed, SyncKind::Open][usize::from(sync)];
                let before = run.tracker.params().cloned();
                run.time += 3600;
                let change = run.tracker.update(&picture(sync, set.as_slice(), other as u8), run.time);
                let same = match (&before, run.tracker.params()) {
                    (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                    (None, None) => true,
                    _ => false,
                };
                prop_assert_eq!(same, change == Unchanged);
                if let (Some(a), Some(b)) = (&before, run.tracker.params()) {
                    prop_assert!(same == (a == b));
                }
            }
        }
    }
}
