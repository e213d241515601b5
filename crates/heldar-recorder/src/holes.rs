//! Finds the holes in wanted footage of one camera while they happen.
//!
//! Owns: when a hole begins, when it is long enough to be a gap with a row of its own, and which cause it gets.
//! Contract: [`HoleTracker::covered`] is called with footage in time order; a hole is the time that was wanted between
//! what was covered. Rows exist for holes longer than [`GAP_THRESHOLD`]; each is opened once and closed once.
//! Never: reads a clock, writes a row.

use heldar_base::{Cause, Interval, Micros, WallTime};

/// Holes longer than this are gaps with a row (shorter ones are derived from end reasons).
pub const GAP_THRESHOLD: Micros = Micros::from_secs(3);

/// What became of a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoleChange {
    /// A hole passed the threshold and goes on.
    Opened {
        /// First missing instant.
        start: WallTime,
        /// The cause that has held longest so far.
        cause: Cause,
    },
    /// Another cause has by now held longest in a hole that was opened and goes on.
    Renamed {
        /// That cause.
        cause: Cause,
    },
    /// A hole over the threshold has ended.
    Closed {
        /// First missing instant.
        start: WallTime,
        /// First instant that is covered or not wanted again.
        end: WallTime,
        /// The cause that held longest.
        cause: Cause,
    },
    /// A hole that was opened turned out not to be one: the footage came late.
    Withdrawn {
        /// The start it was opened with.
        start: WallTime,
    },
}

/// The tracker of one camera.
#[derive(Clone, Debug)]
pub struct HoleTracker {
    state: State,
    /// What keeps footage away, in time order; the last one holds now. Covers the present hole at least.
    causes: Vec<(WallTime, Cause)>,
    /// The cause that was told of the open hole; `None` for one that an earlier process opened.
    told: Option<Cause>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not wanted: time passes without obligation.
    NotWanted,
    /// Wanted, and everything before `since` is accounted for.
    Wanted { since: WallTime, open: Option<WallTime> },
    /// Not wanted any more from `end` on; footage before may still be on its way.
    Ending { since: WallTime, end: WallTime },
}

impl HoleTracker {
    /// A camera whose recording is not wanted yet.
    pub fn new() -> Self {
        HoleTracker { state: State::NotWanted, causes: vec![(WallTime::EPOCH, Cause::Starting)], told: None }
    }

    /// Takes up where an earlier process ended: recording was wanted and is covered up to `covered_end`; a row may still
    /// stand that began then and has this cause. `down` names what kept the server away, from when until `now`.
    pub fn resume(
        covered_end: WallTime,
        open: Option<(WallTime, Cause)>,
        (down, down_since): (Cause, WallTime),
        now: WallTime,
    ) -> Self {
        let began = open.map(|(start, _)| start);
        let down_since = if began.is_some() { down_since.min(now) } else { WallTime::EPOCH };
        let before = open.map(|(_, cause)| (WallTime::EPOCH, cause));
        HoleTracker {
            state: State::Wanted { since: began.unwrap_or(covered_end).min(covered_end), open: began },
            causes: before.into_iter().chain([(down_since, down), (now, Cause::Starting)]).collect(),
            told: None,
        }
    }

    /// Recording becomes wanted.
    pub fn wanted(&mut self, now: WallTime) {
        match self.state {
            State::NotWanted => {
                self.state = State::Wanted { since: now, open: None };
                self.cause(now, Cause::Starting);
            }
            State::Ending { since, .. } => self.state = State::Wanted { since, open: None },
            State::Wanted { .. } => {}
        }
    }

    /// Recording became wanted at `at`, while the server was kept away by `down`, which it was until `now`.
    pub fn wanted_while_down(&mut self, at: WallTime, down: Cause, now: WallTime) {
        if self.state == State::NotWanted {
            self.state = State::Wanted { since: at, open: None };
            self.causes = vec![(WallTime::EPOCH, down), (now, Cause::Starting)];
        }
    }

    /// Recording stops being wanted. What footage before `now` lacks is a hole once it has had `slack` to come.
    pub fn not_wanted(&mut self, now: WallTime, slack: Micros) -> Option<HoleChange> {
        let State::Wanted { since, open } = self.state else { return None };
        let lacks = now - since;
        if open.is_none() && lacks > GAP_THRESHOLD && lacks <= GAP_THRESHOLD + slack {
            self.state = State::Ending { since, end: now };
            return None;
        }
        self.state = State::NotWanted;
        self.close(since, now, open)
    }

