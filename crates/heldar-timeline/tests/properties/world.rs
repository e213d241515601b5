//! Random recordings of a few cameras, and a naive retention sweep over them.

use std::collections::HashSet;

use heldar_base::{CameraId, Interval, Micros, SegmentId, WallTime};
use heldar_timeline::IntervalSet;
use heldar_timeline::retention::{
    Activity, AgeMark, Camera, Disk, KeepHours, Plan, Planner, Policy, Purpose, Reason, Segment,
    SegmentQuery, Step, fair_shares,
};
use proptest::prelude::*;

/// Recordings begin here.
const ORIGIN: i64 = 1_700_000_000_000_000;
const MINUTE: i64 = 60_000_000;

/// A whole plan.
pub(crate) const SWEEP: Purpose = Purpose::Sweep { max_items: usize::MAX };
/// A dry run as of now.
pub(crate) const PREVIEW: Purpose = Purpose::Preview { horizon: Micros::ZERO };

pub(crate) fn minute(m: i64) -> WallTime {
    WallTime(ORIGIN + m * MINUTE)
}

#[derive(Clone, Debug)]
pub(crate) struct Cam {
    pub(crate) segments: Vec<Segment>,
    pub(crate) activity: Activity,
    pub(crate) keep: KeepHours,
    pub(crate) quota: Option<u64>,
    pub(crate) bytes_per_day: u64,
    pub(crate) mark: Option<AgeMark>,
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) cams: Vec<Cam>,
    pub(crate) policy: Policy,
    pub(crate) disk: Option<Disk>,
    pub(crate) now: WallTime,
}

/// What a sweep did, and what it asked for.
pub(crate) struct Swept {
    pub(crate) plan: Plan,
    pub(crate) queries: Vec<SegmentQuery>,
}

type RawSegment = (i64, i64, u64, (bool, bool, bool));

fn stream(stream_no: i64, raw: Vec<RawSegment>, open: bool) -> Vec<Segment> {
    let mut at = 0;
    let mut out: Vec<Segment> = Vec::new();
    for (gap, length, bytes, (held, locked, dependent)) in raw {
        let start = at + gap;
        at = start + length;
        let id = SegmentId { stream_no, start: minute(start) };
        let dependent = dependent && gap == 0 && start > 0;
        out.push(Segment { id, end: minute(at), bytes, held, locked, open: false, dependent });
    }
    if let Some(last) = out.last_mut() {
        last.open = open;
    }
    out
}

fn cam(index: i64) -> impl Strategy<Value = Cam> {
    let gap = prop_oneof![4 => Just(0i64), 1 => 1i64..40];
    let flag = prop::bool::weighted;
    let raw = (gap, 1i64..25, 1u64..50, (flag(0.08), flag(0.05), flag(0.2)));
    let raws = || prop::collection::vec(raw.clone(), 0..40);
    let activity = || {
        prop::collection::vec((0i64..600, 1i64..10), 0..8).prop_map(|list| {
            list.into_iter()
                .map(|(at, len)| Interval::new(minute(at), minute(at + len)))
                .collect::<IntervalSet>()
        })
    };
    let hours = || prop::option::of(0u32..12);
    (raws(), raws(), any::<bool>(), activity(), activity(), (0u32..8, hours(), hours()), quota(), 0u64..500)
        .prop_map(
            move |(
                main,
                sub,
                open,
                motion,
                alert,
                (all, motion_hours, alert_hours),
                quota,
                bytes_per_day,
            )| {
                let mut segments = stream(2 * index, main, open);
                segments.extend(stream(2 * index + 1, sub, false));
                segments.sort_by_key(|segment| (segment.id.start, segment.id.stream_no));
                Cam {
                    segments,
                    activity: Activity { motion, alert },
                    keep: KeepHours { all, motion: motion_hours, alert: alert_hours },
                    quota,
                    bytes_per_day,
                    mark: None,
                }
            },
        )
}

fn quota() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![Just(None), (0u64..1_200).prop_map(Some)]
}

