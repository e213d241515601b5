//! One viewer of a stream: which tracks it wants, its numbers, and the bounded queue between publisher and connection.
//!
//! The publisher never waits: a full queue is emptied and the viewer goes on with the next sync sample, counted. What was
//! skipped stays visible to the client as a hole in the sequence numbers.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;

use super::manners::Start;
use super::packetize::renumber;
use super::rtcp::SenderReport;

/// One packetized access unit, shared by all viewers.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) track: usize,
    /// Viewers may start here.
    pub(super) entry: bool,
    pub(super) channel: u8,
    pub(super) sequence_number: u16,
    pub(super) rtp_time: u32,
    pub(super) wire: Bytes,
}

/// What bytes on the wire are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// RTP packets.
    Media,
    /// A compound RTCP packet.
    Report,
}

/// When a viewer is sent a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReportDue {
    /// Now, as every few seconds.
    Now,
    /// Only if this is the first packet of the track.
    AtFirst,
}

/// What waits for one track of a viewer.
#[derive(Clone, Debug)]
pub(super) struct Queued {
    pub(super) track: usize,
    pub(super) kind: Kind,
    pub(super) wire: Bytes,
}

/// A track that the client has set up.
#[derive(Clone, Debug)]
pub(super) struct ViewerTrack {
    /// Channel for RTP; reports go out on `report_channel`.
    pub(super) channel: u8,
    pub(super) report_channel: u8,
    /// Announced by PLAY and carried by the first packet.
    pub(super) first_sequence_number: u16,
    /// Carried by the first packet if set.
    pub(super) first_rtp_time: Option<u32>,
    /// What to add to the shared sequence numbers; known from the first block after PLAY on.
    pub(super) add_sequence: Option<u16>,
    /// What to add to the shared RTP times; known from the first block on.
    pub(super) add_time: Option<u32>,
}

/// Where a viewer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Set up or paused.
    Idle,
    /// Nothing before this instant.
    Delayed(Instant),
    /// Waits for a unit to start with.
    AwaitingEntry,
    /// Gets everything.
    Running,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    tracks: Vec<Option<ViewerTrack>>,
    queue: VecDeque<Queued>,
    queued_bytes: usize,
    limit_bytes: usize,
    start: Start,
    closed: bool,
    skips: u64,
    skipped_units: u64,
}

/// One viewer; shared by its stream and its connection.
#[derive(Debug)]
pub(super) struct Viewer {
    state: Mutex<State>,
    /// Told when there is something to send or the viewer was closed.
    pub(super) wake: Notify,
}

/// How often a viewer fell behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Skips {
    pub(super) skips: u64,
    pub(super) units: u64,
}

impl Viewer {
    pub(super) fn new(tracks: usize) -> Self {
        Viewer {
            state: Mutex::new(State {
                phase: Phase::Idle,
                tracks: vec![None; tracks],
                queue: VecDeque::new(),
                queued_bytes: 0,
                limit_bytes: 0,
                start: Start::NextSync,
                closed: false,
                skips: 0,
                skipped_units: 0,
            }),
            wake: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a track or changes its channels; only before PLAY.
    pub(super) fn set_up(&self, track: usize, wanted: ViewerTrack) {
        if let Some(slot) = self.lock().tracks.get_mut(track) {
            *slot = Some(wanted);
        }
    }

    pub(super) fn tracks(&self) -> Vec<Option<ViewerTrack>> {
        self.lock().tracks.clone()
    }

    /// Begins to take blocks.
    pub(super) fn play(&self, start: Start, delay: Duration, limit_bytes: usize) {
        let mut state = self.lock();
        state.start = start;
        state.limit_bytes = limit_bytes;
        state.phase =
            if delay.is_zero() { Phase::AwaitingEntry } else { Phase::Delayed(Instant::now() + delay) };
    }

    /// Gives the next packet of a track this sequence number.
    pub(super) fn renumber(&self, track: usize, sequence_number: u16) {
        if let Some(Some(track)) = self.lock().tracks.get_mut(track) {
            track.first_sequence_number = sequence_number;
            track.add_sequence = None;
        }
    }

    /// Stops taking blocks and forgets those that wait.
    pub(super) fn pause(&self) {
        let mut state = self.lock();
        state.phase = Phase::Idle;
        state.queue.clear();
        state.queued_bytes = 0;
    }

    /// Ends the viewer; its connection is closed once it notices.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(super) fn is_playing(&self) -> bool {
        self.lock().phase != Phase::Idle
    }

    pub(super) fn skips(&self) -> Skips {
        let state = self.lock();
        Skips { skips: state.skips, units: state.skipped_units }
    }

    /// Hands over a unit. `report` makes the report that precedes it when one is due.
    pub(super) fn push(&self, block: &Block, due: ReportDue, report: impl FnOnce() -> Option<SenderReport>) {
        let mut state = self.lock();
        let wanted = matches!(state.tracks.get(block.track), Some(Some(_)));
        if state.closed || !wanted || block.wire.is_empty() || !state.admits(block) {
            return;
        }
        if state.queued_bytes + block.wire.len() > state.limit_bytes && !state.queue.is_empty() {
            state.skipped_units +=
                state.queue.iter().filter(|queued| queued.kind == Kind::Media).count() as u64;
            state.skips += 1;
            state.queue.clear();
            state.queued_bytes = 0;
            state.phase = Phase::AwaitingEntry;
            if !state.admits(block) {
                return;
            }
        }
        state.enqueue(block, due, report);
        drop(state);
        self.wake.notify_one();
    }

    /// Moves what waits to `out`, at most about `max_bytes`.
    pub(super) fn take(&self, max_bytes: usize, out: &mut VecDeque<Queued>) {
        let mut state = self.lock();
        let mut taken = 0;
        while taken < max_bytes {
            let Some(queued) = state.queue.pop_front() else { break };
            taken += queued.wire.len();
            state.queued_bytes -= queued.wire.len();
            out.push_back(queued);
        }
    }
}

impl State {
    /// Whether the viewer takes this block, after the changes of phase that it brings.
    fn admits(&mut self, block: &Block) -> bool {
        match self.phase {
            Phase::Idle => return false,
            Phase::Running => return true,
            Phase::Delayed(until) if Instant::now() < until => return false,
            Phase::Delayed(_) | Phase::AwaitingEntry => {}
        }
        if block.entry || self.start == Start::MidGop {
            self.phase = Phase::Running;
            return true;
        }
        self.phase = Phase::AwaitingEntry;
        if self.skips > 0 {
            self.skipped_units += 1;
        }
        false
    }