    /// What keeps footage away from now on, should it stay away.
    pub fn cause(&mut self, now: WallTime, cause: Cause) {
        if self.causes.last().is_some_and(|(_, last)| *last == cause) {
            return;
        }
        self.causes.push((now, cause));
        // A camera that flaps for months must not grow this without bound: merge the shortest neighbour away.
        if self.causes.len() > 256 {
            self.causes.remove(1);
        }
    }

    /// The present hole is due to this from its start on, whatever seemed to be the matter: the clock has stepped, and
    /// nothing took the time that it shows as passed.
    pub fn all_of_it(&mut self, cause: Cause) {
        self.causes.clear();
        self.causes.push((WallTime::EPOCH, cause));
    }

    /// Footage of this interval is there.
    pub fn covered(&mut self, footage: Interval) -> Option<HoleChange> {
        let (since, open, end) = match self.state {
            State::NotWanted => return None,
            State::Wanted { since, open } => (since, open, None),
            State::Ending { since, end } => (since, None, Some(end)),
        };
        let change = self.close(since, end.map_or(footage.start, |end| end.min(footage.start)), open);
        let since = since.max(footage.end);
        self.state = match end {
            None => State::Wanted { since, open: None },
            Some(end) if end - since > GAP_THRESHOLD => State::Ending { since, end },
            Some(_) => State::NotWanted,
        };
        self.forget_before(footage.end);
        change
    }

    /// Looks whether the present hole has passed the threshold, or is by now one of another cause. `slack` is how long
    /// footage may be on its way.
    pub fn tick(&mut self, now: WallTime, slack: Micros) -> Option<HoleChange> {
        let (since, open) = match self.state {
            State::NotWanted => return None,
            State::Wanted { since, open } => (since, open),
            State::Ending { since, end } => {
                if now - since <= GAP_THRESHOLD + slack {
                    return None;
                }
                self.state = State::NotWanted;
                return self.close(since, end, None);
            }
        };
        if let Some(start) = open {
            let cause = self.longest_cause(start, now);
            let renamed = self.told.replace(cause) != Some(cause);
            return renamed.then_some(HoleChange::Renamed { cause });
        }
        if now - since <= GAP_THRESHOLD + slack {
            return None;
        }
        self.state = State::Wanted { since, open: Some(since) };
        let cause = self.longest_cause(since, now);
        self.told = Some(cause);
        Some(HoleChange::Opened { start: since, cause })
    }

    /// Start of the hole that is open now.
    pub fn open_since(&self) -> Option<WallTime> {
        match self.state {
            State::Wanted { open, .. } => open,
            State::NotWanted | State::Ending { .. } => None,
        }
    }

    /// The present hole with the cause that has held longest, while it has no row and is known to be one: footage stays
    /// away for another reason than that its pictures are on their way.
    pub fn pending(&self, now: WallTime) -> Option<(WallTime, Cause)> {
        let State::Wanted { since, open: None } = self.state else { return None };
        let waits = self.causes.last().is_some_and(|(_, cause)| *cause != Cause::Stalled);
        (waits && since < now).then(|| (since, self.longest_cause(since, now)))
    }

    /// When the present hole would pass the threshold.
    pub fn deadline(&self, slack: Micros) -> Option<WallTime> {
        match self.state {
            State::Wanted { since, open: None } => Some(since + GAP_THRESHOLD + slack),
            _ => None,
        }
    }

    fn close(&self, since: WallTime, end: WallTime, open: Option<WallTime>) -> Option<HoleChange> {
        let start = open.unwrap_or(since);
        if end - start > GAP_THRESHOLD {
            Some(HoleChange::Closed { start, end, cause: self.longest_cause(start, end) })
        } else {
            open.map(|start| HoleChange::Withdrawn { start })
        }
    }

    /// The cause that held longest within `[start, end)`; the later one when two held equally long.
    fn longest_cause(&self, start: WallTime, end: WallTime) -> Cause {
        let window = Interval::new(start, end);
        let mut held: Vec<(Cause, Micros)> = Vec::new();
        for (i, (at, cause)) in self.causes.iter().enumerate() {
            let until = self.causes.get(i + 1).map_or(WallTime::FAR_FUTURE, |(next, _)| *next);
            let share = window.intersect(&Interval::new(*at, until)).map_or(Micros::ZERO, |i| i.len());
            match held.iter_mut().find(|(c, _)| c == cause) {
                Some((_, total)) => *total += share,
                None => held.push((*cause, share)),
            }
        }
        held.into_iter().max_by_key(|(_, total)| *total).map_or(Cause::Unknown, |(cause, _)| cause)
    }

