//! How long footage is kept for its age and for what it shows.

use heldar_base::{Interval, Micros, WallTime};

use super::cursor::{ActivityUse, Cursor, Need, Row};
use crate::IntervalSet;

/// A camera that keeps footage for motion or alerts is looked at in full once in this time, which repairs whatever a
/// mark does not know about.
pub const FULL_WALK_EVERY: Micros = Micros::from_hours(24);

/// How far past its own age a segment may have stayed because one that needs it did.
const LOOK_BACK: Micros = Micros::from_hours(1);

/// What a segment shows that may keep it longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Importance {
    /// Motion.
    Motion,
    /// An event of severity warning or above.
    Alert,
}

impl Importance {
    /// Its stable name in a preview.
    pub const fn as_str(self) -> &'static str {
        match self {
            Importance::Motion => "motion",
            Importance::Alert => "alert",
        }
    }
}

/// How many hours footage of a camera is kept; the longest that applies counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepHours {
    /// All footage; less than 1 means 1.
    pub all: u32,
    /// Footage that overlaps motion; `None`: as all.
    pub motion: Option<u32>,
    /// Footage that overlaps an alert; `None`: as all.
    pub alert: Option<u32>,
}

impl KeepHours {
    /// How long any footage is kept.
    pub(super) fn base(&self) -> Micros {
        Micros::from_hours(i64::from(self.all.max(1)))
    }
}

/// What an executed sweep has settled: of the segments past their age at `at`, only those are left that motion or
/// alerts keep, or holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgeMark {
    at: WallTime,
    full_at: WallTime,
    keep: KeepHours,
}

/// The ends before which segments go, at one instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cutoffs {
    base: WallTime,
    /// Only those that keep longer than `base`, longest first; at equal length alerts come first.
    longer: [Option<(Importance, WallTime)>; 2],
}

/// What age means for a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Not past `retention_hours`.
    Young,
    /// Past it, and kept for what it shows or for what a segment shows that needs it.
    Kept(Importance),
    /// It goes, unless something protects it.
    Due,
}

impl Cutoffs {
    pub(super) fn new(keep: &KeepHours, now: WallTime) -> Self {
        let base = now - keep.base();
        let cutoff = |importance, hours: Option<u32>| {
            let cutoff = now - Micros::from_hours(i64::from(hours?));
            (cutoff < base).then_some((importance, cutoff))
        };
        let motion = cutoff(Importance::Motion, keep.motion);
        let alert = cutoff(Importance::Alert, keep.alert);
        let motion_first = matches!((motion, alert), (Some((_, m)), Some((_, a))) if m < a);
        Cutoffs { base, longer: if motion_first { [motion, alert] } else { [alert, motion] } }
    }

    fn longer(&self) -> impl Iterator<Item = (Importance, WallTime)> {
        self.longer.into_iter().flatten()
    }

    /// Segments that end at or past this stay, unless a limit takes them.
    pub(super) fn base(&self) -> WallTime {
        self.base
    }

    /// Whether anything is kept for what it shows.
    pub(super) fn activity(&self) -> ActivityUse {
        if self.longer().next().is_some() { ActivityUse::Needed } else { ActivityUse::Ignored }
    }

    /// Segments that end before this go, whatever they show or is shown by those that need them.
    pub(super) fn oldest(&self) -> WallTime {
        let longest = self.longer().map(|(_, cutoff)| cutoff).min();
        longest.map_or(self.base, |cutoff| cutoff - LOOK_BACK)
    }

    /// What keeps a segment for what it shows itself.
    fn importance(&self, row: &Row) -> Option<Importance> {
        let mut applying =
            self.longer().filter(|(kind, cutoff)| row.shows(*kind) && row.segment.end >= *cutoff);
        applying.next().map(|(kind, _)| kind)
    }

    /// What age means for `row`, which is the front of `cursor`.
    pub(super) fn fate(&self, row: &Row, cursor: &Cursor) -> Result<Fate, Need> {
        if row.segment.end >= self.base {
            return Ok(Fate::Young);
        }
        if let Some(importance) = self.importance(row) {
            return Ok(Fate::Kept(importance));
        }
        if self.activity() == ActivityUse::Ignored {
            return Ok(Fate::Due);
        }
        Ok(cursor.needed_by(|later| self.importance(later))?.map_or(Fate::Due, Fate::Kept))
    }
}

/// Which ends a sweep has to look at: all past the shortest age, or those that passed an age since the mark.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    /// What is looked at.
    pub(super) bands: IntervalSet,
    /// What of it is looked at for the first time, and so counts as kept if it stays.
    pub(super) fresh: IntervalSet,
    /// What the sweep leaves, once executed.
    pub(super) mark: AgeMark,
}

impl Watch {
    /// Decides between a full walk and one by the mark.
    pub(super) fn new(keep: &KeepHours, cutoffs: &Cutoffs, now: WallTime, mark: Option<AgeMark>) -> Self {
        let usable = mark.filter(|mark| {
            let since_full = now - mark.full_at;
            mark.keep == *keep && mark.at <= now && mark.full_at <= now && since_full < FULL_WALK_EVERY
        });
        match usable {
            Some(mark) if cutoffs.activity() == ActivityUse::Needed => {
                let ages = || cutoffs.longer().map(|(_, cutoff)| cutoff).chain([cutoffs.base]);
                let band = |cutoff, back| Interval::new(cutoff - (now - mark.at) - back, cutoff);
                Watch {
                    bands: ages().map(|cutoff| band(cutoff, LOOK_BACK)).collect(),
                    fresh: IntervalSet::from(band(cutoffs.base, Micros::ZERO)),
                    mark: AgeMark { at: now, ..mark },
                }
            }
            _ => {
                let all = IntervalSet::from(Interval::new(WallTime(i64::MIN), cutoffs.base));
                let mark = AgeMark { at: now, full_at: now, keep: *keep };
                Watch { bands: all.clone(), fresh: all, mark }
            }
        }
    }
}
