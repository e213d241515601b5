//! Histories of cameras: written into a store, and read naively.

use heldar_base::{
    CameraId, Cause, Clock as _, EndReason, Interval, Micros, NotWanted, PublicId, SegmentId, StreamId,
    StreamKind, WallTime,
};
use heldar_kernel::kernel::Kernel;
use heldar_store::op::{AppendWanted, CreateCamera, EnsureParams, EnsureStream, PutGap, PutSegment, Seal};
use heldar_store::{
    CameraFields, CodecParams, DeviceTls, FillState, Gap, Hole, RecordMode, RtspTransport, WriteOp,
};
use heldar_timeline::State;

/// How far the end of an open segment of a camera without a session may lag: a fragment and half a second.
pub(crate) const IN_FLIGHT: Micros = Micros(1_500_000);

pub(crate) fn camera_id(text: &str) -> CameraId {
    CameraId::new(text).unwrap()
}

pub(crate) fn secs(seconds: f64) -> Micros {
    Micros((seconds * 1e6).round() as i64)
}

/// A camera that nobody pulls.
pub(crate) fn fields(record_stream: StreamKind) -> CameraFields {
    CameraFields {
        name: "Gate".to_owned(),
        site_id: None,
        vendor: "generic".to_owned(),
        model: None,
        address: None,
        rtsp_port: 554,
        username: None,
        password: None,
        main_stream_url: None,
        sub_stream_url: None,
        record_stream,
        record_sub: false,
        rtsp_transport: RtspTransport::Auto,
        channel: 1,
        capabilities: serde_json::json!({}),
        record_enabled: true,
        segment_seconds: 60,
        retention_hours: 24,
        retention_motion_hours: None,
        retention_alert_hours: None,
        storage_quota_bytes: None,
        record_audio: false,
        record_mode: RecordMode::Continuous,
        pre_roll_seconds: 10,
        post_roll_seconds: 30,
        mirror_enabled: false,
        anr_enabled: false,
        anr_replay_url_template: None,
        native_anpr_enabled: false,
        native_events_enabled: false,
        enabled: true,
        live_warm: false,
        priority: 100,
        http_port: None,
        device_tls: DeviceTls::Off,
    }
}

pub(crate) async fn create(kernel: &Kernel, id: &str) -> CameraId {
    create_as(kernel, id, StreamKind::Main).await
}

pub(crate) async fn create_as(kernel: &Kernel, id: &str, record_stream: StreamKind) -> CameraId {
    let id = camera_id(id);
    let op = CreateCamera { id: id.clone(), fields: fields(record_stream), now: kernel.clock.wall() };
    kernel.store.write(op).await.unwrap();
    id
}

pub(crate) fn params() -> CodecParams {
    CodecParams {
        codec: "h264".to_owned(),
        codec_string: "avc1.64001f".to_owned(),
        width: 768,
        height: 576,
        audio: None,
    }
}

/// A segment as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) interval: Interval,
    pub(crate) holes: Vec<Hole>,
    /// `None`: being written.
    pub(crate) seal: Option<(EndReason, Option<Cause>)>,
}

impl Piece {
    pub(crate) fn sealed(start: WallTime, end: WallTime) -> Piece {
        Piece {
            interval: Interval::new(start, end),
            holes: Vec::new(),
            seal: Some((EndReason::Rotated, None)),
        }
    }
}

/// A gap row; `open` means until now.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) interval: Interval,
    pub(crate) open: bool,
    pub(crate) cause: Cause,
}

/// What happened to the recorded stream of a camera.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) rows: Vec<Row>,
    pub(crate) wanted: Vec<(WallTime, Option<NotWanted>)>,
}

pub(crate) fn put(stream_no: i64, params_no: i64, piece: &Piece) -> PutSegment {
    PutSegment {
        id: SegmentId { stream_no, start: piece.interval.start },
        end: piece.interval.end,
        size_bytes: 1_000 + piece.interval.len().0 / 1_000,
        name_no: 1,
        params_no,
        dependent: false,
        seal: piece.seal.map(|(reason, cause)| Seal { reason, cause }),
        holes: piece.holes.clone(),
        index: None,
        created_at: piece.interval.start,
    }
}

pub(crate) fn gap(camera: &CameraId, bits: u128, row: &Row) -> Gap {
    Gap {
        id: PublicId::new(Gap::PREFIX, bits),
        camera: camera.clone(),
        start: row.interval.start,
        // How far an open gap reaches is not kept up to date in the store.
        end: if row.open { row.interval.start } else { row.interval.end },
        open: row.open,
        cause: row.cause,
        detail: None,
        last_error: None,
        fill_state: FillState::Pending,
        fill_attempts: 0,
        last_attempt_at: None,
        filled_at: None,
        created_at: row.interval.start,
    }
}

pub(crate) async fn stream_no(kernel: &Kernel, camera: &CameraId, kind: StreamKind) -> i64 {
    let stream = StreamId::new(camera.clone(), kind);
    kernel.numbers.ensure(&kernel.store, &stream).await.unwrap();
    kernel.store.write(EnsureStream { stream }).await.unwrap()
}

pub(crate) async fn params_no(kernel: &Kernel) -> i64 {
    kernel.store.write(EnsureParams { params: params() }).await.unwrap()
}