    fn enqueue(&mut self, block: &Block, due: ReportDue, report: impl FnOnce() -> Option<SenderReport>) {
        let Some(Some(track)) = self.tracks.get_mut(block.track) else { return };
        let is_first = track.add_sequence.is_none();
        let add_sequence = *track
            .add_sequence
            .get_or_insert_with(|| track.first_sequence_number.wrapping_sub(block.sequence_number));
        let add_time = *track.add_time.get_or_insert_with(|| {
            track.first_rtp_time.map_or(0, |first| first.wrapping_sub(block.rtp_time))
        });
        let unchanged = add_sequence == 0 && add_time == 0 && track.channel == block.channel;
        let (channel, report_channel) = (track.channel, track.report_channel);
        if (is_first || due == ReportDue::Now)
            && let Some(mut report) = report()
        {
            report.rtp_time = report.rtp_time.wrapping_add(add_time);
            self.append(block.track, Kind::Report, Bytes::from(report.encode(report_channel)));
        }
        let wire = if unchanged {
            block.wire.clone()
        } else {
            renumber(&block.wire, channel, add_sequence, add_time)
        };
        self.append(block.track, Kind::Media, wire);
    }

    fn append(&mut self, track: usize, kind: Kind, wire: Bytes) {
        self.queued_bytes += wire.len();
        self.queue.push_back(Queued { track, kind, wire });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(track: usize, entry: bool, len: usize) -> Block {
        Block {
            track,
            entry,
            channel: 0,
            sequence_number: 10,
            rtp_time: 0,
            wire: Bytes::from(vec![b'$'; len]),
        }
    }

    fn viewer(limit: usize) -> Viewer {
        let viewer = Viewer::new(2);
        let track = ViewerTrack {
            channel: 0,
            report_channel: 1,
            first_sequence_number: 10,
            first_rtp_time: None,
            add_sequence: None,
            add_time: None,
        };
        viewer.set_up(0, track);
        viewer.play(Start::NextSync, Duration::ZERO, limit);
        viewer
    }

    fn taken(viewer: &Viewer) -> Vec<usize> {
        let mut out = VecDeque::new();
        viewer.take(usize::MAX, &mut out);
        out.iter().map(|queued| queued.wire.len()).collect()
    }

    #[test]
    fn starts_with_an_entry_and_takes_only_its_tracks() {
        let viewer = viewer(100);
        for (track, entry, len) in [(0, false, 5), (0, true, 6), (1, false, 7), (0, false, 8)] {
            viewer.push(&block(track, entry, len), ReportDue::AtFirst, || None);
        }
        assert_eq!(taken(&viewer), [6, 8]);
        assert_eq!(viewer.skips(), Skips::default());
    }

    #[test]
    fn a_full_queue_skips_to_the_next_entry() {
        let viewer = viewer(10);
        for (entry, len) in [(true, 4), (false, 5), (false, 6), (false, 1), (true, 3), (false, 2)] {
            viewer.push(&block(0, entry, len), ReportDue::AtFirst, || None);
        }
        assert_eq!(taken(&viewer), [3, 2]);
        // Two were emptied out of the queue, two came before the next entry.
        assert_eq!(viewer.skips(), Skips { skips: 1, units: 4 });
    }

    #[test]
    fn a_unit_larger_than_the_queue_passes_alone() {
        let viewer = viewer(10);
        viewer.push(&block(0, true, 50), ReportDue::AtFirst, || None);
        assert_eq!(taken(&viewer), [50]);
    }

    #[test]
    fn nothing_comes_while_idle_or_closed() {
        let viewer = viewer(10);
        viewer.push(&block(0, true, 1), ReportDue::AtFirst, || None);
        viewer.pause();
        viewer.push(&block(0, true, 2), ReportDue::AtFirst, || None);
        assert_eq!(taken(&viewer), [0usize; 0]);
        viewer.play(Start::MidGop, Duration::ZERO, 10);
        viewer.push(&block(0, false, 3), ReportDue::AtFirst, || None);
        viewer.close();
        viewer.push(&block(0, true, 4), ReportDue::AtFirst, || None);
        assert_eq!(taken(&viewer), [3]);
    }
}
