//! A stream that is served: its tracks, its viewers, and the one place where access units become packets.
//!
//! [`Stream::publish`] packetizes a unit once and hands the block to every viewer's queue; it never waits and does no IO.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use heldar_base::{Micros, WallTime};
use tokio::sync::watch;

use super::format::Format;
use super::manners::{InBandSets, Manners, Reports, Start};
use super::packetize::Packetizer;
use super::random;
use super::rtcp::SenderReport;
use super::viewer::{Block, Kind, Queued, ReportDue, Viewer, ViewerTrack};

/// Time between two sender reports of a track.
const REPORT_INTERVAL: Micros = Micros::from_secs(5);
/// Most that is held for viewers to come.
const HELD_BYTES: usize = 8 * 1024 * 1024;
/// Longest stretch held for viewers to come.
const HELD_TIME: Micros = Micros::from_secs(10);

/// One access unit to be sent.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Index into the stream's formats.
    pub track: usize,
    /// When it was captured; what sender reports pair with `rtp_time`.
    pub captured_at: WallTime,
    /// RTP time as it goes on the wire.
    pub rtp_time: u32,
    /// A viewer may start here.
    pub sync: bool,
    /// Its bytes.
    pub payload: Payload,
}

/// Bytes of a unit.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Video: NAL units, each behind its length in four bytes. Otherwise one raw frame.
    Frame(Bytes),
    /// RTP payloads as they are, at most 1400 bytes each.
    Packets(Vec<Bytes>),
}

/// Counters of a stream since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// Sessions now.
    pub sessions: usize,
    /// Access units published while somebody watched.
    pub units: u64,
    /// Their bytes as packetized.
    pub bytes: u64,
    /// Times that a viewer fell behind and was moved to the next sync sample.
    pub skips: u64,
    /// Access units that viewers missed that way.
    pub skipped_units: u64,
}

/// A stream that is served.
#[derive(Debug)]
pub struct Stream {
    inner: Mutex<Inner>,
    sessions: watch::Sender<usize>,
    units: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug)]
struct Inner {
    manners: Arc<Manners>,
    tracks: Vec<Track>,
    viewers: Vec<Arc<Viewer>>,
    held: Held,
    /// Skips of viewers that are gone.
    past_skips: u64,
    past_skipped_units: u64,
}

#[derive(Debug)]
struct Track {
    format: Format,
    packets: Packetizer,
    last: Option<(u32, WallTime)>,
    last_report: Option<WallTime>,
}

/// The newest sync sample and all since, for viewers to come.
#[derive(Debug, Default)]
struct Held {
    blocks: Vec<Block>,
    bytes: usize,
    since: WallTime,
}

/// What PLAY tells of one track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FirstNumbers {
    pub(super) track: usize,
    pub(super) sequence_number: u16,
    pub(super) rtp_time: Option<u32>,
}

