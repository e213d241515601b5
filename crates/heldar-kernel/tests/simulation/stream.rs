//! One stream: a camera, its recorder, and what the recorder was handed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use heldar_base::{StreamId, WallTime};
use heldar_disk::{Muxer, SegmentKey, SegmentWriter, Tag};
use heldar_kernel::engine::live_index::LiveIndex;
use heldar_kernel::engine::stream::carry_out;
use heldar_media::{AccessUnit, TrackKind};
use heldar_recorder::{Order, Recorder, RecorderConfig};
use heldar_testkit::sim::{Sent, SimCamera};

use crate::footage::{Fate, Footage};

/// Pictures that come at most while a complete segment waits for its sound.
const WAITING: usize = 20;

/// A picture that the recorder was handed.
#[derive(Clone, Debug)]
pub(crate) struct Handed {
    sent: Option<Sent>,
    captured_at: WallTime,
    sync: bool,
}

/// A stream of one process.
pub(crate) struct SimStream {
    pub(crate) id: StreamId,
    pub(crate) camera: SimCamera,
    pub(crate) config: RecorderConfig,
    pub(crate) recorder: Recorder,
    pub(crate) muxer: Muxer,
    orders: Vec<Order>,
    /// Pictures of this process, in order.
    handed: Vec<Handed>,
    /// Before which of them something happened that ends recording up to the next sync sample.
    breaks: Vec<usize>,
    /// Segments that have failed.
    failed: usize,
    /// Where sessions begin.
    runs: Vec<usize>,
    newest_params: Option<std::sync::Arc<heldar_media::TrackParams>>,
}

/// What a stream's part of the process shares.
pub(crate) struct Tools<'a> {
    pub(crate) footage: &'a std::sync::Mutex<Footage>,
    pub(crate) live: &'a LiveIndex,
    pub(crate) writer: &'a SegmentWriter<Tag>,
    pub(crate) keys: &'a AtomicU64,
    /// What was sent, over all processes.
    pub(crate) payloads: &'a mut BTreeMap<Sent, Bytes>,
}

impl SimStream {
    pub(crate) fn new(id: StreamId, camera: SimCamera, config: RecorderConfig, muxer: Muxer) -> Self {
        SimStream {
            recorder: Recorder::new(config),
            id,
            camera,
            config,
            muxer,
            orders: Vec::new(),
            handed: Vec::new(),
            breaks: Vec::new(),
            failed: 0,
            runs: Vec::new(),
            newest_params: None,
        }
    }

    /// A new process takes over, with the same camera.
    pub(crate) fn restarted(self, muxer: Muxer) -> Self {
        SimStream::new(self.id, self.camera, self.config, muxer)
    }

    /// A session has begun.
    pub(crate) fn started(
        &mut self,
        audio: Option<std::sync::Arc<heldar_media::TrackParams>>,
        silence: Option<Bytes>,
    ) {
        self.recorder.run_started(audio, silence);
        self.runs.push(self.handed.len());
        self.newest_params = None;
    }

    /// Hands a unit on, as the stream's task does.
    pub(crate) fn unit(&mut self, unit: &AccessUnit, tools: &mut Tools<'_>) {
        if unit.track == TrackKind::Video {
            let other = self.newest_params.as_ref().is_some_and(|known| *known != unit.params);
            if other && !unit.sync.is_sync() {
                self.breaks.push(self.handed.len());
            }
            self.newest_params = Some(unit.params.clone());
            let (sent, captured_at, sync) = (Sent::of(&unit.payload), unit.captured_at, unit.sync.is_sync());
            if sent.is_none() && sync {
                // Nothing can be decoded up to the next one.
                self.breaks.push(self.handed.len());
            }
            self.handed.push(Handed { sent, captured_at, sync });
        }
        if let Some(sent) = Sent::of(&unit.payload) {
            tools.payloads.insert(sent, unit.payload.clone());
        }
        self.recorder.push(unit, &mut self.orders);
        self.carry_out(tools);
    }

    /// The session is over.
    pub(crate) fn ended(
        &mut self,
        reason: heldar_base::EndReason,
        cause: heldar_base::Cause,
        tools: &mut Tools<'_>,
    ) {
        self.recorder.run_ended(reason, Some(cause), &mut self.orders);
        self.carry_out(tools);
    }

