//! What a plan is made from: cameras with their stored totals, and pages of the index as the planner asks for them.
//!
//! Owns: how a question of the planner becomes reads of the store. Cost: stored totals, one small page for each camera
//! while nothing is to be done, no sum over segments ever.

use std::collections::HashMap;

use heldar_base::{CameraId, Interval, Micros, Scope, SegmentId, StreamId, StreamKind, WallTime};
use heldar_disk::SegmentName;
use heldar_store::{CameraFields, CameraQuery, SegmentState, Store, StoreError, TimeRange};
use heldar_timeline::IntervalSet;
use heldar_timeline::retention::{
    Activity, ActivityQuery, AgeMark, Camera, Disk, KeepHours, Plan, Planner, Policy, Purpose, Segment,
    SegmentQuery, Step,
};

use super::leases::Leases;

/// Cameras and alerts read at a time.
const PAGE: u32 = 1000;
/// The order of a planner's answer: start, then number of the stream.
type Place = (WallTime, i64);

/// Every camera with footage, as the planner sees it and as the executor needs it.
#[derive(Debug)]
pub(super) struct Inventory {
    /// For the planner.
    pub(super) cameras: Vec<Camera>,
    /// By the same index.
    sources: Vec<Source>,
    /// Numbers at the end of file names, where there is one.
    name_numbers: HashMap<SegmentId, u32>,
}

#[derive(Debug)]
struct Source {
    /// The stream that the ledger speaks of.
    recorded: StreamKind,
    streams: Vec<(i64, StreamId)>,
}

/// Retention of a camera in a dry run, in place of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Ages.
    pub hours: KeepHours,
    /// Most bytes.
    pub quota_bytes: Option<u64>,
}

impl Keep {
    /// Of a camera as it is.
    pub fn of(fields: &CameraFields) -> Keep {
        Keep {
            hours: KeepHours {
                all: fields.retention_hours,
                motion: fields.retention_motion_hours,
                alert: fields.retention_alert_hours,
            },
            quota_bytes: fields
                .storage_quota_bytes
                .and_then(|bytes| u64::try_from(bytes).ok())
                .filter(|b| *b > 0),
        }
    }
}

