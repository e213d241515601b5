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