pub(crate) fn world() -> impl Strategy<Value = World> {
    let cap = prop_oneof![1 => Just(None), 3 => (0u64..4_000).prop_map(Some)];
    let floor = prop_oneof![1 => Just(0u64), 2 => 0u64..3_000];
    let disk = prop::option::weighted(0.9, (1u64..5_000, 0u64..3_000));
    (0usize..5, cam(0), cam(1), cam(2), cam(3), cap, floor, disk, 0i64..900).prop_map(
        |(count, a, b, c, d, max_recordings_bytes, min_free_bytes, disk, now)| World {
            cams: [a, b, c, d].into_iter().take(count).collect(),
            policy: Policy { max_recordings_bytes, min_free_bytes },
            disk: disk.map(|(total_bytes, free)| Disk { total_bytes, free_bytes: free.min(total_bytes) }),
            now: minute(now),
        },
    )
}

impl World {
    pub(crate) fn cameras(&self) -> Vec<Camera> {
        let camera = |(index, cam): (usize, &Cam)| {
            let held = || cam.segments.iter().filter(|segment| segment.held);
            Camera {
                id: CameraId::new(&format!("cam_{index}")).unwrap(),
                keep: cam.keep,
                quota_bytes: cam.quota,
                recorded_bytes: cam.segments.iter().map(|segment| segment.bytes).sum(),
                held_bytes: held().map(|segment| segment.bytes).sum(),
                held_segments: held().count() as u64,
                bytes_per_day: cam.bytes_per_day,
                mark: cam.mark,
            }
        };
        self.cams.iter().enumerate().map(camera).collect()
    }

    pub(crate) fn plan(&self, purpose: Purpose) -> Swept {
        let mut planner = Planner::new(self.now, self.policy, self.disk, self.cameras(), purpose);
        let mut queries = Vec::new();
        loop {
            match planner.step() {
                Step::Segments(query) => {
                    queries.push(query);
                    planner.segments(self.answer(&query));
                }
                Step::Activity(query) => {
                    let activity = &self.cams[query.camera].activity;
                    planner.activity(&Activity {
                        motion: activity.motion.clip(&query.window),
                        alert: activity.alert.clip(&query.window),
                    });
                }
                Step::Done => return Swept { plan: planner.finish(), queries },
            }
        }
    }

    fn answer(&self, query: &SegmentQuery) -> Vec<Segment> {
        let order = |id: SegmentId| (id.start, id.stream_no);
        let behind = |segment: &&Segment| query.after.is_none_or(|after| order(after) < order(segment.id));
        let rows = self.cams[query.camera].segments.iter().filter(|segment| segment.end >= query.ended_from);
        rows.filter(behind).take(query.limit).copied().collect()
    }

    /// Deletes what a plan names.
    pub(crate) fn execute(&mut self, plan: &Plan) {
        let gone: HashSet<SegmentId> = plan.items.iter().map(|item| item.segment).collect();
        for (cam, planned) in self.cams.iter_mut().zip(&plan.cameras) {
            cam.segments.retain(|segment| !gone.contains(&segment.id));
            cam.mark = planned.mark;
        }
        if let Some(disk) = &mut self.disk {
            disk.free_bytes += plan.items.iter().map(|item| item.bytes).sum::<u64>();
            disk.total_bytes = disk.total_bytes.max(disk.free_bytes);
        }
    }

    /// The same decisions, made by looking at everything each time.
    pub(crate) fn naive(&self, horizon_hours: i64) -> Naive<'_> {
        let mut naive = self.untouched(horizon_hours);
        naive.run();
        naive
    }

    /// The naive sweep before its first decision.
    pub(crate) fn untouched(&self, horizon_hours: i64) -> Naive<'_> {
        let now = self.now + Micros::from_hours(horizon_hours);
        let mut naive =
            Naive { world: self, now, gone: HashSet::new(), items: Vec::new(), growth: Vec::new() };
        for cam in &self.cams {
            let hours = u64::try_from(horizon_hours).unwrap().min(u64::from(cam.keep.all.max(1)));
            naive.growth.push(cam.bytes_per_day * hours / 24);
        }
        naive
    }
}

pub(crate) struct Naive<'a> {
    world: &'a World,
    now: WallTime,
    growth: Vec<u64>,
    gone: HashSet<SegmentId>,
    pub(crate) items: Vec<(usize, Segment, Reason)>,
}

