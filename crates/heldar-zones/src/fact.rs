//! What the engine has found out (perception.md 13.5).
//!
//! Owns: facts, and what changed of occupancy and counters. Never: ids of events, text, links, storage; those are the caller's.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use heldar_base::{Micros, WallTime};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FactKind {
    /// A track came in.
    Enter,
    /// It left, was lost, or the zone let it go.
    Exit,
    /// It has been inside for `dwell_seconds`.
    Dwell,
    /// It crossed a line from `a` to `b`.
    CrossAb,
    /// It crossed a line from `b` to `a`.
    CrossBa,
    /// Its visits add up to loitering.
    Loiter,
    /// Somebody is in the zone now.
    Occupied,
    /// Nobody is any more.
    Vacant,
    /// More are inside than should be.
    OccupancyMax,
    /// Fewer are inside than should be.
    OccupancyMin,
    /// As many as should be, again.
    OccupancyOk,
    /// A track inside turned out to be a thing that stands there: its visit ends here, and nothing more is told of it until it
    /// moves. Goes to the feed only; no zone event.
    StaticSuppressed,
}

impl FactKind {
    /// As `zone_events.event_type` writes it; behind `zone_` it is the type in the feed.
    pub const fn as_str(self) -> &'static str {
        match self {
            FactKind::Enter => "enter",
            FactKind::Exit => "exit",
            FactKind::Dwell => "dwell",
            FactKind::CrossAb => "cross_ab",
            FactKind::CrossBa => "cross_ba",
            FactKind::Loiter => "loiter",
            FactKind::Occupied => "occupied",
            FactKind::Vacant => "vacant",
            FactKind::OccupancyMax => "occupancy_max",
            FactKind::OccupancyMin => "occupancy_min",
            FactKind::OccupancyOk => "occupancy_ok",
            FactKind::StaticSuppressed => "static_suppressed",
        }
    }

    /// Whether a zone event is stored of it.
    pub const fn is_zone_event(self) -> bool {
        !matches!(self, FactKind::StaticSuppressed)
    }

    /// Whether it has the severity of its zone in the feed; else it is `info`.
    pub const fn has_zone_severity(self) -> bool {
        !matches!(self, FactKind::Vacant | FactKind::OccupancyOk | FactKind::StaticSuppressed)
    }

    /// Whether pictures are kept of it at all.
    pub(crate) const fn has_evidence(self) -> bool {
        matches!(
            self,
            FactKind::Enter
                | FactKind::CrossAb
                | FactKind::CrossBa
                | FactKind::Dwell
                | FactKind::Loiter
                | FactKind::Occupied
                | FactKind::OccupancyMax
        )
    }
}

impl fmt::Display for FactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a visit began or ended, where the track alone is not the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// It was seen outside.
    Left,
    /// It was not seen for too long, or its lease ended.
    Lost,
    /// The zone opened or closed.
    Schedule,
    /// The zone is no longer what it was.
    ZoneChanged,
}

impl Reason {
    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Left => "left",
            Reason::Lost => "lost",
            Reason::Schedule => "schedule",
            Reason::ZoneChanged => "zone_changed",
        }
    }
}

/// One thing that happened in one zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// Where.
    pub zone_id: Arc<str>,
    /// What.
    pub kind: FactKind,
    /// When, in the time of the pictures.
    pub at: WallTime,
    /// Whether the feed is told; else there is only a zone event.
    pub in_feed: bool,
    /// Whether the picture is to be kept.
    pub evidence: bool,
    /// Type of the task that follows the track; none for what concerns the zone as a whole.
    pub task_type: Option<Arc<str>>,
    /// Key of the task, as in the batch.
    pub task: Option<Arc<str>>,
    /// The track.
    pub track: Option<Arc<str>>,
    /// Its label when it was last seen; `""` if it had none.
    pub label: Option<Arc<str>>,
    /// How long: of a visit, of a sum of visits, of being occupied.
    pub dwell: Option<Micros>,
    /// Why.
    pub reason: Option<Reason>,
    /// Confidence when the track was last seen.
    pub confidence: Option<f64>,
    /// The point that was followed, x and y.
    pub anchor: Option<[f64; 2]>,
    /// Box when the track was last seen: x, y, width, height.
    pub bbox: Option<[f64; 4]>,
    /// Where the anchor went in the second before: 0 is right, 90 down. From two observations that differ.
    pub direction_deg: Option<f64>,
    /// How fast, in picture widths per second; a height counts as a width.
    pub speed: Option<f64>,
    /// Position in its batch of the detection that made it; none where time did.
    pub detection: Option<usize>,
    /// How many are inside, of facts about occupancy.
    pub count: Option<u32>,
    /// The limit that matters to them; none for `occupied` and `vacant`.
    pub limit: Option<u32>,
}

/// How a zone's occupancy stands to its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AlarmState {
    /// Within, or without limits.
    #[default]
    Ok,
    /// Fewer than `min`.
    Min,
    /// More than `max`.
    Max,
}

impl AlarmState {
    /// As the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            AlarmState::Ok => "ok",
            AlarmState::Min => "min",
            AlarmState::Max => "max",
        }
    }
}

/// How many are inside of a zone (perception.md 12.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// Which zone.
    pub zone_id: Arc<str>,
    /// Tracks inside.
    pub count: u32,
    /// By the label with which they came in.
    pub labels: BTreeMap<Arc<str>, u32>,
    /// As last told.
    pub state: AlarmState,
    /// When something of it last changed.
    pub updated_at: WallTime,
}

/// Crossings of one label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelCount {
    /// Inwards.
    pub inwards: u64,
    /// Outwards.
    pub outwards: u64,
}

/// Crossings of a line since the counters last started anew (perception.md 12.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Which line.
    pub zone_id: Arc<str>,
    /// All of them; `in` and `out` of the API, `net` is the difference.
    pub total: LabelCount,
    /// When they started.
    pub since: WallTime,
    /// When something of it last changed.
    pub updated_at: WallTime,
    /// By label; what has none is `""`. Past [`Counters::MAX_LABELS`] labels new ones only count in the total.
    pub by_label: BTreeMap<Arc<str>, LabelCount>,
}

impl Counters {
    /// Most labels that are counted apart.
    pub const MAX_LABELS: usize = 256;

    /// In less out.
    pub fn net(&self) -> i64 {
        let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
        number(self.total.inwards) - number(self.total.outwards)
    }
}

/// What a call has brought about: facts in their order, and what is to be stored anew.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// What happened.
    pub facts: Vec<Fact>,
    /// Zones whose occupancy changed, as it is now.
    pub occupancy: Vec<Occupancy>,
    /// Lines whose counters changed, as they are now.
    pub counters: Vec<Counters>,
}

impl Output {
    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty() && self.occupancy.is_empty() && self.counters.is_empty()
    }
}