    fn carry_out(&mut self, tools: &mut Tools<'_>) {
        let mut begun = Vec::new();
        {
            let mut footage = tools.footage.lock().unwrap();
            for order in &self.orders {
                footage.ordered(&self.id, order);
                if let Order::Begin { serial, .. } = order {
                    begun.push(*serial);
                }
            }
        }
        let open = self.recorder.open_segment();
        let refused = refusals(tools.writer);
        let first = tools.keys.load(Ordering::Relaxed);
        carry_out(&mut self.recorder, &mut self.muxer, &mut self.orders, tools.live, tools.writer);
        let keys: Vec<SegmentKey> = (first..tools.keys.load(Ordering::Relaxed)).map(SegmentKey).collect();
        let mut footage = tools.footage.lock().unwrap();
        let all = keys.len() == begun.len();
        for (at, key) in keys.into_iter().enumerate() {
            let serial = if all { begun.get(at).copied() } else { self.muxer.serial_of(key) };
            if let Some(serial) = serial {
                footage.named(key, &self.id, serial);
            }
        }
        if refusals(tools.writer) > refused {
            footage.refused(&self.id);
        }
        let failed = footage.failed_of(&self.id);
        if failed > self.failed || self.recorder.open_segment() != open {
            self.breaks.push(self.handed.len());
        }
        self.failed = failed;
    }

    /// Every picture of this process is in an ordered fragment, or left out for a reason. `over` tells that all sessions
    /// have ended.
    pub(crate) fn check_pictures(&self, footage: &Footage, over: bool) {
        let mut place = BTreeMap::new();
        let mut before: Option<Sent> = None;
        for planned in footage.of(&self.id) {
            for sent in &planned.video {
                assert!(before.is_none_or(|before| before < *sent), "{}: {sent:?} after {before:?}", self.id);
                before = Some(*sent);
                place.insert(*sent, planned.fate);
            }
        }
        let recorded = |handed: &Handed| handed.sent.is_some_and(|sent| place.contains_key(&sent));
        let mut at = 0;
        while at < self.handed.len() {
            if self.handed[at].sent.is_none() || recorded(&self.handed[at]) {
                at += 1;
                continue;
            }
            let end =
                (at..self.handed.len()).find(|n| recorded(&self.handed[*n])).unwrap_or(self.handed.len());
            self.check_missing(at, end, over);
            at = end;
        }
    }

    fn check_missing(&self, from: usize, to: usize, over: bool) {
        let missing = &self.handed[from..to];
        if to == self.handed.len() && !over {
            // The open fragment, the held picture, and what comes before the first sync sample.
            return;
        }
        // A segment that waits for its last sound may fail when the next one has begun.
        let rotated = self.handed.get(to).is_some_and(|handed| handed.sync);
        let late = if rotated { WAITING } else { 0 };
        // What nobody sent, a damaged picture, may end a segment too.
        let unsent = self.handed[..from].iter().rev().take_while(|handed| handed.sent.is_none()).count();
        let ended = self.breaks.iter().any(|at| (from - unsent..=to + late).contains(at));
        let begins = self.runs.contains(&from)
            || (from > 0 && self.handed[from - 1].sent.is_none() && self.handed[from - 1].sync);
        // Pictures shown before the sync sample that recording began with.
        let sync = self.handed[..from].iter().rfind(|handed| handed.sync);
        let leading = sync.is_some_and(|sync| missing.iter().all(|m| m.captured_at < sync.captured_at));
        assert!(
            ended || begins || leading,
            "{}: pictures {from} to {to} were not recorded, {:?}; breaks {:?}, runs {:?}",
            self.id,
            &self.handed[from.saturating_sub(4)..(to + 3).min(self.handed.len())],
            self.breaks,
            self.runs,
        );
    }
}

/// True for a fragment that must be readable.
pub(crate) fn must_be_there(fate: Fate, powered: bool) -> bool {
    match fate {
        Fate::Durable => true,
        Fate::Written(_) => powered,
        Fate::Ordered | Fate::Lost | Fate::Deleted => false,
    }
}

fn refusals(writer: &SegmentWriter<Tag>) -> u64 {
    writer.stats().refused.load(Ordering::Relaxed)
}