impl History {
    /// Writes it for a camera, in one commit.
    pub(crate) async fn store(&self, kernel: &Kernel, camera: &CameraId, kind: StreamKind) {
        let stream_no = stream_no(kernel, camera, kind).await;
        let params_no = params_no(kernel).await;
        let segments = self.pieces.iter().map(|piece| WriteOp::from(put(stream_no, params_no, piece)));
        let rows = self.rows.iter().enumerate().map(|(n, row)| {
            let bits = (stream_no as u128) << 64 | n as u128;
            WriteOp::from(PutGap { gap: gap(camera, bits, row) })
        });
        let wanted = self.wanted.iter().map(|(at, reason)| {
            WriteOp::from(AppendWanted { camera: camera.clone(), at: *at, reason: *reason })
        });
        kernel.store.write_all(segments.chain(rows).chain(wanted).collect()).await.unwrap();
    }

    pub(crate) fn has_footage(&self, t: WallTime, now: WallTime) -> bool {
        let hole = |piece: &Piece| piece.holes.iter().any(|hole| hole.start <= t && t < hole.end);
        self.pieces.iter().any(|piece| piece.interval.contains(t) && !hole(piece))
            || self.tail(now).is_some_and(|tail| tail.contains(t))
    }

    /// Footage on its way, of the segment that is open or of the one that follows.
    pub(crate) fn tail(&self, now: WallTime) -> Option<Interval> {
        let last = self.pieces.last()?;
        let goes_on = match last.seal {
            None => true,
            // The next file has no fragment yet, for as long as that may take.
            Some((EndReason::Rotated | EndReason::Parameters, None)) => now - last.interval.end <= IN_FLIGHT,
            Some(_) => false,
        };
        if !goes_on {
            return None;
        }
        let end = last.interval.end;
        let reaches = |row: &&Row| row.open || row.interval.end > end;
        let stop = self.rows.iter().filter(reaches).map(|row| row.interval.start.max(end)).min();
        let tail = Interval::new(end, stop.unwrap_or(now).min(now));
        (tail.len() <= IN_FLIGHT).then_some(tail)
    }

    /// What became of an instant before `now`, rule by rule.
    pub(crate) fn state(&self, t: WallTime, now: WallTime) -> State {
        if self.has_footage(t, now) {
            return State::Recorded;
        }
        let newest = self.wanted.iter().rfind(|(at, _)| *at <= t);
        if let Some(reason) = newest.map_or(Some(NotWanted::RecordingDisabled), |(_, reason)| *reason) {
            return State::NotWanted(reason);
        }
        let hole = self.pieces.iter().flat_map(|piece| &piece.holes);
        let hole = hole.clone().find(|hole| hole.start <= t && t < hole.end).map(|hole| hole.cause);
        let cause = hole
            .or_else(|| self.row_cause(t, now))
            .or_else(|| self.is_starting(t, now).then_some(Cause::Starting))
            .or_else(|| self.cause_after(t));
        State::Missing(cause.unwrap_or(Cause::Unknown))
    }

    fn row_cause(&self, t: WallTime, now: WallTime) -> Option<Cause> {
        let covers = |row: &&Row| {
            let end = if row.open { now } else { row.interval.end };
            row.interval.start <= t && t < end
        };
        let rows = self.rows.iter().filter(covers);
        rows.max_by_key(|row| (!row.cause.is_removal(), row.interval.start)).map(|row| row.cause)
    }

    fn is_starting(&self, t: WallTime, now: WallTime) -> bool {
        let mut wanted = false;
        for (at, reason) in &self.wanted {
            let begins = !wanted && reason.is_none();
            wanted = reason.is_none();
            let first = if self.has_footage(*at, now) {
                Some(*at)
            } else {
                self.edges(now)
                    .into_iter()
                    .filter(|edge| *edge > *at)
                    .find(|edge| self.has_footage(*edge, now))
            };
            let first = first.unwrap_or(now).min(now);
            if begins && *at <= t && t < first && first - *at <= Micros::from_secs(3) {
                return true;
            }
        }
        false
    }

    fn cause_after(&self, t: WallTime) -> Option<Cause> {
        let last = self.pieces.iter().rfind(|piece| piece.interval.end <= t)?;
        let (reason, cause) = last.seal?;
        Some(cause.unwrap_or(match reason {
            EndReason::Reconfigured => Cause::Reconfigured,
            EndReason::NotWanted => Cause::Starting,
            EndReason::Disk => Cause::Disk,
            EndReason::ServerStopped => Cause::ServerStopped,
            EndReason::Crashed => Cause::ServerCrashed,
            _ => Cause::Unknown,
        }))
    }

    /// Every instant at which something may change, in order.
    pub(crate) fn edges(&self, now: WallTime) -> Vec<WallTime> {
        let mut edges = vec![now];
        for piece in &self.pieces {
            edges.extend([piece.interval.start, piece.interval.end]);
            edges.extend(piece.holes.iter().flat_map(|hole| [hole.start, hole.end]));
        }
        edges.extend(self.rows.iter().flat_map(|row| [row.interval.start, row.interval.end]));
        edges.extend(self.wanted.iter().map(|(at, _)| *at));
        edges.sort_unstable();
        edges.dedup();
        edges
    }

    /// A window as stretches of one state each.
    pub(crate) fn paint(&self, window: Interval, now: WallTime) -> Vec<(Interval, State)> {
        let window = Interval::new(window.start, window.end.min(now));
        let mut edges = self.edges(now);
        edges.extend([window.start, window.end]);
        edges.retain(|edge| window.start <= *edge && *edge <= window.end);
        edges.sort_unstable();
        edges.dedup();
        let mut out: Vec<(Interval, State)> = Vec::new();
        for pair in edges.windows(2) {
            let state = self.state(pair[0], now);
            match out.last_mut() {
                Some((interval, last)) if *last == state => interval.end = pair[1],
                _ => out.push((Interval::new(pair[0], pair[1]), state)),
            }
        }
        out
    }
}