impl Naive<'_> {
    fn run(&mut self) {
        let cams = 0..self.world.cams.len();
        for cam in cams.clone() {
            for index in 0..self.world.cams[cam].segments.len() {
                if self.is_due(cam, index) && self.may_go(cam, index) {
                    self.remove(cam, index, Reason::Age);
                }
            }
        }
        for cam in cams.clone() {
            while self.world.cams[cam].quota.is_some_and(|quota| self.usage(cam) > quota) {
                let Some(index) = self.evictable(cam) else { break };
                self.remove(cam, index, Reason::Quota);
            }
        }
        if let Some(cap) = self.world.policy.max_recordings_bytes {
            while cams.clone().map(|cam| self.usage(cam)).sum::<u64>() > cap {
                let Some((cam, index)) = self.payer() else { break };
                self.remove(cam, index, Reason::SizeCap);
            }
        }
        let floor = self.world.policy.min_free_bytes;
        let Some(disk) = self.world.disk.filter(|disk| floor < disk.total_bytes) else { return };
        let free = disk.free_bytes.saturating_sub(self.growth.iter().sum());
        while free + self.items.iter().map(|(_, segment, _)| segment.bytes).sum::<u64>() < floor {
            let Some((cam, index)) = self.payer() else { break };
            self.remove(cam, index, Reason::FreeFloor);
        }
    }

    fn remove(&mut self, cam: usize, index: usize, reason: Reason) {
        let segment = self.world.cams[cam].segments[index];
        self.gone.insert(segment.id);
        self.items.push((cam, segment, reason));
    }

    pub(crate) fn usage(&self, cam: usize) -> u64 {
        let segments = self.world.cams[cam].segments.iter();
        let charged = segments.filter(|segment| !segment.held && !self.gone.contains(&segment.id));
        charged.map(|segment| segment.bytes).sum::<u64>() + self.growth[cam]
    }

    /// The segment and those that need it.
    fn chain(&self, cam: usize, index: usize) -> Vec<Segment> {
        let segments = &self.world.cams[cam].segments;
        let mut chain = vec![segments[index]];
        for later in &segments[index + 1..] {
            let last = chain[chain.len() - 1];
            if later.id.stream_no != last.id.stream_no {
                continue;
            }
            if !later.dependent || later.id.start > last.end || chain.len() > 8 {
                break;
            }
            chain.push(*later);
        }
        chain
    }

    pub(crate) fn may_go(&self, cam: usize, index: usize) -> bool {
        let chain = self.chain(cam, index);
        !chain[0].open && !chain[0].locked && chain.iter().all(|segment| !segment.held)
    }

    fn is_due(&self, cam: usize, index: usize) -> bool {
        let Cam { segments, activity, keep, .. } = &self.world.cams[cam];
        let cutoff = |hours: u32| self.now - Micros::from_hours(i64::from(hours));
        let base = keep.all.max(1);
        let important = |segment: &Segment| {
            let shows = |set: &IntervalSet, hours: Option<u32>| {
                let longer = hours.filter(|hours| *hours > base);
                longer.is_some_and(|hours| segment.end >= cutoff(hours)) && set.overlaps(&segment.interval())
            };
            shows(&activity.motion, keep.motion) || shows(&activity.alert, keep.alert)
        };
        segments[index].end < cutoff(base) && !self.chain(cam, index).iter().any(important)
    }

    pub(crate) fn evictable(&self, cam: usize) -> Option<usize> {
        let segments = &self.world.cams[cam].segments;
        let left = (0..segments.len()).filter(|index| !self.gone.contains(&segments[*index].id));
        left.into_iter().find(|index| !self.is_due(cam, *index) && self.may_go(cam, *index))
    }

    pub(crate) fn shares(&self) -> Vec<u64> {
        let cap = self.world.policy.max_recordings_bytes;
        let claim = |cam: &Cam| cam.quota.or(cap).unwrap_or(u64::MAX);
        let claims: Vec<u64> = self.world.cams.iter().map(claim).collect();
        cap.map_or(claims.clone(), |cap| fair_shares(cap, &claims))
    }

    fn payer(&self) -> Option<(usize, usize)> {
        let shares = self.shares();
        let mut able: Vec<(usize, usize)> = Vec::new();
        for cam in 0..self.world.cams.len() {
            able.extend(self.evictable(cam).map(|index| (cam, index)));
        }
        let excess = |cam: usize| self.usage(cam).saturating_sub(shares[cam]);
        let most = able.iter().map(|(cam, _)| excess(*cam)).max()?;
        if most > 0 {
            return able.into_iter().find(|(cam, _)| excess(*cam) == most);
        }
        let age = |(cam, index): &(usize, usize)| {
            let id = self.world.cams[*cam].segments[*index].id;
            (id.start, id.stream_no)
        };
        able.into_iter().min_by_key(age)
    }
}