impl Stream {
    /// A stream of these tracks, at most 64 of them.
    pub fn new(formats: Vec<Format>, manners: Manners) -> Self {
        let tracks = (0u8..64).zip(formats).map(|(index, format)| Track {
            packets: Packetizer {
                channel: index * 2,
                payload_type: format.payload_type(index),
                ssrc: random::number(),
                next_sequence_number: random::number() as u16,
                packets: 0,
                octets: 0,
            },
            format,
            last: None,
            last_report: None,
        });
        Stream {
            inner: Mutex::new(Inner {
                manners: Arc::new(manners),
                tracks: tracks.collect(),
                viewers: Vec::new(),
                held: Held::default(),
                past_skips: 0,
                past_skipped_units: 0,
            }),
            sessions: watch::Sender::new(0),
            units: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the stream is served now.
    pub fn manners(&self) -> Arc<Manners> {
        Arc::clone(&self.lock().manners)
    }

    /// Serves the stream otherwise from now on; sessions that exist keep what they were told.
    pub fn set_manners(&self, manners: Manners) {
        self.lock().manners = Arc::new(manners);
    }

    /// Its tracks.
    pub fn formats(&self) -> Vec<Format> {
        self.lock().tracks.iter().map(|track| track.format.clone()).collect()
    }

    /// Changes the parameters of a track. Takes effect with the next description and the next sync sample.
    pub fn set_format(&self, track: usize, format: Format) {
        if let Some(track) = self.lock().tracks.get_mut(track) {
            track.format = format;
        }
    }

    /// How many sessions there are, as a value that can be awaited; so the feed of a stream nobody watches can end.
    pub fn sessions(&self) -> watch::Receiver<usize> {
        self.sessions.subscribe()
    }

    /// Closes the connections of all viewers.
    pub fn disconnect_all(&self) {
        for viewer in &self.lock().viewers {
            viewer.close();
        }
    }

    /// The source was lost: viewers who come before its next sync sample wait for that.
    pub fn interrupt(&self) {
        self.lock().held = Held::default();
    }

    /// Last reports of a viewer's tracks, each with a BYE.
    pub(super) fn farewell(&self, viewer: &Viewer) -> Vec<Queued> {
        let inner = self.lock();
        let tracks = viewer.tracks().into_iter().zip(&inner.tracks).enumerate();
        let bye = |(track, (wanted, source)): (usize, (Option<ViewerTrack>, &Track))| {
            let (wanted, mut report) = (wanted?, source.report(Reports::Regular)?);
            report.rtp_time = report.rtp_time.wrapping_add(wanted.add_time.unwrap_or(0));
            let wire = Bytes::from(report.encode_with_bye(wanted.report_channel));
            Some(Queued { track, kind: Kind::Report, wire })
        };
        tracks.filter_map(bye).collect()
    }

    /// Counters.
    pub fn stats(&self) -> StreamStats {
        let inner = self.lock();
        let mut stats = StreamStats {
            sessions: inner.viewers.len(),
            units: self.units.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            skips: inner.past_skips,
            skipped_units: inner.past_skipped_units,
        };
        for viewer in &inner.viewers {
            let skips = viewer.skips();
            stats.skips += skips.skips;
            stats.skipped_units += skips.units;
        }
        stats
    }

    /// Sends a unit to every viewer. Costs next to nothing while there is none.
    pub fn publish(&self, unit: &Unit) {
        let mut inner = self.lock();
        let holds = inner.manners.start == Start::HeldGop;
        let watched = !inner.viewers.is_empty();
        let Inner { manners, tracks, viewers, held, .. } = &mut *inner;
        let has_video = tracks.iter().any(|track| track.format.is_video());
        let Some(track) = tracks.get_mut(unit.track) else { return };
        track.last = Some((unit.rtp_time, unit.captured_at));
        if !watched && !holds {
            return;
        }
        let entry = if has_video { track.format.is_video() && unit.sync } else { true };
        let block = track.packetize(unit, entry, manners.in_band_sets);
        let due = track.report_due(manners.reports, unit.captured_at);
        for viewer in viewers.iter() {
            viewer.push(&block, due, || track.report(manners.reports));
        }
        self.units.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(block.wire.len() as u64, Ordering::Relaxed);
        if holds {
            held.add(block, unit.captured_at);
        }
    }

    /// Admits a session, unless there are too many.
    pub(super) fn attach(&self) -> Option<Arc<Viewer>> {
        let mut inner = self.lock();
        if inner.viewers.len() >= inner.manners.max_sessions {
            return None;
        }
        let viewer = Arc::new(Viewer::new(inner.tracks.len()));
        inner.viewers.push(Arc::clone(&viewer));
        self.sessions.send_replace(inner.viewers.len());
        Some(viewer)
    }

    /// Ends a session.
    pub(super) fn detach(&self, viewer: &Arc<Viewer>) {
        let mut inner = self.lock();
        inner.viewers.retain(|other| !Arc::ptr_eq(other, viewer));
        let skips = viewer.skips();
        inner.past_skips += skips.skips;
        inner.past_skipped_units += skips.units;
        self.sessions.send_replace(inner.viewers.len());
    }

    /// Source of a track's packets, as SETUP tells it.
    pub(super) fn ssrc(&self, track: usize) -> Option<u32> {
        self.lock().tracks.get(track).map(|track| track.packets.ssrc)
    }

    /// A viewer's track as SETUP makes it.
    pub(super) fn viewer_track(&self, channel: u8, report_channel: u8) -> ViewerTrack {
        let manners = self.manners();
        ViewerTrack {
            channel,
            report_channel,
            first_sequence_number: manners.first_sequence_number.unwrap_or_else(|| random::number() as u16),
            first_rtp_time: manners.first_rtp_time,
            add_sequence: None,
            add_time: None,
        }
    }

    /// Starts a viewer and tells with which numbers.
    pub(super) fn play(&self, viewer: &Viewer) -> Vec<FirstNumbers> {
        let inner = self.lock();
        let manners = &inner.manners;
        // What is held comes on top: it must not make the new viewer fall behind at once.
        viewer.play(manners.start, manners.start_delay, manners.queue_bytes.saturating_add(inner.held.bytes));
        let numbers = inner.first_numbers(viewer);
        if manners.start == Start::HeldGop {
            for block in &inner.held.blocks {
                let report = inner.tracks.get(block.track).and_then(|track| track.report(manners.reports));
                viewer.push(block, ReportDue::AtFirst, || report);
            }
        }
        numbers
    }
}

impl Inner {
    /// Decides the numbers that a viewer's tracks begin with.
    fn first_numbers(&self, viewer: &Viewer) -> Vec<FirstNumbers> {
        let mut numbers = Vec::new();
        for (index, wanted) in viewer.tracks().into_iter().enumerate() {
            let (Some(wanted), Some(track)) = (wanted, self.tracks.get(index)) else { continue };
            let first_held = self.held.blocks.iter().find(|block| block.track == index);
            let held = first_held.map(|block| block.rtp_time);
            let latest = track.last.map(|(rtp_time, _)| rtp_time);
            let rtp_time = match (wanted.add_time, wanted.first_rtp_time) {
                (Some(add), _) => held.or(latest).map(|time| time.wrapping_add(add)),
                (None, Some(first)) => Some(first),
                (None, None) => held.or(latest),
            };
            let sequence_number = match wanted.add_sequence {
                // PLAY after PAUSE: the numbers go on where they stood.
                Some(add) => track.packets.next_sequence_number.wrapping_add(add),
                // Those of the stream, random as they are, spare a copy of everything for this viewer alone.
                None if self.manners.first_sequence_number.is_none() => {
                    first_held.map_or(wanted.first_sequence_number, |block| block.sequence_number)
                }
                None => wanted.first_sequence_number,
            };
            viewer.renumber(index, sequence_number);
            numbers.push(FirstNumbers { track: index, sequence_number, rtp_time });
        }
        numbers
    }
}

impl Track {
    fn packetize(&mut self, unit: &Unit, entry: bool, in_band: InBandSets) -> Block {
        let sequence_number = self.packets.next_sequence_number;
        let wire = match &unit.payload {
            Payload::Frame(payload) => {
                let sets =
                    self.format.parameter_sets().filter(|_| unit.sync && in_band == InBandSets::EverySync);
                self.packets.unit(&self.format, sets, payload, unit.rtp_time)
            }
            Payload::Packets(payloads) => self.packets.packets(payloads.iter(), unit.rtp_time),
        };
        let channel = self.packets.channel;
        Block { track: unit.track, entry, channel, sequence_number, rtp_time: unit.rtp_time, wire }
    }

    fn report_due(&mut self, reports: Reports, now: WallTime) -> ReportDue {
        // A clock that was set back must not silence the reports.
        let due = self.last_report.is_none_or(|last| (now - last).abs() >= REPORT_INTERVAL);
        if due {
            self.last_report = Some(now);
        }
        if due && reports != Reports::Never { ReportDue::Now } else { ReportDue::AtFirst }
    }

    fn report(&self, reports: Reports) -> Option<SenderReport> {
        let (rtp_time, captured_at) = self.last?;
        let at = match reports {
            Reports::Regular => captured_at,
            Reports::Never => return None,
            Reports::Shifted(by) => captured_at + by,
        };
        let Packetizer { ssrc, packets, octets, .. } = self.packets;
        Some(SenderReport { ssrc, at, rtp_time, packets, octets })
    }
}

impl Held {
    fn add(&mut self, block: Block, captured_at: WallTime) {
        let starts = block.entry;
        if starts {
            self.blocks.clear();
            self.bytes = 0;
            self.since = captured_at;
        } else if self.blocks.is_empty() {
            return;
        }
        self.bytes += block.wire.len();
        if self.bytes > HELD_BYTES || (captured_at - self.since).abs() > HELD_TIME {
            self.blocks.clear();
            self.bytes = 0;
        } else {
            self.blocks.push(block);
        }
    }
}