    fn forget_before(&mut self, at: WallTime) {
        let keep_from = self.causes.iter().rposition(|(since, _)| *since <= at).unwrap_or(0);
        self.causes.drain(..keep_from);
    }
}

impl Default for HoleTracker {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn t(ms: i64) -> WallTime {
        WallTime(1_000_000_000_000 + ms * 1000)
    }

    fn iv(a: i64, b: i64) -> Interval {
        Interval::new(t(a), t(b))
    }

    #[test]
    fn a_short_hole_is_no_gap() {
        let mut holes = HoleTracker::new();
        holes.wanted(t(0));
        assert_eq!(holes.covered(iv(500, 10_000)), None);
        assert_eq!(holes.covered(iv(13_000, 20_000)), None);
        assert_eq!(holes.not_wanted(t(22_000), Micros::ZERO), None);
    }

    #[test]
    fn an_outage_opens_and_closes_with_its_longest_cause() {
        let mut holes = HoleTracker::new();
        holes.wanted(t(0));
        assert_eq!(holes.covered(iv(0, 10_000)), None);
        holes.cause(t(10_000), Cause::Stalled);
        assert_eq!(holes.tick(t(12_000), Micros::ZERO), None);
        holes.cause(t(13_000), Cause::Unreachable);
        assert_eq!(
            holes.tick(t(13_100), Micros::ZERO),
            Some(HoleChange::Opened { start: t(10_000), cause: Cause::Stalled })
        );
        assert_eq!(holes.tick(t(14_000), Micros::ZERO), None);
        // Behind 16 s the second cause has held longer than the first.
        assert_eq!(
            holes.tick(t(17_000), Micros::ZERO),
            Some(HoleChange::Renamed { cause: Cause::Unreachable })
        );
        assert_eq!(holes.tick(t(18_000), Micros::ZERO), None);
        assert_eq!(
            holes.covered(iv(20_000, 21_000)),
            Some(HoleChange::Closed { start: t(10_000), end: t(20_000), cause: Cause::Unreachable })
        );
        assert_eq!(holes.covered(iv(21_000, 22_000)), None);
    }

    #[test]
    fn footage_that_is_on_its_way_when_it_stops_being_wanted_may_still_come() {
        let slack = Micros::from_secs(2);
        let mut holes = HoleTracker::new();
        holes.wanted(t(0));
        assert_eq!(holes.covered(iv(0, 10_000)), None);
        assert_eq!(holes.not_wanted(t(14_000), slack), None);
        assert_eq!(holes.tick(t(14_500), slack), None);
        assert_eq!(holes.covered(iv(10_000, 14_100)), None);
        assert_eq!(holes.tick(t(90_000), slack), None);
        // It does not come.
        holes.wanted(t(100_000));
        assert_eq!(holes.covered(iv(100_000, 110_000)), None);
        holes.cause(t(110_000), Cause::Stalled);
        assert_eq!(holes.not_wanted(t(114_000), slack), None);
        assert_eq!(
            holes.tick(t(115_100), slack),
            Some(HoleChange::Closed { start: t(110_000), end: t(114_000), cause: Cause::Stalled })
        );
        assert_eq!(holes.tick(t(190_000), slack), None);
    }

    #[test]
    fn what_was_wanted_while_the_server_was_away_is_missing_for_that() {
        let mut holes = HoleTracker::resume(t(0), None, (Cause::ServerCrashed, t(0)), t(60_000));
        assert_eq!(
            holes.not_wanted(t(10_000), Micros::ZERO),
            Some(HoleChange::Closed { start: t(0), end: t(10_000), cause: Cause::ServerCrashed })
        );
        holes.wanted_while_down(t(40_000), Cause::ServerCrashed, t(60_000));
        assert_eq!(
            holes.covered(iv(61_000, 62_000)),
            Some(HoleChange::Closed { start: t(40_000), end: t(61_000), cause: Cause::ServerCrashed })
        );
    }

    #[test]
    fn a_restart_names_the_downtime() {
        let mut holes = HoleTracker::resume(t(0), None, (Cause::ServerCrashed, t(0)), t(4_000));
        assert_eq!(
            holes.covered(iv(5_000, 6_000)),
            Some(HoleChange::Closed { start: t(0), end: t(5_000), cause: Cause::ServerCrashed })
        );
    }