fn bytes(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

impl Inventory {
    /// Every camera that has streams, those removed with their footage kept included.
    pub(super) async fn load(store: &Store, now: WallTime) -> Result<Inventory, StoreError> {
        let streams = store.streams(&Scope::All).await?;
        let rates = store.write_rates(&Scope::All, now).await?;
        let which = CameraQuery { include_removed: true, ..CameraQuery::default() };
        let mut inventory =
            Inventory { cameras: Vec::new(), sources: Vec::new(), name_numbers: HashMap::new() };
        let mut after = None;
        loop {
            let page = store.cameras(&Scope::All, &which, after.as_ref(), PAGE).await?;
            for camera in page.rows {
                let own: Vec<_> = streams.iter().filter(|stream| stream.id.camera == camera.id).collect();
                if own.is_empty() {
                    continue;
                }
                let keep = Keep::of(&camera.fields);
                let written = rates.iter().filter(|rate| own.iter().any(|s| s.stream_no == rate.stream_no));
                inventory.cameras.push(Camera {
                    keep: keep.hours,
                    quota_bytes: keep.quota_bytes,
                    recorded_bytes: own.iter().map(|stream| bytes(stream.totals.total_bytes)).sum(),
                    held_bytes: 0,
                    held_segments: 0,
                    bytes_per_day: written.map(|rate| bytes(rate.bytes_per_day)).sum(),
                    mark: None,
                    id: camera.id,
                });
                let has_footage = |kind| own.iter().any(|s| s.id.kind == kind && s.totals.segment_count > 0);
                let named = camera.fields.record_stream;
                let (main, sub) = (StreamKind::Main, StreamKind::Sub);
                let other = if named == main { sub } else { main };
                inventory.sources.push(Source {
                    recorded: if !has_footage(named) && has_footage(other) { other } else { named },
                    streams: own.iter().map(|stream| (stream.stream_no, stream.id.clone())).collect(),
                });
            }
            after = page.next;
            if after.is_none() {
                return Ok(inventory);
            }
        }
    }

    /// Gives back the marks of the last sweep.
    pub(super) fn mark(&mut self, marks: &HashMap<CameraId, AgeMark>) {
        for camera in &mut self.cameras {
            camera.mark = marks.get(&camera.id).copied();
        }
    }

    /// The camera that an item of a plan names.
    pub(super) fn camera(&self, index: usize) -> Option<&CameraId> {
        self.cameras.get(index).map(|camera| &camera.id)
    }

    /// The file of a segment that the planner was shown.
    pub(super) fn file_of(&self, camera: usize, id: SegmentId) -> Option<SegmentName> {
        let stream = self.stream(camera, id)?;
        let number = self.name_numbers.get(&id).copied().unwrap_or(1);
        Some(SegmentName::new(stream.clone(), id.start, number))
    }

    /// The stream of a segment, if it is the one that the ledger speaks of.
    pub(super) fn ledger_stream(&self, camera: usize, id: SegmentId) -> Option<&StreamId> {
        let recorded = self.sources.get(camera)?.recorded;
        self.stream(camera, id).filter(|stream| stream.kind == recorded)
    }

    fn stream(&self, camera: usize, id: SegmentId) -> Option<&StreamId> {
        let streams = &self.sources.get(camera)?.streams;
        streams.iter().find(|(number, _)| *number == id.stream_no).map(|(_, stream)| stream)
    }

    /// Makes a plan.
    pub(super) async fn plan(
        &mut self,
        store: &Store,
        leases: &Leases,
        now: WallTime,
        policy: Policy,
        disk: Option<Disk>,
        purpose: Purpose,
    ) -> Result<Plan, StoreError> {
        let mut planner = Planner::new(now, policy, disk, self.cameras.clone(), purpose);
        loop {
            match planner.step() {
                Step::Segments(query) => {
                    let rows = self.segments(store, leases, &query).await?;
                    planner.segments(rows);
                }
                Step::Activity(query) => {
                    let activity = self.activity(store, &query).await?;
                    planner.activity(&activity);
                }
                Step::Done => return Ok(planner.finish()),
            }
        }
    }

    async fn segments(
        &mut self,
        store: &Store,
        leases: &Leases,
        query: &SegmentQuery,
    ) -> Result<Vec<Segment>, StoreError> {
        let Some(source) = self.sources.get(query.camera) else { return Ok(Vec::new()) };
        let mut rows: Vec<Segment> = Vec::new();
        for (stream_no, stream) in &source.streams {
            let (range, after) = reach(query, *stream_no);
            // One more than asked for: the first may be the last one that was seen.
            let limit = u32::try_from(query.limit).unwrap_or(u32::MAX).saturating_add(1);
            let page = store.segments(&Scope::All, stream, range, after, limit).await?;
            for row in page.rows {
                if let Ok(number @ 2..) = u32::try_from(row.name_no) {
                    self.name_numbers.insert(row.id, number);
                }
                rows.push(Segment {
                    id: row.id,
                    end: row.end,
                    bytes: bytes(row.size_bytes),
                    held: false,
                    locked: leases.is_leased(row.id),
                    open: row.state == SegmentState::Open,
                    dependent: row.dependent,
                });
            }
        }
        let place = |id: SegmentId| -> Place { (id.start, id.stream_no) };
        let after = query.after.map(place);
        rows.retain(|row| row.end >= query.ended_from && after.is_none_or(|after| after < place(row.id)));
        rows.sort_unstable_by_key(|row| place(row.id));
        rows.truncate(query.limit);
        Ok(rows)
    }

    /// When there was motion, and when there were alerts.
    async fn activity(&self, store: &Store, query: &ActivityQuery) -> Result<Activity, StoreError> {
        let mut activity = Activity { motion: IntervalSet::new(), alert: IntervalSet::new() };
        let Some(camera) = self.camera(query.camera) else { return Ok(activity) };
        let mut after = None;
        loop {
            let page = store.alerts(&Scope::All, camera, query.window.into(), after, PAGE).await?;
            for alert in page.rows {
                activity.alert.insert(Interval::new(alert.at, alert.at + Micros(1)));
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let mut after = None;
        loop {
            let page = store.motion_spans(&Scope::All, camera, query.window.into(), after, PAGE).await?;
            for motion in page.rows {
                activity.motion.insert(motion.span);
            }
            after = page.next;
            if after.is_none() {
                return Ok(activity);
            }
        }
    }
}

/// The window and the cursor that find the rows of one stream that a question may be answered with.
///
/// The store's window holds what ends past its start, the planner's what ends at it or past it; and its cursor counts by
/// start alone, which is enough only where whatever begins later also ends late enough.
fn reach(query: &SegmentQuery, stream_no: i64) -> (TimeRange, Option<WallTime>) {
    match query.after {
        Some(after) if after.start >= query.ended_from => {
            let behind = if stream_no > after.stream_no { after.start - Micros(1) } else { after.start };
            (TimeRange::default(), Some(behind))
        }
        _ => {
            let from = (query.ended_from > WallTime::EPOCH).then(|| query.ended_from - Micros(1));
            (TimeRange { from, to: None }, None)
        }
    }
}