    #[test]
    fn a_restart_inside_a_gap_does_not_claim_all_of_it() {
        let gap = Some((t(0), Cause::Config));
        let mut holes = HoleTracker::resume(t(0), gap, (Cause::ServerCrashed, t(60_000)), t(66_000));
        assert_eq!(holes.tick(t(67_000), Micros::ZERO), Some(HoleChange::Renamed { cause: Cause::Config }));
        assert_eq!(
            holes.covered(iv(70_000, 71_000)),
            Some(HoleChange::Closed { start: t(0), end: t(70_000), cause: Cause::Config })
        );
    }

    #[test]
    fn a_step_of_the_clock_is_nobodys_stall() {
        let mut holes = HoleTracker::new();
        holes.wanted(t(0));
        assert_eq!(holes.covered(iv(0, 10_000)), None);
        holes.cause(t(10_000), Cause::Stalled);
        // The clock steps by an hour before anybody knows.
        assert!(matches!(
            holes.tick(t(3_610_000), Micros::ZERO),
            Some(HoleChange::Opened { cause: Cause::Stalled, .. })
        ));
        holes.all_of_it(Cause::Unknown);
        assert_eq!(
            holes.tick(t(3_611_000), Micros::ZERO),
            Some(HoleChange::Renamed { cause: Cause::Unknown })
        );
        holes.cause(t(3_611_000), Cause::Starting);
        assert_eq!(
            holes.covered(iv(3_613_000, 3_614_000)),
            Some(HoleChange::Closed { start: t(10_000), end: t(3_613_000), cause: Cause::Unknown })
        );
    }

    #[test]
    fn a_hole_is_known_before_it_has_a_row() {
        let mut holes = HoleTracker::new();
        assert_eq!(holes.pending(t(0)), None);
        holes.wanted(t(0));
        assert_eq!(holes.pending(t(4_000)), Some((t(0), Cause::Starting)));
        assert_eq!(holes.covered(iv(500, 10_000)), None);
        // While a session runs, what is not on disk yet is on its way.
        holes.cause(t(10_000), Cause::Stalled);
        assert_eq!(holes.pending(t(10_400)), None);
        holes.cause(t(10_500), Cause::Closed);
        assert_eq!(holes.pending(t(12_000)), Some((t(10_000), Cause::Closed)));
        assert!(holes.tick(t(13_100), Micros::ZERO).is_some());
        assert_eq!(holes.pending(t(13_200)), None);
    }

    #[test]
    fn late_footage_withdraws_a_gap() {
        let mut holes = HoleTracker::new();
        holes.wanted(t(0));
        assert!(matches!(holes.tick(t(9_000), Micros::ZERO), Some(HoleChange::Opened { .. })));
        assert_eq!(holes.covered(iv(1_000, 2_000)), Some(HoleChange::Withdrawn { start: t(0) }));
    }

    proptest! {
        /// Whatever happens, reported gaps and covered time never overlap and every hole over the threshold is reported.
        #[test]
        fn gaps_are_exactly_the_long_holes(steps in prop::collection::vec((0u8..4, 1i64..8_000), 1..60)) {
            let mut holes = HoleTracker::new();
            let mut now = 0i64;
            let mut wanted_since: Option<i64> = None;
            let mut accounted = 0i64;
            let mut expected = Vec::new();
            let mut got = Vec::new();
            let mut collect = |change: Option<HoleChange>| {
                if let Some(HoleChange::Closed { start, end, .. }) = change { got.push((start, end)); }
            };
            for (step, ms) in steps {
                match step {
                    0 => {
                        holes.wanted(t(now));
                        if wanted_since.is_none() { wanted_since = Some(now); accounted = now; }
                    }
                    1 => {
                        collect(holes.not_wanted(t(now), Micros::ZERO));
                        if wanted_since.take().is_some() && now - accounted > 3_000 { expected.push((t(accounted), t(now))); }
                    }
                    2 => {
                        collect(holes.covered(iv(now, now + ms)));
                        if wanted_since.is_some() {
                            if now - accounted > 3_000 { expected.push((t(accounted), t(now))); }
                            accounted = now + ms;
                        }
                        now += ms;
                    }
                    _ => {
                        collect(holes.tick(t(now), Micros::ZERO));
                        now += ms;
                    }
                }
            }
            prop_assert_eq!(got, expected);
        }
    }
}
